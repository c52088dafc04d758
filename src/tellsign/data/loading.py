"""Files → batches for training and evaluation, decoded in worker processes.

A batch depends on the seed, the epoch and its place in the order alone: not on the number of workers or
ranks, nor on where an epoch was resumed. Workers know of no file before it is sent to them, so that they take
the same memory for any number of files.

Shapes: B batch, N crops of an image, S pixels of a crop's side, D numbers of a descriptor.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from tellsign.configuration import check_whole
from tellsign.data.augment import placed_box, placement, training_view, unit
from tellsign.data.decoders import DecoderPool, Item, Stack, Work
from tellsign.data.pixels import levels
from tellsign.image.network_input import Seen, seen
from tellsign.types import ConfigError, ManifestError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from tellsign.data.augment import Pixels, View
    from tellsign.data.face_boxes import FaceBoxes
    from tellsign.data.left_out import LeftOut
    from tellsign.data.manifest import Manifest
    from tellsign.image.network_input import NetworkInput


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One rank's share of a global batch; empty where the share is, or nothing of it could be read."""

    images: torch.Tensor  # (B, 3, S, S) float32 in [0, 1]
    labels: torch.Tensor  # (B,) int64; 0 real, 1 fake
    rows: torch.Tensor  # (B,) int64, of the manifest
    n_global: int  # images of the global batch as planned, over all ranks, left out ones included
    boxes: torch.Tensor | None = None  # (B, 4) float32, the face in each crop, 0 without one; None: not asked
    descriptors: torch.Tensor | None = None  # (B, D) float32, beside the images; None: not asked


class EvaluationBatch(NamedTuple):
    """Images with the same number of crops."""

    rows: torch.Tensor  # (B,) int64, of the manifest
    crops: torch.Tensor  # (B, N, 3, S, S) float32 in [0, 1]
    bad: dict[int, str]  # row → why there are no crops of it; each row once
    descriptors: torch.Tensor | None = None  # (B, D) float32, beside the crops; None: not asked


class Loader:
    """Training batches of a manifest, epoch by epoch. A context manager, at whose end no worker is left."""

    def __init__(
        self,
        manifest: Manifest,
        view: View,
        *,
        seed: int,
        workers: int = 0,
        cache: Path | None = None,
        on_bad: Literal["stop", "skip"] = "stop",
        max_bad: int = 0,
        faces: FaceBoxes | None = None,
        shown: bool = False,
    ) -> None:
        """Prepare; workers start with the first epoch and stay for all.

        Args:    manifest: samples with labels.
                 view: how an image becomes what a network sees.
                 seed: of all augmentation, 0 or more.
                 workers: processes that decode; 0: this process does.
                 cache: folder of decoded pictures, 3 bytes a pixel; None: files are decoded in every epoch.
                 on_bad: what happens at a file that can't be used: the run stops, or it is left out.
                 max_bad: files that may be left out before the run stops.
                 faces: of the manifest's images; a view of faces needs them.
                 shown: faces follow crop, turn and flip into each batch.
        Raises:  ManifestError: a label is missing; ConfigError: an option is out of its range.
        """
        check_whole("seed", seed, 0)
        check_whole("max_bad", max_bad, 0)
        if on_bad not in {"stop", "skip"}:
            raise ConfigError(f"on_bad is stop or skip, found {on_bad!r}")
        _check_faces(faces, manifest, view.region)
        if shown and (faces is None or view.region == "face" or view.fit == "resize"):
            raise ConfigError(
                'faces can be shown in native crops of whole pictures alone: take region = "image" and '
                'fit = "crop", and give the faces'
            )
        self.manifest = manifest
        self.seed = seed
        self.on_bad = on_bad
        self.max_bad = max_bad
        self.waited = 0.0  # seconds that the consumer waited for batches in the current epoch
        self.bad: dict[int, str] = {}  # row → why it was left out in this run
        self._labels = torch.tensor(manifest.labels, dtype=torch.int64)
        self._view = view
        self._faces = faces
        self._shown = shown
        self._pool = DecoderPool(Work(partial(_training_sight, view), cache), workers)
        self._current: object = None

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers; another epoch would start new ones."""
        self._current = None
        self._pool.close()

    def epoch(
        self,
        order: NDArray[np.integer[Any]],
        *,
        epoch: int,
        batch_size: int,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[Batch]:
        """The batches of one epoch; one begun before ends.

        Global batch i is order[i * batch_size : (i + 1) * batch_size], of which rank r takes every world-th
        from its r-th on: over all ranks each entry once. What is random of an entry depends on the seed, the
        epoch and the entry's position in the order, so that a row that is repeated looks different.

        Args:    order: rows of the manifest; may repeat and leave out any.
                 epoch: its number, from 0.
                 batch_size: of the global batches; the last may be smaller.
                 start: the first global batch, where an epoch is resumed.
                 rank, world: which share of every batch is wanted, of how many.
        Returns: one batch for each global batch from `start` on, on every rank.
        Raises:  ConfigError: an option is out of its range, a worker died, or the cache can't be written.
                 ManifestError: a file can't be used and may not be left out.
        """
        rows = np.array(order)  # a copy: workers read it ahead
        if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
            raise ConfigError(f"order is a row of whole numbers, found {rows.dtype} of shape {rows.shape}")
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self.manifest)):
            raise ConfigError(
                f"order names rows from {rows.min()} to {rows.max()}; the manifest has {len(self.manifest)}, "
                "from 0 on"
            )
        check_whole("epoch", epoch, 0)
        check_whole("batch_size", batch_size, 1)
        check_whole("world", world, 1)
        check_whole("rank", rank, 0, world - 1)
        n_batches = -(-len(rows) // batch_size)
        check_whole("start", start, 0, n_batches)
        self.waited = 0.0
        self._current = token = object()
        share = partial(_share, len(rows), batch_size, rank, world)
        return self._batches(rows, epoch, share, range(start, n_batches), token)

    def _batches(
        self,
        order: NDArray[np.integer[Any]],
        epoch: int,
        share: Callable[[int], tuple[range, int]],
        numbers: range,
        token: object,
    ) -> Iterator[Batch]:
        faces = self._faces if self._view.region == "face" else None
        tasks = (
            [
                _item(self.manifest, int(order[place]), faces, (self.seed, epoch, place))
                for place in share(number)[0]
            ]
            for number in numbers
        )
        results = self._pool.results(tasks)
        for number in numbers:
            if self._current is not token:
                raise ConfigError("this epoch has ended: another was begun, or the loader was closed")
            began = time.perf_counter()
            positions, n_global = share(number)
            rows = np.asarray(order[positions.start : positions.stop : positions.step], dtype=np.int64)
            result = next(results)
            for place, reason in result.bad.items():
                self._leave_out(int(rows[place]), reason)
            stack = result.stacks.get(1, _nothing(self._view.network_input()))
            kept = torch.from_numpy(rows[stack.places])
            boxes = self._boxes(rows[stack.places], epoch, [positions[place] for place in stack.places])
            images = _floats(stack.crops)[:, 0]
            batch = Batch(images, self._labels[kept], kept, n_global, boxes, stack.descriptors)
            self.waited += time.perf_counter() - began
            yield batch

    def _boxes(self, rows: NDArray[np.int64], epoch: int, positions: Sequence[int]) -> torch.Tensor | None:
        """The face in each crop. Drawn anew from the crop's seed, so that workers need not know of faces."""
        if self._faces is None or not self._shown:
            return None
        found = torch.zeros(len(rows), 4)
        for one, row, position in zip(found, rows.tolist(), positions, strict=True):
            height, width = self._faces.sizes[row].tolist()
            if min(height, width) >= self._view.size:
                rng = np.random.default_rng((self.seed, epoch, position))
                placed = placement(height, width, self._view, rng)
                one[:] = torch.tensor(placed_box(self._faces.boxes[row], self._view.size, placed))
        return found

    def _leave_out(self, row: int, reason: str) -> None:
        """Note a file that can't be used; raises ManifestError where that is one too many."""
        self.bad[row] = reason
        name = f"{os.fsdecode(self.manifest[row].path)!a}"
        if self.on_bad == "stop":
            raise ManifestError(
                f"{name} can't be trained on: {reason}. Mend it or take it out of the manifest; such files "
                'are left out with on_bad = "skip", up to max_bad of them'
            )
        if len(self.bad) > self.max_bad:
            raise ManifestError(
                f"{len(self.bad)} files can't be trained on, and max_bad is {self.max_bad}; the last one is "
                f"{name}: {reason}"
            )


def evaluation_batches(
    manifest: Manifest,
    look: NetworkInput,
    *,
    batch_size: int,
    workers: int = 0,
    cache: Path | None = None,
    faces: FaceBoxes | None = None,
) -> Iterator[EvaluationBatch]:
    """What a network takes of each image outside of training, every image once.

    Images of one planned batch that have different numbers of crops come one number after the other.

    Args:    manifest: samples, with or without labels.
             look: how an image is looked at.
             batch_size: images of a batch, at most.
             workers: processes that decode; 0: this process does.
             cache: folder of decoded pictures; None: files are decoded.
             faces: of the manifest's images; a look at faces needs them.
    Returns: batches in the order of the manifest, but for the numbers of crops. A batch without images tells
             of bad ones alone.
    Raises:  ConfigError: an option is out of its range, a worker died, or the cache can't be written.
    """
    check_whole("batch_size", batch_size, 1)
    _check_faces(faces, manifest, look.region)
    pool = DecoderPool(Work(partial(_evaluation_sight, look), cache), workers)
    return _evaluation_batches(manifest, look, faces if look.region == "face" else None, batch_size, pool)


def usable_batches(
    manifest: Manifest,
    look: NetworkInput,
    *,
    left_out: LeftOut,
    batch_size: int,
    workers: int = 0,
    cache: Path | None = None,
    faces: FaceBoxes | None = None,
) -> Iterator[EvaluationBatch]:
    """`evaluation_batches` of the images that can be used.

    Args:    manifest, look, batch_size, workers, cache, faces: as there.
             left_out: takes the others.
    Returns: batches with images.
    Raises:  ManifestError: an image can't be used and may not be left out. ConfigError: as there.
    """
    options: Any = {"batch_size": batch_size, "workers": workers, "cache": cache, "faces": faces}
    for batch in evaluation_batches(manifest, look, **options):
        for row, reason in batch.bad.items():
            left_out.add(manifest[row].path, reason)
        if len(batch.rows):
            yield batch


def _evaluation_batches(
    manifest: Manifest, look: NetworkInput, faces: FaceBoxes | None, batch_size: int, pool: DecoderPool
) -> Iterator[EvaluationBatch]:
    parts = [
        range(len(manifest))[first : first + batch_size] for first in range(0, len(manifest), batch_size)
    ]
    tasks = ([_item(manifest, row, faces) for row in rows] for rows in parts)
    try:
        for rows, result in zip(parts, pool.results(tasks), strict=True):
            bad = {rows[place]: reason for place, reason in result.bad.items()}
            for stack in result.stacks.values() or (_nothing(look),):
                places = torch.tensor(stack.places, dtype=torch.int64)
                yield EvaluationBatch(places + rows.start, _floats(stack.crops), bad, stack.descriptors)
                bad = {}
    finally:
        pool.close()


def _check_faces(faces: FaceBoxes | None, manifest: Manifest, region: str) -> None:
    if faces is not None and len(faces.boxes) != len(manifest):
        raise ConfigError(
            f"faces are one an image, found {len(faces.boxes)} for a manifest of {len(manifest)}"
        )
    if faces is None and region == "face":
        raise ConfigError('region is "face", and no faces are given: seek them first, with face_boxes')


def _item(manifest: Manifest, row: int, faces: FaceBoxes | None, seed: tuple[int, ...] = ()) -> Item:
    sample = manifest[row]
    # An image that could not be read when faces were sought is read, so that the reason is told.
    sought = faces is not None and faces.sizes[row].all()
    face = tuple(faces.boxes[row].tolist()) if faces is not None and sought else None
    return Item(sample.path, sample.sha256, seed, face)


def _nothing(look: NetworkInput) -> Stack:
    """The stack of a task of which nothing could be read."""
    descriptors = torch.empty(0, look.n_descriptor) if look.n_descriptor else None
    return Stack([], torch.empty(0, 1, 3, look.size, look.size), descriptors)


def _share(n: int, batch_size: int, rank: int, world: int, number: int) -> tuple[range, int]:
    """A rank's positions in the order, of a global batch by its number; and how many that batch has."""
    first = number * batch_size
    stop = min(first + batch_size, n)
    return range(first + rank, max(stop, first + rank), world), stop - first


def _training_sight(view: View, image: Pixels, seed: tuple[int, ...]) -> Seen:
    found = training_view(image, view, np.random.default_rng(seed))
    return found._replace(crops=levels(found.crops))


def _evaluation_sight(look: NetworkInput, image: Pixels, _seed: tuple[int, ...]) -> Seen:
    found = seen(unit(image), look)
    return found._replace(crops=levels(found.crops))


def _floats(crops: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(unit(crops.numpy()))
