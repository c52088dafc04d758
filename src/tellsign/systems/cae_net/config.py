"""Options of CAE-Net."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, cast, get_args

from tellsign.configuration import (
    check_choice,
    check_flags,
    check_whole,
    is_number,
    numbers,
    only_known,
    record_of,
)
from tellsign.detectors.graph import GraphInput
from tellsign.engine.config import Balance, TrainingConfig, training_config
from tellsign.nn.backbones import PRETRAINED, check_backbone, check_weights, weights_identity
from tellsign.types import ConfigError

MULTISTAGE = "multistage"
INPUTS = ("rgb", "dwt", "fft", "dct")
# What a torch.nn.ModuleDict takes as a name, and reads well in a table's header.
BRANCH_NAME = re.compile("[a-z][a-z0-9_-]*")

CHOICES: dict[str, tuple[str, ...]] = {
    "dwt": ("dwt_resize", "native"),
    "subsets": ("random", "generator"),
    "reals": ("repeat", "disjoint"),
    "strategy": (MULTISTAGE, *get_args(Balance)),
    "fusion": ("weights", "vote", "fit"),
}


@dataclass(frozen=True, slots=True)
class BranchConfig:
    """One network of the ensemble: the table [config.branches.NAME]."""

    backbone: str  # timm's name
    input: Literal["rgb", "dwt", "fft", "dct"] = "rgb"  # pixels, Haar sub-bands, or a log spectrum
    weights: str = ""  # as for the system; empty: the system's own
    options: Mapping[str, Any] = field(default_factory=dict)  # further arguments of timm's constructor
    stage_epochs: int = 5  # of every stage, where there are stages
    epochs: int = 0  # where there are no stages; 0: as many as [config.training] says
    flip: bool = False  # augmentation: mirrored left to right, with probability 0.5
    rotation: float = 0.0  # augmentation: by up to so many degrees, which interpolates; 0 never does
    jitter: float = 0.0  # augmentation: brightness, contrast, saturation times 1 - j to 1 + j

    def __post_init__(self) -> None:
        check_backbone(self.backbone, self.options)
        check_choice("input", self.input, INPUTS)
        if self.weights != "":
            check_weights(self.weights)
        check_whole("stage_epochs", self.stage_epochs, 1)
        check_whole("epochs", self.epochs, 0)
        check_flags(self, "flip")
        for name, most in (("rotation", 180.0), ("jitter", 1.0)):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value <= most:
                raise ConfigError(f"{name} is a number from 0 to {most:g}, found {value!r}")


# The published networks and their stages; the augmentation is published for DeiT alone.
BRANCHES = {
    "efficientnet": BranchConfig("efficientnet_b0", "rgb", stage_epochs=5),
    "deit": BranchConfig(
        "deit_base_patch16_224", "rgb", stage_epochs=5, flip=True, rotation=10.0, jitter=0.2
    ),
    "convnext": BranchConfig("convnext_tiny", "dwt", stage_epochs=4),
}


@dataclass(frozen=True, slots=True)
class CaeNetConfig:
    """The networks, how they are trained, how their scores become one. Defaults are the published ones."""

    branches: Mapping[str, BranchConfig] = field(default_factory=lambda: dict(BRANCHES))  # in this order
    region: Literal["image", "face"] = "image"  # what is looked at
    size: int = 224  # side of the native crops in pixels
    max_crops: int = 1  # crops of a large image, whose scores are averaged; 1: the centre
    dwt: Literal["dwt_resize", "native"] = "dwt_resize"  # sub-bands enlarged to `size`, or as they are
    weights: str = PRETRAINED  # that training starts from; or scratch, or the path of a .safetensors file
    strategy: str = MULTISTAGE  # or a balance of the classes, as in [config.training]
    stages: int = 5  # of multistage: disjoint subsets of the fakes
    subsets: Literal["random", "generator"] = "random"  # of multistage: how the fakes are parted
    reals: Literal["repeat", "disjoint"] = "repeat"  # of multistage: all reals in every stage, or parted too
    fusion: Literal["weights", "vote", "fit"] = "weights"  # mean probability, majority, or fitted weights
    fusion_weights: Sequence[float] = (0.35, 0.34, 0.31)  # of the branches in their order; not used by vote
    training: TrainingConfig = field(default_factory=TrainingConfig)  # the table [config.training]

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        check_whole("stages", self.stages, 1)
        _ = self.input  # checks region, size and max_crops
        check_weights(self.weights)
        object.__setattr__(self, "branches", _branches(self.branches))
        object.__setattr__(self, "training", training_config(self.training))
        object.__setattr__(self, "fusion_weights", _fusion_weights(self))
        if self.fusion == "vote" and len(self.branches) % 2 == 0:
            raise ConfigError(
                f"a vote of {len(self.branches)} branches can end in a draw; take an odd number of branches, "
                'or fusion = "weights"'
            )
        if self.training.balance != "plain":
            raise ConfigError(
                f"[config.training] balance = {self.training.balance!r}: of this system say it as strategy = "
                f"{self.training.balance!r}, which takes the place of the stages"
            )
        if self.strategy == MULTISTAGE and self.training.epochs != TrainingConfig().epochs:
            raise ConfigError(
                f"[config.training] epochs = {self.training.epochs}: with strategy = {MULTISTAGE!r} the "
                "epochs of a stage are each branch's own; say them as stage_epochs in [config.branches.NAME]"
            )
        if self.strategy == MULTISTAGE and any(branch.epochs for branch in self.branches.values()):
            raise ConfigError(
                "[config.branches.NAME] epochs are those of a training without stages; with strategy = "
                f"{MULTISTAGE!r} say stage_epochs"
            )
        spectra = [name for name, branch in self.branches.items() if branch.input in {"fft", "dct"}]
        if self.training.attention_weight and spectra:
            raise ConfigError(
                f"[config.training] attention_weight = {self.training.attention_weight:g} needs maps that "
                f"lie over the picture, and those of {', '.join(spectra)} lie over a spectrum; set it to 0, "
                "or leave these branches out"
            )
        if self.training.attention_weight and self.region == "face":
            raise ConfigError(
                f"[config.training] attention_weight = {self.training.attention_weight:g} draws attention to "
                'the face of a whole picture, and region = "face" shows nothing else; set it to 0'
            )

    @property
    def input(self) -> GraphInput:
        """The part that the detector needs to run."""
        return GraphInput(region=self.region, size=self.size, max_crops=self.max_crops)

    def branch_weights(self, name: str) -> str:
        """What the training of a branch starts from: its own weights, or the system's."""
        return self.branches[name].weights or self.weights

    def stage_training(self, name: str) -> TrainingConfig:
        """The options of one training of a branch: of a stage, or of all where there are no stages."""
        if self.strategy == MULTISTAGE:
            return replace(self.training, epochs=self.branches[name].stage_epochs)
        epochs = self.branches[name].epochs or self.training.epochs
        return replace(self.training, epochs=epochs, balance=cast("Balance", self.strategy))

    def decisive(self) -> dict[str, Any]:
        """The options that the detector depends on, as plain values.

        Returns: branches in their order, with what their weights hold and not where they lie; no option that
                 the others leave without effect.
        Raises:  ConfigError: a file of weights can't be read.
        """
        is_staged = self.strategy == MULTISTAGE
        epochs = {name: self.stage_training(name).epochs for name in self.branches}
        # Told once where all branches have the same, as they all had before a branch could have its own.
        is_shared = not is_staged and len({*epochs.values()}) == 1
        left_out = {"epochs"} if is_staged else {"stage_epochs", *(("epochs",) if is_shared else ())}
        branches = []
        for name, branch in self.branches.items():
            own = asdict(branch) | {"weights": weights_identity(self.branch_weights(name))}
            branches.append({"name": name, **_without(own | {"epochs": epochs[name]}, left_out)})
        training = _without(self.training.decisive(), ("epochs",))
        training |= {"epochs": next(iter(epochs.values()))} if is_shared else {}
        idle = {"weights", *(() if is_staged else ("stages", "subsets", "reals"))}
        if self.fusion == "fit":
            idle.add("fusion_weights")
        if "dwt" not in {branch.input for branch in self.branches.values()}:
            idle.add("dwt")
        return {**_without(asdict(self), idle), "branches": branches, "training": training}


def _without(options: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}


def _branches(given: object) -> dict[str, BranchConfig]:
    if not isinstance(given, Mapping) or not given:
        raise ConfigError(f"[config.branches] holds a table for each branch, found {given!r}")
    found = {}
    for name, branch in given.items():
        if not isinstance(name, str) or not BRANCH_NAME.fullmatch(name):
            raise ConfigError(f"a branch is named with small letters, digits, - and _, found {name!r}")
        where = f"[config.branches.{name}]"
        if isinstance(branch, Mapping):
            only_known(branch, BranchConfig, where)
            if "backbone" not in branch:
                raise ConfigError(f"{where} lacks 'backbone', a name of timm")
        found[name] = record_of(branch, BranchConfig, where)
    return found


def _fusion_weights(config: CaeNetConfig) -> tuple[float, ...]:
    weights = numbers("fusion_weights", config.fusion_weights)
    # The published ones stand there by default, and mean nothing for other branches.
    if config.fusion != "weights" and len(weights) != len(config.branches):
        return (1 / len(config.branches),) * len(config.branches)
    if len(weights) != len(config.branches) or abs(sum(weights) - 1) > 1e-6:
        raise ConfigError(
            f"fusion_weights are one a branch ({', '.join(config.branches)}) and add up to 1, found "
            f"{list(weights)}"
        )
    return weights
