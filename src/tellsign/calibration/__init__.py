"""From scores to probabilities and verdicts: calibration curves, priors, operating points, domain limits.

Everything is fitted on labelled scores of one detector and written to its artifact as numbers. A probability
never falls when the score rises, so that a threshold on scores and one on probabilities say the same.
"""

from __future__ import annotations

from tellsign.calibration.abstention import CrossFitted, RiskCoverage, cross_fitted, risk_coverage
from tellsign.calibration.config import CalibrationConfig, check_support, chosen_point, points_by_rule
from tellsign.calibration.conformal import conformal_needed, conformal_p_values, conformal_point
from tellsign.calibration.curves import (
    Isotonic,
    Sigmoid,
    Temperature,
    isotonic_curve,
    sigmoid_curve,
    temperature_curve,
)
from tellsign.calibration.frequencies import Reliability, ReliabilityBin, reliability
from tellsign.calibration.intervals import Share, wilson
from tellsign.calibration.operating import (
    OperatingPoint,
    domain_limit,
    equal_error_point,
    operating_point,
    threshold_at_fnr,
    threshold_at_fpr,
)
from tellsign.calibration.probability import Calibration, shift_prior

__all__ = [
    "Calibration",
    "CalibrationConfig",
    "CrossFitted",
    "Isotonic",
    "OperatingPoint",
    "Reliability",
    "ReliabilityBin",
    "RiskCoverage",
    "Share",
    "Sigmoid",
    "Temperature",
    "check_support",
    "chosen_point",
    "conformal_needed",
    "conformal_p_values",
    "conformal_point",
    "cross_fitted",
    "domain_limit",
    "equal_error_point",
    "isotonic_curve",
    "operating_point",
    "points_by_rule",
    "reliability",
    "risk_coverage",
    "shift_prior",
    "sigmoid_curve",
    "temperature_curve",
    "threshold_at_fnr",
    "threshold_at_fpr",
    "wilson",
]
