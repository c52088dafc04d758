"""What attention regularisation and adversarial training gain and cost, beside a training without either.

All three trainings share the images, the seed and every other option.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.evaluate.cae_net.ablations import difference_rows
from tellsign.evaluate.cae_net.attacked import (
    EPS,
    N_IMAGES,
    attack_block,
    attack_column,
    attack_scores,
    attacked_accuracy,
)
from tellsign.evaluate.cae_net.attention import branch_shares, known_faces, mean_over_groups
from tellsign.evaluate.cae_net.looks import BY_VOTE, BY_WEIGHTS, evenly, look_of
from tellsign.evaluate.cae_net.study import NEEDS, attempted, study
from tellsign.evaluate.cae_net.tables import (
    DECISION,
    DIFFERENCE,
    ENSEMBLE,
    INTERVALS,
    NOT_IN_PAPER,
    PAPER,
    Pooled,
    described,
    difference_row,
    estimates,
    filled,
    pooled,
)
from tellsign.evaluate.reproduce import Result, Row
from tellsign.groups import sources
from tellsign.systems.cae_net.config import BRANCHES
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.data import Manifest
    from tellsign.evaluate.cae_net.attacked import Block
    from tellsign.evaluate.cae_net.attention import Faces
    from tellsign.evaluate.cae_net.cells import Finished
    from tellsign.evaluate.cae_net.study import Study
    from tellsign.evaluate.reproduce import Inputs
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
STRENGTHS = (None, *EPS)  # of the attack; None: no attack
EVEN = "a map that is the same everywhere"


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A training, and what was measured with its detector."""

    cell: Finished
    block: Block  # scores with and without an attack on the fused score
    shares: dict[str, FloatArray | str]  # of `branch_shares`


def options(name: str, inputs: Inputs) -> Result:
    """AUROC, accuracy under FGSM and attention in the face, without either option and with each of them."""
    given = study(inputs)
    paper = f"{PAPER}; for neither option are there published numbers"
    if given is None:
        note = f"{NOT_IN_PAPER}; {NEEDS}"
        columns = ["AUROC", *map(attack_column, STRENGTHS), *map(_share_column, BRANCHES)]
        rows = [Row(option, column, note=note) for column in columns for option in (BASE, *OPTIONS)]
        return Result(name, paper, tuple(rows))
    _require_off(given.config)
    cell = given.ensemble()
    sample = evenly(cell.cell.test, given.samples or N_IMAGES)
    faces = known_faces(given, cell, sample)
    cells: dict[str, Finished | str] = {BASE: cell}
    for option in OPTIONS:
        if option == ATTENTION and isinstance(faces, str):
            cells[option] = f"not trained: {faces}"  # there is nothing that the penalty could act on
        else:
            cells[option] = attempted(partial(option_cell, given, option))
    base = measured(given, cell, sample, faces)
    found: dict[str, Measured | str] = {BASE: base}
    for option in OPTIONS:
        one = cells[option]
        found[option] = one if isinstance(one, str) else measured(given, one, sample, faces)
    rows = [
        *_auroc_rows(cells),
        *_attack_rows(found, base, sample),
        *_attention_rows(found, base, sample, faces),
    ]
    return Result(name, paper, tuple(rows), _notes(given, found, base, sample, faces))


def option_cell(given: Study, option: str) -> Finished:
    """The cell of a training with an option, trained unless it was before.

    Args:    given: the study. option: a key of `OPTIONS`.
    Returns: detector, scores, record.
    Raises:  ConfigError: the configuration's branches can't be trained so. ManifestError: data don't do.
    """
    training = replace(given.config.training, **OPTIONS[option])
    return given.cell(option.replace(" ", "-"), replace(given.config, training=training))


def measured(given: Study, cell: Finished, sample: Manifest, faces: Faces | str) -> Measured:
    """What becomes of a detector's fused score under attack, and where its branches look.

    Args:    given: the study. cell: of the detector.
             sample: labelled images. faces: of these, or why there are none.
    Returns: both, made once and kept beside the cell.
    Raises:  ManifestError: none of the images can be used.
    """
    look = look_of(cell)
    block = attack_block(given, cell, look, _target(given.config), sample)
    if isinstance(faces, str):
        return Measured(cell, block, dict.fromkeys(look.branches, faces))
    return Measured(cell, block, branch_shares(given, cell, look, sample, faces))


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


def _part(sample: Manifest, rows: Sequence[int]) -> Pooled:
    """Labels and groups of some rows."""
    groups = sources(sample)
    return Pooled(
        labels=np.array([sample[row].label for row in rows]),
        groups=tuple(groups[row] for row in rows),
        columns={},
        folds=np.zeros(len(rows)),
    )


def _auroc_rows(cells: dict[str, Finished | str]) -> list[Row]:
    rows = []
    for option, cell in cells.items():
        if isinstance(cell, str):
            rows.append(Row(option, "AUROC", note=f"{NOT_IN_PAPER}; {cell}"))
            continue
        table = pooled([cell.scores])
        found = estimates(table, table.columns[ENSEMBLE])["auroc"]
        rows.append(filled(Row(option, "AUROC", note=NOT_IN_PAPER), found))
    return rows + difference_rows(cells, tuple((option, BASE) for option in OPTIONS))


def _attack_rows(found: Mapping[str, Measured | str], base: Measured, sample: Manifest) -> list[Row]:
    rows, table = [], _part(sample, base.block["rows"])
    for eps in STRENGTHS:
        column = attack_column(eps)
        for option, one in found.items():
            if isinstance(one, str):
                rows.append(Row(option, column, note=f"{NOT_IN_PAPER}; {one}"))
                continue
            accuracy = attacked_accuracy(one.block, eps, sample)
            rows.append(filled(Row(option, column, note=NOT_IN_PAPER), accuracy))
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
    return rows


def _attention_rows(
    found: Mapping[str, Measured | str], base: Measured, sample: Manifest, faces: Faces | str
) -> list[Row]:
    if isinstance(faces, str):
        note = f"{NOT_IN_PAPER}; {faces}"
        return [Row(option, _share_column(branch), note=note) for branch in base.shares for option in found]
    table, n_pixels = _part(sample, list(faces)), base.cell.cell.config.size**2
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
    return filled(row, mean_over_groups(values[seen], _rows_where(table, seen)))


def _share_difference(option: str, branch: str, values: FloatArray, first: FloatArray, table: Pooled) -> Row:
    """How much more of the map lies in the face than without the option, where both have a map."""
    both = np.isfinite(values) & np.isfinite(first)
    row = Row(f"{option} - {BASE}", f"{_share_column(branch)}, difference", unit=DIFFERENCE)
    found = mean_over_groups((values - first)[both], _rows_where(table, both))
    if found is None:
        return replace(row, note="no image of which both have a map")
    verdict = "more in the face" if found.low > 0 else "less in the face" if found.high < 0 else "undecided"
    return filled(replace(row, note=f"{verdict}; {int(both.sum())} images"), found)


def _rows_where(table: Pooled, chosen: NDArray[np.bool_]) -> Pooled:
    places = np.flatnonzero(chosen)
    groups = tuple(table.groups[place] for place in places)
    return Pooled(table.labels[places], groups, {}, table.folds[places])


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
            f"{', '.join(f'{option} {value:.0f}' for option, value in seconds.items())}. One split and one "
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
        described(given, [base.cell]),
        INTERVALS,
        DECISION,
    )
