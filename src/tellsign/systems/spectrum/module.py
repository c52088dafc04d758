"""A spectrum detector in PyTorch: pixels → score, with gradients, for attacks and for studies of generators.

What runs is NumPy (`tellsign.detectors`). This is the same arithmetic; crops and profiles come from the very
functions that the detector calls. Where a frequency is empty, as after pixels were repeated, the logarithm is
that of rounding errors, in which the two differ, and its gradient is as large as the magnitude is small.

Shapes: B batch, C channels, H W pixels, N crops, S support vectors, K frequency bins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from tellsign.detectors import from_artifact
from tellsign.detectors.preprocessing import ProfileInput
from tellsign.features import spectrum
from tellsign.nn.region import crops_of
from tellsign.types import ArtifactError, ImageError

if TYPE_CHECKING:
    from tellsign.artifacts import Artifact

DECISIONS = {
    "linear": ("weights", "bias"),
    "kernel": ("support", "dual", "gamma", "bias"),
}  # kind → its arrays


class SpectrumModule(torch.nn.Module):
    """(B, 3, H, W) in [0, 1] → (B,) scores of a spectrum detector, higher = more fake.

    Computes in its own type whatever that of the images: float64 as it is made. `.float()` is faster on a GPU
    and a little further from the detector, and far from all examples its kernel and gradient underflow to 0.
    """

    def __init__(self, artifact: Artifact) -> None:
        """Take over the arrays of a detector.

        Args:    artifact: of kind linear or kernel, on spectrum profiles.
        Raises:  ArtifactError: it is of another kind, or its arrays don't fit together.
        """
        super().__init__()
        self.kind: str = artifact.spec["kind"]
        if self.kind not in DECISIONS:
            raise ArtifactError(
                f"{artifact.path}: a {self.kind!r} detector has no differentiable form here; there is one of "
                f"{', '.join(DECISIONS)}"
            )
        from_artifact(artifact)  # checks shapes and values
        self.input = ProfileInput.from_spec(artifact.spec["preprocessing"])
        for name in ("mean", "scale", *DECISIONS[self.kind]):
            array = torch.from_numpy(np.array(artifact.arrays[name], dtype=np.float64))
            # A single number may be stored with an axis.
            self.register_buffer(name, array.reshape(()) if name in ("gamma", "bias") else array)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [0, 1] → (B,). Raises ImageError, and TooSmallError as the detector does."""
        mean, scale = self.get_buffer("mean"), self.get_buffer("scale")
        standardised = (self.profiles(images) - mean) / scale
        if self.kind == "linear":
            return (standardised * self.get_buffer("weights")).sum(dim=1) + self.get_buffer("bias")
        support, dual = self.get_buffer("support"), self.get_buffer("dual")
        # By differences, so that nothing cancels in float32.
        squared = (standardised[:, None] - support).square().sum(dim=2)
        kernel = torch.exp(-self.get_buffer("gamma") * squared)
        return (kernel * dual).sum(dim=1) + self.get_buffer("bias")

    def profiles(self, images: torch.Tensor) -> torch.Tensor:
        """The mean spectrum profile of each image's native crops.

        Args:    images: (B, 3, H, W) in [0, 1].
        Returns: (B, K).
        Raises:  ImageError: images have another shape; TooSmallError: they are smaller than one crop.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ImageError(f"expected images of shape (B, 3, H, W), found {tuple(images.shape)}")
        crops = crops_of(images, self.input.crop, self.input.max_crops).to(self.get_buffer("mean").dtype)
        rows = spectrum.profile(
            255 * spectrum.grey(crops.flatten(0, 1)),
            preset=self.input.preset,
            length=self.input.length,
            normalise=self.input.normalise,
            square=self.input.crop is not None,
        )
        return rows.reshape(*crops.shape[:2], rows.shape[1]).mean(dim=1)
