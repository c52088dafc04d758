"""`tellsign train` under torchrun: two processes make one detector."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from pictures import write_split_dataset
from tellsign import artifacts, detectors
from tellsign.data import read
from tellsign.image import decode
from tellsign.metrics import auroc
from tellsign.train import validation_halves

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnxscript")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not torch.distributed.is_available() or sys.platform == "win32", reason="PyTorch without gloo"
    ),
]

CONFIG = """
system = "cae-net"
name = "together"
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
stage_epochs = 3
[config.training]
batch_size = 8
learning_rate = 3e-3
optimiser = "adamw"
workers = 0
cache = true
on_bad = "skip"
max_bad = 3
device = "cpu"
[calibration]
fpr = 0.45
fnr = 0.45
domain_quantile = 0.5
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The detector's folder, the data, the broken files, and what the command printed."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "c.toml").write_text(CONFIG, encoding="utf-8")
    manifest = write_split_dataset(folder / "data", train=12, valid=16, test=8, size=48)
    data = read(manifest)
    halves = validation_halves(data.filter(split="valid"), seed=0)
    broken = [data.filter(split="train")[3].path, *(half[2].path for half in halves.values())]
    for path in broken:
        path.write_bytes(b"no image")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = ["-m", "tellsign", "train", folder / "c.toml", "--data", manifest, "-o", folder / "d", "--json"]
    result = subprocess.run(
        [*launcher, *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    return folder / "d", data, broken, result


def test_one_detector_comes_of_it(done):
    path, data, _, result = done
    artifact = artifacts.load(path)
    told = json.loads(result.stdout)
    assert told["digest"] == artifact.digest
    detector = detectors.from_artifact(artifact)
    test = data.filter(split="test")
    inputs = [detector.preprocess(decode(sample.path).array) for sample in test]
    scores = np.concatenate([detector.score({"crops": one["crops"][None]}) for one in inputs])
    assert auroc(np.array(test.labels), scores) > 0.9
    assert "operating_point" in artifact.spec


def test_both_took_part(done):
    for stage in (1, 2):
        run = done[0].with_name("d.run") / "0.run" / "bands" / f"stage-{stage}" / "run.json"
        assert json.loads(run.read_bytes())["versions"]["processes"] == 2


def test_images_that_cannot_be_used_are_told_once_and_left_out(done):
    path, data, broken, result = done
    spec = artifacts.load(path).spec
    n_valid = len(data.filter(split="valid"))
    assert spec["data"]["select"]["n"] + spec["calibration_data"]["n"] == n_valid - 2
    lines = [line for line in result.stderr.splitlines() if "left out" in line]
    assert all(any(file.name in line for line in lines) for file in broken)
    said = Counter(result.stderr.splitlines())
    assert [n for line, n in said.items() if "candidate 1 of 1" in line] == [1], (
        "the first process alone speaks"
    )
    assert max(said[line] for line in lines) == 2, "by the system, and when its detector is scored"


def test_the_records_stay_and_nothing_else(done):
    run = done[0].with_name("d.run")
    assert (run / "done").is_file()
    assert not [path for path in run.rglob("*") if path.suffix in {".safetensors", ".onnx", ".npy"}]
    rows = json.loads((run / "0.run" / "bands" / "retention.json").read_bytes())["stages"]
    assert [row["stage"] for row in rows] == [1, 2]
