"""From a score to a label: calibration, operating point, prior and domain check in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tellsign.calibration import Calibration, OperatingPoint, threshold_at_fpr
from tellsign.types import ArtifactError, ConfigError, NotFittedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.artifacts import Artifact
    from tellsign.types import FloatArray

Label = Literal["real", "fake", "uncertain"]
DOMAIN_ARRAYS = (
    "domain.mean",
    "domain.std",
    "domain.precision",
    "domain.scales",
    "scores.real",
    "scores.fake",
)


def require_domain(artifact: Artifact) -> None:
    """See that a detector knows what its training images were like, as those of `tellsign train` do.

    Args:    artifact: a fitted detector.
    Raises:  NotFittedError: it does not, as the cells of a study and whatever a system's `fit` writes.
    """
    if "domain.mean" not in artifact.arrays:
        raise NotFittedError(
            f"{artifact.path} lacks the statistics of its training images, without which it can't say what "
            "is outside of them: it is a cell of a study, or was written by a system's fit; train a detector "
            "with tellsign train CONFIG --data MANIFEST -o FOLDER"
        )


def domain_distance(profiles: FloatArray, arrays: Mapping[str, FloatArray]) -> FloatArray:
    """How far spectrum profiles are from those a detector was trained on.

    The larger of two distances: `domain_level`, which grows where an image is sharper or softer as a whole,
    and `domain_shape`, which grows where its profile bends as no training profile does. Each is divided by
    the value that one training image in a hundred exceeds.

    Args:    profiles: (B, K).
             arrays: of the artifact; domain.mean and domain.std (K,), domain.precision (K, K),
             domain.scales (2,).
    Returns: (B,), about 1 at the edge of the training images.
    """
    z = (profiles - arrays["domain.mean"]) / arrays["domain.std"]
    distances = np.stack([domain_level(z), domain_shape(z, arrays["domain.precision"])])
    return np.asarray(np.max(distances / arrays["domain.scales"][:, None], axis=0))


def domain_level(z: FloatArray) -> FloatArray:
    """(B, K) deviations in standard deviations → (B,) their root mean square over frequencies."""
    return np.asarray(np.sqrt(np.mean(np.square(z), axis=-1)))


def domain_shape(z: FloatArray, precision: FloatArray) -> FloatArray:
    """(B, K) deviations → (B,) Mahalanobis distance, divided by the root of K."""
    # Row by row, so that to the last bit an image's distance doesn't depend on its neighbours.
    squared = np.array([row @ precision @ row for row in z])
    return np.asarray(np.sqrt(squared / z.shape[-1]))


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything that turns a score into a verdict."""

    calibration: Calibration
    operating_point: OperatingPoint
    prior: float  # share of fakes that probabilities assume
    domain_limit: float  # largest distance at which the detector is trusted

    @classmethod
    def of(
        cls, artifact: Artifact, *, fpr: float | Literal["eer"] | None = None, prior: float | None = None
    ) -> Decision:
        """The decision stored in an artifact, moved to a user's rate and prior.

        Args:    artifact: a calibrated detector.
                 fpr: false-positive rate to aim at instead of the stored one; "eer": the stored point of
                 equal error.
                 prior: share of fakes the user expects instead of the calibration data's.
        Returns: the decision.
        Raises:  NotFittedError: the detector was never calibrated, or can't be.
                 ArtifactError: an array or a key of detector.json is missing that a decision needs.
                 ConfigError: the prior is not between 0 and 1, or the data can't support the rate.
        """
        spec = artifact.spec
        if "calibration" not in spec:
            require_domain(artifact)
            raise NotFittedError(
                f"{artifact.name} is not calibrated; run: tellsign calibrate {artifact.path} --data MANIFEST"
            )
        missing = [f"array {name!r}" for name in DOMAIN_ARRAYS if name not in artifact.arrays]
        missing += [f"key {name!r}" for name in ("operating_point", "domain") if name not in spec]
        if missing:
            raise ArtifactError(f"{artifact.path}: {missing[0]} is missing; train the detector again")
        calibration = Calibration.from_dict(spec["calibration"])
        point = OperatingPoint.from_dict(spec["operating_point"])
        if fpr == "eer":
            point = _equal_error(artifact)
        elif fpr is not None:
            high = threshold_at_fpr(artifact.arrays["scores.real"], fpr, n_groups=score_groups(artifact)[0])
            point = replace(point, high=high, low=min(point.low, high), fpr=fpr, rule="rates")
        if prior is not None and not 0 < prior < 1:
            raise ConfigError(f"--prior is a share between 0 and 1, found {prior}")
        return cls(
            calibration=calibration,
            operating_point=point,
            prior=calibration.prior if prior is None else prior,
            domain_limit=float(spec["domain"]["limit"]),
        )

    def probability(self, score: float) -> float:
        """Calibrated probability of fake at the decision's prior."""
        return float(self.calibration.probability(np.array([score]), prior=self.prior)[0])

    @property
    def threshold(self) -> float:
        """The probability, at the decision's prior, from which on the label is fake."""
        return self.probability(self.operating_point.high)

    def label(self, score: float) -> Label:
        """The label that the score alone gives."""
        return self.operating_point.label(score)

    def domain_warning(self, distance: float) -> str | None:
        """Why an input is outside what the detector knows, or None."""
        if distance <= self.domain_limit:
            return None
        found, limit = _told_apart(distance, self.domain_limit)
        return (
            f"its spectrum is unlike the images this detector was trained on (distance {found}, "
            f"limit {limit}): a verdict would be a guess"
        )

    def as_settings(self) -> dict[str, Any]:
        """What two runs must share for their rows to be comparable."""
        return {
            "prior": self.prior,
            "low": self.operating_point.low,
            "high": self.operating_point.high,
            "domain_limit": self.domain_limit,
        }


def _told_apart(first: float, second: float) -> tuple[str, str]:
    """Two unequal numbers as text, with two decimals or as many as it takes to see that they differ."""
    texts = str(first), str(second)
    for n_decimals in range(2, 17):
        texts = f"{first:.{n_decimals}f}", f"{second:.{n_decimals}f}"
        if texts[0] != texts[1]:
            break
    return texts


def score_groups(artifact: Artifact) -> tuple[int, int]:
    """In how many groups the stored calibration scores of reals and of fakes lie, unequal ones as fewer.

    Where a detector doesn't say, as those written before groups were counted, every score is one.
    """
    found = artifact.spec.get("calibration_groups", {})
    real, fake = (found.get(kind, len(artifact.arrays[f"scores.{kind}"])) for kind in ("real", "fake"))
    return int(real), int(fake)


def _equal_error(artifact: Artifact) -> OperatingPoint:
    stored = artifact.spec.get("operating_points", {}).get("eer")
    if stored is None:
        raise ConfigError(
            f"{artifact.name} holds no thresholds of equal error; calibrate it again: "
            f"tellsign calibrate {artifact.path} --data MANIFEST"
        )
    if "refused" in stored:
        raise ConfigError(stored["refused"])
    return OperatingPoint.from_dict(stored)
