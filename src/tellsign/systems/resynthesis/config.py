"""Options of detection by re-synthesis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from tellsign.configuration import check_choice, check_flags, check_whole, is_number, numbers, record_of
from tellsign.detectors.graph import GraphInput
from tellsign.engine.config import TrainingConfig, training_config
from tellsign.features.residual import FILTERS
from tellsign.nn.backbones import PRETRAINED, SCRATCH, check_weights, weights_identity
from tellsign.nn.resnet import BLOCKS, WIDTHS, Stem, check_sizes
from tellsign.types import ConfigError

N_STAGES = 5  # of the perceptual network; stage 0 are the pixels
MULTIPLE = 16  # pixels along a side that crops are cut to: a position of the fifth stage of VGG-19
LEAST_SIZE = 32  # side of a crop in pixels
LEAST_PATCH = 32  # of the first phase: PSNR and SSIM are taken of it
LOSS_WEIGHTS = (1.0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)  # of pixels and stages
PIXEL = "pixel"  # the part of stage 0; others are called stage1 to stage5

Downsampling = Literal["avgpool", "bicubic"]
Degradation = Literal["none", "colour", "noise"]
Fusion = Literal["weights", "logits", "fit"]

# The first phase halves its rate three times in 750 epochs as published; here it falls along a cosine.
PUBLISHED_RECONSTRUCTION = TrainingConfig(epochs=750, batch_size=12, learning_rate=1e-4, schedule="cosine")
PUBLISHED_TRAINING = TrainingConfig(
    epochs=20, batch_size=10, learning_rate=1e-2, optimiser="sgd", weight_decay=1e-4, schedule="step"
)

CHOICES: dict[str, tuple[str, ...]] = {
    "downsampling": FILTERS,
    "degradation": get_args(Degradation),
    "fusion": get_args(Fusion),
    "network": ("vgg19", "detector", "none"),
}


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The re-synthesiser: the table [config.network]. Defaults are the published ones."""

    features: int = 64  # channels between blocks
    growth: int = 64  # channels that each layer of a block adds
    blocks: int = 16  # one after the other, all of them fused at the end
    layers: int = 8  # of a block
    weights: str = SCRATCH  # of a re-synthesiser that is trained already: a .safetensors file; no first phase

    def __post_init__(self) -> None:
        for name in ("features", "growth", "blocks", "layers"):
            check_whole(name, getattr(self, name), 1)
        check_weights(self.weights)
        if self.weights == PRETRAINED:
            raise ConfigError(
                f"[config.network] weights is {SCRATCH!r} or the path of a .safetensors file, found "
                f"{self.weights!r}: there is no re-synthesiser to download"
            )


@dataclass(frozen=True, slots=True)
class PerceptualConfig:
    """The network whose stages are compared: the table [config.perceptual]."""

    network: Literal["vgg19", "detector", "none"] = "vgg19"  # none: pixels alone
    weights: str = PRETRAINED  # of VGG-19: by name, or the path of a .safetensors file with timm's names
    detector: str = ""  # folder of a detector that was trained here, whose residual network is taken
    architecture: Mapping[str, Any] = field(default_factory=dict)  # of that network; read from the folder
    normalise: bool = False  # its pixels less ImageNet's mean, over its deviation

    def __post_init__(self) -> None:
        _check_choices(self, "network")
        check_weights(self.weights)
        check_flags(self, "normalise")
        if not isinstance(self.detector, str) or not self.detector.isprintable():
            raise ConfigError(f"detector is the path of a folder, found {self.detector!r}")
        if (self.network == "detector") != bool(self.detector):
            raise ConfigError(
                f'[config.perceptual] network = "detector" and detector = FOLDER are said together, found '
                f"{self.network!r} and {self.detector!r}"
            )
        if not isinstance(self.architecture, Mapping):
            raise ConfigError(f"architecture is a table of widths, blocks, stem, found {self.architecture!r}")
        if self.architecture:
            if self.network != "detector":
                raise ConfigError('architecture is for network = "detector" alone, and read from its folder')
            check_architecture(self.architecture)


@dataclass(frozen=True, slots=True)
class ClassifierConfig:
    """The residual network that classifies residuals, one a stage: the table [config.classifier]."""

    widths: Sequence[int] = WIDTHS  # of its four groups; ResNet-50 unless said otherwise
    blocks: Sequence[int] = BLOCKS  # in the groups
    stem: Stem = "deep"  # three convolutions, as in the published code; or plain: one of 7 × 7

    def __post_init__(self) -> None:
        check_sizes(self.widths, self.blocks, self.stem)
        for name in ("widths", "blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))


@dataclass(frozen=True, slots=True)
class ReconstructionConfig:
    """The first phase, which trains the re-synthesiser on reals: the table [config.reconstruction]."""

    patch: int = 96  # side in pixels of the crops that it is trained on
    loss_weights: Sequence[float] = LOSS_WEIGHTS  # of the pixels and the five stages; 0: not computed
    views: int = 1  # crops of each image in an epoch, each of another place
    turns: bool = True  # augmentation: upside down, and turned by 90 degrees, with probability 0.5 each
    training: TrainingConfig = field(
        default_factory=lambda: PUBLISHED_RECONSTRUCTION
    )  # the table [config.reconstruction.training]

    def __post_init__(self) -> None:
        check_whole("patch", self.patch, LEAST_PATCH)
        if self.patch % MULTIPLE:
            raise ConfigError(f"patch is a multiple of {MULTIPLE} pixels, found {self.patch}")
        weights = numbers("loss_weights", self.loss_weights)
        if len(weights) != 1 + N_STAGES or weights[0] == 0:
            raise ConfigError(
                f"loss_weights are {1 + N_STAGES}: of the pixels, above 0, and of the {N_STAGES} stages; "
                f"found {list(weights)}"
            )
        object.__setattr__(self, "loss_weights", weights)
        check_whole("views", self.views, 1)
        check_flags(self, "turns")
        own = _training(self.training, PUBLISHED_RECONSTRUCTION, "[config.reconstruction.training]")
        object.__setattr__(self, "training", own)


@dataclass(frozen=True, slots=True)
class JointConfig:
    """The third phase, which trains re-synthesiser and classifiers together: the table [config.joint]."""

    epochs: int = 0  # 0: there is no third phase
    frozen: bool = False  # the re-synthesiser stays as it is, as in the published code
    resynthesiser_rate: float = 1e-5  # its learning rate, by Adam
    classifier_rate: float = 1e-3  # by SGD with momentum 0.9; a tenth from half of the epochs on
    reconstruction_weight: float = 1.0  # of the loss of the first phase, on the reals of a batch

    def __post_init__(self) -> None:
        check_whole("epochs", self.epochs, 0)
        check_flags(self, "frozen")
        for name in ("resynthesiser_rate", "classifier_rate", "reconstruction_weight"):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value < math.inf or (value == 0 and name.endswith("rate")):
                least = "above 0" if name.endswith("rate") else "of at least 0"
                raise ConfigError(f"{name} is a number {least}, found {value!r}")


@dataclass(frozen=True, slots=True)
class ResynthesisConfig:
    """The networks, how they are trained, how the stages' scores become one. Defaults are published."""

    region: Literal["image", "face"] = "image"  # what is looked at
    size: int = 1024  # side of the native crops in pixels
    max_crops: int = 1  # crops of a large image, whose scores are averaged; 1: the centre
    downsampling: Downsampling = "avgpool"  # mean of 4 × 4 pixels, or Pillow's bicubic
    degradation: Degradation = "none"  # of the small images in training: SR, SR+C (colour) or SR+D (noise)
    stages: Sequence[int] = (0, 5)  # whose residuals are classified; 0: pixels
    fusion: Fusion = "weights"  # mean of probabilities, or of log-odds, or probabilities by fitted weights
    fusion_weights: Sequence[float] = ()  # of the stages in their order; empty: all the same
    network: NetworkConfig = field(default_factory=NetworkConfig)  # the table [config.network]
    perceptual: PerceptualConfig = field(default_factory=PerceptualConfig)  # [config.perceptual]
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)  # [config.classifier]
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)  # phase 1
    flip: bool = True  # augmentation of all phases: mirrored left to right, with probability 0.5
    training: TrainingConfig = field(
        default_factory=lambda: PUBLISHED_TRAINING
    )  # phase 2, of the classifiers: [config.training]
    cached: bool = False  # phase 2 keeps each crop's residual on disk; of images as large as a crop
    joint: JointConfig = field(default_factory=JointConfig)  # phase 3: [config.joint]

    def __post_init__(self) -> None:
        _check_choices(self, "downsampling", "degradation", "fusion")
        check_whole("size", self.size, LEAST_SIZE)
        _ = self.input  # checks region, size and max_crops
        check_flags(self, "flip", "cached")
        for name, record in TABLES.items():
            object.__setattr__(self, name, record_of(getattr(self, name), record, f"[config.{name}]"))
        object.__setattr__(
            self, "training", _training(self.training, PUBLISHED_TRAINING, "[config.training]")
        )
        object.__setattr__(self, "stages", _stages(self.stages))
        object.__setattr__(self, "fusion_weights", _fusion_weights(self))
        if self.stages[-1] and self.perceptual.network == "none":
            raise ConfigError(
                f"stages = {list(self.stages)} need a perceptual network, and [config.perceptual] network is "
                '"none"; name one, or say stages = [0], the residual of pixels alone'
            )

    @property
    def input(self) -> GraphInput:
        """The part that the detector needs to run."""
        return GraphInput(region=self.region, size=self.size, max_crops=self.max_crops)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the stages that are classified."""
        return tuple(part_name(stage) for stage in self.stages)

    @property
    def loss_weights(self) -> tuple[float, ...]:
        """Of the pixels and of the stages that there are."""
        weights = tuple(self.reconstruction.loss_weights)
        return weights if self.perceptual.network != "none" else weights[:1]

    @property
    def loss_stages(self) -> int:
        """How many stages the loss of the first phase needs, from the first on."""
        return max((stage for stage, weight in enumerate(self.loss_weights) if weight), default=0)

    @property
    def joint_training(self) -> TrainingConfig:
        """The options of the third phase: those of the second, at its own rates."""
        own = self.joint
        return replace(
            self.training,
            epochs=max(1, own.epochs),
            learning_rate=own.classifier_rate,
            optimiser="sgd",
            momentum=0.9,
            schedule="step",
        )

    def perceptual_identity(self) -> str:
        """Which perceptual network it is, in a text that says what its weights hold and not where they lie.

        Raises: ConfigError: a file or folder can't be read.
        """
        own = self.perceptual
        if own.network == "none":
            return "none"
        more = ", ImageNet's normalisation" if own.normalise else ""
        if own.network == "vgg19":
            return f"VGG-19, {weights_identity(own.weights)}{more}"
        from tellsign import artifacts
        from tellsign.types import ArtifactError

        try:
            return f"{artifacts.load(Path(own.detector)).name}{more}"
        except ArtifactError as error:
            raise ConfigError(f"[config.perceptual] detector: {error}") from error


TABLES: dict[str, type[Any]] = {
    "network": NetworkConfig,
    "perceptual": PerceptualConfig,
    "classifier": ClassifierConfig,
    "reconstruction": ReconstructionConfig,
    "joint": JointConfig,
}


def part_name(stage: int) -> str:
    """The name of a stage: pixel, stage1, …, stage5."""
    return f"stage{stage}" if stage else PIXEL


def check_architecture(given: Mapping[str, Any]) -> None:
    """Raises ConfigError for what is no widths, blocks and stem of a residual network."""
    known = {"widths", "blocks", "stem"}
    if set(given) != known:
        raise ConfigError(
            f"architecture holds {', '.join(sorted(known))}, found {', '.join(map(str, given))}"
        )
    check_sizes(given["widths"], given["blocks"], given["stem"])


def _check_choices(config: Any, *names: str) -> None:
    for name in names:
        check_choice(name, getattr(config, name), CHOICES[name])


def _training(given: object, published: TrainingConfig, where: str) -> TrainingConfig:
    """The options of a table on top of the published ones."""
    if isinstance(given, Mapping):
        return training_config({**asdict(published), **given}, where=where)
    return training_config(given, where=where)


def _stages(given: object) -> tuple[int, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise ConfigError(f"stages is a list of numbers from 0 (pixels) to {N_STAGES}, found {given!r}")
    for stage in given:
        if isinstance(stage, bool) or stage not in range(N_STAGES + 1):
            raise ConfigError(
                f"there is no stage {stage!r}: 0 stands for the pixels, 1 to {N_STAGES} for the stages of "
                "the perceptual network"
            )
    found = tuple(int(stage) for stage in given)
    if list(found) != sorted(set(found)):
        raise ConfigError(f"stages are named once each and in their order, found {list(found)}")
    return found


def _fusion_weights(config: ResynthesisConfig) -> tuple[float, ...]:
    weights = numbers("fusion_weights", config.fusion_weights)
    n = len(config.stages)
    if not weights:
        return (1 / n,) * n
    if len(weights) != n or abs(sum(weights) - 1) > 1e-6:
        raise ConfigError(
            f"fusion_weights are one a stage ({', '.join(config.parts)}) and add up to 1, found "
            f"{list(weights)}"
        )
    return weights
