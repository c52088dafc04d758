"""What it costs to answer, and to abstain: coverage and risk, by cross-fitting and along a curve.

Coverage is the share of images that get a verdict, risk the share of wrong ones among these verdicts.

Shapes: N rows, K points of a curve.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.calibration.checks import finite
from tellsign.calibration.intervals import Share, wilson
from tellsign.groups import effective_groups, group_numbers
from tellsign.types import FAKE, REAL, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from tellsign.calibration.checks import Bools, Floats
    from tellsign.calibration.operating import OperatingPoint

    Ints = NDArray[np.int64]

N_FOLDS = 10
UNCERTAIN = -1


@dataclass(frozen=True, slots=True)
class CrossFitted:
    """How verdicts fare on images that their thresholds were not set on."""

    n_folds: int
    coverage: Share  # images with a verdict
    risk: Share | None  # wrong ones among the verdicts; None where there is no verdict
    fpr: Share | None  # reals that are called fake; None without reals
    fnr: Share | None  # fakes that are called real; None without fakes

    def to_dict(self) -> dict[str, Any]:
        """Its fields, ready for JSON."""
        shares = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "n_folds"}
        return {"n_folds": self.n_folds} | {
            name: None if share is None else share.to_dict() for name, share in shares.items()
        }


@dataclass(frozen=True, slots=True, eq=False)
class RiskCoverage:
    """Risk among the most certain rows, for every number of them that a limit can let through."""

    coverage: Floats  # (K,) ascending, the last is 1
    risk: Floats  # (K,) share of wrong decisions among the rows let through
    aurc: float  # mean risk over all coverages; smaller is better


def cross_fitted(
    labels: ArrayLike,
    scores: ArrayLike,
    point: Callable[[Floats, Floats], OperatingPoint],
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> CrossFitted:
    """Coverage and risk of verdicts, each by thresholds set on the other folds.

    Ten folds, fewer where a class has fewer groups; classes and groups are dealt out evenly.

    Args:    labels: (N,) 0 real or 1 fake; one class alone is allowed. scores: (N,) finite.
             point: (real scores, fake scores) → the operating point that is judged.
             groups: (N,) source of each row; "" is a row of its own. None: every row is one.
             seed: of the folds.
    Returns: shares with intervals that count each group as one trial, unequal ones as fewer.
    Raises:  ConfigError: a class has one group only, there are no rows, or what `point` raises.
    """
    truth, values = np.asarray(labels), finite(scores, "scores")
    if truth.shape != values.shape or not len(values) or not np.isin(truth, (REAL, FAKE)).all():
        raise ConfigError(
            f"cross-fitting needs a label, {REAL} or {FAKE}, and a score a row: found {truth.shape} labels "
            f"and {values.shape} scores"
        )
    numbers = group_numbers(groups, len(values))
    sizes = [len(np.unique(numbers[truth == label])) for label in (REAL, FAKE) if (truth == label).any()]
    if min(sizes) < 2:
        raise ConfigError(
            "cross-fitting needs two groups of each class: found one, whose images stand for each other; add "
            "images of other sources, or mend the column group"
        )
    n_folds = min(N_FOLDS, *sizes)
    fold = _folds(truth == FAKE, numbers, n_folds, seed)
    verdict = np.full(len(values), UNCERTAIN)
    for number in range(n_folds):
        rest, own = fold != number, fold == number
        fitted = point(values[rest & (truth == REAL)], values[rest & (truth == FAKE)])
        verdict[own & (values >= fitted.high)] = FAKE
        verdict[own & (values < fitted.low)] = REAL
    decided = verdict != UNCERTAIN

    def share(of: Bools, among: Bools) -> Share | None:
        own = numbers[among]
        return wilson(float(np.mean(of[among])), effective_groups(own, len(own))) if len(own) else None

    coverage = share(decided, np.ones_like(decided))
    assert coverage is not None
    return CrossFitted(
        n_folds,
        coverage,
        share(verdict != truth, decided),
        share(verdict == FAKE, truth == REAL),
        share(verdict == REAL, truth == FAKE),
    )


def risk_coverage(
    labels: ArrayLike, scores: ArrayLike, *, threshold: float = 0.5, certainty: ArrayLike | None = None
) -> RiskCoverage:
    """How the share of wrong decisions falls when the least certain ones are left out.

    Implements the risk-coverage curve of El-Yaniv and Wiener (2010) and its area, the mean of the risk over
    all numbers of rows, of Geifman et al. (2019). Deviates: rows of equal certainty enter together, so that
    none is preferred; the area takes the mean over all orders of them.

    Args:    labels: (N,) 0 real or 1 fake. scores: (N,) finite, fake from `threshold` on; probabilities of
             fake with 0.5, or raw scores with a detector's threshold.
             threshold: in the unit of the scores.
             certainty: (N,) finite, higher = answered sooner. None: the distance from the threshold.
    Returns: the curve, one point for each distinct certainty, and its area.
    Raises:  ConfigError: no rows, a wrong label, a number is not finite, or lengths differ.
    """
    truth, values = np.asarray(labels), finite(scores, "scores")
    if math.isnan(threshold):
        raise ConfigError("the threshold of a risk-coverage curve must be a number: found NaN")
    order_by = np.abs(values - threshold) if certainty is None else finite(certainty, "certainty")
    if not len(values) or not truth.shape == values.shape == order_by.shape:
        raise ConfigError(
            f"a risk-coverage curve needs a label, a score and a certainty a row: found {truth.shape}, "
            f"{values.shape} and {order_by.shape}"
        )
    if not np.isin(truth, (REAL, FAKE)).all():
        raise ConfigError(f"labels must be {REAL} (real) or {FAKE} (fake); leave out rows of unknown label")
    wrong = (values >= threshold) != (truth == FAKE)
    distinct, tie, rows = np.unique(-order_by, return_inverse=True, return_counts=True)
    errors = np.bincount(tie, weights=wrong, minlength=len(distinct))
    n_through = np.cumsum(rows)
    # Within a tie each row is wrong as often as the tie's rows are on average.
    one_by_one = np.cumsum(np.repeat(errors / rows, rows)) / np.arange(1, len(values) + 1)
    return RiskCoverage(n_through / len(values), np.cumsum(errors) / n_through, float(one_by_one.mean()))


def _folds(is_fake: Bools, numbers: Ints, n_folds: int, seed: int) -> Ints:
    """(N,) fold of each row; groups with reals, with fakes and with both are dealt out apart."""
    n_groups = int(numbers.max()) + 1
    has_fake = np.bincount(numbers[is_fake], minlength=n_groups) > 0
    has_real = np.bincount(numbers[~is_fake], minlength=n_groups) > 0
    rng, start = np.random.default_rng(seed), 0
    fold = np.empty(n_groups, dtype=np.int64)
    # Groups with both come between the others, and each kind goes on where the last one stopped: so all
    # groups with reals are dealt out in one go, as are all with fakes, and no fold has a class for itself.
    for members in (np.flatnonzero(has_real & ~has_fake), np.flatnonzero(has_real & has_fake),
                    np.flatnonzero(has_fake & ~has_real)):  # fmt: skip
        fold[rng.permutation(members)] = (start + np.arange(len(members))) % n_folds
        start += len(members)
    return fold[numbers]
