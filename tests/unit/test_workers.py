"""Workers that crash, hang, eat memory or can't start: who is blamed, and that nobody else is."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orphans import worker_outlives_parent
from tellsign.processes import THREAD_VARIABLES
from tellsign.scoring import workers
from tellsign.scoring.workers import WINDOW, Job, Limits, Pool
from tellsign.types import ConfigError, NotFittedError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and memory limits of POSIX")


class StandIn:
    """Scores names: what a name begins with is what happens to the process that reads it."""

    def rows(
        self, files: Sequence[tuple[Path, str | None]], *, on_start: Callable[[int | None], None]
    ) -> list[dict[str, Any] | None]:
        for index, (path, _) in enumerate(files):
            on_start(index)
            self.happen(path.name)
        on_start(None)
        for path, _ in files:
            self.happen(path.name.removeprefix("together-"))
        return [
            None if known == path.name else {"path": path.name, "pid": os.getpid(), "mates": len(files)}
            for path, known in files
        ]

    def happen(self, name: str) -> None:
        what = name.partition("-")[0]
        if what in ("SIGKILL", "SIGSEGV", "SIGBUS"):
            os.kill(os.getpid(), getattr(signal, what))
        elif what == "exit":
            os._exit(3)
        elif what == "hang":
            time.sleep(1000)
        elif what == "nap":
            time.sleep(random.random() / 100)
        elif what == "greedy":
            bytearray(8 << 30)
        elif what == "raise":
            raise ValueError("no such wavelet")
        elif what == "print":
            print("noise", flush=True)
            os.write(1, b"noise")
            os.write(2, b"noise")


class WithEnvironment(StandIn):
    def rows(self, files: Any, *, on_start: Any) -> Any:
        return [dict(os.environ) for _ in files]


class Waiting(StandIn):
    """Takes as long over one file as it is told to."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def happen(self, name: str) -> None:
        while name == "wait" and not self.flag.exists():
            time.sleep(0.01)


def raising() -> StandIn:
    raise NotFittedError("never calibrated")


def dying() -> StandIn:
    os._exit(7)


def starting_slowly() -> StandIn:
    time.sleep(1.5)
    return StandIn()


def dying_at_first(flag: Path) -> StandIn:
    if not flag.exists():
        flag.touch()
        os._exit(7)
    return StandIn()


def results(names: Sequence[str], load: Callable[[], Any] = StandIn, **limits: Any) -> list[Any]:
    with Pool(load, Limits(**({"memory": 0} | limits))) as pool:
        answers = list(pool.rows(Job(Path(name)) for name in names))
    assert [job.path.name for job, _ in answers] == list(names)
    return [result for _, result in answers]


def plain(n: int, start: int = 0) -> list[str]:
    return [f"ok-{number}" for number in range(start, start + n)]


def test_rows_come_in_order_from_several_workers() -> None:
    names = [f"nap-{number}" for number in range(200)]
    rows = results(names, workers=3, batch_size=5)
    assert [row["path"] for row in rows] == names
    assert len({row["pid"] for row in rows}) == 3
    assert max(row["mates"] for row in rows) == 5


def test_nothing_to_do_starts_nothing() -> None:
    with Pool(dying, Limits(workers=4)) as pool:
        assert list(pool.rows([])) == []


def test_a_few_files_occupy_every_worker() -> None:
    assert len({row["pid"] for row in results(["nap"] * 4, workers=4, batch_size=16)}) == 4


def test_unchanged_content_gives_no_row() -> None:
    jobs = [Job(Path("a"), known="a"), Job(Path("b"), known="other"), Job(Path("c"))]
    with Pool(StandIn, Limits(memory=0)) as pool:
        answers = [result for _, result in pool.rows(jobs)]
    assert answers[0] is None
    assert [row["path"] for row in answers[1:] if isinstance(row, dict)] == ["b", "c"]


@pytest.mark.parametrize("together", ["", "together-"])
@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("SIGKILL", "the worker process crashed (SIGKILL)"),
        ("SIGSEGV", "the worker process crashed (SIGSEGV)"),
        ("exit", "the worker process crashed (exit code 3)"),
        ("raise", "it could not be scored: ValueError: no such wavelet"),
    ],
)
def test_the_culprit_is_blamed_and_its_mates_are_scored(what: str, reason: str, together: str) -> None:
    culprit = f"{together}{what}"
    names = [*plain(9), culprit, *plain(9, 9)]
    rows = results(names, batch_size=8)
    assert rows[9].startswith(reason)
    assert [row["path"] for row in rows if row is not rows[9]] == plain(18)
    assert rows[0]["pid"] != rows[-1]["pid"], "the worker was not replaced"


def test_several_culprits_in_one_batch() -> None:
    names = [
        *plain(7),
        "SIGKILL-1",
        "ok-7",
        "exit-2",
        "together-SIGSEGV-3",
        "ok-8",
        "together-exit-4",
        "ok-9",
    ]
    rows = results(names, batch_size=8)
    assert [index for index, row in enumerate(rows) if isinstance(row, str)] == [7, 9, 10, 12]
    assert ["SIGKILL" in rows[7], "code 3" in rows[9], "SIGSEGV" in rows[10]] == [True] * 3


def test_nothing_but_culprits() -> None:
    rows = results(["SIGKILL-1", "exit-2", "SIGSEGV-3", "SIGBUS-4"] * 2, workers=2, batch_size=4)
    assert all(isinstance(row, str) for row in rows)


@pytest.mark.parametrize("culprit", ["hang", "together-hang"])
def test_a_file_that_hangs(culprit: str) -> None:
    names = [*plain(2), culprit, *plain(3, 2)]
    rows = results(names, timeout=1.0, batch_size=2)
    assert rows[2] == "it took longer than 1 s (--timeout)"
    assert [row["path"] for row in rows if row is not rows[2]] == plain(5)


def test_a_file_that_exceeds_the_memory() -> None:
    names = [*plain(3), "greedy", *plain(3, 3)]
    rows = results(names, memory=2 << 30, batch_size=4)
    assert rows[3] == workers.NO_MEMORY
    assert "--memory-limit" in rows[3]
    assert [row["path"] for row in rows if row is not rows[3]] == plain(6)


def test_a_crash_names_the_limit_only_where_there_is_one() -> None:
    assert "256" not in results(["exit"])[0]
    assert "its memory limit is 4096 MiB (--memory-limit)" in results(["exit"], memory=4 << 30)[0]


def test_a_slow_start_is_no_file_s_fault() -> None:
    rows = results(plain(3), starting_slowly, timeout=0.2)
    assert [row["path"] for row in rows] == plain(3)


def test_an_error_while_loading_ends_the_run() -> None:
    with pytest.raises(NotFittedError, match="never calibrated"):
        results(plain(3), raising)


def test_workers_that_never_start_end_the_run() -> None:
    with pytest.raises(ConfigError, match=r"3 workers in a row .*exit code 7.*--memory-limit"):
        results(plain(40), dying, workers=2, memory=1 << 40)


def test_a_worker_that_fails_to_start_once_is_replaced(tmp_path: Path) -> None:
    load = partial(dying_at_first, tmp_path / "flag")
    assert [row["path"] for row in results(plain(5), load)] == plain(5)


def test_a_worker_killed_between_two_files_blames_neither() -> None:
    rows = []
    with Pool(StandIn, Limits(memory=0)) as pool:
        for _, row in pool.rows([Job(Path("a")), Job(Path("b"))]):
            rows.append(row)
            (worker,) = pool._workers  # has nothing to do while its row is looked at
            worker.process.kill()
            worker.process.join()
    assert [row["path"] for row in rows if isinstance(row, dict)] == ["a", "b"]


def test_ctrl_c_is_the_parent_s(monkeypatch: pytest.MonkeyPatch) -> None:
    start, pids = Pool._start, []

    def interrupted(pool: Pool) -> Any:
        worker = start(pool)
        pids.append(worker.process.pid or 0)
        for _ in range(20):  # from the first moment of the new process on
            os.kill(pids[-1], signal.SIGINT)
            time.sleep(0.02)
        return worker

    monkeypatch.setattr(Pool, "_start", interrupted)
    assert [row["pid"] for row in results(plain(3))] == 3 * pids


def test_files_are_read_a_window_ahead_and_no_further(tmp_path: Path) -> None:
    produced, flag = 0, tmp_path / "flag"

    def jobs() -> Iterator[Job]:
        nonlocal produced
        for number in range(4 * WINDOW):
            produced += 1
            if produced == WINDOW:
                flag.touch()  # only now the first file ends
            yield Job(Path("wait" if number == 0 else "ok"))

    most, batch, n_workers = 0, 16, 2
    limits = Limits(workers=n_workers, batch_size=batch, timeout=100, memory=0)
    with Pool(partial(Waiting, flag), limits) as pool:
        for consumed, _ in enumerate(pool.rows(jobs())):
            most = max(most, produced - consumed)
    assert produced == 4 * WINDOW
    assert WINDOW <= most <= WINDOW + batch * (n_workers + 1)


def test_each_worker_has_one_thread_and_the_parent_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    (environment,) = results(["a"], WithEnvironment)
    assert {environment[name] for name in THREAD_VARIABLES} == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_what_a_decoder_prints_goes_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    assert isinstance(results(["print"])[0], dict)
    assert capfd.readouterr() == ("", "")


def test_no_worker_outlives_its_pool() -> None:
    with Pool(StandIn, Limits(workers=2, timeout=100, memory=0)) as pool:
        answers = pool.rows(Job(Path(name)) for name in ["ok", "hang", "hang", "hang"])
        next(answers)
        processes = [worker.process for worker in pool._workers]
        assert any(process.is_alive() for process in processes)
    assert not any(process.is_alive() for process in processes)


ORPHANS = """
import os, sys, time
sys.path[:0] = sys.argv[1:]
from pathlib import Path
from test_workers import StandIn
from tellsign.scoring.workers import Job, Limits, Pool
if __name__ == "__main__":
    with Pool(StandIn, Limits(memory=0)) as pool:
        for job, row in pool.rows(Job(Path(name)) for name in "ab"):
            print(row["pid"], flush=True)
            time.sleep(1000)
"""


def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    assert not worker_outlives_parent(tmp_path, ORPHANS)


@pytest.mark.parametrize(("asked", "most", "given"), [(100, -1, 100), (100, 200, 100), (100, 50, 50)])
def test_the_memory_limit_is_no_higher_than_allowed(
    monkeypatch: pytest.MonkeyPatch, asked: int, most: int, given: int
) -> None:
    import resource

    found = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (most, most))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: found.append(limits))
    workers._limit_memory(asked)
    assert found == [(given, given)]


def test_a_system_without_memory_limits_is_none_for_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    def refused(*_: object) -> None:
        raise ValueError("not supported")

    monkeypatch.setattr(resource, "setrlimit", refused)
    workers._limit_memory(1 << 30)


# Memory ---------------------------------------------------------------------------------------------------

MEASURED = """
import sys
sys.path[:0] = sys.argv[3:]
from pathlib import Path
from types import SimpleNamespace
from test_workers import Clerk
from tellsign.scoring import inputs
from tellsign.scoring.scan import scan
from tellsign.scoring.store import Store
from tellsign.scoring.workers import Limits

if __name__ == "__main__":
    folder, keep = Path(sys.argv[1]), sys.argv[2] == "keep"
    kept = []
    scorer = SimpleNamespace(again=Clerk)
    with Store(folder / "out.jsonl", settings={}, resume=False, overwrite=True) as store:
        summary = scan(
            inputs.files([folder]),
            scorer,
            limits=Limits(memory=0),
            store=store,
            on_row=kept.append if keep else lambda row: None,
        )
    # Not getrusage: its peak is that of whatever started this process, too.
    (size,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    print(summary.n, size.split()[1])
"""


class Clerk:
    """Writes a row of the usual size for any name."""

    def rows(self, files: Any, *, on_start: Any) -> Any:
        on_start(0)
        row = {"label": "real", "sha256": "ab" * 32, "detector": "d@1", "error": None}
        return [{"path": str(path), **row, "warnings": [f"{path} " * 20]} for path, _ in files]


def peak(folder: Path, n: int, *, keep: bool) -> int:
    """KiB of memory that a scan of n files takes in the process that leads it."""
    folder.mkdir()
    for number in range(n):
        (folder / f"{number}.jpg").touch()
    script = folder.with_suffix(".py")
    script.write_text(MEASURED)
    command = [sys.executable, script, folder, "keep" if keep else "forget", Path(__file__).parent]
    done = subprocess.run([*command, Path(__file__).parents[1]], capture_output=True, text=True, check=True)
    count, size = map(int, done.stdout.split())
    assert count == n
    return size


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measured by /proc")
@pytest.mark.parametrize("keep", [False, True], ids=["a scan", "one that keeps its rows"])
def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path, keep: bool) -> None:
    few, many = peak(tmp_path / "few", 200, keep=keep), peak(tmp_path / "many", 20_000, keep=keep)
    # 512 rows and 10,000 names may wait; 20,000 rows would be 20 MB and more.
    assert (many - few > 16 * 1024) == keep, f"{few} KiB for 200 files, {many} KiB for 20,000"
