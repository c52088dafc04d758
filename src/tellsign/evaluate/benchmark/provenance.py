"""Where a benchmark's numbers come from: what was run, with digests, versions and seeds."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.evaluate.benchmark.cells import known_rows
from tellsign.evaluate.benchmark.contestants import LEARNT
from tellsign.evaluate.benchmark.sets import library_versions
from tellsign.scoring.names import escape
from tellsign.train import versions
from tellsign.types import FAKE, REAL

if TYPE_CHECKING:
    from pathlib import Path

    from tellsign.evaluate.benchmark.config import BenchmarkConfig
    from tellsign.evaluate.benchmark.contestants import Contestant
    from tellsign.evaluate.benchmark.grid import Cell
    from tellsign.evaluate.benchmark.sets import DataSet
    from tellsign.scoring.predictions import Predictions

    Block = dict[str, Any]


def run_facts(cell: Cell, table: Predictions, out: Path) -> Block:
    """One table of predictions: what met what, how many rows have a score, and where they are.

    Args:    cell, table: of the grid.
             out: the benchmark's folder.
    Returns: JSON-ready.
    """
    return {
        "detector": cell.detector.name,
        "test": cell.test.name,
        "perturbation": cell.perturbation,
        "attack": cell.attack,
        "file": cell.file.relative_to(out).as_posix(),
        "n": len(table),
        "scored": int((~np.isnan(table.score)).sum()),
        "uncertain": int((table.verdict == "uncertain").sum()),
        "failed": int((table.verdict == "").sum()),
        "excluded": int(known_rows(cell.test, cell.detector).sum()),
    }


def provenance(
    config: BenchmarkConfig,
    contestants: Sequence[Contestant],
    sets: Mapping[str, DataSet],
    tests: Sequence[DataSet],
) -> Block:
    """Digests, versions and seeds.

    Args:    config: of the benchmark.
             contestants: its detectors.
             sets: name → data, of which some were trained on.
             tests: the test sets as they were scored.
    Returns: JSON-ready, without a place of this machine.
    """
    trained_on = {entry.name: entry.train for entry in config.detector}
    fitted_with = versions() if any(entry.config is not None for entry in config.detector) else {}
    return {
        "versions": {**library_versions(), **fitted_with, "python": platform.python_version()},
        "seed": config.seed,
        "resamples": config.resamples,
        "detectors": [
            {
                "name": detector.name,
                "artifact": detector.artifact,
                "digest": detector.digest,
                "train": trained_on[detector.name],
                "datasets": None if detector.datasets is None else sorted(detector.datasets),
                "leaks": "checked" if detector.is_checked else "unknown",
            }
            for detector in contestants
        ],
        "tests": [_described(test) for test in tests],
        "training": [
            _described(replace(sets[name], manifest=sets[name].manifest.filter(split=LEARNT)))
            for name in dict.fromkeys(name for name in trained_on.values() if name is not None)
        ],
    }


def _described(found: DataSet) -> Block:
    samples = found.manifest
    return {
        "name": found.name,
        "digest": samples.digest(),
        "n": len(samples),
        "n_real": samples.labels.count(REAL),
        "n_fake": samples.labels.count(FAKE),
        "datasets": sorted({escape(sample.dataset) for sample in samples}),
        "generators": sorted({escape(sample.generator) for sample in samples if sample.generator}),
        "not_harmonised": sum(sample.path in found.failed for sample in samples),
        "notes": list(found.notes),
    }
