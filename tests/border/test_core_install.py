"""The core install in an environment of its own: small, without PyTorch, and all of it works."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from pictures import write_dataset, write_split_dataset

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 800 * 2**20  # bytes of the whole environment


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a virtual environment with the core install alone: a wheel and what it requires.

    The wheel is built and installed by pip; what it requires is what pip installed beside these tests, for to
    fetch and unpack it again would take a minute.
    """
    folder = tmp_path_factory.mktemp("core")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    scripts = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    build = ("wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    if Version(metadata.version("setuptools")) >= Version("77"):  # pyproject.toml's; otherwise pip fetches it
        build = (*build, "--no-build-isolation")
    done = pip(*build)
    if done.returncode and "No matching distribution" in done.stderr and "from versions: none" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("tellsign-*.whl")
    done = pip("--python", scripts / "python", "install", "--no-deps", "--no-index", wheel)
    assert done.returncode == 0, done.stderr
    (packages,) = {path.parent for path in (folder / "venv").rglob("tellsign-*.dist-info")}
    (own,) = metadata.distributions(name="tellsign", path=[str(packages)])
    for distribution in required(own, frozenset()):
        for file in distribution.files or ():
            if ".." not in file.parts and file.locate().is_file():
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                link(Path(str(file.locate())), packages / file)
    return scripts


def pip(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=clean())


def required(
    distribution: metadata.Distribution,
    extras: frozenset[str],
    found: set[tuple[str, frozenset[str]]] | None = None,
) -> Iterator[metadata.Distribution]:
    """What a distribution with some extras requires, and what that requires; all of it must be here."""
    found = set() if found is None else found
    for text in distribution.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in extras or {""}):
            continue
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key not in found:
            found.add(key)
            needed = metadata.distribution(requirement.name)
            assert needed.version in requirement.specifier, f"{text}: version {needed.version} is installed"
            yield needed
            yield from required(needed, key[1], found)


def link(source: Path, to: Path) -> None:
    """The same file under another name; a copy of it on another disk. Nothing where the name is taken."""
    if to.exists():
        return
    try:
        to.hardlink_to(source)
    except OSError:
        shutil.copy2(source, to)


def clean() -> dict[str, str]:
    """This process's environment without anything of its Python."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
    }


def run(environment: Path, *arguments: str | Path) -> str:
    done = subprocess.run(
        [environment / "tellsign", *arguments], capture_output=True, text=True, check=False, env=clean()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_small_and_has_no_pytorch(environment: Path) -> None:
    files = {
        path.stat().st_ino: path.stat().st_size for path in environment.parent.rglob("*") if path.is_file()
    }
    assert sum(files.values()) < LARGEST
    names = "torch sklearn timm tellsign"
    probe = f"import importlib.util as u; print([n for n in '{names}'.split() if u.find_spec(n)])"
    found = subprocess.run(
        [environment / "python", "-c", probe],
        capture_output=True,
        text=True,
        check=True,
        env=clean(),
        cwd="/",
    )
    assert found.stdout.strip() == "['tellsign']"


def test_scan(environment: Path) -> None:
    rows = [json.loads(line) for line in run(environment, "scan", ROOT / "examples", "--json").splitlines()]
    assert [row["error"] for row in rows] == [None] * len(rows)
    assert {row["kind"] for row in rows} == {"image", "video"}


def test_scan_with_a_network(environment: Path, tmp_path: Path) -> None:
    """Its graph alone is scored: neither PyTorch nor timm, which made it here, can be imported there."""
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from network import PARTS, write_network

    detector = write_network(tmp_path / "pairs")
    assert (detector / "graph.onnx").is_file()
    image = write_dataset(tmp_path / "data", 1, size=64).parent / "fake" / "0000.png"
    (line,) = run(environment, "scan", image, "-d", detector, "--json").splitlines()
    row = json.loads(line)
    assert row["error"] is None
    assert row["label"] == "fake"
    assert math.isfinite(row["score"])
    assert set(row["parts"]) == set(PARTS)


def test_faces(environment: Path) -> None:
    (line,) = run(environment, "scan", ROOT / "examples" / "portrait.jpg", "--faces", "--json").splitlines()
    assert json.loads(line)["faces"] == 1


def test_explain(environment: Path, tmp_path: Path) -> None:
    run(environment, "explain", ROOT / "examples" / "portrait.jpg", "-o", tmp_path / "page.html")
    assert "</html>" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_evaluate(environment: Path, tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", 4, size=200)
    result = json.loads(run(environment, "evaluate", "spectrum", "--data", manifest, "--json"))
    assert result["detector"].startswith("spectrum@")


def test_training_names_the_extra(environment: Path, tmp_path: Path) -> None:
    manifest = write_split_dataset(tmp_path / "data")
    config = ROOT / "configs" / "spectrum.toml"
    command = [environment / "tellsign", "train", config, "--data", manifest, "-o", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean())
    assert done.returncode == 2
    assert "pip install 'tellsign[train]'" in done.stderr
