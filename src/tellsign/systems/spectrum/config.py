"""Options of the spectrum system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tellsign.detectors.preprocessing import ProfileInput
from tellsign.types import ConfigError

CLASSIFIERS = ("linear_svm", "rbf_svm", "logistic_regression", "kmeans")


@dataclass(frozen=True, slots=True)
class SpectrumConfig:
    """The profile that is taken and the classifier that judges it. Defaults are the published settings."""

    classifier: Literal["linear_svm", "rbf_svm", "logistic_regression", "kmeans"] = "rbf_svm"
    c: float = 6.37  # penalty of SVM and logistic regression; the papers' code uses 1 for the linear ones
    gamma: float = 0.86  # width of the RBF kernel
    standardise: bool = False  # z-score each bin with training statistics; the papers' code doesn't
    region: Literal["image", "face"] = "image"
    crop: int | None = 128  # side of the native crops in pixels
    max_crops: int = 9
    preset: Literal["official", "paper"] = "official"
    length: int | None = None
    normalise: Literal["none", "first", "minmax"] = "first"

    def __post_init__(self) -> None:
        if self.classifier not in CLASSIFIERS:
            raise ConfigError(f"classifier is one of {', '.join(CLASSIFIERS)}, found {self.classifier!r}")
        for name in ("c", "gamma"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive, found {getattr(self, name)!r}")
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
