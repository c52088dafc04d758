"""All metrics of one table of predictions, with intervals from a bootstrap over groups.

A resample is (G,) counts, how often each group is drawn. `_Table` turns counts into metrics, so that tables
of two detectors which share the groups' numbers can be read on the same resamples.

Shapes: N rows (predictions), R reals, F fakes, G groups.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.metrics.ranking import Mass, Ranking, area, equal_error, largest_tpr, step_precision
from tellsign.metrics.values import (
    N_BINS,
    calibration_bin,
    check_share,
    check_threshold,
    checked,
    checked_probabilities,
)
from tellsign.types import FAKE, REAL, ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from tellsign.metrics.ranking import Floats, Ints
    from tellsign.metrics.values import Bools


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric and its bootstrap interval, in the metric's own unit (a share between 0 and 1)."""

    value: float
    low: float  # NaN, like `high`, where the data do not show how much the value varies
    high: float

    def to_dict(self) -> dict[str, Any]:
        """{"value": float, "ci": [low, high]}; "ci" is None where the interval is unknown."""
        return {"value": self.value, "ci": None if math.isnan(self.low) else [self.low, self.high]}


def summary(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    threshold: float | None,
    probabilities: ArrayLike | None = None,
    groups: Collection[Hashable] | NDArray[Any] | None = None,
    fpr_targets: tuple[float, ...] = (0.05,),
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    workers: int = 1,
) -> dict[str, Estimate | None]:
    """Every metric with a percentile bootstrap interval over groups.

    A resample draws whole groups with replacement, since rows of one source video or identity are not
    independent. It is stratified: groups of reals, groups of fakes and groups with both are drawn apart, each
    as often as there are such groups. So the make-up of the test set stays as designed, and no resample lacks
    a class. A stratum of one group is always drawn once and adds no variation.

    An interval is percentiles of the resampled values, widened to hold the value itself where resampling is
    biased (ECE of a well calibrated detector, tiny sets). It is NaN where `n_resamples` is 0, or where a
    class that the metric reads lies in no stratum of two groups or more.

    Args:    labels: (N,) 0 real or 1 fake. scores: (N,) higher = more fake; infinities are allowed.
             threshold: score from which on the decision is fake; None where nothing is decided.
             probabilities: (N,) of fake, calibrated, for ECE and Brier.
             groups: (N,) source of each row; "" or None is a row of its own. None: every row is one.
             n_resamples: of the bootstrap; 0 for none.
             fpr_targets: allowed shares of false alarms. level: of the intervals, between 0 and 1.
             seed: resample i depends on (seed, i) alone, not on how many there are. workers: threads.
    Returns: keys auroc, ap, eer, tpr_at_fpr_0.05 (one for each target), accuracy, balanced_accuracy, fpr and
             fnr at the threshold, ece, brier. None where a metric is undefined: a class that it reads is
             missing, or the threshold or the probabilities are not given.
    Raises:  ConfigError: NaN, labels or probabilities out of range, lengths differ, or a bad option.
    """
    _check_options(fpr_targets, n_resamples, level, workers)
    if threshold is not None:
        check_threshold(threshold)
    is_fake, values = checked(labels, scores)
    order = np.argsort(values, kind="stable")
    numbers, strata = _strata(is_fake, _group_numbers(groups, len(is_fake)), order)
    table = _Table(
        scores=_Scores.of(is_fake, values, numbers, order),
        threshold=threshold,
        calibration=None if probabilities is None else _Residuals.of(is_fake, probabilities, numbers),
        fpr_targets=fpr_targets,
    )
    point = table.metrics(table.scratch())
    sources = np.random.SeedSequence(seed).spawn(n_resamples if len(values) else 0)
    draws = _resampled(table, strata, sources, workers).reshape(len(sources), len(point))
    known = _known(is_fake, strata)
    return {
        name: _estimate(value, draws[:, column], level, known=known.get(name, known["any"]))
        for column, (name, value) in enumerate(point.items())
    }


def _resampled(
    table: _Table, strata: tuple[int, int, int], sources: Sequence[np.random.SeedSequence], workers: int
) -> Floats:
    """(resamples, metrics) values, NaN where undefined; one resample for each source of random numbers."""

    def rows(part: Sequence[np.random.SeedSequence]) -> list[list[float]]:
        scratch = table.scratch()
        found = []
        for source in part:
            _draw(scratch.counts, strata, np.random.default_rng(source))
            found.append([math.nan if v is None else v for v in table.metrics(scratch).values()])
        return found

    share = max(1, math.ceil(len(sources) / workers))
    parts = [sources[start : start + share] for start in range(0, len(sources), share)]
    with ThreadPoolExecutor(workers) as pool:
        draws = [row for part in pool.map(rows, parts) for row in part]
    return np.array(draws, dtype=np.float64)


def _known(is_fake: Bools, strata: tuple[int, int, int]) -> dict[str, bool]:
    """Whether resampling varies what a metric reads: only reals, only fakes, any class that is there."""
    real, fake, both = strata
    varies = {REAL: max(real, both) > 1, FAKE: max(fake, both) > 1}
    present = [label for label in (REAL, FAKE) if (is_fake == label).any()]
    return {"fpr": varies[REAL], "fnr": varies[FAKE], "any": all(varies[label] for label in present)}


def _estimate(value: float | None, draws: Floats, level: float, *, known: bool) -> Estimate | None:
    if value is None:
        return None
    if not known or not len(draws):
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, min(float(low), value), max(float(high), value))


def _group_numbers(groups: Collection[Hashable] | NDArray[Any] | None, n_rows: int) -> Ints:
    """(N,) group of each row, 0 to G-1 without gaps."""
    if groups is None:
        return np.arange(n_rows)
    # A list and not an array: a million paths as an array of text fill hundreds of megabytes.
    names = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    if len(names) != n_rows:
        raise ConfigError(f"groups must name one group a row: found {len(names)} groups and {n_rows} labels")
    seen: dict[Hashable, int] = {}
    numbers = np.fromiter(
        (-1 if name is None or name == "" else seen.setdefault(name, len(seen)) for name in names),
        dtype=np.int64,
        count=n_rows,
    )
    alone = numbers < 0
    numbers[alone] = len(seen) + np.arange(np.count_nonzero(alone))
    return numbers


def _strata(is_fake: Bools, numbers: Ints, order: Ints) -> tuple[Ints, tuple[int, int, int]]:
    """(N,) groups renumbered so that each stratum is a range; the sizes of reals, fakes and both.

    Within a stratum groups follow the lowest score: reading counts in the order of scores then walks through
    memory instead of jumping, and the interval does not depend on the order of the rows.
    """
    n_groups = int(numbers.max(initial=-1)) + 1
    lowest = np.empty(n_groups, dtype=np.int64)
    # The last write to a group stays, so that writing backwards leaves the first row.
    lowest[numbers[order[::-1]]] = np.arange(len(order))[::-1]
    has_real = np.bincount(numbers[~is_fake], minlength=n_groups) > 0
    has_fake = np.bincount(numbers[is_fake], minlength=n_groups) > 0
    stratum = np.where(has_real & has_fake, 2, has_fake)
    renumbered = np.empty(n_groups, dtype=np.int64)
    renumbered[np.lexsort((lowest, stratum))] = np.arange(n_groups)
    real, fake, both = np.bincount(stratum, minlength=3).tolist()
    return renumbered[numbers], (real, fake, both)


def _draw(counts: Ints, strata: tuple[int, ...], rng: np.random.Generator) -> None:
    """Fills (G,) counts with how often each group is drawn."""
    start = 0
    for size in filter(None, strata):
        counts[start : start + size] = np.bincount(rng.integers(size, size=size), minlength=size)
        start += size


@dataclass(frozen=True, slots=True, eq=False)
class _Scores:
    """The ranking and whose each of its rows is."""

    ranking: Ranking
    real_groups: Ints  # (R,)
    fake_groups: Ints  # (F,)

    @classmethod
    def of(cls, is_fake: Bools, scores: Floats, numbers: Ints, order: Ints) -> _Scores:
        reals, fakes = order[~is_fake[order]], order[is_fake[order]]
        return cls(Ranking(scores[reals], scores[fakes]), numbers[reals], numbers[fakes])


@dataclass(frozen=True, slots=True, eq=False)
class _Residuals:
    """What each group has of the sums over rows that ECE and Brier are made of."""

    starts: Ints  # (bins that are not empty,) first cell of each bin; a cell is one group in one bin
    groups: Ints  # (cells,)
    residuals: Floats  # (cells,) sum of probability - label
    squared: Floats  # (G,) sum of (probability - label)²

    @classmethod
    def of(cls, is_fake: Bools, probabilities: ArrayLike, numbers: Ints) -> _Residuals | None:
        if not len(is_fake):
            return None
        _, values = checked_probabilities(is_fake, probabilities)
        n_groups = int(numbers.max()) + 1
        cells, cell = np.unique(calibration_bin(values, N_BINS) * n_groups + numbers, return_inverse=True)
        differences = values - is_fake.astype(np.float64)
        return cls(
            starts=np.unique(cells // n_groups, return_index=True)[1],
            groups=cells % n_groups,
            residuals=np.asarray(np.bincount(cell, weights=differences), dtype=np.float64),
            squared=np.asarray(np.bincount(numbers, weights=differences**2), dtype=np.float64),
        )


class _Scratch:
    """What one thread writes in place for every resample."""

    def __init__(self, n_real: int, n_fake: int, n_groups: int, n_cells: int) -> None:
        """Every group counts once."""
        self.counts = np.ones(n_groups, dtype=np.int64)
        self.weights = np.empty(n_groups, dtype=np.float64)
        self.cells = np.empty(n_cells, dtype=np.float64)
        self.mass = Mass(n_real, n_fake)


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Predictions, arranged so that every metric is a function of how often each group counts."""

    scores: _Scores
    threshold: float | None
    calibration: _Residuals | None
    fpr_targets: tuple[float, ...]

    def scratch(self) -> _Scratch:
        real, fake = self.scores.real_groups, self.scores.fake_groups
        n_groups = 1 + max(int(real.max(initial=-1)), int(fake.max(initial=-1)))
        n_cells = 0 if self.calibration is None else len(self.calibration.groups)
        return _Scratch(len(real), len(fake), n_groups, n_cells)

    def metrics(self, scratch: _Scratch) -> dict[str, float | None]:
        """All metrics where group g counts scratch.counts[g] times; None where one is undefined."""
        mass = scratch.mass
        # With "clip" NumPy writes straight into `out`; no index is out of range.
        scratch.counts.take(self.scores.real_groups, out=mass.real, mode="clip")
        scratch.counts.take(self.scores.fake_groups, out=mass.fake, mode="clip")
        mass.add_up()
        return self._ranks(mass) | self._decisions(mass) | self._calibration(scratch)

    def _ranks(self, mass: Mass) -> dict[str, float | None]:
        ranking, both = self.scores.ranking, bool(mass.reals and mass.fakes)
        found = {
            "auroc": area(ranking, mass) if both else None,
            "ap": step_precision(ranking, mass) if both else None,
            "eer": equal_error(ranking, mass) if both else None,
        }
        for target in self.fpr_targets:
            found[f"tpr_at_fpr_{target:g}"] = largest_tpr(ranking, mass, fpr=target) if both else None
        return found

    def _decisions(self, mass: Mass) -> dict[str, float | None]:
        found: dict[str, float | None] = dict.fromkeys(("accuracy", "balanced_accuracy", "fpr", "fnr"))
        if self.threshold is None or not mass.reals + mass.fakes:
            return found
        ranking = self.scores.ranking
        fp = mass.reals - int(mass.real_sum[ranking.real.searchsorted(self.threshold)])
        fn = int(mass.fake_sum[ranking.fake.searchsorted(self.threshold)])
        found["accuracy"] = 1 - (fp + fn) / (mass.reals + mass.fakes)
        if mass.reals:
            found["fpr"] = fp / mass.reals
        if mass.fakes:
            found["fnr"] = fn / mass.fakes
        if mass.reals and mass.fakes:
            found["balanced_accuracy"] = 1 - (fp / mass.reals + fn / mass.fakes) / 2
        return found

    def _calibration(self, scratch: _Scratch) -> dict[str, float | None]:
        sums = self.calibration
        if sums is None:
            return {"ece": None, "brier": None}
        # Products are summed and not multiplied with `@`: the threads of BLAS would fight with ours.
        np.copyto(scratch.weights, scratch.counts)
        scratch.weights.take(sums.groups, out=scratch.cells, mode="clip")
        scratch.cells *= sums.residuals
        scratch.weights *= sums.squared
        n_rows = scratch.mass.reals + scratch.mass.fakes
        distance = np.abs(np.add.reduceat(scratch.cells, sums.starts)).sum()
        return {"ece": float(distance) / n_rows, "brier": float(scratch.weights.sum()) / n_rows}


def _check_options(fpr_targets: tuple[float, ...], n_resamples: int, level: float, workers: int) -> None:
    for target in fpr_targets:
        check_share("fpr_targets", target)
    if n_resamples < 0:
        raise ConfigError(f"n_resamples must be 0 or more: found {n_resamples}")
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1: found {level}; write 95 % as 0.95")
    if workers < 1:
        raise ConfigError(f"workers must be 1 or more: found {workers}")
