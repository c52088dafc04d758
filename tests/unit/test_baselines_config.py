"""The baselines' options: what is refused, and that the shipped configurations are ones."""

from __future__ import annotations

import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

from tellsign import hub
from tellsign.systems.baselines.config import (
    Dct2dConfig,
    Fft2dConfig,
    GramNetConfig,
    ImageConfig,
    from_scratch,
)
from tellsign.types import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
NAMES = ("image", "fft2d", "dct2d", "gramnet")
RECORDS = (ImageConfig, Fft2dConfig, GramNetConfig, Dct2dConfig)


@pytest.mark.parametrize("record", RECORDS)
def test_a_configuration_survives_being_stored(record):
    config = record()
    again = record(**asdict(config))
    assert again == config
    assert again.training == config.training
    assert config.input.domain.crop == min(config.size, 128)


@pytest.mark.parametrize(
    ("record", "options", "message"),
    [
        (ImageConfig, {"stem": "shallow"}, "stem is one of deep, plain, found 'shallow'"),
        (ImageConfig, {"widths": [8, 8, 8]}, "widths is a list of four numbers"),
        (ImageConfig, {"size": 8}, "size is a whole number of at least 16, found 8"),
        (ImageConfig, {"max_crops": 0}, "max_crops is a whole number of at least 1"),
        (ImageConfig, {"flip": 1}, "flip is true or false, found 1"),
        (ImageConfig, {"fit": "stretch"}, "fit is crop or resize, found 'stretch'"),
        (ImageConfig, {"training": {"epoch": 3}}, "unknown key 'epoch'"),
        (Fft2dConfig, {"band": "mid"}, "band is one of all, low, middle, high, found 'mid'"),
        (Fft2dConfig, {"weights": "w.pth"}, "safetensors"),
        (Fft2dConfig, {"backbone": ""}, "backbone is a name of timm"),
        (GramNetConfig, {"options": [1]}, "options is a table of arguments of timm"),
        (Dct2dConfig, {"classifier": "svm"}, "classifier is one of logistic, ridge, cnn, found 'svm'"),
        (Dct2dConfig, {"l2": 0}, "l2 is a positive number, found 0"),
        (Dct2dConfig, {"l2": float("nan")}, "l2 is a positive number"),
        (Dct2dConfig, {"channels": (3, 8, 16)}, "channels is a list of four numbers"),
        (Dct2dConfig, {"channels": (3, 8, 16, 0)}, "each of channels is a whole number of at least 1"),
        (Dct2dConfig, {"classifier": "cnn", "size": 15}, "size is a whole number of at least 16"),
        (Dct2dConfig, {"size": 15}, "crop must be a whole number of at least 16"),
    ],
)
def test_what_is_no_option_is_refused(record, options, message):
    with pytest.raises(ConfigError, match=message):
        record(**options)


def test_a_detectors_own_weights_need_no_others():
    for record in (Fft2dConfig, GramNetConfig):
        assert from_scratch(record()).weights == "scratch"
        assert asdict(from_scratch(record())) == asdict(record()) | {"weights": "scratch"}
    assert from_scratch(ImageConfig()) == ImageConfig()
    assert from_scratch(Dct2dConfig()) == Dct2dConfig()


@pytest.mark.parametrize("size", ["", "-small"])
@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_configuration_is_one(name, size):
    pytest.importorskip("torch")
    tree = tomllib.loads((CONFIGS / f"{name}{size}.toml").read_text(encoding="utf-8"))
    assert tree["system"] == name
    record = hub.system(name).config_class
    config = record(**tree["config"])
    for option, values in tree.get("grid", {}).items():
        for value in values:
            record(**tree["config"] | {option: value})
    if size:
        assert config.size == 128
        assert config.max_crops == 1
    elif name != "dct2d":
        assert config == record(), "the defaults are the published settings"


@pytest.mark.parametrize("name", NAMES)
def test_a_small_network_has_less_than_two_million_parameters(name):
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    from tellsign.systems.baselines.model import new_network

    tree = tomllib.loads((CONFIGS / f"{name}-small.toml").read_text(encoding="utf-8"))
    config = hub.system(name).config_class(**tree["config"])
    with torch.device("meta"):
        network = new_network(config)
        assert network.eval()(torch.zeros(1, 3, config.size, config.size)).shape == (1, 2)
    assert 50_000 < sum(parameter.numel() for parameter in network.parameters()) < 2_000_000
