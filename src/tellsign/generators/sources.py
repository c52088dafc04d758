"""A generator that there is: of an artifact, of an import path, or of both, the weights from the artifact.

Shapes: B images of a block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from tellsign import artifacts
from tellsign.engine.checkpoint import weights_digest
from tellsign.engine.export import network_state
from tellsign.generators.artifact import saved_generator
from tellsign.generators.foreign import image_generator, imported, measured_size
from tellsign.generators.gan import Generator
from tellsign.types import ArtifactError, ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from tellsign.artifacts import Artifact
    from tellsign.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A generator of images from latents, checked."""

    network: nn.Module  # with the two methods of `tellsign.generators.foreign`
    name: str  # for the record: name@digest of an artifact, or an import path
    digest: str  # of its weights
    size: int  # S of its images


def source_of(artifact: Path | None, module: str | None) -> Source:
    """The generator that the command line names.

    Args:    artifact: folder of a generator, or None.
             module: import path, or None. With an artifact: of the network whose weights it holds.
    Returns: the generator, its range and size measured.
    Raises:  ConfigError: neither is given, the module can't be imported, or its images are wrong.
             ArtifactError: the artifact is none of a generator, or its weights don't fit.
    """
    loaded = None if artifact is None else artifacts.load(artifact)
    if module is None:
        if loaded is None:
            raise ConfigError("name the generator: --from FOLDER, or --module package.module:name")
        network = saved_generator(loaded)
        if not isinstance(network, Generator):
            raise ConfigError(
                f"{loaded.name} is an auto-encoder, which makes no images from latents; train it anew with "
                "spectral = λ"
            )
    else:
        network = imported(module)
        if loaded is not None:
            _fill(network, loaded, module)
    name = (loaded.name if loaded else None) or str(module)
    size = measured_size(network, name=name)
    return Source(network.eval(), name, weights_digest(network), size)


def source_run(source: Source) -> Callable[[range], FloatArray]:
    """What makes the images of a block of seeds with PyTorch, each from the latents of its own seed.

    Args:    source: the generator.
    Returns: seeds → (B, 3, S, S).
    """
    own = image_generator(source.network)

    def run(block: range) -> FloatArray:
        latents = [own.latents(1, torch.Generator().manual_seed(seed)) for seed in block]
        with torch.inference_mode():
            found: FloatArray = own.images(torch.cat(latents)).float().numpy()
        return found

    return run


def _fill(network: nn.Module, artifact: Artifact, module: str) -> None:
    try:
        network.load_state_dict(network_state(artifact))
    except RuntimeError as error:
        raise ArtifactError(
            f"the weights in {artifact.path} are not those of --module {module} ({str(error)[:300]}); name "
            "the module that was tuned"
        ) from error
