"""One function for each metric: labels and scores in, one figure out.

Shapes: N rows (predictions).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tellsign.metrics.ranking import Mass, Ranking, area, equal_error, largest_tpr, step_precision
from tellsign.types import FAKE, REAL, ConfigError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from tellsign.metrics.ranking import Floats, Ints

    Bools = NDArray[np.bool_]

N_BINS = 15  # of the expected calibration error, as in Guo et al. (2017)


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a fake scores above a real, ties counting half.

    Implements the rank statistic of Mann and Whitney (1947). Deviates: none.

    Args:    labels: (N,) 0 real or 1 fake. scores: (N,) higher = more fake; infinities are allowed.
    Returns: a share between 0 and 1; 0.5 is chance.
    Raises:  ConfigError: a class is missing, a score is NaN, a label is not 0 or 1, or the lengths differ.

    Example:
        >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.75
    """
    return area(*_ranked(labels, scores, metric="auroc"))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Mean precision over the steps of recall, without interpolation; tied scores are one step.

    Implements scikit-learn's `average_precision_score`. Deviates: none.

    Args:    labels: (N,) 0 real or 1 fake. scores: (N,) higher = more fake; infinities are allowed.
    Returns: a share between 0 and 1; chance is the share of fakes.
    Raises:  ConfigError: as for `auroc`.
    """
    return step_precision(*_ranked(labels, scores, metric="average precision"))


def eer(labels: ArrayLike, scores: ArrayLike) -> float:
    """Equal error rate: the point of the ROC curve where FPR = FNR.

    The points of all thresholds are joined by straight lines, and the crossing is read off such a line. Tied
    scores are one step, so that a tie between reals and fakes is a sloped line.

    Args:    labels: (N,) 0 real or 1 fake. scores: (N,) higher = more fake; infinities are allowed.
    Returns: a share between 0 and 1; 0.5 is chance.
    Raises:  ConfigError: as for `auroc`.
    """
    return equal_error(*_ranked(labels, scores, metric="eer"))


def tpr_at_fpr(labels: ArrayLike, scores: ArrayLike, *, fpr: float) -> float:
    """Largest share of fakes found at a threshold whose share of false alarms is at most `fpr`.

    Conservative: only points that a threshold reaches on these scores count, nothing is interpolated.

    Args:    labels: (N,) 0 real or 1 fake. scores: (N,) higher = more fake; infinities are allowed.
             fpr: allowed share, 0 to 1.
    Returns: a share between 0 and 1.
    Raises:  ConfigError: as for `auroc`, or `fpr` is not a share.
    """
    check_share("fpr", fpr)
    return largest_tpr(*_ranked(labels, scores, metric="tpr at fpr"), fpr=fpr)


def confusion_matrix(labels: ArrayLike, scores: ArrayLike, *, threshold: float) -> Ints:
    """Counts of decisions, where a score of at least `threshold` is called fake.

    Args:    labels: (N,) 0 real or 1 fake. scores: (N,) higher = more fake.
             threshold: in the unit of the scores; may be infinite.
    Returns: (2, 2) counts [[tn, fp], [fn, tp]]; a row is the truth, a column the decision.
    Raises:  ConfigError: NaN in scores or threshold, a label is not 0 or 1, or the lengths differ.
    """
    is_fake, values = checked(labels, scores)
    check_threshold(threshold)
    cells = np.bincount(2 * is_fake + (values >= threshold), minlength=4)
    return cells.reshape(2, 2).astype(np.int64)


def accuracy(labels: ArrayLike, scores: ArrayLike, *, threshold: float) -> float:
    """Share of right decisions at a threshold; exists for one class as well.

    Args:    labels, scores, threshold: as for `confusion_matrix`.
    Returns: a share between 0 and 1.
    Raises:  ConfigError: as for `confusion_matrix`, or there are no rows.
    """
    cells = confusion_matrix(labels, scores, threshold=threshold)
    if not cells.sum():
        raise ConfigError("accuracy needs predictions: found 0 rows, expected at least 1")
    return float(np.trace(cells) / cells.sum())


def balanced_accuracy(labels: ArrayLike, scores: ArrayLike, *, threshold: float) -> float:
    """Mean of the shares of reals and of fakes that are decided rightly.

    Args:    labels, scores, threshold: as for `confusion_matrix`.
    Returns: a share between 0 and 1; 0.5 is chance.
    Raises:  ConfigError: as for `confusion_matrix`, or a class is missing.
    """
    (tn, fp), (fn, tp) = confusion_matrix(labels, scores, threshold=threshold).tolist()
    _require_both(tn + fp, fn + tp, metric="balanced accuracy")
    return float(tn / (tn + fp) + tp / (fn + tp)) / 2


def ece(labels: ArrayLike, probabilities: ArrayLike, *, n_bins: int = N_BINS) -> float:
    """Expected calibration error of the probability of fake.

    Implements Guo et al. (2017), eq. 3, with their bins of equal width, (k/n, (k+1)/n], where the first also
    takes 0. Deviates: bins the probability of fake (0 to 1) and compares it with the share of fakes, because
    that is what a verdict states; Guo et al. bin the confidence of the class that was chosen.

    Args:    labels: (N,) 0 real or 1 fake. probabilities: (N,) of fake. n_bins: at least 1.
    Returns: mean distance between probability and frequency, 0 to 1; biased upwards where bins hold few rows.
    Raises:  ConfigError: a probability is NaN or outside 0 to 1, no rows, a wrong label, lengths differ.
    """
    is_fake, values = checked_probabilities(labels, probabilities)
    if n_bins < 1:
        raise ConfigError(f"ece needs at least 1 bin: found n_bins={n_bins}")
    residuals = np.bincount(calibration_bin(values, n_bins), weights=values - is_fake)
    return float(np.abs(residuals).sum() / len(values))


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared distance between the probability of fake and the label.

    Implements Brier (1950). Deviates: one squared term a row and not one a class, as is usual for two
    classes, so that 0 is perfect and 1 the worst.

    Args:    labels: (N,) 0 real or 1 fake. probabilities: (N,) of fake.
    Returns: 0 to 1; a constant 0.5 gets 0.25.
    Raises:  ConfigError: as for `ece`, but for the bins.
    """
    is_fake, values = checked_probabilities(labels, probabilities)
    return float(np.mean((values - is_fake) ** 2))


def calibration_bin(probabilities: Floats, n_bins: int) -> Ints:
    """(N,) bin of each probability; an edge belongs to the bin below it."""
    return np.linspace(0, 1, n_bins + 1)[1:-1].searchsorted(probabilities, side="left")


def columns(
    labels: ArrayLike, scores: ArrayLike, *, what: str = "scores", kind: str = "numbers"
) -> tuple[Bools, Floats]:
    """(N,) which rows are fake and (N,) values, some perhaps NaN; a ConfigError where they don't fit."""
    truth = np.asarray(labels)
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what} must be {kind}: {error}") from error
    if truth.ndim != 1 or truth.shape != values.shape:
        raise ConfigError(
            f"labels and {what} must be 1-D and of one length: found {truth.shape} and {values.shape}"
        )
    is_fake = np.asarray(truth == FAKE, dtype=np.bool_)
    wrong = np.flatnonzero(~(is_fake | np.asarray(truth == REAL, dtype=np.bool_)))
    if len(wrong):
        raise ConfigError(
            f"labels must be {REAL} (real) or {FAKE} (fake): found {truth.tolist()[wrong[0]]!r} in row "
            f"{wrong[0]} and {len(wrong)} such rows of {len(truth)}; leave out rows of unknown label"
        )
    return is_fake, values


def checked(labels: ArrayLike, scores: ArrayLike, *, what: str = "scores") -> tuple[Bools, Floats]:
    """As `columns`, and no value is NaN; a ConfigError names the first bad row."""
    is_fake, values = columns(labels, scores, what=what)
    lost = np.flatnonzero(np.isnan(values))
    if len(lost):
        raise ConfigError(
            f"{what} must not be NaN: found {len(lost)} of {len(values)}, the first in row {lost[0]}; "
            "leave out failed inputs and state the coverage"
        )
    return is_fake, values


def checked_probabilities(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Bools, Floats]:
    """As `checked`, and every value is a probability."""
    is_fake, values = checked(labels, probabilities, what="probabilities")
    if not len(values):
        raise ConfigError("found 0 rows of labels and probabilities, expected at least 1")
    if values.min() < 0 or values.max() > 1:
        raise ConfigError(
            f"probabilities must lie between 0 and 1: found {values.min():g} to {values.max():g}; "
            "calibrate the scores first"
        )
    return is_fake, values


def check_share(name: str, value: float) -> None:
    """Raises ConfigError unless 0 <= value <= 1."""
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} must be a share between 0 and 1: found {value}; write 5 % as 0.05")


def check_threshold(threshold: float) -> None:
    """Raises ConfigError where the threshold is NaN."""
    if math.isnan(threshold):
        raise ConfigError("threshold must be a number: found NaN; give the score from which on it is fake")


def _ranked(labels: ArrayLike, scores: ArrayLike, *, metric: str) -> tuple[Ranking, Mass]:
    is_fake, values = checked(labels, scores)
    real, fake = np.sort(values[~is_fake]), np.sort(values[is_fake])
    _require_both(len(real), len(fake), metric=metric)
    return Ranking(real, fake), Mass(len(real), len(fake))


def _require_both(n_real: int, n_fake: int, *, metric: str) -> None:
    if n_real and n_fake:
        return
    missing = "reals (label 0)" if n_fake else "fakes (label 1)" if n_real else "rows"
    raise ConfigError(
        f"{metric} needs both classes, and there are no {missing}: found {n_real} reals and {n_fake} fakes; "
        "add the missing class, or use summary(), which gives None"
    )
