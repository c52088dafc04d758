"""The spectrum system: images → profiles → classifier → artifact."""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from tellsign import artifacts
from tellsign.data.picture import picture
from tellsign.detectors.preprocessing import profile
from tellsign.systems.spectrum.config import SpectrumConfig
from tellsign.systems.spectrum.model import class_bands, fit
from tellsign.types import ConfigError, ImageError, ManifestError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch.nn import Module

    from tellsign.data import Manifest
    from tellsign.detectors.preprocessing import ProfileInput
    from tellsign.types import FloatArray


class SpectrumSystem:
    """Durall et al. (2020) as a system that writes a detector."""

    name = "spectrum"
    config_class = SpectrumConfig
    requires = ("sklearn",)  # what `fit` imports

    def __init__(self, config: SpectrumConfig | None = None) -> None:
        self.config = config or SpectrumConfig()

    def fit(
        self,
        train: Manifest,
        valid: Manifest,  # noqa: ARG002
        *,
        out: Path,
        seed: int,
        say: Callable[[str], None] = lambda text: None,  # noqa: ARG002
    ) -> Path:
        """Fit the classifier and write the detector, uncalibrated.

        Args:    train: labelled images.
                 valid: not looked at: nothing here is stopped early.
                 out: the detector's folder.
                 seed: of K-means.
                 say: not called: this takes seconds.
        Returns: `out`.
        Raises:  ManifestError: an image cannot be used; a training set is not shrunk in silence.
                 ConfigError: the features can't be fitted.
        """
        features = profiles(train, self.config.input)
        labels = np.array(train.labels)
        fitted = fit(features, labels, self.config, seed=seed)
        artifacts.save(
            out,
            spec={
                "name": self.name,
                "kind": fitted.kind,
                "system": self.name,
                "config": asdict(self.config),
                "preprocessing": self.config.input.to_spec(),
                "seed": seed,
            },
            arrays={**fitted.arrays, **class_bands(features, labels)},
        )
        return out

    def module(self, artifact: Path) -> Module:
        """The detector in PyTorch, from the pixels on.

        Args:    artifact: folder of a detector that this system wrote.
        Returns: (B, 3, H, W) in [0, 1] → (B,) scores, differentiable, in evaluation mode and float64.
        Raises:  ArtifactError: there is no such detector there.
                 ConfigError: PyTorch is missing.
        """
        try:
            from tellsign.systems.spectrum.module import SpectrumModule
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"the differentiable form of a detector needs {error.name}; install it with: "
                "pip install 'tellsign[train]'"
            ) from error
        return SpectrumModule(artifacts.load(artifact)).eval()


def profiles(manifest: Manifest, options: ProfileInput) -> FloatArray:
    """The spectrum profile of every image.

    Args:    manifest: the images.
             options: crop, preset, length, normalisation.
    Returns: (B, K) float64, read-only: it is kept for the next call, until a file changes.
    Raises:  ManifestError: an image cannot be decoded, has changed or is too small; all such are counted.
    """
    return _profiles(manifest, options, tuple(_version(sample.path) for sample in manifest))


def _version(path: Path) -> tuple[int, int, int]:
    """What changes with a file's content; zeros where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0, 0
    return status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=2)  # a grid of classifiers looks at the same profiles again and again
def _profiles(
    manifest: Manifest,
    options: ProfileInput,
    _versions: tuple[tuple[int, int, int], ...],  # so that a changed file is not taken from the cache
) -> FloatArray:
    rows, failed = [], []
    for sample in manifest:
        try:
            rows.append(profile(picture(sample).array, options))
        except ImageError as error:
            failed.append(f"  {str(sample.path)!a}: {error}")
    if failed:
        raise ManifestError(
            f"{len(failed)} of {len(manifest)} images cannot be used; filter them out or mend them:\n"
            + "\n".join(failed[:10])
        )
    found = np.stack(rows)
    found.flags.writeable = False
    return found
