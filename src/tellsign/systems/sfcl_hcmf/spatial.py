"""The spatial stream: an EfficientNet of timm, in two halves between which FAAE stands.

Qiao, Tian and Wang, arXiv:2504.17223, section 3.1. The network is timm's own without its classifier, so that
its weights load by timm's names.

Shapes: B batch, S side of a crop in pixels, C channels of the shallow map X_S, H its side; the deep map is S
in the paper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tellsign.nn.backbones import SCRATCH, backbone
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from tellsign.systems.sfcl_hcmf.config import SpatialConfig

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # where timm names no others


class SpatialStream(nn.Module):
    """(B, 3, S, S) in [0, 1] → the deep map; of EfficientNet-B4 at 380 pixels (B, 1792, 12, 12)."""

    def __init__(self, config: SpatialConfig, *, weights: str | None = None) -> None:
        """Build the network.

        Args:    config: which one.
                 weights: to start from; None: what the configuration says.
        Raises:  ConfigError: the backbone or its weights can't be had, or it is no EfficientNet.
        """
        super().__init__()
        self.network = _efficientnet(config, weights or config.weights)
        self.stage = config.stage
        known: Any = self.network.pretrained_cfg
        for name, default in IMAGENET.items():
            values = torch.tensor(known.get(name) or default, dtype=torch.float32)
            self.register_buffer(name, values.reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] → the deep map, nothing fused in between."""
        return self.deep(self.shallow(images))

    def shallow(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] → X_S (B, C, H, H), behind the configured stage."""
        x: Tensor = self.network.blocks[: self.stage](self._stem(images))
        return x

    def deep(self, x_s: Tensor) -> Tensor:
        """(B, C, H, H) → the map that a classifier would pool."""
        x: Tensor = self.network.bn2(self.network.conv_head(self.network.blocks[self.stage :](x_s)))
        return x

    def maps(self, size: int) -> list[tuple[int, int, int]]:
        """Channels, height and width of the map behind each stage, and last of the deep map.

        Args:    size: S.
        Returns: one triple a stage, and one more.
        """
        x = self._stem(torch.zeros(1, 3, size, size, device=self.get_buffer("mean").device))
        found = [x := stage(x) for stage in self.network.blocks]
        found.append(self.network.bn2(self.network.conv_head(x)))
        return [(one.shape[1], one.shape[2], one.shape[3]) for one in found]

    def _stem(self, images: Tensor) -> Tensor:
        standardised = (images - self.get_buffer("mean")) / self.get_buffer("std")
        x: Tensor = self.network.bn1(self.network.conv_stem(standardised))
        return x


def spatial_maps(config: SpatialConfig, size: int) -> list[tuple[int, int, int]]:
    """What `SpatialStream.maps` finds, without weights and without computing anything.

    Args:    config: of the network.
             size: side of the crops.
    Returns: channels, height and width, behind each stage and of the deep map.
    Raises:  ConfigError: the backbone can't be had, or it is no EfficientNet.
    """
    with torch.device("meta"):
        return SpatialStream(config, weights=SCRATCH).eval().maps(size)


def _efficientnet(config: SpatialConfig, weights: str) -> Any:
    """Timm's network without its classifier."""
    from timm.models.efficientnet import EfficientNet

    network = backbone(config.backbone, weights=weights, options=config.options)
    if not isinstance(network, EfficientNet):
        raise ConfigError(
            f"[config.spatial] backbone = {config.backbone!r} is a {type(network).__name__}; expected a "
            "network that timm builds as EfficientNet, such as efficientnet_b4, tinynet_e or "
            "test_efficientnet, because FAAE stands between two of its stages"
        )
    network.reset_classifier(0)
    return network
