"""SIDA's two classifiers and the spectrum detector, fitted on the same images and shown the same images.

They look at images as they come, or all resized to one size, in training as in use.

Shapes: B images, K features, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache, partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import artifacts, detectors, hub
from tellsign.artifacts import Artifact
from tellsign.data.picture import picture
from tellsign.detectors.preprocessing import features
from tellsign.detectors.vector import class_bands
from tellsign.evaluate.perturbed import Looks
from tellsign.evaluate.samples import content
from tellsign.evaluate.study import SPECTRUM
from tellsign.image.network_input import resized
from tellsign.systems.sfcl_hcmf.sida_config import SidaConfig
from tellsign.systems.spectrum.config import SpectrumConfig
from tellsign.types import ImageError, ManifestError, TooSmallError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.data import Manifest
    from tellsign.detectors.preprocessing import VectorInput
    from tellsign.evaluate.cells import Say
    from tellsign.evaluate.perturbed import Columns
    from tellsign.types import FloatArray, Sample

LOGISTIC, BOOSTING = "SIDA, logistic regression", "SIDA, boosting"
NAMES = (LOGISTIC, BOOSTING, SPECTRUM)
MODELS = {
    SidaConfig: "tellsign.systems.sfcl_hcmf.sida_model",
    SpectrumConfig: "tellsign.systems.spectrum.model",
}


@lru_cache(maxsize=1)
def configurations() -> dict[str, SidaConfig | SpectrumConfig]:
    """Name → options: SIDA's defaults, and those of the spectrum detector that ships."""
    shipped = artifacts.load(hub.detector_path("spectrum")).spec["config"]
    return {
        LOGISTIC: SidaConfig(),
        BOOSTING: SidaConfig(classifier="gradient_boosting"),
        SPECTRUM: SpectrumConfig(**shipped),
    }


@dataclass(frozen=True, eq=False)
class Examples:
    """What the detectors look at in the images of a data set, each image taken once for all of them."""

    manifest: Manifest  # images with checksums
    side: int | None  # of the square that each is resized to; None: as it comes
    say: Say

    @cached_property
    def vectors(self) -> dict[VectorInput, FloatArray | None]:
        """How an image is looked at → (B, K); None where an image is too small for it.

        Raises ManifestError where an image can't be used at all.
        """
        size = "" if self.side is None else f", resized to {self.side} pixels"
        self.say(f"statistics of {len(self.manifest)} images{size}")
        inputs = {config.input for config in configurations().values()}
        found: dict[VectorInput, list[FloatArray] | None] = {one: [] for one in inputs}
        for sample in self.manifest:
            image = whole(sample)
            for one, rows in found.items():
                row = None if rows is None else vector(image, one, self.side)
                if rows is None or row is None:
                    found[one] = None
                else:
                    rows.append(row)
        return {one: None if rows is None else np.stack(rows) for one, rows in found.items()}


@dataclass(frozen=True, eq=False)
class Judges:
    """The detectors of a training part, which are fitted when the first image is to be judged."""

    examples: Examples  # of a data set
    train: Manifest  # images of it
    seed: int

    @cached_property
    def detectors(self) -> dict[str, Any]:
        """Name → detector; without those for which a training image is too small."""
        places = {sample.path: row for row, sample in enumerate(self.examples.manifest)}
        rows = [places[sample.path] for sample in self.train]
        labels = np.array(self.train.labels)
        found: dict[str, Any] = {}
        for name, config in configurations().items():
            vectors = self.examples.vectors[config.input]
            if vectors is not None:
                self.examples.say(f"{name}: fitted on {len(rows)} images")
                found[name] = detector(name, config, vectors[rows], labels, seed=self.seed)
        return found

    def looks(self, folder: Path, *, side: int | None = None) -> Looks:
        """What they say of images, kept in a folder.

        Args:    folder: of what is kept.
                 side: of the square that each image is resized to; None: as it comes.
        Returns: the columns of `columns`.
        """
        configs = {name: asdict(config) for name, config in configurations().items()}
        identity = {
            "configs": configs,
            "train": sha256("\n".join(content(self.train)).encode()).hexdigest(),
            "fitted_at": self.examples.side,
            "side": side,
            "seed": self.seed,
        }
        return Looks(partial(self.columns, side=side), identity, folder, self.seed, self.examples.say)

    def columns(self, images: Iterator[FloatArray | None], *, side: int | None = None) -> Columns:
        """What the detectors say of images.

        Args:    images: (3, H, W) in [0, 1], or None for one that can't be used.
                 side: as for `looks`.
        Returns: name → (B,) scores; None where there is no image, it is too small, or there is no detector.
        """
        found: Columns = {name: [] for name in NAMES}
        for image in images:
            vectors: dict[VectorInput, FloatArray | None] = {}
            for name, scores in found.items():
                judge = self.detectors.get(name)
                if judge is None or image is None:
                    scores.append(None)
                    continue
                if judge.input not in vectors:
                    vectors[judge.input] = vector(image, judge.input, side)
                row = vectors[judge.input]
                scores.append(None if row is None else float(judge.score({judge.input.key: row[None]})[0]))
        return found


def detector(
    name: str,
    config: SidaConfig | SpectrumConfig,
    values: FloatArray,
    labels: NDArray[np.integer[Any]],
    *,
    seed: int,
) -> Any:
    """A detector of vectors, as it would run from its folder.

    Args:    name: of it. config: of its system.
             values: (B, K) of its training images. labels: (B,) 0 real, 1 fake. seed: of its fit.
    Returns: the detector.
    Raises:  ConfigError: they can't be fitted.
    """
    fitted = import_module(MODELS[type(config)]).fit(values, labels, config, seed=seed)
    spec = {"name": name, "kind": fitted.kind, "preprocessing": config.input.to_spec()}
    arrays = {**fitted.arrays, **class_bands(values, labels)}
    return detectors.from_artifact(Artifact(Path(name), spec, arrays, digest=""))


def vector(image: FloatArray, look: VectorInput, side: int | None) -> FloatArray | None:
    """What a detector looks at in an image.

    Args:    image: (3, H, W) in [0, 1]. look: of the detector.
             side: of the square in its middle, which is resized; None: the image as it comes.
    Returns: (K,); None of an image that is too small.
    """
    try:
        return features(image if side is None else resized(image, side), look)
    except TooSmallError:
        return None


def whole(sample: Sample) -> FloatArray:
    """The picture of a sample, (3, H, W) in [0, 1]. Raises ManifestError where it can't be used."""
    try:
        return picture(sample).array
    except ImageError as error:
        raise ManifestError(
            f"{str(sample.path)!a} cannot be used: {error}; mend it or take it out of the manifest"
        ) from error
