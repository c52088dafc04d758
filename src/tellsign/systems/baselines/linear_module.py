"""A linear detector of cosine coefficients in PyTorch: pixels → score, with gradients, for attacks and tests.

What runs is NumPy (`tellsign.detectors`). This is the same arithmetic; crops and coefficients come from the
very functions that the detector calls.

Shapes: B batch, H W pixels, N crops, K = 3 S² coefficients, S side of a crop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from tellsign.detectors import from_artifact
from tellsign.detectors.preprocessing import DescriptorInput
from tellsign.features.dct import log_dct
from tellsign.nn.region import crops_of
from tellsign.types import ImageError

if TYPE_CHECKING:
    from tellsign.artifacts import Artifact

ARRAYS = ("mean", "scale", "weights", "bias")


class LinearModule(torch.nn.Module):
    """(B, 3, H, W) in [0, 1] → (B,) scores, higher = more fake.

    Computes in its own type whatever that of the images: float64 as it is made.
    """

    def __init__(self, artifact: Artifact) -> None:
        """Take over the arrays of a detector.

        Args:    artifact: of kind linear, on cosine coefficients.
        Raises:  ArtifactError: its arrays don't fit together.
        """
        super().__init__()
        from_artifact(artifact)  # checks shapes and values
        self.input = DescriptorInput.from_spec(artifact.spec["preprocessing"])
        for name in ARRAYS:
            array = torch.from_numpy(np.array(artifact.arrays[name], dtype=np.float64))
            # A single number may be stored with an axis.
            self.register_buffer(name, array.reshape(()) if name == "bias" else array)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [0, 1] → (B,). Raises ImageError, and TooSmallError as the detector does."""
        mean, scale, weights, bias = (self.get_buffer(name) for name in ARRAYS)
        return ((self.coefficients(images) - mean) / scale * weights).sum(dim=1) + bias

    def coefficients(self, images: torch.Tensor) -> torch.Tensor:
        """The mean logarithms of each image's native crops.

        Args:    images: (B, 3, H, W) in [0, 1].
        Returns: (B, K).
        Raises:  ImageError: images have another shape; TooSmallError: they are smaller than one crop.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ImageError(f"expected images of shape (B, 3, H, W), found {tuple(images.shape)}")
        crops = crops_of(images, self.input.crop, self.input.max_crops).to(self.get_buffer("mean").dtype)
        return log_dct(crops).flatten(2).mean(dim=1)
