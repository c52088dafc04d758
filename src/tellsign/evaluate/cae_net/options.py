"""What attention regularisation and adversarial training gain and cost, beside a training without either.

All three trainings share the images, the seed and every other option.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.evaluate.cae_net import faithful
from tellsign.evaluate.cae_net.attacked import (
    EPS,
    N_IMAGES,
    STRENGTHS,
    TRANSFER,
    attack_block,
    attack_column,
    attack_scores,
    attacked_accuracy,
    vote_rows,
)
from tellsign.evaluate.cae_net.attention import branch_shares, known_faces
from tellsign.evaluate.cae_net.faithful import branch_gains, gain_column, gain_rows
from tellsign.evaluate.cae_net.looks import BY_VOTE, BY_WEIGHTS, Look, look_of
from tellsign.evaluate.cae_net.notes import chosen, described
from tellsign.evaluate.cae_net.study import study
from tellsign.evaluate.cae_net.tables import ENSEMBLE, PAPER, pooled
from tellsign.evaluate.comparisons import (
    DECISION,
    DIFFERENCE,
    INTERVALS,
    NOT_IN_PAPER,
    Pooled,
    difference_row,
    difference_rows,
    estimates,
    filled,
    labelled,
    mean_over_groups,
    rows_where,
)
from tellsign.evaluate.notes import machines, multiplicity
from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.samples import evenly
from tellsign.evaluate.study import NEEDS, attempted
from tellsign.systems.cae_net.config import BRANCHES
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from tellsign.data import Manifest
    from tellsign.evaluate.cae_net.attacked import Block
    from tellsign.evaluate.cae_net.attention import Faces
    from tellsign.evaluate.cae_net.faithful import Gains
    from tellsign.evaluate.cells import Finished
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.evaluate.study import Study
    from tellsign.systems.cae_net.config import CaeNetConfig
    from tellsign.types import FloatArray

BASE = "neither option"
ATTENTION, ADVERSARIAL = "attention regularisation", "adversarial training"
# A branch that looks beside the face alone pays 1, where guessing costs 0.69. The attack is the weakest of
# the FGSM table, so that the others show what is left beyond what was trained on.
OPTIONS: dict[str, dict[str, Any]] = {
    ATTENTION: {"attention_weight": 1.0},
    ADVERSARIAL: {"adversarial_eps": EPS[0]},
}
VOTED = (BASE, ADVERSARIAL)  # whose vote is compared with their weights
ELSEWHERE = "published values: cae-net-singles and cae-net-fgsm"
EVEN = "a map that is the same everywhere"


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A training, and what was measured with its detector."""

    cell: Finished
    block: Block  # scores with and without an attack on the fused score
    shares: dict[str, FloatArray | str]  # of `branch_shares`
    gains: dict[str, Gains | str]  # of `branch_gains`
    blocks: dict[str, Block]  # of both ensembles, where they are compared


def options(name: str, inputs: Inputs) -> Result:
    """AUROC, accuracy under FGSM and attention in the face, without either option and with each of them."""
    given = study(inputs)
    paper = f"{PAPER}; for neither option are there published numbers"
    if given is None:
        note = f"{NOT_IN_PAPER}; {NEEDS}"
        columns = ["AUROC", *map(attack_column, STRENGTHS), *map(_share_column, BRANCHES)]
        columns += [gain_column(column, branch) for branch in BRANCHES for column in faithful.COLUMNS]
        rows = [Row(option, column, note=note) for column in columns for option in (BASE, *OPTIONS)]
        return Result(name, paper, tuple(rows))
    _require_off(given.config)
    cell = given.whole()
    sample = evenly(cell.cell.test, given.samples or N_IMAGES)
    faces = known_faces(given, cell, sample)
    cells: dict[str, Finished | str] = {BASE: cell}
    for option in OPTIONS:
        if option == ATTENTION and isinstance(faces, str):
            cells[option] = f"not trained: {faces}"  # there is nothing that the penalty could act on
        else:
            cells[option] = attempted(partial(option_cell, given, option))
    base = measured(given, cell, sample, faces, votes=True)
    found: dict[str, Measured | str] = {BASE: base}
    for option in OPTIONS:
        one = cells[option]
        votes = option in VOTED
        found[option] = one if isinstance(one, str) else measured(given, one, sample, faces, votes=votes)
    rows = [
        *_auroc_rows(cells),
        *_attack_rows(found, base, sample),
        *_attention_rows(found, base, sample, faces),
        *_gain_rows(found, base, sample),
    ]
    notes = (*_notes(given, found, base, sample, faces), *multiplicity(rows), chosen(inputs))
    return Result(name, paper, tuple(rows), notes)


def option_cell(given: Study, option: str) -> Finished:
    """The cell of a training with an option, trained unless it was before.

    Args:    given: the study. option: a key of `OPTIONS`.
    Returns: detector, scores, record.
    Raises:  ConfigError: the configuration's branches can't be trained so. ManifestError: data don't do.
    """
    training = replace(given.config.training, **OPTIONS[option])
    return given.cell(option.replace(" ", "-"), replace(given.config, training=training))


def measured(
    given: Study, cell: Finished, sample: Manifest, faces: Faces | str, *, votes: bool = False
) -> Measured:
    """What becomes of a detector's fused score under attack, where its branches look, and how faithfully.

    Args:    given: the study. cell: of the detector.
             sample: labelled images. faces: of these, or why there are none.
             votes: whether both ensembles are attacked, if there is a vote.
    Returns: all of it, made once and kept beside the cell.
    Raises:  ManifestError: none of the images can be used.
    """
    look = look_of(cell)
    block = attack_block(given, cell, look, _target(given.config), sample)
    shares: dict[str, FloatArray | str] = (
        dict.fromkeys(look.branches, faces)
        if isinstance(faces, str)
        else branch_shares(given, cell, look, sample, faces)
    )
    gains = branch_gains(given, cell, look, _some(sample))
    return Measured(cell, block, shares, gains, _blocks(given, cell, look, sample) if votes else {})


def _blocks(given: Study, cell: Finished, look: Look, sample: Manifest) -> dict[str, Block]:
    """Both ensembles under attack; none where there is no vote."""
    targets = (BY_WEIGHTS, BY_VOTE, TRANSFER) if BY_VOTE in look.rules else ()
    return {target: attack_block(given, cell, look, target, sample) for target in targets}


def _some(sample: Manifest) -> Manifest:
    """The images on which faithfulness is measured."""
    return evenly(sample, faithful.N_IMAGES)


def _require_off(config: CaeNetConfig) -> None:
    for changes in OPTIONS.values():
        for key in changes:
            value = getattr(config.training, key)
            if value:
                raise ConfigError(
                    f"[config.training] {key} = {value:g}: this table compares a training with it to one "
                    "without; leave it out of the configuration"
                )


def _target(config: CaeNetConfig) -> str:
    return BY_VOTE if config.fusion == "vote" else BY_WEIGHTS


def _auroc_rows(cells: dict[str, Finished | str]) -> list[Row]:
    rows = []
    for option, cell in cells.items():
        if isinstance(cell, str):
            rows.append(Row(option, "AUROC", note=f"{NOT_IN_PAPER}; {cell}"))
            continue
        table = pooled([cell.scores])
        found = estimates(table, table.columns[ENSEMBLE])["auroc"]
        rows.append(filled(Row(option, "AUROC", note=_origin(option)), found))
    return rows + difference_rows(cells, tuple((option, BASE) for option in OPTIONS))


def _attack_rows(found: Mapping[str, Measured | str], base: Measured, sample: Manifest) -> list[Row]:
    rows, table = [], labelled(sample, base.block["rows"])
    for eps in STRENGTHS:
        column = attack_column(eps)
        for option, one in found.items():
            if isinstance(one, str):
                rows.append(Row(option, column, note=f"{NOT_IN_PAPER}; {one}"))
                continue
            accuracy = attacked_accuracy(one.block, eps, sample)
            rows.append(filled(Row(option, column, note=_origin(option)), accuracy))
        rows += [
            difference_row(
                table,
                attack_scores(one.block, eps),
                attack_scores(base.block, eps),
                (option, BASE),
                metric="accuracy",
                title=column,
            )
            for option, one in found.items()
            if option != BASE and isinstance(one, Measured) and one.block["rows"] == base.block["rows"]
        ]
    for option in VOTED:
        one = found[option]
        if isinstance(one, Measured):
            rows += vote_rows(one.blocks, sample, f", {option}")
    return rows


def _origin(option: str) -> str:
    """Whether the paper has values that these stand for."""
    return ELSEWHERE if option == BASE else NOT_IN_PAPER


def _attention_rows(
    found: Mapping[str, Measured | str], base: Measured, sample: Manifest, faces: Faces | str
) -> list[Row]:
    if isinstance(faces, str):
        note = f"{NOT_IN_PAPER}; {faces}"
        return [Row(option, _share_column(branch), note=note) for branch in base.shares for option in found]
    table, n_pixels = labelled(sample, list(faces)), base.cell.cell.config.size**2
    areas = [(box.right - box.left) * (box.bottom - box.top) / n_pixels for box in faces.values()]
    even = Row(EVEN, "attention in the face", note=f"{NOT_IN_PAPER}; {len(faces)} images with a face")
    rows = [filled(even, mean_over_groups(np.array(areas), table))]
    for branch, first in base.shares.items():
        columns = {o: one if isinstance(one, str) else one.shares[branch] for o, one in found.items()}
        rows += [_share_row(option, branch, values, table) for option, values in columns.items()]
        rows += [
            _share_difference(option, branch, values, first, table)
            for option, values in columns.items()
            if option != BASE and not isinstance(values, str) and not isinstance(first, str)
        ]
    return rows


def _gain_rows(found: Mapping[str, Measured | str], base: Measured, sample: Manifest) -> list[Row]:
    some = _some(sample)
    return [
        row
        for branch in base.gains
        for option, one in found.items()
        for row in gain_rows(option, branch, one if isinstance(one, str) else one.gains[branch], some)
    ]


def _share_column(branch: str) -> str:
    return f"attention in the face, {branch}"


def _share_row(option: str, branch: str, values: FloatArray | str, table: Pooled) -> Row:
    column = _share_column(branch)
    if isinstance(values, str):
        return Row(option, column, note=f"{NOT_IN_PAPER}; {values}")
    seen = np.isfinite(values)
    n, n_blank = int(seen.sum()), int((~seen).sum())
    blank = f", and {n_blank} whose map is zero everywhere" if n_blank else ""
    row = Row(option, column, note=f"{NOT_IN_PAPER}; {n} images with a face{blank}")
    return filled(row, mean_over_groups(values[seen], rows_where(table, seen)))


def _share_difference(option: str, branch: str, values: FloatArray, first: FloatArray, table: Pooled) -> Row:
    """How much more of the map lies in the face than without the option, where both have a map."""
    both = np.isfinite(values) & np.isfinite(first)
    row = Row(f"{option} - {BASE}", f"{_share_column(branch)}, difference", unit=DIFFERENCE)
    found = mean_over_groups((values - first)[both], rows_where(table, both))
    if found is None:
        return replace(row, note="no image of which both have a map")
    verdict = "more in the face" if found.low > 0 else "less in the face" if found.high < 0 else "undecided"
    return filled(replace(row, note=f"{verdict}; {int(both.sum())} images"), found)


def _notes(
    given: Study,
    found: Mapping[str, Measured | str],
    base: Measured,
    sample: Manifest,
    faces: Faces | str,
) -> tuple[str, ...]:
    values = {key: value for changes in OPTIONS.values() for key, value in changes.items()}
    weight, eps = values["attention_weight"], values["adversarial_eps"]
    seconds = {
        option: one.cell.record["seconds"]["trainings"]
        for option, one in found.items()
        if isinstance(one, Measured)
    }
    n_faces = 0 if isinstance(faces, str) else len(faces)
    return (
        (
            f"Attention regularisation: attention_weight = {weight:g}. Adversarial training: adversarial_eps "
            f"= {eps:g}. All else is the configuration's. Seconds of training: "
            f"{', '.join(f'{option} {value:.0f}' for option, value in seconds.items())}, on "
            f"{machines(one.cell for one in found.values() if isinstance(one, Measured))}. One split and one "
            "seed: intervals tell of other test images, and not of another training."
        ),
        (
            f"FGSM on the fused score of each detector itself ({_target(given.config)}), {len(sample)} "
            f"images of the test part. Strengths above {eps:g} were not trained on."
        ),
        (
            "Attention in the face: the share of the mass of Grad-CAM, at the branch's output for fake, in "
            f"the box of the face, in the middle crops of these images. A face is found in {n_faces} of "
            "them. A map that is zero everywhere has no share."
        ),
        faithful.NOTE,
        described(given, [base.cell]),
        INTERVALS,
        DECISION,
    )
