"""Worker processes that turn files into crops, in the order asked for and a few batches ahead.

A worker knows of no file before it is sent to it, and what it sends back is 8-bit levels where nothing is
lost by that.

Shapes: B batch, N crops of an image, S pixels of a crop's side.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from torch.utils.data import DataLoader

from tellsign.data.augment import unit
from tellsign.data.pixels import pixels
from tellsign.processes import deaf_to_interrupts, end_with_parent, one_thread, silence
from tellsign.types import ConfigError, ImageError

if TYPE_CHECKING:
    from tellsign.data.augment import Pixels

PREFETCH = 2  # batches that a worker is ahead
PRELOADED = ["__main__", "tellsign.data.loading"]  # by the process that workers are forked from

# A file, and the seed of what is random about it.
Item = tuple[Path, tuple[int, ...]]
# An image and its seed → its crops (N, 3, S, S).
Look = Callable[["Pixels", tuple[int, ...]], "Pixels"]


class Result(NamedTuple):
    """What became of a task; places are those of its items."""

    stacks: dict[int, tuple[list[int], torch.Tensor]]  # crops an image → places, (B, N, 3, S, S)
    bad: dict[int, str]  # place → reason
    failure: str = ""  # why the run can't go on


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker does with the files of a batch; in PyTorch's words the data set."""

    look: Look
    cache: Path | None

    def __getitem__(self, task: Sequence[Item]) -> Result:
        crops: dict[int, dict[int, Pixels]] = {}
        bad: dict[int, str] = {}
        for place, (path, seed) in enumerate(task):
            try:
                found = self.look(pixels(path, self.cache), seed)
            except ImageError as error:
                bad[place] = str(error)
            except ConfigError as error:
                return Result({}, {}, str(error))
            else:
                crops.setdefault(len(found), {})[place] = found
        return Result({n: (list(group), _stack(group)) for n, group in crops.items()}, bad)


def _stack(group: Mapping[int, Pixels]) -> torch.Tensor:
    """Crops as one tensor: a quarter of the bytes where all are levels."""
    arrays = list(group.values())
    if any(array.dtype != np.uint8 for array in arrays):
        arrays = [unit(array) for array in arrays]
    return torch.from_numpy(np.stack(arrays))


class _Tasks:
    """What is to be done next, for a DataLoader that outlives epochs; in PyTorch's words the sampler."""

    def __init__(self) -> None:
        self.next: Iterator[Sequence[Item]] = iter(())

    def __iter__(self) -> Iterator[Sequence[Item]]:
        return self.next


class DecoderPool:
    """Workers that do tasks in order, a few ahead; they start when needed and live until `close`."""

    def __init__(self, work: Work, workers: int) -> None:
        """Prepare the workers; none is started before there is work.

        Args:    work: what each of them does.
                 workers: processes; 0: this process does it.
        Raises:  ConfigError: workers is no such number.
        """
        check_whole("workers", workers, 0)
        self.work = work
        self.workers = workers
        self._tasks = _Tasks()
        self._loader: DataLoader[Any] | None = None
        self._running: Generator[Result, None, None] | None = None

    def close(self) -> None:
        """End the workers, and whatever they were asked for last."""
        if self._running is not None:
            self._running.close()
        self._running = self._loader = None

    def results(self, tasks: Iterator[Sequence[Item]]) -> Iterator[Result]:
        """Do tasks; those that were begun before are dropped.

        Args:    tasks: files and seeds; read lazily, a few ahead.
        Returns: the result of each, in order.
        Raises:  ConfigError: a worker dies, or the cache can't be written.
        """
        if self._running is not None:
            self._running.close()
        self._running = self._run(tasks)
        return self._running

    def _run(self, tasks: Iterator[Sequence[Item]]) -> Generator[Result, None, None]:
        try:
            for result in self._stream(tasks):
                if result.failure:
                    raise ConfigError(result.failure)
                yield result
        except (RuntimeError, OSError, EOFError) as error:  # as PyTorch and pipes tell of a dead process
            self._loader = None
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise ConfigError(
                f"a process that decodes images failed: {reason}. Is there memory for {self.workers} of them "
                "(in a container also shared memory, /dev/shm)? Try fewer workers. "
                'A script that starts workers does so below `if __name__ == "__main__":`'
            ) from error

    def _stream(self, tasks: Iterator[Sequence[Item]]) -> Iterator[Result]:
        if not self.workers:
            return map(self.work.__getitem__, tasks)
        self._tasks.next = tasks
        with one_thread(), deaf_to_interrupts():
            if self._loader is None:
                self._loader = self._started()
            return iter(self._loader)

    def _started(self) -> DataLoader[Any]:
        return DataLoader(
            cast("Any", self.work),
            sampler=cast("Any", self._tasks),
            batch_size=None,  # a task is a batch
            num_workers=self.workers,
            collate_fn=cast("Any", _unchanged),
            worker_init_fn=_begin,
            prefetch_factor=PREFETCH,
            persistent_workers=True,
            multiprocessing_context=_start_method(),
            generator=torch.Generator(),  # else PyTorch draws from the run's own random state
        )


def _unchanged(result: Result) -> Result:
    return result


def _start_method() -> str:
    """A clean process that has PyTorch loaded and forks: workers start at once, without threads and locks."""
    if sys.platform != "linux":
        return "spawn"
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    return "forkserver"


def _begin(_number: int) -> None:
    """The start of a worker's life."""
    silence()
    end_with_parent()


def check_whole(name: str, value: int, least: int, most: int | None = None) -> None:
    """Refuse what is no whole number of a range.

    Args:    name: of the option, for the message.
             value: given.
             least, most: the range, both included; None: no upper end.
    Raises:  ConfigError: the value is another one.
    """
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not (is_whole and value >= least and (most is None or value <= most)):
        limit = f"from {least} on" if most is None else f"from {least} to {most}"
        raise ConfigError(f"{name} is a whole number {limit}, found {value!r}")
