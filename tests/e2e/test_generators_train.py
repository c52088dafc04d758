"""Generators by the command line: trained, gone on with, sampled; and what it says of what can't be done."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")

from e2e.command import tellsign
from generator_tiny import options, write_reals
from tellsign.data import read


def toml(tree) -> str:
    lines = [f"{name} = {json.dumps(value)}" for name, value in tree.items() if not isinstance(value, dict)]
    for name, table in tree.items():
        if isinstance(table, dict):
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines)


def test_an_auto_encoder_is_trained_and_restores_images(tmp_path):
    manifest = write_reals(tmp_path / "reals")
    (tmp_path / "a.toml").write_text(toml(options("autoencoder")))
    command = ("generators", "train", tmp_path / "a.toml", "--data", manifest, "-o", tmp_path / "a", "--json")
    done = tellsign(*command, "--set", "training.epochs=1")
    assert done.code == 0, done.messages
    assert json.loads(done.text)["metrics"]["spectral_distance"] > 0
    assert "two halves of which are" in done.messages
    again = tellsign(*command, "--set", "training.epochs=1")
    assert again.code == 2
    assert "--resume" in again.messages
    pairs = ("generators", "sample", tmp_path / "a", "--data", manifest, "-o", tmp_path / "pairs", "--json")
    done = tellsign(*pairs)
    assert done.code == 0, done.messages
    assert json.loads(done.text)["n"] == 240
    assert len(read(tmp_path / "pairs" / "manifest.csv")) == 240
    done = tellsign("generators", "sample", tmp_path / "a", "-n", "1", "-o", tmp_path / "s")
    assert done.code == 2
    assert "--data MANIFEST" in done.messages


MINE = """
import torch
from torch import nn

class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.ConvTranspose2d(4, 8, 4), nn.ReLU(), nn.ConvTranspose2d(8, 3, 4, 4))

    def latents(self, n, rng):
        return torch.randn(n, 4, generator=rng)

    def images(self, latents):
        return torch.sigmoid(8 * self.network(latents[:, :, None, None]))
"""


def test_a_gan_is_trained_sampled_and_tuned(tmp_path):
    manifest = write_reals(tmp_path / "reals")
    (tmp_path / "g.toml").write_text(toml(options("gan", training={"epochs": 6, "learning_rate": 0.02})))
    (tmp_path / "t.toml").write_text(toml(options("tune", spectral=1.0, training={"epochs": 1})))
    (tmp_path / "mine.py").write_text(MINE)

    def ran(*command):
        done = tellsign("generators", *command, "--json", cwd=tmp_path)
        assert done.code == 0, done.messages
        return json.loads(done.text)

    def trained(config, out, *more):
        return ran("train", f"{config}.toml", "--data", manifest, "-o", out, *more)

    def sampled(generator, out, *more):
        assert ran("sample", generator, "-o", out, "-n", "3", "--seed", "2", *more)["n"] == 3
        return [sample.sha256 for sample in read(tmp_path / out / "manifest.csv")]

    assert trained("g", "gan")["metrics"]["near_duplicates"] >= 0
    plain = sampled("gan", "fakes")
    assert len(set(plain)) == 3
    trained("t", "tuned", "--from", "gan")
    assert set(sampled("tuned", "tuned-fakes")).isdisjoint(plain)
    # A network of the user's own, whose code makes its images as well.
    trained("t", "own", "--module", "mine:Generator")
    assert len(set(sampled("own", "own-fakes", "--module", "mine:Generator"))) == 3


def test_a_module_that_does_not_import_is_named(tmp_path):
    (tmp_path / "t.toml").write_text(toml(options("tune", spectral=1.0)))
    done = tellsign(
        *("generators", "train", tmp_path / "t.toml", "--data", tmp_path / "none.csv", "-o", tmp_path / "t"),
        *("--module", "nowhere.at_all:Generator"),
        cwd=tmp_path,
    )
    assert done.code == 2
    assert "--module nowhere.at_all:Generator cannot be imported" in done.messages
    assert not (tmp_path / "t.run").exists()
