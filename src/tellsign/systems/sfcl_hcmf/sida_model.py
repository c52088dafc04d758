"""Fits a classifier of SIDA descriptors with scikit-learn and hands it over as plain arrays.

Shapes: B samples, K features, N nodes, T trees.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.detectors import trees
from tellsign.detectors.fitting import Fitted, check_examples
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.systems.sfcl_hcmf.sida_config import SidaConfig
    from tellsign.types import FloatArray

    Labels = NDArray[np.integer[Any]]

LEAST_STD = 1e-6  # of a statistic; what varies less is the same everywhere, and keeps its scale
MAX_STEPS = 10_000  # of logistic regression
TOLERANCE = 1e-9  # between a score of the arrays and scikit-learn's


def fit(features: FloatArray, labels: Labels, config: SidaConfig, *, seed: int = 0) -> Fitted:
    """Fit one classifier to standardised features.

    Args:    features: (B, K) descriptors.
             labels: (B,) 0 real, 1 fake.
             config: classifier and its settings.
             seed: of gradient boosting, which draws from it where it looks at a part of many images.
    Returns: kind, arrays and the estimator they were taken from.
    Raises:  ConfigError: features or labels can't be fitted.
    """
    check_examples(features, labels)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    scale = np.where(deviation > LEAST_STD, deviation, 1.0)
    fitter = _boosting if config.classifier == "gradient_boosting" else _logistic
    kind, arrays, estimator = fitter((features - mean) / scale, labels, config, seed)
    return Fitted(kind, {"mean": mean, "scale": scale, **arrays}, estimator)


def _logistic(x: FloatArray, y: Labels, config: SidaConfig, _seed: int) -> tuple[str, Any, Any]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            estimator = LogisticRegression(C=config.c, tol=1e-6, max_iter=MAX_STEPS).fit(x, y)
        except ConvergenceWarning as error:
            raise ConfigError(
                f"logistic regression with c = {config.c:g} found no minimum in {MAX_STEPS} steps; take a "
                "smaller c"
            ) from error
    return "linear", {"weights": estimator.coef_[0], "bias": estimator.intercept_[0]}, estimator


def _boosting(x: FloatArray, y: Labels, config: SidaConfig, seed: int) -> tuple[str, Any, Any]:
    """Trees of scikit-learn's histogram boosting.

    They compare in float64, as the arrays do. Those of `GradientBoostingClassifier` compare what is rounded
    to float32, and their fit looks at every value of 2304 features for every split.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    estimator = HistGradientBoostingClassifier(
        max_iter=config.trees,
        max_leaf_nodes=config.leaves,
        min_samples_leaf=config.leaf_images,
        learning_rate=config.learning_rate,
        l2_regularization=config.l2,
        early_stopping=False,  # on images drawn without regard to their groups
        random_state=seed,
    )
    with threadpool_limits(1, user_api="openmp"):  # several add up in any order, and round otherwise
        estimator.fit(x, y)
    arrays = tree_arrays(estimator)
    difference = np.abs(trees.scores(x, arrays) - estimator.decision_function(x))
    if not (difference <= TOLERANCE * np.maximum(1, np.abs(estimator.decision_function(x)))).all():
        raise ConfigError(
            f"the stored trees differ from scikit-learn's by up to {difference.max():.3g}: the installed "
            "version keeps them otherwise than this one of Tellsign knows"
        )
    return "trees", arrays, estimator


def tree_arrays(estimator: Any) -> dict[str, NDArray[Any]]:
    """The trees of a fitted `HistGradientBoostingClassifier` of two classes.

    Args:    estimator: fitted on features that are all finite: what it does with missing ones is left out.
    Returns: the arrays that `tellsign.detectors.trees` describes.
    """
    parts = [_nodes(predictor.nodes) for (predictor,) in estimator._predictors]
    sizes = [len(part["tree.value"]) for part in parts]
    roots = np.cumsum([0, *sizes[:-1]])
    for part, root in zip(parts, roots, strict=True):
        part["tree.left"] += root
        part["tree.right"] += root
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    whole = {name: array.astype(np.int32) for name, array in arrays.items() if name in trees.INDICES}
    start = np.asarray(estimator._baseline_prediction, dtype=np.float64)
    return arrays | whole | {"tree.root": roots.astype(np.int32), "bias": start.reshape(())}


def _nodes(nodes: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The nodes of one tree, as scikit-learn has them, parents before their children."""
    own, is_leaf = np.arange(len(nodes)), nodes["is_leaf"].astype(bool)
    left = np.where(is_leaf, own, nodes["left"].astype(np.intp))
    right = np.where(is_leaf, own, nodes["right"].astype(np.intp))
    count, value = nodes["count"].astype(np.float64), nodes["value"].astype(np.float64)
    for node in own[~is_leaf][::-1]:  # from the leaves up
        children = [left[node], right[node]]
        value[node] = np.average(value[children], weights=count[children])
    return {
        "tree.feature": np.where(is_leaf, 0, nodes["feature_idx"].astype(np.intp)),
        "tree.threshold": np.where(is_leaf, 0.0, nodes["num_threshold"]),
        "tree.left": left,
        "tree.right": right,
        "tree.value": value,
    }
