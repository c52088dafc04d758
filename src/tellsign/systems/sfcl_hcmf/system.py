"""The SFCL-HCMF system: images → faces → three streams → artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tellsign.data.left_out import LeftOut
from tellsign.detectors.fitting import system_spec
from tellsign.engine.saved import saved_network
from tellsign.systems.sfcl_hcmf.config import SfclHcmfConfig

if TYPE_CHECKING:
    from pathlib import Path

    from torch.nn import Module

    from tellsign.data import Manifest
    from tellsign.explain.attention import CropEvidence
    from tellsign.systems.sfcl_hcmf.model import SfclHcmf
    from tellsign.types import FloatArray

Say = Callable[[str], None]


class SfclHcmfSystem:
    """Qiao, Tian and Wang (arXiv:2504.17223) as a system that writes a detector."""

    name = "sfcl-hcmf"
    config_class = SfclHcmfConfig
    requires = ("torch", "timm", "onnx", "onnxscript")  # what `fit` imports
    trains_together = True  # several processes of torchrun call `fit` at once

    def __init__(self, config: SfclHcmfConfig | None = None) -> None:
        self.config = config or SfclHcmfConfig()

    def fit(
        self, train: Manifest, valid: Manifest, *, out: Path, seed: int, say: Say = lambda text: None
    ) -> Path:
        """Train the network, and write the detector, uncalibrated.

        What is learnt so far lies beside `out` in a folder of its name and ".run": a second call with the
        same arguments goes on there, and one with others is refused. A detector of faces is trained on the
        face in each image; images that show none are left out.

        Args:    train: labelled images. valid: labelled images, on which the best epoch is chosen.
                 out: the detector's folder.
                 seed: of weights, order and augmentation.
                 say: told what happens.
        Returns: `out`.
        Raises:  ManifestError: images or labels don't do. ConfigError: backbones, weights or the run folder
                 don't. ArtifactError: the graph does not compute what PyTorch does, or can't be written.
        """
        from tellsign.engine.fitting import trainings
        from tellsign.systems.sfcl_hcmf.training import looked_at, new_network, standardised, trained

        config = self.config
        with trainings(train, valid, out, config.training) as (run, is_first):
            # What can't be built is known before an image is read.
            network = new_network(config, seed=seed)
            left_out = LeftOut.of(config.training, say=say)
            images = looked_at(train, "training", config, run=run, say=say)
            standardised(network, images, config, left_out=left_out, run=run)
            result = trained(network, train, valid, config, run=run, seed=seed, say=say)
            if is_first:
                self._write(network, valid, out, run=run, seed=seed, best=result.best, say=say)
        return out

    def network(self, artifact: Path) -> Module:
        """The network in PyTorch, on crops and statistics.

        Args:    artifact: folder of a detector that this system wrote.
        Returns: (B, 3, S, S) in [0, 1], and (B, 2304) where it has SIDA → logits (B, 2), in evaluation mode.
        Raises:  ArtifactError: there is no such detector there. ConfigError: PyTorch or timm is missing.
        """
        return _network(artifact)[0]

    def module(self, artifact: Path) -> Module:
        """The detector in PyTorch, from the pixels of the picture or the face on.

        Args:    artifact: folder of a detector that this system wrote.
        Returns: (B, 3, H, W) in [0, 1] → (B,) scores, differentiable, in evaluation mode.
        Raises:  ArtifactError: there is no such detector there. ConfigError: PyTorch or timm is missing.
        """
        network, config = _network(artifact)
        from tellsign.nn.region import RegionScore

        return RegionScore(network, config.input.look).eval()

    def evidence(self, artifact: Path) -> CropEvidence:
        """Where the streams looked, and which of the 2304 statistics moved the score.

        Args:    artifact: folder of a detector that this system wrote.
        Returns: a crop that was scored → its evidence.
        Raises:  ArtifactError: there is no such detector there. ConfigError: PyTorch, timm or captum is
                 missing.
        """
        network: Any
        network, config = _network(artifact)
        from tellsign.systems.sfcl_hcmf.evidence import network_evidence

        return network_evidence(network, config.size)

    def _write(
        self,
        network: SfclHcmf,
        valid: Manifest,
        out: Path,
        *,
        run: Path,
        seed: int,
        best: Mapping[str, Any],
        say: Say,
    ) -> None:
        from tellsign.engine.export import save_network
        from tellsign.systems.sfcl_hcmf.counts import parameter_counts
        from tellsign.systems.sfcl_hcmf.training import examples, looked_at

        config = self.config
        left_out = LeftOut.of(config.training, say=say)
        images = looked_at(valid, "validation", config, run=run, say=say)
        crops, descriptors = examples(images, config, left_out=left_out, run=run)
        save_network(
            out,
            network,
            spec={
                **system_spec(self.name, config, seed=seed),
                "best_epoch": dict(best),
                "parameters": parameter_counts(network),
            },
            examples=crops,
            descriptors=descriptors,
            arrays=_typical(network),
        )


def _typical(network: SfclHcmf) -> dict[str, FloatArray]:
    """The statistics over the training images: what is unusual about others is shown without PyTorch."""
    from tellsign.systems.sfcl_hcmf.standardisation import Standardisation

    found = network.descriptor
    if not isinstance(found, Standardisation):
        return {}
    return {f"descriptor.{name}": found.get_buffer(name).numpy() for name in ("mean", "std")}


def _network(folder: Path) -> tuple[Module, SfclHcmfConfig]:
    """The network of a detector with its weights, and its configuration."""

    def empty(config: SfclHcmfConfig) -> Module:
        from tellsign.systems.sfcl_hcmf.model import SfclHcmf

        return SfclHcmf(config.from_scratch())

    return saved_network(folder, system=SfclHcmfSystem.name, config_class=SfclHcmfConfig, empty=empty)
