"""What an image loses when it is shrunk and restored: down-sampling by 4, and the absolute residual.

He, Yu, Keuper and Fritz, "Beyond the Spectrum" (IJCAI 2021), section 3.1. Each step is a sum of products with
constants, so that the same function serves NumPy, PyTorch with gradients, and an exporter.

Shapes: C channels, H W pixels, h w cells of 4 x 4 pixels; ... any axes in front.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tellsign.features.arrays import namespace
from tellsign.types import ConfigError, ImageError, TooSmallError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array = TypeVar("Array")  # numpy.ndarray or torch.Tensor, float32 or float64

FACTOR = 4  # pixels along a side of a cell
FILTERS = ("avgpool", "bicubic")
CUBIC = -0.5  # Keys' a, as Pillow has it
SUPPORT = 2  # of the cubic to either side, in units of its scale


def downsampled(images: Array, filter: str = "avgpool") -> Array:  # noqa: A002
    """Images shrunk to a quarter of their sides.

    "avgpool" is the mean of each cell of 4 x 4 pixels, which the published code takes. "bicubic" is Pillow's,
    antialiased: Keys' cubic of four times the width, whose weights are made to add up to 1 at the borders;
    what it overshoots is left as it is.

    Args:    images: (..., H, W) float32 or float64; H and W multiples of 4.
             filter: "avgpool" or "bicubic".
    Returns: (..., H/4, W/4), same type as the input.
    Raises:  ImageError: images are no whole cells, or not floating point. ConfigError: there is no such
             filter.

    Example:
        >>> downsampled(np.arange(16.0).reshape(1, 4, 4))
        array([[[7.5]]])
    """
    if filter not in FILTERS:
        raise ConfigError(f"filter is {' or '.join(FILTERS)}, found {filter!r}")
    x: Any = images
    xp = namespace(x)
    if x.ndim < 2 or x.shape[-2] % FACTOR or x.shape[-1] % FACTOR or 0 in x.shape[-2:]:
        raise ImageError(
            f"images of shape {tuple(x.shape)} are no whole cells of {FACTOR} x {FACTOR} pixels: cut them "
            "with whole_cells(images)"
        )
    *front, height, width = x.shape
    if filter == "avgpool":
        cells = xp.reshape(x, (*front, height // FACTOR, FACTOR, width // FACTOR, FACTOR))
        means: Array = xp.mean(xp.mean(cells, axis=-1), axis=-2)
        return means
    down, across = (
        xp.asarray(_cubic_weights(length), dtype=x.dtype, device=x.device) for length in (height, width)
    )
    result: Array = down @ (x @ across.T)
    return result


def residual(restored: Array, images: Array) -> Array:
    """The absolute difference, pixel by pixel or feature by feature.

    Args:    restored, images: (..., H, W) float32 or float64, of one shape.
    Returns: (..., H, W), at least 0.
    Raises:  ImageError: they differ in shape, or are not floating point.

    Example:
        >>> residual(np.zeros((1, 2)), np.array([[0.25, -0.5]]))
        array([[0.25, 0.5 ]])
    """
    x: Any = restored
    y: Any = images
    xp = namespace(x)
    if tuple(x.shape) != tuple(y.shape):
        raise ImageError(
            f"a residual is of two arrays of one shape, found {tuple(x.shape)} and {tuple(y.shape)}; cut the "
            "image with whole_cells(images) before it is shrunk"
        )
    result: Array = xp.abs(x - y)
    return result


def whole_cells(images: Array, multiple: int = FACTOR) -> Array:
    """The largest part in the middle of images whose sides are multiples of a number of pixels.

    Where the number of rows or columns that is dropped is odd, the smaller half is at the top or left.

    Args:    images: (..., H, W).
             multiple: pixels; 4 is a cell, 16 one position of the fifth stage of VGG.
    Returns: (..., multiple (H // multiple), multiple (W // multiple)), a view.
    Raises:  TooSmallError: a side is shorter than `multiple`.

    Example:
        >>> whole_cells(np.arange(7)[None] * np.ones((6, 1)))[0]
        array([1., 2., 3., 4.])
    """
    x: Any = images
    height, width = x.shape[-2:]
    if min(height, width) < multiple:
        raise TooSmallError(
            f"an image of {width} × {height} pixels is smaller than the {multiple} × {multiple} that are "
            "looked at as one; it is not enlarged, that would change its residual"
        )
    top, left = (height % multiple) // 2, (width % multiple) // 2
    result: Array = x[..., top : top + height - height % multiple, left : left + width - width % multiple]
    return result


@lru_cache(maxsize=8)
def _cubic_weights(length: int) -> NDArray[np.float64]:
    """(length / 4, length): how much each pixel of a row counts for each of the shrunk row."""
    centres = (np.arange(length // FACTOR) + 0.5) * FACTOR
    distance = np.abs(np.arange(length) + 0.5 - centres[:, None]) / FACTOR
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
    far = CUBIC * (((distance - 5) * distance + 8) * distance - 4)
    weights = np.where(distance < 1, near, np.where(distance < SUPPORT, far, 0.0))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
