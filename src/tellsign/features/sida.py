"""SIDA: how much a block's spectrum differs from its neighbours', as 2304 numbers for images of any size.

Qiao, Tian and Wang, "SFCL-HCMF" (2025, arXiv 2504.17223), eq. 1 to 8. With T[l, m, n] the coefficient of
frequency l, in zigzag order, of the block in row m and column n:

    row      T[l, m + 1, n] - T[l, m, n]    (eq. 1) to the block below
    column   T[l, m, n + 1] - T[l, m, n]    (eq. 2) to the block at the right
    intra    T[l + 1, m, n] - T[l, m, n]    (eq. 3) to the next frequency of the same block; 0 at the last

Of the absolute values a of each, over all blocks, per channel and frequency:

    mean                                          (eq. 4)
    std         sqrt(mean((a - mean)^2))          (eq. 5)
    skewness    mean((a - mean)^3) / std^3        (eq. 6)
    kurtosis    mean((a - mean)^4) / std^4        (eq. 7) not the excess over 3

The descriptor (eq. 8) joins four groups of 576: all means, then all deviations, skewnesses and kurtoses. A
group has the row differences first, then column, then intra; within them Y, Cb, Cr; within them the 64
frequencies. `entries()` names them all. 12 entries are 0 for every image: intra at the last frequency.

Deviates: the paper divides by the number of blocks; this divides by the number of differences, which makes
mean and std what they are called. Where the paper's text and its equations call rows and columns otherwise,
the equations hold. Skewness and kurtosis are 0 where std < 1e-6: flat planes have neither. That limit is
meant for coefficients of images in [0, 1], where it lies above what float32 rounds. Mean and std have the
unit of the coefficients, skewness and kurtosis none.

Shapes: B batch, h w blocks; 3 channels, 64 frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from tellsign.features.arrays import namespace
from tellsign.features.dct import SIDE, ZIGZAG
from tellsign.types import ImageError, TooSmallError

Array = TypeVar("Array")  # numpy.ndarray or torch.Tensor, float32 or float64

STATISTICS = ("mean", "std", "skewness", "kurtosis")
DERIVATIVES = ("row", "column", "intra")
CHANNELS = ("Y", "Cb", "Cr")
LENGTH = len(STATISTICS) * len(DERIVATIVES) * len(CHANNELS) * len(ZIGZAG)
FLAT = 1e-6  # deviation below which a plane has no shape
CHUNK_BYTES = 2**20  # of planes that NumPy takes at once, so that all passes over them stay in the caches


@dataclass(frozen=True, slots=True)
class Entry:
    """What one of the 2304 numbers is."""

    statistic: str  # one of STATISTICS
    derivative: str  # one of DERIVATIVES
    channel: str  # one of CHANNELS
    frequency: tuple[int, int]  # (u, v); of intra the lower of the two, from which the difference is taken

    def __str__(self) -> str:
        kind = "intra-block" if self.derivative == "intra" else self.derivative
        return f"{self.statistic} of {kind} differences of {self.channel} at frequency {self.frequency}"


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    """The 2304 entries of a descriptor, in their order.

    Example:
        >>> str(entries()[-130])
        'kurtosis of intra-block differences of Y at frequency (7, 6)'
    """
    return tuple(
        Entry(statistic, derivative, channel, frequency)
        for statistic in STATISTICS
        for derivative in DERIVATIVES
        for channel in CHANNELS
        for frequency in ZIGZAG
    )


def sida(coefficients: Array) -> Array:
    """Statistics of the differences between neighbouring blocks and frequencies.

    Implements Qiao et al. (2025), eq. 1 to 8; the head of this module has them, their order and what
    deviates. Images of different sizes are described one by one: their descriptors have one length. PyTorch
    tensors keep their device and their gradient, which is finite for constant images too.

    Args:    coefficients: (B, 3, 64, h, w) float32 or float64, as `block_dct(ycbcr(images))` returns them.
    Returns: (B, 2304), same type as the input. An image with a value that is not finite has statistics that
             are not finite; the others keep theirs.
    Raises:  ImageError: coefficients are not (B, 3, 64, h, w) floating point.
             TooSmallError: there are fewer than 2 x 2 blocks.

    Example:
        >>> from tellsign.features.colour import ycbcr
        >>> from tellsign.features.dct import block_dct
        >>> images = np.random.default_rng(0).uniform(size=(2, 3, 16, 24))
        >>> sida(block_dct(ycbcr(images))).shape
        (2, 2304)
    """
    x: Any = coefficients
    xp = namespace(x)
    if x.ndim != 5 or tuple(x.shape[1:3]) != (len(CHANNELS), len(ZIGZAG)):
        raise ImageError(
            f"expected coefficients of shape (B, 3, 64, h, w), found {tuple(x.shape)}: take "
            "block_dct(ycbcr(images))"
        )
    if min(x.shape[-2:]) < 2:
        raise TooSmallError(
            f"an image of {SIDE * x.shape[-2]} x {SIDE * x.shape[-1]} pixels has blocks without neighbours: "
            f"it needs at least {2 * SIDE} x {2 * SIDE} pixels"
        )
    pairs = (
        (x[..., 1:, :], x[..., :-1, :]),
        (x[..., 1:], x[..., :-1]),
        (x[:, :, 1:], x[:, :, :-1]),
    )
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is for the caller to see
        row, column, intra = (_moments(ahead, behind, xp) for ahead, behind in pairs)
        intra = xp.concat((intra, xp.zeros_like(intra[..., :1])), axis=-1)
        statistics = _statistics(xp.stack((row, column, intra), axis=2), xp)
    result: Array = xp.reshape(xp.moveaxis(statistics, 0, 1), (x.shape[0], LENGTH))
    return result


def _moments(ahead: Any, behind: Any, xp: Any) -> Any:
    """(B, 3, frequencies, h, w) twice → (4 moments, B, 3, frequencies), in pieces that take little memory."""
    if xp is not np:
        channels = range(ahead.shape[1])
        return xp.stack([_moments_of(ahead[:, c], behind[:, c], xp) for c in channels], axis=2)
    found = np.empty((4, *ahead.shape[:3]), ahead.dtype)
    step = max(1, CHUNK_BYTES // (ahead.itemsize * ahead.shape[-2] * ahead.shape[-1]))
    for image, channel in np.ndindex(*ahead.shape[:2]):
        for first in range(0, ahead.shape[2], step):
            planes = (image, channel, slice(first, first + step))
            found[:, *planes] = _moments_of(ahead[planes], behind[planes], np)
    return found


def _moments_of(ahead: Any, behind: Any, xp: Any) -> Any:
    """(..., h, w) twice → (4, ...): of the absolute differences the mean and three moments about it.

    The mean is subtracted before anything is squared: float32 would not survive the difference of sums.
    """
    *front, height, width = ahead.shape
    a = xp.reshape(xp.abs(ahead - behind), (*front, height * width))
    mean = xp.mean(a, axis=-1, keepdims=True)
    a = a - mean
    square = a * a
    products = ((a, a), (square, a), (square, square))
    if xp is np:  # one pass, and nothing stored
        moments = [np.vecdot(*pair) / (height * width) for pair in products]
    else:
        moments = [xp.mean(first * second, axis=-1) for first, second in products]
    return xp.stack((mean[..., 0], *moments))


def _statistics(moments: Any, xp: Any) -> Any:
    """(4 moments, ...) → (4 statistics, ...)"""
    mean, variance, third, fourth = moments
    constant = variance == 0
    # The root of 0 has no finite gradient, so that none is taken there.
    std = xp.where(constant, 0.0, xp.sqrt(xp.where(constant, 1.0, variance)))
    flat = std < FLAT
    divisor = xp.where(flat, 1.0, std)
    skewness = xp.where(flat, 0.0, third / divisor**3)
    kurtosis = xp.where(flat, 0.0, fourth / divisor**4)
    return xp.stack((mean, std, skewness, kurtosis))
