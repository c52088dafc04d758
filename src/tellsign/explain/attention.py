"""The evidence of one branch of a network: its class activation map, and how far that is to be believed.

Shapes: B batch, S pixels of a square crop, n points of a curve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.explain.cam import grad_cam, map_cells
from tellsign.explain.faithfulness import attention_inside, faithfulness
from tellsign.explain.words import FAITHFULNESS, fraction
from tellsign.types import Evidence

if TYPE_CHECKING:
    from tellsign.explain.faithfulness import Score
    from tellsign.faces import Box
    from tellsign.types import FloatArray

STEPS, RANDOM_MAPS = 16, 4  # of the curves: 170 evaluations of a branch


def attention_evidence(
    name: str, network: Any, score: Score, crop: FloatArray, *, where: str, face: Box | None
) -> tuple[Evidence, ...]:
    """What in a crop made a branch say fake, and what becomes of its score without it.

    Args:    name: of the branch.
             network: nn.Module in evaluation mode, (B, 3, S, S) in [0, 1] → logits (B, 2).
             score: (B, 3, S, S) → (B,) log-odds of the same branch.
             crop: (3, S, S) in [0, 1].
             where: the crop lies, for the caption.
             face: in pixels of the crop; None where there is none in it.
    Returns: a heat map as shares of its peak, deletion and insertion beside random order, and, where there is
             a face, the share of the map in its box.
    Raises:  ConfigError: nobody knows the layer of such a network, or the `train` extra is missing.
    """
    size = crop.shape[-1]
    (values,) = grad_cam(network, crop[None])
    peak = float(values.max())
    blank = "" if peak > 0 else " It is zero everywhere: to this part nothing in the crop speaks for fake."
    found = [
        Evidence(
            kind="heatmap",
            name=attention_name(name),
            values=values / peak if peak > 0 else values,
            unit="share of its peak",
            caption=f"What spoke to {name} for fake (Grad-CAM), over {where}.{blank} It says where, not why, "
            "and is evidence only as far as the curves of its faithfulness go.",
        ),
        _curves(name, score, crop, values, cells=map_cells(network, size)),
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


def _curves(name: str, score: Score, crop: FloatArray, values: FloatArray, *, cells: int) -> Evidence:
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
        caption=f"The score of {name} while pixels are blurred, those first where its map is highest, and "
        "while they come back into a blurred crop. Of a faithful map the first curve falls sooner and the "
        f"second rises sooner than the dashed ones, the mean of {RANDOM_MAPS} maps of no meaning.",
        labels=FAITHFULNESS,
    )
