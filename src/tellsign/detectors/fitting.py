"""Labelled images and a function that fits a classifier → a detector of vectors: what such systems share.

Nothing here learns; scikit-learn is imported where the function is.

Shapes: B rows, K features.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import artifacts
from tellsign.data.manifest import require_both_classes
from tellsign.detectors.rows import examples
from tellsign.detectors.vector import class_bands
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from tellsign.data.manifest import Manifest
    from tellsign.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A classifier as a detector stores it."""

    kind: str  # linear, kernel or trees
    arrays: Mapping[str, NDArray[Any]]
    estimator: Any  # the fitted scikit-learn estimator, on standardised features


def fit_detector(
    name: str,
    config: Any,
    fit: Callable[..., Fitted],
    train: Manifest,
    *,
    out: Path,
    seed: int,
    say: Callable[[str], None],
) -> Path:
    """Fit a classifier and write its detector, uncalibrated.

    Args:    name: of the system.
             config: of it, with the detector's `input`.
             fit: features (B, K), labels (B,), the configuration and `seed` → what is stored.
             train: labelled images; of a detector of faces each face has its image's label.
             out: the detector's folder.
             seed: of what is random in the fit.
             say: told of images that show no face to a detector of faces; they are left out.
    Returns: `out`.
    Raises:  ManifestError: a class is missing, or an image cannot be used; a training set is not shrunk in
             silence. ConfigError: the features can't be fitted. ArtifactError: `out` holds something else.
    """
    artifacts.check_target(out)
    require_both_classes(train, "training")
    found = examples(train, config.input, say=say)
    fitted = fit(found.values, found.labels, config, seed=seed)
    artifacts.save(
        out,
        spec={**system_spec(name, config, seed=seed, kind=fitted.kind), **found.spec},
        arrays={**fitted.arrays, **class_bands(found.values, found.labels)},
    )
    return out


def system_spec(name: str, config: Any, *, seed: int, kind: str | None = None) -> dict[str, Any]:
    """What every detector stores of the system that wrote it.

    Args:    name: of the system. config: of it, with the detector's `input`. seed: of the fit.
             kind: of the detector; None: `save_network` adds it.
    Returns: plain values, for `detector.json`.
    """
    return {
        "name": name,
        **({} if kind is None else {"kind": kind}),
        "system": name,
        "config": asdict(config),
        "preprocessing": config.input.to_spec(),
        "seed": seed,
    }


def check_examples(features: FloatArray, labels: NDArray[np.integer[Any]]) -> None:
    """Raise ConfigError unless there is a finite row of features for each label, and both labels.

    Args:    features: (B, K). labels: (B,) 0 real, 1 fake.
    """
    if len(features) != len(labels) or set(np.unique(labels)) != {0, 1}:
        raise ConfigError(
            f"need both labels and one per row, found {np.unique(labels)} for {len(features)} rows"
        )
    if not np.isfinite(features).all():
        raise ConfigError("the features hold values that are not finite; look at the images they came from")
