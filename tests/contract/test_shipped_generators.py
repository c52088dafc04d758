"""What every generator that ships promises: files, size, licence, and images from the core install."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from tellsign import artifacts, hub
from tellsign.generators.sampling import write_samples
from tellsign.image import decode

MOST = 5_000_000  # bytes of a folder
SHIPPED = hub.shipped_generators()


def test_the_generators_that_ship():
    assert list(SHIPPED) == ["scenes-a", "scenes-plain", "scenes-r"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_folder_is_small_and_says_what_it_is(name):
    folder = SHIPPED[name]
    files = {path.name: path for path in folder.iterdir()}
    assert files.keys() == {"CARD.md", "LICENSE", "detector.json", "graph.onnx", "weights.safetensors"}
    assert sum(path.stat().st_size for path in files.values()) <= MOST
    assert "bsds500: Berkeley Segmentation Dataset" in files["LICENSE"].read_text(encoding="utf-8")
    card = " ".join(files["CARD.md"].read_text(encoding="utf-8").split())
    assert card.startswith(f"# {name} ")
    assert "Made by configs/scene-generators.sh" in card
    assert "other real images" in card, "how near its images come to those that it learnt from"


@pytest.mark.parametrize("name", SHIPPED)
def test_what_a_variant_is_stands_in_its_configuration(name):
    config = artifacts.load(SHIPPED[name]).spec["config"]
    assert config["name"] == name
    assert (config["spectral"] > 0) == (name == "scenes-r")
    assert (config["spectral_layers"] > 0) == (name == "scenes-a")


@pytest.mark.parametrize("name", SHIPPED)
def test_images_of_a_seed_are_always_the_same_and_none_like_another(name, tmp_path):
    artifact = artifacts.load(SHIPPED[name])
    first = write_samples(artifact, tmp_path / "a", 12, seed=3)
    again = write_samples(artifact, tmp_path / "b", 1, seed=8)
    pixels = np.stack([decode(sample.path).array for sample in first])
    assert pixels.shape == (12, 3, 64, 64)
    assert len({hashlib.sha256(row.tobytes()).hexdigest() for row in pixels}) == 12
    assert pixels.std(axis=0).mean() > 0.05, "all of them alike"
    assert pixels.std(axis=(2, 3)).mean() > 0.05, "flat"
    assert next(iter(again)).sha256 == {sample.path.name: sample.sha256 for sample in first}["0000000008.png"]
