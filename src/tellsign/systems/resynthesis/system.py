"""The re-synthesis system: reals → re-synthesiser → residuals → classifiers → fusion → artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tellsign.data.left_out import LeftOut
from tellsign.detectors.fitting import system_spec
from tellsign.engine.saved import saved_network
from tellsign.nn.backbones import SCRATCH
from tellsign.systems.resynthesis.config import ResynthesisConfig
from tellsign.types import REAL, ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from torch.nn import Module

    from tellsign.data import Manifest
    from tellsign.explain.attention import CropEvidence
    from tellsign.systems.resynthesis.model import Residuals, Resynthesis

Say = Callable[[str], None]


class ResynthesisSystem:
    """He, Yu, Keuper and Fritz (IJCAI 2021) as a system that writes a detector."""

    name = "resynthesis"
    config_class = ResynthesisConfig
    requires = ("torch", "timm", "onnx", "onnxscript")  # what `fit` imports
    trains_together = True  # several processes of torchrun call `fit` at once

    def __init__(self, config: ResynthesisConfig | None = None) -> None:
        self.config = config or ResynthesisConfig()

    def fit(
        self, train: Manifest, valid: Manifest, *, out: Path, seed: int, say: Say = lambda text: None
    ) -> Path:
        """Train all phases, fuse the stages, and write the detector, uncalibrated.

        What is learnt so far lies beside `out` in a folder of its name and ".run": a second call with the
        same arguments goes on there, and one with others is refused.

        Args:    train: labelled images, of which the re-synthesiser sees the reals alone.
                 valid: labelled images, on which epochs are chosen and the fused score is judged; where
                 weights are fitted, one half for each.
                 out: the detector's folder.
                 seed: of weights, order, augmentation, degradations and halves.
                 say: told what happens.
        Returns: `out`.
        Raises:  ManifestError: images or labels don't do. ConfigError: weights or the run folder don't, or
                 region is face. ArtifactError: the graph does not compute what PyTorch does, or can't be
                 written.
        """
        from tellsign.engine.fitting import trainings
        from tellsign.systems.resynthesis.perceptual import with_architecture
        from tellsign.systems.resynthesis.training import validation_parts

        if self.config.region == "face":
            raise ConfigError(
                'region = "face": this system trains on pictures as they are, and a scan would then look at '
                "faces that it never saw as such; cut the faces first (tellsign data faces), train on the "
                'crops with region = "image", and scan with --faces'
            )
        config = replace(self.config, perceptual=with_architecture(self.config.perceptual))
        phases = (config.training, config.reconstruction.training)
        with trainings(train, valid, out, *phases, several="networks") as (run, is_first):
            parts = validation_parts(valid, config, seed=seed)
            network, report = trained(config, train, parts, run=run, seed=seed, say=say)
            if is_first:
                _write(network, config, parts["weights"], report, out, run=run, seed=seed, say=say)
        return out

    def network(self, artifact: Path) -> Module:
        """The whole of it in PyTorch, on crops.

        Args:    artifact: folder of a detector that this system wrote.
        Returns: (B, 3, S, S) in [0, 1] → {"score": (B,), "parts": (B, n)}, in evaluation mode.
        Raises:  ArtifactError: there is no such detector there. ConfigError: PyTorch or timm is missing.
        """
        network: Module = _network(artifact)[0]
        return network

    def residuals(self, artifact: Path) -> Residuals:
        """The way from pixels to residuals in PyTorch: for maps, and to make pairs of images.

        Args:    artifact: folder of a detector that this system wrote.
        Returns: (B, 3, H, W) in [0, 1] and stages → their residuals, in evaluation mode.
        Raises:  ArtifactError: there is no such detector there. ConfigError: PyTorch or timm is missing.
        """
        network: Any = _network(artifact)[0]
        found: Residuals = network.residuals().eval()
        return found

    def evidence(self, artifact: Path) -> CropEvidence:
        """The residuals of a crop, and where the classifiers looked.

        Args:    artifact: folder of a detector that this system wrote.
        Returns: a crop that was scored → its evidence.
        Raises:  ArtifactError: there is no such detector there. ConfigError: PyTorch, timm or captum is
                 missing.
        """
        network: Any
        network, config = _network(artifact)
        from tellsign.systems.resynthesis.evidence import network_evidence

        return network_evidence(network, config.size)

    def module(self, artifact: Path) -> Module:
        """The detector in PyTorch, from the pixels on.

        Args:    artifact: folder of a detector that this system wrote.
        Returns: (B, 3, H, W) in [0, 1] → (B,) scores, differentiable, in evaluation mode.
        Raises:  ArtifactError: there is no such detector there. ConfigError: PyTorch or timm is missing.
        """
        network, config = _network(artifact)
        from tellsign.nn.region import RegionScore

        return RegionScore(network, config.input.look).eval()


def trained(
    config: ResynthesisConfig,
    train: Manifest,
    parts: Mapping[str, Manifest],
    *,
    run: Path,
    seed: int,
    say: Say,
) -> tuple[Resynthesis, dict[str, Any]]:
    """The network after all phases.

    Args:    config: of the system, its perceptual network's architecture known.
             train: labelled images. parts: `checkpoints`, on which epochs are chosen.
             run: folder of all trainings. seed: of everything random. say: told of progress.
    Returns: the network on the CPU, and what each phase came to, as plain values.
    Raises:  ConfigError, ManifestError: as the phases do.
    """
    from tellsign.systems.resynthesis.joint import trained_together
    from tellsign.systems.resynthesis.model import Resynthesis
    from tellsign.systems.resynthesis.reconstruction import real_quality, trained_resynthesiser
    from tellsign.systems.resynthesis.training import (
        begun,
        example_crops,
        require_finite_residuals,
        trained_classifiers,
    )

    valid, report = parts["checkpoints"], {}
    residuals = begun(config, seed=seed)
    say(f"perceptual network: {config.perceptual_identity()}")
    network: Any = residuals.resynthesiser
    common: Any = {"run": run, "seed": seed, "say": say}
    if config.network.weights == SCRATCH:
        reals, held_out = (part.filter(label=REAL) for part in (train, valid))
        restored = trained_resynthesiser(network, reals, held_out, config, **common)
        report["reconstruction"] = dict(restored.best)
    else:
        report["reconstruction"] = real_quality(network, valid.filter(label=REAL), config, run=run)
    examples = example_crops(train, config, left_out=LeftOut.of(config.training), run=run)
    require_finite_residuals(residuals, examples, config.stages)
    classifiers, report["classifiers"] = trained_classifiers(residuals, train, valid, config, **common)
    found = Resynthesis(
        residuals,
        classifiers,
        stages=config.stages,
        fusion=config.fusion,
        weights=config.fusion_weights,
    )
    if config.joint.epochs:
        report["joint"] = trained_together(found, train, valid, config, **common)
    return found, report


def _write(
    network: Resynthesis,
    config: ResynthesisConfig,
    valid: Manifest,
    report: Mapping[str, Any],
    out: Path,
    *,
    run: Path,
    seed: int,
    say: Say,
) -> None:
    """Fuse the stages, and save the network."""
    import torch

    from tellsign.engine.export import save_network
    from tellsign.systems.resynthesis.training import chosen_fusion, example_crops

    left_out = LeftOut.of(config.training, say=say)
    weights, fusion = chosen_fusion(network, valid, config, left_out=left_out, run=run)
    shown = ", ".join(f"{name} {weight:.2f}" for name, weight in fusion["weights"].items())
    say(f"fusion {config.fusion}: {shown}, AUROC {fusion['auroc']['fused']:.3f}")
    network.get_buffer("weights").copy_(torch.tensor(weights))
    perceptual = config.perceptual_identity()
    save_network(
        out,
        network,
        spec={
            # With the weights that were fitted, so that the configuration rebuilds the detector.
            **system_spec(ResynthesisSystem.name, replace(config, fusion_weights=weights), seed=seed),
            "fusion": fusion,
            "phases": report,
            "perceptual": perceptual,
            "remarks": [f"Its perceptual network: {perceptual}.", f"Its stages: {', '.join(config.parts)}."],
        },
        examples=example_crops(valid, config, left_out=left_out, run=run),
        parts=config.parts,
    )


def _network(folder: Path) -> tuple[Module, ResynthesisConfig]:
    """The network of a detector with its weights, and its configuration."""

    def empty(config: ResynthesisConfig) -> Module:
        from tellsign.systems.resynthesis.model import empty_network

        return empty_network(config)

    return saved_network(folder, system=ResynthesisSystem.name, config_class=ResynthesisConfig, empty=empty)
