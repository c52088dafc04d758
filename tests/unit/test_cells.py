"""Cells of a queue: done once, resumed after a stop, apart from each other, not lost by a fault of a disk."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cae_net_tiny import images, without_graph, write_config
from pictures import natural, save
from tellsign import artifacts
from tellsign.data import Manifest
from tellsign.image import decode
from tellsign.types import ArtifactError, ConfigError, ManifestError, OutputError

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnxscript")
from tellsign.evaluate import cells as module  # noqa: E402 - need PyTorch
from tellsign.evaluate.cae_net.study import configuration, scores_on  # noqa: E402
from tellsign.evaluate.cells import Cell, finished_cell, kept  # noqa: E402
from tellsign.evaluate.folds import folds  # noqa: E402
from tellsign.evaluate.samples import known  # noqa: E402
from tellsign.systems.cae_net.system import CaeNetSystem  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    manifest = known(images(tmp_path_factory.mktemp("data"), 28, size=40, group_size=1))
    fold = folds(manifest, 3, seed=0)[0]
    config = configuration(write_config(tmp_path_factory.mktemp("config")))
    return Cell("fold-1", "cae-net", config, fold.train, fold.valid, fold.test, 0, scores_on)


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
    system = CaeNetSystem()
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
    assert record["identity"]["format"] == 3
    assert record["identity"]["system"] == "cae-net"
    assert record["identity"]["config"] == json.loads(json.dumps(cell.config.decisive()))
    assert {"tellsign", "torch", "timm", "onnx", "device", "threads"} <= set(record["versions"])
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
        replace(cell, config=replace(config, branches=dict(reversed(config.branches.items())))),
    ]
    folders = {one.folder(tmp_path) for one in (cell, *others)}
    assert len(folders) == 8
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


@pytest.fixture
def copy(done, cell, tmp_path, monkeypatch):
    """A copy of the finished cell, in which nothing may be trained."""
    root = tmp_path / "cells"
    shutil.copytree(done[1].folder, cell.folder(root))

    def fit(*_, **__):
        raise Stopped

    monkeypatch.setattr(CaeNetSystem, "fit", fit)
    return root


@pytest.mark.parametrize("damage", ["cut", "gone", "nonsense"])
def test_scores_that_are_damaged_are_taken_again_from_the_detector(done, cell, copy, damage):
    file = cell.folder(copy) / "scores.csv"
    if damage == "cut":
        file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")
    elif damage == "nonsense":
        file.write_bytes(b"\xff\x00")
    else:
        file.unlink()
    said = []
    assert_same(finished_cell(cell, copy, say=said.append), done[1])
    assert "scores.csv is damaged" in said[0]
    assert len(said) == 1
    again = []
    assert_same(finished_cell(cell, copy, say=again.append), done[1])
    assert not again


def test_a_cell_with_a_damaged_record_is_made_anew(cell, copy):
    (cell.folder(copy) / "record.json").write_text("{")
    said = []
    with pytest.raises(Stopped):
        finished_cell(cell, copy, say=said.append)
    assert "record.json is damaged" in said[0]
    assert not (cell.folder(copy) / "detector").exists()


@pytest.mark.parametrize("change", ["calibrated", "cut", "gone"])
def test_a_detector_that_is_another_one_is_never_removed(cell, copy, change):
    folder = cell.folder(copy) / "detector"
    if change == "calibrated":
        spec = json.loads((folder / "detector.json").read_bytes())
        (folder / "detector.json").write_text(json.dumps({**spec, "calibration": {}}))
    elif change == "cut":
        (folder / "graph.onnx").write_bytes(b"x")
    else:
        shutil.rmtree(folder)
    before = files(copy)
    with pytest.raises(OutputError, match=r"is not the detector whose scores .* calibrate copies"):
        finished_cell(cell, copy)
    assert files(copy) == before


@pytest.mark.parametrize("file", ["record.json", "scores.csv", "detector/graph.onnx"])
def test_a_file_that_cannot_be_read_for_now_removes_nothing(cell, copy, monkeypatch, file):
    path, before = cell.folder(copy) / file, files(copy)
    opened = Path.open

    def failing(self, *arguments, **options):
        if self == path:
            raise OSError(24, "Too many open files")
        return opened(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", failing)
        with pytest.raises(OutputError, match=r"cannot read or write .*Too many open files"):
            finished_cell(cell, copy)
    assert files(copy) == before


def test_another_cell_in_a_folder_of_this_name_stops(cell, copy):
    file = cell.folder(copy) / "record.json"
    record = json.loads(file.read_bytes())
    file.write_text(json.dumps({**record, "identity": {**record["identity"], "seed": 7}}))
    with pytest.raises(OutputError, match="holds another cell than its name says"):
        finished_cell(cell, copy)


@pytest.mark.parametrize("part", ["train", "valid", "test"])
@pytest.mark.parametrize("fault", ["cut", "small", "other"])
def test_an_image_that_cannot_be_used_is_found_before_anything_is_trained(
    cell, tmp_path, monkeypatch, part, fault
):
    samples = list(getattr(cell, part))
    path = tmp_path / "bad.png"
    if fault == "small":
        save(natural(0, 20, 40), path)
    else:
        content = samples[-1].path.read_bytes()
        path.write_bytes(content[:-40] if fault == "cut" else samples[0].path.read_bytes())
    changed = replace(samples[-1], path=path, sha256=samples[-1].sha256 if fault == "other" else "")
    bad = replace(cell, **{part: Manifest((*samples[:-1], changed))})

    def fit(*_, **__):
        raise Stopped

    monkeypatch.setattr(CaeNetSystem, "fit", fit)
    reason = {"cut": "", "small": "40 × 20 pixels", "other": "the file has changed"}[fault]
    with pytest.raises(ManifestError, match=f"bad.png.* cannot be used: .*{reason}"):
        finished_cell(bad, tmp_path / "cells")
    assert not list((tmp_path / "cells").iterdir())
    training = replace(cell.config.training, on_bad="skip", max_bad=1)
    with pytest.raises(Stopped):
        finished_cell(replace(bad, config=replace(cell.config, training=training)), tmp_path / "cells")


def test_a_full_disk_says_nothing_of_the_detector_and_a_graph_that_fails_does(cell, tmp_path, monkeypatch):
    def full(*_, **__):
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise ArtifactError("cannot write the detector") from error

    def wrong(*_, **__):
        raise ArtifactError("the graph does not compute what PyTorch does")

    monkeypatch.setattr(CaeNetSystem, "fit", full)
    with pytest.raises(OutputError, match="No space left"):
        finished_cell(cell, tmp_path)
    monkeypatch.setattr(CaeNetSystem, "fit", wrong)
    with pytest.raises(ArtifactError, match="does not compute"):
        finished_cell(cell, tmp_path)


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
        assert json.loads(file.read_bytes())["identity"]["format"] == 3
        file.write_text('{"identity": {}, "val')
    kept(tmp_path, "x", {"n": 1}, make)
    assert len(calls) == 3


def test_what_another_run_is_making_is_not_made_twice(tmp_path):
    def make():
        with pytest.raises(OutputError, match="another run is writing"):
            kept(tmp_path, "x", {"n": 1}, lambda: pytest.fail("made twice"))
        return 1

    assert kept(tmp_path, "x", {"n": 1}, make) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_read_for_now_is_not_made_again(tmp_path, monkeypatch):
    assert kept(tmp_path, "x", {"n": 1}, lambda: 1) == 1

    def denied(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(OutputError, match=r"cannot read or write .*Permission denied"):
        kept(tmp_path, "x", {"n": 1}, lambda: pytest.fail("made again"))
