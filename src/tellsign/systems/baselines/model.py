"""The networks of the baselines: crops → logits of real and fake, every step from the pixels on.

- A plain picture: the residual network of `tellsign.nn.resnet`.
- `FourierNetwork`: Zhang, Karaman and Chang, "Detecting and Simulating Artifacts in GAN Fake Images", WIFS
  2019: a network of timm on the scaled spectrum.
- `CosineNetwork`: Frank et al., "Leveraging Frequency Analysis for Deep Fake Image Recognition", ICML 2020: a
  small network on standardised logarithms of the cosine transform.
- `GramNet`: Liu, Qi and Torr, "Global Texture Enhancement for Fake Face Detection in the Wild", CVPR 2020: a
  ResNet with the Gram matrices of its maps beside its own features.

Shapes: B batch, S side of a crop, C channels of a map, h w its cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tellsign.features.dct import log_dct
from tellsign.nn.autocast import without_autocast
from tellsign.nn.backbones import backbone
from tellsign.nn.resnet import residual_network
from tellsign.nn.spectra import ScaledSpectrum
from tellsign.systems.baselines.config import Dct2dConfig, Fft2dConfig, ImageConfig
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tellsign.systems.baselines.config import GramNetConfig, NetworkConfig
    from tellsign.types import FloatArray

GRAM = 32  # channels whose products a Gram matrix holds, and features that are made of it
HIDDEN = 512  # of GramNet's classifier
STAGES = ("layer1", "layer2", "layer3")  # of the ResNet, behind which Gram matrices are taken


class FourierNetwork(nn.Module):
    """(B, 3, S, S) in [0, 1] → (B, 2): the scaled spectrum, and a network of timm on it."""

    def __init__(self, config: Fft2dConfig) -> None:
        """Build the network, new layers from the current state of PyTorch's random numbers.

        Args:    config: of the system.
        Raises:  ConfigError: the backbone or its weights can't be had.
        """
        super().__init__()
        self.spectrum = ScaledSpectrum(config.size, config.band)
        self.network = backbone(
            config.backbone, weights=config.weights, size=config.size, options=config.options
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] → (B, 2)."""
        logits: Tensor = self.network(self.spectrum(images))
        return logits


class CosineNetwork(nn.Module):
    """(B, 3, S, S) in [0, 1] → (B, 2): four convolutions on standardised logarithms of the cosine transform.

    Implements the small network of Frank et al. (2020). Deviates: two logits in place of one.
    """

    def __init__(self, size: int, channels: Sequence[int]) -> None:
        """Build the network, which leaves the logarithms as they are until it is told to `standardise_with`.

        Args:    size: S, at least 4.
                 channels: of the four convolutions.
        """
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, size, size))
        self.register_buffer("std", torch.ones(3, size, size))
        first, second, third, fourth = channels
        self.layers = nn.Sequential(
            *_convolution(3, first),
            *_convolution(first, second),
            nn.AvgPool2d(2),
            *_convolution(second, third),
            nn.AvgPool2d(2),
            *_convolution(third, fourth),
            nn.Flatten(),
            nn.Linear(fourth * (size // 4) ** 2, 2),
        )

    def standardise_with(self, mean: FloatArray, std: FloatArray) -> None:
        """Take the (3, S, S) statistics of training images in place of those until now."""
        for name, values in (("mean", mean), ("std", std)):
            self.get_buffer(name).copy_(torch.from_numpy(values))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] → (B, 2)."""
        logits: Tensor = self.layers(self.entry(images))
        return logits

    def entry(self, images: Tensor) -> Tensor:
        """What the convolutions see. (B, 3, S, S) in [0, 1] → (B, 3, S, S), standardised."""
        with without_autocast(images.device):
            # In float64, in which a coefficient that is 0 stays below the constant of the logarithm.
            x = (log_dct(images.double()) - self.get_buffer("mean")) / self.get_buffer("std")
        return x.to(self.get_buffer("mean").dtype)


class GramHead(nn.Module):
    """(B, C, h, w) → (B, 32): which channels of a map go together, whatever their places."""

    def __init__(self, channels: int) -> None:
        """Build the layers. Args: channels: C."""
        super().__init__()
        self.entry = nn.Sequential(*_normalised(channels, GRAM))
        self.layers = nn.Sequential(
            *_normalised(1, GRAM // 2, stride=2), *_normalised(GRAM // 2, GRAM, stride=2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) → (B, 32)."""
        found: Tensor = self.layers(gram_matrix(self.entry(x))[:, None])
        return found.mean(dim=(2, 3))


class GramNet(nn.Module):
    """(B, 3, S, S) in [0, 1] → (B, 2): a ResNet and six Gram heads.

    Implements Liu et al. (2020) as the authors' code does; deviations are in the README.
    """

    def __init__(self, config: GramNetConfig) -> None:
        """Build the network, new layers from the current state of PyTorch's random numbers.

        Args:    config: of the system.
        Raises:  ConfigError: the backbone or its weights can't be had, or it is no ResNet.
        """
        super().__init__()
        self.network: Any = _resnet(config)
        stem, *stages = [info["num_chs"] for info in self.network.feature_info]
        # Of the picture, behind the stem's activation, behind its pooling, and behind three stages.
        self.heads = nn.ModuleList(GramHead(channels) for channels in (3, stem, stem, *stages[: len(STAGES)]))
        self.scale = nn.Parameter(torch.ones(1))
        self.classifier = nn.Sequential(
            nn.Linear(self.network.num_features + GRAM * len(self.heads), HIDDEN),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(HIDDEN, 2),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] → (B, 2)."""
        maps, last = self._maps(images)
        textures = [self.scale * head(x) for head, x in zip(self.heads, maps, strict=True)]
        features = torch.cat([self.network.forward_head(last), *textures], dim=1)
        logits: Tensor = self.classifier(features)
        return logits

    def _maps(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """The six maps whose Gram matrices are taken, and the last."""
        net = self.network
        maps = [images, net.act1(net.bn1(net.conv1(images)))]
        maps.append(net.maxpool(maps[-1]))
        for stage in STAGES:
            maps.append(net.get_submodule(stage)(maps[-1]))
        return maps, net.layer4(maps[-1])


def new_network(config: NetworkConfig) -> nn.Module:
    """The network of a configuration before its training.

    Args:    config: of a system.
    Returns: (B, 3, S, S) in [0, 1] → (B, 2) logits; new layers are from the current state of PyTorch's random
             numbers.
    Raises:  ConfigError: it, or the weights that it starts from, can't be had.
    """
    if isinstance(config, ImageConfig):
        return residual_network(widths=config.widths, blocks=config.blocks, stem=config.stem)
    if isinstance(config, Fft2dConfig):
        return FourierNetwork(config)
    if isinstance(config, Dct2dConfig):
        return CosineNetwork(config.size, config.channels)
    return GramNet(config)


def gram_matrix(x: Tensor) -> Tensor:
    """The products of a map's channels, each with each, averaged over its cells and the number of channels.

    Args:    x: (B, C, h, w).
    Returns: (B, C, C).
    """
    rows = x.flatten(2)
    products: Tensor = rows @ rows.mT / (rows.shape[1] * rows.shape[2])
    return products


def _convolution(before: int, after: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, 3, padding=1), nn.ReLU()


def _normalised(before: int, after: int, *, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(after), nn.ReLU()


def _resnet(config: GramNetConfig) -> Any:
    """Timm's network without its classifier."""
    from timm.models.resnet import ResNet

    network = backbone(config.backbone, weights=config.weights, options=config.options)
    if not isinstance(network, ResNet):
        raise ConfigError(
            f"backbone = {config.backbone!r} is a {type(network).__name__}; expected a network that timm "
            "builds as ResNet, such as resnet18, because Gram matrices are taken between its stages"
        )
    network.reset_classifier(0)
    return network
