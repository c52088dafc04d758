"""A network's detector runs where nothing of the train extra can be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.command import tellsign
from pictures import write_dataset

TRAIN = ("torch", "torchvision", "timm", "sklearn", "onnx", "onnxscript")

LOADED = """
import json, sys
from tellsign import artifacts, detectors
from tellsign.scoring.scorer import Scorer
from pathlib import Path
row, = Scorer(Path(sys.argv[1])).rows([(Path(sys.argv[2]), None)])
print(json.dumps({"row": row, "modules": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from network import write_network

    return write_network(tmp_path_factory.mktemp("network") / "pairs")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), 4, size=64)


@pytest.fixture
def without_train_extra(tmp_path: Path) -> dict[str, str]:
    """An environment in which the train extra can't be imported."""
    folder = tmp_path / "blocked"
    folder.mkdir()
    for name in TRAIN:
        text = f"raise ModuleNotFoundError('blocked', name={name!r})\n"
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def test_scan_and_evaluate(detector: Path, manifest: Path, without_train_extra: dict[str, str]) -> None:
    scan = tellsign("scan", manifest.parent / "fake", "-d", detector, "--json", env=without_train_extra)
    assert scan.code == 0, scan.messages
    assert [row["label"] for row in scan.rows] == ["fake"] * 4
    assert all(set(row["parts"]) == {"across", "down"} for row in scan.rows)
    evaluate = tellsign("evaluate", detector, "--data", manifest, "--json", env=without_train_extra)
    assert evaluate.code == 0, evaluate.messages
    assert json.loads(evaluate.text)["metrics"]["auroc"]["value"] == 1


def test_explain(detector: Path, manifest: Path, tmp_path: Path, without_train_extra: dict[str, str]) -> None:
    page = tmp_path / "page.html"
    image = manifest.parent / "fake" / "0000.png"
    done = tellsign("explain", image, "-d", detector, "-o", page, env=without_train_extra)
    assert done.code == 0, done.messages
    assert "score of across" in page.read_text(encoding="utf-8")


def test_the_engine_that_needs_the_extra_names_it(
    detector: Path, manifest: Path, without_train_extra: dict[str, str]
) -> None:
    image = manifest.parent / "fake" / "0000.png"
    done = tellsign("scan", image, "-d", detector, "--engine", "torch", env=without_train_extra)
    assert done.code == 2
    assert "no system 'pairs'" in done.messages, "the system of this test is not installed there"
    assert "Traceback" not in done.messages


def test_scoring_imports_neither_pytorch_nor_timm_where_they_are_installed(
    detector: Path, manifest: Path
) -> None:
    image = manifest.parent / "fake" / "0000.png"
    done = subprocess.run(
        [sys.executable, "-c", LOADED, detector, image], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["row"]["label"] == "fake"
    assert "onnxruntime" in found["modules"]
    assert not set(found["modules"]) & {*TRAIN, "openvino"}
