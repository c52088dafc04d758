"""A network: native crops of an image → its graph → a score, and the scores of its parts.

Everything after the crop that is tensor maths, normalisation included, is in the graph; a descriptor is taken
of the whole image at native size, and is an input of its own. The spectrum profile is for the domain check.

Shapes: B batch, N crops of an image, C channels, H W pixels, S side of a crop, D numbers of a descriptor, K
frequency bins, P parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import artifacts
from tellsign.detectors.descriptor_evidence import block_evidence, deviation_evidence
from tellsign.detectors.engines import DESCRIPTOR, onnx_run, openvino_run
from tellsign.detectors.evidence import spectrum_evidence
from tellsign.detectors.preprocessing import ProfileInput, domain_input, profile
from tellsign.image.network_input import SMALLEST, Descriptor, Fit, NetworkInput, Region, seen
from tellsign.types import ArtifactError, ConfigError, Evidence

if TYPE_CHECKING:
    from tellsign.artifacts import Artifact
    from tellsign.detectors.engines import Engine, Run
    from tellsign.types import FloatArray

# Arrays that an artifact may hold for what is shown: a descriptor over the training images.
TYPICAL = ("descriptor.mean", "descriptor.std")


@dataclass(frozen=True, slots=True)
class GraphInput:
    """How an image becomes what a network takes, as `NetworkInput` has it, and the domain check's profile."""

    region: Region = "image"  # what is looked at
    size: int = 224  # side of the square crops in pixels
    max_crops: int = 1  # crops of a large image, evenly spread; their scores are averaged. 1: the centre
    fit: Fit = "crop"  # native crops, or the square in the middle, resized
    descriptor: Descriptor = "none"  # statistics of the whole at native size, beside the crops
    # Of the domain check; None: one crop in the middle, 128 pixels at most, or all of what is resized.
    profile: ProfileInput | None = None

    def __post_init__(self) -> None:
        least = self.size if self.look.fit == "crop" else SMALLEST
        own = self.profile or domain_input(self.region, self.size if self.fit == "crop" else None)
        if own.region != self.region or (own.crop or 0) > least:
            raise ConfigError(
                f"the profile of the domain check has the crop {own.crop} of the {own.region}; expected the "
                f"region {self.region} and no more than the {least} pixels that the network can do with"
            )
        object.__setattr__(self, "profile", own)

    @property
    def look(self) -> NetworkInput:
        """What the network takes of an image. Raises ConfigError where there is no such look."""
        return NetworkInput(self.size, self.max_crops, self.fit, self.descriptor, self.region)

    @property
    def domain(self) -> ProfileInput:
        """What the domain check looks at."""
        assert self.profile is not None
        return self.profile

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> GraphInput:
        """The options stored in an artifact. Raises ArtifactError for what this version can't carry out."""
        known = tuple(field.name for field in fields(cls))
        if unknown := sorted(set(spec) - set(known)):
            raise ArtifactError(f"unknown preprocessing {unknown}; this version knows {sorted(known)}")
        own = spec.get("profile")
        if own is not None and not isinstance(own, Mapping):
            raise ArtifactError(f"the preprocessing 'profile' should be a table of options, found {own!r}")
        try:
            return cls(**{**spec, "profile": None if own is None else ProfileInput.from_spec(own)})
        except ConfigError as error:
            raise ArtifactError(f"its preprocessing cannot be carried out: {error}") from error

    def to_spec(self) -> dict[str, Any]:
        """The options as plain values; fit and descriptor only where they are not the usual ones."""
        found = asdict(self.look) | {"profile": self.domain.to_spec()}
        usual = {"fit": "crop", "descriptor": "none"}
        return {name: value for name, value in found.items() if usual.get(name) != value}


class GraphDetector:
    """Scores the crops of an image with the graph of a network."""

    def __init__(
        self,
        artifact: Artifact,
        engine: Engine = "onnx",
        torch_run: Callable[[Artifact], Run] | None = None,
    ) -> None:
        """Check what can be checked without the engine; `start` or the first score sets it to work.

        Args:    artifact: the detector folder.
                 engine: what runs the graph.
                 torch_run: makes the engine "torch", which this layer can't.
        Raises:  ArtifactError: the graph is missing, or detector.json says what can't be carried out.
                 ConfigError: the engine is "torch" and nobody gave one.
        """
        try:
            self.input = GraphInput.from_spec(artifact.spec["preprocessing"])
            self.part_names = _part_names(artifact.spec)
            self.typical = _typical(artifact, self.input.look.n_descriptor)
        except ArtifactError as error:
            raise ArtifactError(f"{artifact.path}: {error}; train the detector again") from error
        if artifact.graph is None:
            raise ArtifactError(
                f"{artifact.path}: {artifacts.GRAPH_FILE} is missing; copy the whole folder again, or train "
                "the detector again"
            )
        if engine == "torch" and torch_run is None:
            raise ConfigError("the engine torch is not available here; use onnx or openvino")
        self.look = self.input.look
        self.artifact = artifact
        self.engine = engine
        self._torch_run = torch_run
        self._run: Run | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_run": None}

    def start(self) -> Run:
        """Set the engine to work, so that what is wrong is known before the first image.

        Returns: what runs the graph in this process.
        Raises:  ArtifactError: the graph is corrupt, takes or gives something else, or was replaced since the
                 detector was loaded. ConfigError: the engine is not installed.
        """
        if self._run is None:
            self._run = self._started()
        return self._run

    def _started(self) -> Run:
        path, graph = self.artifact.path, self.artifact.graph
        if graph is None or artifacts.folder_digest(path) != self.artifact.digest:
            raise ArtifactError(
                f"the detector at {path} was replaced while it was at work; run the command again"
            )
        shape = {
            "size": self.look.size,
            "n_parts": len(self.part_names),
            "n_descriptor": self.look.n_descriptor,
        }
        try:
            if self.engine == "torch":
                assert self._torch_run is not None
                return self._torch_run(self.artifact)
            if self.engine == "onnx":
                return onnx_run(graph, **shape)
            return openvino_run(graph, **shape, bf16=self.engine == "openvino-bf16")
        except ArtifactError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: ArtifactError) -> ArtifactError:
        return ArtifactError(
            f"{self.artifact.path}: {error}; copy the whole folder again, or train the detector again"
        )

    def preprocess(self, image: FloatArray) -> dict[str, FloatArray]:
        """What the network takes of an image, and the domain check.

        Args:    image: (3, H, W) in [0, 1].
        Returns: crops (N, 3, S, S), profile (K,), and where there is one descriptor (D,).
        Raises:  TooSmallError: the image is smaller than a crop.
        """
        crops, descriptor = seen(image, self.look)
        found = {"crops": crops.astype(np.float32, copy=False), "profile": profile(image, self.input.domain)}
        return found if descriptor is None else found | {DESCRIPTOR: descriptor}

    def score(self, batch: Mapping[str, FloatArray]) -> FloatArray:
        """A batch as for `scores_and_parts` → (B,), higher = more fake."""
        return self.scores_and_parts(batch)[0]

    def parts(self, batch: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """A batch as for `scores_and_parts` → name of a part → (B,), its own score."""
        return self.scores_and_parts(batch)[1]

    def scores_and_parts(self, batch: Mapping[str, FloatArray]) -> tuple[FloatArray, dict[str, FloatArray]]:
        """What `score` and `parts` give, for the work of one.

        Args:    batch: crops (B, N, 3, S, S) in [0, 1], and where there is one descriptor (B, D).
        Returns: (B,) scores, and for each part its (B,) scores; each is the mean over an image's crops.
        Raises:  ArtifactError: the batch has other shapes, or the graph can't be run.
        """
        crops, size = batch["crops"], self.look.size
        if crops.ndim != 5 or crops.shape[2:] != (3, size, size):
            raise ArtifactError(
                f"the detector looks at crops of shape {(3, size, size)} and got a batch of shape "
                f"{crops.shape}; its preprocessing and its graph don't belong together"
            )
        n_images, n_crops = crops.shape[:2]
        flat = np.ascontiguousarray(crops, dtype=np.float32).reshape(-1, 3, size, size)
        beside = self._beside(batch, n_crops)
        run = self.start()
        try:
            scores, parts = run(flat, *beside)
        except ArtifactError as error:
            raise self._damaged(error) from error
        mean = np.asarray(scores, np.float64).reshape(n_images, n_crops).mean(axis=1)
        means = np.asarray(parts, np.float64).reshape(n_images, n_crops, parts.shape[1]).mean(axis=1)
        return mean, {name: means[:, i] for i, name in enumerate(self.part_names[: means.shape[1]])}

    def _beside(self, batch: Mapping[str, FloatArray], n_crops: int) -> tuple[FloatArray, ...]:
        """What the graph takes beside the crops: each image's descriptor, once a crop."""
        length = self.look.n_descriptor
        if not length:
            return ()
        found = np.asarray(batch.get(DESCRIPTOR, np.empty(0)), dtype=np.float32)
        if found.shape != (len(batch["crops"]), length):
            raise ArtifactError(
                f"the detector takes a descriptor of {length} numbers an image and got {found.shape}; its "
                "preprocessing and its graph don't belong together"
            )
        return (np.repeat(found, n_crops, axis=0),)

    def explain(self, image: FloatArray) -> tuple[Evidence, ...]:
        """The log spectrum, the score, and that of each part.

        Where it takes block statistics, also the detail in each block and the statistics that are least like
        those of the training images.

        Args:    image: (3, H, W) in [0, 1].
        Returns: heat maps and scalars.
        Raises:  TooSmallError: the image is smaller than a crop.
        """
        inputs = self.preprocess(image)
        scores, parts = self.scores_and_parts({name: array[None] for name, array in inputs.items()})
        whole = Evidence(
            kind="scalar",
            name="score",
            values=scores[0],
            unit="log-odds",
            caption="What the network as a whole says: higher is more like a fake.",
        )
        own = [
            Evidence(
                kind="scalar",
                name=f"score of {name}",
                values=values[0],
                unit="log-odds",
                caption="What this part of the network says on its own: above zero speaks for fake.",
            )
            for name, values in parts.items()
        ]
        found: tuple[Evidence, ...] = (spectrum_evidence(image, self.input.domain), whole, *own)
        if self.look.descriptor != "none":
            found += (block_evidence(image, self.look.region),)
        if self.typical is not None:
            found += deviation_evidence(inputs[DESCRIPTOR], *self.typical, region=self.look.region)
        return found


def _part_names(spec: Mapping[str, Any]) -> tuple[str, ...]:
    graph = spec.get("graph")
    names = graph.get("parts") if isinstance(graph, Mapping) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ArtifactError(f"the key 'graph' should name its parts in a list, found {graph!r}")
    if len(set(names)) != len(names):
        raise ArtifactError(f"two parts of the graph have one name: {names}")
    return tuple(names)


def _typical(artifact: Artifact, length: int) -> tuple[FloatArray, FloatArray] | None:
    """Mean and deviation of a descriptor over the training images; None where the artifact has none."""
    if not length or any(name not in artifact.arrays for name in TYPICAL):
        return None
    mean, std = (np.asarray(artifact.arrays[name], dtype=np.float64) for name in TYPICAL)
    if mean.shape != (length,) or std.shape != (length,) or not np.isfinite([mean, std]).all():
        raise ArtifactError(
            f"the arrays {' and '.join(map(repr, TYPICAL))} should hold {length} finite numbers each, found "
            f"the shapes {mean.shape} and {std.shape}"
        )
    if not (std > 0).all():
        raise ArtifactError(f"the array {TYPICAL[1]!r} should be positive")
    return mean, std
