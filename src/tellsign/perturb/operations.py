"""What happens to an image on its way, one operation at a time, each with its strength.

Parameters and their sources are in docs/perturbations.md. An operation works in float32 and stays in [0, 1];
who applies it rounds the result to 8 bits, as a file would (`tellsign.perturb.naming`).

Shapes: H W pixels; an image is (3, H, W) float32 sRGB in [0, 1].
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy as np
import PIL.Image

from tellsign import image as images
from tellsign.image.jpeg import check_image, eight_bit_picture, jpeg_round_trip, planar
from tellsign.types import ConfigError, ImageError

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Image = NDArray[np.float32]

Position = Literal["centre", "random"]

BLOCK = 1 << 16  # values that pass through all steps together, so that they stay in a cache
SCREEN = (1080, 1920)  # rows and columns that a screenshot can have
SCREEN_SCALE = 1.25  # device pixels for each pixel of an image: what laptops are set to


class Operation(Protocol):
    """Something that is done to an image; a frozen record of its strength, checked when it is made."""

    def apply(self, image: Image, rng: Generator, /) -> Image:
        """A new image, or the same where nothing is to be done; all that is random comes from `rng`."""


@dataclass(frozen=True, slots=True)
class Untouched:
    """Nothing at all, not even rounding."""

    def apply(self, image: Image, _rng: Generator, /) -> Image:
        """The image itself."""
        return image


@dataclass(frozen=True, slots=True)
class Crop:
    """The border cut off, and what is left enlarged to the old size by a bicubic filter."""

    fraction: float  # of height and of width that is removed, both ends together
    position: Position = "centre"  # where the part lies that is kept

    def __post_init__(self) -> None:
        check_number("fraction", self.fraction, 0, 0.99)

    def apply(self, image: Image, rng: Generator, /) -> Image:
        """Rows and columns are cut by the same fraction, so that the aspect stays."""
        size = image.shape[1:]
        height, width = (max(1, round(length * (1 - self.fraction))) for length in size)
        spare = (size[0] - height, size[1] - width)
        if not any(spare):
            return image
        if self.position == "random":
            top, left = (int(rng.integers(rest + 1)) for rest in spare)
        else:
            top, left = (rest // 2 for rest in spare)
        return images.resize(images.crop(image, top, left, height, width), *size, filter="bicubic")


@dataclass(frozen=True, slots=True)
class Blur:
    """A Gaussian blur; the image goes on beyond its border as in a mirror that stands on the last pixel."""

    kernel: int | None = None  # odd number of pixels; without it as wide as the sigma needs
    sigma: float | None = field(default=None, kw_only=True)  # in pixels; without it by the kernel

    def __post_init__(self) -> None:
        if self.kernel is None and self.sigma is None:
            raise ConfigError("a blur needs the size of its kernel or its sigma, as blur:5 or blur:sigma=1.5")
        if self.kernel is not None:
            check_number("kernel", self.kernel, 1, 999, whole=True)
            if self.kernel % 2 == 0:
                raise ConfigError(f"the kernel of a blur has an odd number of pixels, found {self.kernel}")
        if self.sigma is not None:
            check_number("sigma", self.sigma, 0.01, 100)

    def weights(self) -> NDArray[np.float64]:
        """The kernel along one axis; without a sigma, 0.3 ((k - 1) / 2 - 1) + 0.8 (OpenCV's rule)."""
        if self.kernel is None:
            assert self.sigma is not None
            radius = int(4 * self.sigma + 0.5)  # where SciPy ends a Gaussian too
        else:
            radius = self.kernel // 2
        sigma = 0.3 * (radius - 1) + 0.8 if self.sigma is None else self.sigma
        bell = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
        return cast("NDArray[np.float64]", bell / bell.sum())

    def apply(self, image: Image, _rng: Generator, /) -> Image:
        """Columns, then rows."""
        from scipy.ndimage import correlate1d

        weights = self.weights()
        if len(weights) == 1:
            return image
        out = np.empty(image.shape, np.float32)
        for plane, blurred in zip(image, out, strict=True):
            correlate1d(plane, weights, axis=0, output=blurred, mode="mirror")
            correlate1d(blurred, weights, axis=1, output=blurred, mode="mirror")
        return out  # means with weights that SciPy adds up in float64: none leaves [0, 1]


@dataclass(frozen=True, slots=True)
class Jpeg:
    """Saved as JPEG and read again: libjpeg's own tables, chroma halved (4:2:0)."""

    quality: int  # 1 to 100

    def __post_init__(self) -> None:
        check_number("quality", self.quality, 1, 100, whole=True)

    def apply(self, image: Image, _rng: Generator, /) -> Image:
        """8-bit levels."""
        return jpeg_round_trip(image, self.quality)


@dataclass(frozen=True, slots=True)
class Webp:
    """Saved as lossy WebP and read again."""

    quality: int  # 1 to 100

    def __post_init__(self) -> None:
        check_number("quality", self.quality, 1, 100, whole=True)

    def apply(self, image: Image, _rng: Generator, /) -> Image:
        """8-bit levels. Raises ImageError where a side is longer than the format allows (16383 pixels)."""
        picture = eight_bit_picture(image)
        stream = io.BytesIO()
        try:
            picture.save(stream, "WEBP", quality=self.quality)
        except (OSError, ValueError) as error:
            raise ImageError(
                f"{picture.width} × {picture.height} pixels do not fit a WebP file: {error}"
            ) from None
        with PIL.Image.open(stream, formats=("WEBP",)) as read:
            return planar(np.asarray(read), 255)


@dataclass(frozen=True, slots=True)
class Noise:
    """Gaussian noise, independent for each pixel and channel."""

    variance: float  # on the scale of 0 to 255: a variance and not a standard deviation

    def __post_init__(self) -> None:
        check_number("variance", self.variance, 0, 65025)

    def apply(self, image: Image, rng: Generator, /) -> Image:
        """What leaves [0, 1] is clipped."""
        deviation = np.float32(math.sqrt(self.variance) / 255)
        out = np.empty(image.shape, np.float32)
        source, target = np.ascontiguousarray(image).reshape(-1), out.reshape(-1)
        for start in range(0, target.size, BLOCK):
            block = target[start : start + BLOCK]
            rng.standard_normal(out=block, dtype=np.float32)
            block *= deviation
            block += source[start : start + BLOCK]
            np.clip(block, 0, 1, out=block)
        return out


@dataclass(frozen=True, slots=True)
class Resize:
    """Resampled by a bicubic filter (antialiased where it shrinks), and back to the old size."""

    factor: float  # of both sides; above 1 it is first enlarged
    keep: bool = False  # whether the new size stays

    def __post_init__(self) -> None:
        check_number("factor", self.factor, 0.01, 4)

    def apply(self, image: Image, _rng: Generator, /) -> Image:
        """A side has one pixel at least."""
        size = image.shape[1:]
        height, width = (max(1, round(length * self.factor)) for length in size)
        if (height, width) == size:
            return image
        other = images.resize(image, height, width, filter="bicubic")
        return other if self.keep else images.resize(other, *size, filter="bicubic")


@dataclass(frozen=True, slots=True)
class Screenshot:
    """Shown on a screen, captured without loss, and sent on.

    A picture is shown at 1.25 device pixels for each of its own, or smaller where the screen has not so many:
    a factor that is seldom a whole number. Graphics hardware interpolates linearly. Captures are PNG files.
    """

    jpeg: int | None = field(
        default=None, kw_only=True
    )  # quality at which the capture is sent on; PNG without

    def __post_init__(self) -> None:
        if self.jpeg is not None:
            check_number("jpeg", self.jpeg, 1, 100, whole=True)

    def apply(self, image: Image, rng: Generator, /) -> Image:
        """The picture's part of the screen, without what stands around it."""
        size = image.shape[1:]
        factor = min(SCREEN_SCALE, *(most / length for most, length in zip(SCREEN, size, strict=True)))
        height, width = (max(1, round(length * factor)) for length in size)
        if (height, width) != size:
            image = images.resize(image, height, width, filter="bilinear")
        return image if self.jpeg is None else Jpeg(self.jpeg).apply(image, rng)


def round_to_levels(image: Image) -> None:
    """Round an image to 8-bit levels, in place: to what `image.decode` gives for a lossless file of it.

    Args:    image: (3, H, W) float32 in [0, 1], C-contiguous.
    """
    values = image.reshape(-1)
    for start in range(0, values.size, BLOCK):
        block = values[start : start + BLOCK]
        block *= np.float32(255)
        np.rint(block, out=block)
        block /= np.float32(255)


def check_pixels(image: NDArray[Any]) -> None:
    """Raises ImageError unless the array is an image: floats of shape (3, H, W), all in [0, 1]."""
    check_image(image)
    if not (image.size and image.min() >= 0 and image.max() <= 1):  # also False for NaN
        raise ImageError(
            f"expected a picture of values in [0, 1], found shape {image.shape}"
            + (f" and values from {image.min():g} to {image.max():g}" if image.size else "")
        )


def check_number(name: str, value: float, low: float, high: float, *, whole: bool = False) -> None:
    """Raises ConfigError unless a number lies between two others, both included."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (is_number and low <= value <= high and (not whole or value == int(value))):
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"{name} is {kind} from {low:g} to {high:g}, found {value!r}")
