"""The baselines as systems: images → a trained network, or a linear classifier, → artifact."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tellsign import artifacts
from tellsign.data.left_out import LeftOut
from tellsign.detectors.fitting import fit_detector, system_spec
from tellsign.engine.saved import saved_network, vector_module
from tellsign.systems.baselines.config import (
    Dct2dConfig,
    Fft2dConfig,
    GramNetConfig,
    ImageConfig,
    from_scratch,
)
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch.nn import Module

    from tellsign.data.manifest import Manifest
    from tellsign.explain.attention import CropEvidence

Say = Callable[[str], None]


class NetworkSystem:
    """One network on native crops as a system that writes a detector; each baseline names its own."""

    name: str
    config_class: Any
    requires: tuple[str, ...] = ("torch", "timm", "onnx", "onnxscript")  # what `fit` imports
    trains_together = True  # several processes of torchrun call `fit` at once
    sees_pixels = True  # a place in the network's maps is one in the picture, and no frequency

    def __init__(self, config: Any = None) -> None:
        self.config = config or self.config_class()

    def fit(
        self, train: Manifest, valid: Manifest, *, out: Path, seed: int, say: Say = lambda text: None
    ) -> Path:
        """Train the network, and write the detector, uncalibrated.

        What is learnt so far lies beside `out` in a folder of its name and ".run": a second call with the
        same arguments goes on there, and one with others is refused.

        Args:    train: labelled images. valid: labelled images, on which the best epoch is chosen.
                 out: the detector's folder.
                 seed: of weights, order and augmentation.
                 say: told what happens.
        Returns: `out`.
        Raises:  ManifestError: images or labels don't do. ConfigError: backbone, weights or the run folder
                 don't. ArtifactError: the graph does not compute what PyTorch does, or can't be written.
        """
        from tellsign.engine.fitting import trainings
        from tellsign.systems.baselines.training import begun, standardised, trained

        config = self.config
        with trainings(train, valid, out, config.training) as (run, is_first):
            # What can't be built is known before an image is read.
            network = begun(config, seed=seed)
            left_out = LeftOut.of(config.training, say=say)
            standardised(network, train, config, left_out=left_out, run=run)
            result = trained(network, train, valid, config, name=self.name, run=run, seed=seed, say=say)
            if is_first:
                self._write(network, valid, out, run=run, seed=seed, best=result.best, say=say)
        return out

    def network(self, artifact: Path) -> Module:
        """The network in PyTorch, on crops.

        Args:    artifact: folder of a detector that this system wrote.
        Returns: (B, 3, S, S) in [0, 1] → logits (B, 2), in evaluation mode.
        Raises:  ArtifactError: there is no such detector there. ConfigError: PyTorch or timm is missing.
        """
        return self._saved(artifact)[0]

    def module(self, artifact: Path) -> Module:
        """The detector in PyTorch, from the pixels on.

        Args:    artifact: folder of a detector that this system wrote.
        Returns: (B, 3, H, W) in [0, 1] → (B,) scores, differentiable, in evaluation mode.
        Raises:  ArtifactError: there is no such detector there. ConfigError: PyTorch or timm is missing.
        """
        network, config = self._saved(artifact)
        from tellsign.nn.region import RegionScore

        return RegionScore(network, config.look).eval()

    def evidence(self, artifact: Path) -> CropEvidence:
        """Where the network looked, and how far that is to be believed.

        Args:    artifact: folder of a detector that this system wrote.
        Returns: a crop that was scored → its evidence.
        Raises:  ArtifactError: there is no such detector there. ConfigError: it looks at a spectrum, or
                 PyTorch, timm or captum is missing.
        """
        if not self.sees_pixels:
            raise ConfigError(
                f"{artifact} looks at a spectrum, where attention has no place in the picture; leave out "
                "--attention"
            )
        network, config = self._saved(artifact)
        from tellsign.engine.inference import network_run
        from tellsign.explain.attention import branch_evidence

        return branch_evidence({self.name: (network, network_run(network, n_parts=0))}, size=config.size)

    def _saved(self, folder: Path) -> tuple[Module, Any]:
        """The network of a detector with its weights, and its configuration."""

        def empty(config: Any) -> Module:
            from tellsign.systems.baselines.model import new_network

            return new_network(from_scratch(config))

        return saved_network(folder, system=self.name, config_class=self.config_class, empty=empty)

    def _write(
        self,
        network: Module,
        valid: Manifest,
        out: Path,
        *,
        run: Path,
        seed: int,
        best: Mapping[str, Any],
        say: Say,
    ) -> None:
        from tellsign.engine.export import save_network
        from tellsign.systems.baselines.training import example_crops

        left_out = LeftOut.of(self.config.training, say=say)
        save_network(
            out,
            network,
            spec={
                **system_spec(self.name, self.config, seed=seed),
                "best_epoch": dict(best),
                "parameters": {"total": sum(one.numel() for one in network.parameters())},
            },
            examples=example_crops(valid, self.config, left_out=left_out, run=run),
        )


class ImageSystem(NetworkSystem):
    """The plain picture, and the residual network that He et al. (2021) classify residuals with."""

    name = "image"
    config_class = ImageConfig


class Fft2dSystem(NetworkSystem):
    """Zhang, Karaman and Chang (2019): the 2-D Fourier spectrum."""

    name = "fft2d"
    config_class = Fft2dConfig
    sees_pixels = False


class GramNetSystem(NetworkSystem):
    """Liu, Qi and Torr (2020): a ResNet with Gram matrices of its maps."""

    name = "gramnet"
    config_class = GramNetConfig


class Dct2dSystem(NetworkSystem):
    """Frank et al. (2020): the 2-D cosine spectrum, and a linear classifier or a small network on it."""

    name = "dct2d"
    config_class = Dct2dConfig
    requires = (*NetworkSystem.requires, "sklearn")
    sees_pixels = False

    def fit(
        self, train: Manifest, valid: Manifest, *, out: Path, seed: int, say: Say = lambda text: None
    ) -> Path:
        """Fit the classifier, or train the network, and write the detector, uncalibrated.

        Args:    train: labelled images. valid: looked at for the best epoch of a network alone.
                 out: the detector's folder. seed: of a network. say: told what happens.
        Returns: `out`.
        Raises:  ManifestError: images or labels don't do. ConfigError, ArtifactError: as for networks.
        """
        if self.config.is_network:
            return super().fit(train, valid, out=out, seed=seed, say=say)
        from tellsign.engine.distributed import gathered, this_process
        from tellsign.systems.baselines.linear import fit

        at = this_process(self.config.training.device)
        if at.is_first:
            fit_detector(self.name, self.config, fit, train, out=out, seed=seed, say=say)
        gathered(None, at)  # so that every process finds the detector
        return out

    def module(self, artifact: Path) -> Module:
        """The detector in PyTorch, from the pixels on.

        Args:    artifact: folder of a detector that this system wrote.
        Returns: (B, 3, H, W) in [0, 1] → (B,) scores, differentiable, in evaluation mode.
        Raises:  ArtifactError: there is no such detector there. ConfigError: PyTorch or timm is missing.
        """
        if artifacts.load(artifact).spec["kind"] != "linear":
            return super().module(artifact)
        return vector_module(artifact)
