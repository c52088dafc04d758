"""One image file → everything about it that must not tell the label, in one decode.

A cue is what a classifier could learn instead of the traces of a generator: how the file was saved, how large
it is, what it is called, and how the picture looks when it is reduced to 64 patches of colour.

Shapes: H W pixels; an image array is (3, H, W) float32 in [0, 1].
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import image, processes
from tellsign.types import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 8  # of the thumbnail
GRID = 32  # side of the grey picture whose DCT the perceptual hash takes
FLAT = 1 / 255  # standard deviation of that picture below which its hash is noise
CHUNK = 16  # files that a worker is given at once
STALL = 300.0  # seconds over one file after which its worker is ended

_LUMA = np.array([0.299, 0.587, 0.114])
# (8, GRID) the lowest rows of a DCT-II.
_COSINES = np.cos(np.pi / GRID * np.outer(np.arange(8), np.arange(GRID) + 0.5))
# Of a name's stem, letters, digits and the rest; folders carry the label and are left out whole.
_RUNS = re.compile(r"[^\W\d_]+|\d+|[\W_]+")


@dataclass(frozen=True, slots=True, eq=False)
class FileCues:
    """What one file gives away."""

    sha256: str
    format: str  # by content
    suffix: str  # of the name, lower case with the dot
    stem: str  # of the name
    mode: str  # by Pillow's names, as stored
    width: int
    height: int
    n_bytes: int
    jpeg_quality: int | None  # None: no JPEG
    jpeg_sums: tuple[int, ...]  # of the quantisation tables, luminance first
    jpeg_tables: str  # digest of the tables; empty without
    exif: tuple[str, ...]  # names of the tags
    icc: str | None  # description of the colour profile
    thumbnail: NDArray[np.float32]  # (SIDE, SIDE, 3) in [0, 1]
    phash: int | None  # 64 bits; None where the picture has too little structure for one
    jpeg_subsampling: str | None = None  # of the chroma, such as 4:2:0; None: no JPEG
    jpeg_progressive: bool | None = None  # None: no JPEG

    @property
    def bits_per_pixel(self) -> float:
        """Of the file, headers included."""
        return 8 * self.n_bytes / (self.width * self.height)


@dataclass(frozen=True, slots=True)
class Features:
    """A cue of one file as a classifier gets it."""

    numbers: Sequence[float] | NDArray[np.float32] = ()
    tokens: tuple[str, ...] = ()  # names of what is there, one-hot


def file_cues(path: Path) -> FileCues:
    """The cues of one file.

    Args:    path: of an image.
    Returns: its cues.
    Raises:  ImageError: it is no usable image.
    """
    picture = image.decode(path)
    meta = picture.meta
    grid = area_means(picture.array, GRID)
    cell = GRID // SIDE
    thumbnail = grid.reshape(3, SIDE, cell, SIDE, cell).mean(axis=(2, 4)).transpose(1, 2, 0)
    tables = meta.jpeg_tables or ()
    return FileCues(
        sha256=meta.sha256,
        format=meta.format,
        suffix=path.suffix.lower(),
        stem=path.stem,
        mode=meta.mode,
        width=meta.width,
        height=meta.height,
        n_bytes=meta.n_bytes,
        jpeg_quality=meta.jpeg_quality,
        jpeg_sums=tuple(map(sum, tables)),
        jpeg_tables=_digest(tables),
        exif=tuple(sorted(meta.exif)),
        icc=meta.icc,
        thumbnail=np.ascontiguousarray(thumbnail, np.float32),
        phash=perceptual_hash(grid),
        jpeg_subsampling=meta.jpeg_subsampling,
        jpeg_progressive=meta.jpeg_progressive,
    )


@lru_cache(maxsize=64)  # a folder of images has few different tables
def _digest(tables: tuple[tuple[int, ...], ...]) -> str:
    return hashlib.sha256(repr(tables).encode()).hexdigest()[:12] if tables else ""


def area_means(array: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """A picture as side × side means over areas that tile it, whatever its aspect.

    Args:    array: (3, H, W). side: of the result; areas are at least a pixel, so that fewer pixels repeat.
    Returns: (3, side, side).
    """
    _, height, width = array.shape
    rows, columns = (np.arange(side + 1) * length // side for length in (height, width))
    if height % side == 0:
        bands = array.reshape(3, side, height // side, width).sum(axis=2)
    else:  # whole rows are added, since that walks through memory; reduceat would jump
        bands = np.stack([array[:, a : max(a + 1, b)].sum(axis=1) for a, b in pairwise(rows)], axis=1)
    sums = np.add.reduceat(bands, columns[:-1], axis=2)
    areas = np.maximum(np.diff(rows), 1)[:, None] * np.maximum(np.diff(columns), 1)
    means: NDArray[np.float32] = sums / areas.astype(np.float32)
    return means


def perceptual_hash(grid: NDArray[np.float32]) -> int | None:
    """The pHash of a picture that is reduced already.

    A bit is set where one of the 8 × 8 lowest DCT-II coefficients of the luma is above their median, as the
    library ImageHash has it, against which it is tested. That library is not used here: its one call costs a
    third of decoding a small picture, and every worker a second for imports.

    Args:    grid: (3, GRID, GRID) in [0, 1], means over areas.
    Returns: 64 bits; None for a picture that is all but flat, whose bits would be rounding noise.
    """
    luma = np.tensordot(_LUMA, grid, axes=1)
    if luma.std() < FLAT:
        return None
    low = _COSINES @ luma @ _COSINES.T
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def all_file_cues(
    paths: Sequence[Path], *, workers: int = 1, on_done: Callable[[], None] = lambda: None
) -> Iterator[FileCues | str]:
    """The cues of many files, read by worker processes of one thread each.

    Args:    paths: of the files. workers: processes. on_done: called after each file.
    Returns: for each path, in order, its cues, or the reason why there are none.
    """
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    ready: dict[int, list[FileCues | str]] = {}
    position = 0
    for index, found in processes.results(_rows, chunks, workers=workers, stall=STALL):
        ready[index] = _one_by_one(chunks[index]) if isinstance(found, processes.Lost) else found
        while position in ready:
            for row in ready.pop(position):
                yield row
                on_done()
            position += 1


def _one_by_one(chunk: Sequence[Path]) -> list[FileCues | str]:
    """The rows of a chunk over which a worker was lost: only one of its files may be to blame."""
    found: dict[int, FileCues | str] = {}
    for index, rows in processes.results(_rows, [[path] for path in chunk], workers=1, stall=STALL):
        found[index] = rows.reason if isinstance(rows, processes.Lost) else rows[0]
    return [found[index] for index in range(len(chunk))]


def _rows(paths: Sequence[Path], beat: Callable[[], None]) -> list[FileCues | str]:
    rows = []
    for path in paths:
        beat()
        rows.append(_row(path))
    return rows


def _row(path: Path) -> FileCues | str:
    try:
        return file_cues(path)
    except ImageError as error:
        return str(error)


def _format(cues: FileCues) -> Features:
    return Features(
        tokens=(f"format {cues.format}", f"suffix {cues.suffix}", f"mode {cues.mode}"),
    )


def _size(cues: FileCues) -> Features:
    width, height = math.log(cues.width), math.log(cues.height)
    return Features((width, height, width + height, width - height), (f"{cues.width} × {cues.height}",))


def _bytes(cues: FileCues) -> Features:
    return Features((math.log(cues.n_bytes),))


def _jpeg(cues: FileCues) -> Features:
    sums = (*cues.jpeg_sums, 0, 0)[:2]
    tokens = (
        f"tables {cues.jpeg_tables}",
        f"chroma {cues.jpeg_subsampling}",
        f"progressive {cues.jpeg_progressive}",
    )
    return Features((cues.jpeg_quality or 0, *sums), tokens)


def _exif(cues: FileCues) -> Features:
    tags = tuple(f"tag {name}" for name in cues.exif)
    return Features((len(cues.exif),), (f"exif {bool(cues.exif)}", f"profile {cues.icc}", *tags))


def _bits_per_pixel(cues: FileCues) -> Features:
    return Features((math.log(cues.bits_per_pixel),))


def _name(cues: FileCues) -> Features:
    """Length, kinds of characters, the order in which they come, words. Not what a running number says."""
    runs = _RUNS.findall(cues.stem)
    words = [run for run in runs if run[0].isalpha()]
    digits = [run for run in runs if run[0].isdigit()]
    shape = "".join("a" if run in words else "0" if run in digits else run for run in runs)
    counts = (len(cues.stem), sum(map(len, words)), sum(map(len, digits)), len(runs))
    return Features(counts, (f"shape {shape}", *(f"word {word.lower()}" for word in words)))


def _thumbnail(cues: FileCues) -> Features:
    return Features(cues.thumbnail.ravel())


def _metadata(cues: FileCues) -> Features:
    """All that the file says but its name, which is no part of what is in it."""
    parts = [FEATURES[name](cues) for name in METADATA]
    return Features(
        tuple(number for part in parts for number in part.numbers),
        tuple(token for part in parts for token in part.tokens),
    )


METADATA = ("format", "size", "bytes", "jpeg", "exif", "bits_per_pixel")
FEATURES: dict[str, Callable[[FileCues], Features]] = {
    "format": _format,
    "size": _size,
    "bytes": _bytes,
    "jpeg": _jpeg,
    "exif": _exif,
    "bits_per_pixel": _bits_per_pixel,
    "name": _name,
    "metadata": _metadata,
    "thumbnail": _thumbnail,
}


def cue_text(name: str, cues: FileCues) -> str:
    """A cue's value in words.

    Args:    name: of the cue, as in `FEATURES`. cues: of the file.
    Returns: a few words; of a thumbnail its mean colour.
    """
    quality = "no JPEG" if cues.jpeg_quality is None else f"JPEG near quality {cues.jpeg_quality}"
    if cues.jpeg_quality is not None:
        scans = "progressive" if cues.jpeg_progressive else "baseline"
        quality += f", chroma {cues.jpeg_subsampling}, {scans}"
    profile = f", profile {cues.icc}" if cues.icc else ""
    texts: dict[str, Any] = {
        "format": f"{cues.format} named {cues.suffix or 'without extension'}, {cues.mode}",
        "size": f"{cues.width} × {cues.height}",
        "bytes": f"{cues.n_bytes:,} bytes",
        "jpeg": f"{quality}{f', table sums {cues.jpeg_sums}' if cues.jpeg_sums else ''}",
        "exif": f"{len(cues.exif)} EXIF tags{profile}",
        "bits_per_pixel": f"{cues.bits_per_pixel:.2f} bits per pixel",
        "name": cues.stem + cues.suffix,
        "metadata": f"{cues.format}, {cues.width} × {cues.height}, {cues.n_bytes:,} bytes, {quality}",
        "thumbnail": "mean colour {:.0f} {:.0f} {:.0f}".format(*cues.thumbnail.mean(axis=(0, 1)) * 255),
    }
    return str(texts[name])
