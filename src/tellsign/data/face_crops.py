"""One video or image → its face crops in a folder of their own, with what is known of them.

The folder appears whole or not at all: it is filled under another name, its record `crops.json` included,
and then renamed. So a folder with a record is done, and whoever is killed leaves none.

Shapes: C channels (3), H W pixels of a frame, S pixels of a square crop.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import PIL.Image

from tellsign import faces, image, video
from tellsign.image.jpeg import eight_bit
from tellsign.types import ConfigError, ImageError

if TYPE_CHECKING:
    from io import BufferedReader

    import numpy as np
    from numpy.typing import NDArray

    from tellsign.faces import Box

    FloatArray = NDArray[np.floating[Any]]

Record = dict[str, Any]

RECORD = "crops.json"
DRAFT = ".draft"  # ends the name of a folder that is being filled
REGIONS = ("face", "frame")
WHICH = ("largest", "all")
MIN_OVERLAP = 0.1  # of a face's boxes in two frames that follow each other


@dataclass(frozen=True, slots=True)
class CropOptions:
    """What is cut out of a video, and how it is written."""

    margin: float = 1.3  # side of the square as a multiple of the face's longer side
    region: str = "face"  # face, or frame: whole frames, no face is sought
    which: str = "largest"  # of several faces in a video: the largest track, or all
    jpeg_quality: int | None = None  # 4:4:4 JPEG of this quality; None: PNG, which loses nothing
    max_pixels: int = image.MAX_PIXELS  # larger images and frames are refused

    def __post_init__(self) -> None:
        if not (math.isfinite(self.margin) and self.margin > 0):
            raise ConfigError(f"margin is {self.margin}; expected a positive number, such as 1.3")
        if self.region not in REGIONS:
            raise ConfigError(f"region is {self.region!r}; expected one of {', '.join(REGIONS)}")
        if self.which not in WHICH:
            raise ConfigError(f"which is {self.which!r}; expected one of {', '.join(WHICH)}")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise ConfigError(f"jpeg_quality is {self.jpeg_quality}; expected 1 to 100, or None for PNG")
        if self.max_pixels < 1:
            raise ConfigError(f"max_pixels is {self.max_pixels}; expected 1 or more")

    @property
    def suffix(self) -> str:
        """Of the crops' names."""
        return ".png" if self.jpeg_quality is None else ".jpg"


@dataclass(frozen=True, slots=True)
class CropTask:
    """One file, and where its crops go."""

    source: Path
    folder: Path
    n_frames: int  # wanted of a video
    sha256: str = ""  # that the file should have; empty: not checked


def record_of(task: CropTask) -> Record | None:
    """The record of a file whose crops are there.

    Args:    task: the file and its folder.
    Returns: the record; None where there is none, the file or the number of frames is not the one that it
             tells of, or a crop is gone.
    """
    try:
        record: Record = json.loads((task.folder / RECORD).read_text(encoding="utf-8"))
        status = task.source.stat()
        same = [record["n_bytes"], record["mtime_ns"], record["n_frames"]] == [
            status.st_size,
            status.st_mtime_ns,
            task.n_frames,
        ] and task.sha256 in {"", record["sha256"]}
        there = {entry.name for entry in os.scandir(task.folder)}
        return record if same and there.issuperset(crop["name"] for crop in record["crops"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_crops(task: CropTask, beat: Callable[[], None], *, options: CropOptions) -> Record:
    """Write the crops of one file.

    Args:    task: the file, a video or an image by its content, and where its crops go.
             beat: called for every frame.
             options: what is cut out.
    Returns: the record that lies beside the crops: `kind`, `sha256`, `n_bytes` and `mtime_ns` of the file;
             `n_frames` wanted, `n_looked` looked at, `n_with_face` in which a face was found (None where
             none was sought); `warnings`; and of each crop `name`, `time` in seconds (None in an image),
             `sha256` and, in pixels of the frame, `left`, `top`, `side`, `clipped`.
    Raises:  VideoError, ImageError: the file cannot be read, or differs from its checksum.
             ConfigError: the crops cannot be written.
    """
    with _opened(task.source) as file:
        status = os.fstat(file.fileno())
        head = file.read(video.HEAD_BYTES)
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if task.sha256 not in {"", sha256}:
        raise ImageError(f"the file has changed: its sha256 is {sha256}, the manifest says {task.sha256}")
    draft = task.folder.with_name(f".{task.folder.name}.{os.getpid()}{DRAFT}")
    warnings: list[str] = []
    frames = _frames(task, options, is_video=video.is_video(head), warnings=warnings)
    try:
        try:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
        except OSError as error:
            raise _unwritable(draft, error) from error
        crops, n_looked, n_with_face = _write_frames(frames, draft, options, beat)
        record: Record = {
            "source": str(task.source),
            "kind": "video" if video.is_video(head) else "image",
            "sha256": sha256,
            "n_bytes": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "n_frames": task.n_frames,
            "n_looked": n_looked,
            "n_with_face": n_with_face,
            "warnings": warnings,
            "crops": crops,
        }
        _publish(draft, task.folder, record)
    finally:
        frames.close()
        shutil.rmtree(draft, ignore_errors=True)
    return record


def _opened(path: Path) -> BufferedReader:
    """A regular file, opened: a pipe would be waited for."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError("this is a folder, pipe or device, no image or video file")
        return path.open("rb")
    except FileNotFoundError:
        raise ImageError("there is no such file; it may have been moved or deleted meanwhile") from None
    except OSError as error:
        raise ImageError(f"the file cannot be read: {error.strerror or type(error).__name__}") from None


def _frames(task: CropTask, options: CropOptions, *, is_video: bool, warnings: list[str]) -> Any:
    """A generator of (time in seconds or None, (3, H, W) float32); notes what a reader should know."""
    if not is_video:
        picture = image.decode(task.source, max_pixels=options.max_pixels)
        warnings += picture.meta.warnings
        yield None, picture.array
        return
    with video.frames(task.source, n_frames=task.n_frames, max_pixels=options.max_pixels) as frames:
        for frame in frames:
            yield frame.time, frame.image
        warnings += frames.warnings


def _write_frames(
    frames: Iterator[tuple[float | None, FloatArray]],
    folder: Path,
    options: CropOptions,
    beat: Callable[[], None],
) -> tuple[list[Record], int, int | None]:
    """Crops of every frame, of which only those of the wanted tracks stay: (crops, n_looked, n_with_face).

    Which track is the largest is known at the end only; what waits for it waits on disk, so that memory stays
    flat.
    """
    n_looked = 0
    boxes: list[tuple[Box, ...]] = []
    drafts: dict[tuple[int, int], Record] = {}  # (frame, number of the box) → its crop
    for number, (time, array) in enumerate(frames):
        beat()
        n_looked += 1
        if options.region == "frame":
            record = _saved(array, folder / f"{number:05d}{options.suffix}", options)
            drafts[number, 0] = {**record, "time": time}
            continue
        boxes.append(faces.boxes(array))
        for k, box in enumerate(boxes[-1]):
            crop = faces.crop(array, box, margin=options.margin)
            record = _saved(crop.image, folder / f"box-{number}-{k}", options)
            place = {"left": crop.left, "top": crop.top, "side": crop.side, "clipped": crop.clipped}
            drafts[number, k] = {**record, "time": time, **place}
    if options.region == "frame":
        return list(drafts.values()), n_looked, None
    kept = []
    for (number, k), track in _wanted(boxes, options.which).items():
        crop_record = drafts.pop((number, k))
        name = f"{number:05d}{'' if track is None else f'_{track:02d}'}{options.suffix}"
        (folder / crop_record["name"]).rename(folder / name)
        kept.append({**crop_record, "name": name})
    for leftover in drafts.values():
        (folder / leftover["name"]).unlink()
    return kept, n_looked, sum(1 for found in boxes if found)


def _wanted(boxes: Sequence[tuple[Box, ...]], which: str) -> dict[tuple[int, int], int | None]:
    """(frame, number of the box) → its track, None where there is but one; in order of time.

    The frames may lie seconds apart: boxes that overlap a little are one face, and it may go unseen for any
    time. The largest track is the one whose boxes cover most pixels, all frames taken together.
    """
    tracks = faces.tracks(boxes, min_overlap=MIN_OVERLAP, max_gap=len(boxes))
    if which == "largest":
        area = [sum((b.right - b.left) * (b.bottom - b.top) for b in track.boxes) for track in tracks]
        tracks = tracks[(best := area.index(max(area))) : best + 1] if tracks else ()
    found = {
        (frame, boxes[frame].index(box)): None if which == "largest" else number
        for number, track in enumerate(tracks)
        for frame, box in zip(track.frames, track.boxes, strict=True)
    }
    return dict(sorted(found.items(), key=lambda item: (item[0][0], item[1] or 0)))


def _saved(array: FloatArray, path: Path, options: CropOptions) -> Record:
    """Write (3, H, W) in [0, 1], rounded to 8 bits, without metadata; returns its name and checksum."""
    if options.jpeg_quality is None:
        stream = io.BytesIO()
        PIL.Image.fromarray(eight_bit(array).transpose(1, 2, 0).copy()).save(stream, "PNG")
        content = stream.getvalue()
    else:
        content = image.jpeg_bytes(array, options.jpeg_quality, subsampling="4:4:4")
    try:
        path.write_bytes(content)
    except OSError as error:
        raise _unwritable(path, error) from error
    return {"name": path.name, "sha256": hashlib.sha256(content).hexdigest()}


def _publish(draft: Path, folder: Path, record: Record) -> None:
    """Give a filled folder its name; one of an earlier state of the file goes."""
    if folder.exists() and not (folder / RECORD).is_file():
        raise ConfigError(f"{folder} is in the way: it holds no {RECORD}; remove it or give another folder")
    try:
        (draft / RECORD).write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")
        if folder.exists():
            # Renamed first: half a folder must not stand under this name, should this be cut short.
            old = draft.with_name(f".old{draft.name}")
            folder.rename(old)
            shutil.rmtree(old)
        draft.rename(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"cannot write {path}: {error.strerror or error}; is there room on the disk?")
