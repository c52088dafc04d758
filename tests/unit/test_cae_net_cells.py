"""Cells of a queue: done once, resumed after a stop, apart from each other, and made anew where damaged."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from cae_net_tiny import images, without_graph, write_config
from tellsign import artifacts
from tellsign.data import Manifest
from tellsign.image import decode
from tellsign.types import ConfigError

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnxscript")
from tellsign.evaluate.cae_net import cells as module  # noqa: E402 - need PyTorch
from tellsign.evaluate.cae_net.cells import Cell, finished_cell, kept  # noqa: E402
from tellsign.evaluate.cae_net.folds import folds  # noqa: E402
from tellsign.evaluate.cae_net.study import configuration  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    fold = folds(images(tmp_path_factory.mktemp("data"), 28, size=40, group_size=1), 3, seed=0)[0]
    config = configuration(write_config(tmp_path_factory.mktemp("config")))
    return Cell("fold-1", config, fold.train, fold.valid, fold.test, 0)


@pytest.fixture(scope="module")
def done(cell, tmp_path_factory):
    """The folder of cells, the result, and what was said."""
    root, said = tmp_path_factory.mktemp("cells"), []
    return root, finished_cell(cell, root, say=said.append), said


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        without_graph(patch)
        yield


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def assert_same(one, other):
    assert one.scores.rows.tolist() == other.scores.rows.tolist()
    assert one.scores.groups == other.scores.groups
    assert np.array_equal(one.scores.fused, other.scores.fused)
    assert list(one.scores.parts) == list(other.scores.parts)
    for name, values in one.scores.parts.items():
        assert np.array_equal(values, other.scores.parts[name])


def test_scores_are_those_of_the_detector_in_pytorch(done, cell):
    _, result, _ = done
    assert result.scores.rows.tolist() == list(range(len(cell.test)))
    assert result.scores.labels.tolist() == cell.test.labels
    assert result.scores.groups == tuple(sample.group for sample in cell.test)
    system = module.CaeNetSystem()
    images = torch.from_numpy(np.stack([decode(sample.path).array for sample in cell.test])).float()
    with torch.no_grad():
        assert np.allclose(system.module(result.detector)(images), result.scores.fused, atol=1e-4)
        for name, values in result.scores.parts.items():
            assert np.allclose(system.branch_module(result.detector, name)(images), values, atol=1e-4)


def test_the_record_says_what_was_done(done, cell):
    _, result, _ = done
    record = json.loads((result.folder / "record.json").read_bytes())
    assert record == result.record
    assert record["detector"] == artifacts.load(result.detector).digest
    assert record["identity"]["data"]["test"]["manifest"] == cell.test.digest()
    assert record["identity"]["config"]["branches"]["wavelet"]["backbone"] == "test_convnext"
    assert {"tellsign", "torch"} <= set(record["versions"])
    assert record["seconds"]["trainings"] > 0
    assert record["left_out"] == 0
    assert result.folder.name == f"fold-1-{record['digest'][:12]}"
    assert (result.run / "wavelet" / "training" / "log.csv").is_file()
    assert not list(result.run.rglob("*.safetensors")), "the detector has them"


def test_a_finished_cell_is_read_and_nothing_is_touched(done, cell):
    root, result, said = done
    before = files(root)
    again = []
    assert_same(finished_cell(replace(cell), root, say=again.append), result)
    assert files(root) == before
    assert said
    assert not again


def test_what_a_training_depends_on_is_in_the_name_and_the_number_of_workers_is_not(cell, tmp_path):
    config = cell.config
    others = [
        replace(cell, seed=1),
        replace(cell, config=replace(config, training=replace(config.training, learning_rate=1e-3))),
        replace(cell, config=replace(config, size=36)),
        replace(cell, train=cell.train[:-2]),
        replace(cell, train=Manifest(cell.train.samples[::-1])),
        replace(cell, test=cell.valid),
    ]
    folders = {one.folder(tmp_path) for one in (cell, *others)}
    assert len(folders) == 7
    same = replace(cell, config=replace(config, training=replace(config.training, workers=3)))
    assert same.folder(tmp_path) == cell.folder(tmp_path)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("moment", ["deit: epoch 2", "fusion fit"])
def test_a_cell_that_was_stopped_goes_on_and_ends_with_the_same_scores(done, cell, tmp_path, moment):
    def stop(text):
        if moment in text:
            raise Stopped

    with pytest.raises(Stopped):
        finished_cell(cell, tmp_path, say=stop)
    assert not (cell.folder(tmp_path) / "record.json").exists()
    said = []
    assert_same(finished_cell(cell, tmp_path, say=said.append), done[1])
    assert not any("efficientnet: epoch" in text for text in said), "it was done before"


def test_a_result_that_was_not_recorded_is_written_again(done, cell, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_write_scores", full)
        with pytest.raises(ConfigError, match=r"No space left on device.*run the same command again"):
            finished_cell(cell, tmp_path)
    said = []
    assert_same(finished_cell(cell, tmp_path, say=said.append), done[1])
    assert not any("epoch" in text for text in said)


@pytest.mark.parametrize("damage", ["scores", "detector", "record"])
def test_a_damaged_cell_is_made_anew(done, cell, tmp_path, monkeypatch, damage):
    root = tmp_path / "cells"
    folder = cell.folder(root)
    folder.parent.mkdir()
    shutil.copytree(done[1].folder, folder)
    if damage == "scores":
        lines = (folder / "scores.csv").read_text().splitlines()
        (folder / "scores.csv").write_text("\n".join(lines[:-1]) + "\n")
    elif damage == "detector":
        (folder / "detector" / "graph.onnx").write_bytes(b"x")
    else:
        (folder / "record.json").write_text("{")

    def fit(*_, **__):
        raise Stopped

    monkeypatch.setattr(module.CaeNetSystem, "fit", fit)
    said = []
    with pytest.raises(Stopped):
        finished_cell(cell, root, say=said.append)
    assert "is damaged" in said[0]
    assert not (folder / "record.json").exists()


def test_two_runs_do_not_make_one_cell(cell, tmp_path):
    from tellsign.lock import locked

    with (
        locked(cell.folder(tmp_path)),
        pytest.raises(ConfigError, match="another run is writing"),
    ):
        finished_cell(cell, tmp_path)


def test_a_folder_that_is_a_file(cell, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write"):
        finished_cell(cell, tmp_path / "file")


def test_what_takes_long_is_kept_by_what_it_depends_on(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return {"a": [0.1, None]}

    assert kept(tmp_path, "x", {"n": 1}, make) == {"a": [0.1, None]}
    assert kept(tmp_path, "x", {"n": 1}, make) == {"a": [0.1, None]}
    assert len(calls) == 1
    kept(tmp_path, "x", {"n": 2}, make)
    assert len(calls) == 2
    for file in tmp_path.iterdir():
        file.write_text('{"identity": {}, "val')
    kept(tmp_path, "x", {"n": 1}, make)
    assert len(calls) == 3
