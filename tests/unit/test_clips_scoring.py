"""Videos → rows: the mean over frames, the vote beside it, faces followed, damage told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import clip
from detector import CROP, write_detector
from pictures import natural, upsampled
from tellsign import faces
from tellsign.faces import Box
from tellsign.scoring.looks import NO_FACE
from tellsign.scoring.scorer import Options, Scorer


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("detector") / "stand-in")


def film(path: Path, *pictures: np.ndarray) -> Path:
    """A lossless clip of (3, H, W) pictures in [0, 1], 25 a second."""
    frames = [np.rint(255 * picture).astype(np.uint8).transpose(1, 2, 0) for picture in pictures]
    path.write_bytes(clip(pictures=frames, container="matroska", codec="ffv1", pixels="bgr0"))
    return path


def row_of(scorer: Scorer, path: Path) -> dict[str, Any]:
    (row,) = scorer.rows([(path, None)])
    assert row is not None
    json.dumps(row, allow_nan=False)
    return row


def test_the_score_is_the_mean_over_the_frames(detector: Path, tmp_path: Path) -> None:
    scorer = Scorer(detector)
    pictures = [upsampled(1), upsampled(2), natural(3), upsampled(4)]
    row = row_of(scorer, film(tmp_path / "a.mkv", *pictures))
    levels = [np.rint(255 * picture) / np.float32(255) for picture in pictures]
    alone = [look.score for look in scorer.look([level.astype(np.float32) for level in levels])]
    assert [entry["score"] for entry in row["timeline"]] == alone
    assert row["score"] == float(np.mean([score for score in alone if score is not None]))
    assert [entry["label"] for entry in row["timeline"]] == ["fake", "fake", "real", "fake"]
    assert [entry["time"] for entry in row["timeline"]] == [0.0, 0.04, 0.08, 0.12]
    assert row["vote"] == {"label": "fake", "real": 1, "fake": 3, "uncertain": 0}
    assert (row["kind"], row["duration"], row["n_frames"], row["error"]) == ("video", 0.16, 20, None)
    assert row["faces"] is None
    assert "tracks" not in row


def test_mean_and_vote_may_differ_and_both_are_told(detector: Path, tmp_path: Path) -> None:
    scorer = Scorer(detector, Options(fpr=0.05))
    scores = {
        picture: look.score
        for picture, look in zip("rf", scorer.look([natural(3), upsampled(1)]), strict=True)
    }
    assert scores["r"] is not None
    assert scores["f"] is not None
    path = film(tmp_path / "a.mkv", *[natural(3)] * 2, upsampled(1))
    row = row_of(scorer, path)
    assert row["vote"]["label"] == "real"
    assert row["score"] == pytest.approx((2 * scores["r"] + scores["f"]) / 3, abs=0.05)


def test_a_tie_is_uncertain(detector: Path, tmp_path: Path) -> None:
    row = row_of(Scorer(detector), film(tmp_path / "a.mkv", natural(1), upsampled(2)))
    assert row["vote"] == {"label": "uncertain", "real": 1, "fake": 1, "uncertain": 0}


def test_no_more_frames_than_asked(detector: Path, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", *[natural(k) for k in range(12)])
    row = row_of(Scorer(detector, Options(n_frames=3)), path)
    assert [entry["time"] for entry in row["timeline"]] == [0.08, 0.24, 0.4]
    assert row["n_frames"] == 3


def test_frames_that_are_too_small_are_uncertain_with_the_reason(detector: Path, tmp_path: Path) -> None:
    row = row_of(Scorer(detector), film(tmp_path / "a.mkv", natural(1, CROP - 2, CROP - 2)))
    assert (row["label"], row["score"], row["probability"]) == ("uncertain", None, None)
    assert f"at least {CROP} × {CROP}" in row["warnings"][-1]
    assert row["timeline"] == [{"time": 0.0, "score": None, "label": None}]
    assert row["vote"] == {"label": "uncertain", "real": 0, "fake": 0, "uncertain": 0}


def test_frames_unlike_the_training_make_the_video_uncertain(detector: Path, tmp_path: Path) -> None:
    noise = [np.random.default_rng(k).random((3, 64, 64)) for k in range(3)]
    row = row_of(Scorer(detector), film(tmp_path / "a.mkv", *noise, natural(1)))
    assert row["label"] == "uncertain"
    assert row["score"] is not None
    assert "unlike the images" in row["warnings"][-1]
    assert row["vote"] == {"label": "real", "real": 1, "fake": 0, "uncertain": 3}


def test_a_damaged_video_tells_what_is_missing(detector: Path, tmp_path: Path) -> None:
    content = clip(40, pictures=None)
    path = tmp_path / "cut.mp4"
    path.write_bytes(content[: len(content) * 2 // 3])
    row = row_of(Scorer(detector), path)
    assert row["error"] or row["warnings"], "damage in silence"
    assert row["sha256"]
    (tmp_path / "rubbish.mp4").write_bytes(content[:64] + bytes(5000))
    row = row_of(Scorer(detector), tmp_path / "rubbish.mp4")
    assert row["error"]
    assert (row["label"], row["kind"]) == (None, "video")


def test_large_frames_are_refused(detector: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(clip(3))
    assert "pixels" in row_of(Scorer(detector, Options(max_pixels=4095)), path)["error"]


# Faces --------------------------------------------------------------------------------------------------

Finder = Callable[[np.ndarray], tuple[Box, ...]]


@pytest.fixture
def find(monkeypatch: pytest.MonkeyPatch) -> Callable[[Finder], None]:
    return lambda finder: monkeypatch.setattr(faces, "boxes", finder)


def test_a_video_without_a_face_has_no_score(
    detector: Path, tmp_path: Path, find: Callable[[Finder], None]
) -> None:
    find(lambda _image: ())
    row = row_of(Scorer(detector, Options(faces=True)), film(tmp_path / "a.mkv", natural(1), natural(2)))
    assert (row["label"], row["score"], row["faces"], row["tracks"]) == ("uncertain", None, 0, [])
    assert row["warnings"][-1] == NO_FACE
    assert all(entry["score"] is None for entry in row["timeline"]), "no face is no score, never 0.5"


def test_the_most_suspicious_face_of_a_video_decides(
    detector: Path, tmp_path: Path, find: Callable[[Finder], None]
) -> None:
    """Two people side by side through four frames, one of them made."""
    left, right = Box(4, 4, 52, 52), Box(76, 4, 124, 52)
    find(lambda _image: (right, left))
    frames = [np.concatenate([natural(k), upsampled(k + 50)], axis=2) for k in range(4)]
    row = row_of(Scorer(detector, Options(faces=True)), film(tmp_path / "a.mkv", *frames))
    assert row["faces"] == 2
    assert [(track["start"], track["end"], track["frames"]) for track in row["tracks"]] == [
        (0.0, 0.12, 4)
    ] * 2
    scores = sorted(track["score"] for track in row["tracks"])
    assert scores[0] < -1 < 1 < scores[1]
    assert row["score"] == scores[1]
    assert [entry["score"] > 1 for entry in row["timeline"]] == [True] * 4


def test_a_face_that_comes_and_goes(detector: Path, tmp_path: Path, find: Callable[[Finder], None]) -> None:
    frames = [natural(k) if k in (0, 3) else upsampled(k) for k in range(4)]
    shown = {round(float(frame[0, 0, 0] * 255)): k for k, frame in enumerate(frames)}

    def finder(image: np.ndarray) -> tuple[Box, ...]:
        k = shown[round(float(image[0, 0, 0] * 255))]
        return (Box(0, 0, 48, 48),) if k in (1, 2) else ()

    assert len(shown) == 4
    find(finder)
    row = row_of(Scorer(detector, Options(faces=True)), film(tmp_path / "a.mkv", *frames))
    assert [entry["score"] is None for entry in row["timeline"]] == [True, False, False, True]
    assert row["tracks"][0]["frames"] == 2
    assert (row["tracks"][0]["start"], row["tracks"][0]["end"]) == (0.04, 0.08)
    assert row["vote"]["fake"] == 2
    assert row["label"] == "fake"


def test_faces_that_are_all_too_small(detector: Path, tmp_path: Path, find: Callable[[Finder], None]) -> None:
    find(lambda _image: (Box(8, 8, 16, 16),))
    row = row_of(Scorer(detector, Options(faces=True)), film(tmp_path / "a.mkv", natural(1), natural(2)))
    assert (row["label"], row["score"], row["faces"]) == ("uncertain", None, 1)
    assert "needs at least" in row["warnings"][-1]
