"""The CAE-Net system: images → branches trained one by one → fusion → artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tellsign.data.left_out import LeftOut
from tellsign.detectors.fitting import system_spec
from tellsign.engine.saved import saved_network
from tellsign.systems.cae_net.config import CaeNetConfig
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from torch.nn import Module

    from tellsign.data import Manifest
    from tellsign.explain.attention import CropEvidence

Say = Callable[[str], None]


class CaeNetSystem:
    """Bhattacharjee et al. (arXiv:2502.10682) as a system that writes a detector."""

    name = "cae-net"
    config_class = CaeNetConfig
    requires = ("torch", "timm", "onnx", "onnxscript")  # what `fit` imports
    trains_together = True  # several processes of torchrun call `fit` at once

    def __init__(self, config: CaeNetConfig | None = None) -> None:
        self.config = config or CaeNetConfig()

    def fit(
        self, train: Manifest, valid: Manifest, *, out: Path, seed: int, say: Say = lambda text: None
    ) -> Path:
        """Train every branch, fuse them, and write the detector, uncalibrated.

        What is learnt so far lies beside `out` in a folder of its name and ".run": a second call with the
        same arguments goes on there, and one with others is refused. A detector of faces is trained on the
        face in each image, in native crops as ever; images that show none are left out.

        Args:    train: labelled images.
                 valid: labelled images; one half chooses checkpoints, the other fits and judges the fusion.
                 out: the detector's folder.
                 seed: of weights, order, augmentation, subsets and halves.
                 say: told what happens.
        Returns: `out`.
        Raises:  ManifestError: images or labels don't do. ConfigError: backbones, weights or the run folder
                 don't. ArtifactError: the graph does not compute what PyTorch does, or
                 can't be written.
        """
        from tellsign.engine.fitting import trainings
        from tellsign.engine.fusion import validation_halves
        from tellsign.systems.cae_net.training import looked_at, trained_branches

        with trainings(train, valid, out, self.config.training, several="branches") as (run, is_first):
            options: Any = {"run": run, "say": say}
            halves = validation_halves(looked_at(valid, "validation", self.config, **options), seed=seed)
            shown = looked_at(train, "training", self.config, **options)
            branches = trained_branches(self.config, shown, halves["checkpoints"], seed=seed, **options)
            if is_first:
                self._write(branches, halves["weights"], out, run=run, seed=seed, say=say)
        return out

    def network(self, artifact: Path) -> Module:
        """The ensemble in PyTorch, on crops.

        Args:    artifact: folder of a detector that this system wrote.
        Returns: (B, 3, S, S) in [0, 1] → {"score": (B,), "parts": (B, n)}, in evaluation mode.
        Raises:  ArtifactError: there is no such detector there. ConfigError: PyTorch or timm is missing.
        """
        network: Module = _ensemble(artifact)[0]
        return network

    def branches(self, artifact: Path) -> dict[str, Module]:
        """The branches in PyTorch whose class activation maps lie over the picture, on crops.

        Args:    artifact: folder of a detector that this system wrote.
        Returns: name → (B, 3, S, S) in [0, 1] → logits (B, 2), in evaluation mode; none that look at a
                 spectrum, where a place is a frequency.
        Raises:  ArtifactError: there is no such detector there. ConfigError: PyTorch or timm is missing.
        """
        return _over_the_picture(*_ensemble(artifact))

    def evidence(self, artifact: Path) -> CropEvidence:
        """Where each branch looked, of those that `branches` gives, and how far that is to be believed.

        Args:    artifact: folder of a detector that this system wrote.
        Returns: a crop that was scored → its evidence.
        Raises:  ArtifactError: there is no such detector there. ConfigError: all branches look at spectra, or
                 PyTorch, timm or captum is missing.
        """
        network, config = _ensemble(artifact)
        branches = _over_the_picture(network, config)
        if not branches:
            raise ConfigError(
                f"all branches of {artifact} look at spectra, where attention has no place in the picture; "
                "leave out --attention"
            )
        from tellsign.engine.inference import network_run
        from tellsign.explain.attention import branch_evidence

        run = {name: (module, network_run(module, n_parts=0)) for name, module in branches.items()}
        return branch_evidence(run, size=config.size)

    def module(self, artifact: Path) -> Module:
        """The detector in PyTorch, from the pixels on.

        Args:    artifact: folder of a detector that this system wrote.
        Returns: (B, 3, H, W) in [0, 1] → (B,) scores, differentiable, in evaluation mode.
        Raises:  ArtifactError: there is no such detector there. ConfigError: PyTorch or timm is missing.
        """
        network, config = _ensemble(artifact)
        return _crop_score(network, config)

    def branch_module(self, artifact: Path, branch: str) -> Module:
        """One branch of the detector in PyTorch, from the pixels on: for attacks on a branch alone.

        Args:    artifact: folder of a detector that this system wrote.
                 branch: its name.
        Returns: (B, 3, H, W) in [0, 1] → (B,) log-odds of fake, differentiable, in evaluation mode.
        Raises:  ArtifactError: there is no such detector there. ConfigError: it has no such branch, or
                 PyTorch or timm is missing.
        """
        network, config = _ensemble(artifact)
        if branch not in config.branches:
            raise ConfigError(f"no branch {branch!r}; {artifact} has {', '.join(config.branches)}")
        return _crop_score(network.branches[branch], config)

    def _write(
        self, branches: Mapping[str, Module], valid: Manifest, out: Path, *, run: Path, seed: int, say: Say
    ) -> None:
        """Fuse trained branches, and save them."""
        from tellsign.engine.export import save_network
        from tellsign.engine.faces import FACES
        from tellsign.engine.folder import cache_of
        from tellsign.systems.cae_net.counts import cost_table
        from tellsign.systems.cae_net.model import CaeNet
        from tellsign.systems.cae_net.training import chosen_fusion, example_crops

        config = self.config
        options: Any = {
            "left_out": LeftOut.of(config.training, say=say),
            "cache": cache_of(run, config.training),
            "faces": run / FACES,
        }
        weights, report = chosen_fusion(branches, valid, config, **options)
        say(f"fusion {config.fusion}: {_weights_text(config, weights)}, AUROC {report['auroc']['fused']:.3f}")
        ensemble = CaeNet(branches, fusion=config.fusion, weights=weights)
        save_network(
            out,
            ensemble,
            spec={
                # With the weights that were fitted, so that the configuration rebuilds the detector.
                **system_spec(self.name, replace(config, fusion_weights=weights), seed=seed),
                "fusion": report,
                "cost": cost_table(branches, config.size),
            },
            examples=example_crops(valid, config, **options),
            parts=tuple(config.branches),
        )


def _weights_text(config: CaeNetConfig, weights: tuple[float, ...]) -> str:
    if config.fusion == "vote":
        return f"the majority of {', '.join(config.branches)}"
    return ", ".join(f"{name} {weight:.2f}" for name, weight in zip(config.branches, weights, strict=True))


def _ensemble(folder: Path) -> tuple[Any, CaeNetConfig]:
    """The network of a detector with its weights, and its configuration."""

    def empty(config: CaeNetConfig) -> Module:
        from tellsign.systems.cae_net.model import empty_ensemble

        return empty_ensemble(config)

    return saved_network(folder, system=CaeNetSystem.name, config_class=CaeNetConfig, empty=empty)


def _over_the_picture(network: Any, config: CaeNetConfig) -> dict[str, Module]:
    """The branches of a network in whose maps a place is a place of the picture, and no frequency."""
    return {
        name: network.branches[name]
        for name, branch in config.branches.items()
        if branch.input not in {"fft", "dct"}
    }


def _crop_score(network: Any, config: CaeNetConfig) -> Module:
    from tellsign.nn.region import RegionScore

    return RegionScore(network, config.input.look).eval()
