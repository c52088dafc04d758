"""How well scores tell fakes from reals, each figure with a bootstrap interval.

Labels are 0 real and 1 fake; a score is higher = more fake; a decision is fake at `score >= threshold`.

Every metric of `summary` reads cumulative sums over one sort of the scores. A resample only changes how often
each group counts, so it costs a draw, a lookup and two sums, and no sort.

Shapes: N rows (predictions), R reals, F fakes, G groups, T distinct scores.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.types import FAKE, REAL, ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

N_BINS = 15  # of the expected calibration error, as in Guo et al. (2017)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric and its bootstrap interval, in the metric's own unit (a share between 0 and 1)."""

    value: float
    low: float  # NaN, like `high`, where the data cannot say how much the value varies
    high: float

    def to_dict(self) -> dict[str, Any]:
        """{"value": float, "ci": [low, high]}; "ci" is None where the interval is unknown."""
        return {"value": self.value, "ci": None if math.isnan(self.low) else [self.low, self.high]}


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a fake scores above a real, ties counting half.

    Implements the rank statistic of Mann and Whitney (1947). Deviates: none.

    Args:    labels: (N,) 0 real or 1 fake. scores: (N,) higher = more fake; infinities are allowed.
    Returns: a share between 0 and 1; 0.5 is chance.
    Raises:  ConfigError: a class is missing, a score is NaN, a label is not 0 or 1, or the lengths differ.
    Example: >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
             0.75
    """
    ranking = _ranking(*_checked(labels, scores), metric="auroc")
    return _auroc(ranking, ranking.unweighted)


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Mean precision over the steps of recall, without interpolation; tied scores are one step.

    Implements scikit-learn's `average_precision_score`. Deviates: none.

    Args:    labels: (N,) 0 real or 1 fake. scores: (N,) higher = more fake.
    Returns: a share between 0 and 1; chance is the share of fakes.
    Raises:  ConfigError: as for `auroc`.
    """
    ranking = _ranking(*_checked(labels, scores), metric="average precision")
    return _average_precision(ranking, ranking.unweighted)


def eer(labels: ArrayLike, scores: ArrayLike) -> float:
    """Equal error rate: the point of the ROC curve where FPR = FNR.

    The curve joins the points of all thresholds by straight lines, and the crossing is read off such a line.
    Tied scores are one step: a tie between a real and a fake is a sloped line.

    Args:    labels: (N,) 0 real or 1 fake. scores: (N,) higher = more fake.
    Returns: a share between 0 and 1; 0.5 is chance.
    Raises:  ConfigError: as for `auroc`.
    """
    ranking = _ranking(*_checked(labels, scores), metric="eer")
    return _eer(ranking, ranking.unweighted)


def tpr_at_fpr(labels: ArrayLike, scores: ArrayLike, *, fpr: float) -> float:
    """Largest share of fakes found at a threshold whose share of false alarms is at most `fpr`.

    Conservative: only rates that a threshold reaches on these scores count, nothing is interpolated.

    Args:    labels: (N,) 0 real or 1 fake. scores: (N,) higher = more fake. fpr: allowed share, 0 to 1.
    Returns: a share between 0 and 1.
    Raises:  ConfigError: as for `auroc`, or `fpr` is not a share.
    """
    _check_share("fpr", fpr)
    ranking = _ranking(*_checked(labels, scores), metric="tpr at fpr")
    return _tpr_at_fpr(ranking, ranking.unweighted, fpr)


def confusion_matrix(labels: ArrayLike, scores: ArrayLike, *, threshold: float) -> Ints:
    """Counts of decisions, where a score of at least `threshold` is called fake.

    Args:    labels: (N,) 0 real or 1 fake. scores: (N,). threshold: in the scores' unit; may be infinite.
    Returns: (2, 2) counts [[tn, fp], [fn, tp]]; a row is the truth, a column the decision.
    Raises:  ConfigError: NaN in scores or threshold, a label is not 0 or 1, or the lengths differ.
    """
    is_fake, values = _checked(labels, scores)
    _check_threshold(threshold)
    cells = np.bincount(2 * is_fake + (values >= threshold), minlength=4)
    return cells.reshape(2, 2).astype(np.int64)


def accuracy(labels: ArrayLike, scores: ArrayLike, *, threshold: float) -> float:
    """Share of right decisions at a threshold; exists for one class as well.

    Args:    as for `confusion_matrix`.
    Returns: a share between 0 and 1.
    Raises:  ConfigError: as for `confusion_matrix`, or there are no rows.
    """
    cells = confusion_matrix(labels, scores, threshold=threshold)
    if not cells.sum():
        raise ConfigError("accuracy needs predictions: found 0 rows, expected at least 1")
    return float(np.trace(cells) / cells.sum())


def balanced_accuracy(labels: ArrayLike, scores: ArrayLike, *, threshold: float) -> float:
    """Mean of the shares of reals and of fakes that are decided rightly.

    Args:    as for `confusion_matrix`.
    Returns: a share between 0 and 1; 0.5 is chance.
    Raises:  ConfigError: as for `confusion_matrix`, or a class is missing.
    """
    (tn, fp), (fn, tp) = confusion_matrix(labels, scores, threshold=threshold)
    _require_both(int(tn + fp), int(fn + tp), "balanced accuracy")
    return float(tn / (tn + fp) + tp / (fn + tp)) / 2


def ece(labels: ArrayLike, probabilities: ArrayLike, *, n_bins: int = N_BINS) -> float:
    """Expected calibration error of the probability of fake.

    Implements Guo et al. (2017), eq. 3, with their bins of equal width, (k/n, (k+1)/n], where the first also
    takes 0. Deviates: bins the probability of fake (0 to 1) and compares it with the share of fakes; Guo et
    al. bin the confidence of the class that was chosen (0.5 to 1) and compare it with the accuracy.

    Args:    labels: (N,) 0 real or 1 fake. probabilities: (N,) of fake. n_bins: at least 1.
    Returns: mean distance between probability and frequency, 0 to 1.
    Raises:  ConfigError: a probability is NaN or outside 0 to 1, no rows, a wrong label, lengths differ.
    """
    is_fake, values = _checked_probabilities(labels, probabilities)
    if n_bins < 1:
        raise ConfigError(f"ece needs at least 1 bin, found n_bins={n_bins}")
    residuals = np.bincount(_bins(values, n_bins), weights=values - is_fake)
    return float(np.abs(residuals).sum() / len(values))


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared distance between the probability of fake and the label, Brier (1950).

    Deviates: one squared term per row and not one per class, so that 0 is perfect and 1 the worst.

    Args:    labels: (N,) 0 real or 1 fake. probabilities: (N,) of fake.
    Returns: 0 to 1; 0.25 is what a constant 0.5 gets.
    Raises:  ConfigError: as for `ece`.
    """
    is_fake, values = _checked_probabilities(labels, probabilities)
    return float(np.mean((values - is_fake) ** 2))


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
    as often as there are such groups. So the make-up of the test set stays as designed and no resample lacks a
    class. A stratum of one group is always drawn once and adds no variation.
    An interval is the percentiles of the resampled values, widened to hold the value itself where resampling
    is biased (ECE of a well calibrated detector, tiny sets). It is NaN where `n_resamples` is 0 or where a
    class that the metric reads lies in no stratum of two groups or more: such data do not show how much the
    metric varies.

    Args:    labels: (N,) 0 real or 1 fake. scores: (N,) higher = more fake.
             threshold: score from which on the decision is fake; None where there is no decision.
             probabilities: (N,) of fake, calibrated, for ECE and Brier.
             groups: (N,) source of each row; "" or None is a row of its own. None: every row is one.
             fpr_targets: allowed shares of false alarms. level: of the intervals.
             seed: resample i depends on (seed, i) alone, so neither on n_resamples nor on workers.
             workers: threads.
    Returns: keys auroc, ap, eer, tpr_at_fpr_0.05 (one for each target), accuracy, balanced_accuracy, fpr, fnr,
             ece, brier; None where a metric is undefined: a class that it reads is missing, or what it
             needs (threshold, probabilities) was not given.
    Raises:  ConfigError: NaN, labels or probabilities out of range, lengths differ, or a bad option.
    """
    _check_options(fpr_targets, n_resamples, level, workers)
    is_fake, values = _checked(labels, scores)
    numbers, strata = _strata(is_fake, _group_numbers(groups, len(is_fake)))
    table = _Table.of(is_fake, values, numbers, threshold, probabilities, fpr_targets)
    point = table.metrics(np.ones(sum(strata), dtype=np.int64))

    def resampled(source: np.random.SeedSequence) -> list[float]:
        found = table.metrics(_resampled_counts(strata, np.random.default_rng(source)))
        return [math.nan if value is None else value for value in found.values()]

    defined = n_resamples if any(value is not None for value in point.values()) else 0
    with ThreadPoolExecutor(workers) as pool:
        rows = list(pool.map(resampled, np.random.SeedSequence(seed).spawn(defined)))
    draws = np.reshape(np.array(rows, dtype=np.float64), (defined, len(point)))
    varies = {REAL: max(strata[0], strata[2]) > 1, FAKE: max(strata[1], strata[2]) > 1}
    present = [label for label, here in ((REAL, not is_fake.all()), (FAKE, is_fake.any())) if here]
    reads = {"fpr": [REAL], "fnr": [FAKE]}
    return {
        name: _estimate(
            value, draws[:, column], level, known=all(varies[label] for label in reads.get(name, present))
        )
        for column, (name, value) in enumerate(point.items())
    }


def _estimate(value: float | None, draws: Floats, level: float, *, known: bool) -> Estimate | None:
    if value is None:
        return None
    if not known or not len(draws):
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, min(float(low), value), max(float(high), value))


# --- resampling: a resample is (G,) counts, the same for every detector that scored these rows ---


def _group_numbers(groups: Collection[Hashable] | NDArray[Any] | None, n_rows: int) -> Ints:
    """(N,) group of each row, 0 to G-1 without gaps."""
    if groups is None:
        return np.arange(n_rows)
    # A list and not an array: as an array of text, a million paths would fill hundreds of megabytes.
    names = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    if len(names) != n_rows:
        raise ConfigError(
            f"groups and labels differ in length: found {len(names)} and {n_rows}; give one group a row"
        )
    seen: dict[Hashable, int] = {}
    numbers = np.fromiter(
        (-1 if name is None or name == "" else seen.setdefault(name, len(seen)) for name in names),
        dtype=np.int64,
        count=n_rows,
    )
    alone = numbers < 0
    numbers[alone] = len(seen) + np.arange(np.count_nonzero(alone))
    return numbers


def _strata(is_fake: Bools, numbers: Ints) -> tuple[Ints, tuple[int, int, int]]:
    """Groups renumbered so that strata follow each other, and the groups of reals, of fakes, of both."""
    n_groups = int(numbers.max(initial=-1)) + 1
    has_real = np.bincount(numbers[~is_fake], minlength=n_groups) > 0
    has_fake = np.bincount(numbers[is_fake], minlength=n_groups) > 0
    stratum = np.where(has_real & has_fake, 2, has_fake)
    renumbered = np.empty(n_groups, dtype=np.int64)
    renumbered[np.argsort(stratum, kind="stable")] = np.arange(n_groups)
    real, fake, both = np.bincount(stratum, minlength=3).tolist()
    return renumbered[numbers], (real, fake, both)


def _resampled_counts(strata: tuple[int, ...], rng: np.random.Generator) -> Ints:
    """(G,) how often each group is drawn."""
    return np.concatenate([np.bincount(rng.integers(n, size=n), minlength=n) for n in strata if n])


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Predictions, arranged so that every metric is a function of how often each group counts."""

    ranking: _Ranking
    real_groups: Ints  # (R,) in the ranking's order
    fake_groups: Ints  # (F,)
    cut: tuple[int, int] | None  # reals and fakes below the threshold
    calibration: _CalibrationSums | None
    fpr_targets: tuple[float, ...]

    @classmethod
    def of(
        cls,
        is_fake: Bools,
        scores: Floats,
        numbers: Ints,
        threshold: float | None,
        probabilities: ArrayLike | None,
        fpr_targets: tuple[float, ...],
    ) -> _Table:
        order = np.argsort(scores, kind="stable")
        reals, fakes = order[~is_fake[order]], order[is_fake[order]]
        ranking = _Ranking(scores[reals], scores[fakes])
        cut = None
        if threshold is not None:
            _check_threshold(threshold)
            below = ranking.real.searchsorted(threshold), ranking.fake.searchsorted(threshold)
            cut = int(below[0]), int(below[1])
        sums = None
        if probabilities is not None and len(scores):
            sums = _CalibrationSums.of(*_checked_probabilities(is_fake, probabilities), numbers)
        return cls(ranking, numbers[reals], numbers[fakes], cut, sums, fpr_targets)

    def metrics(self, counts: Ints) -> dict[str, float | None]:
        """All metrics where group g counts counts[g] times; a resample keeps the classes that are there."""
        ranking = self.ranking
        mass = _Mass.of(counts[self.real_groups], counts[self.fake_groups])
        both = bool(mass.reals and mass.fakes)
        found: dict[str, float | None] = {
            "auroc": _auroc(ranking, mass) if both else None,
            "ap": _average_precision(ranking, mass) if both else None,
            "eer": _eer(ranking, mass) if both else None,
        }
        for target in self.fpr_targets:
            found[f"tpr_at_fpr_{target:g}"] = _tpr_at_fpr(ranking, mass, target) if both else None
        found |= {
            "accuracy": None,
            "balanced_accuracy": None,
            "fpr": None,
            "fnr": None,
            "ece": None,
            "brier": None,
        }
        if self.cut is not None and mass.reals + mass.fakes:
            fp, fn = mass.reals - mass.real_sum[self.cut[0]], mass.fake_sum[self.cut[1]]
            found["accuracy"] = float(1 - (fp + fn) / (mass.reals + mass.fakes))
            found["fpr"] = float(fp / mass.reals) if mass.reals else None
            found["fnr"] = float(fn / mass.fakes) if mass.fakes else None
            found["balanced_accuracy"] = float(1 - (fp / mass.reals + fn / mass.fakes) / 2) if both else None
        if self.calibration is not None:
            found["ece"], found["brier"] = self.calibration.metrics(counts, mass.reals + mass.fakes)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _CalibrationSums:
    """What ECE and Brier need from each group: both are sums over rows."""

    bounds: Ints  # (bins + 1,) where each bin's cells begin; a cell is what one group has in one bin
    groups: Ints  # (cells,)
    residuals: Floats  # (cells,) sum of probability - label
    squared: Floats  # (G,) sum of (probability - label)²

    @classmethod
    def of(cls, is_fake: Bools, probabilities: Floats, numbers: Ints) -> _CalibrationSums:
        n_groups = int(numbers.max()) + 1
        residuals = probabilities - is_fake
        cells, cell = np.unique(_bins(probabilities, N_BINS) * n_groups + numbers, return_inverse=True)
        return cls(
            bounds=cells.searchsorted(np.arange(N_BINS + 1) * n_groups),
            groups=cells % n_groups,
            residuals=np.bincount(cell, weights=residuals),
            squared=np.bincount(numbers, weights=residuals**2),
        )

    def metrics(self, counts: Ints, n_rows: int) -> tuple[float, float]:
        weights = counts.astype(np.float64)
        distance = sum(
            abs(float(weights[self.groups[start:stop]] @ self.residuals[start:stop]))
            for start, stop in pairwise(self.bounds)
        )
        return distance / n_rows, float(weights @ self.squared) / n_rows


# --- metrics from cumulative sums ---


@dataclass(frozen=True, eq=False)
class _Ranking:
    """Both classes in ascending order of score, and where each falls in the other."""

    real: Floats  # (R,)
    fake: Floats  # (F,)

    @cached_property
    def reals_below(self) -> Ints:
        """(F,) reals that score less than each fake."""
        return self.real.searchsorted(self.fake, side="left")

    @cached_property
    def reals_up_to(self) -> Ints:
        """(F,) reals that score at most as much as each fake."""
        return self.real.searchsorted(self.fake, side="right")

    @cached_property
    def fakes_below(self) -> Ints:
        """(F,) fakes that score less than each fake: its rank, but for ties."""
        return self.fake.searchsorted(self.fake, side="left")

    @cached_property
    def cuts(self) -> tuple[Ints, Ints]:
        """(T + 1,) reals and fakes below each distinct score, ascending, and below infinity."""
        merged = np.sort(np.concatenate([self.real, self.fake]), kind="stable")
        distinct = merged[np.concatenate([[True], merged[1:] != merged[:-1]])]
        real, fake = self.real.searchsorted(distinct), self.fake.searchsorted(distinct)
        return np.append(real, len(self.real)), np.append(fake, len(self.fake))

    @property
    def unweighted(self) -> _Mass:
        return _Mass.of(np.ones(len(self.real), dtype=np.int64), np.ones(len(self.fake), dtype=np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class _Mass:
    """How often each row of a ranking counts. Integers: exact, and summed several times faster."""

    fake: Ints  # (F,)
    real_sum: Ints  # (R + 1,) [k]: of the k lowest reals
    fake_sum: Ints  # (F + 1,)

    @classmethod
    def of(cls, real: Ints, fake: Ints) -> _Mass:
        return cls(fake, _sum_before(real), _sum_before(fake))

    @property
    def reals(self) -> int:
        return int(self.real_sum[-1])

    @property
    def fakes(self) -> int:
        return int(self.fake_sum[-1])


def _sum_before(counts: Ints) -> Ints:
    total = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=total[1:])
    return total


def _auroc(ranking: _Ranking, mass: _Mass) -> float:
    twice = mass.real_sum[ranking.reals_below] + mass.real_sum[ranking.reals_up_to]
    return int(mass.fake @ twice) / (2 * mass.reals * mass.fakes)


def _average_precision(ranking: _Ranking, mass: _Mass) -> float:
    tp = mass.fakes - mass.fake_sum[ranking.fakes_below]
    fp = mass.reals - mass.real_sum[ranking.reals_below]
    # Both are 0 only at fakes that do not count.
    return float(mass.fake @ (tp / np.maximum(tp + fp, 1))) / mass.fakes


def _rates(ranking: _Ranking, mass: _Mass, cut: int) -> tuple[float, float]:
    """FPR and FNR at the cut-th distinct score."""
    real, fake = ranking.cuts
    fp = mass.reals - int(mass.real_sum[real[cut]])
    return fp / mass.reals, int(mass.fake_sum[fake[cut]]) / mass.fakes


def _eer(ranking: _Ranking, mass: _Mass) -> float:
    def excess(cut: int) -> float:
        fpr, fnr = _rates(ranking, mass, cut)
        return fnr - fpr

    # The excess climbs from -1 (all called fake) to 1 (none is), so that halving finds the crossing.
    after = bisect_left(range(len(ranking.cuts[0])), 0.0, key=excess)
    share = -excess(after - 1) / (excess(after) - excess(after - 1))
    fpr_before, fpr_after = _rates(ranking, mass, after - 1)[0], _rates(ranking, mass, after)[0]
    return fpr_before + share * (fpr_after - fpr_before)


def _tpr_at_fpr(ranking: _Ranking, mass: _Mass, target: float) -> float:
    def allowed(cut: int) -> bool:
        return _rates(ranking, mass, cut)[0] <= target

    lowest = bisect_left(range(len(ranking.cuts[0])), True, key=allowed)  # noqa: FBT003
    return 1 - _rates(ranking, mass, lowest)[1]


def _bins(probabilities: Floats, n_bins: int) -> Ints:
    """(N,) bin of each probability; an edge belongs to the bin below it."""
    return np.linspace(0, 1, n_bins + 1)[1:-1].searchsorted(probabilities, side="left")


# --- what is let in ---


def _ranking(is_fake: Bools, scores: Floats, *, metric: str) -> _Ranking:
    _require_both(np.count_nonzero(~is_fake), np.count_nonzero(is_fake), metric)
    return _Ranking(np.sort(scores[~is_fake]), np.sort(scores[is_fake]))


def _require_both(n_real: int, n_fake: int, metric: str) -> None:
    if not n_real or not n_fake:
        missing = " and no ".join(
            name for name, n in (("real (label 0)", n_real), ("fake (label 1)", n_fake)) if not n
        )
        raise ConfigError(
            f"{metric} is undefined without both classes: found {n_real} reals and {n_fake} fakes, so no {missing}; "
            "add rows of that class, or use summary(), which gives None"
        )


def _checked(labels: ArrayLike, scores: ArrayLike, *, what: str = "scores") -> tuple[Bools, Floats]:
    truth = np.asarray(labels)
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what} must be numbers: {error}") from error
    if truth.ndim != 1 or truth.shape != values.shape:
        raise ConfigError(
            f"labels and {what} must be 1-D and of one length: found {truth.shape} and {values.shape}"
        )
    is_fake = np.asarray(truth == FAKE, dtype=np.bool_)
    wrong = np.flatnonzero(~(is_fake | np.asarray(truth == REAL, dtype=np.bool_)))
    if len(wrong):
        raise ConfigError(
            f"labels must be {REAL} (real) or {FAKE} (fake): found {truth[wrong[0]]!r} in row {wrong[0]} and "
            f"{len(wrong)} such rows of {len(truth)}; leave out rows of unknown label"
        )
    lost = np.flatnonzero(np.isnan(values))
    if len(lost):
        raise ConfigError(
            f"{what} must not be NaN: found {len(lost)} of {len(values)}, the first in row {lost[0]}; "
            "leave out failed inputs and report the coverage"
        )
    return is_fake, values


def _checked_probabilities(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Bools, Floats]:
    is_fake, values = _checked(labels, probabilities, what="probabilities")
    if not len(values):
        raise ConfigError("found 0 rows, expected at least 1 label and probability")
    if values.min() < 0 or values.max() > 1:
        raise ConfigError(
            f"probabilities must lie between 0 and 1: found {values.min():g} to {values.max():g}; calibrate the scores"
        )
    return is_fake, values


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} must be a share between 0 and 1: found {value}; write 5 % as 0.05")


def _check_threshold(threshold: float) -> None:
    if math.isnan(threshold):
        raise ConfigError(
            "threshold must be a number: found NaN; give the score from which on an image is fake"
        )


def _check_options(fpr_targets: tuple[float, ...], n_resamples: int, level: float, workers: int) -> None:
    for target in fpr_targets:
        _check_share("fpr_targets", target)
    if n_resamples < 0:
        raise ConfigError(f"n_resamples must be 0 or more: found {n_resamples}")
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1: found {level}; write 95 % as 0.95")
    if workers < 1:
        raise ConfigError(f"workers must be 1 or more: found {workers}")
