"""Worker processes that turn files into crops, in the order asked for and a few batches ahead.

A worker knows of no file before it is sent to it, and what it sends back is 8-bit levels where nothing is
lost by that.

Shapes: B batch, N crops of an image, S pixels of a crop's side, D numbers of a descriptor.
"""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from torch.utils.data import DataLoader

from tellsign.configuration import check_whole
from tellsign.data.augment import unit
from tellsign.data.pixels import pixels
from tellsign.faces import Box, square
from tellsign.image.network_input import Seen
from tellsign.processes import deaf_to_interrupts, end_with_parent, one_thread, silence
from tellsign.types import ConfigError, ImageError, NoFaceError, ResourceError

if TYPE_CHECKING:
    from tellsign.data.augment import Pixels

PREFETCH = 2  # batches that a worker is ahead
FEW = 2  # workers that a single processor can do with: the default, where PyTorch warns of freezing
PRELOADED = ["__main__", "tellsign.data.loading"]  # by the process that workers are forked from

# An image and its seed → its crops (N, 3, S, S), and its descriptor (D,) where there is one.
Sight = Callable[["Pixels", tuple[int, ...]], Seen]


class Item(NamedTuple):
    """A file, and what of it is looked at."""

    path: Path
    sha256: str = ""  # that the file must have; empty: not known
    seed: tuple[int, ...] = ()  # of what is random about it
    face: tuple[int, ...] | None = None  # left, top, right, bottom; None: the whole picture is looked at


class Stack(NamedTuple):
    """Images of a task that have the same number of crops."""

    places: list[int]  # (B,) of their items
    crops: torch.Tensor  # (B, N, 3, S, S)
    descriptors: torch.Tensor | None  # (B, D)


class Result(NamedTuple):
    """What became of a task."""

    stacks: dict[int, Stack]  # by the number of crops
    bad: dict[int, str]  # place of an item → why it can't be used
    failure: ConfigError | None = None  # why the run can't go on


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker does with the files of a batch; in PyTorch's words the data set."""

    sight: Sight
    cache: Path | None

    def __getitem__(self, task: Sequence[Item]) -> Result:
        groups: dict[int, dict[int, Seen]] = {}
        bad: dict[int, str] = {}
        for place, item in enumerate(task):
            try:
                found = self.sight(_region(pixels(item.path, self.cache, item.sha256), item.face), item.seed)
            except ImageError as error:
                bad[place] = str(error)
            except ConfigError as error:
                return Result({}, {}, error)
            else:
                groups.setdefault(len(found.crops), {})[place] = found
        return Result({n: _stack(group) for n, group in groups.items()}, bad)


def _region(image: Pixels, face: tuple[int, ...] | None) -> Pixels:
    """The picture, or the square around a face in it. Raises NoFaceError where the face has no area."""
    if face is None:
        return image
    box = Box(*face)
    if box.left >= box.right or box.top >= box.bottom:
        raise NoFaceError("no face was found")
    return image[:, *square(box, *image.shape[1:])]


def _stack(group: Mapping[int, Seen]) -> Stack:
    """Images as tensors: a quarter of the bytes where all are levels."""
    arrays = [seen.crops for seen in group.values()]
    if any(array.dtype != np.uint8 for array in arrays):
        arrays = [unit(array) for array in arrays]
    descriptors = [seen.descriptor for seen in group.values() if seen.descriptor is not None]
    beside = torch.from_numpy(np.stack(descriptors)) if descriptors else None
    return Stack(list(group), torch.from_numpy(np.stack(arrays)), beside)


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

        Args:    tasks: read lazily, a few ahead.
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
                    raise result.failure
                yield result
        except (RuntimeError, OSError, EOFError) as error:  # as PyTorch and pipes tell of a dead process
            if not self.workers:
                raise
            self._loader = None
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise ResourceError(
                f"a process that decodes images failed: {reason}. Is there memory for {self.workers} of them "
                "(in a container also shared memory, /dev/shm)? Try fewer workers. "
                'A script that starts workers does so below `if __name__ == "__main__":`'
            ) from error

    def _stream(self, tasks: Iterator[Sequence[Item]]) -> Iterator[Result]:
        if not self.workers:
            return map(self.work.__getitem__, tasks)
        self._tasks.next = tasks
        with one_thread(), deaf_to_interrupts(), _unwarned(self.workers):
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


@contextmanager
def _unwarned(workers: int) -> Iterator[None]:
    """Without PyTorch's word that workers outnumber processors, where they are few and wait for files too."""
    with warnings.catch_warnings():
        if workers <= FEW:
            warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
        yield


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
