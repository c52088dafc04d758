"""Measured numbers of a table with their intervals, and which differences of two detectors are decided.

Shapes: N rows (test images).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from tellsign.evaluate.reproduce import Row
from tellsign.groups import sources
from tellsign.metrics import Estimate, auroc, differences, summary
from tellsign.metrics.resampling import Design, estimate
from tellsign.types import FAKE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tellsign.data import Manifest
    from tellsign.evaluate.cells import Finished, Scores
    from tellsign.metrics.ranking import Counts
    from tellsign.metrics.resampling import Measure
    from tellsign.types import FloatArray

NOT_IN_PAPER = "not in the paper"
INTERVALS = "Intervals: 95 %, by 1000 bootstrap resamples of whole groups of the test images."
DECISION = "A score is log-odds of fake, and from 0 on an image is called fake."
POOLING = (
    "Scores of the folds' detectors are pooled as they are, which costs AUROC where detectors differ in "
    "their level; the mean of folds has no such cost."
)
RESAMPLES = 1000
LEVEL = 0.95  # of the intervals
DIFFERENCE = "difference"  # unit of a difference of two shares


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """The test rows of several folds, one after the other."""

    labels: FloatArray  # (N,)
    groups: tuple[str, ...]  # (N,)
    columns: dict[str, FloatArray]  # part of a detector, or what the whole is called → (N,) scores
    folds: FloatArray  # (N,) which fold each is of


def pooled(scores: Sequence[Scores], *, whole: str) -> Pooled:
    """The scores of several folds as one table.

    Args:    scores: one a fold, of the same parts.
             whole: what the column of the fused score is called, which is the last one.
    Returns: the table.
    """
    columns = {name: np.concatenate([fold.parts[name] for fold in scores]) for name in scores[0].parts} | {
        whole: np.concatenate([fold.fused for fold in scores])
    }
    return Pooled(
        labels=np.concatenate([fold.labels for fold in scores]),
        groups=tuple(group for fold in scores for group in fold.groups),
        columns=columns,
        folds=np.repeat(np.arange(len(scores)), [len(fold.rows) for fold in scores]),
    )


def labelled(sample: Manifest, rows: Sequence[int]) -> Pooled:
    """Labels and groups of some rows, to be measured on."""
    groups = sources(sample)
    return Pooled(
        labels=np.array([sample[row].label for row in rows]),
        groups=tuple(groups[row] for row in rows),
        columns={},
        folds=np.zeros(len(rows)),
    )


def rows_where(table: Pooled, chosen: NDArray[np.bool_]) -> Pooled:
    """Labels and groups of the rows (N,) that are chosen."""
    places = np.flatnonzero(chosen)
    groups = tuple(table.groups[place] for place in places)
    return Pooled(table.labels[places], groups, {}, table.folds[places])


def estimates(table: Pooled, values: FloatArray, *, ranks: bool = True) -> dict[str, Estimate | None]:
    """Every metric of a column, with intervals over groups.

    Args:    table: the rows. values: (N,) scores.
             ranks: also measure their order, which takes most of the time.
    Returns: the keys of `metrics.summary`.
    """
    return summary(
        table.labels,
        values,
        threshold=0.0,
        groups=table.groups,
        ranks=ranks,
        n_resamples=RESAMPLES,
        seed=0,
    )


def class_estimates(found: Mapping[str, Estimate | None]) -> dict[str, Estimate | None]:
    """Metrics of a column → those of a table that tells the classes apart, by the titles of its columns."""
    return {
        "real accuracy": complement(found["fpr"]),
        "fake accuracy": complement(found["fnr"]),
        "balanced accuracy": found["balanced_accuracy"],
        "AUROC": found["auroc"],
    }


def complement(estimate: Estimate | None) -> Estimate | None:
    """What is left to 1 of a share."""
    return None if estimate is None else Estimate(1 - estimate.value, 1 - estimate.high, 1 - estimate.low)


def filled(row: Row, estimate: Estimate | None) -> Row:
    """A row with what was measured, if anything was."""
    if estimate is None:
        return row
    known = not math.isnan(estimate.low)
    return replace(row, reproduced=estimate.value, ci=(estimate.low, estimate.high) if known else None)


def noted(row: Row, *remarks: str) -> Row:
    """A row with remarks behind its note; empty ones say nothing."""
    return replace(row, note=joined(row.note, *remarks))


def joined(*notes: str) -> str:
    """Remarks as one note."""
    return "; ".join(note for note in notes if note)


def fold_mean_row(method: str, table: Pooled, values: FloatArray) -> Row:
    """The mean AUROC of the folds, which differences in their levels don't lower; it has no interval."""
    areas = [
        auroc(table.labels[table.folds == fold], values[table.folds == fold])
        for fold in np.unique(table.folds)
    ]
    return Row(method, "AUROC, mean of folds", reproduced=float(np.mean(areas)), note=NOT_IN_PAPER)


def mean_over_groups(values: FloatArray, table: Pooled) -> Estimate | None:
    """A mean with its interval, by resamples of whole groups as every metric has it.

    Args:    values: (N,). table: the labels and groups of their N rows.
    Returns: the mean; None of nothing.
    """
    if not len(values):
        return None
    is_fake, order = table.labels == FAKE, np.argsort(values, kind="stable")
    design = Design.of(is_fake, order, table.groups, n_resamples=RESAMPLES, seed=0, workers=1)

    def measure() -> Measure:
        def mean(counts: Counts) -> list[float | None]:
            weights = counts[design.numbers]
            return [float(weights @ values / weights.sum())]

        return mean

    draws = design.draws(measure)[:, 0]
    return estimate(float(values.mean()), draws, LEVEL, known=design.varies(is_fake)[None])


def difference_row(
    table: Pooled,
    first: FloatArray,
    second: FloatArray,
    names: tuple[str, str],
    *,
    metric: str = "auroc",
    title: str = "AUROC",
) -> Row:
    """How much two columns of scores differ in a metric on the same images, and whether that is decided.

    Args:    table: the rows. first, second: (N,) scores. names: of the two.
             metric: a key of `metrics.differences`. title: of the column.
    Returns: a row whose note is the verdict.
    """
    found = differences(
        table.labels,
        first,
        second,
        thresholds=(0.0, 0.0),
        groups=table.groups,
        n_resamples=RESAMPLES,
        seed=0,
        names=names,
    )[metric]
    row = Row(f"{names[0]} - {names[1]}", f"{title}, difference", unit=DIFFERENCE)
    if found is None:
        return replace(row, note="a class is missing")
    return replace(row, reproduced=found.value, ci=found.ci, note=found.words)


def difference_rows(
    found: Mapping[str, Finished | str],
    pairs: Sequence[tuple[str, str]],
    metrics: Sequence[tuple[str, str]] = (("auroc", "AUROC"),),
) -> list[Row]:
    """How much pairs of cells differ in the fused score, on the same test images.

    Args:    found: name → cell, or why there is none.
             pairs: of names.
             metrics: keys of `metrics.differences`, and the columns' titles.
    Returns: rows for each pair of which there are both, and whose notes are the verdicts. Where one could not
             use an image that the other could, nothing is paired, and the note says so.
    """
    rows = []
    for (one, other), (metric, title) in product(pairs, metrics):
        first, second = found[one], found[other]
        if isinstance(first, str) or isinstance(second, str):
            continue  # the row of the one that failed says why
        usable = [cell.scores.rows.tolist() for cell in (first, second)]
        if usable[0] != usable[1]:
            counts = " and ".join(str(len(each)) for each in usable)
            note = f"not paired: they could use {counts} of the test images, not the same ones"
            rows.append(Row(f"{one} - {other}", f"{title}, difference", note=note, unit=DIFFERENCE))
            continue
        table = pooled([first.scores], whole=one)
        scores = first.scores.fused, second.scores.fused
        rows.append(difference_row(table, *scores, (one, other), metric=metric, title=title))
    return rows
