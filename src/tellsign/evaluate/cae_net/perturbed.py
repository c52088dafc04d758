"""Branches and both ensembles under the standard perturbations, and on images of other sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tellsign.evaluate.cae_net.looks import BY_VOTE, BY_WEIGHTS, look_of
from tellsign.evaluate.cae_net.notes import chosen, described
from tellsign.evaluate.cae_net.study import study
from tellsign.evaluate.cae_net.tables import PAPER
from tellsign.evaluate.comparisons import DECISION, INTERVALS, NOT_IN_PAPER
from tellsign.evaluate.notes import seen_before
from tellsign.evaluate.perturbed import ELSEWHERE, OTHERS, Looks, other_sources, score_rows
from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.samples import evenly
from tellsign.evaluate.study import NEEDS
from tellsign.perturb.naming import parse, suite
from tellsign.systems.cae_net.config import BRANCHES
from tellsign.types import REAL

if TYPE_CHECKING:
    from tellsign.data import Manifest
    from tellsign.evaluate.cells import Finished
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.evaluate.study import Study

N_IMAGES = 200  # of the test part, half of each class
ENSEMBLES = (BY_WEIGHTS, BY_VOTE)
ABSENT = "NeRF"  # that the paper asks about


def robustness(name: str, inputs: Inputs) -> Result:
    """AUROC and accuracy of branches and ensembles by perturbation, and on other sources."""
    given = study(inputs)
    paper = f"{PAPER}, open questions: compression and newer generators"
    if given is None:
        note = f"{NOT_IN_PAPER}; {NEEDS}"
        rows = [
            Row(method, f"AUROC, {perturbation}", note=note)
            for perturbation in suite()
            for method in (*BRANCHES, *ENSEMBLES)
        ]
        return Result(name, paper, tuple(rows))
    cell = given.whole()
    looks = looks_of(given, cell)
    sample = evenly(cell.cell.test, given.samples or N_IMAGES)
    rows = []
    for perturbation in map(parse, suite()):
        columns = looks.perturbed(sample, perturbation)
        rows += score_rows(columns, sample, perturbation.name, by_class=ENSEMBLES)
    rows += _other_rows(given, looks, sample.filter(label=REAL))
    notes = (
        (
            f"Perturbations: {len(sample)} images of the test part; crops are taken after them; an image "
            "that has become smaller than a crop is left out."
        ),
        ELSEWHERE,
        *seen_before(given.manifest, given.others),
        described(given, [cell]),
        chosen(inputs),
        INTERVALS,
        DECISION,
    )
    return Result(name, paper, tuple(rows), notes)


def looks_of(given: Study, cell: Finished) -> Looks:
    """What a cell's detector says of images, kept beside it."""
    detector, folder = cell.record["detector"], cell.folder / "studies"
    return Looks(look_of(cell).columns, detector, folder, given.seed, given.say)


def _other_rows(given: Study, looks: Looks, reals: Manifest) -> list[Row]:
    """A few rows for each data set of the other manifest, and one that says what there are no data of."""
    absent = Row(ABSENT, "AUROC", note=f"{NOT_IN_PAPER}; no data at hand")
    if given.others is None:
        return [Row("other sources", "AUROC", note=f"{NOT_IN_PAPER}; {OTHERS}"), absent]
    rows: list[Row] = []
    for title, own in other_sources(given.others, reals).items():
        if set(own.labels) == {REAL}:
            rows.append(Row(title, "AUROC", note=f"{NOT_IN_PAPER}; reals alone"))
        else:
            rows += score_rows(looks.seen(own, title), own, title, by_class=ENSEMBLES)
    return [*rows, absent]
