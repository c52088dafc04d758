"""What a network sees of an image in training: a random native crop, turned and recoloured where asked.

Shapes: C channels (3), H W pixels, S pixels of a crop's side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

from tellsign.configuration import check_flags, is_number
from tellsign.features.spectrum import grey
from tellsign.image.network_input import Descriptor, Fit, NetworkInput, Region, Seen, described, resized
from tellsign.types import ConfigError, ImageError, TooSmallError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8] | NDArray[np.floating[Any]]

SHOWN = 0.25  # of a box or of the crop, whichever is smaller: less of a box in a crop is none of it


@dataclass(frozen=True, slots=True)
class View:
    """How an image becomes what a network sees in training."""

    size: int = 224  # side of the crop in pixels
    flip: bool = True  # left and right exchanged in half of all cases
    rotation: float = 0.0  # degrees, uniform from -rotation to rotation; 0: pixels are never interpolated
    jitter: float = 0.0  # brightness, contrast and saturation by factors from 1 - jitter to 1 + jitter
    fit: Fit = "crop"  # a native crop somewhere, or the square in the middle, resized
    descriptor: Descriptor = "none"  # statistics of the whole as it is, whatever is done to the crop
    region: Region = "image"  # what is looked at: the picture, or the face in it

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 1:
            raise ConfigError(f"size is a whole number of pixels from 1, found {self.size!r}")
        check_flags(self, "flip")
        for name, most in (("rotation", 180), ("jitter", 1)):
            value = getattr(self, name)
            if not (is_number(value) and 0 <= value <= most):  # also refuses NaN
                raise ConfigError(f"{name} is a number from 0 to {most}, found {value!r}")

    def network_input(self, max_crops: int = 1) -> NetworkInput:
        """What the network takes outside of training. Raises ConfigError as `NetworkInput` does."""
        return NetworkInput(self.size, max_crops, self.fit, self.descriptor, self.region)


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """What is random about one training view."""

    top: int  # of the crop in the image
    left: int
    flip: bool  # left and right are exchanged, after the turn
    angle: float  # radians by which the crop is turned about its centre; 0 where the view has no rotation
    factors: NDArray[np.float64]  # (3,) of brightness, contrast and saturation


def placement(height: int, width: int, view: View, rng: Generator) -> Placement:
    """Where and how a view is taken of an image.

    Drawn in this order whatever the options, so that one that is added leaves the others as they were: row
    and column of the crop, its flip, its angle, its three factors.

    Args:    height, width: H and W of the image, at least the view's size.
             view: what is done to it.
             rng: the source of all that is random.
    Returns: what was drawn; what the view does not do is not in it.
    """
    top, left = (int(rng.integers(length - view.size + 1)) for length in (height, width))
    flip = rng.random() < 0.5
    angle = math.radians(view.rotation * rng.uniform(-1, 1))
    return Placement(top, left, view.flip and flip, angle, 1 + view.jitter * rng.uniform(-1, 1, 3))


def placed_box(
    box: Sequence[float] | NDArray[Any], size: int, placed: Placement
) -> tuple[float, float, float, float]:
    """Where a box of an image lies in a view of it.

    A turned box becomes the upright one around it. What sticks out of the crop is cut off.

    Args:    box: left, top, right, bottom in pixels of the image, the last two exclusive.
             size: S of the view.
             placed: how the view is taken.
    Returns: left, top, right, bottom in pixels of the crop; zeros where the box has no area, or too little of
             it is in the crop.

    Example:
        >>> placed_box((10, 5, 20, 15), 32, Placement(4, 8, True, 0.0, np.ones(3)))
        (20.0, 1.0, 30.0, 11.0)
    """
    left, top, right, bottom = (float(edge) for edge in box)
    # Seen from the crop's centre, about which it is turned.
    middle = size / 2
    across = np.array([left, right, left, right]) - placed.left - middle
    down = np.array([top, top, bottom, bottom]) - placed.top - middle
    cosine, sine = math.cos(placed.angle), math.sin(placed.angle)
    x, y = cosine * across - sine * down, sine * across + cosine * down
    if placed.flip:
        x = -x
    edges = np.array([x.min(), y.min(), x.max(), y.max()]) + middle
    inside = np.clip(edges, 0, size)
    areas = [(r - l) * (b - t) for l, t, r, b in (inside, edges)]  # noqa: E741
    if right <= left or bottom <= top or areas[0] < SHOWN * min(areas[1], size**2):
        return 0.0, 0.0, 0.0, 0.0
    return tuple(inside.tolist())


def training_view(image: Pixels, view: View, rng: Generator) -> Seen:
    """What a network takes of an image in training.

    Args:    image: (3, H, W) sRGB in [0, 1], or its uint8 levels; the face alone, where faces are looked at.
             view: what is done to it. rng: the source of all that is random.
    Returns: one crop, as `augmented` gives it, and the descriptor of the image where there is one.
    Raises:  TooSmallError, ImageError: as `augmented` and `described` do.
    """
    descriptor = None if view.descriptor == "none" else described(unit(image), view.descriptor)
    crop = augmented(resized(unit(image), view.size) if view.fit == "resize" else image, view, rng)
    return Seen(crop[None], descriptor)


def augmented(image: Pixels, view: View, rng: Generator) -> NDArray[np.uint8] | NDArray[np.float32]:
    """One training view of an image.

    What is random is drawn as `placement` says. A crop is turned about its centre, with the pixels of the
    image around it; beyond the image's border it goes on as in a mirror that stands on the last pixel.
    Brightness, contrast (about the crop's mean grey) and saturation follow in this order, each clipped to
    [0, 1].

    Args:    image: (3, H, W) sRGB in [0, 1], or its uint8 levels.
             view: what is done to it.
             rng: the source of all that is random.
    Returns: (3, S, S), a copy: float32 in [0, 1], or levels where those were given and none is computed anew.
    Raises:  TooSmallError: the image is smaller than the crop; ImageError: the array is no image.

    Example:
        >>> image = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
        >>> augmented(image, View(size=4, flip=False), np.random.default_rng(0)).shape
        (3, 4, 4)
    """
    _check(image, view.size)
    placed = placement(image.shape[1], image.shape[2], view, rng)
    top, left = placed.top, placed.left
    if view.rotation:
        crop: Pixels = _turned(image, top, left, view.size, placed.angle)
    else:
        crop = image[:, top : top + view.size, left : left + view.size]
    if placed.flip:
        crop = crop[:, :, ::-1]
    if view.jitter:
        return _recoloured(unit(crop), placed.factors)
    if crop.dtype == np.uint8:
        return np.array(crop, dtype=np.uint8, order="C")
    return np.array(crop, dtype=np.float32, order="C")


def unit(pixels: Pixels) -> NDArray[np.float32]:
    """Levels as the numbers that `image.decode` gives for them.

    Args:    pixels: uint8 levels, or floats in [0, 1] already.
    Returns: float32 in [0, 1], each level the float32 nearest to level / 255.
    """
    if pixels.dtype != np.uint8:
        return np.asarray(pixels, dtype=np.float32)
    out = pixels.astype(np.float32)
    out /= np.float32(255)
    return out


def _check(image: Pixels, size: int) -> None:
    is_pixels = image.dtype == np.uint8 or np.issubdtype(image.dtype, np.floating)
    if image.ndim != 3 or image.shape[0] != 3 or not is_pixels:
        raise ImageError(
            f"expected an image of shape (3, H, W), floats or uint8; found {image.dtype} {image.shape}"
        )
    height, width = image.shape[1:]
    if min(height, width) < size:
        raise TooSmallError(
            f"the image has {width} × {height} pixels, smaller than the {size} × {size} needed; "
            "enlarging would invent a spectrum, so use a larger original or ask for a smaller size"
        )


def _turned(image: Pixels, top: int, left: int, size: int, angle: float) -> NDArray[np.float32]:
    """The crop turned by an angle in radians, bilinear."""
    cosine, sine = math.cos(angle), math.sin(angle)
    # The turned square's bounding box, and a pixel more for the interpolation's neighbours.
    margin = math.ceil(size * (abs(cosine) + abs(sine) - 1) / 2) + 1
    side = size + 2 * margin
    window = unit(_window(image, top - margin, left - margin, side))
    middle = size / 2
    shift = margin + middle - middle * cosine
    coefficients = (cosine, sine, shift - middle * sine, -sine, cosine, shift + middle * sine)
    out = np.empty((3, size, size), np.float32)
    for plane, turned in zip(window, out, strict=True):
        picture = PIL.Image.fromarray(np.ascontiguousarray(plane))
        turned[...] = np.asarray(
            picture.transform(
                (size, size), PIL.Image.Transform.AFFINE, coefficients, PIL.Image.Resampling.BILINEAR
            )
        )
    return out  # means with weights that Pillow adds up in float64: none leaves [0, 1]


def _window(image: Pixels, top: int, left: int, side: int) -> Pixels:
    """A square that may reach beyond the image, which goes on there mirrored."""
    height, width = image.shape[1:]
    if min(top, left) >= 0 and top + side <= height and left + side <= width:
        return image[:, top : top + side, left : left + side]
    rows, columns = _mirrored(top, side, height), _mirrored(left, side, width)
    return image.take(rows, axis=1).take(columns, axis=2)


def _mirrored(start: int, count: int, length: int) -> NDArray[np.intp]:
    """Indices from `start` on, folded back into 0 … length - 1."""
    period = max(1, 2 * (length - 1))
    folded = np.arange(start, start + count) % period
    return np.minimum(folded, period - folded) if length > 1 else np.zeros(count, np.intp)


def _recoloured(image: NDArray[np.float32], factors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Brightness, contrast and saturation of an image changed by three factors."""
    brightness, contrast, saturation = factors.astype(np.float32)
    out: NDArray[np.float32] = np.clip(image * brightness, 0, 1)
    middle = np.float32(np.mean(np.asarray(grey(out)), dtype=np.float64))
    np.clip(contrast * out + (1 - contrast) * middle, 0, 1, out=out)
    np.clip(saturation * out + (1 - saturation) * np.asarray(grey(out)), 0, 1, out=out)
    return out
