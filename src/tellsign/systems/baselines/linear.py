"""Logistic and ridge regression of flattened cosine coefficients, and the detector of arrays they make.

Shapes: B samples, K = 3 S² coefficients, S side of a crop.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import artifacts
from tellsign.data.manifest import require_both_classes
from tellsign.detectors.preprocessing import DescriptorInput
from tellsign.detectors.rows import examples
from tellsign.detectors.vector import class_bands
from tellsign.systems.baselines.statistics import coefficient_statistics
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tellsign.data.manifest import Manifest
    from tellsign.systems.baselines.config import Dct2dConfig
    from tellsign.types import FloatArray

CHUNK = 64  # samples of which statistics are taken at once
MAX_STEPS = 2000  # of logistic regression


def write_linear(
    config: Dct2dConfig,
    train: Manifest,
    out: Path,
    *,
    name: str,
    seed: int,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Fit a classifier to the coefficients of images, and write the detector, uncalibrated.

    Args:    config: classifier and crops.
             train: labelled images.
             out: the detector's folder.
             name: of the system. seed: for the record alone: nothing here is random.
             say: told what happens.
    Returns: `out`.
    Raises:  ManifestError: an image cannot be used, or a class is missing. ConfigError: there is no minimum.
    """
    artifacts.check_target(out)
    require_both_classes(train, "training")
    look = config.input
    assert isinstance(look, DescriptorInput)
    found = examples(train, look, say=say)
    artifacts.save(
        out,
        spec={
            "name": name,
            "kind": "linear",
            "system": name,
            "config": asdict(config),
            "preprocessing": config.input.to_spec(),
            "seed": seed,
        },
        arrays={
            **fitted(found.values, found.labels, config),
            **class_bands(found.values, found.labels),
        },
    )
    return out


def fitted(
    values: FloatArray, labels: NDArray[np.integer[Any]], config: Dct2dConfig
) -> dict[str, FloatArray]:
    """The arrays of a linear detector.

    Standardises each coefficient, and minimises over weights w and a bias that is not penalised

        logistic: the mean logistic loss + l2 |w|²
        ridge:    the mean squared difference to -1 (real) and 1 (fake) + l2 |w|².

    Args:    values: (B, K) logarithms of coefficients.
             labels: (B,) 0 real, 1 fake.
             config: classifier and l2.
    Returns: mean, scale and weights (K,), bias ().
    Raises:  ConfigError: logistic regression finds no minimum.
    """
    chunks = range(0, len(values), CHUNK)
    mean, scale = coefficient_statistics(values[first : first + CHUNK] for first in chunks)
    z = np.empty(values.shape, dtype=np.float32)
    for first in chunks:
        z[first : first + CHUNK] = (values[first : first + CHUNK] - mean) / scale
    weights, bias = (_ridge if config.classifier == "ridge" else _logistic)(z, labels, config.l2)
    return {"mean": mean, "scale": scale, "weights": weights, "bias": bias}


def _ridge(z: FloatArray, labels: NDArray[np.integer[Any]], l2: float) -> tuple[FloatArray, FloatArray]:
    from sklearn.linear_model import Ridge

    # Scikit-learn adds up what is averaged here.
    estimator = Ridge(alpha=l2 * len(z)).fit(z, 2.0 * labels - 1)
    return estimator.coef_.astype(np.float64), np.asarray(estimator.intercept_, dtype=np.float64)


def _logistic(z: FloatArray, labels: NDArray[np.integer[Any]], l2: float) -> tuple[FloatArray, FloatArray]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            # Scikit-learn's C weighs the sum of the losses against |w|² / 2.
            estimator = LogisticRegression(C=1 / (2 * l2 * len(z)), max_iter=MAX_STEPS).fit(z, labels)
        except ConvergenceWarning as error:
            raise ConfigError(
                f"logistic regression with l2 = {l2:g} found no minimum in {MAX_STEPS} steps; take a "
                "larger l2"
            ) from error
    return estimator.coef_[0].astype(np.float64), np.asarray(estimator.intercept_[0], dtype=np.float64)
