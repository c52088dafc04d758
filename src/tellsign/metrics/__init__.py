"""How well scores tell fakes from reals, each figure with a bootstrap interval.

Labels are 0 real and 1 fake; a score is higher = more fake; a decision is fake at `score >= threshold`.
A function of one metric raises where a class that it needs is missing; `summary` gives None there. Both
refuse NaN: `with_missing` says what becomes of samples without a score.
"""

from __future__ import annotations

from tellsign.metrics.bootstrap import summary
from tellsign.metrics.comparison import DeLong, Difference, delong, differences
from tellsign.metrics.correlation import Correlation, correlations
from tellsign.metrics.missing import Missing, Scored, with_missing
from tellsign.metrics.resampling import Estimate
from tellsign.metrics.values import (
    N_BINS,
    accuracy,
    auroc,
    average_precision,
    balanced_accuracy,
    brier,
    confusion_matrix,
    ece,
    eer,
    tpr_at_fpr,
)

__all__ = [
    "N_BINS",
    "Correlation",
    "DeLong",
    "Difference",
    "Estimate",
    "Missing",
    "Scored",
    "accuracy",
    "auroc",
    "average_precision",
    "balanced_accuracy",
    "brier",
    "confusion_matrix",
    "correlations",
    "delong",
    "differences",
    "ece",
    "eer",
    "summary",
    "tpr_at_fpr",
    "with_missing",
]
