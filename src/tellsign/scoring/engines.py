"""What needs the system which made a detector: the engine PyTorch, for GPUs, and a network's branches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tellsign import hub
from tellsign.types import ArtifactError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

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
    system = _system(artifact)
    network_run: Callable[..., Run] = _network_run()
    if hasattr(system, "network"):
        return network_run(system.network(artifact.path), n_parts=len(artifact.spec["graph"]["parts"]))
    return network_run(system.module(artifact.path), n_parts=0)


def torch_branches(artifact: Artifact) -> dict[str, tuple[Any, Run]]:
    """The branches of a network in PyTorch, as far as their maps lie over the picture.

    Args:    artifact: of a network, written by an installed system, whose `branches(folder)` gives them.
    Returns: name → module in evaluation mode, (B, 3, S, S) in [0, 1] → logits (B, 2); and what runs it.
    Raises:  ConfigError: it has none, it does not say which system wrote it, or that or PyTorch is not
             installed. ArtifactError: its weights don't fit.
    """
    system = _system(artifact)
    network_run = _network_run()
    if not hasattr(system, "branches"):
        raise ConfigError(
            f"the system {artifact.spec['system']!r} has no networks that attention could be read from; "
            "leave out --attention"
        )
    branches = system.branches(artifact.path)
    return {name: (module, network_run(module, n_parts=0)) for name, module in branches.items()}


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
