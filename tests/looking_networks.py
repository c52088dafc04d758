"""Networks that look at a known part of an image, and timm's smallest, for tests of what explains them.

Shapes: B batch, S pixels of a square image.
"""

from __future__ import annotations

import timm
import torch

from tellsign.features.wavelet import haar
from tellsign.nn.attention import CamLayer, observed

TINY = ("test_convnext", "test_efficientnet", "test_resnet", "test_vit")


def tiny(name: str, *, seed: int = 0, channels: int = 3, **options: object) -> torch.nn.Module:
    """One of timm's small networks, weights random, none at a start value that hides a mistake."""
    torch.manual_seed(seed)
    network = timm.create_model(name, num_classes=2, in_chans=channels, **options).eval()
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.add_(torch.randn_like(tensor), alpha=0.02)
        heads = network.get_classifier()
        for head in heads if isinstance(heads, tuple) else (heads,):  # DeiT has one for each of its tokens
            head.weight.add_(torch.randn_like(head.weight), alpha=0.3)
    return network


def logits_and_map(
    network: torch.nn.Module, images: torch.Tensor, layer: CamLayer, *, create_graph: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a network says and its Grad-CAM at the output for fake, from one pass."""
    with observed(network, layer, create_graph=create_graph) as seen:
        logits = network(images)
    return logits, seen.maps(create_graph=create_graph)


class Quadrant(torch.nn.Module):
    """Logits from the upper right quadrant alone: fake is its red, real its green, over cells of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.features = torch.nn.AvgPool2d(4)
        self.head = torch.nn.Linear(3, 2, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros_like(images)
        half = images.shape[-1] // 2
        mask[:, :, :half, half:] = 1
        return self.head(self.features(images * mask).mean(dim=(2, 3)))


class Tokens(torch.nn.Module):
    """Patches of 4 pixels as tokens behind `prefix` others; the logit of fake is the patches' mean red."""

    def __init__(self, prefix: int) -> None:
        super().__init__()
        self.prefix, self.norm = prefix, torch.nn.Identity()
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = torch.nn.functional.avg_pool2d(images, 4).flatten(2).transpose(1, 2)
        others = 100 * torch.ones_like(patches[:, : self.prefix])
        tokens = self.norm(torch.cat((others, patches), dim=1))
        return tokens[:, self.prefix :, :2].mean(dim=1).flip(1)


class SubBands(torch.nn.Module):
    """A backbone that sees the four Haar sub-bands in the place of the image."""

    def __init__(self, backbone: torch.nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.backbone(haar(images).flatten(1, 2))
