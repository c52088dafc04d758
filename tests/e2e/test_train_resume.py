"""`tellsign train` of CAE-Net, killed in the second stage of a branch, goes on to the same detector."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import inside

from pictures import write_split_dataset
from tellsign import artifacts
from tellsign.data import read

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes and signals of POSIX")

TESTS = Path(__file__).resolve().parents[1]
SCRIPT = TESTS / "e2e" / "reproduce_tiny.py"
ENV = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

CONFIG = """
system = "cae-net"
name = "resumed"
[config]
size = 32
dwt = "native"
weights = "scratch"
stages = 2
fusion = "fit"
[config.branches.bands]
backbone = "test_vit"
input = "dwt"
options = { patch_size = 4, depth = 1 }
stage_epochs = 4
[config.training]
batch_size = 8
learning_rate = 3e-3
optimiser = "adamw"
workers = 0
device = "cpu"
[calibration]
fpr = 0.45
fnr = 0.45
domain_quantile = 0.5
"""


class Commands:
    """Trainings one after the other, each in a process of its own; torch is imported once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "c.toml").write_text(CONFIG)
        write_split_dataset(folder / "data", train=12, valid=16, test=6, size=48)
        paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, SCRIPT, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ENV, "PYTHONPATH": paths},
        )
        assert self.process.stdout.readline() == "ready\n"

    def tell(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def start(self, name: str, *more: str) -> None:
        given = ["c.toml", "--data", "data/manifest.csv", "-o", name]
        arguments = ["train", *(word if word[0] == "-" else str(self.folder / word) for word in given), *more]
        self.tell(json.dumps([arguments, str(self.folder / "printed"), str(self.folder / "said")]))

    def end(self, how: str) -> tuple[int, str]:
        """The signal that ended the command or minus its exit status, and what it said."""
        self.tell(how)
        return int(self.process.stdout.readline()), (self.folder / "said").read_text()


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    commands = Commands(tmp_path_factory.mktemp("resume"))
    yield commands
    commands.process.stdin.close()
    commands.process.wait(60)


def test_a_killed_training_is_resumed_to_the_same_detector_which_evaluates_and_scans(commands):
    folder = commands.folder
    commands.start("whole")
    status, said = commands.end("wait")
    assert status == 0, said

    commands.start("killed", "--set", "config.training.checkpoint_seconds=0.0")
    branch = folder / "killed.run" / "0.run" / "bands"
    deadline = time.monotonic() + 120
    while not list((branch / "stage-2" / "checkpoints").glob("0*")):
        assert time.monotonic() < deadline, (folder / "said").read_text()
        time.sleep(0.002)
    assert commands.end("kill")[0] == signal.SIGKILL
    assert (branch / "stage-1" / "result.json").exists()
    assert not (branch / "stage-2" / "result.json").exists(), "killed within the stage"
    assert not (folder / "killed").exists()

    commands.start("killed")
    status, said = commands.end("wait")
    assert status == -2
    assert "--resume" in said
    commands.start("killed", "--resume")
    status, said = commands.end("wait")
    assert status == 0, said
    assert "stage 1 of 2: epoch" not in said, "what was done before is not done again"
    assert "stage 2 of 2: epoch 4 of 4" in said
    one, other = (artifacts.load(folder / name) for name in ("killed", "whole"))
    assert (one.path / "weights.safetensors").read_bytes() == (
        other.path / "weights.safetensors"
    ).read_bytes()
    assert one.digest == other.digest

    data = read(folder / "data" / "manifest.csv").filter(split="test")
    found = inside(
        "evaluate", folder / "killed", "--data", folder / "data" / "manifest.csv", "--split", "test",
        "--workers", "1", "--resamples", "10", "--json",
    )  # fmt: skip
    assert found.code == 0, found.messages
    report = json.loads(found.text)
    assert report["n"] == len(data)
    assert report["detector"] == one.name
    assert report["metrics"]["auroc"]["value"] > 0.8
    paths = [sample.path for sample in data]
    scanned = inside("scan", *paths, "-d", folder / "killed", "--workers", "1", "--json")
    assert scanned.code == 0, scanned.messages
    assert [row["path"] for row in scanned.rows] == [str(path) for path in paths]
    for row in scanned.rows:
        assert row["detector"] == one.name
        assert row["error"] is None
        assert set(row["parts"]) == {"bands"}
    verdicts = [row["label"] for row in scanned.rows if row["label"] != "uncertain"]
    assert len(verdicts) == round(report["coverage"] * len(data))
    means = [
        sum(row["score"] for row, sample in zip(scanned.rows, data, strict=True) if sample.label == label) / 6
        for label in (0, 1)
    ]
    assert means[0] < means[1]
