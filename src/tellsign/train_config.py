"""What is trained: one TOML file, read and checked before anything is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tellsign.calibration import CalibrationConfig
from tellsign.configuration import config_of, only_known, toml_tree
from tellsign.types import ConfigError


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One TOML file: which system, with which options, chosen from which grid."""

    system: str  # what is trained; see `tellsign.hub`
    name: str  # of the detector
    summary: str = ""  # of training data and limits, in a sentence or two; shown beside the evidence
    seed: int = 0  # of everything random
    config: Mapping[str, Any] = field(default_factory=dict)  # of the system
    grid: Mapping[str, list[Any]] = field(default_factory=dict)  # option → values to choose from
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)  # see below

    def __post_init__(self) -> None:
        for key in ("system", "name"):
            value = getattr(self, key)
            if not isinstance(value, str) or not value or not value.isprintable():
                raise ConfigError(f"{key} is a name, found {value!r}")
        if not isinstance(self.summary, str):
            raise ConfigError(f"summary is a text, found {self.summary!r}")
        # scikit-learn takes no larger seed.
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed is a whole number from 0 to 2**32 - 1, found {self.seed!r}")
        for key in ("config", "grid"):
            if not isinstance(getattr(self, key), Mapping):
                raise ConfigError(f"[{key}] is a table of options, found {getattr(self, key)!r}")
        for name, values in self.grid.items():
            if not isinstance(values, list) or not values:
                raise ConfigError(f"[grid] {name} is a list of values to choose from, found {values!r}")


def read_config(path: Path, overrides: Iterable[str] = ()) -> TrainConfig:
    """A configuration from TOML with `key=value` overrides.

    Args:    path: of the TOML file.
             overrides: e.g. `seed=1` or `config.crop=256`; values are TOML.
    Returns: the configuration, checked.
    Raises:  ConfigError: the file can't be read, a key is unknown, or a value is not allowed.
    """
    return config_from(toml_tree(path, overrides), where=str(path))


def config_from(options: Mapping[str, Any], *, where: str) -> TrainConfig:
    """A configuration from a tree of options.

    Args:    options: as a TOML file gives them.
             where: they stand, for messages.
    Returns: the configuration, checked.
    Raises:  ConfigError: a key is unknown or missing, or a value is not allowed.
    """
    only_known(options, TrainConfig, where)
    for key in ("system", "name"):
        if key not in options:
            raise ConfigError(f"{where} lacks {key!r}")
    calibration = options.get("calibration", {})
    if not isinstance(calibration, Mapping):
        raise ConfigError(f"{where}: [calibration] is a table of options, found {calibration!r}")
    calibration = config_of(CalibrationConfig, calibration, f"{where} [calibration]")
    return TrainConfig(**{**options, "calibration": calibration})
