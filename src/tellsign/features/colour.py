"""Colours as JPEG stores them: luma and two differences of colour, full range.

ITU-T T.871 (JFIF), for images in [0, 1] as `tellsign.image.decode` gives them. With c = 128 / 255, the level
that JPEG gives to grey:

    Y  = 0.299 R + 0.587 G + 0.114 B
    Cb = (B - Y) / 1.772 + c
    Cr = (R - Y) / 1.402 + c

Nothing is rounded or clipped: each function undoes the other.

Shapes: H W pixels; ... any axes in front.
"""

from __future__ import annotations

from typing import Any, TypeVar

from tellsign.features.arrays import namespace
from tellsign.types import ImageError

Array = TypeVar("Array")  # numpy.ndarray or torch.Tensor, float32 or float64

CENTRE = 128 / 255  # Cb and Cr of every grey
RED, GREEN, BLUE = 0.299, 0.587, 0.114  # of a pixel's luma
BLUE_RANGE, RED_RANGE = 2 * (1 - BLUE), 2 * (1 - RED)  # 1.772 and 1.402: of B - Y and R - Y


def ycbcr(images: Array) -> Array:
    """Y, Cb and Cr of images in RGB.

    PyTorch tensors keep their device and their gradient.

    Args:    images: (..., 3, H, W) float32 or float64, R G B in [0, 1].
    Returns: (..., 3, H, W), same type as the input; Y in [0, 1], Cb and Cr within 0.5 of `CENTRE`.
    Raises:  ImageError: images are not floating point, or have no axis of three channels there.

    Example:
        >>> import numpy as np
        >>> ycbcr(np.array([1.0, 0.0, 0.0]).reshape(3, 1, 1)).ravel().round(4)  # red
        array([0.299 , 0.3332, 1.002 ])
    """
    x: Any = images
    xp = namespace(x)
    red, green, blue = _channels(x, "R G B")
    luma = RED * red + GREEN * green + BLUE * blue
    found = (luma, (blue - luma) / BLUE_RANGE + CENTRE, (red - luma) / RED_RANGE + CENTRE)
    result: Array = xp.stack(found, axis=-3)
    return result


def rgb(images: Array) -> Array:
    """R, G and B of images in YCbCr.

    Args:    images: (..., 3, H, W) float32 or float64, Y Cb Cr as `ycbcr` returns them.
    Returns: (..., 3, H, W), same type as the input; outside of [0, 1] where no colour has these numbers.
    Raises:  ImageError: images are not floating point, or have no axis of three channels there.

    Example:
        >>> import numpy as np
        >>> image = np.random.default_rng(0).uniform(size=(3, 4, 4))
        >>> np.allclose(rgb(ycbcr(image)), image)
        True
    """
    x: Any = images
    xp = namespace(x)
    luma, blue_difference, red_difference = _channels(x, "Y Cb Cr")
    blue = luma + BLUE_RANGE * (blue_difference - CENTRE)
    red = luma + RED_RANGE * (red_difference - CENTRE)
    green = (luma - RED * red - BLUE * blue) / GREEN
    result: Array = xp.stack((red, green, blue), axis=-3)
    return result


def _channels(x: Any, names: str) -> tuple[Any, Any, Any]:
    if x.ndim < 3 or x.shape[-3] != 3:
        raise ImageError(
            f"expected images of shape (..., 3, H, W), {names} before rows, found {tuple(x.shape)}; where "
            "channels come last, move them with moveaxis(images, -1, -3)"
        )
    return x[..., 0, :, :], x[..., 1, :, :], x[..., 2, :, :]
