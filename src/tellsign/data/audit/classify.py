"""How well each cue alone tells the label: cross-validated AUROC of a small classifier.

One classifier for all cues: logistic regression with an L2 penalty and balanced classes. What a straight line
can't separate (sizes or byte counts of one class in the middle of the other's) is in reach because every
number stands beside indicators of its tenths. There is no second classifier, such as trees, whose AUROC could
be picked because it is the larger.

Shapes: N rows, D columns.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tellsign.groups import group_numbers
from tellsign.metrics import Estimate, summary
from tellsign.types import FAKE, REAL, ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tellsign.data.audit.cues import Features

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

BINS = 10
ROWS_PER_BIN = 20  # fewer rows get fewer bins: indicators of a handful of files fit noise
# Of an indicator beside a standardised number: the straight line is preferred where data are few. Chosen on
# made bands of 60 to 1000 files, which it finds from 100 on (AUROC 0.88), and docs/audit.md's data sets.
BIN_WEIGHT = 0.2
MANY_NUMBERS = 20  # pixels, not measurements: these get no bins
TOKENS = 64  # most common ones that get a column
MIN_ROWS = 5  # a class, below which nothing is estimated
ONE_GROUP = (
    "a class has one group only, so that its files lie on both sides of every fold: the value also holds "
    "what the group shares besides, and the interval is unknown"
)


@dataclass(frozen=True, slots=True, eq=False)
class CueResult:
    """What one cue tells."""

    auroc: Estimate | None  # None: nothing could be estimated; NaN bounds: no interval could
    note: str = ""  # why there is no value or no interval; empty where there are both
    scores: Floats | None = None  # (N,) out-of-fold log odds of fake, of the rows in their order


def check_train_extra() -> None:
    """Fail early, before hours of decoding, where the classifiers are missing.

    Raises:  ConfigError: scikit-learn is not installed.
    """
    try:
        import sklearn  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the audit needs {error.name}; install it with: pip install 'tellsign[train]'"
        ) from error


def cue_results(
    features: Mapping[str, Sequence[Features]],
    labels: Sequence[int],
    groups: Sequence[str],
    *,
    folds: int = 5,
    seed: int = 0,
    n_resamples: int = 1000,
    workers: int = 1,
) -> dict[str, CueResult]:
    """For each cue the AUROC of out-of-fold scores, with a 95 % bootstrap interval over groups.

    No group lies on both sides of a fold, and labels are spread evenly over the folds. Where a class has
    one group only, files of that group have to lie on both sides: the value then also holds whatever the
    group shares besides, the interval is unknown, and the note says so. Values below 0.5 stay as they are:
    they are chance, or folds that differ.

    Args:    features: cue → one row for each file. labels: of the files, 0 real or 1 fake.
             groups: source of each file; "" is a file of its own.
             folds: at most; fewer where a class has fewer groups.
             seed: of the folds and of the bootstrap. n_resamples: of the bootstrap. workers: its processes.
    Returns: cue → result; its AUROC is None, with the reason, where a class is missing or tiny.
    Raises:  ConfigError: folds is below 2, or the train extra is missing.
    """
    check_folds(folds)
    check_train_extra()
    y = np.asarray(labels, dtype=np.int64)
    if reason := _too_few(y):
        return {name: CueResult(None, reason) for name in features}
    numbers = group_numbers(groups, len(y))
    n_groups = min(len(np.unique(numbers[y == label])) for label in (REAL, FAKE))
    note = ONE_GROUP if n_groups < 2 else ""
    # With one group, each of its files has to be one.
    apart, n_parts = (np.arange(len(y)), int(np.bincount(y).min())) if note else (numbers, n_groups)
    fold = folds_of(y, apart, min(folds, n_parts), seed)
    found = {}
    for name, rows in features.items():
        scores = _out_of_fold(columns(rows), y, fold)
        # Scores that are all equal have an AUROC of 0.5 in every resample: one says as much as a thousand.
        enough = 1 if np.ptp(scores) == 0 else n_resamples
        estimate = summary(
            y,
            scores,
            threshold=None,
            groups=numbers,
            fpr_targets=(),
            n_resamples=0 if note else min(enough, n_resamples),
            seed=seed,
            workers=workers,
        )["auroc"]
        unknown = estimate is not None and math.isnan(estimate.low)
        found[name] = CueResult(
            estimate, note or ("too few groups for an interval" if unknown else ""), scores
        )
    return found


def check_folds(folds: int) -> None:
    """Raises ConfigError unless there are two folds or more."""
    if folds < 2:
        raise ConfigError(f"folds is {folds}; cross-validation needs 2 or more")


def _too_few(y: Ints) -> str:
    counts = {"real": int((y == REAL).sum()), "fake": int((y == FAKE).sum())}
    fewest = min(counts, key=counts.__getitem__)
    if not counts[fewest]:
        return f"no {fewest} image that can be read; a cue tells two classes apart"
    if counts[fewest] < MIN_ROWS:
        return f"{counts[fewest]} {fewest} images are too few; {MIN_ROWS} of each class are needed"
    return ""


def columns(features: Sequence[Features]) -> Floats:
    """Features as a matrix: standardised numbers, indicators of their tenths, and one-hot tokens.

    Labels play no part in it, so that it is made once for all folds. What is the same for all files
    is left out.

    Args:    features: N rows of one cue, with as many numbers each.
    Returns: (N, D); D is 0 where the cue never varies.
    """
    n = len(features)
    numbers = np.array([row.numbers for row in features], dtype=np.float64).reshape(n, -1)
    numbers = numbers[:, np.ptp(numbers, axis=0) > 0] if n else numbers
    parts = [(numbers - numbers.mean(axis=0)) / numbers.std(axis=0)] if numbers.size else []
    bins = min(BINS, n // ROWS_PER_BIN)
    if bins > 2 and numbers.shape[1] < MANY_NUMBERS:
        parts += [_indicators(numbers[:, column], bins) for column in range(numbers.shape[1])]
    occurrences = Counter(token for row in features for token in dict.fromkeys(row.tokens))
    common = [token for token, count in occurrences.most_common() if 1 < count < n][:TOKENS]
    places = {token: place for place, token in enumerate(common)}
    one_hot = np.zeros((n, len(common)))
    for index, row in enumerate(features):
        for token in row.tokens:
            if token in places:
                one_hot[index, places[token]] = 1
    return np.hstack([*parts, one_hot])


def _indicators(values: Floats, bins: int) -> Floats:
    edges = np.unique(np.quantile(values, np.arange(1, bins) / bins))
    inside = np.searchsorted(edges, values)[:, None] == np.arange(len(edges) + 1)
    found: Floats = BIN_WEIGHT * inside.astype(np.float64)
    return found


def folds_of(y: Ints, groups: Ints, n_folds: int, seed: int) -> Ints:
    """A fold for each row: no group in two of them, each class spread evenly.

    Groups are shuffled, set in the order real, both, fake, larger ones first, and dealt in turn. So a class
    with two groups or more is never in one fold alone. (scikit-learn's StratifiedGroupKFold promises the
    first half only, and takes seconds where there are 10,000 groups.)

    Args:    y: (N,) labels. groups: (N,) numbers from 0 on. n_folds: how many. seed: of the shuffle.
    Returns: (N,) from 0 to n_folds - 1.
    """
    sizes = np.bincount(groups)
    fakes = np.bincount(groups, weights=y == FAKE)
    kind = np.where(fakes == 0, 0, np.where(fakes < sizes, 1, 2))
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.lexsort((-sizes[order], kind[order]))]
    fold = np.empty(len(sizes), dtype=np.int64)
    fold[order] = np.arange(len(sizes)) % n_folds
    return fold[groups]


def _out_of_fold(X: Floats, y: Ints, fold: Ints) -> Floats:
    """(N,) log odds of fake by a classifier that has not seen the row's group."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    scores = np.zeros(len(y))
    if not X.shape[1]:
        return scores
    with warnings.catch_warnings():
        # Where classes separate, the solver says that it goes on with another one, which is all right.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for test in (fold == number for number in range(fold.max() + 1)):
            # Balanced, because folds differ a little in their share of fakes: the intercept would follow it,
            # and scores of a cue that says nothing would fall below chance when folds are pooled.
            model = LogisticRegression(class_weight="balanced", solver="newton-cholesky", max_iter=200)
            scores[test] = model.fit(X[~test], y[~test]).decision_function(X[test])
    # What is equal but for the order of a sum is a tie, and a tie counts one half.
    found: Floats = np.round(scores, 9)
    return found
