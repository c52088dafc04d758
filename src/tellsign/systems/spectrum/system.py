"""The spectrum system: images → profiles → classifier → artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tellsign.detectors.fitting import fit_detector
from tellsign.engine.saved import vector_module
from tellsign.systems.spectrum.config import SpectrumConfig
from tellsign.systems.spectrum.model import fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch.nn import Module

    from tellsign.data.manifest import Manifest


class SpectrumSystem:
    """Durall et al. (2020) as a system that writes a detector."""

    name = "spectrum"
    config_class = SpectrumConfig
    requires = ("sklearn",)  # what `fit` imports

    def __init__(self, config: SpectrumConfig | None = None) -> None:
        self.config = config or SpectrumConfig()

    def fit(
        self,
        train: Manifest,
        valid: Manifest,  # noqa: ARG002
        *,
        out: Path,
        seed: int,
        say: Callable[[str], None] = lambda text: None,
    ) -> Path:
        """Fit the classifier and write the detector, uncalibrated.

        A detector of faces is fitted on the faces in the images, each with its image's label.

        Args:    train: labelled images.
                 valid: not looked at: nothing here is stopped early.
                 out: the detector's folder.
                 seed: of K-means.
                 say: told of images that show no face to a detector of faces; they are left out.
        Returns: `out`.
        Raises:  ManifestError: an image cannot be used; a training set is not shrunk in silence.
                 ConfigError: the features can't be fitted.
        """
        return fit_detector(self.name, self.config, fit, train, out=out, seed=seed, say=say)

    def module(self, artifact: Path) -> Module:
        """The detector in PyTorch, from the pixels on.

        Args:    artifact: folder of a detector that this system wrote.
        Returns: (B, 3, H, W) in [0, 1] → (B,) scores, differentiable, in evaluation mode and float64.
        Raises:  ArtifactError: there is no such detector there.
                 ConfigError: PyTorch is missing.
        """
        return vector_module(artifact)
