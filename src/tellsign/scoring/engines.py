"""What needs the system which made a detector: the engine PyTorch, for GPUs, and a look into a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tellsign import hub
from tellsign.types import ArtifactError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tellsign.artifacts import Artifact
    from tellsign.detectors.engines import Run
    from tellsign.explain.attention import CropEvidence


def torch_run(artifact: Artifact) -> Run:
    """What runs a network in PyTorch, on a GPU where there is one.

    Args:    artifact: of a network, written by an installed system. The system's `network(folder)` gives the
             module with its parts; without it, `module(folder)` gives the one without.
    Returns: crops → scores and parts.
    Raises:  ConfigError: it does not say which system wrote it, or that or PyTorch is not installed.
             ArtifactError: its weights don't fit.
    """
    system = _system(artifact)
    network_run: Callable[..., Run] = _network_run()
    if hasattr(system, "network"):
        return network_run(system.network(artifact.path), n_parts=len(artifact.spec["graph"]["parts"]))
    return network_run(system.module(artifact.path), n_parts=0)


def torch_evidence(artifact: Artifact) -> CropEvidence:
    """What shows how a network came to its score, in PyTorch.

    Args:    artifact: of a network, written by an installed system, whose `evidence(folder)` gives it.
    Returns: a crop that was scored → its evidence.
    Raises:  ConfigError: the system has nothing of the kind, none of its maps lies over a picture, it is not
             known or not installed, or what it needs is not. ArtifactError: its weights don't fit.
    """
    system = _system(artifact)
    if not hasattr(system, "evidence"):
        raise ConfigError(
            f"the system {artifact.spec['system']!r} has no networks that attention could be read from; "
            "leave out --attention"
        )
    found: CropEvidence = system.evidence(artifact.path)
    return found


def _system(artifact: Artifact) -> Any:
    """The system that wrote an artifact, with its configuration."""
    name = artifact.spec.get("system")
    if not isinstance(name, str):
        raise ConfigError(
            f"{artifact.path} does not say which system wrote it, and so has no form in PyTorch; use the "
            "engine onnx or openvino"
        )
    found = hub.system(name)
    try:
        return found(found.config_class(**artifact.spec.get("config", {})))
    except (TypeError, ConfigError) as error:  # a key or a value that this version doesn't know
        raise ArtifactError(
            f"{artifact.path}: its configuration cannot be read ({error}); train the detector again, or use "
            "the engine onnx or openvino"
        ) from error


def _network_run() -> Any:
    try:
        from tellsign.engine.inference import network_run
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the engine torch needs {error.name}; install it with: pip install 'tellsign[train]'"
        ) from error
    return network_run
