"""From scores to probabilities and verdicts: calibration curves, priors, operating points, domain limits.

Everything is fitted on labelled scores of one detector and written to its artifact as numbers. A probability
never falls when the score rises, so that a threshold on scores and one on probabilities say the same.
"""

from __future__ import annotations

from tellsign.calibration.curves import Isotonic, Sigmoid, isotonic_curve, sigmoid_curve
from tellsign.calibration.operating import (
    OperatingPoint,
    domain_limit,
    operating_point,
    threshold_at_fnr,
    threshold_at_fpr,
)
from tellsign.calibration.probability import Calibration, shift_prior

__all__ = [
    "Calibration",
    "Isotonic",
    "OperatingPoint",
    "Sigmoid",
    "domain_limit",
    "isotonic_curve",
    "operating_point",
    "shift_prior",
    "sigmoid_curve",
    "threshold_at_fnr",
    "threshold_at_fpr",
]
