"""The Haar wavelet transform of one level: an image as four sub-bands of half its size.

Haar (1910), "Zur Theorie der orthogonalen Funktionensysteme", with the signs and scale of PyWavelets. With
a b the upper and c d the lower row of a cell of 2 x 2 pixels:

    cA = (a + b + c + d) / 2    approximation: twice the mean of the cell
    cH = (a + b - c - d) / 2    upper less lower row: horizontal edges
    cV = (a - b + c - d) / 2    left less right column: vertical edges
    cD = (a - b - c + d) / 2    diagonal

An odd side has its last row or column repeated, as PyWavelets' mode "symmetric" does. The transform is
orthonormal: where both sides are even, it keeps the sum of squares. It is linear, so that its gradient is its
transpose, and it is made of slices and sums alone, which every exporter knows.

Shapes: C channels, H W pixels, h w cells, H/2 and W/2 rounded up; ... any axes in front.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from tellsign.features.arrays import namespace
from tellsign.types import ImageError

Array = TypeVar("Array")  # numpy.ndarray or torch.Tensor, float32 or float64

BANDS = ("cA", "cH", "cV", "cD")


def haar(image: Array) -> Array:
    """The four sub-bands of an image, in the order of `BANDS`.

    PyTorch tensors keep their device and their gradient.

    Args:    image: (..., C, H, W) float32 or float64, any scale; cA has twice that scale.
    Returns: (..., 4, C, h, w), same type as the input.
    Raises:  ImageError: image has fewer than three axes, no pixels, or is not floating point.

    Example:
        >>> haar(np.array([[[1.0, 2.0], [3.0, 5.0]]])).ravel()
        array([ 5.5, -2.5, -1.5,  0.5])
    """
    x: Any = image
    xp = namespace(x)
    if x.ndim < 3 or 0 in x.shape[-2:]:
        raise ImageError(
            f"expected an image of shape (..., C, H, W) with at least one pixel, found {tuple(x.shape)}"
        )
    if x.shape[-2] % 2:
        x = xp.concat((x, x[..., -1:, :]), axis=-2)
    if x.shape[-1] % 2:
        x = xp.concat((x, x[..., -1:]), axis=-1)
    result: Array = _array_bands(x) if xp is np else _tensor_bands(x, xp)
    return result


def inverse_haar(bands: Array, *, height: int, width: int) -> Array:
    """The image that has these sub-bands.

    Args:    bands: (..., 4, C, h, w) float32 or float64, as `haar` returns them.
             height, width: H and W of the image; what lies beyond an odd side is dropped.
    Returns: (..., C, H, W), same type as the input.
    Raises:  ImageError: bands are no four sub-bands of an image of that size, or not floating point.

    Example:
        >>> image = np.arange(15.0).reshape(1, 3, 5)
        >>> np.allclose(inverse_haar(haar(image), height=3, width=5), image)
        True
    """
    x: Any = bands
    xp = namespace(x)
    cells = ((height + 1) // 2, (width + 1) // 2)
    if x.ndim < 4 or x.shape[-4] != len(BANDS) or tuple(x.shape[-2:]) != cells or 0 in cells:
        raise ImageError(
            f"an image of {height} x {width} pixels has sub-bands of shape (..., 4, C, {cells[0]}, "
            f"{cells[1]}), found {tuple(x.shape)}"
        )
    x = x / 2
    c_a, c_h, c_v, c_d = (x[..., band, :, :, :] for band in range(4))
    rows = []
    for mean, difference in ((c_a + c_h, c_v + c_d), (c_a - c_h, c_v - c_d)):  # upper, lower
        columns = xp.stack((mean + difference, mean - difference), axis=-1)
        rows.append(xp.reshape(columns, (*columns.shape[:-2], 2 * cells[1])))
    stacked = xp.stack(rows, axis=-2)
    whole = xp.reshape(stacked, (*stacked.shape[:-3], 2 * cells[0], 2 * cells[1]))
    result: Array = whole[..., :height, :width]
    return result


def _array_bands(x: Any) -> Any:
    """(..., C, 2h, 2w) → (..., 4, C, h, w) in NumPy, image by image, so that an image stays in the cache."""
    *front, channels, height, width = x.shape
    images = x.reshape(-1, channels, height, width)
    bands = np.empty((len(images), 4, channels, height // 2, width // 2), x.dtype)
    columns = np.empty((2, channels, height, width // 2), x.dtype)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is for the caller to see
        for image, band in zip(images, bands, strict=True):
            np.add(image[..., 0::2], image[..., 1::2], out=columns[0])
            np.subtract(image[..., 0::2], image[..., 1::2], out=columns[1])
            np.multiply(columns, 0.5, out=columns)
            np.add(columns[:, :, 0::2], columns[:, :, 1::2], out=band[0::2])
            np.subtract(columns[:, :, 0::2], columns[:, :, 1::2], out=band[1::2])
    return bands.reshape(*front, 4, channels, height // 2, width // 2)


def _tensor_bands(x: Any, xp: Any) -> Any:
    """(..., C, 2h, 2w) → (..., 4, C, h, w), nothing overwritten that a gradient needs.

    Columns first: strided reads are the slow ones, and this way there are fewest of them.
    """
    left, right = x[..., 0::2], x[..., 1::2]
    c_a, c_h = _sum_and_difference_of_rows(left + right)
    c_v, c_d = _sum_and_difference_of_rows(left - right)
    return xp.stack((c_a, c_h, c_v, c_d), axis=-4)


def _sum_and_difference_of_rows(columns: Any) -> tuple[Any, Any]:
    columns *= 0.5
    upper, lower = columns[..., 0::2, :], columns[..., 1::2, :]
    return upper + lower, upper - lower
