"""All metrics of one table of predictions, with intervals from a bootstrap over groups.

A resample is (G,) counts, how often each group is drawn. `Table` turns counts into metrics, so that tables
of two detectors which share the groups' numbers can be read on the same resamples.

Shapes: N rows (predictions), R reals, F fakes, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.metrics.ranking import (
    BLOCK,
    Mass,
    Ranking,
    area_and_precision,
    blocks,
    equal_error,
    largest_tpr,
    total_product,
)
from tellsign.metrics.resampling import Design, check_options, estimate
from tellsign.metrics.values import (
    N_BINS,
    calibration_bin,
    check_share,
    check_threshold,
    checked,
    checked_probabilities,
)
from tellsign.types import FAKE, REAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from tellsign.groups import Groups
    from tellsign.metrics.ranking import Counts, Floats, Ints
    from tellsign.metrics.resampling import Estimate, Measure
    from tellsign.metrics.values import Bools

_RUN = 64  # cells of one bin that lie together on average, for which their order is good enough
READS = {"fpr": REAL, "fnr": FAKE}  # the class that a metric reads; the others read both


def summary(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    threshold: float | None,
    probabilities: ArrayLike | None = None,
    groups: Groups = None,
    fpr_targets: tuple[float, ...] = (0.05,),
    ranks: bool = True,
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
             fpr_targets: allowed shares of false alarms. ranks: also measure the order of the scores, which
             takes most of the time; without it AUROC, AP, EER and TPR are left out.
             level: of the intervals, between 0 and 1.
             seed: resample i depends on (seed, i) alone, not on how many there are.
             workers: processes, taken where there is work for a second or more.
    Returns: keys auroc, ap, eer, tpr_at_fpr_0.05 (one for each target), accuracy, balanced_accuracy, fpr and
             fnr at the threshold, ece, brier. None where a metric is undefined: a class that it reads is
             missing, or the threshold or the probabilities are not given.
    Raises:  ConfigError: NaN, labels or probabilities out of range, lengths differ, or a bad option.
    """
    check_options(n_resamples=n_resamples, level=level, workers=workers)
    check_metric_options(threshold, fpr_targets)
    is_fake, values = checked(labels, scores)
    order = np.argsort(values, kind="stable")
    design = Design.of(is_fake, order, groups, n_resamples=n_resamples, seed=seed, workers=workers)
    options: Any = {"threshold": threshold, "probabilities": probabilities, "fpr_targets": fpr_targets}
    table = Table.of(is_fake, values, design.numbers, order, ranks=ranks, **options)
    point = table.point()
    draws = design.draws(table.row).reshape(-1, len(point))
    known = design.varies(is_fake)
    return {
        name: estimate(value, draws[:, column], level, known=known[READS.get(name)])
        for column, (name, value) in enumerate(point.items())
    }


def check_metric_options(threshold: float | None, fpr_targets: tuple[float, ...]) -> None:
    """Raises ConfigError where a threshold or a target is none."""
    if threshold is not None:
        check_threshold(threshold)
    for target in fpr_targets:
        check_share("fpr_targets", target)


@dataclass(frozen=True, slots=True, eq=False)
class _Scores:
    """The ranking and whose each of its rows is."""

    ranking: Ranking
    real_groups: Ints | slice  # (R,)
    fake_groups: Ints | slice  # (F,)

    @classmethod
    def of(cls, is_fake: Bools, scores: Floats, numbers: Ints, order: Ints) -> _Scores:
        reals, fakes = order[~is_fake[order]], order[is_fake[order]]
        return cls(Ranking(scores[reals], scores[fakes]), _range(numbers[reals]), _range(numbers[fakes]))


def _range(numbers: Ints) -> Ints | slice:
    """Numbers as a slice where they count upwards, as those of rows that are groups of their own."""
    first = int(numbers[0]) if len(numbers) else 0
    rising = slice(first, first + len(numbers))
    return rising if np.array_equal(numbers, np.arange(rising.start, rising.stop)) else numbers


def _looked_up(counts: Counts, groups: Ints | slice, *, out: Counts) -> Counts:
    """The counts of some groups, in `out` or where they are."""
    if isinstance(groups, slice):
        return counts[groups]
    # With "clip" NumPy writes straight into `out`; no index is out of range.
    return counts.take(groups, out=out, mode="clip")


def _by_group(numbers: Ints) -> Ints:
    """(N,) rows in the order of their groups' numbers, which have no gaps."""
    n_groups = int(numbers.max(initial=-1)) + 1
    if n_groups == len(numbers):
        order = np.empty_like(numbers)
        order[numbers] = np.arange(n_groups)
        return order
    # Numbers of 16 bits are sorted by their digits, and not by comparing.
    return np.argsort(numbers.astype(np.min_scalar_type(n_groups)), kind="stable")


@dataclass(frozen=True, eq=False)
class _Residuals:
    """What each group has of the sums over rows that ECE and Brier are made of."""

    bins: Ints  # (cells,) a cell is one group in one bin, and cells of one bin lie together
    groups: Ints | slice  # (cells,)
    residuals: Floats  # (cells,) sum of probability - label
    squared: Floats | None  # (cells,) sum of (probability - label)²; None where each cell is one row

    @classmethod
    def of(cls, is_fake: Bools, probabilities: ArrayLike, numbers: Ints) -> _Residuals | None:
        if not len(is_fake):
            return None
        _, values = checked_probabilities(is_fake, probabilities)
        bins = calibration_bin(values, N_BINS)
        # In order of groups, which are in order of scores, the bins already lie together where probabilities
        # rise with scores; then counts are read one after the other.
        order = _by_group(numbers)
        if np.count_nonzero(np.diff(bins[order])) * _RUN > len(order):
            order = np.lexsort((numbers, bins))
        bins, numbers, differences = bins[order], numbers[order], (values - is_fake)[order]
        starts = np.flatnonzero(np.append(True, (np.diff(bins) != 0) | (np.diff(numbers) != 0)))
        return cls(
            bins=bins[starts],
            groups=_range(numbers[starts]),
            residuals=np.add.reduceat(differences, starts),
            squared=None if len(starts) == len(bins) else np.add.reduceat(differences**2, starts),
        )

    @cached_property
    def parts(self) -> tuple[tuple[slice, Ints, Ints], ...]:
        """Blocks of cells, with the runs of one bin in each: their bins and where they start."""
        found = []
        for part in blocks(0, len(self.bins)):
            bins = self.bins[part]
            starts = np.flatnonzero(np.append(True, np.diff(bins) != 0))
            found.append((part, bins[starts], starts))
        return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class _Calibration:
    """ECE and Brier from the sums of the groups; for one user alone."""

    sums: _Residuals
    drawn: Counts  # (cells,) scratch
    weights: Floats  # scratch for a block of cells

    @classmethod
    def of(cls, sums: _Residuals) -> _Calibration:
        n_cells = len(sums.bins)
        return cls(sums, np.empty(n_cells, dtype=np.int32), np.empty(min(n_cells, BLOCK), dtype=np.float64))

    def metrics(self, counts: Counts, n_rows: int) -> dict[str, float | None]:
        sums = self.sums
        residuals, squared = np.zeros(N_BINS), 0.0
        drawn = _looked_up(counts, sums.groups, out=self.drawn)
        for part, bins, starts in sums.parts:
            weight = self.weights[: part.stop - part.start]
            weight[:] = drawn[part]
            if sums.squared is not None:
                squared += total_product(weight, sums.squared[part])
            weight *= sums.residuals[part]
            if sums.squared is None:
                squared += total_product(weight, sums.residuals[part])
            np.add.at(residuals, bins, np.add.reduceat(weight, starts))
        return {"ece": float(np.abs(residuals).sum()) / n_rows, "brier": squared / n_rows}


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Predictions, arranged so that every metric is a function of how often each group counts."""

    scores: _Scores
    threshold: float | None
    calibration: _Residuals | None
    fpr_targets: tuple[float, ...]
    ranks: bool  # measures the order of the scores, too
    n_groups: int

    @classmethod
    def of(
        cls,
        is_fake: Bools,
        scores: Floats,
        numbers: Ints,
        order: Ints,
        *,
        threshold: float | None,
        probabilities: ArrayLike | None,
        fpr_targets: tuple[float, ...],
        ranks: bool = True,
    ) -> Table:
        """The table of one detector's predictions.

        Args:    is_fake: (N,) which rows are fake. scores: (N,) higher = more fake.
                 numbers: (N,) group of each row. order: (N,) rows by ascending score.
                 threshold, probabilities, fpr_targets, ranks: as for `summary`.
        Returns: the table.
        """
        calibration = None if probabilities is None else _Residuals.of(is_fake, probabilities, numbers)
        ranked = _Scores.of(is_fake, scores, numbers, order)
        return cls(ranked, threshold, calibration, fpr_targets, ranks, int(numbers.max(initial=-1)) + 1)

    def measure(self) -> Callable[[Counts], dict[str, float | None]]:
        """A function from (G,) counts to all metrics, None where one is undefined; for one user alone."""
        sizes = len(self.scores.ranking.real), len(self.scores.ranking.fake)
        mass, (real, fake) = Mass(*sizes), (np.empty(size, dtype=np.int32) for size in sizes)
        calibration = None if self.calibration is None else _Calibration.of(self.calibration)

        def metrics(counts: Counts) -> dict[str, float | None]:
            mass.count(
                _looked_up(counts, self.scores.real_groups, out=real),
                _looked_up(counts, self.scores.fake_groups, out=fake),
            )
            found = (self._ranks(mass) if self.ranks else {}) | self._decisions(mass)
            if calibration is None:
                return {**found, "ece": None, "brier": None}
            return found | calibration.metrics(counts, mass.reals + mass.fakes)

        return metrics

    def row(self) -> Measure:
        """As `measure`, without the names."""
        measured = self.measure()
        return lambda counts: list(measured(counts).values())

    def point(self) -> dict[str, float | None]:
        """All metrics where every group counts once."""
        return self.measure()(np.ones(self.n_groups, dtype=np.int32))

    def _ranks(self, mass: Mass) -> dict[str, float | None]:
        ranking, names = self.scores.ranking, [f"tpr_at_fpr_{target:g}" for target in self.fpr_targets]
        if not (mass.reals and mass.fakes):
            return dict.fromkeys(("auroc", "ap", "eer", *names))
        auroc, ap = area_and_precision(ranking, mass)
        tpr = [largest_tpr(ranking, mass, fpr=target) for target in self.fpr_targets]
        return {
            "auroc": auroc,
            "ap": ap,
            "eer": equal_error(ranking, mass),
            **dict(zip(names, tpr, strict=True)),
        }

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
