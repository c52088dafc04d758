"""A benchmark from its configuration to its result: data, detectors, predictions, cells, comparisons."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import artifacts
from tellsign.evaluate import published
from tellsign.evaluate.benchmark.cells import averages, blank, known_rows
from tellsign.evaluate.benchmark.config import NONE
from tellsign.evaluate.benchmark.contestants import contestant
from tellsign.evaluate.benchmark.grid import Cell, fill
from tellsign.evaluate.benchmark.measure import Progress, Scored, cells_of, comparisons_of, head, no_progress
from tellsign.evaluate.benchmark.provenance import provenance, run_facts
from tellsign.evaluate.benchmark.result import BenchmarkResult
from tellsign.evaluate.benchmark.sets import capped, data_set
from tellsign.evaluate.benchmark.worker import unfit
from tellsign.lock import locked
from tellsign.metrics import with_missing
from tellsign.scoring.workers import Limits
from tellsign.types import FAKE, REAL, ConfigError, ManifestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.evaluate.benchmark.config import BenchmarkConfig
    from tellsign.evaluate.benchmark.contestants import Contestant
    from tellsign.evaluate.benchmark.sets import DataSet
    from tellsign.scoring.predictions import Predictions

    Block = dict[str, Any]
    Tables = Mapping[Path, Predictions]

Say = Callable[[str], None]
Change = tuple[str, str, str]  # perturbation, its identity, attack


def run(
    config: BenchmarkConfig,
    out: Path,
    *,
    limits: Limits | None = None,
    say: Say = lambda text: None,
    progress: Progress = no_progress,
    on_result: Callable[[BenchmarkResult], object] = lambda result: None,
) -> BenchmarkResult:
    """Run a benchmark, or what is left of it.

    What an earlier run into the same folder has trained, harmonised, scored and measured is taken over where
    it was made from the same; a run that was killed ends with the same result, bit for bit.

    Args:    config: what meets what.
             out: the benchmark's folder: detectors/, data/, cache/ and benchmark.json.
             limits: workers and what they may take.
             say: told what happens.
             progress: a context manager made of a title and a number of steps, that gives a function to call
             after each step; `tellsign.terminal.progress` is one.
             on_result: called with the result while no other run can write into `out`; `write_report` is one.
    Returns: the result, which is in `out/benchmark.json` as well.
    Raises:  ConfigError: the configuration can't be carried out, another run is at work in `out`, or scores
             are missing and `missing` is error. ManifestError: data are missing, have changed, or lack a
             class. ArtifactError: a detector can't be loaded.
    """
    limits = limits or Limits()
    changes = _changes(config)
    for paper in config.published:
        published.records(paper=paper)  # raises now and not after hours where there is no such paper
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; give -o a folder")
    with locked(out):
        used = dict.fromkeys([*(d.train for d in config.detector if d.train is not None), *config.tests])
        sets = {name: data_set(name, config, out, say=say) for name in used}
        tests = [_test(sets[name], config) for name in config.tests]
        contestants = [
            contestant(entry, config, sets[entry.train] if entry.train else None, out, say=say)
            for entry in config.detector
        ]
        cells, skipped = _cells(config, contestants, tests, changes, out)
        with progress("score", sum(len(cell.test.manifest) for cell in cells)) as step:
            tables = fill(cells, limits, root=Path(config.root), on_row=step)
        _refuse_missing(config, cells, tables)
        grid = Scored(config, cells, tables, out, limits.workers, progress)
        found = cells_of(grid)
        blanks = [blank(head(c, d, p, a), why) for c, d, p, a, why in skipped]
        result = BenchmarkResult(
            name=config.name,
            config=_shown(config, changes),
            cells=(*found, *blanks),
            averages=tuple(averages(found)),
            comparisons=tuple(comparisons_of(grid)),
            runs=tuple(run_facts(cell, tables[cell.file], out) for cell in cells),
            provenance=provenance(config, contestants, sets, tests),
            out=out,
            failures=tuple(_failures(cells, tables)),
            plain=_plain(config, cells, tables),
        )
        result.write()
        on_result(result)
    return result


def _changes(config: BenchmarkConfig) -> list[Change]:
    """What is done to images: each perturbation, and each attack on images as they are."""
    found: list[Change] = []
    for text in config.perturbations:
        if text == NONE:
            found.append((NONE, NONE, NONE))
        else:
            from tellsign import perturb

            perturbation = perturb.parse(text, folder=Path(config.root))
            found.append((perturbation.name, perturbation.identity, NONE))
    attacks = [text for text in config.attacks if text != NONE]
    # An attack is measured against the same images without it, and pairs are compared there.
    if (NONE, NONE, NONE) not in found:
        found.insert(0, (NONE, NONE, NONE))
    if attacks:
        from tellsign.perturb.attacks import parse

        found += [(NONE, NONE, parse(text).name) for text in attacks]
    for change in found:
        if found.count(change) > 1:
            name = change[0] if change[2] == NONE else change[2]
            raise ConfigError(f"{name!r} stands in the configuration under two spellings; take one out")
    return found


def _test(found: DataSet, config: BenchmarkConfig) -> DataSet:
    labels = set(found.manifest.labels)
    if lacks := [name for label, name in ((REAL, "real"), (FAKE, "fake")) if label not in labels]:
        raise ManifestError(
            f"the test set {found.name!r} has no {lacks[0]} sample, and every metric needs both classes; "
            f"join it with another source: [data.{found.name}] sources = [{{manifest = …}}, {{manifest = …}}]"
        )
    return capped(found, config.limit, seed=config.seed)


def _cells(
    config: BenchmarkConfig,
    contestants: Sequence[Contestant],
    tests: Sequence[DataSet],
    changes: Sequence[Change],
    out: Path,
) -> tuple[list[Cell], list[tuple[Contestant, DataSet, str, str, str]]]:
    """The grid, and what of it can't be carried out, with the reason."""
    cells, skipped = [], []
    reasons = {
        (detector.name, attack): unfit(artifacts.load(detector.path).spec, attack)
        for detector in contestants
        for _, _, attack in changes
        if attack != NONE
    }
    for test, (perturbation, identity, attack) in itertools.product(tests, changes):
        part = test if attack == NONE else capped(test, config.attack_limit, seed=config.seed)
        for detector in contestants:
            if reason := reasons.get((detector.name, attack)):
                skipped.append((detector, part, perturbation, attack, reason))
                continue
            cells.append(Cell(detector, part, perturbation, identity, attack, config.seed, out / "cache"))
    return cells, skipped


def _refuse_missing(config: BenchmarkConfig, cells: Sequence[Cell], tables: Tables) -> None:
    """Raises ConfigError where a score is missing that a metric would read, and that is an error."""
    if config.missing != "error":
        return
    faults: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        table = tables[cell.file]
        lacks = table.take(np.isnan(table.score) & ~known_rows(cell.test, cell.detector))
        for path, reason in zip(lacks.path.tolist(), lacks.reason.tolist(), strict=True):
            faults.setdefault((path, reason), []).append(cell.place)
    if faults:
        shown = [
            f"  {path}: {reason} ({places[0]}{f' and {len(places) - 1} more' if places[1:] else ''})"
            for (path, reason), places in list(faults.items())[:10]
        ]
        more = [f"  and {len(faults) - len(shown)} more"] if len(faults) > len(shown) else []
        raise ConfigError(
            "\n".join(["samples have no score:", *shown, *more])
            + "\nMend or filter them, or say what metrics do with them: --missing exclude leaves them out, "
            "--missing worst counts them as wrong. What was scored is kept."
        )


def _failures(cells: Sequence[Cell], tables: Tables) -> list[Block]:
    """Every sample that failed, once a reason, and where."""
    found: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        table = tables[cell.file].take(tables[cell.file].verdict == "")
        for path, reason in zip(table.path.tolist(), table.reason.tolist(), strict=True):
            found.setdefault((path, reason), []).append(cell.place)
    return [{"path": path, "reason": reason, "places": places} for (path, reason), places in found.items()]


def _shown(config: BenchmarkConfig, changes: Sequence[Change]) -> Block:
    """The configuration without the place of the data, which is no part of the result."""
    shown = replace(
        config,
        root=".",
        perturbations=tuple(p for p, _, attack in changes if attack == NONE),
        attacks=(NONE, *(attack for _, _, attack in changes if attack != NONE)),
    )
    return {key: value for key, value in shown.to_dict().items() if key != "root"}


def _plain(
    config: BenchmarkConfig, cells: Sequence[Cell], tables: Tables
) -> dict[tuple[str, str], Predictions]:
    """What curves are drawn of: the scores that the metrics beside them read."""
    found = {}
    for cell in cells:
        if cell.is_plain:
            table = tables[cell.file].take(~known_rows(cell.test, cell.detector))
            kept = with_missing(
                table.label, table.score, config.missing, probabilities=table.probability, names=table.path
            )
            rows = replace(table.take(kept.rows), score=kept.scores)
            if kept.probabilities is not None and not np.isnan(kept.probabilities).any():
                rows = replace(rows, probability=kept.probabilities)
            found[cell.detector.name, cell.test.name] = rows
    return found
