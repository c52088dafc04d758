"""Options of the baselines that look at crops: plain images, 2-D spectra, Gram matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from tellsign.configuration import check_choice, check_flags, check_whole, is_number
from tellsign.detectors.graph import GraphInput
from tellsign.detectors.preprocessing import DescriptorInput
from tellsign.engine.config import TrainingConfig, training_config
from tellsign.image.network_input import NetworkInput
from tellsign.nn.backbones import PRETRAINED, SCRATCH, check_backbone, check_weights
from tellsign.nn.resnet import BLOCKS, WIDTHS, Stem, check_sizes
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from tellsign.image.network_input import Fit

Band = Literal["all", "low", "middle", "high"]  # of ScaledSpectrum, which needs PyTorch
Classifier = Literal["logistic", "ridge", "cnn"]


@dataclass(frozen=True, slots=True)
class CropConfig:
    """What a network of any of these systems is shown of an image, and how it is trained."""

    size: int = 224  # side of the native crops in pixels
    max_crops: int = 1  # crops of a large image, whose scores are averaged; 1: the centre
    fit: Fit = "crop"  # native crops, or resize: the square in the middle, made as large
    flip: bool = True  # augmentation: mirrored left to right, with probability 0.5
    training: TrainingConfig = field(default_factory=TrainingConfig)  # the table [config.training]

    def __post_init__(self) -> None:
        check_flags(self, "flip")
        object.__setattr__(self, "training", training_config(self.training))
        _ = self.input  # checks the rest

    @property
    def input(self) -> GraphInput:
        """The part that the detector needs to run."""
        return GraphInput(size=self.size, max_crops=self.max_crops, fit=self.fit)

    @property
    def look(self) -> NetworkInput:
        """What the network takes of an image."""
        return self.input.look


@dataclass(frozen=True, slots=True)
class ImageConfig(CropConfig):
    """A residual network on pixels, from scratch. Defaults are those of detection by re-synthesis."""

    widths: Sequence[int] = WIDTHS  # of the 3 × 3 convolutions in the four groups of blocks
    blocks: Sequence[int] = BLOCKS  # in the four groups
    stem: Stem = "deep"  # three convolutions, strides of the re-synthesis paper; plain: torchvision's
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            learning_rate=0.01, optimiser="sgd", weight_decay=1e-4, schedule="step"
        )
    )  # the table [config.training]

    def __post_init__(self) -> None:
        CropConfig.__post_init__(self)
        check_sizes(self.widths, self.blocks, self.stem)
        for name in ("widths", "blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))


@dataclass(frozen=True, slots=True)
class Fft2dConfig(CropConfig):
    """A network on the scaled 2-D Fourier spectrum. Defaults are the published settings."""

    backbone: str = "resnet34"  # timm's name
    options: Mapping[str, Any] = field(default_factory=dict)  # further arguments of timm's constructor
    weights: str = PRETRAINED  # that training starts from; or scratch, or the path of a .safetensors file
    band: Band = "all"  # of the spectrum: all, or low, middle or high alone
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            epochs=10, batch_size=64, learning_rate=1e-3, optimiser="sgd", weight_decay=1e-4
        )
    )  # the table [config.training]

    def __post_init__(self) -> None:
        CropConfig.__post_init__(self)
        check_backbone(self.backbone, self.options)
        check_weights(self.weights)
        check_choice("band", self.band, get_args(Band))


@dataclass(frozen=True, slots=True)
class GramNetConfig(CropConfig):
    """A ResNet and Gram matrices of its maps. Defaults are the published settings."""

    backbone: str = "resnet18"  # timm's name of a ResNet
    options: Mapping[str, Any] = field(default_factory=dict)  # further arguments of timm's constructor
    weights: str = PRETRAINED  # that training starts from; or scratch, or the path of a .safetensors file
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=5, batch_size=14, learning_rate=1e-5, weight_decay=1e-4)
    )  # the table [config.training]

    def __post_init__(self) -> None:
        CropConfig.__post_init__(self)
        check_backbone(self.backbone, self.options)
        check_weights(self.weights)


@dataclass(frozen=True, slots=True)
class Dct2dConfig:
    """A classifier of the 2-D cosine spectrum. Defaults are the published settings."""

    classifier: Classifier = "logistic"  # or ridge, both of flattened coefficients; or cnn, a small network
    l2: float = 0.01  # of logistic and ridge: times the sum of squared weights, beside the mean loss
    size: int = 128  # side of the native crops in pixels
    max_crops: int = 1  # crops of a large image, whose scores are averaged; 1: the centre
    channels: Sequence[int] = (3, 8, 16, 32)  # of the four convolutions of cnn
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=50, learning_rate=1e-3, patience=5)
    )  # of cnn: the table [config.training]

    def __post_init__(self) -> None:
        check_choice("classifier", self.classifier, get_args(Classifier))
        if not is_number(self.l2) or not 0 < self.l2 < math.inf:
            raise ConfigError(f"l2 is a positive number, found {self.l2!r}")
        given: object = self.channels
        if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != 4:
            raise ConfigError(f"channels is a list of four numbers, one a convolution, found {given!r}")
        for channels in given:
            check_whole("each of channels", channels, 1)
        object.__setattr__(self, "channels", tuple(given))
        object.__setattr__(self, "training", training_config(self.training))
        _ = self.input  # checks the rest

    @property
    def is_network(self) -> bool:
        """Whether the classifier is one; the others are arrays."""
        return self.classifier == "cnn"

    @property
    def input(self) -> GraphInput | DescriptorInput:
        """The part that the detector needs to run."""
        if self.is_network:
            return GraphInput(size=self.size, max_crops=self.max_crops)
        return DescriptorInput(crop=self.size, max_crops=self.max_crops, descriptor="dct2d")

    @property
    def look(self) -> NetworkInput:
        """What cnn takes of an image."""
        return NetworkInput(self.size, self.max_crops)


NetworkConfig = ImageConfig | Fft2dConfig | GramNetConfig | Dct2dConfig


def from_scratch(config: NetworkConfig) -> NetworkConfig:
    """The same without weights that training starts from: those of a detector are its own.

    Args:    config: of a system.
    Returns: a copy, or the configuration itself where it names no weights.
    """
    return replace(config, weights=SCRATCH) if isinstance(config, Fft2dConfig | GramNetConfig) else config
