"""What CAE-Net's tables say of themselves: schedule, weights, machine, how the configuration was chosen."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from cae_net_tiny import write_config
from tellsign.evaluate.reproduce import Inputs, Row
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


def test_the_machine_is_what_the_run_folders_say(tmp_path):
    at = {"device": "x86_64", "threads": 2, "processes": 1}
    for name, versions in (("deit", at), ("convnext", at), ("damaged", None)):
        (tmp_path / name / "training").mkdir(parents=True)
        (tmp_path / name / "training" / "run.json").write_text(json.dumps({"versions": versions}))
    cells = [SimpleNamespace(run=tmp_path)]
    assert notes.machines(cells) == "x86_64 with 2 threads"
    other = {**at, "device": "a card", "processes": 4}
    (tmp_path / "deit" / "training" / "run.json").write_text(json.dumps({"versions": other}))
    assert notes.machines(cells) == "a card with 2 threads in each of 4 processes, x86_64 with 2 threads"
    assert "no record" in notes.machines([SimpleNamespace(run=tmp_path / "none")])


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


def test_weights_in_words():
    full = CaeNetConfig()
    assert notes.started(full) == "pretrained"
    own = {**full.branches, "deit": replace(full.branches["deit"], weights="scratch")}
    expected = "pretrained (efficientnet), scratch (deit), pretrained (convnext)"
    assert notes.started(replace(full, branches=own)) == expected


def test_the_head_of_a_configuration_is_shown_as_far_as_it_is_a_comment(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text('# Chosen on fold 3.\n#Seven trials.\nsystem = "cae-net"\n# not of the head\n')
    expected = "The configuration, own.toml, says of itself: Chosen on fold 3. Seven trials."
    assert notes.chosen(Inputs(config=file)) == expected
    file.write_text('system = "cae-net"\n# not of the head\n')
    assert notes.chosen(Inputs(config=file)).endswith("own.toml, does not say on which images it was chosen.")
    head = study.SMALL.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    assert f"configs/cae-net-small.toml, says of itself: {head}" in notes.chosen(Inputs())


def test_verdicts_are_counted_where_there_are_several():
    judged = Row("a - b", "AUROC, difference", reproduced=0.1, ci=(0.0, 0.2))
    others = [Row("a", "AUROC", reproduced=0.5, ci=(0.4, 0.6)), Row("a - c", "AUROC, difference")]
    assert notes.multiplicity([judged, *others]) == ()
    (sentence,) = notes.multiplicity([judged, judged, *others])
    assert sentence.startswith("2 differences, each judged at 95 %")
