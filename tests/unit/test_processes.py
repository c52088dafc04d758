"""Tasks in processes that crash, hang, fail or are interrupted."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orphans import command, worker_outlives_parent
from tellsign.processes import Lost, results
from tellsign.types import ConfigError, ManifestError


def work(task: str, beat: Callable[[], None]) -> str:
    """What the name of the task says."""
    kind, _, value = task.partition(" ")
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == "exit":
        os._exit(int(value))
    elif kind == "hang":
        time.sleep(1000)
    elif kind == "slow":
        for _ in range(8):
            time.sleep(0.1)
            beat()
    elif kind == "refuse":
        raise ManifestError(value)
    elif kind == "fail":
        raise ZeroDivisionError(value)
    elif kind == "eat":
        raise MemoryError
    return f"{task} done"


def outcomes(*tasks: str, workers: int = 2, stall: float = 30.0) -> list[str | Lost]:
    """Results in the order of the tasks, each of which came once."""
    found = dict(pairs := list(results(work, tasks, workers=workers, stall=stall)))
    assert sorted(index for index, _ in pairs) == list(range(len(tasks)))
    assert not multiprocessing.active_children()
    return [found[index] for index in range(len(tasks))]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_crash_costs_its_own_task_alone() -> None:
    found = outcomes("a", "crash", "b", "exit 3", "c")
    assert found == [
        "a done",
        Lost("the worker process crashed (SIGSEGV)"),
        "b done",
        Lost("the worker process crashed (exit code 3)"),
        "c done",
    ]


def test_who_stands_still_is_ended_and_who_gets_on_is_not() -> None:
    assert outcomes("hang", "slow", stall=0.5) == [Lost("it made no progress for 0.5 s"), "slow done"]


def test_exceptions_of_one_task_do_not_stop_the_others() -> None:
    first, second, third = outcomes("fail by zero", "eat", "a", workers=1)
    assert first == Lost("it could not be read: ZeroDivisionError: by zero")
    assert isinstance(second, Lost)
    assert "memory" in second.reason
    assert third == "a done"


def test_an_error_of_the_package_stops_the_run() -> None:
    with pytest.raises(ManifestError, match="the disk is full"):
        list(results(work, ["refuse the disk is full", "hang"], workers=2, stall=30))
    assert not multiprocessing.active_children()


def test_nobody_is_left_when_the_reader_stops() -> None:
    stream = results(work, ["a", "hang", "hang"], workers=2, stall=300)
    assert next(stream) == (0, "a done")
    stream.close()
    assert not multiprocessing.active_children()


def test_nothing_to_do_starts_nothing() -> None:
    assert outcomes() == []


@pytest.mark.parametrize(("workers", "stall"), [(0, 1.0), (1, 0.0), (1, float("nan"))])
def test_options_out_of_range(workers: int, stall: float) -> None:
    with pytest.raises(ConfigError, match="expected 1 or more"):
        list(results(work, ["a"], workers=workers, stall=stall))


UNGUARDED = """
import sys
sys.path[:0] = sys.argv[1:]
from test_processes import work
from tellsign.processes import results
print(list(results(work, ["a"], workers=1, stall=30)))
"""

ORPHANS = """
import multiprocessing, sys
sys.path[:0] = sys.argv[1:]
from test_processes import work
from tellsign.processes import results
if __name__ == "__main__":
    for _ in results(work, ["a", "hang"], workers=1, stall=300):
        print(multiprocessing.active_children()[0].pid, flush=True)
"""


DETACHED = """
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"]).pid, flush=True)
time.sleep(1000)
"""


def test_a_script_without_a_guard_is_told(tmp_path: Path) -> None:
    done = subprocess.run(command(tmp_path, UNGUARDED), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ConfigError: a worker process ended before its first task" in done.stderr
    assert "__main__" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    assert not worker_outlives_parent(tmp_path, ORPHANS)
    assert worker_outlives_parent(tmp_path, DETACHED, patience=0.2)
