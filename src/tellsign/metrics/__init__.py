"""How well scores tell fakes from reals, each figure with a bootstrap interval.

Labels are 0 real and 1 fake; a score is higher = more fake; a decision is fake at `score >= threshold`.
A function of one metric raises where a class that it needs is missing; `summary` gives None there.
"""

from __future__ import annotations

from tellsign.metrics.bootstrap import Estimate, summary
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
    "Estimate",
    "accuracy",
    "auroc",
    "average_precision",
    "balanced_accuracy",
    "brier",
    "confusion_matrix",
    "ece",
    "eer",
    "summary",
    "tpr_at_fpr",
]
