"""Branches and both ensembles under the standard perturbations, and on images of other sources.

Shapes: B images.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.data import Manifest
from tellsign.evaluate.cae_net.looks import BY_VOTE, BY_WEIGHTS, Look, look_of
from tellsign.evaluate.cae_net.notes import chosen, described
from tellsign.evaluate.cae_net.study import study
from tellsign.evaluate.cae_net.tables import (
    DECISION,
    INTERVALS,
    NOT_IN_PAPER,
    PAPER,
    RESAMPLES,
    complement,
    filled,
)
from tellsign.evaluate.cells import kept
from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.samples import content, evenly, pictures
from tellsign.evaluate.study import NEEDS, Study
from tellsign.groups import sources
from tellsign.metrics import Estimate, summary
from tellsign.perturb.naming import parse, suite
from tellsign.systems.cae_net.config import BRANCHES
from tellsign.types import FAKE, REAL

if TYPE_CHECKING:
    from tellsign.evaluate.cells import Finished
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.perturb.naming import Perturbation
    from tellsign.types import FloatArray, Sample

N_IMAGES = 200  # of the test part, half of each class
ABSENT = "NeRF"  # that the paper asks about
OTHERS = "needs images of other sources: --others MANIFEST"


def robustness(name: str, inputs: Inputs) -> Result:
    """AUROC and accuracy of branches and ensembles by perturbation, and on other sources."""
    given = study(inputs)
    paper = f"{PAPER}, open questions: compression and newer generators"
    if given is None:
        note = f"{NOT_IN_PAPER}; {NEEDS}"
        rows = [
            Row(method, f"AUROC, {perturbation}", note=note)
            for perturbation in suite()
            for method in (*BRANCHES, BY_WEIGHTS, BY_VOTE)
        ]
        return Result(name, paper, tuple(rows))
    cell = given.whole()
    look = look_of(cell)
    sample = evenly(cell.cell.test, given.samples or N_IMAGES)
    rows = [
        row for perturbation in suite() for row in _suite_rows(given, cell, look, sample, parse(perturbation))
    ]
    rows += _other_rows(given, cell, look)
    notes = (
        (
            f"Perturbations: {len(sample)} images of the test part; crops are taken after them; an image "
            "that has become smaller than a crop is left out."
        ),
        (
            "Other sources: those of a data set alone where it has both classes. Fakes without reals are set "
            "against the reals of the test part, from which they differ in more than their making."
        ),
        described(given, [cell]),
        chosen(inputs),
        INTERVALS,
        DECISION,
    )
    return Result(name, paper, tuple(rows), notes)


def _suite_rows(
    given: Study, cell: Finished, look: Look, sample: Manifest, perturbation: Perturbation
) -> list[Row]:
    def change(picture: FloatArray, one: Sample) -> FloatArray:
        return perturbation.apply(picture, key=one.sha256, seed=given.seed)

    def made() -> Any:
        given.say(f"perturbation {perturbation.name}: {len(sample)} images")
        return look.columns(pictures(sample, change))

    identity = {
        "detector": cell.record["detector"],
        "images": content(sample),
        "perturbation": perturbation.identity,
        "seed": given.seed,
    }
    columns = kept(cell.folder / "studies", f"perturbed-{_slug(perturbation.name)}", identity, made)
    return _rows(columns, sample, perturbation.name)


def _other_rows(given: Study, cell: Finished, look: Look) -> list[Row]:
    """A few rows for each data set of the other manifest, and one that says what there are no data of."""
    absent = Row(ABSENT, "AUROC", note=f"{NOT_IN_PAPER}; no data at hand")
    if given.others is None:
        return [Row("other sources", "AUROC", note=f"{NOT_IN_PAPER}; {OTHERS}"), absent]
    rows: list[Row] = []
    reals = evenly(cell.cell.test, given.samples or N_IMAGES).filter(label=REAL)
    for dataset in sorted({sample.dataset for sample in given.others}):
        own = given.others.filter(dataset=dataset)
        title = dataset or "unnamed"
        if set(own.labels) == {FAKE}:
            own, title = Manifest((*own, *reals)), f"{title} and reals of the test part"
        elif set(own.labels) == {REAL}:
            rows += [Row(title, "AUROC", note=f"{NOT_IN_PAPER}; reals alone")]
            continue
        identity = {"detector": cell.record["detector"], "images": content(own)}
        make = partial(_looked_at, given, look, own, title)
        columns = kept(cell.folder / "studies", f"other-{_slug(title)}", identity, make)
        rows += _rows(columns, own, title)
    return [*rows, absent]


def _looked_at(given: Study, look: Look, own: Manifest, title: str) -> Any:
    given.say(f"{title}: {len(own)} images")
    return look.columns(pictures(own))


def _rows(columns: dict[str, list[float | None]], sample: Manifest, title: str) -> list[Row]:
    """AUROC of each column; of the ensembles accuracy of either class too."""
    groups, labels = np.array(sources(sample), dtype=object), np.array(sample.labels)
    rows = []
    for method, values in columns.items():
        scores = np.array([np.nan if value is None else value for value in values])
        usable = np.isfinite(scores)
        lost = f"; {int((~usable).sum())} of {len(scores)} images can't be used" if not usable.all() else ""
        note = f"{NOT_IN_PAPER}{lost}"
        names = ["AUROC"]
        if method in (BY_WEIGHTS, BY_VOTE):
            names += ["real accuracy", "fake accuracy"]
        found: dict[str, Estimate | None] = {}
        if set(labels[usable].tolist()) == {REAL, FAKE}:
            measured = summary(
                labels[usable],
                scores[usable],
                threshold=0.0,
                groups=groups[usable],
                n_resamples=RESAMPLES,
            )
            found = {
                "AUROC": measured["auroc"],
                "real accuracy": complement(measured["fpr"]),
                "fake accuracy": complement(measured["fnr"]),
            }
        rows += [filled(Row(method, f"{column}, {title}", note=note), found.get(column)) for column in names]
    return rows


def _slug(text: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in text)[:60]
