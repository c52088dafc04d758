"""Rows of CAE-Net's tables: published values by version of the paper, measured ones with their intervals."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tellsign.evaluate import comparisons
from tellsign.evaluate.cae_net.choice import REST, rest_rows, unchosen
from tellsign.evaluate.cae_net.notes import chosen, described, starved
from tellsign.evaluate.cae_net.study import study
from tellsign.evaluate.comparisons import (
    DECISION,
    INTERVALS,
    NOT_IN_PAPER,
    POOLING,
    difference_row,
    estimates,
    filled,
    fold_mean_row,
    joined,
)
from tellsign.evaluate.notes import multiplicity
from tellsign.evaluate.published import share
from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.study import MARGIN, NEEDS, SPECTRUM
from tellsign.systems.cae_net.config import BRANCHES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tellsign.evaluate.cells import Finished
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.metrics import Estimate

published = partial(share, "cae-net")

PAPER = "Bhattacharjee et al.: CAE-Net, arXiv 2502.10682 (versions 1 to 3)"
ENSEMBLE = "ensemble"
MAIN, ABSTRACT = "main results", "abstract"
VERSIONS = {"v3": MAIN, "v2": ABSTRACT, "v1": ABSTRACT}  # of the paper → the table that prints its values
SUMMARISED = "v3"  # whose summary all other tables are from
pooled = partial(comparisons.pooled, whole=ENSEMBLE)
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
COMPARISON = (
    "Published: networks pretrained on ImageNet, trained on 262,160 images of DFWild-Cup and tested on "
    "3,072. Reproduced: the configuration and the images given. Compare what helps and what does not, and "
    "no levels."
)


def singles(name: str, inputs: Inputs) -> Result:
    """Each branch, the ensemble and the spectrum detector by cross-validation."""
    given = study(inputs)
    if given is None:
        rows = [row for method in (*BRANCHES, ENSEMBLE) for row in method_rows(method, {}, NEEDS)]
        return Result(name, f"{PAPER}, main results and abstracts", tuple(rows), (COMPARISON,))
    cells = [given.whole(fold.number) for fold in given.folds]
    table = pooled([cell.scores for cell in cells])
    spectrum, reason = given.spectrum_beside(cells)
    rows = []
    for method, values in table.columns.items():
        rows += method_rows(method, estimates(table, values))
        rows.append(fold_mean_row(method, table, values))
    if spectrum is None:
        rows.append(Row(SPECTRUM, "AUROC", note=reason))
    else:
        rows += method_rows(SPECTRUM, estimates(table, spectrum))
        rows.append(fold_mean_row(SPECTRUM, table, spectrum))
        rows += [
            difference_row(table, values, spectrum, (method, SPECTRUM))
            for method, values in table.columns.items()
        ]
    rows += [
        difference_row(table, table.columns[ENSEMBLE], values, (ENSEMBLE, method))
        for method, values in table.columns.items()
        if method != ENSEMBLE and len(table.columns) > 2
    ]
    rest = rest_rows(table, spectrum, unchosen(given, cells))
    rows += rest
    notes = [COMPARISON, INTERVALS, *multiplicity(rows), DECISION]
    notes += [] if spectrum is None else [MARGIN]
    notes += [described(given, cells), chosen(inputs), _fusion_note(cells)]
    notes.append(
        f"{POOLING} The spectrum detector is fitted on the training parts, CAE-Net on these and, for its "
        "epochs and weights, on the validation parts."
    )
    if rest:
        notes.append(f"{REST}: the same detectors on the test images by which nothing was chosen.")
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
            Row(method, f"{title}, {version}", value, note=joined(method_note(method, version), note))
            for version, value in values.items()
        ] or [Row(method, title, note=joined(NOT_IN_PAPER, note))]
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
