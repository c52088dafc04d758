"""Two detectors on the same samples of a benchmark: the difference of their metrics, and whether it counts.

All that is said of a pair (differences, DeLong's test, correlations) is of the rows and the scores that the
metrics beside it read. So with `missing` as worst a detector that fails on a file is wrong there, and two
that fail on the same files err together, which correlates their ranks. Scores that stand for the worst are
infinite, and have ranks but no Pearson correlation.

Shapes: N rows (predictions).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.evaluate.benchmark.cells import levels
from tellsign.metrics import correlations, delong, differences, with_missing
from tellsign.scoring.predictions import Predictions, read
from tellsign.types import FAKE, REAL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.metrics import DeLong, Missing

    Block = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What the comparison of two detectors is made from."""

    files: tuple[Path, Path]  # of their predictions, with the same rows
    names: tuple[str, str]
    head: Block  # keys of the result: test, perturbation, attack
    known: NDArray[np.bool_]  # (N,) rows that either learnt from
    missing: Missing
    resamples: int
    seed: int


def compared(task: Comparison) -> list[Block]:
    """Differences and correlations of two detectors, by frames and by videos.

    The one place of the benchmark that calls `tellsign.metrics.comparison` and `correlation`.

    Args:    task: what is compared.
    Returns: JSON-ready, one a level: delong (None, with a reason in delong_note, where rows depend on each
             other or there is no p), differences {metric: {"value", "ci", "p", "verdict"}}, correlations.
    Raises:  ConfigError: a table can't be read, or lacks scores although that is an error.
    """
    tables = [read(path).take(~task.known) for path in task.files]
    found = []
    for (level, first), (_, second) in zip(*(levels(table, task.missing) for table in tables), strict=True):
        found.append(
            {"first": task.names[0], "second": task.names[1], **task.head, "level": level}
            | _compared(first, second, task)
        )
    return found


def _compared(first: Predictions, second: Predictions, task: Comparison) -> Block:
    parts = [
        with_missing(
            table.label, table.score, task.missing, probabilities=table.probability, names=table.path
        )
        for table in (first, second)
    ]
    rows, *places = np.intersect1d(parts[0].rows, parts[1].rows, return_indices=True)
    labels, groups = first.label[rows], first.source[rows]
    one, other = (part.scores[place] for part, place in zip(parts, places, strict=True))
    chances = [
        part.probabilities[place]
        for part, place in zip(parts, places, strict=True)
        if part.probabilities is not None
    ]
    known = len(chances) == 2 and not any(np.isnan(part).any() for part in chances)
    options: Block = {"groups": groups, "seed": task.seed}
    lacks = not all((labels == label).any() for label in (REAL, FAKE))
    different = differences(
        labels,
        one,
        other,
        thresholds=(first.threshold, second.threshold),
        probabilities=(chances[0], chances[1]) if known and len(rows) else None,
        names=task.names,
        n_resamples=task.resamples,
        **options,
    )
    note = _dependence(labels, groups)
    test = None if note else delong(labels, one, other, names=task.names)
    if test is not None and test.difference.p is None:
        test, note = None, "the data do not show how much the difference varies"
    return {
        "n": len(rows),
        "delong": None if test is None else _shown(test),
        "delong_note": note,
        "differences": {
            name: None if value is None or lacks else value.to_dict() for name, value in different.items()
        },
        "correlations": {
            part: value.to_dict()
            for part, value in correlations(labels, one, other, groups=groups, n_resamples=0).items()
        },
    }


def _dependence(labels: NDArray[np.int64], groups: NDArray[np.str_]) -> str:
    """Why the DeLong test does not hold; empty where it does."""
    if min(int((labels == label).sum()) for label in (REAL, FAKE)) < 2:
        return "a class has fewer than two samples"
    named = Counter(group for group in groups.tolist() if group)
    if named and max(named.values()) > 1:
        return "samples share groups or videos, and the test takes them to be independent: read the bootstrap"
    return ""


def _shown(test: DeLong) -> Block:
    return {"first": test.first, "second": test.second, "z": test.z, **test.difference.to_dict()}
