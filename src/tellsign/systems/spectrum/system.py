"""The spectrum system: images → profiles → classifier → artifact."""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tellsign import artifacts
from tellsign.data.manifest import Manifest, require_both_classes
from tellsign.data.picture import looked_at
from tellsign.detectors.preprocessing import profile
from tellsign.systems.spectrum.config import SpectrumConfig
from tellsign.systems.spectrum.model import class_bands, fit
from tellsign.types import ConfigError, ImageError, ManifestError, NoFaceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch.nn import Module

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
        say: Callable[[str], None] = lambda text: None,
    ) -> Path:
        """Fit the classifier and write the detector, uncalibrated.

        A detector of faces is fitted on the faces in the images, each with its image's label.

        Args:    train: labelled images.
                 valid: not looked at: nothing here is stopped early.
                 out: the detector's folder.
                 seed: of K-means.
                 say: told of images that show no face to a detector of faces; they are left out.
        Returns: `out`.
        Raises:  ManifestError: an image cannot be used; a training set is not shrunk in silence.
                 ConfigError: the features can't be fitted.
        """
        features, rows, left_out = profiles(train, self.config.input)
        labels = np.array(train.labels)[rows]
        spec = {}
        if self.config.region == "face":
            if left_out:
                say(_faceless_text(left_out, len(train)))
            used = Manifest(tuple(train[row] for row in np.unique(rows)))
            require_both_classes(used, "the training images that show a face")
            spec["faces"] = {"n": len(rows), "images": len(used), "left_out": len(left_out)}
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
                **spec,
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


class Profiles(NamedTuple):
    """The spectrum profiles of some images."""

    values: FloatArray  # (B, K) float64, read-only
    rows: NDArray[np.intp]  # (B,) of the manifest; an image with several faces has several
    left_out: tuple[tuple[Path, str], ...]  # images that show no face to a detector of faces, and why


def profiles(manifest: Manifest, options: ProfileInput) -> Profiles:
    """The spectrum profile of every image, or of every face.

    Args:    manifest: the images.
             options: region, crop, preset, length, normalisation.
    Returns: the profiles; they are kept for the next call, until a file changes.
    Raises:  ManifestError: an image cannot be decoded, has changed or is too small; all such are counted.
    """
    return _profiles(manifest, options, tuple(_version(sample.path) for sample in manifest))


def _faceless_text(left_out: tuple[tuple[Path, str], ...], n: int) -> str:
    shown = "; ".join(f"{str(path)!a}: {reason}" for path, reason in left_out[:3])
    return f"left out: {len(left_out)} of {n} training images, e.g. {shown}"


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
) -> Profiles:
    values: list[FloatArray] = []
    rows: list[int] = []
    left_out, failed = [], []
    for row, sample in enumerate(manifest):
        try:
            found = looked_at(sample, options.region, partial(profile, options=options))
        except NoFaceError as error:
            left_out.append((sample.path, str(error)))
        except ImageError as error:
            failed.append(f"  {str(sample.path)!a}: {error}")
        else:
            values += found
            rows += [row] * len(found)
    if failed:
        raise ManifestError(
            f"{len(failed)} of {len(manifest)} images cannot be used; filter them out or mend them:\n"
            + "\n".join(failed[:10])
        )
    stacked = np.stack(values) if values else np.empty((0, options.n_features))
    stacked.flags.writeable = False
    return Profiles(stacked, np.array(rows, dtype=np.intp), tuple(left_out))
