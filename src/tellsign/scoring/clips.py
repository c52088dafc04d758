"""One video → the keys of its row: every frame scored, then their mean and their vote.

The label comes from the mean score over the frames (Durall et al. 2020 take the majority vote over 20
frames; it stands beside it as `vote`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tellsign.scoring.scorer import Look, Scorer

Row = dict[str, Any]


def score_video(scorer: Scorer, path: Path, row: Row) -> Row:
    """Score the frames of a video.

    Args:    scorer: the detector with its decision.
             path: of the video.
             row: the row so far.
    Returns: the finished row; `timeline` holds one entry a frame, `tracks` one a face.
    Raises:  VideoError: there is no frame to look at.
    """
    from tellsign import video

    clip = video.open(path, max_pixels=scorer.options.max_pixels)
    timeline: list[Row] = []
    looks: list[list[Look]] = []
    boxes = []
    for frame in clip.frames(scorer.options.n_frames):
        regions = [frame.array]
        if scorer.region == "face":
            from tellsign import faces

            boxes.append(faces.boxes(frame.array))
            regions = [faces.crop(frame.array, box).array for box in boxes[-1]]
        looks.append(scorer.look(regions))
        timeline.append({"time": round(frame.time, 3), **_entry(scorer, looks[-1])})
    row["warnings"] += clip.warnings
    row |= {"duration": clip.meta.duration, "timeline": timeline, "vote": _vote(timeline)}
    if scorer.region == "face":
        row |= {"tracks": _tracks(looks, boxes, timeline), "faces": 0}
        row["faces"] = len(row["tracks"])
        scores = [track["score"] for track in row["tracks"] if track["score"] is not None]
        # As for a picture, the most suspicious face decides.
        score = max(scores, default=None)
    else:
        scores = [entry["score"] for entry in timeline if entry["score"] is not None]
        score = float(np.mean(scores)) if scores else None
    distances = [look.distance for frame in looks for look in frame if look.distance is not None]
    mean = _mean_look(score, distances, looks)
    return row | scorer.verdict(mean, row["warnings"])


def _entry(scorer: Scorer, looks: list[Look]) -> Row:
    best = max(looks, key=lambda look: -np.inf if look.score is None else look.score, default=None)
    if best is None or best.score is None:
        return {"score": None, "label": None}
    return {"score": best.score, "label": scorer.verdict(best, ())["label"]}


def _vote(timeline: list[Row]) -> Row:
    from tellsign import video

    labels = [entry["label"] for entry in timeline if entry["label"] is not None]
    return {
        "label": video.majority_vote(labels),
        **{name: labels.count(name) for name in ("real", "fake", "uncertain")},
    }


def _mean_look(score: float | None, distances: list[float], looks: list[list[Look]]) -> Look:
    from tellsign.scoring.scorer import NO_FACE, Look

    if score is None:
        reasons = [look.reason for frame in looks for look in frame if look.reason]
        return Look(reason=reasons[0] if reasons else NO_FACE)
    return Look(score=score, distance=float(np.median(distances)))


def _tracks(looks: list[list[Look]], boxes: list[Any], timeline: list[Row]) -> list[Row]:
    from tellsign import faces

    rows = []
    for track in faces.tracks(boxes):
        scores = [looks[frame][index].score for frame, index in track.members]
        known = [score for score in scores if score is not None]
        rows.append(
            {
                "start": timeline[track.members[0][0]]["time"],
                "end": timeline[track.members[-1][0]]["time"],
                "frames": len(scores),
                "score": float(np.mean(known)) if known else None,
            }
        )
    return rows
