"""The evidence of a network on the crop that was scored: class activation maps, and how far to believe them.

A system says what its network can show by `evidence(folder)`: a function from a `ScoredCrop` to evidence.
Here is what most can show, the map of each branch and the curves of its faithfulness.

Shapes: B batch, S pixels of a square crop, D numbers of a descriptor, n points of a curve.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.explain.cam import grad_cam, map_cells
from tellsign.explain.faithfulness import attention_inside, faithfulness
from tellsign.explain.words import FAITHFULNESS, fraction
from tellsign.types import Evidence

if TYPE_CHECKING:
    from tellsign.detectors.engines import Run
    from tellsign.explain.faithfulness import Score
    from tellsign.faces import Box
    from tellsign.types import FloatArray

STEPS, RANDOM_MAPS = 16, 4  # of the curves: 170 evaluations of a branch


@dataclass(frozen=True, slots=True, eq=False)
class ScoredCrop:
    """What a network took of a picture or a face, and where that lies."""

    pixels: FloatArray  # (3, S, S) in [0, 1]
    descriptor: FloatArray | None  # (D,) statistics of the whole; None where the network takes none
    region: str  # image or face: the whole that was looked at
    where: str  # the crop lies, for captions
    face: Box | None  # in pixels of the crop; None where there is none in it


CropEvidence = Callable[[ScoredCrop], tuple[Evidence, ...]]


def branch_evidence(branches: Mapping[str, tuple[Any, Run]], *, size: int) -> CropEvidence:
    """The evidence of a network's branches, each of which sees the pixels alone.

    Args:    branches: name → module in evaluation mode, (B, 3, S, S) in [0, 1] → logits (B, 2); and what runs
             it.
             size: S.
    Returns: a crop → what `attention_evidence` finds of each branch.
    Raises:  ConfigError: nobody knows the layer of such a network, or the `train` extra is missing.
    """
    for network, _ in branches.values():  # what can't be looked into is known before any image is
        grad_cam(network, np.zeros((1, 3, size, size), np.float32))

    def evidence(crop: ScoredCrop) -> tuple[Evidence, ...]:
        return tuple(
            one
            for name, (network, run) in branches.items()
            for one in attention_evidence(
                name, network, run_score(run), crop.pixels, where=crop.where, face=crop.face
            )
        )

    return evidence


def attention_evidence(
    name: str,
    network: Any,
    score: Score,
    crop: FloatArray,
    *,
    where: str,
    face: Box | None,
    scored: str | None = None,
    remark: str = "",
) -> tuple[Evidence, ...]:
    """What in a crop made a branch say fake, and what becomes of its score without it.

    Args:    name: of the branch.
             network: nn.Module in evaluation mode, (B, 3, S, S) in [0, 1] → logits (B, 2).
             score: (B, 3, S, S) → (B,) log-odds of the same branch.
             crop: (3, S, S) in [0, 1].
             where: the crop lies, for the caption.
             face: in pixels of the crop; None where there is none in it.
             scored: what has the score, for the caption of the curves; None: the branch.
             remark: a sentence more for the caption of the map, or none.
    Returns: a heat map as shares of its peak, deletion and insertion beside random order, and, where there is
             a face, the share of the map in its box.
    Raises:  ConfigError: nobody knows the layer of such a network, or the `train` extra is missing.
    """
    size = crop.shape[-1]
    (values,) = grad_cam(network, crop[None])
    peak = float(values.max())
    notes = "" if peak > 0 else " It is zero everywhere: to this part nothing in the crop speaks for fake."
    notes += f" {remark}" if remark else ""
    found = [
        Evidence(
            kind="heatmap",
            name=attention_name(name),
            values=values / peak if peak > 0 else values,
            unit="share of its peak",
            caption=f"What spoke to {name} for fake (Grad-CAM), over {where}.{notes} It says where, not why, "
            "and is evidence only as far as the curves of its faithfulness go.",
        ),
        _curves(name, score, crop, values, cells=map_cells(network, size), scored=scored or name),
    ]
    if face is not None and peak > 0:
        area = attention_inside(np.ones_like(values), face)
        found.append(
            Evidence(
                kind="scalar",
                name=f"attention of {name} inside the face",
                values=np.array(attention_inside(values, face)),
                unit="of 1",
                caption=f"Share of the map in the box of the face, which covers {fraction(area)} of the "
                "crop: so much would lie there of a map that is the same everywhere.",
            )
        )
    return tuple(found)


def attention_name(branch: str) -> str:
    """The name of the heat map of a branch."""
    return f"attention of {branch}"


def run_score(run: Run) -> Score:
    """(B, 3, S, S) → (B,) scores, by what runs a network that sees the pixels alone."""

    def score(images: FloatArray) -> FloatArray:
        return run(np.asarray(images, dtype=np.float32))[0]

    return score


def _curves(
    name: str, score: Score, crop: FloatArray, values: FloatArray, *, cells: int, scored: str
) -> Evidence:
    """Deletion and insertion by the map, and the means of those by random maps, as one evidence."""
    found = faithfulness(
        score, crop, values, cells=cells, seed=0, n_random=RANDOM_MAPS, steps=STEPS, batch_size=STEPS + 1
    )
    rows = (
        found.deletion.scores,
        np.mean([curve.scores for curve in found.random_deletions], axis=0),
        found.insertion.scores,
        np.mean([curve.scores for curve in found.random_insertions], axis=0),
    )
    return Evidence(
        kind="curve",
        name=f"faithfulness of {attention_name(name)}",
        values=np.stack(rows),
        unit="log-odds of fake",
        caption=f"The score of {scored} while pixels are blurred, those first where its map is highest, and "
        "while they come back into a blurred crop. Of a faithful map the first curve falls sooner and the "
        f"second rises sooner than the dashed ones, the mean of {RANDOM_MAPS} maps of no meaning.",
        labels=FAITHFULNESS,
    )
