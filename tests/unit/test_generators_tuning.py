"""A generator that there is gets another spectrum: what it learns, what it keeps, and what stops it."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from generator_tiny import SIZE, options, tiny_source, write_reals  # noqa: E402
from pictures import save  # noqa: E402
from tellsign.data import Manifest, read  # noqa: E402
from tellsign.generators.artifact import saved_generator  # noqa: E402
from tellsign.generators.config import config_from  # noqa: E402
from tellsign.generators.training import train_generator  # noqa: E402
from tellsign.types import ConfigError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread", "no_graphs")


@pytest.fixture(scope="module")
def reals(tmp_path_factory):
    return read(write_reals(tmp_path_factory.mktemp("reals")))


def test_tuning_corrects_the_spectrum_and_keeps_the_images(reals, tmp_path):
    begun = tiny_source()
    more = {"spectral": 1.0, "keep": 0.5, "training": {"epochs": 3, "learning_rate": 0.02, "batch_size": 13}}
    config = config_from(options("tune", **more), where="the test")
    before = {name: value.clone() for name, value in begun.network.state_dict().items()}
    found = train_generator(config, reals, tmp_path / "t", source=begun)
    assert all(torch.equal(before[name], value) for name, value in begun.network.state_dict().items())
    assert found.spec["source"] == {"name": "mine", "digest": "0"}
    assert found.spec["network"] == "gan"
    assert saved_generator(found).config == begun.network.config
    card = " ".join((found.path / "CARD.md").read_text(encoding="utf-8").split())
    assert "A GAN of images of 16 × 16 pixels, tuned from `mine` by Tellsign for 3 epochs" in card
    assert "images that it was tuned with" in card
    rows = [row for row in csv.DictReader((tmp_path / "t.run" / "log.csv").open()) if row["event"] == "epoch"]
    assert float(rows[-1]["spectral_kl"]) < 0.7 * float(rows[0]["spectral_kl"])
    assert float(rows[-1]["change"]) < 0.05
    # Statistics of batches are those that it came with.
    names = [name for name in before if "running" in name]
    assert names
    assert all(np.array_equal(found.arrays[f"network.{n}"], before[n].numpy()) for n in names)


def test_tuning_against_a_spectral_discriminator(reals, tmp_path):
    config = config_from(
        options("tune", spectral_layers=1, loss="lsgan", training={"epochs": 1}), where="the test"
    )
    found = train_generator(config, reals, tmp_path / "t", source=tiny_source())
    assert "spectral_discriminator" in (tmp_path / "t.run" / "log.csv").read_text().splitlines()[0]
    assert not [name for name in found.arrays if "spectral" in name]


@pytest.mark.parametrize("n_flat", [1, 26])
def test_crops_of_one_colour_are_passed_over(n_flat, reals, tmp_path):
    """The generator is not to blame for them: the discriminator of spectra learns from the others."""
    sky = save(np.full((3, SIZE, SIZE), 0.9), tmp_path / "sky.png")
    learnt, compared = reals.filter(split="train"), reals.filter(split="valid")
    flat = tuple(replace(sample, path=sky, sha256="") for sample in learnt.evenly(n_flat))
    with_sky = Manifest((*flat, *tuple(learnt)[: 26 - n_flat], *compared))
    config = config_from(options("tune", spectral_layers=1, training={"epochs": 1}), where="the test")
    train_generator(config, with_sky, tmp_path / "t", source=tiny_source())
    (row,) = (r for r in csv.DictReader((tmp_path / "t.run" / "log.csv").open()) if r["event"] == "epoch")
    assert bool(row.get("spectral_discriminator")) == (n_flat < 26)


def test_what_has_no_gradient_is_not_trained(reals, tmp_path):
    begun = tiny_source()
    begun.network.requires_grad_(False)
    config = config_from(options("tune", spectral_layers=1), where="the test")
    with pytest.raises(ConfigError, match="images of mine have no gradient to any of its 0 parameters"):
        train_generator(config, reals, tmp_path / "t", source=begun)
