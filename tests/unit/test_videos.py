"""Frames joined to videos: by hand, and the same in a report and in a benchmark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tellsign.evaluate.benchmark.cells import levels
from tellsign.evaluate.report import report
from tellsign.evaluate.videos import videos
from tellsign.scoring.predictions import Predictions

if TYPE_CHECKING:
    from tellsign.metrics import Missing

NAN = float("nan")
# (label, data set, generator, video, score)
FRAMES = [
    (0, "x", "", "r", -2.0),
    (0, "x", "", "r", -1.0),
    (0, "x", "", "s", -3.0),
    (0, "x", "", "s", NAN),
    (1, "x", "g", "r", 4.0),
    (1, "x", "g", "r", 1.0),
    (1, "x", "g", "r", NAN),
    (1, "x", "h", "r", -1.0),
    (1, "x", "h", "r", 2.0),
    (1, "y", "g", "r", NAN),
]


def table(frames: list[tuple[int, str, str, str, float]]) -> Predictions:
    label, dataset, generator, video, score = (np.array(column) for column in zip(*frames, strict=True))
    n = len(frames)
    return Predictions(
        path=np.array([f"{video[i]}/{i}.png" for i in range(n)]),
        label=label,
        dataset=dataset,
        generator=generator,
        group=np.full(n, ""),
        video=video,
        frame=np.arange(n, dtype=float),
        split=np.full(n, ""),
        sha256=np.full(n, ""),
        score=score,
        probability=np.full(n, 0.5),
        verdict=np.where(np.isnan(score), "", np.where(score >= 0, "fake", "real")),
        reason=np.full(n, ""),
        detector="d@1",
        manifest="m",
    )


@pytest.mark.parametrize(
    ("missing", "scores", "votes"),
    [
        ("exclude", [-1.5, -3, 2.5, 0.5, NAN], ["real", "real", "fake", "", ""]),
        # s: one frame votes real and the lost one fake. g: two vote fake, the lost one real.
        ("worst", [-1.5, NAN, NAN, 0.5, NAN], ["real", "", "fake", "", "real"]),
        ("error", [-1.5, NAN, NAN, 0.5, NAN], ["real", "real", "fake", "", ""]),
    ],
)
def test_a_video_is_the_mean_and_the_vote_of_its_frames(
    missing: Missing, scores: list[float], votes: list[str]
) -> None:
    found = videos(table(FRAMES), missing)
    rows = found.table
    # The real and three fakes of one name are four videos.
    keys = list(zip(rows.dataset.tolist(), rows.generator.tolist(), rows.video.tolist(), strict=True))
    assert keys == [("x", "", "r"), ("x", "", "s"), ("x", "g", "r"), ("x", "h", "r"), ("y", "g", "r")]
    assert rows.score.tolist() == pytest.approx(scores, nan_ok=True)
    decided = ["" if np.isnan(score) else "fake" if score >= 0 else "real" for score in scores]
    assert rows.verdict.tolist() == decided
    assert np.isnan(rows.probability).all()
    assert found.vote.tolist() == votes
    assert found.n_frames.tolist() == [2, 2, 3, 2, 1]
    assert found.n_scored.tolist() == [2, 1, 2, 2, 0]
    assert found.fake_frames.tolist() == [0, 0, 2, 1, 0]
    assert len(found.take(rows.label == 0)) == 2
    assert found.take(rows.label == 0).vote.tolist() == votes[:2]


def test_the_order_of_frames_does_not_matter() -> None:
    one = videos(table(FRAMES), "exclude")
    other = videos(table(FRAMES[::-1]), "exclude")
    assert one.table.score.tolist() == pytest.approx(other.table.score.tolist(), nan_ok=True)
    assert one.vote.tolist() == other.vote.tolist()


@pytest.mark.parametrize("missing", ["exclude", "worst"])
def test_a_report_and_a_benchmark_join_alike(missing: Missing) -> None:
    rows = table(FRAMES)
    told = report(rows, missing=missing, n_resamples=0)["by"]["video"]
    (_, joined) = list(levels(rows, missing))[1]
    assert [v["score"] for v in told["videos"]] == [
        None if np.isnan(score) else score for score in joined.score.tolist()
    ]
    assert told["scored"] == int((~np.isnan(joined.score)).sum())


def test_no_score_of_a_lost_frame_is_worse_than_the_worst() -> None:
    """Whatever the lost frames might have got, mean and vote are no better under `worst`."""
    rng = np.random.default_rng(0)
    worst = report(table(FRAMES), missing="worst", n_resamples=0)["by"]["video"]
    for _ in range(50):
        filled = [(*key, rng.normal(scale=20) if np.isnan(score) else score) for *key, score in FRAMES]
        known = report(table(filled), n_resamples=0)["by"]["video"]  # type: ignore[arg-type]
        for name in ("auroc", "accuracy"):
            assert worst["metrics"][name]["value"] <= known["metrics"][name]["value"] + 1e-12
        assert worst["vote"]["accuracy"]["value"] <= known["vote"]["accuracy"]["value"]


def test_a_frame_that_fails_makes_its_video_no_better() -> None:
    frames = [*FRAMES[:2], (0, "x", "", "s", -3.0), (1, "x", "g", "r", 4.0), (1, "x", "g", "r", NAN)]
    told = report(table(frames), missing="worst", n_resamples=0)["by"]["video"]
    assert (told["n"], told["scored"]) == (3, 2)
    assert told["metrics"]["auroc"]["value"] == 0
    assert told["metrics"]["fnr"]["value"] == 1
    # One frame of two votes fake: a tie, which is wrong.
    assert told["vote"]["fnr"]["value"] == 1
    by_name = {(v["generator"], v["video"]): v for v in told["videos"]}
    lost = by_name["g", "r"]
    assert (lost["score"], lost["decision"], lost["vote"], lost["scored"]) == (None, None, None, 1)


def test_a_path_is_never_read() -> None:
    rows = table(FRAMES)
    moved = np.array([str(Path("all") / f"{i}.png") for i in range(len(FRAMES))])
    one, other = videos(rows, "exclude"), videos(replace(rows, path=moved), "exclude")
    assert one.vote.tolist() == other.vote.tolist()
