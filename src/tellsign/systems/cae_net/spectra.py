"""The whole spectrum of a crop as a network's input: Fourier or cosine, in logarithms of its power.

CAE-Net compares the wavelet with other transforms. Both are products of matrices here, since an FFT is known
to export wrongly, and so that they run on whatever multiplies matrices.

Shapes: B batch, S side of a crop.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

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
        """(B, 3, S, S) → (B, 3, S, S)."""
        x, real = images - 0.5, self.get_buffer("real")
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
