"""Fits the classifiers of Durall et al. with scikit-learn and hands them over as plain arrays.

Shapes: B samples, S support vectors, K features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.detectors.fitting import Fitted, check_examples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.systems.spectrum.config import SpectrumConfig
    from tellsign.types import FloatArray


def fit(
    features: FloatArray, labels: NDArray[np.integer[Any]], config: SpectrumConfig, *, seed: int = 0
) -> Fitted:
    """Fit one classifier.

    Implements Durall et al. (2020), section 4.1.2, with the settings of the authors' notebooks. K-means
    has no released code: two centres, ten starts, and the assignment to classes that is right more often
    on the training labels.

    Args:    features: (B, K) profiles.
             labels: (B,) 0 real, 1 fake.
             config: classifier and its settings.
             seed: of K-means; the others are deterministic.
    Returns: kind, arrays and the estimator they were taken from.
    Raises:  ConfigError: features or labels can't be fitted.
    """
    check_examples(features, labels)
    mean, scale = np.zeros(features.shape[1]), np.ones(features.shape[1])
    if config.standardise:
        mean, deviation = features.mean(axis=0), features.std(axis=0)
        # The deviation of equal numbers is rounding, and not always 0.
        scale = np.where(deviation > 1e-12 * np.abs(mean), deviation, 1.0)
    kind, arrays, estimator = _FITTERS[config.classifier]((features - mean) / scale, labels, config, seed)
    return Fitted(kind, {"mean": mean, "scale": scale, **arrays}, estimator)


def _svm(x: FloatArray, y: NDArray[np.integer[Any]], config: SpectrumConfig, _seed: int) -> Any:
    from sklearn.svm import SVC

    if config.classifier == "linear_svm":
        estimator = SVC(kernel="linear", C=config.c).fit(x, y)
        return "linear", {"weights": estimator.coef_[0], "bias": estimator.intercept_[0]}, estimator
    estimator = SVC(kernel="rbf", C=config.c, gamma=config.gamma).fit(x, y)
    arrays = {
        "support": estimator.support_vectors_,
        "dual": estimator.dual_coef_[0],
        "gamma": np.float64(config.gamma),
        "bias": estimator.intercept_[0],
    }
    return "kernel", arrays, estimator


def _logistic(x: FloatArray, y: NDArray[np.integer[Any]], config: SpectrumConfig, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    estimator = LogisticRegression(solver="liblinear", C=config.c, max_iter=1000, random_state=seed).fit(x, y)
    return "linear", {"weights": estimator.coef_[0], "bias": estimator.intercept_[0]}, estimator


def _kmeans(x: FloatArray, y: NDArray[np.integer[Any]], _config: SpectrumConfig, seed: int) -> Any:
    from sklearn.cluster import KMeans

    estimator = KMeans(n_clusters=2, n_init=10, random_state=seed).fit(x)
    agreement = np.mean(estimator.labels_ == y)
    fake = 1 if agreement >= 0.5 else 0
    real_centre, fake_centre = estimator.cluster_centers_[1 - fake], estimator.cluster_centers_[fake]
    # |x - real|² - |x - fake|²: positive when the fake centre is nearer.
    arrays = {
        "weights": 2 * (fake_centre - real_centre),
        "bias": np.square(real_centre).sum() - np.square(fake_centre).sum(),
    }
    return "linear", arrays, estimator


_FITTERS = {
    "linear_svm": _svm,
    "rbf_svm": _svm,
    "logistic_regression": _logistic,
    "kmeans": _kmeans,
}
