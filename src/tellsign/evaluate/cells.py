"""One training of a system with the scores of its test part, in a folder of its own; done once.

A queue of cells that was killed is started again by the same command: finished cells are read, the one that
was at work goes on in the run folders of its trainings, the others begin. What a cell is, is in the name of
its folder, so that another seed, configuration or data set never takes the place of a result.

Shapes: N rows (test images that can be used).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import artifacts, hub
from tellsign.data.left_out import LeftOut
from tellsign.data.manifest import common_folder
from tellsign.data.picture import picture
from tellsign.durable import write_file
from tellsign.groups import sources
from tellsign.image.network_input import seen
from tellsign.lock import locked
from tellsign.train import counts, versions
from tellsign.types import ArtifactError, ImageError, OutputError
from tellsign.versions import package_versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.data import Manifest
    from tellsign.types import FloatArray

Say = Callable[[str], None]

FORMAT = 3  # of cells and of what is kept: 3: of a configuration, only what has an effect
DETECTOR, SCORES, RECORD = "detector", "scores.csv", "record.json"
PART = "parts."  # before a part's name in the header of the scores
N_DIGITS = 12  # of the digest, in a folder's name


@dataclass(frozen=True, eq=False)
class Cell:
    """What is trained, and what it is tested on."""

    name: str  # first part of its folder's name
    system: str  # a name of `tellsign.hub`
    config: Any  # of the system, with `decisive()`, `training` and `input.look`
    train: Manifest
    valid: Manifest
    test: Manifest  # labelled images that nothing is learnt from
    seed: int
    scorer: Scorer  # what a detector of the system says of the test images

    @property
    def parts(self) -> dict[str, Manifest]:
        """The data by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that the scores depend on, as plain values."""
        content = {
            "format": FORMAT,
            "system": self.system,
            "config": self.config.decisive(),
            "seed": self.seed,
            "data": {
                name: {"manifest": part.digest(), "rows": _rows(part)} for name, part in self.parts.items()
            },
        }
        found: dict[str, Any] = json.loads(json.dumps(content, sort_keys=True))
        return found

    @property
    def digest(self) -> str:
        """64 hexadecimal digits of the identity."""
        return _digest(self.identity)

    def folder(self, root: Path) -> Path:
        """Where the cell lies below a folder of cells, which may be under another table's name for it."""
        digits = self.digest[:N_DIGITS]
        known = sorted(path for path in root.glob(f"*-{digits}") if path.is_dir())
        return known[0] if known else root / f"{self.name}-{digits}"


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What a detector says of test images, uncalibrated: higher = more fake."""

    rows: NDArray[np.int64]  # (N,) of the test part
    labels: NDArray[np.int64]  # (N,) 0 real, 1 fake
    groups: tuple[str, ...]  # (N,) source of each row; empty: of its own
    fused: FloatArray  # (N,)
    parts: dict[str, FloatArray]  # name of a part, such as a branch → (N,)


# The folder of a detector, images, and the configuration that it was trained with → its scores of those that
# can be used. Raises ManifestError where one can't be used and may not be skipped.
Scorer = Callable[[Path, "Manifest", Any], Scores]


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """A cell that is done."""

    cell: Cell
    folder: Path
    scores: Scores
    record: dict[str, Any]  # identity, digests, counts, seconds, versions

    @property
    def detector(self) -> Path:
        """The folder of its uncalibrated detector."""
        return self.folder / DETECTOR

    @property
    def run(self) -> Path:
        """The folder of its trainings: logs, curves, retention tables; without weights."""
        return self.folder / f"{DETECTOR}{artifacts.RUN_SUFFIX}"


def finished_cell(cell: Cell, root: Path, *, say: Say = lambda text: None) -> Finished:
    """A cell's result, at once where it is there already.

    Args:    cell: what is trained and tested.
             root: the folder of cells.
             say: told what happens.
    Returns: detector, scores and record.
    Raises:  ManifestError, ConfigError, ArtifactError: data or options don't do; bad images are found before
             anything is trained. OutputError: another run holds the folder, it can't be read or written, or
             its detector is no longer the one that was scored. What was learnt until then is kept for the
             next call; only a cell whose record is damaged is removed.
    """
    folder = cell.folder(root)
    with locked(folder), _explained(folder):
        if found := _found(cell, folder, say):
            return found
        begun = time.monotonic()
        say(f"{folder.name}: {len(cell.train)} images to train on, {len(cell.test)} to test on")
        _check_images(cell)
        folder.mkdir(exist_ok=True)
        try:
            system = hub.system(cell.system)(cell.config)
            system.fit(cell.train, cell.valid, out=folder / DETECTOR, seed=cell.seed, say=_indented(say))
            scores = _scored(cell, folder)
            record = _record(cell, folder, scores, seconds=time.monotonic() - begun)
            write_json(folder / RECORD, record)
            _drop_weights(folder / f"{DETECTOR}{artifacts.RUN_SUFFIX}")
        finally:
            with suppress(OSError):
                folder.rmdir()  # where nothing was begun
        return Finished(cell, folder, scores, record)


def kept(root: Path, name: str, identity: Mapping[str, Any], make: Callable[[], Any]) -> Any:
    """A plain value that takes long to make, made once and kept in a file.

    Args:    root: folder of the file.
             name: first part of its name. identity: plain values on which it depends; their digest is the
             second.
             make: makes it; JSON must be able to hold it.
    Returns: the value, as JSON gives it back.
    Raises:  OutputError: another run is making it, or the file can't be read or written.
    """
    own = {"format": FORMAT, **identity}
    file = root / f"{name}-{_digest(own)[:N_DIGITS]}.json"
    if found := _stored(file):
        return found[0]
    with locked(file):
        if found := _stored(file):  # by a run that has ended meanwhile
            return found[0]
        content = {"identity": own, "value": make()}
        with _explained(file):
            write_json(file, content)
    return json.loads(json.dumps(content["value"]))


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, all of it or nothing. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode("ascii"))


def _stored(file: Path) -> list[Any]:
    """The value in a file; none where there is no file, or it is damaged."""
    with _explained(file):
        try:
            return [json.loads(file.read_bytes())["value"]]
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return []


@contextmanager
def _explained(place: Path) -> Iterator[None]:
    """Raises OutputError where the disk fails, which says nothing of what was to be read or written."""
    try:
        yield
    except (OSError, ArtifactError) as error:
        fault = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(fault, OSError):
            raise
        raise OutputError(
            f"cannot read or write {place} ({fault.strerror or fault}); make room or mend it, then run the "
            "same command again"
        ) from error


def _check_images(cell: Cell) -> None:
    """Raises ManifestError, before hours of training, where more images can't be used than may be skipped."""
    look = replace(cell.config.input.look, descriptor="none")  # which can be taken of any image
    for part in cell.parts.values():
        left_out = LeftOut.of(cell.config.training)
        for sample in part:
            try:
                array = picture(sample).array
                if look.region == "image":
                    seen(array, look)
            except ImageError as error:
                left_out.add(sample.path, str(error))


def _digest(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _rows(part: Manifest) -> str:
    """A digest of all columns but the time, in the manifest's order: on both a training may depend."""
    root = common_folder(part)
    rows = (
        "\0".join((s.sha256 or os.path.relpath(s.path, root), str(s.label), s.dataset, s.generator, source))
        for s, source in zip(part, sources(part), strict=True)
    )
    return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()


def _found(cell: Cell, folder: Path, say: Say) -> Finished | None:
    """What is there already; None where there is nothing, or nobody can tell what it is."""
    file = folder / RECORD
    if not file.is_file():
        return None
    try:
        record = json.loads(file.read_bytes())
        identity, detector = record["identity"], record["detector"]
        n = record["data"]["test"]["n"] - record["left_out"]
    except (ValueError, KeyError, TypeError) as error:
        say(f"{file} is damaged ({error!r}): the cell is made anew")
        shutil.rmtree(folder)
        return None
    if identity != cell.identity:
        raise OutputError(f"{folder} holds another cell than its name says; move it elsewhere")
    artifacts.restore(folder / DETECTOR)
    if artifacts.folder_digest(folder / DETECTOR) != detector:
        raise OutputError(
            f"{folder / DETECTOR} is not the detector whose scores lie beside it: it was calibrated or "
            f"changed there, or is damaged. Put the recorded one back ({detector[:12]}), or move "
            f"{folder.name} elsewhere to have it trained anew; and calibrate copies"
        )
    try:
        scores = _read_scores(folder / SCORES)
        if len(scores.rows) != n:
            raise ValueError(f"{len(scores.rows)} rows of {n}")
    except (FileNotFoundError, ValueError, KeyError, TypeError, csv.Error) as error:
        say(f"{folder / SCORES} is damaged ({error}): the detector looks at the images again")
        scores = _scored(cell, folder)
    return Finished(cell, folder, scores, record)


def _scored(cell: Cell, folder: Path) -> Scores:
    """What the detector in a folder says of the test images, which is written beside it."""
    scores = cell.scorer(folder / DETECTOR, cell.test, cell.config)
    _write_scores(folder / SCORES, scores, cell.test)
    return scores


def _record(cell: Cell, folder: Path, scores: Scores, *, seconds: float) -> dict[str, Any]:
    from tellsign.engine.distributed import this_process
    from tellsign.engine.folder import read_result
    from tellsign.engine.folder import versions as running

    results = [
        read_result(path.parent)
        for path in (folder / f"{DETECTOR}{artifacts.RUN_SUFFIX}").rglob("result.json")
    ]
    detector = artifacts.load(folder / DETECTOR)
    at = this_process(cell.config.training.device)
    return {
        "name": cell.name,
        "digest": cell.digest,
        "identity": cell.identity,
        "detector": detector.digest,
        "fusion": detector.spec.get("fusion"),
        "data": {name: counts(part) for name, part in cell.parts.items()},
        "left_out": len(cell.test) - len(scores.rows),
        "seconds": {
            "this_session": round(seconds, 1),
            "trainings": round(sum(result.seconds for result in results if result), 1),
        },
        "versions": {**versions(), **package_versions(("onnx", "onnxscript")), **running(at)},
    }


def _drop_weights(run: Path) -> None:
    """The detector holds them; logs, curves and tables stay."""
    for path in run.rglob("*.safetensors"):
        path.unlink()


def _indented(say: Say) -> Say:
    return lambda text: say(f"  {text}")


def _write_scores(file: Path, scores: Scores, test: Manifest) -> None:
    stream, root = io.StringIO(newline=""), common_folder(test)
    # All cells in quotes: a name may hold a carriage return alone.
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(["row", "path", "label", "group", "score", *(f"{PART}{n}" for n in scores.parts)])
    for place, row in enumerate(scores.rows.tolist()):
        values = (scores.fused, *scores.parts.values())
        writer.writerow(
            [
                row,
                os.path.relpath(test[row].path, root),
                scores.labels[place],
                scores.groups[place],
                *(repr(float(column[place])) for column in values),
            ]
        )
    write_file(file, stream.getvalue().encode("utf-8", "surrogateescape"))


def _read_scores(file: Path) -> Scores:
    """Raises OSError, KeyError or ValueError where it can't be read."""
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        reader = csv.DictReader(stream, strict=True)
        rows = list(reader)
        names = [name for name in reader.fieldnames or () if name.startswith(PART)]

    def column(name: str) -> FloatArray:
        return np.array([float(row[name]) for row in rows])

    return Scores(
        rows=np.array([int(row["row"]) for row in rows], dtype=np.int64),
        labels=np.array([int(row["label"]) for row in rows], dtype=np.int64),
        groups=tuple(row["group"] for row in rows),
        fused=column("score"),
        parts={name.removeprefix(PART): column(name) for name in names},
    )
