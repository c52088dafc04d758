"""Tables of predictions → cells and comparisons, spread over processes and kept for the next run."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import processes
from tellsign.evaluate.benchmark.cells import Measurement, domain, known_rows, measured
from tellsign.evaluate.benchmark.config import NONE
from tellsign.evaluate.benchmark.pairs import Comparison, compared
from tellsign.evaluate.benchmark.sets import library_versions
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.evaluate.benchmark.config import BenchmarkConfig
    from tellsign.evaluate.benchmark.contestants import Contestant
    from tellsign.evaluate.benchmark.grid import Cell
    from tellsign.evaluate.benchmark.sets import DataSet
    from tellsign.scoring.predictions import Predictions

    Block = dict[str, Any]

Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
STALL = 600.0  # seconds without a sign of life after which the measuring of one table is given up


def no_progress(title: str, total: int) -> AbstractContextManager[Callable[[], None]]:  # noqa: ARG001
    """A bar that nobody sees."""
    return nullcontext(lambda: None)


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A grid whose tables of predictions are all there."""

    config: BenchmarkConfig
    cells: Sequence[Cell]
    tables: Mapping[Path, Predictions]  # file of a cell → its predictions
    out: Path  # the benchmark's folder
    workers: int  # processes
    progress: Progress


def head(detector: Contestant, test: DataSet, perturbation: str, attack: str) -> Block:
    """The keys that say what met what.

    Args:    detector, test, perturbation, attack: that met.
    Returns: keys of a cell.
    """
    return {
        "detector": detector.name,
        "test": test.name,
        "perturbation": perturbation,
        "attack": attack,
        "domain": domain(detector, (sample.dataset for sample in test.manifest)),
    }


def cells_of(grid: Scored) -> list[Block]:
    """The cells of all tables, in the order of the grid."""
    config, cells = grid.config, grid.cells
    clean = {(cell.detector.name, cell.test.name): cell for cell in cells if cell.is_plain}
    digests = _digests(grid)
    tasks, facts = [], []
    for cell in cells:
        before = None if cell.attack == NONE else clean[cell.detector.name, cell.test.name]
        task = Measurement(
            file=cell.file,
            head=head(cell.detector, cell.test, cell.perturbation, cell.attack),
            known=known_rows(cell.test, cell.detector),
            missing=config.missing,
            resamples=config.resamples,
            seed=config.seed,
            clean=None if before is None else before.file,
            places=None if before is None else _places(cell.test, before.test),
            is_detailed=cell.is_plain or config.detail == "all",
        )
        tasks.append(task)
        files = [digests[file] for file in (task.file, task.clean) if file is not None]
        places = None if task.places is None else task.places.tolist()
        facts.append([task.head, task.is_detailed, places, *_settings(config, files, task.known)])
    return _worked(grid, measured, tasks, facts, title="measure")


def comparisons_of(grid: Scored) -> list[Block]:
    """Every pair of detectors on every test set, on images as they are."""
    config, digests = grid.config, _digests(grid)
    tasks, facts = [], []
    plain = [cell for cell in grid.cells if cell.is_plain]
    for one, other in itertools.combinations(plain, 2):
        if one.test.name != other.test.name:
            continue
        known = known_rows(one.test, one.detector) | known_rows(other.test, other.detector)
        shared = {"test": one.test.name, "perturbation": NONE, "attack": NONE}
        files, names = (one.file, other.file), (one.detector.name, other.detector.name)
        tasks.append(Comparison(files, names, shared, known, config.missing, config.resamples, config.seed))
        facts.append([shared, names, *_settings(config, [digests[file] for file in files], known)])
    return _worked(grid, compared, tasks, facts, title="compare")


def _digests(grid: Scored) -> dict[Path, str]:
    """File of a table → checksum of its bytes: one with lost rows is made again under the same name."""
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in grid.tables}


def _places(part: DataSet, whole: DataSet) -> NDArray[np.int64]:
    """(N,) row of each sample in the whole, by the paths of this run: those of a kept table may be old."""
    rows = {sample.path: row for row, sample in enumerate(whole.manifest)}
    return np.array([rows[sample.path] for sample in part.manifest], dtype=np.int64)


def _settings(config: BenchmarkConfig, files: Sequence[str], known: NDArray[np.bool_]) -> list[Any]:
    """What a measurement depends on beside the names; `files` are checksums."""
    return [
        files,
        hashlib.sha256(known.tobytes()).hexdigest(),
        config.missing,
        config.resamples,
        config.seed,
        library_versions(),
    ]


def _worked(
    grid: Scored,
    work: Callable[[Any], list[Block]],
    tasks: Sequence[Any],
    facts: Sequence[Any],
    *,
    title: str,
) -> list[Block]:
    """The results of all tasks in order, spread over processes, each kept under what it was made from."""
    files = [
        grid.out / "cache" / f"{hashlib.sha256(json.dumps([title, fact]).encode()).hexdigest()[:32]}.json"
        for fact in facts
    ]
    with grid.progress(title, len(tasks)) as step:
        found: dict[int, list[Block]] = {}
        for index, file in enumerate(files):
            if file.is_file():
                found[index] = json.loads(file.read_text(encoding="utf-8"))
                step()
        left = [index for index in range(len(tasks)) if index not in found]
        for place, result in _results(work, [tasks[index] for index in left], grid.workers):
            if isinstance(result, processes.Lost):
                raise ConfigError(f"a table could not be measured: {result.reason}; run the benchmark again")
            index = left[place]
            text = json.dumps(result, allow_nan=False)
            _keep(files[index], text)
            found[index] = json.loads(text)
            step()
    return [block for index in range(len(tasks)) for block in found[index]]


def _results(
    work: Callable[[Any], list[Block]], tasks: Sequence[Any], workers: int
) -> Iterator[tuple[int, list[Block] | processes.Lost]]:
    """(place of a task, its result), in processes where that is worth their start."""
    if min(workers, len(tasks)) < 2:
        return ((place, work(task)) for place, task in enumerate(tasks))
    return processes.results(partial(_task, work), tasks, workers=workers, stall=STALL)


def _task(work: Callable[[Any], list[Block]], task: Any, beat: Callable[[], None]) -> list[Block]:
    beat()
    return work(task)


def _keep(file: Path, text: str) -> None:
    draft = file.with_name(f".{file.name}.draft")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror or error}") from error
