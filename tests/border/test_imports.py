"""What a command loads: nothing heavy for help, and nothing of the train extra for anything that runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.command import tellsign
from pictures import natural, save, write_dataset, write_split_dataset

ROOT = Path(__file__).resolve().parents[2]
PORTRAIT = ROOT / "examples" / "portrait.jpg"
TRAIN = ("torch", "torchvision", "timm", "sklearn")
HEAVY = (
    *TRAIN,
    "numpy",
    "scipy",
    "PIL",
    "matplotlib",
    "pyarrow",
    "av",
    "_dlib_pybind11",
    "jinja2",
    "rich.progress",
)

LOADED = """
import json, sys
from tellsign.cli import main
sys.argv = ["tellsign", *sys.argv[1:]]
try:
    main()
finally:
    print("\\n" + json.dumps(sorted(sys.modules)))
"""


def loaded_by(*arguments: str) -> set[str]:
    """The modules in memory when a command has ended."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments", [("--help",), ("scan", "--help"), ("data", "index", "--help"), ("--version",)]
)
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert not loaded_by(*arguments) & set(HEAVY)


def test_what_a_scan_loads_is_seen() -> None:
    found = loaded_by("scan", str(PORTRAIT))
    assert "numpy" in found
    assert not found & {*TRAIN, "matplotlib", "pyarrow", "scipy"}


def test_explain_loads_nothing_of_the_train_extra(tmp_path: Path) -> None:
    assert not loaded_by("explain", str(PORTRAIT), "-o", str(tmp_path / "page.html")) & set(TRAIN)


@pytest.fixture
def without_train_extra(tmp_path: Path) -> dict[str, str]:
    """An environment in which the train extra can't be imported."""
    folder = tmp_path / "blocked"
    folder.mkdir()
    for name in TRAIN:
        text = f"raise ModuleNotFoundError('blocked', name={name!r})\n"
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def test_the_block_blocks(without_train_extra: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import torch"],
        env=os.environ | without_train_extra,
        capture_output=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1] == b"ModuleNotFoundError: blocked"


def test_everything_that_runs_runs_without_the_train_extra(
    tmp_path: Path, without_train_extra: dict[str, str]
) -> None:
    env = without_train_extra
    scan = tellsign("scan", ROOT / "examples", "--json", env=env)
    assert scan.code == 0, scan.messages
    assert {row["kind"] for row in scan.rows} == {"image", "video"}
    page = tmp_path / "page.html"
    assert tellsign("explain", PORTRAIT, "-o", page, env=env).code == 0
    assert page.stat().st_size > 50_000
    manifest = write_dataset(tmp_path / "data", 4, size=200)
    evaluate = tellsign("evaluate", "spectrum", "--data", manifest, "--json", env=env)
    assert evaluate.code == 0, evaluate.messages
    assert json.loads(evaluate.text)["n"] > 0
    save(natural(1, 300, 300), tmp_path / "a.png")
    assert tellsign("scan", tmp_path / "a.png", "-o", tmp_path / "rows.parquet", env=env).code == 0
    assert tellsign("models", "--json", env=env).code == 0
    distance = tellsign("generators", "distance", manifest, manifest, "--picture", page, "--json", env=env)
    assert distance.code == 0, distance.messages
    assert json.loads(distance.text)["cloaking"]["value"] is not None


def test_what_learns_names_the_extra(tmp_path: Path, without_train_extra: dict[str, str]) -> None:
    manifest = write_split_dataset(tmp_path / "data")
    config = ROOT / "configs" / "spectrum.toml"
    done = tellsign("train", config, "--data", manifest, "-o", tmp_path / "out", env=without_train_extra)
    assert done.code == 2
    assert "tellsign[train]" in done.messages
    assert "Traceback" not in done.messages
    done = tellsign("reproduce", "upconv-table4", "--data", manifest, env=without_train_extra)
    assert done.code == 2
    assert "tellsign[train]" in done.messages
