"""How alike two detectors order the same samples: correlation of their scores, pooled and in each class.

Two good detectors correlate when pooled, because both part the classes. Whether they err on the same samples
shows within a class.

Shapes: N rows (predictions).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.metrics.comparison import pair
from tellsign.metrics.ranking import total_product
from tellsign.metrics.resampling import Design, check_options, estimate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from tellsign.groups import Groups
    from tellsign.metrics.ranking import Counts, Floats, Ints
    from tellsign.metrics.resampling import Estimate, Measure
    from tellsign.metrics.values import Bools


@dataclass(frozen=True, slots=True)
class Correlation:
    """Correlation of two detectors' scores; None where one is constant, or there are fewer than two rows."""

    n: int  # rows
    pearson: Estimate | None  # of the scores; None where one is infinite, too
    spearman: Estimate | None  # of their midranks

    def to_dict(self) -> dict[str, Any]:
        """{"n", "pearson": {"value", "ci"} or None, "spearman": as well}."""
        shown = {
            name: None if found is None else found.to_dict()
            for name, found in (("pearson", self.pearson), ("spearman", self.spearman))
        }
        return {"n": self.n, **shown}


def correlations(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    groups: Groups = None,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    workers: int = 1,
) -> dict[str, Correlation]:
    """Pearson's and Spearman's correlation of two detectors' scores, with a bootstrap over groups.

    Ranks are taken anew in every resample. Intervals are percentiles, as in `summary`.

    Args:    labels: (N,) 0 real or 1 fake.
             first, second: (N,) scores of the two detectors; infinities are allowed.
             groups: (N,) source of each row; "" or None is a row of its own. None: every row is one.
             n_resamples, level, seed, workers: as for `summary`.
    Returns: keys pooled, real and fake.
    Raises:  ConfigError: a score is NaN, a label is not 0 or 1, lengths differ, or a bad option.
    """
    check_options(n_resamples=n_resamples, level=level, workers=workers)
    is_fake, scores = pair(labels, first, second)
    names = None if groups is None else np.fromiter(groups, dtype=object, count=len(groups))
    parts = {"pooled": np.ones(len(is_fake), dtype=np.bool_), "real": ~is_fake, "fake": is_fake}
    found = {}
    for key, rows in parts.items():
        own = [values[rows] for values in scores]
        design = Design.of(
            is_fake[rows],
            np.argsort(own[0], kind="stable"),
            None if names is None else names[rows],
            n_resamples=n_resamples,
            seed=seed,
            workers=workers,
        )
        found[key] = _correlation(is_fake[rows], own[0], own[1], design, level)
    return found


def _correlation(is_fake: Bools, first: Floats, second: Floats, design: Design, level: float) -> Correlation:
    measure = partial(_measure, first, second, design.numbers)
    everything = np.ones(sum(design.strata), dtype=np.int32)
    point = measure()(everything) if len(first) > 1 else [None, None]
    draws = design.draws(measure).reshape(-1, 2)
    known = design.varies(is_fake)[None]
    estimates = []
    for value, drawn in zip(point, draws.T, strict=True):
        # A resample of a tiny set may hold one value alone, which has no correlation.
        estimates.append(estimate(value, drawn[~np.isnan(drawn)], level, known=known))
    return Correlation(len(first), *estimates)


def _measure(first: Floats, second: Floats, numbers: Ints) -> Measure:
    """A function from (G,) counts to Pearson's and Spearman's correlation."""
    orders = [_Ties.of(values) for values in (first, second)]
    finite = bool(np.isfinite(first).all() and np.isfinite(second).all())

    def correlations_of(counts: Counts) -> list[float | None]:
        weight = counts.take(numbers, mode="clip").astype(np.float64)
        one, other = (ties.midranks(weight) for ties in orders)
        return [_weighted(first, second, weight) if finite else None, _weighted(one, other, weight)]

    return correlations_of


@dataclass(frozen=True, slots=True, eq=False)
class _Ties:
    """Rows by ascending value, in runs of equal values."""

    order: Ints  # (N,)
    starts: Ints  # (runs,)
    run: Ints  # (N,) of each row of the order

    @classmethod
    def of(cls, values: Floats) -> _Ties:
        order = np.argsort(values, kind="stable")
        risen = np.ones(len(values), dtype=np.bool_)
        risen[1:] = values[order][1:] != values[order][:-1]
        return cls(order, np.flatnonzero(risen), np.cumsum(risen) - 1)

    def midranks(self, weight: Floats) -> Floats:
        """(N,) rank of each row where row i is there weight[i] times; equal values share a mean rank."""
        mass = np.add.reduceat(weight[self.order], self.starts)
        ranks = np.empty(len(weight))
        ranks[self.order] = (np.cumsum(mass) - mass / 2)[self.run]
        return ranks


def _weighted(first: Floats, second: Floats, weight: Floats) -> float | None:
    """Pearson's correlation where row i is there weight[i] times; None where one side is constant."""
    # Without the rows that don't count: one of these may be so large that the others vanish beside it.
    there = weight > 0
    first, second, weight = first[there], second[there], weight[there]
    # Differences from the mean of a constant are rounding alone: a constant is told by its range.
    if not len(weight) or any(np.ptp(values) == 0 for values in (first, second)):
        return None
    total = weight.sum()
    one, other = (_centred(values, weight, total) for values in (first, second))
    weighted = weight * one
    product = total_product(weighted, other)
    scale = math.sqrt(total_product(weighted, one) * total_product(weight * other, other))
    return float(np.clip(product / scale, -1, 1))


def _centred(values: Floats, weight: Floats, total: float) -> Floats:
    """Differences from the weighted mean, as shares of the largest: no square is too large to hold."""
    centred = values - total_product(weight, values) / total
    return np.asarray(centred / np.abs(centred).max(), dtype=np.float64)
