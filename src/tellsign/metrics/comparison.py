"""Two detectors on the same samples: which is better, and whether the data decide it.

`delong` tests two AUROCs on rows that are independent. `differences` compares any metric by a bootstrap in
which both detectors see the same resamples of groups. Differences are first minus second.

Shapes: N rows (predictions), R reals, F fakes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tellsign.metrics.bootstrap import READS, Table, check_metric_options
from tellsign.metrics.resampling import Design, check_options
from tellsign.metrics.values import checked
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from tellsign.groups import Groups
    from tellsign.metrics.ranking import Counts, Floats
    from tellsign.metrics.resampling import Measure
    from tellsign.metrics.values import Bools

    Verdict = Literal["first", "second", "undecided"]

LOWER_IS_BETTER = frozenset({"eer", "fpr", "fnr", "ece", "brier"})
NAMES = ("first", "second")


@dataclass(frozen=True, slots=True)
class Difference:
    """How much two detectors differ in one metric."""

    value: float  # the first's metric minus the second's
    ci: tuple[float, float] | None  # None where the data do not show how much the difference varies
    p: float | None  # two-sided, of no difference; None where `ci` is
    verdict: Verdict  # which is better; undecided where the interval holds zero or p is too large
    names: tuple[str, str] = NAMES

    @property
    def words(self) -> str:
        """The verdict in words, e.g. "first is better" or "undecided"."""
        if self.verdict == "undecided":
            return self.verdict
        return f"{self.names[NAMES.index(self.verdict)]} is better"

    def to_dict(self) -> dict[str, Any]:
        """{"value", "ci": [low, high] or None, "p", "verdict"}, where the verdict is `words`."""
        ci = None if self.ci is None else list(self.ci)
        return {"value": self.value, "ci": ci, "p": self.p, "verdict": self.words}


@dataclass(frozen=True, slots=True)
class DeLong:
    """Two AUROCs on the same samples, and the test of their difference."""

    first: float  # AUROC
    second: float
    variances: tuple[float, float]  # of each AUROC
    covariance: float  # of the two
    z: float | None  # None where the difference has no variance
    difference: Difference


def delong(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    level: float = 0.95,
    names: tuple[str, str] = NAMES,
) -> DeLong:
    """Paired test of two AUROCs, with variances and covariance in O(n log n).

    Implements DeLong et al. (1988) in the form of Sun and Xu (2014), where ranks give the shares of reals
    below each fake and of fakes above each real, instead of a loop over pairs. Deviates: counts them by
    binary search in the sorted classes, which gives the same numbers as midranks, and none where the
    difference has no variance (identical or perfect detectors): z, p and interval are None then.

    It takes rows to be independent. Frames of one video are not: use `differences` with groups for these.

    Args:    labels: (N,) 0 real or 1 fake, at least two of each.
             first, second: (N,) scores of the two detectors, higher = more fake; infinities are allowed.
             level: of the interval, between 0 and 1.
             names: of the detectors, for `Difference.words`.
    Returns: AUROCs, their variances and covariance, z, and the difference with its normal interval and p.
    Raises:  ConfigError: a class has fewer than two rows, a score is NaN, a label is not 0 or 1, lengths
             differ, or the level is no share.
    """
    check_options(n_resamples=0, level=level, workers=1)
    is_fake, scores = pair(labels, first, second)
    n_fake = int(is_fake.sum())
    n_real = len(is_fake) - n_fake
    if min(n_real, n_fake) < 2:
        raise ConfigError(
            f"the DeLong test needs at least 2 rows of each class: found {n_real} reals and {n_fake} fakes; "
            "add samples of the class that lacks them"
        )
    wins = [_wins(values[~is_fake], values[is_fake]) for values in scores]
    of_fakes, of_reals = (np.stack(part) for part in zip(*wins, strict=True))  # (2, F) and (2, R)
    areas = of_fakes.sum(axis=1) / (n_real * n_fake)
    (first_variance, covariance), (_, second_variance) = _covariance(of_fakes / n_real) + _covariance(
        of_reals / n_fake
    )
    # Differences of counts that are all alike vary by exactly 0, which a sum of variances would blur.
    spread = [np.var(part[0] - part[1], ddof=1) / part.shape[1] for part in (of_fakes, of_reals)]
    error = math.sqrt(spread[0] / n_real**2 + spread[1] / n_fake**2)
    value = float(areas[0] - areas[1])
    z = value / error if error else None
    return DeLong(
        first=float(areas[0]),
        second=float(areas[1]),
        variances=(float(first_variance), float(second_variance)),
        covariance=float(covariance),
        z=z,
        difference=_normal_difference(value, error, level, names),
    )


def differences(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    thresholds: tuple[float, float] | None,
    probabilities: tuple[ArrayLike, ArrayLike] | None = None,
    groups: Groups = None,
    fpr_targets: tuple[float, ...] = (0.05,),
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    workers: int = 1,
    names: tuple[str, str] = NAMES,
) -> dict[str, Difference | None]:
    """Difference of two detectors in every metric of `summary`, with a paired bootstrap over groups.

    Each resample of groups is drawn once, as `summary` draws it, and both detectors are measured on it: what
    makes a resample easy or hard for both cancels. The interval is the percentiles of the differences; p is
    twice the smaller share of resamples on either side of zero, of which zero itself counts for both. The
    verdict takes both: an interval without zero and a p of at most 1 - level, which few resamples can't show.

    Args:    labels: (N,) 0 real or 1 fake.
             first, second: (N,) scores of the two detectors, higher = more fake; infinities are allowed.
             thresholds: of the two; None where nothing is decided.
             probabilities: (N,) of fake for each of the two, calibrated, for ECE and Brier.
             groups: (N,) source of each row; "" or None is a row of its own. None: every row is one.
             fpr_targets, n_resamples, level, seed, workers: as for `summary`.
             names: of the detectors, for `Difference.words`.
    Returns: the keys of `summary`; None where a metric is undefined. A metric of which less is better (EER,
             FPR, FNR, ECE, Brier) is judged so. Interval and p are None where `summary` has no interval.
    Raises:  ConfigError: as for `summary`.
    """
    check_options(n_resamples=n_resamples, level=level, workers=workers)
    is_fake, scores = pair(labels, first, second)
    # Numbered by both scores alike, so that swapping the detectors swaps signs and nothing else.
    orders = [np.argsort(values, kind="stable") for values in scores]
    design = Design.of(
        is_fake, _joint_order(orders), groups, n_resamples=n_resamples, seed=seed, workers=workers
    )
    tables = []
    for values, order, threshold, chances in zip(
        scores, orders, thresholds or (None, None), probabilities or (None, None), strict=True
    ):
        check_metric_options(threshold, fpr_targets)
        options: Any = {"threshold": threshold, "probabilities": chances, "fpr_targets": fpr_targets}
        tables.append(Table.of(is_fake, values, design.numbers, order, **options))
    return _judged(tables, design, design.varies(is_fake), level, names)


def _judged(
    tables: Sequence[Table],
    design: Design,
    known: Mapping[int | None, bool],
    level: float,
    names: tuple[str, str],
) -> dict[str, Difference | None]:
    """The difference of two tables in every metric, measured on the same resamples."""
    points = [table.point() for table in tables]
    draws = design.draws(partial(_differences, tables)).reshape(-1, len(points[0]))
    found: dict[str, Difference | None] = {}
    for column, (name, one) in enumerate(points[0].items()):
        other = points[1][name]
        if one is None or other is None:
            found[name] = None
            continue
        drawn = draws[:, column] if known[READS.get(name)] else draws[:0, column]
        found[name] = _drawn_difference(one - other, drawn, level, names, falls=name in LOWER_IS_BETTER)
    return found


def pair(labels: ArrayLike, first: ArrayLike, second: ArrayLike) -> tuple[Bools, tuple[Floats, Floats]]:
    """(N,) which rows are fake and the scores of two detectors, or what `checked` raises."""
    is_fake, one = checked(labels, first, what="scores of the first detector")
    _, other = checked(labels, second, what="scores of the second detector")
    return is_fake, (one, other)


def _wins(real: Floats, fake: Floats) -> tuple[Floats, Floats]:
    """(F,) reals below each fake and (R,) fakes above each real, ties counting half."""
    reals, fakes = np.sort(real), np.sort(fake)
    below = (reals.searchsorted(fake, "left") + reals.searchsorted(fake, "right")) / 2
    not_above = (fakes.searchsorted(real, "left") + fakes.searchsorted(real, "right")) / 2
    return below, len(fakes) - not_above


def _covariance(shares: Floats) -> Floats:
    """(2, 2) covariance of the means of two rows."""
    return np.asarray(np.cov(shares, ddof=1) / shares.shape[1], dtype=np.float64)


def _joint_order(orders: Sequence[Any]) -> Any:
    """(N,) rows by the sum of their two ranks."""
    ranks = np.zeros(len(orders[0]), dtype=np.int64)
    for order in orders:
        ranks[order] += np.arange(len(order))
    return np.argsort(ranks, kind="stable")


def _differences(tables: Sequence[Table]) -> Measure:
    measures = [table.row() for table in tables]

    def differences_of(counts: Counts) -> list[float | None]:
        rows = zip(*(measure(counts) for measure in measures), strict=True)
        return [None if one is None or other is None else one - other for one, other in rows]

    return differences_of


def _normal_difference(value: float, error: float, level: float, names: tuple[str, str]) -> Difference:
    from scipy.stats import norm

    if not error:
        return Difference(value, None, None, "undecided", names)
    reach = float(norm.ppf((1 + level) / 2)) * error
    ci = (value - reach, value + reach)
    return Difference(value, ci, float(2 * norm.sf(abs(value) / error)), _verdict(ci), names)


def _drawn_difference(
    value: float, draws: Floats, level: float, names: tuple[str, str], *, falls: bool
) -> Difference:
    if not len(draws):
        return Difference(value, None, None, "undecided", names)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    ci = (min(float(low), value), max(float(high), value))
    # The sample itself is one of the draws: no bootstrap shows that p is 0.
    tail = (1 + min(int((draws <= 0).sum()), int((draws >= 0).sum()))) / (1 + len(draws))
    p = min(1.0, 2 * tail)
    return Difference(value, ci, p, _verdict(ci, falls=falls) if p <= 1 - level else "undecided", names)


def _verdict(ci: tuple[float, float], *, falls: bool = False) -> Verdict:
    if ci[0] <= 0 <= ci[1]:
        return "undecided"
    return "first" if (ci[0] > 0) != falls else "second"
