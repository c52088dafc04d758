"""Worker processes that score files, and are replaced when one crashes, hangs or eats the memory.

Each has one thread of arithmetic: several files at once beat several threads on one.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tellsign.processes import deaf_to_interrupts, one_thread, silence
from tellsign.types import ConfigError, TellsignError

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

Row = dict[str, Any]
Result = Row | str | None

# Rows wait for the ones before them; this many files may be ahead, so that memory stays flat.
WINDOW = 512
# A process that starts is no file's fault: until its first file, it has this long, and three tries.
START_SECONDS = 120.0
MAX_FAILED_STARTS = 3
NO_MEMORY = "not enough memory to read it; raise --memory-limit or lower --max-pixels"


class RowMaker(Protocol):
    """What does the work in a worker; a `Scorer`."""

    def rows(
        self, files: Sequence[tuple[Path, str | None]], *, on_start: Callable[[int | None], None]
    ) -> list[Row | None]:
        """As `Scorer.rows`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker may take."""

    workers: int = 1
    batch_size: int = 16  # files a worker scores together
    timeout: float = 60.0  # seconds for one file
    memory: int = 4 << 30  # bytes of address space of one worker; 0: no limit


@dataclass(frozen=True, slots=True)
class Job:
    """A file to score."""

    path: Path
    known: str | None = None  # sha256 of the content that was scored already
    number: int = 0  # its place in the order


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    connection: Connection
    jobs: list[Job] = field(default_factory=list)  # in the works
    begun: bool = False  # whether it has opened the first of `jobs`
    current: int | None = None  # index in `jobs` of the file being read; None: being scored together
    deadline: float = float("inf")


class Pool:
    """Workers that all do the same. A context manager; `rows` may be called once."""

    def __init__(self, load: Callable[[], RowMaker], limits: Limits) -> None:
        """Prepare the workers; none is started before there is work.

        Args:    load: called once in each worker, so it can be pickled; `Scorer.again` is one.
                 limits: what the workers may take.
        """
        self.load = load
        self.limits = limits
        self._workers: list[_Worker] = []
        self._waiting: deque[list[Job]] = deque()
        self._failed_starts = 0  # since a worker last began with a file

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            _stop(worker)

    def rows(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Result]]:
        """Score files.

        Args:    jobs: read lazily, a window ahead.
        Returns: each job with its row, in order; None where the content is the known one, and where a
                 worker died over the file a text that says why.
        Raises:  TellsignError: the workers can't load the detector, or end before they read a file.
        """
        source = (replace(job, number=number) for number, job in enumerate(jobs))
        done: dict[int, tuple[Job, Result]] = {}
        next_row = 0
        exhausted = False
        ahead = 0
        while True:
            while not exhausted and len(self._waiting) < self.limits.workers and ahead - next_row < WINDOW:
                # Small batches first, so that a few files already occupy every worker.
                size = min(self.limits.batch_size, max(1, ahead // self.limits.workers))
                batch = list(islice(source, size))
                exhausted = len(batch) < size
                ahead += len(batch)
                if batch:
                    self._waiting.append(batch)
            self._assign()
            busy = [worker for worker in self._workers if worker.jobs]
            if not busy and not self._waiting and exhausted:
                return
            for job, result in self._collect(busy):
                done[job.number] = (job, result)
            while next_row in done:
                yield done.pop(next_row)
                next_row += 1

    def _assign(self) -> None:
        while self._waiting:
            worker = next((worker for worker in self._workers if not worker.jobs), None)
            if worker is None:
                if len(self._workers) >= self.limits.workers:
                    return
                worker = self._start()
            worker.jobs = self._waiting.popleft()
            worker.begun = False
            worker.deadline = time.monotonic() + START_SECONDS
            with contextlib.suppress(OSError):  # a dead worker is found out in _collect
                worker.connection.send([(job.path, job.known) for job in worker.jobs])

    def _start(self) -> _Worker:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=_work, args=(theirs, self.load, self.limits), daemon=True
        )
        with one_thread(), deaf_to_interrupts():
            process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _collect(self, busy: list[_Worker]) -> Iterator[tuple[Job, Result]]:
        """The rows that have arrived, after waiting for one or for a deadline."""
        nearest = min(worker.deadline for worker in busy)
        ready = wait([worker.connection for worker in busy], max(0.0, nearest - time.monotonic()))
        for worker in busy:
            if worker.connection in ready:
                try:
                    message = worker.connection.recv()
                except (EOFError, OSError):
                    yield from self._lost(worker, self._crash(worker))
                    continue
                yield from self._heard(worker, message)
            elif time.monotonic() >= worker.deadline:
                limit = f"{self.limits.timeout:g} s (--timeout)" if worker.begun else f"{START_SECONDS:g} s"
                yield from self._lost(worker, f"it took longer than {limit}")

    def _heard(self, worker: _Worker, message: Any) -> Iterator[tuple[Job, Result]]:
        kind, value = message
        if kind == "error":
            raise value
        if kind == "start":
            self._failed_starts = 0
            worker.begun, worker.current = True, value
            files = len(worker.jobs) if value is None else 1
            worker.deadline = time.monotonic() + self.limits.timeout * files
        elif kind == "failed":
            yield from self._lost(worker, value)
        else:
            jobs, worker.jobs, worker.deadline = worker.jobs, [], float("inf")
            yield from zip(jobs, value, strict=True)

    def _crash(self, worker: _Worker) -> str:
        worker.process.join(1)  # it may be on its way out, with an exit code of its own
        exit_code = _stop(worker)
        names = {-number.value: number.name for number in signal.Signals}
        name = names.get(exit_code or 0, f"exit code {exit_code}")
        limit = f"; its memory limit is {self.limits.memory >> 20} MiB (--memory-limit)"
        return f"the worker process crashed ({name}){limit if self.limits.memory else ''}"

    def _lost(self, worker: _Worker, reason: str) -> Iterator[tuple[Job, Result]]:
        """Replace a worker; blame the file it was at, and give the others of its batch another go."""
        _stop(worker)
        self._workers.remove(worker)
        if not worker.begun:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                raise ConfigError(
                    f"{MAX_FAILED_STARTS} workers in a row ended before their first file: {reason}"
                )
            self._waiting.appendleft(worker.jobs)
            return
        guilty = worker.current if len(worker.jobs) > 1 else 0
        if guilty is None:
            # It died while it scored them together: one by one shows which file it was.
            self._waiting.extendleft([job] for job in reversed(worker.jobs))
            return
        blamed = worker.jobs.pop(guilty)
        if worker.jobs:
            self._waiting.appendleft(worker.jobs)
        yield blamed, reason


def _stop(worker: _Worker) -> int | None:
    worker.connection.close()
    worker.process.kill()
    worker.process.join(10)  # no longer: a process that waits for a dead network drive can't be killed
    return worker.process.exitcode


def _limit_memory(limit: int) -> None:
    if not limit or sys.platform == "win32":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
    with contextlib.suppress(OSError, ValueError):  # some systems know no such limit
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _work(connection: Connection, load: Callable[[], RowMaker], limits: Limits) -> None:
    """The life of a worker: batches of paths in, rows out, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    nowhere = silence()
    _limit_memory(limits.memory)
    try:
        maker = load()
    except TellsignError as error:
        connection.send(("error", error))
        return

    def started(index: int | None) -> None:
        # Should the parent be gone and this file hang, the process still ends.
        faulthandler.dump_traceback_later(2 * limits.timeout + 60, file=nowhere, exit=True)
        connection.send(("start", index))

    with contextlib.suppress(EOFError, OSError):
        while True:
            files = connection.recv()
            try:
                answer: tuple[str, Any] = ("rows", maker.rows(files, on_start=started))
            except MemoryError:
                answer = ("failed", NO_MEMORY)
            except Exception as error:
                answer = ("failed", f"it could not be scored: {type(error).__name__}: {error}")
            connection.send(answer)
            faulthandler.cancel_dump_traceback_later()
