"""A trained generator as a folder, which runs without PyTorch: weights, graph, card.

The folder is that of a detector (`tellsign.artifacts`), with the kind "generator", which nothing takes for a
detector. A graph takes latents (batch, Z), or images (batch, 3, S, S) where the network restores them, and
gives images (batch, 3, S, S). A network that was given by its import path has no graph: what it needs to run
is its own code, so that it is sampled by the same path.

Shapes: B batch, Z latents, S side of an image.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn

from tellsign import artifacts
from tellsign.engine.export import LIMIT, OPSET, exported, network_arrays, network_state
from tellsign.generators.autoencoder import AutoEncoder, AutoEncoderConfig
from tellsign.generators.gan import GanConfig, Generator
from tellsign.generators.sampling import IMAGES, KIND, LATENTS, graph_run
from tellsign.types import ArtifactError, ConfigError
from tellsign.versions import package_versions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from tellsign.artifacts import Artifact

Input = Literal["latents", "images"]

NETWORKS: dict[str, tuple[type[Any], type[nn.Module]]] = {
    "gan": (GanConfig, Generator),
    "autoencoder": (AutoEncoderConfig, AutoEncoder),
}
N_EXAMPLES = 4  # on which graph and network must agree


class _Images(nn.Module):
    """What a graph computes of a generator: images in [0, 1]."""

    def __init__(self, network: Generator) -> None:
        super().__init__()
        self.network = network

    def forward(self, latents: Tensor) -> Tensor:
        """(B, Z) → (B, 3, S, S)."""
        return self.network.images(latents)


class _Restored(nn.Module):
    """What a graph computes of an auto-encoder."""

    def __init__(self, network: AutoEncoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) → (B, 3, S, S)."""
        found: Tensor = self.network(images)
        return found


def save_generator(
    out: Path,
    network: nn.Module,
    *,
    size: int,
    spec: Mapping[str, Any],
    card: str = "",
    licence: str = "",
) -> Artifact:
    """Write a generator, all of it or nothing.

    Args:    out: its folder.
             network: a `Generator`, an `AutoEncoder`, or any other, which gets no graph. It is left as it is.
             size: S of its images.
             spec: of detector.json: name, config and what else is to be kept. Kind and graph are added.
             card, licence: texts of CARD.md and LICENSE.
    Returns: the artifact as it is read back.
    Raises:  ArtifactError: the network can't be exported, its graph computes something else, or `out` can't
             be written. ConfigError: a package is missing.
    """
    artifacts.check_target(out)
    own = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
    content: dict[str, Any] = {**spec, "kind": KIND, "preprocessing": {}, "size": size}
    graph: bytes | None = None
    if isinstance(own, Generator | AutoEncoder):
        rng = torch.Generator().manual_seed(0)
        if isinstance(own, Generator):
            name, examples = LATENTS, own.latents(N_EXAMPLES, rng)
            form: nn.Module = _Images(own)
            content["latents"] = own.config.latents
        else:
            name, examples, form = (
                IMAGES,
                torch.rand(N_EXAMPLES, 3, size, size, generator=rng),
                _Restored(own),
            )
        form.eval()
        graph = exported(form, {name: examples[:2]}, ["out"])
        content["input"] = name
        content["graph"] = {
            "opset": OPSET,
            "parity": _parity(graph, form, examples, name),
            "versions": package_versions(("torch", "onnx", "onnxscript", "onnxruntime")),
        }
    arrays = network_arrays(own)
    return artifacts.save(out, spec=content, arrays=arrays, graph=graph, card=card, licence=licence)


def saved_generator(artifact: Artifact) -> nn.Module:
    """The network of an artifact, with its weights.

    Args:    artifact: of a GAN or an auto-encoder that `save_generator` wrote.
    Returns: a `Generator` or an `AutoEncoder`, in evaluation mode.
    Raises:  ArtifactError: it is none, or its weights don't fit.
    """
    network = artifact.spec.get("config", {}).get("network")
    kind = artifact.spec.get("network")
    if artifact.spec["kind"] != KIND or kind not in NETWORKS or not isinstance(network, dict):
        raise ArtifactError(
            f"{artifact.path} holds no GAN and no auto-encoder that `tellsign generators train` wrote (kind "
            f"{artifact.spec['kind']!r}, network {kind!r}); a network of your own is given by --module"
        )
    config_class, network_class = NETWORKS[kind]
    try:
        found = network_class(config_class(**network))
        found.load_state_dict(network_state(artifact))
    except (ConfigError, TypeError, RuntimeError) as error:
        raise ArtifactError(
            f"{artifact.path}: its weights don't fit its configuration ({str(error)[:300]}); copy it or "
            "train it again"
        ) from error
    return found.eval()


def _parity(graph: bytes, form: nn.Module, examples: Tensor, name: str) -> dict[str, float]:
    """How far the graph's images lie from PyTorch's. Raises ArtifactError where that is too far."""
    with torch.inference_mode():
        expected = form(examples).numpy()
    found = graph_run(graph, name)(examples.numpy())
    difference = float(np.abs(found - expected).max())
    if not difference <= LIMIT:
        raise ArtifactError(
            f"the graph does not compute what PyTorch does: images differ by {difference:.2g}, expected "
            f"{LIMIT:g} at most; nothing was written"
        )
    # To two digits: the rest may change from one run to the next, and with it the digest.
    return {"n": len(examples), "largest": float(f"{difference:.1e}"), "limit": LIMIT}
