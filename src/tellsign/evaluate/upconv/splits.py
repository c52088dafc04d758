"""Accuracy over random 80/20 splits, as Durall et al. (CVPR 2020) measure it, with their classifiers.

Shapes: B samples, K values of a profile, R repeats.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from tellsign.detectors import kernel, linear
from tellsign.systems.spectrum.config import SpectrumConfig
from tellsign.systems.spectrum.model import fit
from tellsign.types import FAKE, REAL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.detectors.fitting import Fitted
    from tellsign.evaluate.upconv.features import Features
    from tellsign.types import FloatArray

TEST_SHARE = 0.2
# The settings of the authors' notebooks; they published none for K-means.
CLASSIFIERS = {
    "SVM (RBF)": SpectrumConfig(classifier="rbf_svm", c=6.37, gamma=0.86),
    "SVM (linear)": SpectrumConfig(classifier="linear_svm", c=1.0),
    "logistic regression": SpectrumConfig(classifier="logistic_regression", c=1.0),
    "K-means": SpectrumConfig(classifier="kmeans"),
}


def accuracies(
    features: Features, config: SpectrumConfig, *, size: int, repeats: int, seed: int
) -> FloatArray:
    """Test accuracy of random splits of random samples, the same splits for every classifier.

    K-means is fitted and named on the 80 % and judged on the 20 %, like the others.

    Args:    features: profiles and labels.
             config: classifier.
             size: of a sample; one half each class.
             repeats: how many. seed: repeat i depends on (seed, i) alone.
    Returns: (R,) shares.
    Raises:  ConfigError: a split leaves no training samples of a class.
    """
    from threadpoolctl import threadpool_limits

    found = np.empty(repeats)
    with threadpool_limits(1):  # K-means on so few rows gains nothing from threads and waits for busy cores
        for repeat in range(repeats):
            train, test = split(features, size=size, rng=np.random.default_rng((seed, repeat)))
            fitted = fit(features.profiles[train], features.labels[train], config, seed=seed)
            found[repeat] = np.mean(is_fake(fitted, features.profiles[test]) == features.labels[test])
    return found


def split(
    features: Features, *, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train and to test on: a random sample, of which whole groups make up the 20 %.

    Args:    features: labels and groups.
             size: of the sample, one half each class.
             rng: of the draw.
    Returns: row numbers, about four fifths and one fifth; no group is in both.
    """
    halves = ((REAL, size // 2), (FAKE, size - size // 2))
    drawn = [rng.permutation(np.flatnonzero(features.labels == label))[:n] for label, n in halves]
    groups = features.groups
    members: dict[str, list[int]] = defaultdict(list)
    for row in rng.permutation(np.concatenate(drawn)).tolist():
        members[groups[row]].append(row)
    test: list[int] = []
    train: list[int] = []
    for rows in members.values():  # in random order, since the rows are
        side = test if len(test) < round(TEST_SHARE * size) else train
        side.extend(rows)
    return np.array(train, dtype=np.int64), np.array(test, dtype=np.int64)


def scores(fitted: Fitted, profiles: FloatArray) -> FloatArray:
    """(B, K) → (B,) scores of a fitted classifier, fake from 0 on, by the code that detectors run."""
    arrays = fitted.arrays
    decision = linear if fitted.kind == "linear" else kernel
    found: FloatArray = decision.scores((profiles - arrays["mean"]) / arrays["scale"], arrays)
    return found


def is_fake(fitted: Fitted, profiles: FloatArray) -> NDArray[np.bool_]:
    """(B, K) → (B,) decisions."""
    return np.asarray(scores(fitted, profiles) >= 0)


def interval(values: FloatArray) -> tuple[float, float]:
    """95 % interval of a mean by Student's t, within 0 to 1.

    Args:    values: (R,) shares, R at least 2.
    Returns: low and high.
    """
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values)))
    mean = float(values.mean())
    return max(0.0, mean - half), min(1.0, mean + half)
