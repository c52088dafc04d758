"""The whole spectrum of a crop as a network's input: Fourier or cosine, in logarithms of its power.

CAE-Net compares the wavelet with other transforms. Both are products of matrices here, since an FFT is known
to export wrongly, and so that they run on whatever multiplies matrices.

Shapes: B batch, S side of a crop.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

KINDS = ("fft", "dct")
# Added to the power before the logarithm: what the rounding of pixels to 8 bits leaves in every coefficient.
FLOOR = 1 / (12 * 255**2)


class LogSpectrum(nn.Module):
    """(B, 3, S, S) in [0, 1] → (B, 3, S, S): half the logarithm of the power of each coefficient.

    Implements the orthonormal DFT, its zero frequency in the middle, or the orthonormal DCT-II, its zero
    frequency at the top left, of the crop less 0.5.
    """

    def __init__(self, kind: str, size: int) -> None:
        """Make the matrices.

        Args:    kind: "fft" or "dct".
                 size: S.
        """
        super().__init__()
        self.kind = kind
        matrices = {"real": _cosine(size)} if kind == "dct" else _fourier(size)
        for name, matrix in matrices.items():
            # Not among the weights: they follow from kind and size.
            self.register_buffer(name, matrix.float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) → (B, 3, S, S), in the type of the matrices, float32, whatever autocast is set to."""
        real = self.get_buffer("real")
        # With 8 bits of mantissa the strong low frequencies would leave their rounding in all others.
        with _without_autocast(images.device):
            x = images.to(real.dtype) - 0.5
            if self.kind == "dct":
                power = (real @ x @ real.T).square()
            else:
                imaginary = self.get_buffer("imaginary")
                rows, columns = real @ x, imaginary @ x
                one = rows @ real.T - columns @ imaginary.T
                other = rows @ imaginary.T + columns @ real.T
                power = one.square() + other.square()
            found: Tensor = 0.5 * (power + FLOOR).log()
        return found


def _without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """The context in which products keep the type of what is multiplied; none where they do anyway."""
    # Asked first: the device "meta", on which costs are counted, knows no autocast, and an export would write
    # the switch into its graph.
    known = torch.amp.is_autocast_available(device.type)
    if known and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def _fourier(size: int) -> dict[str, Tensor]:
    """(S, S) real and imaginary part of the DFT, frequencies from -S/2 on."""
    numbers = torch.arange(size, dtype=torch.float64)
    angles = -2 * math.pi * torch.outer(numbers - size // 2, numbers) / size
    return {"real": angles.cos() / math.sqrt(size), "imaginary": angles.sin() / math.sqrt(size)}


def _cosine(size: int) -> Tensor:
    """(S, S) of the DCT-II."""
    numbers = torch.arange(size, dtype=torch.float64)
    basis = (math.pi * torch.outer(numbers, numbers + 0.5) / size).cos() * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis
