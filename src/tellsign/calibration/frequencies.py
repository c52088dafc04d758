"""Whether a probability is a frequency: bins of equally many rows, each with its interval.

Shapes: N rows, K bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.calibration.checks import finite
from tellsign.calibration.intervals import Share, wilson
from tellsign.groups import effective_groups
from tellsign.types import FAKE, REAL, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

N_BINS = 10


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Rows of neighbouring probabilities."""

    n: int
    low: float  # the smallest probability in it
    high: float  # the greatest
    probability: float  # their mean: what was said
    fakes: Share  # what was so

    @property
    def agrees(self) -> bool:
        """Whether the interval of the share holds what was said."""
        return self.fakes.low <= self.probability <= self.fakes.high


@dataclass(frozen=True, slots=True)
class Reliability:
    """What was said and what was so, from the lowest probability to the highest."""

    bins: tuple[ReliabilityBin, ...]  # (K,)
    n: int
    share: float  # of fakes among all rows
    ece: float  # mean distance of said and so over rows, in these bins

    def to_dict(self) -> dict[str, Any]:
        """Its fields, ready for JSON."""
        bins = [
            {"n": b.n, "low": b.low, "high": b.high, "probability": b.probability, "fakes": b.fakes.to_dict()}
            for b in self.bins
        ]
        return {"n": self.n, "share": self.share, "ece": self.ece, "bins": bins}


def reliability(
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    n_bins: int = N_BINS,
    groups: Sequence[str] | None = None,
) -> Reliability:
    """The share of fakes among rows of like probability.

    Bins hold equally many rows, to one, so that none has too few to say anything. Equal probabilities stay in
    one bin, and so there may be fewer bins than asked for. Intervals are Wilson's, at 95 %.

    Args:    labels: (N,) 0 real or 1 fake. probabilities: (N,) of fake, 0 to 1. n_bins: at least 1.
             groups: (N,) source of each row; "" is a row of its own. In an interval a group is one trial,
             and unequal ones are fewer.
    Returns: the bins and their calibration error. It is biased upwards where bins hold few rows.
    Raises:  ConfigError: no rows, a wrong label, a probability outside 0 to 1, or lengths differ.
    """
    truth, values = np.asarray(labels), finite(probabilities, "probabilities")
    names = [""] * len(values) if groups is None else list(groups)
    if not len(values) or truth.shape != values.shape or len(names) != len(values):
        raise ConfigError(
            f"reliability needs a label and a probability a row: found {truth.shape}, {values.shape} and "
            f"{len(names)} groups"
        )
    if not np.isin(truth, (REAL, FAKE)).all():
        raise ConfigError(f"labels must be {REAL} (real) or {FAKE} (fake); leave out rows of unknown label")
    if values.min() < 0 or values.max() > 1:
        raise ConfigError(
            f"probabilities must lie between 0 and 1: found {values.min():g} to {values.max():g}; calibrate "
            "the scores first"
        )
    if n_bins < 1:
        raise ConfigError(f"reliability needs at least 1 bin: found n_bins={n_bins}")
    _, tie, rows = np.unique(values, return_inverse=True, return_counts=True)
    # Twice the middle rank of each distinct probability, over twice the rows.
    of_tie = (2 * np.cumsum(rows) - rows) * n_bins // (2 * len(values))
    bins = []
    for number in np.unique(of_tie):
        own = np.flatnonzero(of_tie[tie] == number)
        n_trials = effective_groups([names[row] for row in own.tolist()], len(own))
        p = values[own]
        fakes = wilson(float(np.mean(truth[own] == FAKE)), n_trials)
        bins.append(ReliabilityBin(len(own), float(p.min()), float(p.max()), float(p.mean()), fakes))
    gaps = sum(b.n * abs(b.probability - b.fakes.value) for b in bins)
    return Reliability(tuple(bins), len(values), float(np.mean(truth == FAKE)), gaps / len(values))
