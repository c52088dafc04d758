"""What was found of the images nearest to generated ones, as text, as JSON and as a picture.

Shapes: S side of an image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.generators.nearest import nearest_crop, summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tellsign.generators.nearest import Neighbour, Neighbours
    from tellsign.types import FloatArray

SHOWN = 5  # pairs in the text
PAIRS = 16  # in the picture
ACROSS = 8  # of them in a row
GAP = 2  # pixels between two pairs
DISTANCE = (
    "root mean square of the difference of means over blocks, a sixteenth of a side long, in levels of [0, 1]"
)


def to_dict(result: Neighbours, *, path_text: Callable[[Path], str] = str) -> dict[str, Any]:
    """Neighbours as JSON.

    Args:    result: what was found. path_text: how a path is written.
    Returns: generated and real: median and least distance; neighbours: one an image, nearest first.
    """
    return {
        "n": len(result.found),
        "n_learnt": len(result.learnt),
        "size": result.images.shape[-1],
        "distance": DISTANCE,
        "generated": summary(result.found),
        "real": None if result.others is None else summary(result.others),
        "neighbours": [
            {
                "path": path_text(result.fakes[row].path),
                "nearest": path_text(result.learnt[one.row].path),
                "top": one.top,
                "left": one.left,
                "flip": one.flip,
                "distance": one.distance,
            }
            for row in result.order
            for one in (result.found[row],)
        ],
    }


def text(result: Neighbours, *, path_text: Callable[[Path], str] = str) -> str:
    """Neighbours for the terminal.

    Args:    result: what was found. path_text: how a path is written.
    Returns: lines.
    """
    size = result.images.shape[-1]
    lines = [
        f"{len(result.found)} generated images of {size} pixels, {len(result.learnt)} that were learnt from",
        "",
        f"generated images    {_distances(result.found)}",
    ]
    lines.append(
        f"other real images   {_distances(result.others)}"
        if result.others is not None
        else "other real images   none were given: a manifest with the splits train and valid has them"
    )
    lines += ["", "nearest of all:"]
    for row in result.order[:SHOWN]:
        one = result.found[row]
        where = f"at {one.left}, {one.top}" + (", mirrored" if one.flip else "")
        fake, learnt = path_text(result.fakes[row].path), path_text(result.learnt[one.row].path)
        lines.append(f"  {one.distance:.3f}  {fake}  to  {learnt} {where}")
    return "\n".join([*lines, "", f"(distance: {DISTANCE})"])


def sheet(result: Neighbours) -> FloatArray:
    """A picture of the nearest pairs, each generated image above its neighbour, nearest first.

    Args:    result: what was found.
    Returns: (3, H, W) in [0, 1], 16 pairs at most.
    Raises:  ImageError: a file has changed.
    """
    rows, size = result.order[:PAIRS], result.images.shape[-1]
    across = min(ACROSS, len(rows))
    down = -(-len(rows) // across)
    pitch = size + GAP
    drawn = np.ones((3, down * (2 * size + 2 * GAP), across * pitch), dtype=np.float32)
    for number, row in enumerate(rows):
        line, column = divmod(number, across)
        top, left = line * (2 * size + 2 * GAP), column * pitch
        neighbour = nearest_crop(result.found[row], result.learnt, size, fit=result.fit)
        drawn[:, top : top + 2 * size, left : left + size] = np.concatenate(
            [result.images[row], neighbour], axis=1
        )
    return drawn


def _distances(found: list[Neighbour]) -> str:
    values = summary(found)
    return f"{values['median']:.3f} from the nearest (median), {values['least']:.3f} the nearest of all"
