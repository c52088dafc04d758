"""A detector of vectors in PyTorch: pixels → score, with gradients, for attacks and studies of generators.

What runs is NumPy (`tellsign.detectors`), which takes the statistics of SIDA in float32. This is the same
arithmetic; crops and features come from the very functions that the detector calls. Where a frequency is
empty, as after pixels were repeated, the logarithm of a profile is that of rounding errors, in which the two
differ, and its gradient is as large as the magnitude is small.

Shapes: B batch, H W pixels, N crops, M crops in all, S side of a crop, K features, V support vectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from tellsign.detectors import from_artifact
from tellsign.detectors.preprocessing import ProfileInput, vector_input
from tellsign.features import spectrum
from tellsign.features.dct import log_dct
from tellsign.nn.region import crops_of, statistics_of
from tellsign.types import ArtifactError, ImageError

if TYPE_CHECKING:
    from tellsign.artifacts import Artifact
    from tellsign.detectors.preprocessing import VectorInput

DECISIONS = {
    "linear": ("weights", "bias"),
    "kernel": ("support", "dual", "gamma", "bias"),
}  # kind → its arrays


class VectorScore(nn.Module):
    """(B, 3, H, W) in [0, 1] → (B,) scores of a detector of vectors, higher = more fake.

    Computes in its own type whatever that of the images: float64 as it is made. `.float()` is faster on a GPU
    and a little further from the detector, and far from all examples its kernel and gradient underflow to 0.
    """

    def __init__(self, artifact: Artifact) -> None:
        """Take over the arrays of a detector.

        Args:    artifact: of kind linear or kernel.
        Raises:  ArtifactError: it is of another kind, or its arrays don't fit together.
        """
        super().__init__()
        self.kind: str = artifact.spec["kind"]
        if self.kind not in DECISIONS:
            raise ArtifactError(
                f"{artifact.path}: a {self.kind!r} detector has no gradient; attack it by its scores "
                f"(square), or train one of the kind {' or '.join(DECISIONS)}"
            )
        from_artifact(artifact)  # checks shapes and values
        self.input = vector_input(artifact.spec["preprocessing"])
        for name in ("mean", "scale", *DECISIONS[self.kind]):
            array = torch.from_numpy(np.array(artifact.arrays[name], dtype=np.float64))
            # A single number may be stored with an axis.
            self.register_buffer(name, array.reshape(()) if name in ("gamma", "bias") else array)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] → (B,). Raises ImageError, and TooSmallError as the detector does."""
        mean, scale = self.get_buffer("mean"), self.get_buffer("scale")
        standardised = (self.features(images) - mean) / scale
        if self.kind == "linear":
            return (standardised * self.get_buffer("weights")).sum(dim=1) + self.get_buffer("bias")
        support, dual = self.get_buffer("support"), self.get_buffer("dual")
        # By differences, so that nothing cancels in float32.
        squared = (standardised[:, None] - support).square().sum(dim=2)
        kernel = torch.exp(-self.get_buffer("gamma") * squared)
        return (kernel * dual).sum(dim=1) + self.get_buffer("bias")

    def features(self, images: Tensor) -> Tensor:
        """The mean profile or descriptor of each image's native crops.

        Args:    images: (B, 3, H, W) in [0, 1].
        Returns: (B, K).
        Raises:  ImageError: images have another shape; TooSmallError: they are smaller than one crop.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ImageError(f"expected images of shape (B, 3, H, W), found {tuple(images.shape)}")
        crops = crops_of(images, self.input.crop, self.input.max_crops).to(self.get_buffer("mean").dtype)
        rows = crop_features(crops.flatten(0, 1), self.input)
        return rows.reshape(*crops.shape[:2], rows.shape[1]).mean(dim=1)


def crop_features(crops: Tensor, options: VectorInput) -> Tensor:
    """The profile or descriptor of each crop.

    Args:    crops: (M, 3, S, S) in [0, 1], or whole images of any shape. options: the detector's input.
    Returns: (M, K).
    """
    if isinstance(options, ProfileInput):
        return spectrum.profile(
            255 * spectrum.grey(crops),
            preset=options.preset,
            length=options.length,
            normalise=options.normalise,
            square=options.crop is not None,
        )
    return log_dct(crops).flatten(1) if options.descriptor == "dct2d" else statistics_of(crops)
