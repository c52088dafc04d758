"""Tasks spread over worker processes that may crash or hang: the task is blamed, the run goes on.

Each worker has one thread of arithmetic, is deaf to Ctrl-C, and ends when its parent is gone.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from typing import TYPE_CHECKING, Any, TypeVar

from tellsign.types import ConfigError, TellsignError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

Task = TypeVar("Task")
Result = TypeVar("Result")
Beat = Callable[[], None]

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
NO_MEMORY = "not enough memory to read it"


@dataclass(frozen=True, slots=True)
class Lost:
    """In place of a result: why there is none."""

    reason: str


def results(
    work: Callable[[Task, Beat], Result], tasks: Sequence[Task], *, workers: int, stall: float
) -> Iterator[tuple[int, Result | Lost]]:
    """The results of tasks, in the order in which they are ready.

    When a worker dies, every task that was in the works is done again, alone in a process of its own; one
    that dies there as well is lost. So a task may be begun more than once, and must not mind.

    Args:    work: called as work(task, beat) in a worker, so it can be pickled; it calls `beat` whenever it
             gets on.
             tasks: what to do; they can be pickled.
             workers: processes, 1 or more.
             stall: seconds without a beat after which a worker is ended.
    Returns: (index of the task, its result, or `Lost` with the reason); each task once.
    Raises:  ConfigError: an option is out of its range, or no process can be started. TellsignError: as
             `work` raises it; any other exception of `work` makes its task lost.
    """
    if workers < 1 or not stall > 0:
        raise ConfigError(
            f"workers is {workers} and stall {stall}; expected 1 or more, and more than 0 seconds"
        )
    waiting = deque(range(len(tasks)))
    while waiting:
        suspects: list[int] = []
        with _Pool(min(workers, len(waiting)), stall) as pool:
            yield from pool.results(work, tasks, waiting, suspects)
        for suspect in suspects:
            broken: list[int] = []
            begun = time.monotonic()
            with _Pool(1, stall) as pool:
                yield from pool.results(work, tasks, deque([suspect]), broken)
            if broken:
                yield suspect, Lost(pool.verdict(time.monotonic() - begun))


class _Pool:
    """Processes that live until one of them dies. A context manager, at whose end none of them is left."""

    def __init__(self, workers: int, stall: float) -> None:
        self.workers = workers
        self.stall = stall
        self._others = set(multiprocessing.active_children())
        self._processes: set[BaseProcess] = set()
        self._executor = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_prepare,
            initargs=(stall,),
        )
        try:
            self._submitted(_ready).result()
        except BaseException as error:
            self.__exit__(type(error))
            if not isinstance(error, BrokenProcessPool):
                raise
            raise ConfigError(
                "a worker process ended before its first task: is there memory for it? A script that starts "
                'workers does so below `if __name__ == "__main__":`'
            ) from error

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None:
            for process in self._processes:
                process.kill()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _submitted(self, work: Callable[..., Result], *arguments: object) -> Future[Result]:
        """A task given to the executor, which may start a process for it, and shows nobody which it has."""
        with one_thread(), deaf_to_interrupts():
            future = self._executor.submit(work, *arguments)
        self._processes |= set(multiprocessing.active_children()) - self._others
        return future

    def results(
        self,
        work: Callable[[Task, Beat], Result],
        tasks: Sequence[Task],
        waiting: deque[int],
        suspects: list[int],
    ) -> Iterator[tuple[int, Result | Lost]]:
        """Results until nothing waits or a worker dies; then `suspects` are the tasks it may have been."""
        running: dict[Future[Result | Lost], int] = {}
        broken = False
        while running or (waiting and not broken):
            # No more than are being worked on, so that few are suspected.
            while waiting and not broken and len(running) < self.workers:
                try:
                    running[self._submitted(_outcome, work, tasks[waiting[0]])] = waiting[0]
                    waiting.popleft()
                except BrokenProcessPool:
                    broken = True
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                index = running.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    broken = True
                    suspects.append(index)
                else:
                    yield index, future.result()
        suspects.sort()

    def verdict(self, seconds: float) -> str:
        """Why the only process of a pool, which is no more, ended before its task did."""
        (process,) = self._processes
        if process.exitcode == 1 and seconds >= self.stall:  # as faulthandler ends a process
            return f"it made no progress for {self.stall:g} s"
        names = {-number.value: number.name for number in signal.Signals}
        code = process.exitcode or 0
        return f"the worker process crashed ({names.get(code, f'exit code {code}')})"


_stall = 0.0
_nowhere = -1


def _prepare(stall: float) -> None:
    """The start of a worker's life."""
    global _stall, _nowhere  # noqa: PLW0603 - a worker's own
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _stall = stall
    _nowhere = silence()
    end_with_parent()


def _ready() -> None:
    """The first task of every pool: a process that can't be started is no other task's fault."""


def _beat() -> None:
    faulthandler.dump_traceback_later(_stall, file=_nowhere, exit=True)


def _outcome(work: Callable[[Any, Beat], Result], task: Any) -> Result | Lost:
    _beat()
    try:
        return work(task, _beat)
    except TellsignError:
        raise
    except MemoryError:
        return Lost(NO_MEMORY)
    except Exception as error:
        return Lost(f"it could not be read: {type(error).__name__}: {error}")
    finally:
        faulthandler.cancel_dump_traceback_later()


def silence() -> int:
    """Have this process print nothing, since what a decoder prints would mix with the results.

    Returns: a descriptor that swallows what is written to it.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return nowhere


def end_with_parent() -> None:
    """Have this process, a worker, end when its parent is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def outlive_nobody() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=outlive_nobody, daemon=True).start()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Processes that start in this block do their arithmetic in one thread."""
    saved = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes that start in this block are deaf to Ctrl-C, which a terminal sends to them as well."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # Started by the first process of all, it would let interrupts through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
