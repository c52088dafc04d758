"""From an image to the numbers that a detector looks at, as its artifact says.

Nothing is resized before a spectrum is taken: a detector looks at native crops and averages them.

Shapes: C channels, H W pixels, N crops, K features: frequency bins of a profile, numbers of a descriptor.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np

from tellsign.features import spectrum
from tellsign.features.dct import log_dct
from tellsign.image.network_input import LENGTHS, SMALLEST, NetworkInput, described, seen
from tellsign.types import ArtifactError, ConfigError, TooSmallError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.types import FloatArray

PROFILE_CROP = 128  # pixels; of the domain check's profile, where a detector's crop is as large
PROFILE_LENGTH = 64  # bins of that profile, where images of any size are looked at as a whole

Input = TypeVar("Input", "ProfileInput", "DescriptorInput")


@dataclass(frozen=True, slots=True)
class ProfileInput:
    """How an image becomes one spectrum profile."""

    key: ClassVar[str] = "profile"  # of what is judged, in what the detector takes of an image
    region: Literal["image", "face"] = "image"  # what is looked at
    crop: int | None = 128  # side of the native square crops in pixels; None: the whole image, any shape
    max_crops: int = 3  # crops of a large image, evenly spread; their log profiles are averaged
    preset: Literal["official", "paper"] = "official"
    length: int | None = None  # bins after interpolation; None: as many as there are
    normalise: Literal["none", "first", "minmax"] = "first"

    def __post_init__(self) -> None:
        _check_look(self)
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
        return _from_spec(cls, spec)

    def to_spec(self) -> dict[str, Any]:
        """The options as plain values."""
        return asdict(self)


def domain_input(region: Literal["image", "face"], crop: int | None) -> ProfileInput:
    """The profile that the domain check compares, of a detector that judges something else.

    Args:    region: what the detector looks at.
             crop: side of its native crops in pixels; None: the whole, of any size.
    Returns: of the middle, or of the whole.
    """
    if crop is None:
        return ProfileInput(region=region, crop=None, max_crops=1, length=PROFILE_LENGTH)
    return ProfileInput(region=region, crop=min(crop, PROFILE_CROP), max_crops=1)


@dataclass(frozen=True, slots=True)
class DescriptorInput:
    """How an image becomes one descriptor, and the profile that the domain check compares."""

    key: ClassVar[str] = "descriptor"  # of what is judged, in what the detector takes of an image
    region: Literal["image", "face"] = "image"  # what is looked at
    crop: int | None = None  # side of the native square crops in pixels; None: the whole image, any shape
    max_crops: int = 1  # crops of a large image, evenly spread; their descriptors are averaged
    descriptor: Literal["sida", "dct2d"] = "sida"  # block statistics, or the cosine transform of a crop
    profile: ProfileInput | None = None  # of the domain check; None: `domain_input`

    def __post_init__(self) -> None:
        _check_look(self)
        if self.descriptor not in ("sida", "dct2d"):
            raise ConfigError(f"descriptor is sida or dct2d, found {self.descriptor!r}")
        if self.descriptor == "dct2d" and self.crop is None:
            raise ConfigError("images of any size have as many coefficients as pixels; dct2d needs a crop")
        own = self.profile or domain_input(self.region, self.crop)
        if own.region != self.region or (own.crop or 0) > (self.crop or SMALLEST):
            raise ConfigError(
                f"the profile of the domain check has the crop {own.crop} of the {own.region}; expected the "
                f"region {self.region} and no more than the {self.crop or SMALLEST} pixels that the detector "
                "can do with"
            )
        object.__setattr__(self, "profile", own)

    @property
    def domain(self) -> ProfileInput:
        """What the domain check looks at."""
        assert self.profile is not None
        return self.profile

    @property
    def n_features(self) -> int:
        """K, the length of a descriptor."""
        if self.descriptor == "dct2d":
            assert self.crop is not None
            return 3 * self.crop**2
        return LENGTHS[self.descriptor]

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> DescriptorInput:
        """The options stored in an artifact. Raises ArtifactError for what this version can't carry out."""
        own = spec.get("profile")
        if own is None:
            return _from_spec(cls, spec)
        if not isinstance(own, dict):
            raise ArtifactError(f"the preprocessing 'profile' should be a table of options, found {own!r}")
        return _from_spec(cls, {**spec, "profile": ProfileInput.from_spec(own)})

    def to_spec(self) -> dict[str, Any]:
        """The options as plain values."""
        return asdict(self)


VectorInput = ProfileInput | DescriptorInput


def vector_input(spec: Mapping[str, Any]) -> VectorInput:
    """What a detector of vectors looks at.

    Args:    spec: the preprocessing that its artifact stores.
    Returns: the input of a descriptor where the artifact names one, otherwise that of a profile.
    Raises:  ArtifactError: this version can't carry it out.
    """
    return (DescriptorInput if "descriptor" in spec else ProfileInput).from_spec(spec)


def _check_look(options: VectorInput) -> None:
    """Raises ConfigError for a region, a crop or a number of crops that there can't be."""
    if options.region not in ("image", "face"):
        raise ConfigError(f"region is image or face, found {options.region!r}")
    for name, value, least in (("crop", options.crop, SMALLEST), ("max_crops", options.max_crops, 1)):
        if value is None and name == "crop":
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"{name} must be a whole number of at least {least}, found {value!r}")


def _from_spec(cls: type[Input], spec: Mapping[str, Any]) -> Input:
    known = {field.name for field in fields(cls)}
    if unknown := sorted(set(spec) - known):
        raise ArtifactError(f"unknown preprocessing {unknown}; this version knows {sorted(known)}")
    try:
        return cls(**spec)
    except ConfigError as error:
        raise ArtifactError(f"its preprocessing cannot be carried out: {error}") from error


def native_crops(image: FloatArray, options: VectorInput) -> FloatArray:
    """The pixels that a detector looks at.

    Args:    image: (3, H, W) in [0, 1].
             options: crop and max_crops.
    Returns: (N, 3, size, size), or (1, 3, H, W) without a crop size.
    Raises:  TooSmallError: the image is smaller than one crop.
    """
    height, width = image.shape[-2:]
    if options.crop is None:
        if min(height, width) < SMALLEST:
            raise TooSmallError(
                f"the {options.region} is {width} × {height} pixels, a {options.key} needs at least "
                f"{SMALLEST} × {SMALLEST}"
            )
        return image[None]
    return np.asarray(seen(image, NetworkInput(options.crop, options.max_crops, region=options.region)).crops)


def features(image: FloatArray, options: VectorInput) -> FloatArray:
    """What a detector of vectors judges.

    Args:    image: (3, H, W) in [0, 1].
             options: the detector's input.
    Returns: (K,) float64, a profile or a descriptor.
    Raises:  TooSmallError: the image is smaller than one crop.
    """
    return profile(image, options) if isinstance(options, ProfileInput) else descriptor(image, options)


def descriptor(image: FloatArray, options: DescriptorInput) -> FloatArray:
    """The mean descriptor of an image's native crops.

    Block statistics are taken of whole blocks of 8 × 8 pixels. The logarithms of a cosine transform stand
    channel after channel, row after row.

    Args:    image: (3, H, W) in [0, 1].
             options: the detector's input.
    Returns: (K,) float64.
    Raises:  TooSmallError: the image is smaller than one crop.
    """
    crops = native_crops(image, options)
    if options.descriptor == "dct2d":
        return np.asarray(log_dct(crops.astype(np.float64)).mean(axis=0).ravel())
    rows = np.array([described(crop, options.descriptor) for crop in crops])
    return np.asarray(np.mean(rows, axis=0, dtype=np.float64))


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
