"""`tellsign benchmark` as a user runs it: killed, resumed, with failures, with bad input."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from detector import write_detector
from e2e.command import inside, started, tellsign
from pictures import write_dataset

KEYS = {"detector", "test", "perturbation", "attack", "metric", "value", "ci", "n", "coverage"}
CONFIG = """
name = "killed"
tests = ["a"]
perturbations = ["none", "noise:10", "combined", "webp:50"]
resamples = 50
[[detector]]
name = "one"
path = "one"
[[detector]]
name = "two"
path = "two"
[data.a]
manifest = "a/manifest.csv"
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    write_detector(folder / "one")
    write_detector(folder / "two", kind="kernel", name="other")
    write_dataset(folder / "a", 12, size=48, seed=1)
    (folder / "c.toml").write_text(CONFIG)
    return folder


def tables(out: Path) -> dict[str, int]:
    """Finished tables and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in (out / "cache").glob("*.parquet")}


def kill_when(process: subprocess.Popen[bytes], out: Path, n_tables: int) -> None:
    """SIGKILL as soon as so many tables are finished."""
    deadline = time.monotonic() + 120
    while len(tables(out)) < n_tables:
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_killed_three_times_and_resumed_it_ends_with_the_same_bytes(root: Path, tmp_path: Path) -> None:
    whole = tellsign("benchmark", root / "c.toml", "-o", tmp_path / "whole", "--workers", "1", "--json")
    assert whole.code == 0, whole.messages
    result = json.loads(whole.text)
    assert result["cells"]
    assert all(cell.keys() >= KEYS for cell in result["cells"])
    assert {cell["perturbation"] for cell in result["cells"]} == {"none", "noise:10", "combined", "webp:50"}
    assert json.loads((tmp_path / "whole" / "benchmark.json").read_text()) == result

    out = tmp_path / "killed"
    kept: dict[str, int] = {}
    for n_tables in (1, 3, 5):
        # Batches of one, so that a kill falls into the middle of tables.
        options = ("--workers", "1", "--batch-size", "1")
        process = started("benchmark", root / "c.toml", "-o", out, *options, stdin=subprocess.DEVNULL)
        kill_when(process, out, n_tables)
        assert not (out / "benchmark.json").exists()
        found = tables(out)
        # No finished table is made again.
        assert kept.items() <= found.items()
        kept = found
    done = tellsign("benchmark", root / "c.toml", "-o", out, "--workers", "2")
    assert done.code == 0, done.messages
    assert kept.items() <= tables(out).items()
    assert len(tables(out)) == 2 * 4
    assert (out / "benchmark.json").read_bytes() == (tmp_path / "whole" / "benchmark.json").read_bytes()


def test_failures_have_their_exit_codes(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "a", tmp_path / "a")
    shutil.copytree(root / "one", tmp_path / "one")
    (tmp_path / "a" / "fake" / "0003.png").write_bytes(b"no image")
    text = CONFIG.replace('"none", "noise:10", "combined", "webp:50"', '"none"')
    two = text.index('[[detector]]\nname = "two"')
    (tmp_path / "c.toml").write_text(text[:two] + text[text.index("[data.a]") :])
    arguments = ("benchmark", tmp_path / "c.toml", "-o", tmp_path / "out", "--workers", "1")
    refused = inside(*arguments)
    assert refused.code == 2
    assert "0003.png" in refused.messages
    assert "--missing exclude" in refused.messages
    done = inside(*arguments, "--missing", "worst")
    assert done.code == 1
    assert "0003.png" in done.messages
    assert "0.958" in done.text  # the coverage
    wrong = inside(*arguments, "--set", "tset=1")
    assert wrong.code == 2
    assert "unknown key 'tset'" in wrong.messages
