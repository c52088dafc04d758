"""What is trained, and how: the TOML files of `tellsign generators train`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tellsign.configuration import check_whole, is_number, only_known, toml_tree
from tellsign.engine.config import TrainingConfig
from tellsign.generators.autoencoder import AutoEncoderConfig
from tellsign.generators.gan import GanConfig
from tellsign.generators.losses import ADVERSARIAL, Gan
from tellsign.image.network_input import Fit
from tellsign.types import ConfigError

if TYPE_CHECKING:
    Network = GanConfig | AutoEncoderConfig | None

Kind = Literal["gan", "autoencoder", "tune"]

NETWORKS: dict[str, Any] = {"gan": GanConfig, "autoencoder": AutoEncoderConfig}
# Of the papers for GANs; of auto-encoders they say nothing, nor of tuning.
TRAINING: dict[str, dict[str, Any]] = {
    "gan": {"epochs": 25, "batch_size": 64, "learning_rate": 2e-4},
    "autoencoder": {"epochs": 20, "batch_size": 64, "learning_rate": 1e-3},
    "tune": {"epochs": 5, "batch_size": 16, "learning_rate": 1e-4},
}
KEEP = 10.0  # of tuning
WGAN_EPOCHS = 2  # times as many: five of six turns are the discriminator's
BETAS = {"gan": (0.5, 0.999), "autoencoder": (0.9, 0.999), "tune": (0.5, 0.999)}  # of Adam
# Options of networks that are told apart, which nothing here looks at.
IDLE = ("optimiser", "patience", "balance", "adversarial_eps", "attention_weight")
# What the weights do not depend on, beside what the training says itself.
WITHOUT_EFFECT = ("name", "summary", "samples")


@dataclass(frozen=True, slots=True)
class GeneratorConfig:
    """One TOML file: what kind of network, on which images, against which spectrum."""

    kind: Kind  # gan, autoencoder; or tune, for a generator that there is
    name: str  # of the generator
    summary: str = ""  # of training data and limits, in a sentence or two, for the card
    seed: int = 0  # of everything random
    loss: Gan = "dcgan"  # of a GAN, or of the spectral discriminator: dcgan, lsgan, wgan-gp or dragan
    spectral: float = 0.0  # λ, the weight of the spectral loss; 0: off
    spectral_layers: int = 0  # of a spectral discriminator, 1 or 2; 0: there is none
    keep: float = KEEP  # tune: weight of the squared difference to the generator's own images
    beta1: float | None = None  # of Adam, 0.5; of auto-encoders 0.9
    beta2: float | None = None  # of Adam, 0.999
    fit: Fit = "crop"  # native crops somewhere; or the square in the middle, resized
    flip: bool = True  # left and right exchanged in half of all cases
    reals: int = 1000  # real images whose mean profile is the one that is wanted
    samples: int = 256  # images that are measured after each epoch
    network: Network = None  # the table [network]; see below
    training: TrainingConfig = field(default_factory=TrainingConfig)  # the table [training]

    def __post_init__(self) -> None:
        for name, choices in (("kind", Kind), ("loss", Gan), ("fit", Fit)):
            if getattr(self, name) not in get_args(choices):
                found = getattr(self, name)
                raise ConfigError(f"{name} is one of {', '.join(get_args(choices))}, found {found!r}")
        if not isinstance(self.name, str) or not self.name.isprintable() or not self.name:
            raise ConfigError(f"name is a name, found {self.name!r}")
        if not isinstance(self.summary, str):
            raise ConfigError(f"summary is a text, found {self.summary!r}")
        if not isinstance(self.flip, bool):
            raise ConfigError(f"flip is true or false, found {self.flip!r}")
        check_whole("seed", self.seed, 0, 2**32 - 1)
        check_whole("spectral_layers", self.spectral_layers, 0, 2)
        check_whole("reals", self.reals, 1)
        check_whole("samples", self.samples, 2)
        for name in ("spectral", "keep"):
            _check_number(name, getattr(self, name), math.inf)
        for name, default in zip(("beta1", "beta2"), BETAS[self.kind], strict=True):
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
            _check_number(name, getattr(self, name), 1)
        self._check_kind()
        self._check_training()

    def _check_kind(self) -> None:
        wanted = NETWORKS.get(self.kind)
        if self.network is None and wanted is not None:
            object.__setattr__(self, "network", wanted())
        if (wanted is None and self.network is not None) or (wanted and not isinstance(self.network, wanted)):
            name = wanted.__name__ if wanted else "that of the generator that is tuned"
            raise ConfigError(f"[network] of the kind {self.kind} is {name}, found {self.network!r}")
        if self.kind != "tune" and self.keep != KEEP:
            raise ConfigError(
                f"keep has no effect on the kind {self.kind}: leave it out, found {self.keep!r}"
            )
        adversarial = self.kind == "gan" or self.spectral_layers > 0
        if not adversarial and self.loss != "dcgan":
            raise ConfigError(
                f"loss is that of a discriminator, and there is none: leave loss = {self.loss!r} out"
            )
        if self.kind == "autoencoder" and self.spectral_layers:
            raise ConfigError(
                "an auto-encoder has no discriminator: leave spectral_layers out, and set spectral"
            )
        if self.kind == "tune" and ADVERSARIAL[self.loss].penalty != "none":
            raise ConfigError(f"a generator is tuned with loss dcgan or lsgan, found {self.loss!r}")
        if self.kind == "tune" and not self.spectral and not self.spectral_layers:
            raise ConfigError("nothing is tuned: set spectral (λ of the loss), spectral_layers, or both")

    def _check_training(self) -> None:
        default = TrainingConfig()
        for name in IDLE:
            if getattr(self.training, name) != getattr(default, name):
                raise ConfigError(f"[training] {name} has no effect on a generator: leave it out")

    def decisive(self) -> dict[str, Any]:
        """The options that the weights depend on, as plain values."""
        content = {name: value for name, value in self.plain().items() if name not in WITHOUT_EFFECT}
        return {**content, "training": self.training.decisive()}

    def plain(self) -> dict[str, Any]:
        """All options, as plain values."""
        return {
            one.name: asdict(value)
            if hasattr(value := getattr(self, one.name), "__dataclass_fields__")
            else value
            for one in fields(self)
        }


def read_config(path: Path, overrides: Iterable[str] = ()) -> GeneratorConfig:
    """A configuration from TOML with `key=value` overrides.

    Args:    path: of the TOML file.
             overrides: e.g. `seed=1` or `network.size=128`; values are TOML.
    Returns: the configuration, checked.
    Raises:  ConfigError: the file can't be read, a key is unknown, or a value is not allowed.
    """
    return config_from(toml_tree(path, overrides), where=str(path))


def config_from(options: Mapping[str, Any], *, where: str) -> GeneratorConfig:
    """A configuration from a tree of options.

    Args:    options: as a TOML file gives them. where: they stand, for messages.
    Returns: the configuration, checked; what is not given is as the papers have it.
    Raises:  ConfigError: a key is unknown or missing, or a value is not allowed.
    """
    only_known(options, GeneratorConfig, where)
    for key in ("kind", "name"):
        if key not in options:
            raise ConfigError(f"{where} lacks {key!r}")
    kind = options["kind"]
    if kind not in TRAINING:
        raise ConfigError(f"{where}: kind is one of {', '.join(TRAINING)}, found {kind!r}")
    given, training = dict(options), dict(TRAINING[kind])
    if given.get("loss") == "wgan-gp":
        training["epochs"] *= WGAN_EPOCHS
    for name, record, defaults in (
        ("network", NETWORKS.get(kind), {}),
        ("training", TrainingConfig, training),
    ):
        table = given.get(name, {})
        if not isinstance(table, Mapping):
            raise ConfigError(f"{where}: [{name}] is a table of options, found {table!r}")
        if record is None:
            if table:
                raise ConfigError(f"{where}: [network] is that of the generator that is tuned: leave it out")
            given.pop(name, None)
            continue
        only_known(table, record, f"{where} [{name}]")
        given[name] = record(**{**defaults, **table})
    return GeneratorConfig(**given)


def _check_number(name: str, value: object, most: float) -> None:
    """Raises ConfigError unless a value is a number from 0 to below `most`."""
    if not is_number(value) or not 0 <= value < most:
        limit = "0 or more" if most == math.inf else f"from 0 to below {most:g}"
        raise ConfigError(f"{name} is a number {limit}, found {value!r}")
