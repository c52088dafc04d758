"""A training that is killed at any moment, and started again, ends with the same weights bit for bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tellsign.engine.folder import read_result
from tellsign.types import ConfigError
from trainings import options, same, splits, trained

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes and signals of POSIX")

TESTS = Path(__file__).resolve().parents[1]
SCRIPT = TESTS / "e2e" / "train_tiny.py"
OPTIONS = {"epochs": 10, "checkpoint_seconds": 0.0}


class Driver:
    """Starts trainings one after the other; torch is imported once."""

    def __init__(self, data: Path) -> None:
        paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        self.data = data
        self.process = subprocess.Popen(
            [sys.executable, SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )

        assert self.process.stdout.readline() == "ready\n"

    def tell(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def start(self, run: Path, **more: object) -> None:
        self.tell(json.dumps([str(self.data), str(run), OPTIONS | more]))

    def end(self, how: str) -> bool:
        """Whether the run that was started was killed before its end; how: kill or wait."""
        self.tell(how)
        ended_by = int(self.process.stdout.readline())
        assert ended_by in (0, signal.SIGKILL)
        return ended_by == signal.SIGKILL

    def run(self, run: Path, **more: object) -> None:
        self.start(run, **more)
        assert not self.end("wait")

    def killed_after(self, run: Path, name: str, **more: object) -> None:
        """Kills a run as soon as it has a checkpoint behind that of a name."""
        self.start(run, **more)
        folder = run / "checkpoints"
        deadline = time.monotonic() + 60
        while not folder.is_dir() or not any(name < path.name for path in folder.iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert self.end("kill")


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    splits(data)
    driver = Driver(data)
    yield driver
    driver.process.stdin.close()
    driver.process.wait(60)


@pytest.fixture(scope="module")
def whole(driver, tmp_path_factory):
    """The folder of an uninterrupted run, and how long it took."""
    run = tmp_path_factory.mktemp("whole") / "run"
    begun = time.monotonic()
    driver.run(run)
    return run, time.monotonic() - begun


def assert_equal(one: Path, other: Path) -> None:
    assert (one / "best.safetensors").read_bytes() == (other / "best.safetensors").read_bytes()
    # With a digest of the weights after every epoch, the last included.
    assert same(read_result(one)) == same(read_result(other))


@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_kills(driver, whole, tmp_path, seconds):
    """With a checkpoint after every step, and with few."""
    run, took = whole
    rng = random.Random(f"kills {seconds}")
    n_killed = 0
    for _ in range(5):
        driver.start(tmp_path / "run", checkpoint_seconds=seconds)
        time.sleep(rng.uniform(0, 0.4) * took)
        n_killed += driver.end("kill")
    assert n_killed > 0
    driver.run(tmp_path / "run", checkpoint_seconds=seconds)
    assert_equal(tmp_path / "run", run)
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {
        "best.safetensors", "run.json", "result.json", "log.csv", "log.json", "curves.png",
    }, "no draft and no checkpoint is left"  # fmt: skip


def test_a_cut_checkpoint_is_passed_over(driver, whole, tmp_path):
    run, _ = whole
    checkpoints = tmp_path / "run" / "checkpoints"
    driver.killed_after(tmp_path / "run", "00001-00000007")
    newest = max(path for path in checkpoints.iterdir() if not path.name.startswith("."))
    tensors = newest / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:1000])
    driver.run(tmp_path / "run")
    assert_equal(tmp_path / "run", run)


def test_workers_of_a_killed_run_are_in_nobodys_way(driver, whole, tmp_path):
    """They may live for a moment; and neither their number nor a kill changes the weights."""
    run, _ = whole
    driver.killed_after(tmp_path / "run", "00000-00000003", workers=1)
    driver.run(tmp_path / "run")
    assert_equal(tmp_path / "run", run)


def test_two_runs_do_not_write_one_folder(driver, tmp_path):
    driver.start(tmp_path / "run", epochs=10_000)
    while not (tmp_path / "run" / "run.json").exists():
        time.sleep(0.001)
    with pytest.raises(ConfigError, match="another run is writing"):
        trained(driver.data, tmp_path / "run", options(**OPTIONS | {"epochs": 10_000}))
    assert driver.end("kill")
