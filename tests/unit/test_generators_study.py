"""The studies of trained generators: cells are made once, shared by figures, and gone on with."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from generator_tiny import options, write_reals  # noqa: E402
from tellsign.data import read  # noqa: E402
from tellsign.evaluate import upconv_autoencoder, upconv_cells, upconv_gans  # noqa: E402
from tellsign.evaluate.reproduce import Inputs, names, reproduce  # noqa: E402
from tellsign.evaluate.upconv_cells import RECORD, finished_cell, images_of, study  # noqa: E402
from tellsign.generators.config import config_from  # noqa: E402
from tellsign.types import ConfigError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

AUTO_ENCODERS = [f"upconv-fig{n}" for n in (5, 6, 7, 8, 20, 21)]
GANS = ["upconv-fig1-trained", *(f"upconv-fig{n}" for n in (11, 12, 13, 14, 22))]


@pytest.fixture(scope="module")
def reals(tmp_path_factory):
    return read(write_reals(tmp_path_factory.mktemp("reals")))


@pytest.fixture
def files(tmp_path):
    """TOML of a tiny network of each kind."""
    found = {}
    for kind in ("gan", "autoencoder"):
        tree = options(kind)
        lines = [f"{k} = {json.dumps(v)}" for k, v in tree.items() if not isinstance(v, dict)]
        for table in ("network", "training"):
            lines += [f"[{table}]", *(f"{k} = {json.dumps(v)}" for k, v in tree[table].items())]
        found[kind] = tmp_path / f"{kind}.toml"
        found[kind].write_text("\n".join(lines))
    return found


@pytest.fixture
def made(monkeypatch):
    """Figures without training: each cell is a record of what its configuration says."""
    calls = []

    def finished(config, manifest, root, *, say):
        calls.append(config)
        folder = root / f"{config.name}-{len(calls)}"
        pictures = folder / "generator.run" / "samples"
        pictures.mkdir(parents=True)
        from tellsign.generators.progress import write_grid

        history = []
        for epoch in (1, 2):
            write_grid(pictures / f"epoch-{epoch:05d}.png", np.full((4, 3, 8, 8), 0.5))
            values = {"spectral_distance": 3.0, "spectral_kl": 0.2, "pair_distance": 0.1}
            values |= {"near_duplicates": 0.25, "mse": 0.01}
            history.append({"epoch": epoch, **{f"valid_{k}": v / epoch for k, v in values.items()}})
        rows = {"real": [3.0, 2.0, 1.0], "fake": [3.0, 2.0, 2.0]}
        record = {
            "history": history,
            "profile": rows,
            "deviation": rows,
            "measured": values,
            "noise": 0.5,
            "real_pair_distance": 0.3,
            "real_near_duplicates": 0.0,
        }
        return upconv_cells.Finished(config.name, folder, record)

    monkeypatch.setattr(upconv_cells, "finished_cell", finished)
    return calls


def test_all_figures_are_listed():
    assert set(AUTO_ENCODERS + GANS) < set(names())


@pytest.mark.parametrize("name", AUTO_ENCODERS + GANS)
def test_without_data_a_figure_says_what_it_needs(name, tmp_path):
    found = reproduce(name)
    assert found.rows
    for row in found.rows:
        assert row.reproduced is None
        assert row.published is None
        assert "--data MANIFEST -o FOLDER" in row.note


@pytest.mark.parametrize("name", [name for name in AUTO_ENCODERS + GANS if name != "upconv-fig6"])
def test_each_figure_is_drawn_from_its_cells(name, made, reals, tmp_path, files):
    kind = "gan" if name in GANS else "autoencoder"
    found = reproduce(name, manifest=reals, out=tmp_path / "cells", config=files[kind])
    assert found.picture == tmp_path / "cells" / f"{name}.png"
    assert found.picture.stat().st_size > 5000
    assert {row.reproduced for row in found.rows} >= {3.0}
    assert all(row.published is None for row in found.rows)
    assert "prints no numbers" in found.text()
    assert len({config.name for config in made}) == len(made)  # no cell takes another's name


def test_what_the_figures_train(made, reals, tmp_path, files):
    def of(name):
        made.clear()
        kind, place = ("gan", upconv_gans) if name in GANS else ("autoencoder", upconv_autoencoder)
        inputs = Inputs(manifest=reals, folder=tmp_path / name, config=files[kind])
        getattr(place, name.removeprefix("upconv-"))(name, inputs)
        return list(made)

    assert [(c.network.up, c.spectral) for c in of("upconv-fig5")] == [
        ("transposed", 0.0),
        ("nearest", 0.0),
        ("bilinear", 0.0),
    ]
    assert {(c.network.kernel, c.network.head_layers, c.spectral) for c in of("upconv-fig8")} == {
        (kernel, layers, 0.5) for kernel in (3, 5, 7, 9, 11) for layers in (0, 2)
    }
    plain, longer, corrected = of("upconv-fig21")[:3]
    assert (plain.network.head_layers, longer.network, longer.spectral) == (0, corrected.network, 0.0)
    assert (corrected.network.head_layers, corrected.network.head_kernel, corrected.spectral) == (3, 5, 0.5)
    assert [(c.loss, c.spectral) for c in of("upconv-fig11")] == [
        ("dcgan", 0.0),
        ("dcgan", 2.0),
        ("dragan", 0.0),
        ("dragan", 0.5),
        ("lsgan", 0.0),
        ("lsgan", 0.5),
        ("wgan-gp", 0.0),
        ("wgan-gp", 0.5),
    ]
    assert [(c.network.head_layers, c.network.inner) for c in of("upconv-fig22")] == [
        (1, "last"),
        (2, "none"),
        (1, "all"),
        (3, "none"),
    ]
    transposed, nearest, longer, regular = of("upconv-fig14")
    assert [c.network.last_up for c in (transposed, nearest, longer)] == ["transposed", "nearest", "nearest"]
    assert (longer.network, longer.spectral) == (regular.network, 0.0)
    assert regular.spectral == 0.5


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
    from dataclasses import replace

    again = finished_cell(replace(config, name="another"), reals, tmp_path, say=lambda text: None)
    assert (again.folder, again.record) == (first.folder, first.record)
    (first.folder / RECORD).write_text("{}")
    said = []
    with pytest.raises(TypeError):  # it is made anew, and here nobody can
        finished_cell(config, reals, tmp_path, say=said.append)
    assert "damaged" in said[0]


def test_a_manifest_without_splits_is_split(reals, tmp_path):
    from tellsign.data import Manifest

    plain = Manifest(tuple(reals.filter(split="train")))
    from dataclasses import replace

    plain = Manifest(tuple(replace(sample, split="") for sample in plain))
    given = study(Inputs(manifest=plain, folder=tmp_path, samples=(50,)), "gan")
    assert given is not None
    assert len(given.manifest.filter(split="train")) == 50
    assert 15 < len(given.manifest.filter(split="valid")) < 30
    assert study(Inputs(), "gan") is None
    with pytest.raises(ConfigError, match="-o FOLDER"):
        study(Inputs(manifest=plain), "gan")


def test_a_configuration_of_another_kind_is_refused(reals, tmp_path, files):
    with pytest.raises(ConfigError, match="trains the kind 'gan'; expected 'autoencoder'"):
        reproduce("upconv-fig5", manifest=reals, out=tmp_path / "o", config=files["gan"])


def test_the_theory_is_drawn_and_holds(tmp_path):
    found = reproduce("upconv-theory", out=tmp_path / "t.png")
    assert {row.row for row in found.rows} == {"zeros inserted", "linearly interpolated"}
    assert all(row.reproduced < 1e-12 for row in found.rows)
    assert found.picture.is_file()


def test_high_frequencies_are_those_that_a_halved_image_has_not():
    waves = np.arange(16) / 16
    low, high = (np.cos(2 * np.pi * k * waves) * np.ones((3, 16, 1)) for k in (3, 6))
    np.testing.assert_allclose(upconv_autoencoder.high_frequencies(low + high), high, atol=1e-12)
    assert upconv_autoencoder.share_of_error(low + high) == pytest.approx(0.5)
