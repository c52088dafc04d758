"""Frames → videos: one row a video, with the mean of its frames' scores and with their vote.

What `missing` makes of a frame without a score, it makes of its video: with `exclude` the frames that have a
score speak for the video; with `worst` such a frame of a fake gets the lowest score there is and votes real,
such a frame of a real the highest and votes fake. So the mean of the video's frames is the worst one as well,
and the video counts as one that has no score.

Shapes: N frames, V videos.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.types import REAL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.metrics import Missing
    from tellsign.scoring.predictions import Predictions

    Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Videos:
    """One row a video, by data set, generator, name and label."""

    table: Predictions  # of the first frame, but for score, probability and verdict; score is NaN for none
    n_frames: Ints  # (V,)
    n_scored: Ints  # (V,) frames that have a score
    fake_frames: Ints  # (V,) of these, how many reach the threshold
    vote: NDArray[np.str_]  # (V,) real or fake; empty: a tie, or no frame that votes

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: NDArray[np.bool_]) -> Videos:
        """The videos of a mask."""
        return Videos(
            table=self.table.take(rows),
            n_frames=self.n_frames[rows],
            n_scored=self.n_scored[rows],
            fake_frames=self.fake_frames[rows],
            vote=self.vote[rows],
        )


def videos(frames: Predictions, missing: Missing) -> Videos:
    """One row a video.

    Frames are joined by data set, generator, video and label, never by the folder that they lie in. A video
    has no probability: those of frames are calibrated for frames.

    Args:    frames: predictions with a video each.
             missing: what becomes of frames without a score, as the head of this module says; with error they
             leave their video without one, too, which `with_missing` refuses.
    Returns: the videos.
    """
    columns = (frames.dataset, frames.generator, frames.video, frames.label)
    members: dict[tuple[Any, ...], list[int]] = {}
    for row, key in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        members.setdefault(key, []).append(row)
    rows = [np.array(members[key]) for key in sorted(members)]
    first = frames.take(np.array([own[0] for own in rows], dtype=np.int64))
    known = ~np.isnan(frames.score)
    reached = known & (frames.score >= frames.threshold)
    n_frames = np.array([len(own) for own in rows], dtype=np.int64)
    n_scored, fake_frames = (
        np.array([flags[own].sum() for own in rows], dtype=np.int64) for flags in (known, reached)
    )
    is_read = n_scored > 0 if missing == "exclude" else n_scored == n_frames
    scores = np.array(
        [
            frames.score[own[known[own]]].mean() if is_own else math.nan
            for own, is_own in zip(rows, is_read, strict=True)
        ]
    )
    n_voting, votes = n_scored, fake_frames
    if missing == "worst":
        n_voting, votes = n_frames, np.where(first.label == REAL, n_frames - n_scored, 0) + fake_frames
    return Videos(
        table=replace(
            first,
            score=scores,
            probability=np.full(len(rows), math.nan),
            verdict=np.where(np.isnan(scores), "", _names(scores >= frames.threshold)),
        ),
        n_frames=n_frames,
        n_scored=n_scored,
        fake_frames=fake_frames,
        vote=np.where(2 * votes == n_voting, "", _names(2 * votes > n_voting)),
    )


def _names(is_fake: NDArray[np.bool_]) -> NDArray[np.str_]:
    return np.where(is_fake, "fake", "real")
