"""What CAE-Net's tables say of themselves: schedule, weights, machine, how the configuration was chosen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cae_net_tiny import write_config
from tellsign.evaluate.reproduce import Inputs
from tellsign.systems.cae_net.config import CaeNetConfig

pytest.importorskip("torch")
pytest.importorskip("timm")
from tellsign.evaluate.cae_net import notes, study


def test_only_transformers_from_scratch_are_said_to_starve(tmp_path):
    config = study.configuration(write_config(tmp_path))
    (sentence,) = notes.starved(config, 900)
    assert "with 900 images a transformer learns little: what deit reached here says nothing" in sentence
    without = {name: branch for name, branch in config.branches.items() if name != "deit"}
    assert notes.starved(replace(config, branches=without), 900) == ()
    full = CaeNetConfig()
    assert notes.starved(full, 900) == (), "pretrained"
    own = {**full.branches, "deit": replace(full.branches["deit"], weights="scratch")}
    assert len(notes.starved(replace(full, branches=own), 900)) == 1, "whatever the first branch starts from"


def test_schedules_in_words():
    full = CaeNetConfig()
    assert notes.scheduled(full) == (
        "strategy multistage, reals repeat, epochs in each of 5 stages: 5 of efficientnet, 5 of deit, 4 of "
        "convnext"
    )
    alike = {name: replace(branch, stage_epochs=4) for name, branch in full.branches.items()}
    assert notes.scheduled(replace(full, branches=alike)).endswith("5 stages: 4")
    plain = replace(full, strategy="plain", training=replace(full.training, epochs=7))
    assert notes.scheduled(plain) == "strategy plain, 7 epochs"
    own = {**plain.branches, "convnext": replace(plain.branches["convnext"], epochs=5)}
    assert notes.scheduled(replace(plain, branches=own)) == (
        "strategy plain, epochs: 7 of efficientnet, 7 of deit, 5 of convnext"
    )


def test_weights_in_words():
    full = CaeNetConfig()
    assert notes.started(full) == "pretrained"
    own = {**full.branches, "deit": replace(full.branches["deit"], weights="scratch")}
    expected = "pretrained (efficientnet), scratch (deit), pretrained (convnext)"
    assert notes.started(replace(full, branches=own)) == expected


def test_the_configuration_that_is_shown_is_the_one_given_or_the_small_one(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text("# Chosen on fold 3.\n")
    assert (
        notes.chosen(Inputs(config=file)) == "The configuration, own.toml, says of itself: Chosen on fold 3."
    )
    head = study.SMALL.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    assert f"configs/cae-net-small.toml, says of itself: {head}" in notes.chosen(Inputs())
