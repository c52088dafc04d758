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
