"""Options of the spectrum system."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from tellsign.configuration import check_choice, check_flags, is_number
from tellsign.detectors.preprocessing import ProfileInput
from tellsign.types import ConfigError

CLASSIFIERS = ("linear_svm", "rbf_svm", "logistic_regression", "kmeans")


@dataclass(frozen=True, slots=True)
class SpectrumConfig:
    """The profile that is taken and the classifier that judges it. Defaults are the published settings."""

    classifier: Literal["linear_svm", "rbf_svm", "logistic_regression", "kmeans"] = "rbf_svm"  # of profiles
    c: float = 6.37  # penalty of SVM and logistic regression; the papers' code uses 1 for the linear ones
    gamma: float = 0.86  # width of the RBF kernel
    standardise: bool = False  # z-score each bin with training statistics; the papers' code doesn't
    region: Literal["image", "face"] = "image"  # what is looked at
    crop: int | None = 128  # side of the native crops in pixels; none: the whole image
    max_crops: int = 3  # crops of a large image, whose profiles are averaged
    preset: Literal["official", "paper"] = "official"  # the authors' code, or the paper's eq. 2
    length: int | None = None  # bins after interpolation; none: one a ring
    normalise: Literal["none", "first", "minmax"] = "first"  # of each profile

    def __post_init__(self) -> None:
        check_choice("classifier", self.classifier, CLASSIFIERS)
        for name in ("c", "gamma"):
            value = getattr(self, name)
            if not is_number(value) or not 0 < value < math.inf:
                raise ConfigError(f"{name} must be a positive number, found {value!r}")
        check_flags(self, "standardise")
        _ = self.input  # checks the rest

    @property
    def input(self) -> ProfileInput:
        """The part that the detector needs to run."""
        return ProfileInput(
            region=self.region,
            crop=self.crop,
            max_crops=self.max_crops,
            preset=self.preset,
            length=self.length,
            normalise=self.normalise,
        )

    def classifier_settings(self) -> dict[str, Any]:
        """What distinguishes two classifiers on the same features."""
        return {
            "classifier": self.classifier,
            "c": self.c,
            "gamma": self.gamma,
            "standardise": self.standardise,
        }
