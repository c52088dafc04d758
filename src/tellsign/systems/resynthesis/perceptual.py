"""The perceptual network: an image as the maps of five stages of a network that was trained before.

Johnson, Alahi and Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016,
with VGG-19 of ImageNet behind its layers relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1; its pixels are not
normalised, as in the code of He et al. (IJCAI 2021). Where these weights can't be had, the stages of a
detector that was trained here take their place: the stem and the four groups of its residual network.

Its weights are never trained and it is always in evaluation mode. No stage is computed behind the last that
is asked for, and none twice.

Shapes: B batch, C channels of a stage, H W pixels, h w of its map.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tellsign.nn.backbones import PRETRAINED, SCRATCH, SUFFIX, backbone
from tellsign.nn.resnet import residual_network
from tellsign.nn.weights import read_tensors
from tellsign.systems.resynthesis.config import N_STAGES
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tellsign.systems.resynthesis.config import PerceptualConfig

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
# VGG-19 up to relu5_1: channels of its convolutions, and where they are pooled.
VGG19 = (64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512)
ENDS = (2, 7, 12, 21, 30)  # of its stages in torchvision's list of layers, exclusive
CHANNELS = (64, 128, 256, 512, 512)  # of the maps
STRIDES = (1, 2, 4, 8, 16)  # pixels of the image along a side of a position


class Vgg19(nn.Module):
    """The first layers of VGG-19, under the names that torchvision and timm give them."""

    channels, strides = CHANNELS, STRIDES

    def __init__(self, n_stages: int = N_STAGES) -> None:
        """Build as many stages, with weights that mean nothing."""
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in VGG19:
            if isinstance(width, str):
                layers.append(nn.MaxPool2d(kernel_size=2))
            else:
                layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
                channels = width
        self.features = nn.Sequential(*layers[: ENDS[n_stages - 1]])

    @property
    def n_stages(self) -> int:
        """How many were built."""
        return ENDS.index(len(self.features)) + 1

    def forward(self, images: Tensor, last: int) -> list[Tensor]:
        """(B, 3, H, W) → the maps of the stages up to the last, the first one first."""
        maps: list[Tensor] = []
        x = images
        for number, layer in enumerate(self.features, 1):
            if len(maps) == last:
                break
            x = layer(x)
            if number in ENDS:
                maps.append(x)
        return maps

    def margin(self, stage: int) -> int | None:
        """How far a position of a stage sees beyond its own pixels, to either side."""
        return _margin(self.features[: ENDS[stage - 1]])


class DetectorStages(nn.Module):
    """The stem and the groups of a residual network of `tellsign.nn.resnet`, as five stages."""

    def __init__(self, architecture: Mapping[str, Any], n_stages: int = N_STAGES) -> None:
        """Build as many stages, with weights that mean nothing.

        Args:    architecture: widths, blocks and stem, as `residual_network` takes them.
                 n_stages: how many.
        """
        super().__init__()
        whole: Any = residual_network(3, **architecture)
        groups = [whole.layer1, whole.layer2, whole.layer3, whole.layer4][: n_stages - 1]
        self.conv1, self.bn1, self.act1, self.maxpool = whole.conv1, whole.bn1, whole.act1, whole.maxpool
        for number, group in enumerate(groups, 1):
            self.add_module(f"layer{number}", group)
        self.n_stages = n_stages
        with torch.no_grad():
            shapes = [tuple(one.shape) for one in self.eval()(torch.zeros(1, 3, 64, 64), n_stages)]
        self.channels = tuple(shape[1] for shape in shapes)
        self.strides = tuple(64 // shape[2] for shape in shapes)

    def forward(self, images: Tensor, last: int) -> list[Tensor]:
        """(B, 3, H, W) → the maps of the stages up to the last, the first one first."""
        maps = [self.act1(self.bn1(self.conv1(images)))]
        for number in range(1, last):
            x = self.maxpool(maps[-1]) if number == 1 else maps[-1]
            maps.append(self.get_submodule(f"layer{number}")(x))
        return maps

    def margin(self, stage: int) -> int | None:  # noqa: ARG002 - as of the other network
        """None: nobody counts how far it sees, and large images are looked at as a whole."""
        return None


class Perceptual(nn.Module):
    """(B, 3, H, W) in [0, 1] → maps of stages; frozen."""

    def __init__(self, stages: Vgg19 | DetectorStages, *, normalise: bool = False) -> None:
        """Freeze a network.

        Args:    stages: with its weights.
                 normalise: whether its pixels are less ImageNet's mean, over its deviation.
        """
        super().__init__()
        self.stages = stages.requires_grad_(False).eval()
        self.normalise = normalise
        for name, numbers in IMAGENET.items():
            self.register_buffer(name, torch.tensor(numbers).view(1, 3, 1, 1), persistent=False)

    @property
    def channels(self) -> Sequence[int]:
        """C of each stage."""
        return self.stages.channels

    @property
    def strides(self) -> Sequence[int]:
        """Pixels of the image along a side of a position of each stage."""
        return self.stages.strides

    @property
    def n_stages(self) -> int:
        """How many were built."""
        return self.stages.n_stages

    def margin(self, stage: int) -> int | None:
        """Pixels that a position of a stage sees beyond its own, to either side; None: nobody knows."""
        return self.stages.margin(stage)

    def train(self, mode: bool = True) -> Perceptual:  # noqa: ARG002 - it is never trained
        """Stays in evaluation mode, so that no statistics of it move."""
        return super().train(False)

    def forward(self, images: Tensor, last: int | None = None) -> list[Tensor]:
        """The maps of stages.

        Args:    images: (B, 3, H, W) in [0, 1].
                 last: stage that is needed; None: the last one that was built.
        Returns: (B, C, h, w) of each stage up to it.
        """
        if self.normalise:
            images = (images - self.get_buffer("mean")) / self.get_buffer("std")
        found: list[Tensor] = self.stages(images, last or self.n_stages)
        return found


def perceptual_network(config: PerceptualConfig, n_stages: int, *, weights: str | None = None) -> Perceptual:
    """The perceptual network of a configuration.

    Args:    config: which, with the architecture filled in where it is a detector's (`with_architecture`).
             n_stages: how many of its stages are needed, from the first on.
             weights: in place of the configuration's; "scratch" means nothing, to load others into.
    Returns: the network.
    Raises:  ConfigError: its weights can't be had, are damaged, or for another architecture.
    """
    weights = weights or config.weights
    stages: Vgg19 | DetectorStages
    if config.network == "vgg19":
        stages = Vgg19(n_stages)
        given, where = _vgg19_state(weights), weights
    else:
        stages = DetectorStages(config.architecture, n_stages)
        given, where = _detector_state(config, weights), config.detector
    if weights != SCRATCH:
        _take(stages, given, where)
    return Perceptual(stages, normalise=config.normalise)


def with_architecture(config: PerceptualConfig) -> PerceptualConfig:
    """A configuration that says how the network of its detector is built, so that it can be built without it.

    Args:    config: as a user gives it.
    Returns: the same, where no detector is named.
    Raises:  ConfigError: as for `detector_network`.
    """
    if config.network != "detector" or config.architecture:
        return config
    return replace(config, architecture=detector_network(Path(config.detector))[0])


def _vgg19_state(weights: str) -> dict[str, Tensor]:
    if weights == SCRATCH:
        return {}
    if weights == PRETRAINED:
        try:
            # With all classes of its training, so that no last layer is made anew.
            state: dict[str, Tensor] = backbone("vgg19", classes=1000, weights=PRETRAINED).state_dict()
        except ConfigError as error:
            raise ConfigError(
                "the perceptual network needs weights of VGG-19, and they cannot be had: "
                f"{str(error).partition(', and give its path')[0]}, and say [config.perceptual] weights = "
                f"PATH (a {SUFFIX} file with the names of timm or torchvision); or name a detector that was "
                'trained here: network = "detector" and detector = FOLDER'
            ) from error
        return state
    return read_tensors(Path(weights))


def _detector_state(config: PerceptualConfig, weights: str) -> dict[str, Tensor]:
    if weights == SCRATCH:
        return {}
    return detector_network(Path(config.detector))[1]


def detector_network(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The residual network of a detector that was trained here.

    Args:    folder: of the detector, whose network is one of `tellsign.nn.resnet` and sees pixels.
    Returns: its architecture, and its state.
    Raises:  ConfigError: there is no detector, or it holds no such network.
    """
    from tellsign import artifacts
    from tellsign.engine.export import network_state
    from tellsign.types import ArtifactError

    try:
        artifact = artifacts.load(folder)
        state = network_state(artifact)
    except ArtifactError as error:
        raise ConfigError(f"[config.perceptual] detector: no detector in {str(folder)!a}: {error}") from error
    first = state.get("conv1.0.weight", state.get("conv1.weight"))
    if first is None or first.shape[1] != 3 or not {"layer4.0.conv3.weight", "fc.weight"} <= state.keys():
        raise ConfigError(
            f"[config.perceptual] detector = {str(folder)!a} is {artifact.spec.get('system')!r}: its network "
            "is no residual network that sees the pixels themselves; name a detector of plain images (system "
            '= "image")'
        )
    return architecture_of(state), state


def architecture_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Widths, blocks and stem of a residual network, from the shapes of its weights."""
    groups = range(1, 5)
    return {
        "widths": tuple(int(state[f"layer{group}.0.conv2.weight"].shape[0]) for group in groups),
        "blocks": tuple(
            len({name.split(".")[1] for name in state if name.startswith(f"layer{group}.")})
            for group in groups
        ),
        "stem": "deep" if "conv1.0.weight" in state else "plain",
    }


def _take(stages: nn.Module, given: Mapping[str, Tensor], where: str) -> None:
    """Load the weights of the stages that are needed from those of a whole network."""
    own = stages.state_dict()
    # Counters, which nothing is computed from, are left out by some files.
    needed = [name for name in own if not name.endswith("num_batches_tracked")]
    if lacking := [name for name in needed if name not in given]:
        raise ConfigError(
            f"{where} are no weights of the perceptual network: {len(lacking)} of {len(needed)} arrays are "
            f"missing, e.g. {lacking[0]!r}; names are those of timm and torchvision"
        )
    for name in needed:
        if given[name].shape != own[name].shape:
            raise ConfigError(
                f"{where}: {name!r} has the shape {tuple(given[name].shape)}, expected "
                f"{tuple(own[name].shape)}: these are weights of another network"
            )
        if not torch.isfinite(given[name]).all():
            raise ConfigError(f"{where}: {name!r} holds what is no finite number; get the file again")
    stages.load_state_dict({name: given[name].float() for name in needed}, strict=False)


def _margin(layers: Iterable[nn.Module]) -> int:
    """Pixels beyond its own that a position behind some layers depends on, to either side."""
    first, last, stride = 0, 0, 1  # from which position to which one at the end depends on, and its own side
    for layer in reversed(list(layers)):
        if isinstance(layer, nn.Conv2d):
            first, last = first - 1, last + 1
        elif isinstance(layer, nn.MaxPool2d):
            first, last, stride = 2 * first, 2 * last + 1, 2 * stride
    return max(-first, last - (stride - 1))
