"""The face in each image of a manifest, sought once and kept in a file for all trainings.

The file has a line of JSON for each image, found by path, time of change and size of the image, and is only
ever added to: a search that was ended goes on where it was, and a cut line is sought again.

Shapes: N images, C channels, H W pixels.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import faces
from tellsign.data.augment import unit
from tellsign.data.decoders import DecoderPool, Item, Work
from tellsign.data.pixels import entry_key
from tellsign.image.network_input import Seen
from tellsign.types import ConfigError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from tellsign.data.augment import Pixels
    from tellsign.data.manifest import Manifest

BATCH = 8  # images between two writes
NONE = (0, 0, 0, 0, 0, 0)  # of an image that can't be read, which a loader says more of

Found = tuple[int, ...]  # left, top, right, bottom of the face, height and width of the image


@dataclass(frozen=True, slots=True, eq=False)
class FaceBoxes:
    """One face an image."""

    boxes: NDArray[np.int64]  # (N, 4) left, top, right, bottom, the last two exclusive; 0 where there is none
    sizes: NDArray[np.int64]  # (N, 2) height and width of the image; 0 where it can't be read

    def __post_init__(self) -> None:
        n = len(self.boxes)
        if self.boxes.shape != (n, 4) or self.sizes.shape != (n, 2):
            raise ConfigError(
                "faces are boxes (N, 4) and sizes of their images (N, 2), found "
                f"{self.boxes.shape} and {self.sizes.shape}"
            )

    @property
    def n_found(self) -> int:
        """How many images have a face."""
        return int((self.boxes[:, 2] > self.boxes[:, 0]).sum())

    @property
    def shown(self) -> NDArray[np.intp]:
        """Rows of the images that show a face, or can't be read: whoever reads these says why."""
        return np.flatnonzero((self.boxes[:, 2] > self.boxes[:, 0]) | (self.sizes == 0).any(axis=1))

    def of(self, rows: NDArray[np.intp]) -> FaceBoxes:
        """Those of some rows."""
        return FaceBoxes(self.boxes[rows], self.sizes[rows])

    def rows(self) -> list[list[int]]:
        """Plain numbers, a row an image, for `from_rows`."""
        found: list[list[int]] = np.concatenate([self.boxes, self.sizes], axis=1).tolist()
        return found

    @classmethod
    def from_rows(cls, rows: Any) -> FaceBoxes:
        """From what `rows` gave."""
        table = np.asarray(rows, dtype=np.int64).reshape(-1, len(NONE))
        return cls(table[:, :4], table[:, 4:])


def face_boxes(manifest: Manifest, file: Path, *, workers: int = 0, cache: Path | None = None) -> FaceBoxes:
    """The surest face of each image.

    Args:    manifest: the images.
             file: of what was found before; made, or added to.
             workers: processes that seek; 0: this process does.
             cache: folder of decoded pictures, or none.
    Returns: a box an image.
    Raises:  ConfigError: dlib is missing, a worker died, or the file can't be read or written.
    """
    keys = [entry_key(sample.path) for sample in manifest]
    known = _read(file)
    missing = list(
        {key: row for row, key in enumerate(keys) if key is not None and key not in known}.values()
    )
    if missing:
        pool = DecoderPool(Work(_face, cache), workers)
        _seek(manifest, missing, keys=keys, known=known, file=file, pool=pool)
    return FaceBoxes.from_rows([known.get(key or "", NONE) for key in keys])


def _seek(
    manifest: Manifest,
    rows: list[int],
    *,
    keys: list[str | None],
    known: dict[str, Found],
    file: Path,
    pool: DecoderPool,
) -> None:
    """Look for the faces of some rows, and keep what is found, here and in the file."""
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    tasks = ([Item(manifest[row].path, manifest[row].sha256) for row in batch] for batch in batches)
    try:
        for batch, result in zip(batches, pool.results(tasks), strict=True):
            own = {
                str(keys[batch[place]]): tuple(int(value) for value in numbers[0])
                for stack in result.stacks.values()
                for place, numbers in zip(stack.places, stack.crops, strict=True)
            }
            known |= own
            _add(file, own)
    finally:
        pool.close()


def _face(image: Pixels, _seed: tuple[int, ...]) -> Seen:
    """What is known of one image, in the form of a crop: (1, 6), whole numbers that float32 holds."""
    found = next(iter(faces.boxes(unit(image))), faces.Box(0, 0, 0, 0))
    box = (found.left, found.top, found.right, found.bottom)
    return Seen(np.array([[*box, *image.shape[1:]]], dtype=np.float32))


def _read(file: Path) -> dict[str, Found]:
    """What was found before; lines that are cut or mixed up are left out."""
    known = {}
    for line in _lines(file):
        try:
            entry = json.loads(line)
            found = tuple(int(value) for value in entry["found"])
            key = entry["image"]
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(key, str) and len(found) == len(NONE):
            known[key] = found
    return known


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as opened:
            yield from opened
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"{file}, where found faces are kept, can't be read: {error.strerror}") from error


def _add(file: Path, found: dict[str, Found]) -> None:
    """Add lines in one write, so that two processes don't mix theirs up."""
    text = "".join(json.dumps({"image": key, "found": numbers}) + "\n" for key, numbers in found.items())
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            # After a line that was cut the first of these would be lost with it.
            cut = os.fstat(descriptor).st_size and not _ends_a_line(file)
            os.write(descriptor, (b"\n" if cut else b"") + text.encode("ascii"))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OutputError(
            f"found faces can't be written to {file}: {error.strerror or error}; free some space, or train "
            "with attention_weight = 0"
        ) from error


def _ends_a_line(file: Path) -> bool:
    with file.open("rb") as opened:
        opened.seek(-1, os.SEEK_END)
        return opened.read(1) == b"\n"
