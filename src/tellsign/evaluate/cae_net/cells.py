"""One training of CAE-Net with the scores of its test part, in a folder of its own; done once.

A queue of cells that was killed is started again by the same command: finished cells are read, the one that
was at work goes on in the run folders of its trainings, the others begin. What a cell is, is in the name of
its folder, so that another seed, configuration or data set never takes the place of a result.

Shapes: N rows (test images that can be used).
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import artifacts
from tellsign.data.manifest import common_folder
from tellsign.groups import sources
from tellsign.lock import locked
from tellsign.nn.backbones import weights_identity
from tellsign.systems.cae_net.system import RUN_SUFFIX, CaeNetSystem
from tellsign.train import counts, versions
from tellsign.types import ArtifactError, OutputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.data import Manifest
    from tellsign.systems.cae_net.config import CaeNetConfig
    from tellsign.types import FloatArray

Say = Callable[[str], None]

FORMAT = 2  # 2: fitted weights are the most even within a standard error
DETECTOR, SCORES, RECORD = "detector", "scores.csv", "record.json"
PART = "parts."  # before a branch's name in the header of the scores
N_DIGITS = 12  # of the digest, in a folder's name


@dataclass(frozen=True, eq=False)
class Cell:
    """What is trained, and what it is tested on."""

    name: str  # first part of its folder's name
    config: CaeNetConfig
    train: Manifest
    valid: Manifest  # one half chooses epochs, the other fits and judges the fusion
    test: Manifest  # labelled images that nothing is learnt from
    seed: int

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that the scores depend on, as plain values."""
        config = asdict(self.config)
        config["training"] = self.config.training.decisive()
        for name, branch in config["branches"].items():
            branch["weights"] = weights_identity(self.config.branch_weights(name))
        del config["weights"]
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        content = {
            "format": FORMAT,
            "system": CaeNetSystem.name,
            "config": config,
            "seed": self.seed,
            "data": {name: {"manifest": part.digest(), "rows": _rows(part)} for name, part in parts.items()},
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
    """What a detector says of test images: log-odds of fake, uncalibrated."""

    rows: NDArray[np.int64]  # (N,) of the test part
    labels: NDArray[np.int64]  # (N,) 0 real, 1 fake
    groups: tuple[str, ...]  # (N,) source of each row; empty: of its own
    fused: FloatArray  # (N,)
    parts: dict[str, FloatArray]  # branch → (N,)


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
        return self.folder / f"{DETECTOR}{RUN_SUFFIX}"


def finished_cell(cell: Cell, root: Path, *, say: Say = lambda text: None) -> Finished:
    """A cell's result, at once where it is there already.

    Args:    cell: what is trained and tested.
             root: the folder of cells.
             say: told what happens.
    Returns: detector, scores and record.
    Raises:  ManifestError, ConfigError, ArtifactError: data or options don't do. OutputError: another run
             holds the folder, or it can't be written. What was learnt until then is kept for the next call.
    """
    folder = cell.folder(root)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {folder.parent}: {error.strerror or error}") from error
    with locked(folder):
        if found := _read(cell, folder, say):
            return found
        begun = time.monotonic()
        say(f"{folder.name}: {len(cell.train)} images to train on, {len(cell.test)} to test on")
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write {folder}: {error.strerror or error}") from error
        try:
            CaeNetSystem(cell.config).fit(
                cell.train, cell.valid, out=folder / DETECTOR, seed=cell.seed, say=_indented(say)
            )
            scores = scores_on(folder / DETECTOR, cell.test, cell.config)
            _write_scores(folder / SCORES, scores, cell.test)
            record = _record(cell, folder, scores, seconds=time.monotonic() - begun)
            write_json(folder / RECORD, record)
            _drop_weights(folder / f"{DETECTOR}{RUN_SUFFIX}")
        except OSError as error:
            raise OutputError(
                f"cannot write {folder} ({error.strerror or error}); make room and run the same command again"
            ) from error
        finally:
            with suppress(OSError):
                folder.rmdir()  # where nothing was begun
        return Finished(cell, folder, scores, record)


def scores_on(detector: Path, test: Manifest, config: CaeNetConfig) -> Scores:
    """What a detector that CAE-Net wrote says of images, by PyTorch.

    Args:    detector: its folder.
             test: labelled images.
             config: what happens at bad images, workers and device; the rest is the detector's own.
    Returns: the scores of those that can be used.
    Raises:  ManifestError: an image can't be used and may not be skipped. ArtifactError: there is no such
             detector.
    """
    from tellsign.systems.cae_net.fusion import fused_scores, image_means
    from tellsign.systems.cae_net.training import crop_scores

    network: Any = CaeNetSystem().network(detector)
    weights = tuple(artifacts.load(detector).spec["config"]["fusion_weights"])
    crops = crop_scores(dict(network.branches.items()), test, config)
    rows = np.asarray(crops.rows, dtype=np.int64)
    groups = sources(test)
    return Scores(
        rows=rows,
        labels=np.array(test.labels, dtype=np.int64)[rows],
        groups=tuple(groups[row] for row in rows),
        fused=image_means(fused_scores(crops.parts, config.fusion, weights), crops.image),
        parts={name: image_means(crops.parts[:, i], crops.image) for i, name in enumerate(config.branches)},
    )


def kept(root: Path, name: str, identity: Mapping[str, Any], make: Callable[[], Any]) -> Any:
    """A plain value that takes long to make, made once and kept in a file.

    Args:    root: folder of the file.
             name: first part of its name. identity: plain values on which it depends; their digest is the
             second.
             make: makes it; JSON must be able to hold it.
    Returns: the value, as JSON gives it back.
    Raises:  OutputError: the file can't be written.
    """
    file = root / f"{name}-{_digest(identity)[:N_DIGITS]}.json"
    try:
        return json.loads(file.read_bytes())["value"]
    except (OSError, ValueError, KeyError, TypeError):  # not there, or damaged
        pass
    content = {"identity": identity, "value": make()}
    try:
        write_json(file, content)
    except OSError as error:
        raise OutputError(f"cannot write {file}: {error.strerror or error}") from error
    return json.loads(json.dumps(content["value"]))


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, all of it or nothing. Raises OSError."""
    _write(file, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode("ascii"))


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.draft")
    with draft.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)


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


def _read(cell: Cell, folder: Path, say: Say) -> Finished | None:
    """What is there already; None where there is nothing or it is damaged, and then nothing is left of it."""
    if not (folder / RECORD).is_file():
        return None
    try:
        record = json.loads((folder / RECORD).read_bytes())
        if record["identity"] != cell.identity:
            raise ValueError("it is of another cell")
        if artifacts.load(folder / DETECTOR).digest != record["detector"]:
            raise ValueError("its detector is another one")
        scores = _read_scores(folder / SCORES)
        if len(scores.rows) != record["data"]["test"]["n"] - record["left_out"]:
            raise ValueError("its scores are cut")
        return Finished(cell, folder, scores, record)
    except (OSError, ValueError, KeyError, TypeError, csv.Error, ArtifactError) as error:
        say(f"{folder} is damaged ({error}) and is made anew")
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _record(cell: Cell, folder: Path, scores: Scores, *, seconds: float) -> dict[str, Any]:
    from tellsign.engine.folder import read_result

    results = [read_result(path.parent) for path in (folder / f"{DETECTOR}{RUN_SUFFIX}").rglob("result.json")]
    detector = artifacts.load(folder / DETECTOR)
    parts = {"train": cell.train, "valid": cell.valid, "test": cell.test}
    return {
        "name": cell.name,
        "digest": cell.digest,
        "identity": cell.identity,
        "detector": detector.digest,
        "fusion": detector.spec["fusion"],
        "data": {name: counts(part) for name, part in parts.items()},
        "left_out": len(cell.test) - len(scores.rows),
        "seconds": {
            "this_session": round(seconds, 1),
            "trainings": round(sum(result.seconds for result in results if result), 1),
        },
        "versions": versions(),
    }


def _drop_weights(run: Path) -> None:
    """The detector holds them; logs, curves and tables stay."""
    for path in run.rglob("*.safetensors"):
        path.unlink()


def _indented(say: Say) -> Say:
    return lambda text: say(f"  {text}")


def _write_scores(file: Path, scores: Scores, test: Manifest) -> None:
    draft, root = file.with_name(f".{file.name}.draft"), common_folder(test)
    with draft.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
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
    draft.replace(file)


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
