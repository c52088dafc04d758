"""Two processes of torchrun train as one does."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from e2e.train_together import SETTINGS, brightness_box, looking_left, with_share
from tellsign.data.face_boxes import face_boxes
from tellsign.engine import distributed
from tellsign.engine.losses import epoch_order
from tellsign.nn.weights import read_tensors
from tellsign.types import ConfigError
from trainings import Tiny, options, restored, splits, trained

TESTS = Path(__file__).resolve().parents[1]
pytestmark = [
    pytest.mark.skipif(
        not torch.distributed.is_available() or sys.platform == "win32", reason="PyTorch without gloo"
    ),
    pytest.mark.usefixtures("no_curves"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images; and the same, of which two for training and one for validation are broken."""
    folders = tmp_path_factory.mktemp("good"), tmp_path_factory.mktemp("bad")
    for folder in folders:
        training, valid = splits(folder)
    for sample in (training[4], training[15], valid[3]):
        sample.path.write_bytes(b"no image")
    return folders


@pytest.fixture(scope="module")
def together(data, tmp_path_factory):
    """The folder of the runs of two processes, and what they told."""
    out = tmp_path_factory.mktemp("together")
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, TESTS / "e2e" / "train_together.py", *data, out],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return out, json.loads((out / "told.json").read_text())


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("alone") / "run"
    result, _ = trained(data[0], run, options(**SETTINGS), model=Tiny(dropout=0), loss=with_share)
    return result


def assert_close(history, expected):
    assert len(history) == len(expected) > 0
    for row, other in zip(history, expected, strict=True):
        assert (row["n"], row["step"]) == (other["n"], other["step"])
        for name in ("loss", "valid_loss", "valid_auroc", "valid_accuracy"):
            assert row[name] == pytest.approx(other[name], abs=1e-5), name


def test_the_loss_is_that_of_one_process(together, alone):
    _, told = together
    assert told["world"] == 2
    assert_close(told["plain"], alone.history)
    for row, other in zip(told["plain"], alone.history, strict=True):
        assert row["fakes"] == pytest.approx(other["fakes"])
        assert row["fakes"] == pytest.approx(0.5)
        assert row["n"] == 22


def test_so_are_the_weights(together, alone):
    out, told = together
    one, other = (read_tensors(run / "best.safetensors") for run in (out / "plain", alone.run))
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=1e-5, rtol=1e-4)
    assert len(set(told["weights"])) == 1


def test_the_comparison_can_fail(together, data, tmp_path):
    _, told = together
    other, _ = trained(data[0], tmp_path / "run", options(**SETTINGS), model=Tiny(dropout=0), seed=8)
    with pytest.raises(AssertionError):
        assert_close(told["plain"], other.history)


def test_only_the_first_process_speaks_and_writes(together):
    out, told = together
    assert told["said"] == [True, False]
    assert json.loads((out / "plain" / "run.json").read_text())["versions"]["processes"] == 2


def test_they_go_on_where_they_were_ended(together):
    assert together[1]["resumed"]


def test_batch_norm_ends_with_the_same_network_everywhere(together):
    digests, histories = together[1]["norm"]
    assert digests[0] == digests[1]
    assert histories[0] == histories[1]


def test_attacked_images_leave_the_same_network_everywhere(together):
    digests, histories = together[1]["attacked"]
    assert digests[0] == digests[1]
    assert histories[0] == histories[1]
    assert [row["n"] for row in histories[0]] == [22, 22]


def test_attention_is_pushed_as_in_one_process(together, data, tmp_path):
    model = Tiny(dropout=0)
    run = tmp_path / "run"
    alone, _ = trained(data[0], run, options(**SETTINGS), model=model, loss=looking_left(model.second))
    assert_close(together[1]["left"], alone.history)
    for row, other in zip(together[1]["left"], alone.history, strict=True):
        assert row["attention_outside"] == pytest.approx(other["attention_outside"], abs=1e-5)
        assert row["attention_outside"] > 0


def test_faces_are_those_of_one_process(together, data, tmp_path, monkeypatch):
    monkeypatch.setattr("tellsign.faces.boxes", brightness_box)
    found = face_boxes(splits(data[0])[0], tmp_path / "faces.jsonl").rows()
    assert together[1]["faces"] == [found, found]
    assert len({tuple(row) for row in found}) > 10
    assert len((together[0] / "faces" / "faces.jsonl").read_text().splitlines()) == 22


def test_images_that_any_process_left_out_are_logged(together, data, tmp_path):
    rows, history = together[1]["bad"]
    config = options(**SETTINGS, on_bad="skip", max_bad=9)
    alone, _ = trained(data[1], tmp_path / "run", config, model=Tiny(dropout=0))
    assert sorted(rows[0]) == sorted(rows[1]) == [3, 4, 15]
    assert [row["n"] for row in history] == [20, 20]
    assert_close(history, alone.history)


def test_a_checkpoint_knows_what_any_process_has_left_out(together, data):
    order = epoch_order(splits(data[1])[0].labels, "plain", seed=3, epoch=0).tolist()
    assert {order.index(row) % SETTINGS["batch_size"] % 2 for row in (4, 15)} == {0, 1}, "one in each process"
    assert together[1]["bad, resumed"] == [[["train", 4], ["train", 15], ["valid", 3]]] * 2


def test_real_images_alone_are_learnt_from_as_by_one_process(together, data, tmp_path):
    reals = tuple(part.filter(label=0) for part in splits(data[0]))
    alone, _ = restored(tmp_path / "run", reals, options(batch_size=5))
    digests, history = together[1]["reals"]
    assert digests[0] == digests[1]
    assert len(history) == len(alone.history) == 2
    for row, other in zip(history, alone.history, strict=True):
        assert (row["n"], row["step"]) == (other["n"], other["step"])
        for name in ("loss", "l1", "valid_psnr", "valid_error"):
            assert row[name] == pytest.approx(other[name], rel=1e-4), name


def test_a_loss_that_is_not_finite_in_one_stops_all(together):
    messages = together[1]["not finite"]
    assert messages[0] == messages[1]
    assert "the loss is inf at epoch 1, step 1 of 4, for the rows" in messages[0]


def test_alone_there_is_nothing_to_join():
    at = distributed.this_process("cpu")
    assert (at.rank, at.world, at.is_first) == (0, 1, True)
    model = Tiny()
    assert distributed.joined(model, at) is model
    assert distributed.totals([1, torch.tensor(2.5)], at) == [1.0, 2.5]
    assert distributed.gathered({"a": [1, "é"]}, at) == [{"a": [1, "é"]}]
    assert math.isnan(distributed.totals([math.nan], at)[0])


def test_one_may_work_for_hours_while_the_others_wait(monkeypatch):
    """After the training the first measures, fuses and exports alone."""
    asked = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda kind, **options: asked.append((kind, options))
    )
    assert distributed.this_process("cpu").world == 2
    ((kind, options_),) = asked
    assert kind == "gloo"
    assert options_["timeout"].total_seconds() >= 24 * 3600


@pytest.mark.parametrize(
    ("world", "rank"), [("2", "0"), ("two", "0"), ("1", "1"), (None, "1"), ("2", "2"), ("2", "-1")]
)
def test_an_environment_that_is_incomplete(monkeypatch, world, rank):
    if world is None:
        monkeypatch.delenv("WORLD_SIZE", raising=False)
    else:
        monkeypatch.setenv("WORLD_SIZE", world)
    monkeypatch.setenv("RANK", rank)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(ConfigError, match="start them with torchrun"):
        distributed.this_process("cpu")
