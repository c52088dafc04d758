"""Native crops, resizing by a named filter, and harmonising images of different origin.

Shapes: N crops, H W pixels; an image array is (3, H, W) float in [0, 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from tellsign.image.jpeg import check_image, jpeg_bytes, jpeg_pixels
from tellsign.types import ConfigError, ImageError, TooSmallError

FloatImage = NDArray[np.floating[Any]]

FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


def crop(array: FloatImage, top: int, left: int, height: int, width: int) -> FloatImage:
    """A rectangle of an image.

    Args:    array: (3, H, W); top, left, height, width: in pixels.
    Returns: (3, height, width), a view.
    Raises:  ImageError: the rectangle is empty or reaches beyond the image.
    """
    check_image(array)
    H, W = array.shape[1:]
    if min(top, left) < 0 or min(height, width) < 1 or top + height > H or left + width > W:
        raise ImageError(
            f"a crop of {height} × {width} at row {top}, column {left} does not lie in an image of {H} × {W}"
        )
    return array[:, top : top + height, left : left + width]


def centre_crop(array: FloatImage, size: int) -> FloatImage:
    """The square in the middle of an image.

    Args:    array: (3, H, W); size: side in pixels.
    Returns: (3, size, size), a view; where the margins are odd, the smaller one is at the top and left.
    Raises:  TooSmallError: the image is smaller than the square.
    """
    _check_size(array, size)
    H, W = array.shape[1:]
    return crop(array, (H - size) // 2, (W - size) // 2, size, size)


def square_crops(array: FloatImage, size: int, max_crops: int) -> FloatImage:
    """Native square crops placed evenly over an image, its corners included.

    As many crops as the limit allows and lie in the image with little overlap: along a side the nearest whole
    number of them, so that neighbours share half of their pixels at most. Among equal numbers the grid whose
    spacing is nearest to square. Along a side with one crop it lies in the middle, so a single crop is the
    centre.

    Args:    array: (3, H, W); size: side in pixels; max_crops: 1 or more.
    Returns: (N, 3, size, size), row by row, a copy; 1 ≤ N ≤ max_crops.
    Raises:  TooSmallError: the image is smaller than a crop; ConfigError: max_crops is less than 1.
    """
    _check_size(array, size)
    corners = crop_corners(array.shape[1], array.shape[2], size, max_crops)
    return np.stack([crop(array, top, left, size, size) for top, left in corners])


def crop_corners(height: int, width: int, size: int, max_crops: int) -> tuple[tuple[int, int], ...]:
    """Where the crops of `square_crops` begin.

    Args:    height, width: H and W of the image, at least `size`. size, max_crops: as for `square_crops`.
    Returns: (top, left) of each.
    Raises:  ConfigError: max_crops is less than 1.
    """
    if max_crops < 1:
        raise ConfigError(f"max_crops is {max_crops}; expected 1 or more")
    most_rows, most_columns = (int(length / size + 0.5) for length in (height, width))
    grids = [(rows, min(most_columns, max_crops // rows)) for rows in range(1, min(most_rows, max_crops) + 1)]
    rows, columns = max(
        grids, key=lambda grid: (grid[0] * grid[1], -abs(np.log(height / grid[0] / (width / grid[1]))))
    )
    return tuple(
        (top, left) for top in _positions(height, size, rows) for left in _positions(width, size, columns)
    )


def _positions(length: int, size: int, count: int) -> list[int]:
    if count == 1:
        return [(length - size) // 2]
    return [round(i * (length - size) / (count - 1)) for i in range(count)]


def resize(array: FloatImage, height: int, width: int, *, filter: str = "lanczos") -> NDArray[np.float32]:  # noqa: A002
    """An image resampled by one of Pillow's filters, antialiased when it shrinks.

    Each channel is resampled in float32 and never rounded to 8 bits; what a filter overshoots is clipped to
    [0, 1]. It changes every spectrum: nothing is resized before a spectrum, block DCT or residual is taken.

    Args:    array: (3, H, W) in [0, 1]; height, width: in pixels.
             filter: "nearest", "box", "bilinear", "hamming", "bicubic" or "lanczos".
    Returns: (3, height, width) float32 in [0, 1].
    Raises:  ImageError: the array is no image; ConfigError: unknown filter or a size below 1.
    """
    check_image(array)
    _check_filter(filter)
    if min(height, width) < 1:
        raise ConfigError(f"cannot resize to {height} × {width}; both sides must be 1 or more")
    return _resampled(array, height, width, filter)


def _resampled(array: FloatImage, height: int, width: int, name: str) -> NDArray[np.float32]:
    resample = PIL.Image.Resampling[name.upper()]
    out = np.empty((3, height, width), np.float32)
    for plane, resized in zip(array, out, strict=True):
        picture = PIL.Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
        resized[...] = np.asarray(picture.resize((width, height), resample))
    return np.clip(out, 0, 1, out=out)


def harmonise(
    array: FloatImage, *, size: int, quality: int, resize: str | None = None
) -> NDArray[np.float32]:
    """An image with the size and JPEG history that every image of a comparison gets, whatever its class.

    A native centre crop by default, so that no spectrum changes; where a filter is named, the largest centred
    square is resized instead. Then one JPEG round trip (4:2:0), which leaves every image with the same last
    compression.

    Args:    array: (3, H, W) in [0, 1]; size: side of the result; quality: JPEG quality, 1 to 100.
             resize: None to crop, or a filter as for the function `resize`.
    Returns: (3, size, size) float32 in [0, 1].
    Raises:  TooSmallError: the image is smaller than `size`; ConfigError: an option cannot be carried out.
    """
    return jpeg_pixels(harmonised_jpeg(array, size=size, quality=quality, resize=resize))


def harmonised_jpeg(array: FloatImage, *, size: int, quality: int, resize: str | None = None) -> bytes:
    """The JPEG file whose pixels `harmonise` returns: the same options, and no metadata.

    Args:    array: (3, H, W) in [0, 1]; size: side of the result; quality: JPEG quality, 1 to 100.
             resize: None to crop, or a filter as for the function `resize`.
    Returns: the file's bytes.
    Raises:  TooSmallError: the image is smaller than `size`; ConfigError: an option cannot be carried out.
    """
    _check_size(array, size)
    if resize is None:
        return jpeg_bytes(centre_crop(array, size), quality)
    _check_filter(resize)
    square = centre_crop(array, min(array.shape[1:]))
    return jpeg_bytes(_resampled(square, size, size, resize), quality)


def _check_size(array: FloatImage, size: int) -> None:
    check_image(array)
    if size < 1:
        raise ConfigError(f"a crop of {size} pixels: expected 1 or more")
    H, W = array.shape[1:]
    if min(H, W) < size:
        raise TooSmallError(
            f"the image has {W} × {H} pixels, smaller than the {size} × {size} needed; "
            "enlarging would invent a spectrum, so use a larger original or ask for a smaller size"
        )


def _check_filter(name: str) -> None:
    if name not in FILTERS:
        raise ConfigError(f"resize filter {name!r} is not one of {', '.join(FILTERS)}")
