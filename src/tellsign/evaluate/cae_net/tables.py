"""Rows of CAE-Net's tables: published values by version of the paper, measured ones with their intervals.

Shapes: N rows (test images).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from tellsign.evaluate.cae_net.notes import chosen, described, multiplicity, starved
from tellsign.evaluate.cae_net.study import study
from tellsign.evaluate.published import share
from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.study import NEEDS, Study
from tellsign.metrics import Estimate, auroc, differences, summary
from tellsign.systems.cae_net.config import BRANCHES

if TYPE_CHECKING:
    from tellsign.evaluate.cells import Finished, Scores
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.types import FloatArray

published = partial(share, "cae-net")

PAPER = "Bhattacharjee et al.: CAE-Net, arXiv 2502.10682 (versions 1 to 3)"
ENSEMBLE = "ensemble"
SPECTRUM = "spectrum detector"
MAIN, ABSTRACT = "main results", "abstract"
VERSIONS = {"v3": MAIN, "v2": ABSTRACT, "v1": ABSTRACT}  # of the paper → the table that prints its values
SUMMARISED = "v3"  # whose summary all other tables are from
# What a branch is called where each version prints its accuracy; another branch is not in the paper.
METHODS = {
    "efficientnet": {"v3": "EfficientNet-B0", "v2": "EfficientNet-B0", "v1": "ResNet-34"},
    "deit": {"v3": "DeiT-B", "v2": "DeiT", "v1": "DeiT"},
    "wavelet": {"v3": "ConvNeXt-Tiny + wavelet", "v2": "ConvNeXt + wavelet", "v1": "Xception + wavelet"},
    ENSEMBLE: {"v3": "CAE-Net ensemble", "v2": "ensemble", "v1": "ensemble"},
}
METHODS["convnext"] = METHODS["wavelet"]
# Column, key of `metrics.summary`, and metric of the published records.
METRICS = (("accuracy", "accuracy", "accuracy"), ("AUROC", "auroc", "auc"), ("EER", "eer", "eer"))
NOT_IN_PAPER = "not in the paper"
COMPARISON = (
    "Published: networks pretrained on ImageNet, trained on 262,160 images of DFWild-Cup and tested on "
    "3,072. Reproduced: the configuration and the images given. Compare what helps and what does not, and "
    "no levels."
)
INTERVALS = "Intervals: 95 %, by 1000 bootstrap resamples of whole groups of the test images."
DECISION = "A score is log-odds of fake, and from 0 on an image is called fake."
MARGIN = (
    "The score of the spectrum detector is the margin of its classifier, and from 0 on it calls an image "
    "fake too. Crop, C and gamma are those of the shipped detector, chosen by cross-validation among the "
    "images that one was trained on (its card): these may be test images here."
)
RESAMPLES = 1000
DIFFERENCE = "difference"  # unit of a difference of two shares


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """The test rows of several folds, one after the other."""

    labels: FloatArray  # (N,)
    groups: tuple[str, ...]  # (N,)
    columns: dict[str, FloatArray]  # branch, or ensemble → (N,) scores
    folds: FloatArray  # (N,) which fold each is of


def pooled(scores: Sequence[Scores]) -> Pooled:
    """The scores of several folds as one table.

    Args:    scores: one a fold, of the same branches.
    Returns: the table.
    """
    columns = {name: np.concatenate([fold.parts[name] for fold in scores]) for name in scores[0].parts} | {
        ENSEMBLE: np.concatenate([fold.fused for fold in scores])
    }
    return Pooled(
        labels=np.concatenate([fold.labels for fold in scores]),
        groups=tuple(group for fold in scores for group in fold.groups),
        columns=columns,
        folds=np.repeat(np.arange(len(scores)), [len(fold.rows) for fold in scores]),
    )


def singles(name: str, inputs: Inputs) -> Result:
    """Each branch, the ensemble and the spectrum detector by cross-validation."""
    given = study(inputs)
    if given is None:
        rows = [row for method in (*BRANCHES, ENSEMBLE) for row in method_rows(method, {}, NEEDS)]
        return Result(name, f"{PAPER}, main results and abstracts", tuple(rows), (COMPARISON,))
    cells = [given.whole(fold.number) for fold in given.folds]
    table = pooled([cell.scores for cell in cells])
    spectrum, reason = _spectrum(given, cells)
    rows = []
    for method, values in table.columns.items():
        rows += method_rows(method, estimates(table, values))
        rows.append(_mean_row(method, table, values))
    if spectrum is None:
        rows.append(Row(SPECTRUM, "AUROC", note=reason))
    else:
        rows += method_rows(SPECTRUM, estimates(table, spectrum))
        rows.append(_mean_row(SPECTRUM, table, spectrum))
        rows += [
            difference_row(table, values, spectrum, (method, SPECTRUM))
            for method, values in table.columns.items()
        ]
    rows += [
        difference_row(table, table.columns[ENSEMBLE], values, (ENSEMBLE, method))
        for method, values in table.columns.items()
        if method != ENSEMBLE and len(table.columns) > 2
    ]
    notes = [COMPARISON, INTERVALS, *multiplicity(rows), DECISION]
    notes += [] if spectrum is None else [MARGIN]
    notes += [described(given, cells), chosen(inputs), _fusion_note(cells)]
    notes.append(
        "Scores of the folds' detectors are pooled as they are, which costs AUROC where detectors differ in "
        "their level; the mean of folds has no such cost. The spectrum detector is fitted on the training "
        "parts, CAE-Net on these and, for its epochs and weights, on the validation parts."
    )
    notes += starved(given.config, len(cells[0].cell.train))
    return Result(name, f"{PAPER}, main results and abstracts", tuple(rows), tuple(notes))


def method_rows(method: str, found: Mapping[str, Estimate | None], note: str = "") -> list[Row]:
    """Accuracy, AUROC and equal error of a method, beside each version's values.

    Args:    method: a branch's name, ensemble, or another.
             found: what was measured. note: why nothing was.
    Returns: a row for each published value, and for each measured one that is not published.
    """
    rows = []
    for title, key, metric in METRICS:
        values = published_versions(method, metric)
        empty = [
            Row(method, f"{title}, {version}", value, note=_joined(method_note(method, version), note))
            for version, value in values.items()
        ] or [Row(method, title, note=_joined(NOT_IN_PAPER, note))]
        rows += [filled(row, found.get(key)) for row in empty]
    return rows


def method_note(method: str, version: str) -> str:
    """The network that version 1 of the paper has in a branch's place, where it is another one."""
    other = {"efficientnet": "ResNet-34", "wavelet": "Xception", "convnext": "Xception"}.get(method)
    return f"v1: {other}" if version == "v1" and other else ""


def published_versions(method: str, metric: str) -> dict[str, float]:
    """Version of the paper → what it prints for a method, as a share, where it prints anything."""
    found = {}
    for version, table in VERSIONS.items():
        name = METHODS.get(method, {}).get(version)
        value = published(table, name, metric, version=version) if name else None
        if value is not None:
            found[version] = value
    return found


def estimates(table: Pooled, values: FloatArray) -> dict[str, Estimate | None]:
    """Every metric of a column, with intervals over groups."""
    return summary(table.labels, values, threshold=0.0, groups=table.groups, n_resamples=RESAMPLES, seed=0)


def filled(row: Row, estimate: Estimate | None) -> Row:
    """A row with what was measured, if anything was."""
    if estimate is None:
        return row
    known = not math.isnan(estimate.low)
    return replace(row, reproduced=estimate.value, ci=(estimate.low, estimate.high) if known else None)


def complement(estimate: Estimate | None) -> Estimate | None:
    """What is left to 1 of a share."""
    return None if estimate is None else Estimate(1 - estimate.value, 1 - estimate.high, 1 - estimate.low)


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
        table, scores = pooled([first.scores]), (first.scores.fused, second.scores.fused)
        rows.append(difference_row(table, *scores, (one, other), metric=metric, title=title))
    return rows


def _fusion_note(cells: Sequence[Finished]) -> str:
    shown = []
    for cell in cells:
        weights = cell.record["fusion"]["weights"]
        text = " ".join(f"{weight:.2f}" for weight in weights.values())
        if fitted := cell.record["fusion"].get("fitted"):
            text += f" (AUROC there {fitted['auroc']:.3f}, of the best point {fitted['best_auroc']:.3f})"
        shown.append(text)
    kind = cells[0].record["fusion"]["kind"]
    return f"Fusion: {kind}" + ("." if kind == "vote" else f", weights by fold {'; '.join(shown)}.")


def _spectrum(given: Study, cells: Sequence[Finished]) -> tuple[FloatArray | None, str]:
    """The spectrum detector's scores of the pooled rows; None and the reason where it can't take them."""
    from tellsign.types import ManifestError

    try:
        parts = [given.spectrum_scores(fold.number) for fold in given.folds]
    except ManifestError as error:
        return None, f"the spectrum detector can't be fitted: {error}".replace("\n", " ")
    return np.concatenate([part[cell.scores.rows] for part, cell in zip(parts, cells, strict=True)]), ""


def _mean_row(method: str, table: Pooled, values: FloatArray) -> Row:
    areas = [
        auroc(table.labels[table.folds == fold], values[table.folds == fold])
        for fold in np.unique(table.folds)
    ]
    return Row(method, "AUROC, mean of folds", reproduced=float(np.mean(areas)), note=NOT_IN_PAPER)


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
