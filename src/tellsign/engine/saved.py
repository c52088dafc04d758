"""A saved detector as a module of PyTorch that gradients go through. Without PyTorch, the error says so."""

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
        raise _missing(error) from error
    except (RuntimeError, ConfigError) as error:  # other arrays, or a backbone that this timm lacks
        raise ArtifactError(
            f"{artifact.path}: its weights don't fit its configuration ({str(error)[:500]}); copy or train "
            "the detector again"
        ) from error
    return network.eval(), config


def vector_module(folder: Path) -> Module:
    """A detector of vectors in PyTorch, from the pixels on.

    Args:    folder: of the detector.
    Returns: (B, 3, H, W) in [0, 1] → (B,) scores, differentiable, in evaluation mode and float64.
    Raises:  ArtifactError: there is no such detector there, or it has no gradient. ConfigError: PyTorch is
             missing.
    """
    try:
        from tellsign.nn.vectors import VectorScore
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return VectorScore(artifacts.load(folder)).eval()


def _missing(error: ModuleNotFoundError) -> ConfigError:
    return ConfigError(
        f"the differentiable form of a detector needs {error.name}; install it with: pip install "
        "'tellsign[train]'"
    )
