"""The whole spectrum of a crop as a network's input: Fourier or cosine, in logarithms.

`LogSpectrum` is that of the branches that CAE-Net compares its wavelet with, `ScaledSpectrum` that of Zhang,
Karaman and Chang, "Detecting and Simulating Artifacts in GAN Fake Images", WIFS 2019. The transforms are
products of matrices here, since an FFT is known to export wrongly, and so that they run on whatever
multiplies matrices.

Shapes: B batch, S side of a crop, n = S² values of a channel.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from tellsign.features.dct import cosines
from tellsign.nn.autocast import without_autocast
from tellsign.types import ConfigError

Band = Literal["all", "low", "middle", "high"]

KINDS = ("fft", "dct")
# Added to the power before the logarithm: what the rounding of pixels to 8 bits leaves in every coefficient.
FLOOR = 1 / (12 * 255**2)

MAGNITUDE_FLOOR = 1e-3  # added to the magnitude of images in [0, 1] before the logarithm
SHARE = 0.05  # of the values of a channel that lie below -1, and above 1, and are clipped
LEAST_RANGE = 1e-6  # of a channel; one without any, as of a flat image, is not divided by it
LEAST_POWER = 1e-20  # below which a magnitude, whose slope is infinite at 0, is constant
# Rows and columns of the spectrum of 224 pixels, zero frequency in the middle, where the bands begin and end.
BAND_SIDE, INNER, OUTER = 224, (57, 177), (21, 203)


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
        matrices = {"real": _cosine(size)} if kind == "dct" else _fourier(size, first=-(size // 2))
        for name, matrix in matrices.items():
            # Not among the weights: they follow from kind and size.
            self.register_buffer(name, matrix.float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) → (B, 3, S, S), in the type of the matrices, float32, whatever autocast is set to."""
        real = self.get_buffer("real")
        # With 8 bits of mantissa the strong low frequencies would leave their rounding in all others.
        with without_autocast(images.device):
            x = images.to(real.dtype) - 0.5
            if self.kind == "dct":
                power = (real @ x @ real.T).square()
            else:
                power = _power(x, real, self.get_buffer("imaginary"))
            found: Tensor = 0.5 * (power + FLOOR).log()
        return found


class ScaledSpectrum(nn.Module):
    """(B, 3, S, S) in [0, 1] → (B, 3, S, S) in [-1, 1]: logarithms of magnitudes, scaled by percentiles.

    Implements Zhang et al. (2019) as its authors' code does: ln(|F| + 1e-3) of each channel, its 5th
    percentile at -1 and its 95th at 1, what lies beyond clipped; the zero frequency at the top left. Where
    one band is asked for, the others are 0, which is the middle of the range. Deviates: a channel that is
    flat, whose percentiles are equal, is -1 everywhere but at the zero frequency, in place of 0 / 0.
    """

    def __init__(self, size: int, band: Band = "all") -> None:
        """Make matrices and band.

        Args:    size: S.
                 band: "all", or one alone: "low", "middle" or "high", modes 1 to 3 of the authors' code,
                 whose limits for 224 pixels are scaled to S. Those of the low band are not symmetric.
        Raises:  ConfigError: there is no such band.
        """
        super().__init__()
        if band not in get_args(Band):
            raise ConfigError(f"band is one of {', '.join(get_args(Band))}, found {band!r}")
        self.size = size
        constants = _fourier(size, first=0) | {"band": _band(size, band)}
        for name, constant in constants.items():
            self.register_buffer(name, constant.float(), persistent=False)
        # Where the share lies in the order of the values, as NumPy's percentiles are interpolated.
        self.place = SHARE * (size**2 - 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) → (B, 3, S, S), in the type of the matrices, float32, whatever autocast is set to."""
        with without_autocast(images.device):
            x = self.log_magnitude(images)
            flat = x.flatten(2)
            low, high = (self._percentile(flat, largest)[..., None, None] for largest in (False, True))
            scaled = 2 * (x - low) / (high - low).clamp(min=LEAST_RANGE) - 1
            found: Tensor = scaled.clamp(-1, 1) * self.get_buffer("band")
        return found

    def log_magnitude(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] → ln(|F| + 1e-3), the zero frequency at the top left."""
        real = self.get_buffer("real")
        x = images.to(real.dtype)
        # Without its mean, an image leaves less rounding in the other frequencies, and a flat one none.
        mean = x.mean(dim=(2, 3), keepdim=True)
        power = _power(x - mean, real, self.get_buffer("imaginary")).clamp(min=LEAST_POWER)
        magnitude = self.size * power.sqrt()
        zero = nn.functional.pad(self.size**2 * mean.abs(), (0, self.size - 1, 0, self.size - 1))
        found: Tensor = (magnitude + zero + MAGNITUDE_FLOOR).log()
        return found

    def _percentile(self, flat: Tensor, largest: bool) -> Tensor:
        """(B, 3, n) → (B, 3): the value that the share of all lies below, or above."""
        before = math.floor(self.place)
        ends = flat.topk(before + 2, dim=2, largest=largest).values
        return torch.lerp(ends[..., before], ends[..., before + 1], self.place - before)


def _power(x: Tensor, real: Tensor, imaginary: Tensor) -> Tensor:
    """(..., S, S) → (..., S, S) squared magnitudes of the 2-D DFT of real numbers."""
    rows, columns = real @ x, imaginary @ x
    one = rows @ real.T - columns @ imaginary.T
    other = rows @ imaginary.T + columns @ real.T
    return one.square() + other.square()


def _fourier(size: int, *, first: int) -> dict[str, Tensor]:
    """(S, S) real and imaginary part of the orthonormal DFT, its frequencies from `first` on."""
    numbers = torch.arange(size, dtype=torch.float64)
    angles = -2 * math.pi * torch.outer(numbers + first, numbers) / size
    return {"real": angles.cos() / math.sqrt(size), "imaginary": angles.sin() / math.sqrt(size)}


def _cosine(size: int) -> Tensor:
    """(S, S) of the DCT-II."""
    return torch.tensor(cosines(size))


def _band(size: int, band: Band) -> Tensor:
    """(S, S) of 1 where a band lies and of 0 elsewhere, the zero frequency at the top left."""
    inner, outer = (_square(size, limits) for limits in (INNER, OUTER))
    shifted = {"all": torch.ones(size, size), "low": inner, "middle": outer * (1 - inner), "high": 1 - outer}
    weights: Tensor = torch.fft.ifftshift(shifted[band])
    return weights


def _square(size: int, limits: tuple[int, int]) -> Tensor:
    """(S, S) of 1 between two rows and the same columns, the zero frequency in the middle."""
    start, end = (round(limit * size / BAND_SIDE) for limit in limits)
    numbers = torch.arange(size)
    inside = ((numbers >= start) & (numbers < end)).float()
    return torch.outer(inside, inside)
