"""One video or image → its crops: which pixels, which face, which times; nothing by halves."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clips import clip
from pictures import natural, save
from tellsign import faces, image
from tellsign.data.face_crops import RECORD, CropOptions, CropTask, record_of, write_crops
from tellsign.faces import Box
from tellsign.types import ConfigError, ImageError, VideoError


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """(300, 256, 3) uint8: Grace Hopper, public domain, shipped with matplotlib, at half its size."""
    cbook = pytest.importorskip("matplotlib.cbook")
    return np.asarray(Image.open(cbook.get_sample_data("grace_hopper.jpg")).convert("RGB"))[::2, ::2].copy()


def film(path: Path, *frames: np.ndarray) -> Path:
    """A lossless clip of (H, W, 3) uint8 pictures, 25 a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(clip(pictures=list(frames), container="matroska", codec="ffv1", pixels="bgr0"))
    return path


def task(source: Path, n_frames: int = 20, sha256: str = "") -> CropTask:
    return CropTask(source, source.parent / "out" / "crops", n_frames, sha256)


def written(task: CropTask, **options: object) -> dict:
    beats: list[None] = []
    record = write_crops(task, lambda: beats.append(None), options=CropOptions(**options))
    assert len(beats) == record["n_looked"]
    assert json.loads((task.folder / RECORD).read_text()) == record
    names = {crop["name"] for crop in record["crops"]}
    assert {path.name for path in task.folder.iterdir()} == {RECORD, *names}
    assert list(task.folder.parent.iterdir()) == [task.folder]
    return record


def boxes_in_order(monkeypatch: pytest.MonkeyPatch, *found: tuple[Box, ...]) -> None:
    """What `faces.boxes` finds, call by call."""
    calls = iter(found)
    monkeypatch.setattr(faces, "boxes", lambda array: next(calls))


def test_a_crop_is_the_frame_s_own_pixels(portrait: np.ndarray, tmp_path: Path) -> None:
    moved = np.roll(portrait, 10, axis=1)
    source = film(tmp_path / "a.mkv", portrait, moved)
    record = written(task(source))
    assert (record["kind"], record["n_frames"], record["n_looked"], record["n_with_face"]) == (
        "video",
        20,
        2,
        2,
    )
    assert record["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert [crop["time"] for crop in record["crops"]] == [0.0, 0.04]
    assert [crop["name"] for crop in record["crops"]] == ["00000.png", "00001.png"]
    for crop, frame in zip(record["crops"], (portrait, moved), strict=True):
        path = task(source).folder / crop["name"]
        (box,) = faces.boxes(frame.transpose(2, 0, 1).astype(np.float32) / 255)
        side, left, top = crop["side"], crop["left"], crop["top"]
        assert side == round(1.3 * max(box.right - box.left, box.bottom - box.top))
        assert left <= box.left < box.right <= left + side
        levels = np.asarray(Image.open(path))
        assert np.array_equal(levels, frame[top : top + side, left : left + side])
        assert hashlib.sha256(path.read_bytes()).hexdigest() == crop["sha256"]
        assert not Image.open(path).info


def test_the_margin_widens_the_crop(portrait: np.ndarray, tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv", portrait)
    tight, wide = (written(task(source), margin=margin)["crops"][0] for margin in (1.0, 1.5))
    assert wide["side"] == round(1.5 * tight["side"])


def test_the_largest_track_is_kept_and_not_the_largest_face_of_a_frame(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host = Box(10, 10, 50, 50)
    passer_by = Box(60, 10, 110, 60)  # larger, and in one frame only
    boxes_in_order(monkeypatch, (host,), (passer_by, host), (host,))
    frames = [np.full((80, 120, 3), level, np.uint8) for level in (10, 20, 30)]
    record = written(task(film(tmp_path / "a.mkv", *frames)), margin=1.0)
    assert [(crop["left"], crop["time"]) for crop in record["crops"]] == [(10, 0.0), (10, 0.04), (10, 0.08)]


def test_all_tracks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host, guest = Box(10, 10, 50, 50), Box(60, 10, 110, 60)
    boxes_in_order(monkeypatch, (host,), (guest, host), ())
    frames = [np.full((80, 120, 3), level, np.uint8) for level in (10, 20, 30)]
    record = written(task(film(tmp_path / "a.mkv", *frames)), margin=1.0, which="all")
    found = [(crop["name"], crop["left"], crop["time"]) for crop in record["crops"]]
    assert found == [("00000_00.png", 10, 0.0), ("00001_00.png", 10, 0.04), ("00001_01.png", 60, 0.04)]
    assert (record["n_looked"], record["n_with_face"]) == (3, 2)


def test_a_face_that_moves_between_sparse_frames_or_goes_unseen_is_one_track(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = Box(0, 0, 40, 40), Box(20, 10, 60, 50)  # overlap 0.23
    boxes_in_order(monkeypatch, (first,), *[()] * 6, (second,))
    frames = [np.full((80, 80, 3), level, np.uint8) for level in range(10, 90, 10)]
    record = written(task(film(tmp_path / "a.mkv", *frames)))
    assert [crop["name"] for crop in record["crops"]] == ["00000.png", "00007.png"]


def test_no_face_is_a_record_without_crops(tmp_path: Path) -> None:
    frame = (255 * natural(1, 90, 90)).astype(np.uint8).transpose(1, 2, 0)
    record = written(task(film(tmp_path / "a.mkv", frame, frame[::-1])))
    assert (record["crops"], record["n_looked"], record["n_with_face"]) == ([], 2, 0)


def test_an_image_gives_its_face(portrait: np.ndarray, tmp_path: Path) -> None:
    save(portrait.transpose(2, 0, 1) / 255, source := tmp_path / "a.png")
    record = written(task(source))
    (crop,) = record["crops"]
    assert (record["kind"], crop["name"], crop["time"]) == ("image", "00000.png", None)
    levels = np.asarray(Image.open(task(source).folder / crop["name"]))
    side, left, top = crop["side"], crop["left"], crop["top"]
    assert np.array_equal(levels, portrait[top : top + side, left : left + side])


def test_whole_frames_in_which_no_face_is_sought(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    boxes_in_order(monkeypatch)  # a search would find the iterator empty
    frames = [(255 * natural(seed, 40, 60)).astype(np.uint8).transpose(1, 2, 0) for seed in range(5)]
    record = written(task(film(tmp_path / "a.mkv", *frames), n_frames=2), region="frame")
    assert record["n_with_face"] is None
    assert [crop["time"] for crop in record["crops"]] == [0.04, 0.12]
    for crop, frame in zip(record["crops"], (frames[1], frames[3]), strict=True):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "crops" / crop["name"])), frame)


def test_jpeg_only_where_asked_and_of_the_quality_stated(tmp_path: Path) -> None:
    save(natural(1, 40, 40), source := tmp_path / "a.png")
    (crop,) = written(task(source), region="frame", jpeg_quality=91)["crops"]
    meta = image.decode(tmp_path / "out" / "crops" / crop["name"]).meta
    assert (meta.format, meta.jpeg_quality, meta.jpeg_standard) == ("JPEG", 91, True)


def test_damage_is_told(tmp_path: Path) -> None:
    content = bytearray(clip(40, key_every=10, container="matroska"))
    content[len(content) // 2 : len(content) * 3 // 4] = bytes(len(content) * 3 // 4 - len(content) // 2)
    (source := tmp_path / "a.mkv").write_bytes(content)
    record = written(task(source), region="frame")
    assert "the video breaks off at" in record["warnings"][0]
    assert 0 < record["n_looked"] < 20


def test_files_that_fail_leave_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "cut.mp4").write_bytes(clip(3)[:200])
    save(natural(1, 20, 20), tmp_path / "sound.png")
    for source, sha256, message in (
        (tmp_path / "text.mp4", "", "this is a text file"),
        (tmp_path / "folder.mp4", "", "folder, pipe or device"),
        (tmp_path / "cut.mp4", "", "was cut short"),
        (tmp_path / "gone.mp4", "", "no such file"),
        (tmp_path / "sound.png", "0" * 64, "has changed: its sha256 is"),
    ):
        with pytest.raises((ImageError, VideoError), match=message):
            write_crops(task(source, sha256=sha256), lambda: None, options=CropOptions(region="frame"))
        out = task(source).folder.parent
        assert not out.exists() or not list(out.iterdir())


def test_a_record_holds_as_long_as_its_file_and_crops(tmp_path: Path) -> None:
    save(natural(1, 20, 20), source := tmp_path / "a.png")
    work = task(source)
    assert record_of(work) is None
    record = written(work, region="frame")
    assert record_of(work) == record
    assert record_of(task(source, sha256=record["sha256"])) == record
    assert record_of(task(source, sha256="0" * 64)) is None
    assert record_of(task(source, n_frames=21)) is None

    (crop,) = record["crops"]
    (work.folder / crop["name"]).unlink()
    assert record_of(work) is None
    assert written(work, region="frame") == record

    os.utime(source, ns=(0, record["mtime_ns"] + 1))
    assert record_of(work) is None
    save(natural(2, 30, 30), source)
    assert record_of(work) is None
    assert written(work, region="frame")["sha256"] != record["sha256"]
    (work.folder / RECORD).write_text("[")
    assert record_of(work) is None


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    save(natural(1, 20, 20), source := tmp_path / "a.png")
    task(source).folder.mkdir(parents=True)
    (task(source).folder / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match=f"it holds no {RECORD}"):
        write_crops(task(source), lambda: None, options=CropOptions(region="frame"))
    assert [path.name for path in task(source).folder.parent.rglob("*")] == ["crops", "letter.txt"]


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    save(natural(1, 20, 20), source := tmp_path / "a.png")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ConfigError, match="cannot write"):
        write_crops(task(source), lambda: None, options=CropOptions(region="frame"))


@pytest.mark.parametrize(
    "options",
    [
        {"margin": 0},
        {"margin": float("nan")},
        {"margin": float("inf")},
        {"region": "nose"},
        {"which": "smallest"},
        {"jpeg_quality": 0},
        {"jpeg_quality": 101},
        {"max_pixels": 0},
    ],
    ids=str,
)
def test_options_out_of_range(options: dict) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is .*expected"):
        CropOptions(**options)
