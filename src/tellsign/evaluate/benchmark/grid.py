"""Detectors × test sets × perturbations × attacks → one table of predictions each, kept under its content.

Each image is decoded once and changed once for all detectors that look at it, in worker processes. A table's
file is named after everything that its rows depend on, and is written when the table is complete: a run that
was killed goes on where it was, and one that is repeated scores nothing.

Shapes: C channels, H W pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tellsign.evaluate.benchmark.config import NONE
from tellsign.evaluate.benchmark.sets import library_versions
from tellsign.evaluate.benchmark.worker import GridScorer, Task
from tellsign.scoring.names import escape
from tellsign.scoring.predictions import Predictions, from_rows, read
from tellsign.scoring.workers import NO_MEMORY, Job, Limits, Pool
from tellsign.types import ConfigError, ManifestError
from tellsign.versions import package_versions

if TYPE_CHECKING:
    from tellsign.evaluate.benchmark.contestants import Contestant
    from tellsign.evaluate.benchmark.sets import DataSet
    from tellsign.scoring.looks import Row
    from tellsign.scoring.workers import Result
    from tellsign.types import Sample

LOST = "its worker was lost: "  # before the reason of a row that the next run tries again


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One detector on one test set under one perturbation or attack."""

    detector: Contestant
    test: DataSet  # the samples that are scored
    perturbation: str
    perturbation_identity: str  # the name, and the digest of a file that it names
    attack: str
    seed: int
    folder: Path  # of the predictions

    @property
    def is_plain(self) -> bool:
        """Whether the images are as they are."""
        return self.perturbation == NONE and self.attack == NONE

    @property
    def file(self) -> Path:
        """Where the predictions are kept."""
        facts = {
            "detector": self.detector.digest,
            "rows": self.test.digest,
            "perturbation": self.perturbation_identity,
            "attack": self.attack,
            "seed": None if self.is_plain else self.seed,
            "versions": library_versions() | self._gradients,
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{digest[:32]}.parquet"

    @property
    def _gradients(self) -> dict[str, str]:
        """The version of what computes gradients, where the attack needs any."""
        if self.attack == NONE:
            return {}
        from tellsign.perturb.attacks import parse

        return package_versions(["torch"]) if parse(self.attack).needs_gradient else {}

    @property
    def place(self) -> str:
        """In words, for messages."""
        changes = [name for name in (self.perturbation, self.attack) if name != NONE]
        return " × ".join([self.detector.name, self.test.name, *changes])


def earlier_predictions(cell: Cell) -> Predictions | None:
    """The predictions of an earlier run, or None where they are to be made.

    A row whose worker crashed, ran out of time or of memory says nothing of the image, so that a table with
    such a row is made again.
    """
    file = cell.file
    if not file.is_file():
        return None
    try:
        found = read(file)
    except ConfigError:
        return None
    lost = any(str(reason).startswith(LOST) for reason in found.reason.tolist())
    if lost or len(found) != len(cell.test.manifest):
        return None
    # The data, or the benchmark's folder, may have moved since.
    return replace(
        found, path=np.array([escape(sample.path) for sample in cell.test.manifest], dtype=np.str_)
    )


def fill(
    cells: Sequence[Cell],
    limits: Limits,
    *,
    root: Path = Path(),
    on_row: Callable[[], None] = lambda: None,
) -> dict[Path, Predictions]:
    """Score what has not been scored yet, and write each table as soon as it is complete.

    Args:    cells: of one grid, with one seed.
             limits: workers and what they may take.
             root: folder of the files that perturbations name.
             on_row: called after each image of each table, those of an earlier run included.
    Returns: file of a cell → its predictions.
    Raises:  ManifestError: a file has changed since its checksum was taken.
             ConfigError: a table can't be written. TellsignError: a worker can't load the detectors, or a
             perturbation's file has changed.
    """
    done: dict[Path, Predictions] = {}
    waiting: list[Cell] = []
    for cell in cells:
        if (found := earlier_predictions(cell)) is None:
            waiting.append(cell)
            continue
        done[cell.file] = found
        for _ in range(len(found)):
            on_row()
    units = _units(waiting)
    if not units:
        return done
    detectors = list({cell.detector.digest: cell.detector for cell in waiting}.values())
    places = {detector.digest: place for place, detector in enumerate(detectors)}
    tasks = tuple(
        Task(
            unit[0].perturbation,
            unit[0].attack,
            tuple(places[c.detector.digest] for c in unit),
            unit[0].perturbation_identity,
        )
        for unit in units
    )
    load = partial(
        GridScorer,
        tuple((d.path, d.digest, d.threshold) for d in detectors),
        tasks,
        waiting[0].seed,
        root,
    )
    with Pool(load, limits) as pool:
        results = pool.rows(_jobs(units))
        for unit in units:
            rows: list[list[Row]] = [[] for _ in unit]
            for sample in unit[0].test.manifest:
                found_rows = _rows(sample, unit, results)
                for table, row in zip(rows, found_rows, strict=True):
                    table.append(row)
                    on_row()
            for cell, table in zip(unit, rows, strict=True):
                _predictions(cell, table).write(cell.file)
                # Read back, so that a resumed run and this one compute with the same bytes.
                done[cell.file] = read(cell.file)
    return done


def _units(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Cells whose images are changed alike, and so are changed once. An attack is on one detector."""
    units: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        own = "" if cell.attack == NONE else cell.detector.name
        units.setdefault((cell.test.name, cell.perturbation, cell.attack, own), []).append(cell)
    return list(units.values())


def _jobs(units: Sequence[Sequence[Cell]]) -> Iterator[Job]:
    """What a worker needs to know of an image travels in the place of a known checksum."""
    for number, unit in enumerate(units):
        for sample in unit[0].test.manifest:
            if sample.path not in unit[0].test.failed:
                yield Job(sample.path, f"{number}:{sample.label}")


def _rows(sample: Sample, unit: Sequence[Cell], results: Iterator[tuple[Job, Result]]) -> list[Row]:
    """What each detector of a unit says about a sample."""
    empty: Row = {"path": escape(sample.path), "sha256": sample.sha256, "label": None, "score": None}
    empty |= {"probability": None, "warnings": [], "error": None}
    if sample.path in unit[0].test.failed:
        return [empty | {"error": unit[0].test.failed[sample.path]} for _ in unit]
    job, result = next(results)
    assert job.path == sample.path
    if isinstance(result, str):
        return [empty | {"error": LOST + result} for _ in unit]
    assert result is not None
    if result["sha256"] and result["sha256"] != sample.sha256:
        raise ManifestError(
            f"{escape(sample.path)} has changed while the benchmark ran: its sha256 is {result['sha256']} "
            f"and was {sample.sha256}; run the benchmark again"
        )
    found: list[Row] = [empty | row for row in result["rows"]]
    for row in found:
        if row["error"] and (result["sha256"] is None or row["error"] == NO_MEMORY):
            row["error"] = LOST + row["error"]
    return found


def _predictions(cell: Cell, rows: Sequence[Row]) -> Predictions:
    return from_rows(
        rows, cell.test.manifest, detector=cell.detector.artifact, threshold=cell.detector.threshold
    )
