"""Tables 1 and 2: within one data set, by cross-validation, and on other data sets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.data.left_out import LeftOut
from tellsign.evaluate.cells import kept
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
    pooled,
)
from tellsign.evaluate.notes import multiplicity, seen_before
from tellsign.evaluate.perturbed import ELSEWHERE, OTHERS, other_sources, score_rows, slug
from tellsign.evaluate.published import records, share_of
from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.samples import content, evenly
from tellsign.evaluate.sfcl_hcmf.notes import (
    COMPARISON,
    KEY,
    METHOD,
    OTHER_METHOD,
    PAPER,
    WITHIN,
    chosen,
    claims,
    described,
    value_of,
)
from tellsign.evaluate.sfcl_hcmf.study import image_scores, study
from tellsign.evaluate.study import MARGIN, NEEDS, SPECTRUM
from tellsign.types import REAL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.data import Manifest
    from tellsign.evaluate.cells import Finished
    from tellsign.evaluate.comparisons import Pooled
    from tellsign.evaluate.perturbed import Columns
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.evaluate.study import Study
    from tellsign.metrics import Estimate
    from tellsign.types import FloatArray

# Metric of the records → column, and key of `metrics.summary`.
METRICS = {"accuracy": ("accuracy", "accuracy"), "auc": ("AUROC", "auroc")}
TRAINING_SETS = (WITHIN, "FF++ c40")  # of table 1, each tested on itself
# What the sets of table 2 are called as data sets of a manifest.
CROSS = {"celeb-df-v2": "Celeb-DF v2", "dfdc": "DFDC"}
SHOWN = 200  # reals of the test part, at most, against which fakes without reals are set


def table1(name: str, inputs: Inputs) -> Result:
    """Accuracy and AUROC within one data set, by grouped cross-validation, beside the paper's methods."""
    given, paper = study(inputs), f"{PAPER}, table 1"
    methods = published_rows("Table 1")
    if given is None:
        rows = [*methods, *own_rows({}, NEEDS)]
        return Result(name, paper, tuple(rows), (COMPARISON, *contradictions("Table 1")))
    cells = [given.whole(fold.number) for fold in given.folds]
    table = pooled([cell.scores for cell in cells], whole=METHOD)
    scores = table.columns[METHOD]
    spectrum, reason = given.spectrum_beside(cells)
    rows = [
        *methods,
        *own_rows(estimates(table, scores)),
        fold_mean_row(METHOD, table, scores),
        *_spectrum_rows(table, spectrum, reason),
    ]
    notes = [COMPARISON, *contradictions("Table 1"), INTERVALS, *multiplicity(rows), DECISION]
    notes += [] if spectrum is None else [MARGIN]
    if spectrum is not None and given.config.region == "face":
        notes.append(f"{METHOD} looks at faces, and the spectrum detector at whole images.")
    notes += [described(given, cells), chosen(inputs)]
    notes.append(
        f"{POOLING} The spectrum detector is fitted on the training parts, {METHOD} on these and, for its "
        "epochs, on the validation parts."
    )
    return Result(name, paper, tuple(rows), tuple(notes))


def published_rows(table: str) -> list[Row]:
    """What the paper prints of other methods; a dash has no row.

    Args:    table: as the records have it.
    Returns: a row a value.
    """
    return [
        Row(record.method, _column(record.metric, record.test_set), share_of(record), note=OTHER_METHOD)
        for record in records(KEY, table)
        if record.method != METHOD and record.value is not None
    ]


def own_rows(found: Mapping[str, Estimate | None], note: str = "") -> list[Row]:
    """The measured values beside each of those that table 1 prints for the method.

    Args:    found: of `metrics.summary`. note: why nothing was measured.
    Returns: a row for each metric and published set.
    """
    rows = []
    for metric, (_, key) in METRICS.items():
        for test_set in TRAINING_SETS:
            record = value_of("Table 1", METHOD, metric, test_set=test_set)
            assert record is not None
            row = Row(
                METHOD, _column(metric, test_set), share_of(record), note=joined(_beside(test_set), note)
            )
            rows.append(filled(row, found.get(key)))
    return rows


def contradictions(table: str) -> tuple[str, ...]:
    """Where a table contradicts another, itself, or what the text says of it; each in a sentence.

    Args:    table: 1 or 2, as the records have it.
    Returns: the sentences.
    """

    def auc(method: str, test_set: str, where: str = "Table 2") -> str:
        record = value_of(where, method, "auc", test_set=test_set)
        assert record is not None
        return f"{record.value:g}"

    first, second = auc("Two Branch", WITHIN, "Table 1"), auc("Two-branch", WITHIN)
    both = (
        f"The paper contradicts itself: the two-branch method has an AUROC of {first} on {WITHIN} in table 1 "
        f"and of {second} in table 2."
    )
    if table == "Table 1":
        return (both, *claims("text 4.4"))
    celeb = CROSS["celeb-df-v2"]
    return (
        both,
        (
            f"On {celeb} F3-Net and M2TR have the same AUROC to the last digit, {auc('F3-Net', celeb)}; and "
            f"SFDG with {auc('SFDG', celeb)} is better there than the proposed method with "
            f"{auc(METHOD, celeb)}."
        ),
        *claims("text 4.5"),
    )


def table2(name: str, inputs: Inputs) -> Result:
    """AUROC of one detector on its own test part and on each data set of other sources."""
    given, paper = study(inputs), f"{PAPER}, table 2"
    rows = published_rows("Table 2")
    if given is None:
        rows += [_cross_row(test_set, NEEDS) for test_set in (WITHIN, *CROSS.values())]
        return Result(name, paper, tuple(rows), (COMPARISON, *contradictions("Table 2")))
    cell = given.whole()
    table = pooled([cell.scores], whole=METHOD)
    found = estimates(table, table.columns[METHOD])
    rows.append(filled(_cross_row(WITHIN, _beside(WITHIN)), found["auroc"]))
    rows += _other_rows(given, cell)
    notes = (
        COMPARISON,
        *contradictions("Table 2"),
        "One detector, of fold 1; nothing is trained on the other sources, and none was chosen by them.",
        ELSEWHERE,
        *seen_before(given.manifest, given.others),
        INTERVALS,
        DECISION,
        described(given, [cell]),
        chosen(inputs),
    )
    return Result(name, paper, tuple(rows), notes)


def _other_rows(given: Study, cell: Finished) -> list[Row]:
    """The other sources, beside the published values where the paper has them."""
    if given.others is None:
        missing = [_cross_row(test_set, OTHERS) for test_set in CROSS.values()]
        return [*missing, Row(METHOD, "AUROC, other sources", note=joined(NOT_IN_PAPER, OTHERS))]
    reals = evenly(cell.cell.test, given.samples or SHOWN).filter(label=REAL)
    sources = other_sources(given.others, reals)
    rows: list[Row] = []
    for title, own in sources.items():
        if set(own.labels) == {REAL}:
            rows.append(Row(METHOD, f"AUROC, {title}", note=joined(NOT_IN_PAPER, "reals alone")))
            continue
        columns = _kept_scores(given, cell, own, title)
        rows += [_beside_published(row, title) for row in score_rows(columns, own, title, by_class=(METHOD,))]
    absent = [
        _cross_row(test_set, f"no data set {key} with both classes in --others")
        for key, test_set in CROSS.items()
        if key not in sources
    ]
    return [*absent, *rows]


def _beside_published(row: Row, title: str) -> Row:
    """A measured row, with the published value where the source is one of the paper's."""
    if title not in CROSS or not row.column.startswith("AUROC"):
        return row
    empty = _cross_row(CROSS[title])
    note = joined(f"published: trained on {WITHIN}", row.note.partition("; ")[2])
    return replace(row, column=empty.column, published=empty.published, note=note)


def _kept_scores(given: Study, cell: Finished, own: Manifest, title: str) -> Columns:
    """What a cell's detector says of images of another source; those that can't be used are left out."""

    def made() -> Any:
        given.say(f"{title}: {len(own)} images")
        left_out = LeftOut("skip", len(own))
        scores = image_scores(cell.detector, own, cell.cell.config, left_out=left_out)
        return {METHOD: [float(score) if np.isfinite(score) else None for score in scores]}

    identity = {"detector": cell.record["detector"], "images": content(own)}
    found: Columns = kept(cell.folder / "studies", f"other-{slug(title)}", identity, made)
    return found


def _cross_row(test_set: str, note: str = "") -> Row:
    record = value_of("Table 2", METHOD, "auc", test_set=test_set)
    assert record is not None
    return Row(METHOD, _column("auc", test_set), share_of(record), note=note)


def _spectrum_rows(table: Pooled, spectrum: FloatArray | None, reason: str) -> list[Row]:
    """The spectrum detector on the same images, and how much better or worse it is."""
    if spectrum is None:
        return [Row(SPECTRUM, "AUROC", note=joined(NOT_IN_PAPER, reason))]
    found = estimates(table, spectrum)
    rows = [filled(Row(SPECTRUM, column, note=NOT_IN_PAPER), found[key]) for column, key in METRICS.values()]
    difference = difference_row(table, table.columns[METHOD], spectrum, (METHOD, SPECTRUM))
    return [*rows, fold_mean_row(SPECTRUM, table, spectrum), difference]


def _column(metric: str, test_set: str | None) -> str:
    return f"{METRICS[metric][0]}, {test_set}"


def _beside(test_set: str) -> str:
    return f"published: trained and tested on {test_set}; reproduced: on the images given"
