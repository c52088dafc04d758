"""How far the maps of a trained detector's branches are to be believed, as two numbers a branch.

Deletion and insertion by Grad-CAM beside those by maps of no meaning, as the page of an explanation draws
them for one image: how much sooner the branch's log-odds fall, and rise, than in random order. A map that is
zero everywhere orders nothing and has no gain; it is counted apart.

Shapes: N images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import image
from tellsign.evaluate.cae_net.attention import no_map
from tellsign.evaluate.cells import kept
from tellsign.evaluate.comparisons import NOT_IN_PAPER, filled, labelled, mean_over_groups
from tellsign.evaluate.reproduce import Row
from tellsign.evaluate.samples import content, pictures
from tellsign.explain.attention import RANDOM_MAPS, STEPS
from tellsign.explain.cam import grad_cam, map_cells
from tellsign.explain.faithfulness import faithfulness

if TYPE_CHECKING:
    from tellsign.data import Manifest
    from tellsign.evaluate.cae_net.looks import Look
    from tellsign.evaluate.cells import Finished
    from tellsign.evaluate.study import Study
    from tellsign.types import FloatArray

N_IMAGES = 24  # half of each class; each costs 170 evaluations of every branch
COLUMNS = ("deletion gain", "insertion gain")
NOTE = (
    "Deletion and insertion gain: how much sooner a branch's log-odds fall while pixels are blurred in the "
    f"order of its Grad-CAM, and rise while they come back, than in the order of {RANDOM_MAPS} random maps "
    f"as coarse as it: the area between the curves, of {STEPS} steps. Above 0 the maps are faithful; middle "
    "crops."
)


@dataclass(frozen=True, slots=True, eq=False)
class Gains:
    """What the order of a branch's maps gains over random order."""

    rows: tuple[int, ...]  # of the images whose map is not zero everywhere
    values: FloatArray  # (N, 2) by deletion and by insertion, in log-odds
    n_blank: int  # images whose map is


def branch_gains(given: Study, cell: Finished, look: Look, sample: Manifest) -> dict[str, Gains | str]:
    """The gains of each branch's maps, measured once and kept beside the cell.

    Args:    given: the study. cell: of the detector. look: its networks.
             sample: images.
    Returns: branch → its gains, or why there is no map.
    """
    found: dict[str, Gains | str] = {}
    identity = {
        "detector": cell.record["detector"],
        "images": content(sample),
        "steps": STEPS,
        "random_maps": RANDOM_MAPS,
    }
    for branch in look.branches:

        def made(branch: str = branch) -> Any:
            given.say(f"faithfulness of {branch}: {len(sample)} images")
            return gains(look, branch, sample)

        if reason := no_map(look, branch):
            found[branch] = reason
            continue
        own = kept(cell.folder / "studies", f"faithfulness-{branch}", {**identity, "branch": branch}, made)
        known = {int(row): values for row, values in own.items() if values}
        found[branch] = Gains(tuple(known), np.array(list(known.values())), len(own) - len(known))
    return found


def gains(look: Look, branch: str, sample: Manifest) -> dict[str, list[float]]:
    """How much sooner a branch's score falls and rises in the order of its maps than in random order.

    Args:    look: the networks. branch: of them.
             sample: images, of which the middle crops are looked at.
    Returns: row of an image that can be used → gain by deletion and by insertion; none of a map that is zero
             everywhere.
    """
    from tellsign.perturb.attacks.score import module_score

    network, score = look.network.branches[branch], module_score(look.targets()[branch])
    cells = map_cells(network, look.size)
    found: dict[str, list[float]] = {}
    for row, picture in enumerate(pictures(sample)):
        if picture is None or min(picture.shape[1:]) < look.size:
            continue
        (crop,) = image.square_crops(picture, look.size, 1).astype(np.float32, copy=False)
        (values,) = grad_cam(network, crop[None])
        if not values.any():
            found[str(row)] = []
            continue
        # Other random maps for each image, so that their accidents average out.
        one = faithfulness(
            score,
            crop,
            values,
            cells=cells,
            seed=row,
            n_random=RANDOM_MAPS,
            steps=STEPS,
            batch_size=STEPS + 1,
        )
        found[str(row)] = [one.deletion_gain, one.insertion_gain]
    return found


def gain_column(column: str, branch: str) -> str:
    """The column of one of `COLUMNS` for a branch."""
    return f"{column}, {branch}"


def gain_rows(name: str, branch: str, found: Gains | str, sample: Manifest) -> list[Row]:
    """The mean gains of a branch's maps, with their intervals.

    Args:    name: of the row. branch: of the column.
             found: of `branch_gains`, or why there are none. sample: the images.
    Returns: a row for deletion and one for insertion; the note says whether the maps are faithful.
    """
    if isinstance(found, str):
        note = f"{NOT_IN_PAPER}; {found}"
        return [Row(name, gain_column(column, branch), note=note, unit="log-odds") for column in COLUMNS]
    table, rows = labelled(sample, found.rows), []
    blank = f", and {found.n_blank} whose map is zero everywhere" if found.n_blank else ""
    for place, column in enumerate(COLUMNS):
        mean = mean_over_groups(found.values[:, place] if len(found.rows) else np.zeros(0), table)
        verdict = ""
        if mean is not None:
            verdict = "faithful; " if mean.low > 0 else "unfaithful; " if mean.high < 0 else "undecided; "
        note = f"{NOT_IN_PAPER}; {verdict}{len(found.rows)} images{blank}"
        rows.append(filled(Row(name, gain_column(column, branch), note=note, unit="log-odds"), mean))
    return rows
