"""Every method on one data set: all of them on one split, those that were trained on each fold on all images.

    FOLDER/fold-1-of-5/prnu             a detector for each row, trained on the first fold alone
    FOLDER/fold-1-of-5/resynthesis-sr
    FOLDER/fold-2-of-5/resynthesis-sr   of rows that are cross-validated, one in each fold

The folds are those of `fold_manifest`, and a detector that was trained on anything else is not asked.

Shapes: N rows (test images).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tellsign.data import Manifest
from tellsign.evaluate.comparisons import (
    INTERVALS,
    NOT_IN_PAPER,
    POOLING,
    Pooled,
    difference_row,
    estimates,
    filled,
    fold_mean_row,
    joined,
    labelled,
    rows_where,
)
from tellsign.evaluate.folds import Fold, folds
from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.resynthesis.layout import PAPER, Column, methods
from tellsign.evaluate.resynthesis.measure import SCORE, TEST, Bench
from tellsign.evaluate.resynthesis.tables import DECISION, NEEDS
from tellsign.evaluate.study import given_images
from tellsign.types import FAKE, REAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tellsign.evaluate.reproduce import Inputs
    from tellsign.types import FloatArray

VARIANTS = ("Raw", "+P", "+E")
OURS = "Ours (Avg) SR"  # whose differences from the others are shown
METRICS = {"auroc": "AUROC", "accuracy": "accuracy"}
TESTED = (
    "+P changes reals and fakes: crop, blur, JPEG and noise, each in half of the images; +E fakes alone, "
    "with gains from the training part. Every detector of a fold sees the same test images."
)


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What one fold's detectors say of its test images under a variant."""

    table: Pooled  # of all N
    scores: dict[str, FloatArray]  # title of a method → (N,), NaN of an image that can't be used


def fold_name(number: int, k: int) -> str:
    """The folder of a fold's detectors."""
    return f"fold-{number}-of-{k}"


def fold_manifest(fold: Fold) -> Manifest:
    """The images of a fold with its splits, as its detectors are to be trained on them."""
    return Manifest((*fold.train, *fold.valid, *fold.test))


def crossed(name: str, inputs: Inputs) -> Result:
    """Raw, perturbed and equalised images of one data set, and paired differences."""
    paper = f"after {PAPER}, table 1"
    images = given_images(inputs)
    if images is None:
        rows = tuple(Row(one.title, f"{v}, AUROC", note=NEEDS) for one in methods() for v in VARIANTS)
        return Result(name, paper, rows)
    assert inputs.folder is not None
    k = inputs.folds
    parts = folds(images[0], k, seed=inputs.seed)
    rows_: list[Row] = []
    for variant in VARIANTS:
        heard: list[Heard] = []
        missing: dict[str, str] = {}
        for fold in parts:
            bench = Bench(fold_manifest(fold), Manifest(()), inputs.folder, inputs.seed, False, inputs.say)
            found, why = said(bench, fold, k, variant)
            heard.append(found)
            missing |= why if fold.number == 1 else {}
        rows_ += split_rows(heard[0], missing, variant)
        rows_ += pooled_rows(heard, variant)
    notes = (
        (
            f"One split: fold 1 of {k}, seed {inputs.seed}. All folds: each image is tested on once, by the "
            "detector that did not see its group."
        ),
        TESTED,
        POOLING,
        DECISION,
        INTERVALS,
    )
    return Result(name, paper, tuple(rows_), notes)


def said(bench: Bench, fold: Fold, k: int, variant: str) -> tuple[Heard, dict[str, str]]:
    """The scores of a fold's detectors.

    Args:    bench: of the fold's images. fold: one of k. variant: Raw, +P or +E.
    Returns: those that there are, and title of a method → why it has none.
    Raises:  OutputError: they can't be kept.
    """
    test, place = bench.images.filter(split=TEST), fold_name(fold.number, k)
    scores: dict[str, FloatArray] = {}
    missing: dict[str, str] = {}
    there = {}
    for own in methods():
        artifact = bench.detector(place, own.detector)
        if not isinstance(artifact, str):
            known = artifact.spec.get("data", {}).get("manifest")
            if known != bench.images.digest():
                artifact = (
                    f"{artifact.name} was trained on other images than those of {place}, on other splits, or "
                    "without their checksums"
                )
        if isinstance(artifact, str):
            missing[own.title] = artifact
        else:
            there[own] = artifact
    change = bench.change(variant) if there else ""
    for own, artifact in there.items():
        if isinstance(change, str):
            missing[own.title] = change
            continue
        columns = bench.said(artifact, test, change, Column(place, place, variant))
        values = columns.get(own.part or SCORE)
        if values is None:
            missing[own.title] = f"{artifact.name} has no part {own.part!r}; it has {', '.join(columns)}"
        else:
            scores[own.title] = np.array([np.nan if v is None else v for v in values])
    return Heard(labelled(test, range(len(test))), scores), missing


def split_rows(heard: Heard, missing: dict[str, str], variant: str) -> list[Row]:
    """The rows of one split: each method, and how much ours differs from the others.

    Args:    heard: of the first fold. missing: title → why there are no scores. variant: of the column.
    Returns: rows.
    """
    rows = []
    for own in methods():
        if own.title in missing:
            rows.append(Row(own.title, f"{variant}, AUROC", note=missing[own.title]))
            continue
        rows += measured_rows(own.title, variant, heard.table, heard.scores[own.title])
    return [*rows, *differing_rows(heard.table, heard.scores, variant)]


def pooled_rows(heard: Sequence[Heard], variant: str) -> list[Row]:
    """The same of the methods that have a detector in every fold, with all images.

    Args:    heard: of the folds in their order. variant: of the column.
    Returns: rows; none where no method has.
    """
    titles = [own.title for own in methods() if all(own.title in one.scores for one in heard)]
    if not titles:
        return []
    tables = [one.table for one in heard]
    table = Pooled(
        labels=np.concatenate([one.labels for one in tables]),
        groups=tuple(group for one in tables for group in one.groups),
        columns={},
        folds=np.repeat(np.arange(len(tables)), [len(one.labels) for one in tables]),
    )
    scores = {title: np.concatenate([one.scores[title] for one in heard]) for title in titles}
    rows = []
    where = f"{variant}, all folds"
    for title, values in scores.items():
        usable = np.isfinite(values)
        own = rows_where(table, usable)
        rows += measured_rows(title, where, table, values)
        if _both(own, own.folds):
            row = fold_mean_row(title, own, values[usable])
            rows.append(replace(row, column=f"{where}, {row.column}"))
    return [*rows, *differing_rows(table, scores, where)]


def measured_rows(title: str, where: str, table: Pooled, values: FloatArray) -> list[Row]:
    """AUROC and accuracy of the images that can be used.

    Args:    title: of the method. where: first part of the columns. table: of N rows. values: (N,).
    Returns: two rows.
    """
    usable = np.isfinite(values)
    own = rows_where(table, usable)
    note = "" if usable.all() else f"{np.count_nonzero(usable)} of {len(usable)} images can be used"
    if not _both(own):
        return [Row(title, f"{where}, AUROC", note=joined(note, "a class is missing"))]
    found = estimates(own, values[usable])
    return [
        filled(Row(title, f"{where}, {column}", note=joined(note, NOT_IN_PAPER)), found[metric])
        for metric, column in METRICS.items()
    ]


def differing_rows(table: Pooled, scores: dict[str, FloatArray], where: str) -> list[Row]:
    """How much the AUROC of ours differs from that of each other method, on images that both can use.

    Args:    table: of N rows. scores: title → (N,). where: first part of the column.
    Returns: a row each.
    """
    if OURS not in scores:
        return []
    rows = []
    for title, values in scores.items():
        usable = np.isfinite(scores[OURS]) & np.isfinite(values)
        own = rows_where(table, usable)
        if title != OURS and _both(own):
            pair = scores[OURS][usable], values[usable]
            rows.append(difference_row(own, *pair, (OURS, title), title=f"{where}, AUROC"))
    return rows


def _both(table: Pooled, folds_: FloatArray | None = None) -> bool:
    """Whether there are reals and fakes among the rows, in every fold where folds are given."""
    places = np.zeros(len(table.labels)) if folds_ is None else folds_
    return bool(len(places)) and all(
        set(table.labels[places == fold].tolist()) == {REAL, FAKE} for fold in np.unique(places)
    )
