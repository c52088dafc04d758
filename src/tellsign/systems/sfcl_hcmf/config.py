"""Options of SFCL-HCMF."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from tellsign.configuration import check_choice, check_flags, check_whole, is_number, record_of
from tellsign.detectors.graph import GraphInput
from tellsign.engine.config import TrainingConfig, training_config
from tellsign.features.dct import SIDE
from tellsign.nn.backbones import PRETRAINED, SCRATCH, check_backbone, check_weights, weights_identity
from tellsign.types import ConfigError

LEAST_SIZE = 32  # side of a crop that leaves the deepest map of the spatial stream one position
MIDDLE = 8  # middle blocks of Xception

Fusion = Literal["hcmf", "faae", "hcma", "concat", "spatial"]

CHOICES: dict[str, tuple[str, ...]] = {
    "region": ("face", "image"),
    "fit": ("resize", "crop"),
    "fusion": get_args(Fusion),
    "scaling": ("zscore", "none", "layer"),
    "preset": ("paper", "stable"),
    "coefficients": ("zscore", "none"),
    "tokens": ("map", "vector"),
}

# What [config.training] starts from: the published settings, and a gentler rate for pretrained networks.
PRESETS = {
    "paper": TrainingConfig(epochs=20, batch_size=20, learning_rate=1e-3, weight_decay=1e-8),
    "stable": TrainingConfig(
        epochs=20, batch_size=20, learning_rate=1e-4, weight_decay=1e-8, schedule="cosine"
    ),
}


def _check_choices(config: Any, *names: str) -> None:
    for name in names:
        check_choice(name, getattr(config, name), CHOICES[name])


@dataclass(frozen=True, slots=True)
class SpatialConfig:
    """The network that sees the pixels: the table [config.spatial]."""

    backbone: str = "efficientnet_b4"  # timm's name of an EfficientNet, or of one of its relatives
    weights: str = PRETRAINED  # that training starts from; or scratch, or the path of a .safetensors file
    options: Mapping[str, Any] = field(default_factory=dict)  # further arguments of timm's constructor
    stage: int = 3  # stages in front of FAAE, the first being 1; its map must have the grid of the blocks

    def __post_init__(self) -> None:
        check_backbone(self.backbone, self.options)
        check_weights(self.weights)
        check_whole("stage", self.stage, 1)


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """The networks that see the block DCT, SBCM and CNN-F: the table [config.local]."""

    coefficients: Literal["zscore", "none"] = "zscore"  # each less its mean, over its deviation; or as it is
    repeats: int = 1  # layers of each kernel size of SBCM
    width: float = 1.0  # of CNN-F: its channels as a multiple of Xception's
    middle: int = MIDDLE  # of CNN-F: its middle blocks, of which Xception has 8
    weights: str = PRETRAINED  # of CNN-F: Xception's; or scratch, or the path of a .safetensors file

    def __post_init__(self) -> None:
        _check_choices(self, "coefficients")
        check_whole("repeats", self.repeats, 1)
        if not is_number(self.width) or not 0 < self.width <= 2:
            raise ConfigError(f"width is a number above 0 and up to 2, found {self.width!r}")
        check_whole("middle", self.middle, 0, MIDDLE)
        check_weights(self.weights)
        if self.weights != SCRATCH and (self.width != 1 or self.middle != MIDDLE):
            raise ConfigError(
                f"weights = {self.weights!r} are those of Xception, and CNN-F with width = "
                f"{self.width:g} and middle = {self.middle} is a smaller network; say weights = {SCRATCH!r}"
            )


@dataclass(frozen=True, slots=True)
class HcmaConfig:
    """The attention of the deep fusion: the table [config.hcma]."""

    tokens: Literal["map", "vector"] = "map"  # each position of the deep maps, or their mean as printed
    d: int = 1024  # length of a token
    heads: int = 8  # that the length is divided among

    def __post_init__(self) -> None:
        _check_choices(self, "tokens")
        check_whole("d", self.d, 1)
        check_whole("heads", self.heads, 1)
        if self.d % self.heads:
            raise ConfigError(f"d is a multiple of heads, found d = {self.d} and heads = {self.heads}")


@dataclass(frozen=True, slots=True)
class SfclHcmfConfig:
    """The three streams, how they are fused, how they are trained. Defaults are the published ones."""

    region: Literal["face", "image"] = "face"  # what is looked at
    size: int = 380  # side in pixels of what the spatial and the local stream see
    fit: Literal["resize", "crop"] = "resize"  # how it gets that side; crop: native pixels in its middle
    flip: bool = True  # augmentation: mirrored left to right, with probability 0.5
    sbcm: bool = True  # false: the coefficients go straight into CNN-F
    sida: bool = True  # false: no global stream, and no gate
    # Without HCMA there is nothing to gate: the streams and the descriptor stand side by side.
    fusion: Fusion = "hcmf"  # both; faae or hcma: one of them; concat: neither; spatial: that stream alone
    scaling: Literal["zscore", "none", "layer"] = "zscore"  # of the 2304 statistics of SIDA
    spatial: SpatialConfig = field(default_factory=SpatialConfig)  # the table [config.spatial]
    local: LocalConfig = field(default_factory=LocalConfig)  # the table [config.local]
    hcma: HcmaConfig = field(default_factory=HcmaConfig)  # the table [config.hcma]
    preset: Literal["paper", "stable"] = "paper"  # what [config.training] starts from
    training: TrainingConfig = field(default_factory=lambda: PRESETS["paper"])  # [config.training]

    def __post_init__(self) -> None:
        _check_choices(self, "region", "fit", "fusion", "scaling", "preset")
        check_whole("size", self.size, LEAST_SIZE)
        _ = self.input  # checks the size and the region
        check_flags(self, "flip", "sbcm", "sida")
        if self.fusion == "spatial" and (self.sbcm or self.sida):
            raise ConfigError(
                'fusion = "spatial" is the spatial stream alone; say sbcm = false and sida = false with it, '
                'or take fusion = "concat"'
            )
        for name, record in (("spatial", SpatialConfig), ("local", LocalConfig), ("hcma", HcmaConfig)):
            object.__setattr__(self, name, record_of(getattr(self, name), record, f"[config.{name}]"))
        object.__setattr__(self, "training", _training(self.training, self.preset))

    @property
    def descriptor(self) -> Literal["none", "sida"]:
        """The statistics that the network takes beside the pixels."""
        return "sida" if self.sida else "none"

    @property
    def input(self) -> GraphInput:
        """The part that the detector needs to run."""
        return GraphInput(region=self.region, size=self.size, fit=self.fit, descriptor=self.descriptor)

    def decisive(self) -> dict[str, Any]:
        """The options that the weights depend on, as plain values."""
        found = asdict(self) | {"training": self.training.decisive()}
        del found["preset"]  # what it stands for is in the training
        for name in ("spatial", "local"):
            found[name]["weights"] = weights_identity(found[name]["weights"])
        idle = {"local": not self.has_local, "hcma": not self.has_hcma, "scaling": not self.sida}
        return {name: value for name, value in found.items() if not idle.get(name)}

    @property
    def has_local(self) -> bool:
        """Whether there is a local stream."""
        return self.fusion != "spatial"

    @property
    def has_faae(self) -> bool:
        """Whether the shallow maps are fused."""
        return self.fusion in {"hcmf", "faae"}

    @property
    def has_hcma(self) -> bool:
        """Whether the deep maps are fused by attention."""
        return self.fusion in {"hcmf", "hcma"}

    @property
    def grid(self) -> int:
        """Blocks along a side of the padded crop."""
        return math.ceil(self.size / SIDE)

    def from_scratch(self) -> SfclHcmfConfig:
        """The same network with weights that mean nothing, to load a detector's into."""
        return replace(
            self,
            spatial=replace(self.spatial, weights=SCRATCH),
            local=replace(self.local, weights=SCRATCH),
        )


def _training(given: object, preset: str) -> TrainingConfig:
    """The options of a table on top of a preset. A preset itself was not chosen, and gives way to another."""
    if isinstance(given, Mapping):
        return training_config({**asdict(PRESETS[preset]), **given})
    if any(given is one for one in PRESETS.values()):
        return PRESETS[preset]
    return training_config(given)
