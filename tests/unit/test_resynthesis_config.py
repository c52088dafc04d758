"""The options of re-synthesis: what is published, what follows from them, what is refused."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

pytest.importorskip("timm")

from tellsign.configuration import toml_tree
from tellsign.systems.resynthesis.config import ResynthesisConfig
from tellsign.types import ConfigError

DETECTOR = {"network": "detector", "detector": "somewhere"}


def test_defaults_are_the_published_ones():
    config = ResynthesisConfig()
    own = config.network
    assert (own.features, own.growth, own.blocks, own.layers) == (64, 64, 16, 8)
    assert config.stages == (0, 5)
    assert config.parts == ("pixel", "stage5")
    assert config.fusion_weights == (0.5, 0.5)
    assert config.loss_weights == (1, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)
    assert config.loss_stages == 5
    assert (config.perceptual.network, config.perceptual.normalise) == ("vgg19", False)
    assert config.reconstruction.patch == 96
    published = config.training
    assert (published.optimiser, published.momentum, published.schedule) == ("sgd", 0.9, "step")
    assert (published.learning_rate, published.epochs) == (1e-2, 20)
    together = config.joint_training
    assert (together.learning_rate, together.schedule, together.batch_size) == (1e-3, "step", 10)


def test_a_table_changes_what_it_names_and_nothing_else():
    config = ResynthesisConfig(
        training={"epochs": 3}, reconstruction={"training": {"epochs": 2}}, joint={"epochs": 4}
    )
    assert (config.training.epochs, config.training.optimiser) == (3, "sgd")
    assert (config.reconstruction.training.epochs, config.reconstruction.training.batch_size) == (2, 12)
    assert config.joint_training.epochs == 4


def test_it_comes_back_from_json():
    for options in ({}, {"perceptual": DETECTOR, "stages": [1, 3]}, {"perceptual": {"network": "none"}}):
        if options.get("perceptual") == {"network": "none"}:
            options["stages"] = [0]
        config = ResynthesisConfig(**options)
        assert ResynthesisConfig(**json.loads(json.dumps(asdict(config)))) == config


def test_without_a_perceptual_network_pixels_alone_count():
    config = ResynthesisConfig(perceptual={"network": "none"}, stages=[0])
    assert config.loss_weights == (1.0,)
    assert config.loss_stages == 0
    assert config.perceptual_identity() == "none"


def test_stages_without_weight_are_not_needed():
    config = ResynthesisConfig(reconstruction={"loss_weights": [1, 0.5, 0, 0.1, 0, 0]})
    assert config.loss_stages == 3


def test_the_perceptual_network_is_named_by_what_it_holds(tmp_path):
    config = ResynthesisConfig()
    assert config.perceptual_identity() == "VGG-19, pretrained"
    file = tmp_path / "vgg.safetensors"
    file.write_bytes(b"weights")
    own = ResynthesisConfig(perceptual={"weights": str(file), "normalise": True})
    assert own.perceptual_identity().startswith("VGG-19, sha256:")
    assert own.perceptual_identity().endswith("ImageNet's normalisation")
    missing = ResynthesisConfig(perceptual={"weights": str(tmp_path / "none.safetensors")})
    with pytest.raises(ConfigError, match="cannot be read"):
        missing.perceptual_identity()
    with pytest.raises(ConfigError, match=r"\[config.perceptual\] detector: no detector"):
        ResynthesisConfig(perceptual=DETECTOR).perceptual_identity()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": [0, 6]}, "there is no stage 6: 0 stands for the pixels, 1 to 5"),
        ({"stages": [5, 0]}, "named once each and in their order"),
        ({"stages": [0, 0]}, "named once each"),
        ({"stages": []}, "list of numbers from 0"),
        ({"stages": [True]}, "there is no stage True"),
        ({"perceptual": {"network": "none"}}, r"stages = \[0, 5\] need a perceptual network"),
        ({"perceptual": {"network": "vgg16"}}, "network is one of vgg19, detector, none"),
        ({"perceptual": {"network": "detector"}}, "said together"),
        ({"perceptual": {"detector": "x"}}, "said together"),
        ({"perceptual": {"weights": "vgg.pth"}}, "others are pickles"),
        ({"perceptual": {"architecture": {"widths": [1]}}}, 'for network = "detector" alone'),
        ({"perceptual": DETECTOR | {"architecture": {"widths": [1]}}}, "architecture holds blocks, stem"),
        ({"network": {"blocks": 0}}, "blocks is a whole number of at least 1"),
        ({"network": {"weights": "pretrained"}}, "no re-synthesiser to download"),
        ({"network": {"depth": 3}}, "unknown key 'depth'"),
        ({"classifier": {"widths": [64, 128]}}, "widths is a list of four numbers"),
        ({"classifier": {"stem": "official"}}, "stem is one of deep, plain"),
        ({"downsampling": "nearest"}, "downsampling is one of avgpool, bicubic"),
        ({"degradation": "blur"}, "degradation is one of none, colour, noise"),
        ({"fusion": "vote"}, "fusion is one of weights, logits, fit"),
        ({"fusion_weights": [0.5, 0.6]}, r"one a stage \(pixel, stage5\) and add up to 1"),
        ({"fusion_weights": [1.0]}, "one a stage"),
        ({"fusion_weights": [1.5, -0.5]}, "numbers of at least 0"),
        ({"reconstruction": {"patch": 100}}, "multiple of 16 pixels, found 100"),
        ({"reconstruction": {"patch": 16}}, "patch is a whole number of at least 32"),
        ({"reconstruction": {"loss_weights": [0, 1, 1, 1, 1, 1]}}, "of the pixels, above 0"),
        ({"reconstruction": {"loss_weights": [1, 1]}}, "loss_weights are 6"),
        ({"reconstruction": {"training": {"lr": 1}}}, r"\[config.reconstruction.training\]: unknown key"),
        ({"joint": {"classifier_rate": 0}}, "classifier_rate is a number above 0"),
        ({"joint": {"frozen": 1}}, "frozen is true or false"),
        ({"size": 16}, "size is a whole number of at least 32"),
    ],
    ids=str,
)
def test_what_it_refuses(options, message):
    with pytest.raises(ConfigError, match=message):
        ResynthesisConfig(**options)


@pytest.mark.parametrize("name", ["resynthesis", "resynthesis-small"])
def test_the_configurations_that_ship_are_ones(name, request):
    tree = toml_tree(request.config.rootpath / "configs" / f"{name}.toml")
    assert tree["system"] == "resynthesis"
    config = ResynthesisConfig(**tree["config"])
    if name == "resynthesis":
        assert config.network == ResynthesisConfig().network
        assert config.stages == (0, 5)
    else:
        assert config.size == 128
        assert config.perceptual.network == "none"
