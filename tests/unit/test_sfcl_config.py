"""The options of SFCL-HCMF: what is taken, what is refused, and with which words."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace

import pytest

from tellsign.engine.config import TrainingConfig
from tellsign.systems.sfcl_hcmf.config import HcmaConfig, LocalConfig, SfclHcmfConfig, SpatialConfig
from tellsign.types import ConfigError


def test_the_defaults_are_the_published_settings():
    config = SfclHcmfConfig()
    assert (config.region, config.size, config.fit) == ("face", 380, "resize")
    assert (config.sbcm, config.sida, config.fusion, config.scaling) == (True, True, "hcmf", "zscore")
    assert (config.spatial.backbone, config.spatial.stage) == ("efficientnet_b4", 3)
    assert (config.local.repeats, config.local.width, config.local.middle) == (1, 1.0, 8)
    assert (config.hcma.tokens, config.hcma.d, config.hcma.heads) == ("map", 1024, 8)
    assert {config.spatial.weights, config.local.weights} == {"pretrained"}
    training = config.training
    assert (training.optimiser, training.learning_rate, training.weight_decay) == ("adam", 1e-3, 1e-8)
    assert (training.batch_size, training.epochs, training.schedule) == (20, 20, "constant")
    assert config.grid == 48


def test_the_stable_preset_has_a_gentler_rate_and_a_cosine():
    config = SfclHcmfConfig(preset="stable")
    assert (config.training.learning_rate, config.training.schedule) == (1e-4, "cosine")
    assert (config.training.batch_size, config.training.epochs) == (20, 20)
    assert replace(config, preset="paper").training == SfclHcmfConfig().training
    assert replace(SfclHcmfConfig(), preset="stable") == config


def test_a_table_of_training_stands_on_its_preset():
    config = SfclHcmfConfig(preset="stable", training={"epochs": 3})
    assert (config.training.epochs, config.training.learning_rate) == (3, 1e-4)
    own = TrainingConfig(epochs=2)
    assert SfclHcmfConfig(preset="stable", training=own).training == own


@pytest.mark.parametrize("preset", ["paper", "stable"])
def test_it_comes_back_from_json(preset):
    config = SfclHcmfConfig(
        preset=preset,
        spatial={"backbone": "x", "options": {"drop_path_rate": 0.1}, "weights": "scratch"},
        local={"width": 0.25, "middle": 2, "weights": "scratch"},
        hcma={"d": 64, "heads": 4},
        training={"learning_rate": 1e-3, "schedule": "constant"},
    )
    again = SfclHcmfConfig(**json.loads(json.dumps(asdict(config))))
    assert again == config
    assert isinstance(again.local, LocalConfig)


def test_from_scratch_is_the_same_network_without_weights():
    config = SfclHcmfConfig(local={"repeats": 2}, preset="stable")
    scratch = config.from_scratch()
    assert {scratch.spatial.weights, scratch.local.weights} == {"scratch"}
    changed = {f.name for f in fields(config) if getattr(config, f.name) != getattr(scratch, f.name)}
    assert changed == {"spatial", "local"}
    assert scratch.local == replace(config.local, weights="scratch")


@pytest.mark.parametrize(
    ("fusion", "parts"),
    [
        ("hcmf", (True, True, True)),
        ("faae", (True, True, False)),
        ("hcma", (True, False, True)),
        ("concat", (True, False, False)),
        ("spatial", (False, False, False)),
    ],
)
def test_what_a_fusion_has(fusion, parts):
    config = SfclHcmfConfig(fusion=fusion, sbcm=fusion != "spatial", sida=fusion != "spatial")
    assert (config.has_local, config.has_faae, config.has_hcma) == parts


@pytest.mark.parametrize(("size", "grid"), [(380, 48), (384, 48), (376, 47), (128, 16), (33, 5)])
def test_a_started_block_counts(size, grid):
    assert SfclHcmfConfig(size=size).grid == grid


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region": "mouth"}, "region is one of face, image, found 'mouth'"),
        ({"fit": "stretch"}, "fit is one of resize, crop"),
        ({"fusion": "sum"}, "fusion is one of hcmf, faae, hcma, concat, spatial"),
        ({"fusion": ["hcmf"]}, "fusion is one of"),
        ({"scaling": "rank"}, "scaling is one of zscore, none, layer"),
        ({"preset": "fast"}, "preset is one of paper, stable"),
        ({"size": 31}, "size is a whole number of at least 32, found 31"),
        ({"size": 128.0}, "size is a whole number"),
        ({"sbcm": 1}, "sbcm is true or false, found 1"),
        ({"sida": "no"}, "sida is true or false"),
        ({"fusion": "spatial"}, "say sbcm = false and sida = false"),
        ({"fusion": "spatial", "sbcm": False}, "say sbcm = false and sida = false"),
        ({"spatial": "efficientnet_b4"}, r"\[config.spatial\] is a table of options"),
        ({"spatial": {"name": "x"}}, r"\[config.spatial\]: unknown key 'name'; there are backbone"),
        ({"local": {"sbcm": False}}, r"\[config.local\]: unknown key 'sbcm'"),
        ({"hcma": 3}, r"\[config.hcma\] is a table of options"),
        ({"training": {"epoch": 1}}, r"\[config.training\]: unknown key 'epoch'"),
        ({"training": 3}, r"\[config.training\] is a table"),
        ({"training": {"epochs": 0}}, "epochs is a whole number of at least 1"),
    ],
    ids=str,
)
def test_what_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        SfclHcmfConfig(**options)


@pytest.mark.parametrize(
    ("record", "options", "message"),
    [
        (SpatialConfig, {"backbone": ""}, "backbone is a name of timm"),
        (SpatialConfig, {"weights": "w.pth"}, "others are pickles"),
        (SpatialConfig, {"options": "drop_rate=0.1"}, "options is a table"),
        (SpatialConfig, {"stage": 0}, "stage is a whole number of at least 1, found 0"),
        (LocalConfig, {"coefficients": "layer"}, "coefficients is one of zscore, none"),
        (LocalConfig, {"repeats": 0}, "repeats is a whole number of at least 1"),
        (LocalConfig, {"width": 0}, "width is a number above 0 and up to 2, found 0"),
        (LocalConfig, {"width": float("nan")}, "width is a number"),
        (LocalConfig, {"width": "1"}, "width is a number"),
        (LocalConfig, {"middle": -1}, "middle is a whole number from 0 to 8, found -1"),
        (LocalConfig, {"middle": 9}, "middle is a whole number from 0 to 8, found 9"),
        (
            LocalConfig,
            {"width": 0.5},
            r"weights = 'pretrained' are those of Xception.*say weights = 'scratch'",
        ),
        (LocalConfig, {"middle": 2, "weights": "x.safetensors"}, "a smaller network; say weights"),
        (HcmaConfig, {"tokens": "pixels"}, "tokens is one of map, vector"),
        (HcmaConfig, {"d": 0}, "d is a whole number"),
        (HcmaConfig, {"heads": True}, "heads is a whole number"),
        (HcmaConfig, {"d": 100}, "d is a multiple of heads, found d = 100 and heads = 8"),
    ],
    ids=str,
)
def test_what_a_table_refuses(record, options, message):
    with pytest.raises(ConfigError, match=message):
        record(**options)


@pytest.mark.parametrize("name", [f.name for f in fields(SfclHcmfConfig)])
def test_no_option_is_taken_unseen(name):
    with pytest.raises(ConfigError):
        SfclHcmfConfig(**{name: "\0 no value of any option"})


def test_what_is_refused_in_a_table_names_the_table():
    with pytest.raises(ConfigError, match=r"^\[config\.hcma\] d is a multiple of heads"):
        SfclHcmfConfig(hcma={"d": 10, "heads": 4})
    with pytest.raises(ConfigError, match=r"^\[config\.local\] weights = 'pretrained' are those of Xception"):
        SfclHcmfConfig(local={"width": 0.5})
