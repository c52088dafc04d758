"""From an image to the numbers that a detector looks at, as its artifact says.

Nothing is resized before a spectrum is taken: a detector looks at native crops and averages them.

Shapes: C channels, H W pixels, N crops, K frequency bins.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tellsign.features import spectrum
from tellsign.image import square_crops
from tellsign.types import ArtifactError, ConfigError, TooSmallError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.types import FloatArray


WHOLE_IMAGE = 16  # smallest side of an image that is looked at whole: fewer rings say nothing


@dataclass(frozen=True, slots=True)
class ProfileInput:
    """How an image becomes one spectrum profile."""

    region: Literal["image", "face"] = "image"  # what is looked at
    crop: int | None = 128  # side of the native square crops in pixels; None: the whole image, any shape
    max_crops: int = 3  # crops of a large image, evenly spread; their log profiles are averaged
    preset: Literal["official", "paper"] = "official"
    length: int | None = None  # bins after interpolation; None: as many as there are
    normalise: Literal["none", "first", "minmax"] = "first"

    def __post_init__(self) -> None:
        if self.region not in ("image", "face"):
            raise ConfigError(f"region is image or face, found {self.region!r}")
        for name, value, least in (("crop", self.crop, 16), ("max_crops", self.max_crops, 1)):
            if value is None and name == "crop":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"{name} must be a whole number of at least {least}, found {value!r}")
        if self.crop is None and self.length is None:
            raise ConfigError("images of any size need a profile of fixed length; set length, or a crop")
        _ = spectrum.ProfileOptions(self.preset, self.length, self.normalise)  # checks the rest

    @property
    def n_features(self) -> int:
        """K, the length of a profile."""
        if self.length is not None:
            return self.length
        assert self.crop is not None
        return spectrum.n_rings(self.crop, self.crop, self.preset)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> ProfileInput:
        """The options stored in an artifact. Raises ArtifactError for what this version can't carry out."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(spec) - known):
            raise ArtifactError(f"unknown preprocessing {unknown}; this version knows {sorted(known)}")
        try:
            return cls(**spec)
        except ConfigError as error:
            raise ArtifactError(f"its preprocessing cannot be carried out: {error}") from error

    def to_spec(self) -> dict[str, Any]:
        """The options as plain values."""
        return asdict(self)


def native_crops(image: FloatArray, options: ProfileInput) -> FloatArray:
    """The pixels that a detector looks at.

    Args:    image: (3, H, W) in [0, 1].
             options: crop and max_crops.
    Returns: (N, 3, size, size), or (1, 3, H, W) without a crop size.
    Raises:  TooSmallError: the image is smaller than one crop.
    """
    height, width = image.shape[-2:]
    if options.crop is None:
        if min(height, width) < WHOLE_IMAGE:
            raise TooSmallError(
                f"the {options.region} is {width} × {height} pixels, a profile needs at least "
                f"{WHOLE_IMAGE} × {WHOLE_IMAGE}"
            )
        return image[None]
    if min(height, width) < options.crop:
        raise TooSmallError(
            f"the {options.region} is {width} × {height} pixels, this detector needs at least "
            f"{options.crop} × {options.crop}; it is not enlarged, that would change its spectrum"
        )
    return square_crops(image, options.crop, options.max_crops)


def profile(image: FloatArray, options: ProfileInput) -> FloatArray:
    """The mean spectrum profile of an image's native crops.

    Args:    image: (3, H, W) in [0, 1].
             options: the detector's input.
    Returns: (K,) float64.
    Raises:  TooSmallError: the image is smaller than one crop.
    """
    # The published features were taken on grey levels 0 to 255; the scale shifts a log profile.
    grey = 255 * spectrum.grey(native_crops(image, options))
    rows = spectrum.profile(
        grey,
        preset=options.preset,
        length=options.length,
        normalise=options.normalise,
        square=options.crop is not None,
    )
    return np.asarray(np.mean(rows, axis=0, dtype=np.float64))
