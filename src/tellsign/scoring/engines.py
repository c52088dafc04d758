"""The engine that needs the system which made a detector: PyTorch, for GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tellsign import hub
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from tellsign.artifacts import Artifact
    from tellsign.detectors.engines import Run


def torch_run(artifact: Artifact) -> Run:
    """What runs a network in PyTorch, on a GPU where there is one.

    Args:    artifact: of a network, written by an installed system. The system's `network(folder)` gives the
             module with its parts; without it, `module(folder)` gives the one without.
    Returns: crops → scores and parts.
    Raises:  ConfigError: it does not say which system wrote it, or that or PyTorch is not installed.
             ArtifactError: its weights don't fit.
    """
    name = artifact.spec.get("system")
    if not isinstance(name, str):
        raise ConfigError(
            f"{artifact.path} does not say which system wrote it, and so has no form in PyTorch; use the "
            "engine onnx or openvino"
        )
    found = hub.system(name)
    try:
        from tellsign.engine.inference import network_run
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the engine torch needs {error.name}; install it with: pip install 'tellsign[train]'"
        ) from error
    system = found(found.config_class(**artifact.spec.get("config", {})))
    if hasattr(system, "network"):
        return network_run(system.network(artifact.path), n_parts=len(artifact.spec["graph"]["parts"]))
    return network_run(system.module(artifact.path), n_parts=0)
