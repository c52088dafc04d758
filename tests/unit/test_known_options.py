"""The word none in a file of options: no value where a field may be without one, else what it says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Optional

import numpy as np
import pytest

from tellsign import train as training
from tellsign.configuration import check_whole, known_options
from tellsign.evaluate.benchmark.config import read
from tellsign.systems.spectrum.config import SpectrumConfig
from tellsign.train_config import read_config
from tellsign.types import ConfigError

TOML = """
system = "spectrum"
name = "toy"
[config]
crop = "none"
length = 64
normalise = "none"
[calibration]
conformal = "none"
"""


@dataclass(frozen=True)
class Record:
    """Fields that may be without a value, in each way to say so, and such that may not."""

    a: int | None = 1
    b: Optional[int] = 1  # noqa: UP045 - as someone else's record may say it
    c: Literal["none", "first"] = "first"
    d: str = "x"


def test_none_is_no_value_where_there_may_be_none() -> None:
    given = {"a": "none", "b": "none", "c": "none", "d": "none"}
    assert known_options(given, Record, "") == {"a": None, "b": None, "c": "none", "d": "none"}
    assert known_options({"a": 3, "d": "None"}, Record, "") == {"a": 3, "d": "None"}
    assert given["a"] == "none"
    with pytest.raises(ConfigError, match=r"here: unknown key 'e'; there are a, b, c, d"):
        known_options({"e": "none"}, Record, "here")


@pytest.mark.parametrize("value", [0, 11, 2.0, "3", None, True, float("nan")])
def test_what_is_no_whole_number_of_the_range(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^n is a whole number from 1 to 10, found "):
        check_whole("n", value, 1, 10)


def test_whole_numbers() -> None:
    for value in (1, 10, np.int64(5)):
        check_whole("n", value, 1, 10)
    check_whole("n", 10**30, 1)
    with pytest.raises(ConfigError, match=r"^n is a whole number of at least 1, found 0"):
        check_whole("n", 0, 1)


def test_an_option_that_is_no_value_is_refused_though_the_grid_has_others(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('system = "spectrum"\nname = "toy"\n[config]\nc = -1.0\n')
    for overrides in ([], ["grid.c=[1.0, 2.0]"]):
        with pytest.raises(ConfigError, match="c must be a positive number"):
            list(training._candidates(SpectrumConfig, read_config(path, overrides)))


def test_a_training_file_may_say_none(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(TOML)
    config = read_config(path)
    assert config.calibration.conformal is None
    (options,) = training._candidates(SpectrumConfig, config)
    assert (options.crop, options.length, options.normalise) == (None, 64, "none")


def test_the_command_line_and_a_grid_may_say_none(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('system = "spectrum"\nname = "toy"\n')
    config = read_config(path, ["config.crop=none", "config.length=64", "calibration.conformal=none"])
    (options,) = training._candidates(SpectrumConfig, config)
    assert (options.crop, config.calibration.conformal) == (None, None)
    config = read_config(path, ["config.length=64", 'grid.crop=[128, "none"]'])
    assert [options.crop for options in training._candidates(SpectrumConfig, config)] == [128, None]


def test_a_benchmark_may_say_none(tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    path.write_text(
        'name = "b"\ntests = ["t", "u"]\nlimit = "none"\nattack_limit = "none"\n'
        '[harmonise]\nsize = 64\nresize = "none"\n[[detector]]\nname = "d"\npath = "spectrum"\n'
        'train = "none"\n[data.t]\nmanifest = "t.csv"\n[data.u]\nmanifest = "u.csv"\nharmonise = "none"\n'
    )
    config = read(path, ["missing=exclude"])
    assert (config.limit, config.attack_limit, config.detector[0].train) == (None, None, None)
    assert config.harmonise is not None
    assert config.harmonise.resize is None
    assert config.data["t"].harmonise == config.harmonise
    assert config.data["u"].harmonise is None
    assert config.perturbations == ("none",)
    assert read(path, ["limit=3", "harmonise=none"]).harmonise is None
