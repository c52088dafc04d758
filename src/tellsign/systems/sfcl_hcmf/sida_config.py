"""Options of SIDA as a detector of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tellsign.detectors.preprocessing import DescriptorInput
from tellsign.types import ConfigError

Classifier = Literal["logistic_regression", "gradient_boosting"]


@dataclass(frozen=True, slots=True)
class SidaConfig:
    """The 2304 statistics of block-DCT differences, and the classifier that judges them."""

    classifier: Classifier = "logistic_regression"  # of z-scored descriptors
    c: float = 0.0001  # of logistic regression: the smaller, the nearer to zero are the weights
    trees: int = 200  # of gradient boosting
    leaves: int = 8  # of a tree, at most
    leaf_images: int = 20  # training images that a leaf holds at least
    learning_rate: float = 0.1  # share of its correction that a tree makes
    l2: float = 1.0  # the larger, the smaller are the values of leaves
    region: Literal["image", "face"] = "image"  # what is looked at
    crop: int | None = None  # side of native crops in pixels; none: the whole image, of any size
    max_crops: int = 1  # crops of a large image, whose descriptors are averaged

    def __post_init__(self) -> None:
        if self.classifier not in get_args(Classifier):
            raise ConfigError(
                f"classifier is one of {', '.join(get_args(Classifier))}, found {self.classifier!r}"
            )
        for name in ("c", "learning_rate"):
            if not _is_number(getattr(self, name)) or getattr(self, name) == 0:
                raise ConfigError(f"{name} must be a positive number, found {getattr(self, name)!r}")
        if not _is_number(self.l2):
            raise ConfigError(f"l2 must be a number of at least 0, found {self.l2!r}")
        for name, least in (("trees", 1), ("leaves", 2), ("leaf_images", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"{name} must be a whole number of at least {least}, found {value!r}")
        _ = self.input  # checks the rest

    @property
    def input(self) -> DescriptorInput:
        """The part that the detector needs to run."""
        return DescriptorInput(region=self.region, crop=self.crop, max_crops=self.max_crops)

    @property
    def descriptor(self) -> str:
        """Which statistics are taken, as an artifact stores it."""
        return self.input.descriptor

    @property
    def profile(self) -> dict[str, Any]:
        """The spectrum profile that the domain check compares, as an artifact stores it."""
        return self.input.domain.to_spec()


def _is_number(value: object) -> bool:
    """Whether it is finite and not negative."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf
