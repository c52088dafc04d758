"""What a network sees of a picture, or of a face that was cut out of one.

Shapes: N crops of an image, C channels (3), H W pixels, S side of a crop, D numbers of a descriptor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from tellsign.configuration import check_whole
from tellsign.features.colour import ycbcr
from tellsign.features.dct import block_dct, whole_blocks
from tellsign.features.sida import LENGTH, sida
from tellsign.image.crops import centre_crop, resize, square_crops
from tellsign.types import ConfigError, TooSmallError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8] | NDArray[np.floating[Any]]

Region = Literal["image", "face"]
Fit = Literal["crop", "resize"]
Descriptor = Literal["none", "sida"]

SMALLEST = 16  # side of what is looked at: of less, spectra and statistics say nothing
FILTER = "bilinear"  # of what is resized, antialiased
LENGTHS: dict[str, int] = {"none": 0, "sida": LENGTH}  # D


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """How an image becomes what a network takes."""

    size: int = 224  # S, side of the square crops in pixels
    max_crops: int = 1  # of a large image, evenly spread; 1: the centre
    fit: Fit = "crop"  # native crops, or one: the square in the middle, resized
    descriptor: Descriptor = "none"  # statistics of the whole at native size, beside the crops
    region: Region = "image"  # what is looked at: the picture, or the face in it

    def __post_init__(self) -> None:
        check_whole("size", self.size, SMALLEST)
        check_whole("max_crops", self.max_crops, 1)
        for name, choices in (("fit", Fit), ("descriptor", Descriptor), ("region", Region)):
            if getattr(self, name) not in get_args(choices):
                raise ConfigError(
                    f"{name} is {' or '.join(get_args(choices))}, found {getattr(self, name)!r}"
                )
        if self.fit == "resize" and self.max_crops != 1:
            raise ConfigError(f'max_crops is 1 with fit = "resize", found {self.max_crops}')

    @property
    def n_descriptor(self) -> int:
        """D, how many numbers the descriptor has; 0 without one."""
        return LENGTHS[self.descriptor]


class Seen(NamedTuple):
    """What a network takes of one image."""

    crops: Pixels  # (N, 3, S, S)
    descriptor: NDArray[np.float32] | None = None  # (D,)


def seen(image: NDArray[np.floating[Any]], look: NetworkInput) -> Seen:
    """What a network takes of an image.

    Args:    image: (3, H, W) in [0, 1]; the face alone, where faces are looked at.
             look: how.
    Returns: crops in [0, 1], and the descriptor where there is one.
    Raises:  TooSmallError: the image is smaller than a crop, or than the 16 pixels that are resized at least.
    """
    if look.fit == "resize":
        crops: Pixels = resized(image, look.size)[None]
    else:
        height, width = image.shape[-2:]
        if min(height, width) < look.size:
            raise TooSmallError(
                f"the {look.region} is {width} × {height} pixels, this detector needs at least "
                f"{look.size} × {look.size}; it is not enlarged, that would change its spectrum"
            )
        crops = square_crops(image, look.size, look.max_crops)
    return Seen(crops, described(image, look.descriptor))


def resized(image: NDArray[np.floating[Any]], size: int) -> NDArray[np.float32]:
    """The square in the middle of an image, resized.

    Args:    image: (3, H, W) in [0, 1]. size: S.
    Returns: (3, S, S) float32.
    Raises:  TooSmallError: the image has a side of less than 16 pixels.
    """
    side = min(image.shape[-2:])
    if side < SMALLEST:
        height, width = image.shape[-2:]
        raise TooSmallError(
            f"what is looked at is {width} × {height} pixels, and is resized from {SMALLEST} × {SMALLEST} on"
        )
    return resize(centre_crop(image, side), size, size, filter=FILTER)


def described(image: NDArray[np.floating[Any]], descriptor: Descriptor) -> NDArray[np.float32] | None:
    """The statistics of an image at native size.

    Args:    image: (3, H, W) in [0, 1], cut to whole blocks of 8 × 8 pixels here.
             descriptor: which.
    Returns: (D,) float32; None where none is asked for.
    Raises:  TooSmallError: the image is smaller than 16 × 16 pixels.
    """
    if descriptor == "none":
        return None
    pixels = np.asarray(image, dtype=np.float32)[None]
    return np.asarray(sida(block_dct(ycbcr(whole_blocks(pixels))))[0], dtype=np.float32)
