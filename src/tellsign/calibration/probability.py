"""The calibrated probability of fake, at the prior of whoever asks.

Shapes: N calibration scores.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tellsign.calibration.checks import check_classes, check_keys, checked, count, number, numbers
from tellsign.calibration.curves import (
    Isotonic,
    Sigmoid,
    Temperature,
    isotonic_curve,
    sigmoid_curve,
    temperature_curve,
)
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike

    from tellsign.calibration.checks import Floats

Method = Literal["sigmoid", "isotonic", "temperature"]
Curve = Sigmoid | Isotonic | Temperature


@dataclass(frozen=True, slots=True)
class Calibration:
    """What turns a score into the probability of fake, at the prior of whoever asks."""

    curve: Curve
    n_real: int  # of the calibration data
    n_fake: int

    def __post_init__(self) -> None:
        check_classes(self.n_real, self.n_fake)

    @classmethod
    def fit(cls, labels: ArrayLike, scores: ArrayLike, *, method: Method = "sigmoid") -> Calibration:
        """A calibration fitted on scores that the detector was not trained on.

        Args:    labels: (N,) 0 real or 1 fake. scores: (N,) finite, higher = more fake.
                 method: sigmoid (Platt's) for few scores or a smooth curve; isotonic from a thousand on;
                 temperature for logits whose 0 is right and whose size alone is wrong.
        Returns: the calibration.
        Raises:  ConfigError: a class is missing, a score is not finite, lengths differ, unknown method, or
                 scores that no temperature can divide.
        """
        is_fake, _ = checked(labels, scores)
        n_fake = int(is_fake.sum())
        curves: dict[str, Callable[[ArrayLike, ArrayLike], Curve]] = {
            "sigmoid": sigmoid_curve,
            "isotonic": isotonic_curve,
            "temperature": temperature_curve,
        }
        if method not in curves:
            raise ConfigError(f"unknown calibration method {method!r}: expected one of {', '.join(curves)}")
        return cls(curves[method](labels, scores), len(is_fake) - n_fake, n_fake)

    @property
    def method(self) -> Method:
        """The name of the curve, as `fit` takes it."""
        if isinstance(self.curve, Temperature):
            return "temperature"
        return "sigmoid" if isinstance(self.curve, Sigmoid) else "isotonic"

    @property
    def prior(self) -> float:
        """Share of fakes in the calibration data: what an unshifted probability assumes."""
        return self.n_fake / (self.n_real + self.n_fake)

    def probability(self, scores: ArrayLike, *, prior: float | None = None) -> Floats:
        """Calibrated probability of fake, moved to the prior of the user.

        Before the shift it is kept 1 / (n + 2) away from 0 and 1, Laplace's estimate of a rate of which n
        calibration scores showed no case: n scores cannot support more certainty, and a probability of
        exactly 0 or 1 would answer to no prior.

        Args:    scores: any shape; infinities are allowed. prior: share of fakes, above 0 and below 1; None:
                 that of the calibration data.
        Returns: same shape as the scores; never falls when a score rises (but for rounding, 1e-15).
        Raises:  ConfigError: a score is NaN, or the prior is not between 0 and 1.
        """
        values = np.asarray(scores, dtype=np.float64)
        if np.isnan(values).any():
            raise ConfigError("scores must not be NaN: a failed input has no probability; leave it out")
        edge = 1 / (self.n_real + self.n_fake + 2)
        found = np.clip(self.curve.probability(values), edge, 1 - edge)
        return found if prior is None else shift_prior(found, from_prior=self.prior, to_prior=prior)

    def to_dict(self) -> dict[str, Any]:
        """Method, the curve's numbers and the sizes of the calibration data, ready for JSON."""
        curve = {
            # JSON has no infinity, which a temperature may be.
            name: list(value) if isinstance(value, tuple) else None if math.isinf(value) else value
            for name, value in dataclasses.asdict(self.curve).items()
        }
        return {"method": self.method, **curve, "n_real": self.n_real, "n_fake": self.n_fake}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Calibration:
        """The inverse of `to_dict`.

        Raises: ConfigError: a key is missing, unknown or of a wrong type, or the numbers are no curve.
        """
        method = found.get("method")
        if method == "sigmoid":
            check_keys("calibration", found, ("method", "slope", "intercept", "n_real", "n_fake"))
            curve: Curve = Sigmoid(number(found, "slope"), number(found, "intercept"))
        elif method == "isotonic":
            check_keys("calibration", found, ("method", "scores", "probabilities", "n_real", "n_fake"))
            curve = Isotonic(numbers(found, "scores"), numbers(found, "probabilities"))
        elif method == "temperature":
            check_keys("calibration", found, ("method", "temperature", "n_real", "n_fake"))
            curve = Temperature(math.inf if found["temperature"] is None else number(found, "temperature"))
        else:
            raise ConfigError(
                f"unknown calibration method {method!r}: expected sigmoid, isotonic or temperature"
            )
        return cls(curve, count(found, "n_real"), count(found, "n_fake"))


def shift_prior(probability: ArrayLike, *, from_prior: float, to_prior: float) -> Floats:
    """Probability of fake after the share of fakes changes and what fakes and reals look like does not.

    Bayes' rule on the odds: odds · (to / (1 - to)) / (from / (1 - from)); Saerens et al. (2002), eq. 2.4.

    Args:    probability: any shape, 0 to 1. from_prior, to_prior: shares of fakes, above 0 and below 1.
    Returns: same shape. 0 stays 0 and 1 stays 1.
    Raises:  ConfigError: a probability is outside 0 to 1, or a prior is not between 0 and 1.
    """
    for name, prior in (("from_prior", from_prior), ("to_prior", to_prior)):
        if not 0 < prior < 1:
            raise ConfigError(
                f"{name} must lie between 0 and 1, both excluded: found {prior}; write 5 % fakes as 0.05"
            )
    p = np.asarray(probability, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ConfigError("probabilities must lie between 0 and 1 and not be NaN; calibrate the scores first")
    if from_prior == to_prior:
        return p.copy()
    fake, real = p * (to_prior / from_prior), (1 - p) * ((1 - to_prior) / (1 - from_prior))
    return np.asarray(fake / (fake + real), dtype=np.float64)
