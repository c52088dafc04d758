"""Worker processes that score files, and are replaced when one crashes, hangs or eats the memory.

Each has one thread of arithmetic: several files at once beat several threads on one.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tellsign.types import TellsignError

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from tellsign.scoring.scorer import Options, Row

    Result = Row | str | None

# Rows wait for the ones before them; this many files may be ahead, so that memory stays flat.
WINDOW = 512
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


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
    current: int | None = None  # index in `jobs` of the file being read; None: being scored together
    deadline: float = float("inf")


class Pool:
    """Workers over one detector. A context manager; `rows` may be called once."""

    def __init__(self, detector: Path, options: Options, limits: Limits) -> None:
        self.detector = detector
        self.options = options
        self.limits = limits
        self._workers: list[_Worker] = []
        self._waiting: deque[list[Job]] = deque()

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
        Raises:  TellsignError: the workers can't load the detector.
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
            worker.current = None
            worker.deadline = time.monotonic() + self.limits.timeout * len(worker.jobs)
            with contextlib.suppress(OSError):  # a dead worker is found out in _collect
                worker.connection.send([(job.path, job.known) for job in worker.jobs])

    def _start(self) -> _Worker:
        ours, theirs = multiprocessing.Pipe()
        saved = {name: os.environ.get(name) for name in THREAD_VARIABLES}
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
        try:
            process = multiprocessing.get_context("spawn").Process(
                target=_work, args=(theirs, self.detector, self.options, self.limits), daemon=True
            )
            process.start()
        finally:
            for name, value in saved.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
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
                    yield from self._lost(worker, "the process that read it crashed")
                    continue
                yield from self._heard(worker, message)
            elif time.monotonic() >= worker.deadline:
                yield from self._lost(worker, f"it took longer than {self.limits.timeout:g} s (--timeout)")

    def _heard(self, worker: _Worker, message: Any) -> Iterator[tuple[Job, Result]]:
        kind, value = message
        if kind == "error":
            raise value
        if kind == "start":
            worker.current = value
            files = len(worker.jobs) if value is None else 1
            worker.deadline = time.monotonic() + self.limits.timeout * files
        else:
            jobs, worker.jobs, worker.deadline = worker.jobs, [], float("inf")
            yield from zip(jobs, value, strict=True)

    def _lost(self, worker: _Worker, reason: str) -> Iterator[tuple[Job, Result]]:
        """Replace a worker; blame the file it was at, and give the others of its batch another go."""
        exit_code = _stop(worker)
        self._workers.remove(worker)
        if "crashed" in reason and exit_code:
            name = signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"
            reason = f"{reason} ({name}); its memory limit is {self.limits.memory >> 20} MiB (--memory-limit)"
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
    worker.process.join()
    return worker.process.exitcode


def _work(connection: Connection, detector: Path, options: Options, limits: Limits) -> None:
    """The life of a worker: batches of paths in, rows out, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for the life of the process
    if limits.memory and sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    try:
        from tellsign.scoring.scorer import Scorer

        scorer = Scorer(detector, options)
    except TellsignError as error:
        connection.send(("error", error))
        return

    def started(index: int | None) -> None:
        # Should the parent be gone and this file hang, the process still ends.
        faulthandler.dump_traceback_later(2 * limits.timeout + 60, file=sys.stderr, exit=True)
        connection.send(("start", index))

    with contextlib.suppress(EOFError, OSError):
        while True:
            files = connection.recv()
            connection.send(("rows", scorer.rows(files, on_start=started)))
            faulthandler.cancel_dump_traceback_later()
