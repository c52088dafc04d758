"""Detectors: artifacts that run. No PyTorch here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tellsign.types import ArtifactError

if TYPE_CHECKING:
    from tellsign.artifacts import Artifact
    from tellsign.types import Detector

DECISIONS = {"linear": "tellsign.detectors.linear", "kernel": "tellsign.detectors.kernel"}


def from_artifact(artifact: Artifact) -> Detector:
    """The detector that an artifact describes.

    Args:    artifact: a loaded detector folder.
    Returns: the detector, ready to score.
    Raises:  ArtifactError: its kind is unknown, or its arrays don't fit together.
    """
    from tellsign.detectors.vector import VectorDetector

    kind = artifact.spec["kind"]
    if kind not in DECISIONS:
        raise ArtifactError(
            f"{artifact.path}: unknown kind of detector {kind!r}; this version runs {', '.join(DECISIONS)}"
        )
    return VectorDetector(artifact, import_module(DECISIONS[kind]))
