"""One video → the keys of its row: every frame scored, then their mean and their vote.

The label comes from the mean score over the frames. Durall et al. (2020), section 4.1, take the majority
vote over 20 frames; it stands beside it as `vote`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tellsign import faces, video
from tellsign.scoring.looks import NOTHING_SEEN, Look, Looker, Row, mean_parts, most_suspicious
from tellsign.types import FAKE, REAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tellsign.faces import Box, Track

LABELS = {"real": REAL, "fake": FAKE, "uncertain": None, None: None}
NAMES = {REAL: "real", FAKE: "fake", None: "uncertain"}


def score_video(looker: Looker, path: Path, row: Row) -> Row:
    """Score the frames of a video.

    Args:    looker: the detector with its decision.
             path: of the video.
             row: the row so far.
    Returns: the finished row; `timeline` holds one entry a frame, `tracks` one a face.
    Raises:  VideoError: there is no frame to look at.
    """
    times: list[float] = []
    looks: list[list[Look]] = []
    boxes: list[tuple[Box, ...]] = []
    with video.frames(path, n_frames=looker.options.n_frames, max_pixels=looker.options.max_pixels) as frames:
        for frame in frames:
            # Scored one by one: a frame's pixels are forgotten before the next one comes.
            regions = [frame.image]
            if looker.region == "face":
                boxes.append(faces.boxes(frame.image))
                regions = [faces.crop(frame.image, box).image for box in boxes[-1]]
            looks.append(looker.look(regions))
            times.append(round(frame.time, 3))
        row["warnings"] += frames.warnings
        row["duration"] = round(frames.meta.duration, 3)
        row["n_frames"] = looker.options.n_frames
    timeline = [{"time": time, **_entry(looker, found)} for time, found in zip(times, looks, strict=True)]
    row |= {"timeline": timeline, "vote": _vote(timeline)}
    deciding = [look for frame in looks for look in frame]
    if looker.region == "face":
        faces_seen = _track_looks(looks, boxes)
        row["tracks"] = [_track(track, seen, times) for track, seen in faces_seen]
        row["faces"] = len(row["tracks"])
        # As for a picture, the most suspicious face decides.
        scores = [-np.inf if track["score"] is None else track["score"] for track in row["tracks"]]
        best = int(np.argmax(scores)) if scores else None
        score = None if best is None else row["tracks"][best]["score"]
        deciding = [] if best is None else faces_seen[best][1]
    else:
        scores = [entry["score"] for entry in timeline if entry["score"] is not None]
        score = float(np.mean(scores)) if scores else None
    whole = replace(_overall(score, looks), parts=mean_parts(deciding))
    return row | looker.verdict(whole, row["warnings"])


def _entry(looker: Looker, looks: Sequence[Look]) -> Row:
    best = most_suspicious(looks)
    if best.score is None:
        return {"score": None, "label": None}
    return {"score": best.score, "label": looker.verdict(best, ())["label"]}


def _vote(timeline: Sequence[Row]) -> Row:
    labels = [entry["label"] for entry in timeline]
    winner = NAMES[video.majority_vote(LABELS[label] for label in labels)]
    return {"label": winner, **{name: labels.count(name) for name in ("real", "fake", "uncertain")}}


def _overall(score: float | None, looks: Sequence[Sequence[Look]]) -> Look:
    """The look of the whole video: its score at the median distance of its frames."""
    every = [look for frame in looks for look in frame]
    if score is None:
        return every[0] if every else NOTHING_SEEN
    distances = [look.distance for look in every if look.distance is not None]
    return Look(score=score, distance=float(np.median(distances)))


def _track_looks(
    looks: Sequence[Sequence[Look]], boxes: Sequence[Sequence[Box]]
) -> list[tuple[Track, list[Look]]]:
    """Each face of the video with what was seen of it."""
    found = []
    for track in faces.tracks(boxes):
        members = zip(track.frames, track.boxes, strict=True)
        found.append((track, [looks[frame][boxes[frame].index(box)] for frame, box in members]))
    return found


def _track(track: Track, looks: Sequence[Look], times: Sequence[float]) -> Row:
    known = [look.score for look in looks if look.score is not None]
    return {
        "start": times[track.frames[0]],
        "end": times[track.frames[-1]],
        "frames": len(track.frames),
        "score": float(np.mean(known)) if known else None,
    }
