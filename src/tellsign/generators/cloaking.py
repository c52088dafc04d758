"""How well a generator hides from the simplest detector of spectra: the cloaking score of Jung and Keuper.

    score = 1 - |accuracy - 0.5| / 0.5

of a logistic regression on profiles: 1 where it can only guess, 0 where it tells every image. In the paper
the regression is scored on the images that it was fitted to, so that with few images it tells anything from
anything. The score that counts here is held out by cross-validation; the other stands beside it.

Deviates: the regression has an L2 penalty on standardised rings and is solved, where the paper stops Adam
after 100 or 1000 epochs; accuracy is the mean of both classes', and both weigh the same in the fit, so that
the score does not depend on how many images of each there are.

Shapes: N images, Q rings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tellsign.data.audit.classify import folds_of
from tellsign.groups import group_numbers
from tellsign.metrics import balanced_accuracy
from tellsign.types import FAKE, REAL, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tellsign.types import FloatArray

    Ints = NDArray[np.int64]

PENALTY = 1.0  # scikit-learn's C: of the errors against half the squared weights


@dataclass(frozen=True, slots=True)
class Cloaking:
    """Scores from 0, told every time, to 1, a guess."""

    held_out: float | None  # None: there are too few groups
    held_out_accuracy: float | None  # mean of both classes
    fitted: float  # scored on the images that it was fitted to, as in the paper
    fitted_accuracy: float
    folds: int  # of the cross-validation; 0 where there was none
    note: str = ""  # why nothing could be held out


def cloaking(
    profiles: FloatArray, labels: Sequence[int], groups: Sequence[str], *, folds: int = 5, seed: int = 0
) -> Cloaking:
    """The cloaking score of images by their profiles.

    Args:    profiles: (N, Q), as `centred_profile` has them.
             labels: (N,) 0 real or 1 fake, both of them.
             groups: (N,) source of each image; "" is one of its own. No group is on both sides of a fold.
             folds: at most; fewer where a class has fewer groups.
             seed: of the folds.
    Returns: the scores.
    Raises:  ConfigError: folds is below 2, or a class is missing.
    """
    if folds < 2:
        raise ConfigError(f"folds is {folds}; cross-validation needs 2 or more")
    y = np.asarray(labels, dtype=np.int64)
    fitted = balanced_accuracy(y, _scores(profiles, y, profiles), threshold=0)
    numbers = group_numbers(groups, len(y))
    n_folds = min(folds, *(len(np.unique(numbers[y == label])) for label in (REAL, FAKE)))
    if n_folds < 2:
        note = "a class has one group only, and nothing of it can be held out"
        return Cloaking(None, None, _score(fitted), fitted, 0, note)
    fold = folds_of(y, numbers, n_folds, seed)
    scores = np.empty(len(y))
    for test in (fold == number for number in range(n_folds)):
        scores[test] = _scores(profiles[~test], y[~test], profiles[test])
    accuracy = balanced_accuracy(y, scores, threshold=0)
    return Cloaking(_score(accuracy), accuracy, _score(fitted), fitted, n_folds)


def _score(accuracy: float) -> float:
    return 1 - abs(accuracy - 0.5) / 0.5


def _scores(train: FloatArray, y: Ints, test: FloatArray) -> FloatArray:
    """Log odds of fake of the rows of `test`, by a regression on standardised rings of `train`."""
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    # The deviation of equal numbers is rounding: DC is the largest ring of nearly every image, and so 1.
    scale = np.where(deviation > 1e-12, deviation, 1)
    weights = logistic_weights((train - mean) / scale, y)
    found: FloatArray = (test - mean) / scale @ weights[:-1] + weights[-1]
    return found


def logistic_weights(x: FloatArray, y: Ints) -> FloatArray:
    """Logistic regression with an L2 penalty of 1 and balanced classes.

    The core install has no scikit-learn, whose LogisticRegression(class_weight="balanced") this is.

    Args:    x: (N, Q) standardised. y: (N,) 0 or 1, both of them.
    Returns: (Q + 1,) weights, the intercept last.
    """
    from scipy.optimize import minimize

    sign = np.where(y == FAKE, 1.0, -1.0)
    importance = PENALTY * len(y) / 2 / np.bincount(y, minlength=2)[y]

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        margin = sign * (x @ weights[:-1] + weights[-1])
        pull = -importance * sign / (1 + np.exp(np.minimum(margin, 700)))
        value = importance @ np.logaddexp(0, -margin) + weights[:-1] @ weights[:-1] / 2
        return float(value), np.append(x.T @ pull + weights[:-1], pull.sum())

    found: FloatArray = minimize(
        loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 1000}
    ).x
    return found
