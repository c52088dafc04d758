"""Thresholds that keep an error rate on calibration data, and the limit of a detector's domain.

A rate is refused where the data are too few to measure it.

Shapes: N scores or distances.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tellsign.calibration.checks import check_keys, check_rate, count, finite, number, scores_named, trials
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from tellsign.calibration.checks import Floats

Rule = Literal["rates", "eer", "conformal"]
RULES: tuple[Rule, ...] = ("rates", "eer", "conformal")
# With no event in n trials, the 95 % bound of its rate is 3 / n (Hanley and Lippman-Hand 1983).
RULE_OF_THREE = 3
EER_NEEDED = 30  # scores of each class: fewer can't tell an equal error of 10 % from none (3 / n)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Two thresholds on the score: fake from `high` on, real below `low`, uncertain between."""

    low: float
    high: float  # not below `low`
    fpr: float  # share of reals at or above `high` that was asked for, as an upper limit; of "eer": found
    fnr: float  # share of fakes below `low` that was asked for, as an upper limit; of "eer": found
    n_real: int  # of the calibration data
    n_fake: int
    rule: Rule = "rates"  # what made the thresholds: two rates, the equal error, or a conformal error level

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ConfigError(
                f"unknown rule {self.rule!r} of an operating point: expected one of {', '.join(RULES)}"
            )
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ConfigError(
                f"an operating point needs finite low <= high: found {self.low} and {self.high}"
            )

    def label(self, score: float) -> Literal["real", "fake", "uncertain"]:
        """The verdict on a score.

        Raises: ConfigError: the score is NaN.
        """
        if math.isnan(score):
            raise ConfigError("a score of NaN has no verdict; treat the input as failed")
        if score >= self.high:
            return "fake"
        return "real" if score < self.low else "uncertain"

    def to_dict(self) -> dict[str, Any]:
        """Its fields, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> OperatingPoint:
        """The inverse of `to_dict`; a point without a rule is of a time when there was one rule only.

        Raises: ConfigError: a key is missing, unknown or of a wrong type, or low > high.
        """
        found = {"rule": "rates", **found}
        check_keys("operating point", found, tuple(field.name for field in dataclasses.fields(cls)))
        low, high, fpr, fnr = (number(found, name) for name in ("low", "high", "fpr", "fnr"))
        return cls(low, high, fpr, fnr, count(found, "n_real"), count(found, "n_fake"), found["rule"])


def operating_point(
    real_scores: ArrayLike,
    fake_scores: ArrayLike,
    *,
    fpr: float,
    fnr: float,
    groups: tuple[int, int] | None = None,
    supported: bool = True,
) -> OperatingPoint:
    """The thresholds of two error rates, measured on calibration data.

    `high` is the threshold of the FPR and `low` that of the FNR. Where the classes lie further apart than the
    rates ask, low > high: every threshold between them keeps both rates, and both become the middle, so that
    nothing is uncertain.

    Args:    real_scores, fake_scores: (N,) finite. fpr, fnr: upper limits, above 0 and below 1.
             groups: how many groups of equal size the reals and the fakes stand for
             (`tellsign.groups.effective_groups`); None: every score is one.
             supported: refuse scores too few for the rates. Without it the point is for cross-fitting only.
    Returns: the operating point.
    Raises:  ConfigError: as for `threshold_at_fpr` and `threshold_at_fnr`.
    """
    n_real, n_fake = groups or (None, None)
    high = threshold_at_fpr(real_scores, fpr, n_groups=n_real, supported=supported)
    low = threshold_at_fnr(fake_scores, fnr, n_groups=n_fake, supported=supported)
    if low > high:
        low = high = high + (low - high) / 2
    return OperatingPoint(low, high, fpr, fnr, np.size(real_scores), np.size(fake_scores))


def equal_error_point(
    real_scores: ArrayLike,
    fake_scores: ArrayLike,
    *,
    groups: tuple[int, int] | None = None,
    supported: bool = True,
) -> OperatingPoint:
    """The one threshold at which the shares of false alarms and of missed fakes differ least.

    It lies in the middle between two neighbouring scores. Where two thresholds are as good, the one with the
    fewer errors is taken, then the higher one.

    Args:    real_scores, fake_scores: (N,) finite, of at least 30 groups each.
             groups: how many groups of equal size the reals and the fakes stand for
             (`tellsign.groups.effective_groups`); None: every score is one.
             supported: refuse fewer. Without it the point is for cross-fitting only.
    Returns: low = high; fpr and fnr are the shares found on these scores.
    Raises:  ConfigError: fewer than 30 groups of a class, or a score is not finite.
    """
    real, fake = (
        np.sort(finite(scores, f"{kind} scores"))
        for scores, kind in ((real_scores, "real"), (fake_scores, "fake"))
    )
    _check_equal_error(
        groups if groups and supported else (len(real), len(fake)), EER_NEEDED if supported else 1
    )
    distinct = np.unique(np.concatenate([real, fake]))
    middle = distinct[:-1] / 2 + distinct[1:] / 2
    # Between neighbouring floats the middle is rounded to one of them, and may be the wrong one.
    inner = np.clip(middle, np.nextafter(distinct[:-1], np.inf), distinct[1:])
    thresholds = np.concatenate([distinct[:1], inner, np.nextafter(distinct[-1:], np.inf)])
    fp, fn = len(real) - real.searchsorted(thresholds), fake.searchsorted(thresholds)
    # Cross-multiplied counts: shares that are equal may differ by a rounding error.
    fpr, fnr = fp * len(fake), fn * len(real)
    best = int(np.lexsort((-thresholds, fpr + fnr, np.abs(fpr - fnr)))[0])
    at = float(thresholds[best])
    return OperatingPoint(
        at, at, float(fp[best] / len(real)), float(fn[best] / len(fake)), len(real), len(fake), "eer"
    )


def threshold_at_fpr(
    real_scores: ArrayLike, fpr: float, *, n_groups: int | None = None, supported: bool = True
) -> float:
    """The smallest threshold at which at most `fpr` of these reals are called fake (score >= threshold).

    It is the next number above the highest real that must be called real. Whether the rate can be measured is
    a question of groups: frames of one source video stand for each other, however many there are.

    Args:    real_scores: (N,) finite. fpr: above 0 and below 1; at least 3 / groups.
             n_groups: how many groups (source videos, identities) of equal size they stand for
             (`tellsign.groups.effective_groups`); None: every score is one.
             supported: refuse scores too few for the rate. Without it the threshold is for cross-fitting.
    Returns: in the unit of the scores.
    Raises:  ConfigError: fewer than 3 / fpr groups (with no false alarm among n reals, the 95 % bound of the
             FPR is 3 / n), a score is not finite, or fpr is not a rate.
    """
    scores = _ascending(real_scores, fpr, n_groups, name="fpr", kind="real", supported=supported)
    return float(np.nextafter(scores[-1 - allowed(fpr, len(scores))], np.inf))


def threshold_at_fnr(
    fake_scores: ArrayLike, fnr: float, *, n_groups: int | None = None, supported: bool = True
) -> float:
    """The largest threshold at which at most `fnr` of these fakes are called real (score < threshold).

    Args:    fake_scores: (N,) finite. fnr: above 0 and below 1; at least 3 / groups.
             n_groups, supported: as for `threshold_at_fpr`.
    Returns: in the unit of the scores.
    Raises:  ConfigError: as for `threshold_at_fpr`.
    """
    scores = _ascending(fake_scores, fnr, n_groups, name="fnr", kind="fake", supported=supported)
    return float(scores[allowed(fnr, len(scores))])


def domain_limit(distances: ArrayLike, *, quantile: float = 0.99) -> float:
    """The distance from the training data beyond which an input is outside of the detector's domain.

    The sample quantile rounded up to the next distance that was seen, so that no more than 1 - quantile of
    these inputs lie beyond it.

    Args:    distances: (N,) finite, of inputs inside the domain. quantile: above 0 and below 1.
    Returns: in the unit of the distances; an input is outside where its distance is greater.
    Raises:  ConfigError: fewer than 1 / (1 - quantile) distances, of which even the greatest says nothing of
             the quantile; a distance is not finite; or quantile is not between 0 and 1.
    """
    check_rate("quantile", quantile)
    values = finite(distances, "distances")
    needed = math.ceil(1 / (1 - quantile) - 1e-9)
    if len(values) < needed:
        raise ConfigError(
            f"too few distances for the quantile {quantile:g}: found {len(values)}, needed {needed}; "
            "give more inputs or a lower quantile"
        )
    return float(np.quantile(values, quantile, method="higher"))


def _check_equal_error(found: tuple[int, int], needed: int) -> None:
    if min(found) < needed:
        raise ConfigError(
            f"too few scores for an equal error: found {found[0]} of reals and {found[1]} of fakes, needed "
            f"{needed} of each, where a group of images counts once; add images"
        )


def _ascending(
    scores: ArrayLike, rate: float, n_groups: int | None, *, name: str, kind: str, supported: bool
) -> Floats:
    """(N,) ascending scores, or a ConfigError where their groups are too few for the rate."""
    check_rate(name, rate)
    values = finite(scores, f"{kind} scores")
    needed = math.ceil(RULE_OF_THREE / rate) if supported else 1
    n = trials(len(values), n_groups) if supported else len(values)
    if n < needed:
        lowest = math.ceil(1e4 * RULE_OF_THREE / max(n, 1)) / 1e4
        mend = f"ask for {name} >= {lowest:g}" if lowest < 1 else "that supports no rate"
        raise ConfigError(
            f"{scores_named(len(values), n_groups, kind)} cannot support {name} = {rate:g}: found {n}, "
            f"needed {needed} ({RULE_OF_THREE} / {name}); add {kind} images, or {mend}"
        )
    return np.sort(values)


def allowed(rate: float, n: int) -> int:
    """The most errors among n whose share, as a float, is at most the rate.

    Args:    rate: above 0 and below 1. n: at least 1.
    Returns: 0 to n - 1.
    """
    errors = int(rate * n) + 1
    while errors / n > rate:
        errors -= 1
    return errors
