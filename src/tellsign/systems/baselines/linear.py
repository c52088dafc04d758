"""Logistic and ridge regression of flattened cosine coefficients, by scikit-learn, as plain arrays.

Shapes: B samples, K = 3 S² coefficients, S side of a crop.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.detectors.fitting import Fitted, check_examples
from tellsign.systems.baselines.statistics import coefficient_statistics
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.systems.baselines.config import Dct2dConfig
    from tellsign.types import FloatArray

CHUNK = 64  # samples of which statistics are taken at once
MAX_STEPS = 2000  # of logistic regression


def fit(
    features: FloatArray,
    labels: NDArray[np.integer[Any]],
    config: Dct2dConfig,
    *,
    seed: int = 0,  # noqa: ARG001
) -> Fitted:
    """Fit a linear classifier.

    Standardises each coefficient, and minimises over weights w and a bias that is not penalised

        logistic: the mean logistic loss + l2 |w|²
        ridge:    the mean squared difference to -1 (real) and 1 (fake) + l2 |w|².

    Args:    features: (B, K) logarithms of coefficients.
             labels: (B,) 0 real, 1 fake.
             config: classifier and l2.
             seed: not looked at: nothing here is random.
    Returns: kind, arrays and the estimator they were taken from.
    Raises:  ConfigError: features or labels can't be fitted, or logistic regression finds no minimum.
    """
    check_examples(features, labels)
    chunks = range(0, len(features), CHUNK)
    mean, scale = coefficient_statistics(features[first : first + CHUNK] for first in chunks)
    z = np.empty(features.shape, dtype=np.float32)
    for first in chunks:
        z[first : first + CHUNK] = (features[first : first + CHUNK] - mean) / scale
    estimator = (_ridge if config.classifier == "ridge" else _logistic)(z, labels, config.l2)
    # Logistic regression has a row of weights for its one score, ridge the weights alone.
    weights, bias = (np.asarray(one, dtype=np.float64) for one in (estimator.coef_, estimator.intercept_))
    arrays = {"mean": mean, "scale": scale, "weights": weights.reshape(-1), "bias": bias.reshape(())}
    return Fitted("linear", arrays, estimator)


def _ridge(z: FloatArray, labels: NDArray[np.integer[Any]], l2: float) -> Any:
    from sklearn.linear_model import Ridge

    # Scikit-learn adds up what is averaged here.
    return Ridge(alpha=l2 * len(z)).fit(z, 2.0 * labels - 1)


def _logistic(z: FloatArray, labels: NDArray[np.integer[Any]], l2: float) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            # Scikit-learn's C weighs the sum of the losses against |w|² / 2.
            return LogisticRegression(C=1 / (2 * l2 * len(z)), max_iter=MAX_STEPS).fit(z, labels)
        except ConvergenceWarning as error:
            raise ConfigError(
                f"logistic regression with l2 = {l2:g} found no minimum in {MAX_STEPS} steps; take a "
                "larger l2"
            ) from error
