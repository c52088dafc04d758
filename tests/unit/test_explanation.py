"""What is shown of an input: the content that was scored, within the limits of the run, or an error."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clips import clip, picture
from detector import write_detector
from pictures import natural, save, upsampled
from tellsign.scoring.explanation import CHANGED, explained
from tellsign.scoring.scorer import Options, Scorer


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("detector") / "stand-in")


class Changing(Scorer):
    """A scorer after whose work something happens to the files."""

    then: Callable[[], Any]

    def rows(self, *arguments: Any, **options: Any) -> Any:
        found = super().rows(*arguments, **options)
        self.then()
        return found


def after(detector: Path, then: Callable[[], Any], **options: Any) -> Changing:
    scorer = Changing(detector, Options(**options))
    scorer.then = then
    return scorer


def test_the_limit_of_pixels_holds_for_what_is_shown(detector: Path, tmp_path: Path) -> None:
    path = save(natural(1, 64, 64), tmp_path / "a.png")
    scorer = after(detector, lambda: save(natural(1, 64, 65), path), max_pixels=64 * 64)
    row, explanation = explained(scorer, path, full_metadata=False)
    assert "the limit is 4,096" in row["error"]
    assert explanation.picture is None


def test_the_limit_of_pixels_holds_for_a_frame_that_is_shown(detector: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(clip(3))
    large = clip(3, pictures=[(255 * natural(1, 64, 128)).astype("uint8").transpose(1, 2, 0)] * 3)
    row, _ = explained(
        after(detector, lambda: path.write_bytes(large), max_pixels=4096), path, full_metadata=False
    )
    assert "pixels" in row["error"]


@pytest.mark.parametrize("change", ["content", "kind", "gone"])
def test_a_file_that_changes_meanwhile_is_an_error_and_no_verdict(
    detector: Path, tmp_path: Path, change: str
) -> None:
    path = save(upsampled(2), tmp_path / "a.png")
    changes: dict[str, Callable[[], Any]] = {
        "content": lambda: save(natural(1), path),
        "kind": lambda: path.write_bytes(clip(3)),
        "gone": path.unlink,
    }
    row, explanation = explained(after(detector, changes[change]), path, full_metadata=False)
    assert row["error"] == CHANGED if change != "gone" else "no such file" in row["error"]
    assert [row[key] for key in ("label", "reason", "probability", "score")] == [None] * 4
    assert row["kind"] == "image"
    assert (explanation.verdict, explanation.error, explanation.picture) == (None, row["error"], None)


def test_of_a_video_that_turned_bad_no_frame_is_told(detector: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(clip(3))
    row, explanation = explained(
        after(detector, lambda: path.write_bytes(path.read_bytes()[:64] + bytes(5000))),
        path,
        full_metadata=False,
    )
    assert row["error"]
    assert not {"timeline", "vote"} & row.keys()
    assert (explanation.timeline, explanation.vote) == ((), None)


def test_of_a_damaged_video_the_frame_is_shown_that_was_scored(detector: Path, tmp_path: Path) -> None:
    # The most suspicious of the frames that are drawn, the 2, in the middle: among fewer it would be another.
    pictures = [picture((k - 50) % 100) for k in range(100)]
    content = clip(pictures=pictures, container="matroska", codec="libx264")
    scorer, path, n_damaged = Scorer(detector), tmp_path / "a.mkv", 0
    for seed in range(6):
        broken = bytearray(content)
        at = random.Random(seed).randrange(len(content) // 5, len(content) // 5 * 4)
        broken[at : at + 3] = bytes(255 - byte for byte in broken[at : at + 3])
        path.write_bytes(broken)
        row, explanation = explained(scorer, path, full_metadata=False)
        best = max(row["timeline"], key=lambda entry: entry["score"])
        assert dict(explanation.facts)["Picture"] == f"the frame at {best['time']:.2f} s"
        n_damaged += len(row["timeline"]) < row["n_frames"] and best["time"] == 2.08
    assert n_damaged, "no frame is missing, and nothing is proved"
