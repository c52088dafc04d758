"""A network in PyTorch, from the pixels of a picture or a face on: for gradients, attacks and studies.

What runs is `tellsign.image.network_input`, on arrays. This is the same arithmetic on tensors.

Shapes: B batch, N crops of an image, H W pixels, S side of a crop, D numbers of a descriptor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from tellsign.features.colour import ycbcr
from tellsign.features.dct import block_dct, whole_blocks
from tellsign.features.sida import sida
from tellsign.image import crop_corners
from tellsign.image.network_input import SMALLEST
from tellsign.types import FAKE, REAL, ImageError, TooSmallError

if TYPE_CHECKING:
    from tellsign.image.network_input import NetworkInput


class RegionScore(nn.Module):
    """(B, 3, H, W) in [0, 1] → (B,) score, looking at an image as the detector does."""

    def __init__(self, network: nn.Module, look: NetworkInput) -> None:
        """Put crops and statistics in front of a network.

        Args:    network: crops (M, 3, S, S), and statistics (M, D) where the look has some → logits (M, 2),
                 or {"score": (M,)}.
                 look: how the detector looks at an image; a face was cut out before.
        """
        super().__init__()
        self.network = network
        self.look = look

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] → (B,). Raises ImageError, and TooSmallError as the detector does."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ImageError(f"expected images of shape (B, 3, H, W), found {tuple(images.shape)}")
        S = self.look.size
        crops = _resized(images, S) if self.look.fit == "resize" else crops_of(images, S, self.look.max_crops)
        beside = [] if self.look.descriptor == "none" else [statistics_of(images)]
        n_crops = crops.shape[1]
        more = (one.repeat_interleave(n_crops, dim=0) for one in beside)
        found = self.network(crops.flatten(0, 1), *more)
        scores: Tensor = found["score"] if isinstance(found, dict) else found[:, FAKE] - found[:, REAL]
        return scores.reshape(len(images), n_crops).mean(dim=1)


def crops_of(images: Tensor, size: int | None, max_crops: int) -> Tensor:
    """The native crops of images, as detectors of arrays take them.

    Args:    images: (B, 3, H, W).
             size: S; None: the whole, of any shape.
             max_crops: of a large image.
    Returns: (B, N, 3, S, S), or (B, 1, 3, H, W).
    Raises:  TooSmallError: the images are smaller than a crop, or than the 16 pixels of the least whole.
    """
    height, width = images.shape[-2:]
    least = size or SMALLEST
    if min(height, width) < least:
        raise TooSmallError(
            f"images of {width} × {height} pixels, smaller than the {least} × {least} that are looked at"
        )
    if size is None:
        return images[:, None]
    corners = crop_corners(height, width, size, max_crops)
    return torch.stack([images[:, :, top : top + size, left : left + size] for top, left in corners], dim=1)


def _resized(images: Tensor, size: int) -> Tensor:
    """(B, 3, H, W) → (B, 1, 3, S, S), as `network_input.resized` does it."""
    height, width = images.shape[-2:]
    side = min(height, width)
    if side < SMALLEST:
        raise TooSmallError(
            f"images of {width} × {height} pixels, which are resized from {SMALLEST} × {SMALLEST} on"
        )
    top, left = (height - side) // 2, (width - side) // 2
    square = images[:, :, top : top + side, left : left + side]
    found = functional.interpolate(
        square, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )
    return found[:, None].clamp(0, 1)


def statistics_of(images: Tensor) -> Tensor:
    """The statistics of SIDA: (B, 3, H, W) in [0, 1] → (B, D)."""
    return sida(block_dct(ycbcr(whole_blocks(images))))
