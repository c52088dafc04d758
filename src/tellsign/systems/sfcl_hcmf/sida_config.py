"""Options of SIDA as a detector of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from tellsign.configuration import check_choice, is_number
from tellsign.detectors.preprocessing import DescriptorInput
from tellsign.types import ConfigError

Classifier = Literal["logistic_regression", "gradient_boosting"]
# The best of 1e-4, 1e-3, 1e-2 and 1e-1 by AUROC (0.672, 0.666, 0.650, 0.642) on the 606 validation images of
# the detector that ships, 474 of them of stylegan140k; no image of a split test is among them.
CHOSEN_C = 1e-4


@dataclass(frozen=True, slots=True)
class SidaConfig:
    """The 2304 statistics of block-DCT differences, and the classifier that judges them."""

    classifier: Classifier = "logistic_regression"  # of z-scored descriptors
    c: float = CHOSEN_C  # of logistic regression: the smaller, the nearer to zero are the weights
    trees: int = 200  # of gradient boosting
    leaves: int = 8  # of a tree, at most
    leaf_images: int = 20  # training images that a leaf holds at least
    learning_rate: float = 0.1  # share of its correction that a tree makes
    l2: float = 1.0  # the larger, the smaller are the values of leaves
    region: Literal["image", "face"] = "image"  # what is looked at
    crop: int | None = None  # side of native crops in pixels; none: the whole image, of any size
    max_crops: int = 1  # crops of a large image, whose descriptors are averaged

    def __post_init__(self) -> None:
        check_choice("classifier", self.classifier, get_args(Classifier))
        for name in ("c", "learning_rate"):
            value = getattr(self, name)
            if not is_number(value) or not 0 < value < math.inf:
                raise ConfigError(f"{name} must be a positive number, found {value!r}")
        if not is_number(self.l2) or not 0 <= self.l2 < math.inf:
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
