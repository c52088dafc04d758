"""A linear SIDA detector in PyTorch: pixels → score, with gradients, for attacks and for tests.

What runs is NumPy (`tellsign.detectors`), which takes descriptors in float32. This is the same arithmetic;
crops and statistics come from the very functions that the detector calls.

Shapes: B batch, C channels, H W pixels, N crops, K = 2304 statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from tellsign.detectors import from_artifact
from tellsign.detectors.preprocessing import DescriptorInput
from tellsign.features.colour import ycbcr
from tellsign.features.dct import block_dct, whole_blocks
from tellsign.features.sida import sida
from tellsign.nn.region import crops_of
from tellsign.types import ArtifactError, ImageError

if TYPE_CHECKING:
    from tellsign.artifacts import Artifact

ARRAYS = ("mean", "scale", "weights", "bias")


class SidaModule(torch.nn.Module):
    """(B, 3, H, W) in [0, 1] → (B,) scores of a SIDA detector, higher = more fake.

    Computes in its own type whatever that of the images: float64 as it is made.
    """

    def __init__(self, artifact: Artifact) -> None:
        """Take over the arrays of a detector.

        Args:    artifact: of kind linear, on descriptors.
        Raises:  ArtifactError: it is of another kind, or its arrays don't fit together.
        """
        super().__init__()
        kind = artifact.spec["kind"]
        if kind != "linear":
            raise ArtifactError(
                f"{artifact.path}: a {kind!r} detector has no gradient; attack it by its scores (square), "
                'or train one with classifier = "logistic_regression"'
            )
        from_artifact(artifact)  # checks shapes and values
        self.input = DescriptorInput.from_spec(artifact.spec["preprocessing"])
        for name in ARRAYS:
            array = torch.from_numpy(np.array(artifact.arrays[name], dtype=np.float64))
            # A single number may be stored with an axis.
            self.register_buffer(name, array.reshape(()) if name == "bias" else array)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [0, 1] → (B,). Raises ImageError, and TooSmallError as the detector does."""
        mean, scale, weights, bias = (self.get_buffer(name) for name in ARRAYS)
        return ((self.descriptors(images) - mean) / scale * weights).sum(dim=1) + bias

    def descriptors(self, images: torch.Tensor) -> torch.Tensor:
        """The mean descriptor of each image's native crops.

        Args:    images: (B, 3, H, W) in [0, 1].
        Returns: (B, K).
        Raises:  ImageError: images have another shape; TooSmallError: they are smaller than one crop.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ImageError(f"expected images of shape (B, 3, H, W), found {tuple(images.shape)}")
        crops = crops_of(images, self.input.crop, self.input.max_crops).to(self.get_buffer("mean").dtype)
        rows = sida(block_dct(ycbcr(whole_blocks(crops.flatten(0, 1)))))
        return rows.reshape(*crops.shape[:2], rows.shape[1]).mean(dim=1)
