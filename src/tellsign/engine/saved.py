"""A saved detector as the network in PyTorch that it was made from. Without PyTorch, the error says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from tellsign import artifacts
from tellsign.types import ArtifactError, ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from torch.nn import Module

Config = TypeVar("Config")


def saved_network(
    folder: Path, *, system: str, config_class: type[Config], empty: Callable[[Config], Any]
) -> tuple[Module, Config]:
    """The network of a detector with its weights, and its configuration.

    Args:    folder: of the detector.
             system: that wrote it. config_class: of the system.
             empty: makes the network of a configuration, with weights that mean nothing.
    Returns: the network in evaluation mode, and the configuration.
    Raises:  ArtifactError: there is no such detector there, or its weights don't fit. ConfigError: PyTorch or
             timm is missing.
    """
    artifact = artifacts.load(folder)
    spec = artifact.spec
    if spec.get("system") != system or not isinstance(spec.get("config"), dict):
        raise ArtifactError(
            f"{artifact.path}: this is a detector of the system {spec.get('system')!r}, expected {system!r}"
        )
    try:
        config = config_class(**spec["config"])
    except (ConfigError, TypeError) as error:
        raise ArtifactError(
            f"{artifact.path}: its configuration cannot be read ({error}); train the detector again"
        ) from error
    try:
        from tellsign.engine.export import network_state

        network: Module = empty(config)
        network.load_state_dict(network_state(artifact))
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the differentiable form of a detector needs {error.name}; install it with: pip install "
            "'tellsign[train]'"
        ) from error
    except (RuntimeError, ConfigError) as error:  # other arrays, or a backbone that this timm lacks
        raise ArtifactError(
            f"{artifact.path}: its weights don't fit its configuration ({str(error)[:500]}); copy or train "
            "the detector again"
        ) from error
    return network.eval(), config
