"""The options of CAE-Net: what is taken, what is refused, and with which words."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest

from tellsign.engine.config import TrainingConfig
from tellsign.systems.cae_net.config import BRANCHES, BranchConfig, CaeNetConfig
from tellsign.train_config import read_config
from tellsign.types import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ONE = {"a": {"backbone": "test_vit"}}


def test_the_defaults_are_the_published_settings():
    config = CaeNetConfig()
    assert [b.backbone for b in config.branches.values()] == [
        "efficientnet_b0",
        "deit_base_patch16_224",
        "convnext_tiny",
    ]
    assert [b.input for b in config.branches.values()] == ["rgb", "rgb", "dwt"]
    assert [b.stage_epochs for b in config.branches.values()] == [5, 5, 4]
    assert (config.stages, config.size, config.dwt, config.strategy) == (5, 224, "dwt_resize", "multistage")
    assert config.fusion_weights == (0.35, 0.34, 0.31)
    assert (config.training.learning_rate, config.training.optimiser) == (1e-4, "adam")
    assert config.training.schedule == "constant"


def test_the_preset_is_the_default():
    read = read_config(CONFIGS / "cae-net.toml")
    assert read.system == "cae-net"
    assert CaeNetConfig(**read.config) == CaeNetConfig()


def test_the_small_preset_looks_at_native_crops_from_scratch():
    config = CaeNetConfig(**read_config(CONFIGS / "cae-net-small.toml").config)
    assert config.size <= 224
    assert config.dwt == "native"
    assert all(config.branch_weights(name) == "scratch" for name in config.branches)
    assert all(branch.rotation == 0 for branch in config.branches.values()), "nothing is interpolated"
    assert "dwt" in {branch.input for branch in config.branches.values()}


def test_an_override_reaches_a_branch_and_the_training():
    read = read_config(
        CONFIGS / "cae-net.toml",
        ["config.branches.deit.rotation=3.5", "config.training.epochs=2", "config.strategy=focal"],
    )
    config = CaeNetConfig(**read.config)
    assert config.branches["deit"].rotation == 3.5
    assert config.stage_training("deit").epochs == 2
    assert config.stage_training("deit").balance == "focal"


def test_it_comes_back_from_json():
    config = CaeNetConfig(
        branches={
            "a": {"backbone": "x", "options": {"depth": 3, "dims": [1, 2]}},
            "b": BranchConfig("y", "dwt"),
        },
        fusion_weights=[0.25, 0.75],
        strategy="plain",
        training={"epochs": 3},
    )
    assert isinstance(config.training, TrainingConfig)
    again = CaeNetConfig(**json.loads(json.dumps(asdict(config))))
    assert again == config
    assert list(again.branches) == ["a", "b"]


def test_a_stage_takes_its_own_epochs_and_other_strategies_those_of_the_training():
    config = CaeNetConfig(training={"batch_size": 7})
    assert [config.stage_training(name).epochs for name in config.branches] == [5, 5, 4]
    assert config.stage_training("deit").batch_size == 7
    assert config.stage_training("deit").balance == "plain"
    over = CaeNetConfig(strategy="over", training={"epochs": 9})
    assert {over.stage_training(name).epochs for name in over.branches} == {9}
    assert over.stage_training("deit").balance == "over"


def test_a_branch_has_the_systems_weights_or_its_own():
    branches = {"a": {"backbone": "x"}, "b": {"backbone": "x", "weights": "own.safetensors"}}
    config = CaeNetConfig(branches=branches, fusion_weights=[0.5, 0.5], weights="scratch")
    assert [config.branch_weights(name) for name in "ab"] == ["scratch", "own.safetensors"]


def test_the_default_weights_of_the_fusion_give_way_where_they_are_not_used():
    for fusion in ("fit", "vote"):
        assert CaeNetConfig(branches=ONE, fusion=fusion).fusion_weights == (1.0,)


def test_the_input_is_what_the_detector_stores():
    spec = CaeNetConfig(size=64, max_crops=3, region="face").input.to_spec()
    assert (spec["size"], spec["max_crops"], spec["region"], spec["profile"]["crop"]) == (64, 3, "face", 64)
    assert CaeNetConfig().input.domain.crop == 128


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 8}, "size is a whole number of at least 16, found 8"),
        ({"size": 224.0}, "size is a whole number"),
        ({"size": True}, "size is a whole number"),
        ({"max_crops": 0}, "max_crops is a whole number"),
        ({"stages": 0}, "stages is a whole number of at least 1, found 0"),
        ({"stages": -5}, "stages is a whole"),
        ({"stages": "five"}, "stages is a whole"),
        ({"region": "eye"}, "region is image or face"),
        ({"dwt": "db4"}, "dwt is one of dwt_resize, native, found 'db4'"),
        ({"strategy": "smote"}, "strategy is one of multistage, plain, weighted, over, under, focal"),
        ({"strategy": ["over"]}, "strategy is one of"),
        ({"fusion": "mean"}, "fusion is one of"),
        ({"subsets": "age"}, "subsets is one of"),
        ({"reals": "none"}, "reals is one of"),
        ({"weights": "imagenet"}, "weights is 'scratch', 'pretrained' or the path of a .safetensors file"),
        ({"weights": "b0.pth"}, "others are pickles"),
        ({"fusion_weights": (0.5, 0.5)}, "one a branch .efficientnet, deit, convnext. and add up to 1"),
        ({"fusion_weights": (0.5, 0.4, 0.3)}, "add up to 1"),
        ({"fusion_weights": (0.5, 0.6, -0.1)}, "numbers of at least 0"),
        ({"fusion_weights": (0.5, math.nan, 0.5)}, "numbers of at least 0"),
        ({"fusion_weights": "equal"}, "a list of numbers"),
        ({"fusion_weights": 1.0}, "a list of numbers"),
        ({"branches": {}}, "a table for each branch"),
        ({"branches": ["efficientnet_b0"]}, "a table for each branch"),
        ({"branches": {"a": {}}}, r"\[config.branches.a\] lacks 'backbone'"),
        ({"branches": {"a": "resnet18"}}, r"\[config.branches.a\] is a table of options"),
        ({"branches": {"A.b": {"backbone": "x"}}}, "a branch is named with small letters"),
        (
            {"branches": {"a": {"backbone": "x", "epoch": 3}}},
            r"branches.a\]: unknown key 'epoch'; there are",
        ),
        ({"branches": {n: {"backbone": "x"} for n in "ab"}, "fusion": "vote"}, "can end in a draw"),
        ({"training": {"epochs": -1}}, "epochs is a whole number of at least 1, found -1"),
        ({"training": {"epochs": 3}}, r"with strategy = 'multistage' the epochs .* as stage_epochs in"),
        (
            {"branches": {"a": {"backbone": "x", "epochs": 3}}, "fusion_weights": [1.0]},
            "epochs are those of a training without stages.* say stage_epochs",
        ),
        ({"training": {"epoch": 1}}, r"\[config.training\]: unknown key 'epoch'"),
        ({"training": 3}, r"\[config.training\] is a table"),
        ({"training": {"balance": "over"}}, "of this system say it as strategy = 'over'"),
    ],
    ids=str,
)
def test_what_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        CaeNetConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": ""}, "backbone is a name of timm"),
        ({"backbone": 3}, "backbone is a name of timm"),
        ({"input": "dft"}, "input is one of rgb, dwt, fft, dct, found 'dft'"),
        ({"weights": "w.pkl"}, "others are pickles"),
        ({"options": "depth=3"}, "options is a table"),
        ({"stage_epochs": -4}, "stage_epochs is a whole number of at least 1, found -4"),
        ({"stage_epochs": 1.5}, "stage_epochs is a whole"),
        ({"epochs": -1}, "epochs is a whole number of at least 0, found -1"),
        ({"flip": 1}, "flip is true or false"),
        ({"rotation": -10}, "rotation is a number from 0 to 180"),
        ({"rotation": math.nan}, "rotation is a number"),
        ({"jitter": 1.5}, "jitter is a number from 0 to 1"),
        ({"jitter": "0.2"}, "jitter is a number"),
    ],
    ids=str,
)
def test_what_a_branch_refuses(options, message):
    with pytest.raises(ConfigError, match=message):
        BranchConfig(**{"backbone": "x", **options})


# what decides

TWO = {"a": {"backbone": "x", "options": {"depth": 2}}, "b": {"backbone": "y", "input": "dwt"}}
PLAIN = {"branches": TWO, "fusion_weights": [0.3, 0.7], "strategy": "plain", "weights": "scratch"}
STAGED = {**PLAIN, "strategy": "multistage"}
OWN_EPOCHS = {"a": {**TWO["a"], "epochs": 2}, "b": {**TWO["b"], "epochs": 4}}


def decisive(**options):
    return json.dumps(CaeNetConfig(**options).decisive(), sort_keys=True)


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        (PLAIN, {"size": 128}),
        (PLAIN, {"max_crops": 2}),
        (PLAIN, {"dwt": "native"}),
        (PLAIN, {"weights": "pretrained"}),
        (PLAIN, {"strategy": "over"}),
        (PLAIN, {"strategy": "multistage"}),
        (PLAIN, {"fusion": "fit"}),
        (PLAIN, {"fusion_weights": [0.7, 0.3]}),
        (PLAIN, {"training": {"epochs": 3}}),
        (PLAIN, {"training": {"attention_weight": 1.0}}),
        (PLAIN, {"branches": {**TWO, "a": {"backbone": "x", "options": {"depth": 3}}}}),
        (PLAIN, {"branches": {**TWO, "a": {**TWO["a"], "flip": True}}}),
        (PLAIN, {"branches": {"c": TWO["a"], "b": TWO["b"]}}),
        (PLAIN, {"branches": {"b": TWO["b"], "a": TWO["a"]}}),
        (PLAIN, {"branches": {**TWO, "a": {**TWO["a"], "epochs": 2}}}),
        (STAGED, {"stages": 3}),
        (STAGED, {"subsets": "generator"}),
        (STAGED, {"reals": "disjoint"}),
        (STAGED, {"branches": {**TWO, "a": {**TWO["a"], "stage_epochs": 2}}}),
    ],
    ids=str,
)
def test_an_option_with_an_effect_decides(given, changes):
    assert decisive(**{**given, **changes}) != decisive(**given)


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        (PLAIN, {"stages": 3}),
        (PLAIN, {"subsets": "generator"}),
        (PLAIN, {"reals": "disjoint"}),
        (PLAIN, {"branches": {**TWO, "a": {**TWO["a"], "stage_epochs": 2}}}),
        (PLAIN, {"branches": {name: {**one, "epochs": 20} for name, one in TWO.items()}}),
        ({**PLAIN, "branches": OWN_EPOCHS}, {"training": {"epochs": 3}}),
        (PLAIN, {"training": {"workers": 7, "cache": True, "on_bad": "skip", "max_bad": 3}}),
        (PLAIN, {"branches": {name: {**one, "weights": "scratch"} for name, one in TWO.items()}}),
        ({**PLAIN, "fusion": "fit"}, {"fusion_weights": [0.7, 0.3]}),
        ({**PLAIN, "branches": {"a": TWO["a"]}, "fusion_weights": [1.0]}, {"dwt": "native"}),
    ],
    ids=str,
)
def test_an_option_without_effect_does_not(given, changes):
    assert decisive(**{**given, **changes}) == decisive(**given)


def test_weights_decide_by_what_they_hold(tmp_path):
    files = [tmp_path / f"{number}.safetensors" for number in range(3)]
    for file, content in zip(files, (b"a", b"a", b"b"), strict=True):
        file.write_bytes(content)
    one, same, other = (decisive(**{**PLAIN, "weights": str(file)}) for file in files)
    assert one == same != other
    files[0].unlink()
    with pytest.raises(ConfigError, match=r"0\.safetensors cannot be read"):
        decisive(**{**PLAIN, "weights": str(files[0])})


def test_an_unknown_key_in_the_table_is_refused_by_the_command(tmp_path):
    from tellsign.configuration import only_known

    with pytest.raises(ConfigError, match=r"unknown key 'branch'; there are branches, region"):
        only_known({"branch": 1}, CaeNetConfig, "[config]")


def test_the_table_of_defaults_is_not_changed_by_a_configuration():
    config = CaeNetConfig()
    config.branches.clear()
    assert list(BRANCHES) == ["efficientnet", "deit", "convnext"] == list(CaeNetConfig().branches)


def test_what_is_refused_in_a_table_names_the_table():
    with pytest.raises(ConfigError, match=r"^\[config\.branches\.a\] flip is true or false, found 1$"):
        CaeNetConfig(branches={"a": {"backbone": "resnet18", "flip": 1}})
    with pytest.raises(ConfigError, match=r"^\[config\.training\] epochs is a whole number .* found -1$"):
        CaeNetConfig(training={"epochs": -1})
