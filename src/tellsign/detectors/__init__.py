"""Detectors: artifacts that run. No PyTorch here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tellsign.types import ArtifactError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tellsign.artifacts import Artifact
    from tellsign.detectors.engines import Engine, Run
    from tellsign.types import Detector

NETWORK = "graph"  # the kind of a network
TREES = "trees"  # the kind without a gradient
FINGERPRINT = "fingerprint"  # the kind of what compares noise
DECISIONS = {
    "linear": "tellsign.detectors.linear",
    "kernel": "tellsign.detectors.kernel",
    TREES: "tellsign.detectors.trees",
}


def from_artifact(
    artifact: Artifact, engine: Engine = "onnx", *, torch_run: Callable[[Artifact], Run] | None = None
) -> Detector:
    """The detector that an artifact describes.

    Args:    artifact: a loaded detector folder.
             engine: what runs the graph of a network; the other kinds have none, and take "onnx" alone.
             torch_run: makes the engine "torch" of an artifact; see `tellsign.scoring.engines`.
    Returns: the detector, ready to score.
    Raises:  ArtifactError: its kind is unknown, or its parts don't fit together.
             ConfigError: it can't be run by this engine.
    """
    from tellsign.detectors.engines import ENGINES
    from tellsign.detectors.fingerprint import FingerprintDetector
    from tellsign.detectors.graph import GraphDetector
    from tellsign.detectors.vector import VectorDetector

    kind = artifact.spec["kind"]
    kinds = (*DECISIONS, NETWORK, FINGERPRINT)
    if kind not in kinds:
        raise ArtifactError(
            f"{artifact.path}: unknown kind of detector {kind!r}; this version runs {', '.join(kinds)}"
        )
    if engine not in ENGINES:
        raise ConfigError(f"no engine {engine!r}; there are {', '.join(ENGINES)}")
    if kind == NETWORK:
        return GraphDetector(artifact, engine, torch_run)
    if engine != "onnx":
        raise ConfigError(
            f"the engine {engine} runs networks, and {artifact.name} is none: leave --engine out"
        )
    if kind == FINGERPRINT:
        return FingerprintDetector(artifact)
    return VectorDetector(artifact, import_module(DECISIONS[kind]))
