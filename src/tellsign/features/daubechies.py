"""The wavelet transform with Daubechies' filters of 8 taps (db4), several levels, and its inverse.

Daubechies (1988), "Orthonormal bases of compactly supported wavelets", with four vanishing moments: what is a
cubic polynomial leaves no detail. Signs, scale, sizes and the mirrored borders are those of PyWavelets' mode
"symmetric": n samples become (n + 7) // 2 in each band. The filters at 16 places are one matrix, by which
runs of samples are multiplied: far faster than tap by tap.

Shapes: H W pixels, h w coefficients of a band; ... any axes in front.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tellsign.features.arrays import namespace
from tellsign.types import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.floating[Any]]

# Of the scaling function, as Daubechies' table has them: their sum is the root of 2.
SCALING = (
    0.23037781330889650,
    0.71484657055291565,
    0.63088076792985890,
    -0.02798376941685985,
    -0.18703481171909309,
    0.03084138183556076,
    0.03288301166688520,
    -0.01059740178506903,
)
N_TAPS = len(SCALING)
OVERLAP = N_TAPS - 2  # samples that neighbouring places of a band share
RUN = 16  # places of a band that one multiplication gives


class Details(NamedTuple):
    """The three detail bands of a level, each (..., h, w)."""

    horizontal: FloatArray  # edges that are horizontal: rows differ
    vertical: FloatArray
    diagonal: FloatArray


def most_levels(side: int) -> int:
    """How often a side can be halved until borders alone are left, as PyWavelets counts it.

    Args:    side: pixels of the shorter side.
    Returns: levels; 0 below 14 pixels.
    """
    return max(0, (side // (N_TAPS - 1)).bit_length() - 1)


def least_side(levels: int) -> int:
    """The shortest side that can be halved so often.

    Args:    levels: 1 or more.
    Returns: pixels.
    """
    return (N_TAPS - 1) << levels


def decomposed(planes: FloatArray, levels: int) -> tuple[FloatArray, list[Details]]:
    """An image as details from fine to coarse, and what is left of it.

    Args:    planes: (..., H, W) float32 or float64, any scale.
             levels: how often it is halved.
    Returns: the approximation (..., h, w), and the details of each level; same type as the input.
    Raises:  ImageError: planes are no floats, or too small for so many levels.
    """
    namespace(planes)
    if levels < 1 or planes.ndim < 2 or min(planes.shape[-2:]) < least_side(levels):
        raise ImageError(
            f"a db4 wavelet of {levels} levels takes images of shape (..., H, W) with 1 level or more and "
            f"sides of at least {least_side(max(levels, 1))} pixels, found the shape {planes.shape}"
        )
    details = []
    for _ in range(levels):
        low, high = _halved(planes, -2)
        planes, vertical = _halved(low, -1)
        horizontal, diagonal = _halved(high, -1)
        details.append(Details(horizontal, vertical, diagonal))
    return planes, details


def composed(
    approximation: FloatArray | None, details: Sequence[Details], shape: tuple[int, int]
) -> FloatArray:
    """The image that `decomposed` took apart.

    Args:    approximation: (..., h, w); None: zeros.
             details: from fine to coarse.
             shape: H and W.
    Returns: (..., H, W).
    """
    sizes = [shape, *(level.diagonal.shape[-2:] for level in details)]
    for level, (height, width) in zip(reversed(details), reversed(sizes[:-1]), strict=True):
        low = _doubled(approximation, level.vertical, -1)
        high = _doubled(level.horizontal, level.diagonal, -1)
        approximation = _doubled(low, high, -2)[..., :height, :width]
    assert approximation is not None
    return approximation


@lru_cache(maxsize=2 * (RUN + 4))
def _filters(places: int, dtype: np.dtype[Any]) -> tuple[FloatArray, FloatArray]:
    """(places, 2 places + 6) low and high-pass filters, each place two samples behind the one before."""
    low, high = np.zeros((2, places, 2 * places + OVERLAP), dtype)
    for place in range(places):
        low[place, 2 * place : 2 * place + N_TAPS] = SCALING
        high[place, 2 * place : 2 * place + N_TAPS] = [
            (-1) ** tap * SCALING[-1 - tap] for tap in range(N_TAPS)
        ]
    return low, high


def _runs(n_places: int) -> list[tuple[int, int]]:
    return [(start, min(start + RUN, n_places)) for start in range(0, n_places, RUN)]


def _halved(x: FloatArray, axis: int) -> tuple[FloatArray, FloatArray]:
    """The low and the high band along one of the last two axes."""
    n_places = (x.shape[axis] + N_TAPS - 1) // 2
    padding = [(0, 0)] * x.ndim
    padding[axis] = (OVERLAP, OVERLAP + 1)
    padded = np.pad(x, padding, mode="symmetric")
    shape = list(x.shape)
    shape[axis] = n_places
    bands = np.empty(shape, x.dtype), np.empty(shape, x.dtype)
    for start, stop in _runs(n_places):
        samples = slice(2 * start, 2 * stop + OVERLAP)
        for band, filters in zip(bands, _filters(stop - start, x.dtype), strict=True):
            if axis == -2:
                np.matmul(filters, padded[..., samples, :], out=band[..., start:stop, :])
            else:
                np.matmul(padded[..., samples], filters.T, out=band[..., start:stop])
    return bands


def _doubled(low: FloatArray | None, high: FloatArray, axis: int) -> FloatArray:
    """The samples whose bands these are along one of the last two axes; None: zeros."""
    n_places = high.shape[axis] - OVERLAP // 2
    shape = list(high.shape)
    shape[axis] = 2 * n_places
    result = np.empty(shape, high.dtype)
    for start, stop in _runs(n_places):
        places, samples = slice(start, stop + OVERLAP // 2), slice(2 * start, 2 * stop)
        inner = slice(OVERLAP, OVERLAP + 2 * (stop - start))
        own_low, own_high = (f[:, inner] for f in _filters(stop - start + OVERLAP // 2, high.dtype))
        if axis == -2:
            np.matmul(own_high.T, high[..., places, :], out=result[..., samples, :])
            if low is not None:
                result[..., samples, :] += own_low.T @ low[..., places, :]
        else:
            np.matmul(high[..., places], own_high, out=result[..., samples])
            if low is not None:
                result[..., samples] += low[..., places] @ own_low
    return result
