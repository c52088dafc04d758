"""Cells of the studies of generators: made once, shared by figures, gone on with, and of stated splits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from generator_tiny import options, write_reals  # noqa: E402
from tellsign.data import Manifest, read  # noqa: E402
from tellsign.evaluate.reproduce import Inputs  # noqa: E402
from tellsign.evaluate.upconv.cells import RECORD, finished_cell, images_of, study  # noqa: E402
from tellsign.generators.config import config_from  # noqa: E402
from tellsign.generators.frechet import FeatureNetwork  # noqa: E402
from tellsign.generators.training import train_generator  # noqa: E402
from tellsign.types import ConfigError, ManifestError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def reals(tmp_path_factory):
    return read(write_reals(tmp_path_factory.mktemp("reals")))


def mean_network(digest="0"):
    return FeatureNetwork("mean", digest * 64, None, lambda images: images.mean(axis=(2, 3)))


def test_a_cell_is_trained_once_and_shared(reals, tmp_path, monkeypatch):
    from tellsign.generators import training

    config = config_from(options("autoencoder", training={"epochs": 1}), where="x")
    first = finished_cell(config, reals, tmp_path, say=lambda text: None)
    profile = first.record["profile"]
    assert len(profile["real"]) == len(profile["fake"]) == 9
    assert first.record["n"] == {"real": 8, "fake": 8}
    assert first.record["measured"]["spectral_distance"] > 0
    assert not list(first.folder.glob("generator.run/*.safetensors"))
    assert len(first.pictures()) == 1

    images = images_of(first.generator, 0, np.random.default_rng(0).random((2, 3, 16, 16), dtype=np.float32))
    assert np.array_equal(np.rint(images * 255) / 255, images)

    monkeypatch.setattr(training, "train_generator", None)  # would fail if it were called
    again = finished_cell(replace(config, name="another"), reals, tmp_path, say=lambda text: None)
    assert (again.folder, again.record) == (first.folder, first.record)
    (first.folder / RECORD).write_text("{}")
    said = []
    with pytest.raises(TypeError):  # it is made anew, and here nobody can
        finished_cell(config, reals, tmp_path, say=said.append)
    assert "damaged" in said[0]


def test_a_cell_with_features_is_another_and_has_the_distance(reals, tmp_path):
    config = config_from(options("gan", training={"epochs": 1}), where="x")
    found = finished_cell(config, reals, tmp_path, features=mean_network(), say=lambda text: None)
    assert found.record["measured"]["frechet"] > 0
    assert found.history[0]["valid_frechet"] > 0
    assert found.record["identity"]["features"] == "0" * 64


def test_a_manifest_without_splits_is_split(reals, tmp_path):
    plain = Manifest(tuple(reals.filter(split="train")))
    plain = Manifest(tuple(replace(sample, split="") for sample in plain))
    given = study(Inputs(manifest=plain, folder=tmp_path, samples=(50,)), "gan")
    assert given is not None
    assert len(given.manifest.filter(split="train")) == 50
    assert 15 < len(given.manifest.filter(split="valid")) < 30
    assert study(Inputs(), "gan") is None
    with pytest.raises(ConfigError, match="-o FOLDER"):
        study(Inputs(manifest=plain), "gan")


@pytest.mark.parametrize(("there", "missing"), [("train", "valid"), ("valid", "train")])
def test_a_study_is_not_compared_with_what_was_learnt_from(there, missing, reals, tmp_path):
    with pytest.raises(ManifestError, match=f"none of the split {missing}: `tellsign data split`"):
        study(Inputs(manifest=reals.filter(split=there), folder=tmp_path), "gan")


@pytest.mark.usefixtures("no_graphs")
def test_a_training_goes_on_with_the_same_features_alone(reals, tmp_path):
    config = config_from(options("gan", training={"epochs": 1}), where="x")
    found = train_generator(config, reals, tmp_path / "g", features=mean_network())
    assert found.spec["frechet"] == {"network": "mean", "digest": "0" * 64}
    card = " ".join((found.path / "CARD.md").read_text(encoding="utf-8").split())
    assert "in the features of mean, weights `000000000000`" in card
    with pytest.raises(ConfigError, match="another training"):
        train_generator(config, reals, tmp_path / "g", features=mean_network("1"), resume=True)
