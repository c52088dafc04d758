"""How a network is trained: the options that all networks share."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from tellsign.configuration import check_choice, check_flags, check_whole, is_number, record_of
from tellsign.types import ConfigError

Optimiser = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "cosine", "step"]
Precision = Literal["float32", "bf16"]
Balance = Literal["plain", "weighted", "over", "under", "focal"]
OnBad = Literal["stop", "skip"]
Device = Literal["auto", "cpu", "cuda"]

CHOICES: dict[str, tuple[str, ...]] = {
    "optimiser": get_args(Optimiser),
    "schedule": get_args(Schedule),
    "precision": get_args(Precision),
    "balance": get_args(Balance),
    "on_bad": get_args(OnBad),
    "device": get_args(Device),
}
LEAST = {"epochs": 1, "batch_size": 1, "patience": 0, "workers": 0, "max_bad": 0}  # of whole numbers
# What a run may be resumed with another value of: the weights do not depend on it.
OPERATIONAL = ("workers", "cache", "on_bad", "max_bad", "checkpoint_seconds", "device")
# What is left out of a run's identity while it is off, so that runs from before it was an option go on.
LATER = ("adversarial_eps", "attention_weight", "momentum")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """The table [config.training] of a TOML file."""

    epochs: int = 20  # at most
    batch_size: int = 32  # of one step, over all processes
    learning_rate: float = 1e-4  # the highest, where the schedule changes it
    optimiser: Optimiser = "adam"  # or adamw, whose weight decay is apart from the gradient, or sgd
    momentum: float = 0.9  # of sgd alone
    weight_decay: float = 0.0  # pull of the weights towards zero
    schedule: Schedule = "constant"  # cosine: up for 5 % of the steps, then to 0; step: a tenth from half on
    precision: Precision = "float32"  # bf16: mixed, weights stay in float32
    channels_last: bool = False  # memory layout of images; faster for most convolutional networks
    clip_norm: float = 0.0  # largest norm of the gradient; 0: not clipped
    patience: int = 0  # epochs without a better validation AUROC before it stops; 0: never stops early
    balance: Balance = "plain"  # of the classes: weighted or focal loss, over- or under-sampling
    adversarial_eps: float = 0.0  # largest change of a pixel value in the half that is attacked; 0: off
    attention_weight: float = 0.0  # of the share of Grad-CAM outside the face, added to the loss; 0: off
    workers: int = 2  # processes that read images; 0: the training's own
    cache: bool = False  # keep decoded images on disk, beside the run folder
    on_bad: OnBad = "stop"  # at an image that can't be used, or skip it
    max_bad: int = 0  # images that may be skipped before it stops after all
    checkpoint_seconds: float = 60.0  # between two checkpoints, more where they are slow; 0: after every step
    device: Device = "auto"  # auto: a GPU where there is one

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        for name, least in LEAST.items():
            check_whole(name, getattr(self, name), least)
        check_flags(self, "channels_last", "cache")
        for name in ("learning_rate", "weight_decay", "clip_norm", "attention_weight", "checkpoint_seconds"):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value < math.inf or (name == "learning_rate" and value == 0):
                more = "above 0" if name == "learning_rate" else "of at least 0"
                raise ConfigError(f"{name} is a number {more}, found {value!r}")
        momentum = self.momentum
        if not is_number(momentum) or not 0 <= momentum < 1:
            raise ConfigError(f"momentum is a number of at least 0 and below 1, found {momentum!r}")
        eps = self.adversarial_eps
        if not is_number(eps) or not 0 <= eps <= 1:
            raise ConfigError(f"adversarial_eps is a change of pixels in [0, 1], from 0 to 1, found {eps!r}")
        if self.on_bad == "stop" and self.max_bad:
            raise ConfigError(
                f"max_bad = {self.max_bad} counts images that are skipped, but on_bad is 'stop'; "
                'set on_bad = "skip" or leave max_bad out'
            )

    def decisive(self) -> dict[str, Any]:
        """The options that the weights depend on, as plain values."""
        options = asdict(self) | ({} if self.optimiser == "sgd" else {"momentum": 0.0})
        return {
            name: value
            for name, value in options.items()
            if name not in OPERATIONAL and (value or name not in LATER)
        }


def training_config(options: Any, *, where: str = "[config.training]") -> TrainingConfig:
    """The options of a training from a table.

    Args:    options: as a TOML file gives them, or a configuration already.
             where: they stand, for messages.
    Returns: the configuration, checked.
    Raises:  ConfigError: it is no table, a key is unknown, or a value is not allowed.
    """
    return record_of(options, TrainingConfig, where)
