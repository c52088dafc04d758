"""The options of a training: what is allowed, and what the weights depend on."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields

import pytest

from tellsign.engine.config import TrainingConfig, training_config
from tellsign.types import ConfigError


@pytest.mark.parametrize("field", fields(TrainingConfig), ids=lambda field: field.name)
def test_every_option_is_checked(field):
    for value in ("no such value", None, [1], math.nan):
        with pytest.raises(ConfigError, match=field.name):
            TrainingConfig(**{field.name: value})
    with pytest.raises((FrozenInstanceError, AttributeError)):
        setattr(TrainingConfig(), field.name, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1}, {"epochs": 0}, {"epochs": 2.0}, {"epochs": True}, {"batch_size": 0},
        {"learning_rate": 0}, {"learning_rate": -1e-4}, {"learning_rate": math.inf}, {"weight_decay": -1},
        {"clip_norm": math.inf}, {"patience": -1}, {"workers": -1}, {"cache": 1}, {"channels_last": "yes"},
        {"checkpoint_seconds": -1}, {"optimiser": "lion"}, {"precision": "float16"}, {"max_bad": 3},
        {"momentum": 1.0}, {"momentum": -0.1}, {"momentum": True},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_refused(wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} .*found|max_bad = 3"):
        TrainingConfig(**wrong)


def test_a_table_becomes_a_configuration():
    config = training_config({"epochs": 3, "precision": "bf16"})
    assert config == TrainingConfig(epochs=3, precision="bf16")
    assert training_config(config) is config
    with pytest.raises(
        ConfigError, match=r"\[config\.training\]: unknown key 'epoch'; there are epochs, batch"
    ):
        training_config({"epoch": 3})
    with pytest.raises(ConfigError, match="is a table of options, found 3"):
        training_config(3)


def test_what_the_weights_depend_on():
    changed = TrainingConfig(
        workers=0, cache=True, on_bad="skip", max_bad=3, checkpoint_seconds=1, device="cpu"
    )
    assert changed.decisive() == TrainingConfig().decisive()
    assert TrainingConfig(precision="bf16").decisive() != TrainingConfig().decisive()


def test_momentum_is_of_sgd_alone():
    """So that a run from before it was an option, and one that does not use it, go on."""
    assert TrainingConfig(momentum=0.5).decisive() == TrainingConfig().decisive()
    assert "momentum" not in TrainingConfig().decisive()
    sgd = TrainingConfig(optimiser="sgd").decisive()
    assert sgd["momentum"] == 0.9
    assert TrainingConfig(optimiser="sgd", momentum=0.5).decisive() != sgd
