"""Files → rows: what a row holds, whatever is wrong with the file, and nothing that depends on neighbours."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import clip, sound_only
from corpus import write_corpus
from detector import CROP, write_detector
from pictures import natural, save, upsampled
from tellsign import faces, image
from tellsign.faces import Box
from tellsign.scoring import scorer as module
from tellsign.scoring.looks import NO_FACE, NO_SCORE
from tellsign.scoring.names import unescape
from tellsign.scoring.scorer import Options, Scorer, opened
from tellsign.scoring.workers import NO_MEMORY
from tellsign.types import ArtifactError, ConfigError, ImageError

# In the order of DESIGN; more keys may stand between them, none may go.
KEYS = {
    "path",
    "sha256",
    "kind",
    "label",
    "probability",
    "score",
    "threshold",
    "detector",
    "faces",
    "warnings",
} | {"error"}


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("detector") / "stand-in")


@pytest.fixture(scope="module")
def scorer(detector: Path) -> Scorer:
    return Scorer(detector)


def one(scorer: Scorer, path: Path) -> dict[str, Any]:
    (row,) = scorer.rows([(path, None)])
    assert row is not None
    json.dumps(row, allow_nan=False)
    assert row.keys() >= KEYS
    assert (row["label"] is None) == (row["error"] is not None)
    assert (row["score"] is None) == (row["probability"] is None)
    return row


@pytest.mark.parametrize(("name", "asked"), [("a table.csv", True), ("A.CSV", True), ("a.txt", False)])
def test_a_table_that_was_named_without_manifest_says_what_to_add(
    scorer: Scorer, tmp_path: Path, name: str, asked: bool
) -> None:
    path = tmp_path / name
    path.write_text("path,label\na.jpg,real\n")
    row = one(scorer, path)
    assert row["error"].startswith("this is a text file (expected JPEG")
    assert ("`scan --manifest`" in row["error"]) == asked
    assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_real_and_a_fake_picture(scorer: Scorer, tmp_path: Path) -> None:
    real = one(scorer, save(natural(1), tmp_path / "real.png"))
    fake = one(scorer, save(upsampled(2), tmp_path / "fake.png"))
    assert (real["label"], fake["label"]) == ("real", "fake")
    assert real["probability"] < 0.2 < 0.8 < fake["probability"]
    assert fake["probability"] >= fake["threshold"]
    assert fake["detector"] == f"stand-in@{scorer.artifact.digest[:12]}"
    assert fake["sha256"] == hashlib.sha256((tmp_path / "fake.png").read_bytes()).hexdigest()
    assert fake["kind"] == "image"
    assert fake["faces"] is None
    assert fake["warnings"] == []


def test_the_content_counts_and_not_the_suffix(scorer: Scorer, tmp_path: Path) -> None:
    png = save(natural(1), tmp_path / "a.png").read_bytes()
    (tmp_path / "a.jpg").write_bytes(png)
    (tmp_path / "a.mp4").write_bytes(png)
    (tmp_path / "clip.jpg").write_bytes(clip(3))
    rows = [one(scorer, tmp_path / name) for name in ("a.png", "a.jpg", "a.mp4", "clip.jpg")]
    assert len({row["score"] for row in rows[:3]}) == 1
    assert [row["kind"] for row in rows] == ["image", "image", "image", "video"]
    assert "content is PNG" in rows[1]["warnings"][0]


def test_a_picture_that_is_too_small_is_uncertain_and_no_error(scorer: Scorer, tmp_path: Path) -> None:
    row = one(scorer, save(natural(1, CROP - 1, 200), tmp_path / "small.png"))
    assert row["label"] == "uncertain"
    assert row["score"] is None
    assert f"at least {CROP} × {CROP}" in row["warnings"][0]


def test_a_picture_unlike_the_training_is_uncertain(scorer: Scorer, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).random((3, 64, 64)).astype(np.float32)
    row = one(scorer, save(noise, tmp_path / "noise.png"))
    assert row["label"] == "uncertain"
    assert row["score"] is not None
    assert "unlike the images this detector was trained on" in row["warnings"][0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_none(
    detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    scorer = Scorer(detector)
    monkeypatch.setattr(scorer.detector, "score", lambda batch: np.full(len(batch["profile"]), value))
    row = one(scorer, save(natural(1), tmp_path / "a.png"))
    assert (row["label"], row["score"], row["warnings"]) == ("uncertain", None, [NO_SCORE])


def test_a_picture_of_one_colour_is_a_row(scorer: Scorer, tmp_path: Path) -> None:
    for level in (0, 0.5, 1):
        flat = np.full((3, 64, 64), level, np.float32)
        assert one(scorer, save(flat, tmp_path / f"{level}.png"))["label"] == "uncertain"


def test_every_file_of_the_corpus_gives_its_row(scorer: Scorer, tmp_path: Path) -> None:
    files = write_corpus(tmp_path)
    rows = scorer.rows([(file.path, None) for file in files])
    for file, row in zip(files, rows, strict=True):
        assert row is not None
        assert unescape(row["path"]) == str(file.path)
        assert (row["error"] is None) == file.ok, f"{row['path']}: {file.why}: {row['error']}"
        if not file.ok:
            assert row["label"] is None
            assert row["error"].isprintable()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")
def test_what_is_no_file(scorer: Scorer, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    errors = {
        name: one(scorer, tmp_path / name)["error"]
        for name in ("pipe.jpg", "loop.jpg", "empty.jpg", "folder.jpg", "gone.jpg", "empty.jpg/a", "x" * 300)
    }
    assert "not a regular file" in errors["pipe.jpg"]
    assert "levels of symbolic links" in errors["loop.jpg"]
    assert errors["empty.jpg"] == "the file is empty"
    assert "folder" in errors["folder.jpg"]
    assert "no such file" in errors["gone.jpg"]
    assert "Not a directory" in errors["empty.jpg/a"]
    assert "name too long" in errors["x" * 300]
    assert "NUL" in one(scorer, Path("a\0b.jpg"))["error"]


def test_a_file_that_cannot_be_read(scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(natural(1), tmp_path / "a.png")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    row = one(scorer, path)
    assert row["error"] == "the file cannot be read: Permission denied"


def test_a_disk_that_fails_while_it_is_read(
    scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def read(self, _size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    path = save(natural(1), tmp_path / "a.png")
    monkeypatch.setattr(Path, "open", lambda *_: Failing())
    assert one(scorer, path)["error"] == "the file cannot be read: Input/output error"


def test_other_errors_are_not_taken_for_the_file_s(tmp_path: Path) -> None:
    path = save(natural(1), tmp_path / "a.png")
    with pytest.raises(ValueError, match="of the caller"), opened(path):
        raise ValueError("of the caller")
    with pytest.raises(ImageError, match="of the caller"), opened(path):
        raise ImageError("of the caller")


def test_memory_that_does_not_suffice(
    scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(natural(1), tmp_path / "a.png")

    def greedy(_image: object) -> None:
        raise MemoryError

    monkeypatch.setattr(scorer.detector, "preprocess", greedy)
    assert one(scorer, path)["error"] == NO_MEMORY


def test_pictures_above_the_limit_are_refused(detector: Path, tmp_path: Path) -> None:
    path = save(natural(1), tmp_path / "a.png")
    assert one(Scorer(detector, Options(max_pixels=64 * 64)), path)["error"] is None
    assert "4,096 pixels" in one(Scorer(detector, Options(max_pixels=64 * 64 - 1)), path)["error"]


def test_files_above_the_limit_are_not_read(
    scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1 << 20)
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate((1 << 20) + 1)
    row = one(scorer, path)
    assert row["error"] == "the file is larger than 1 MiB"
    assert row["sha256"] is None


def test_known_content_gives_no_row(scorer: Scorer, tmp_path: Path) -> None:
    still, film = save(natural(1), tmp_path / "a.png"), tmp_path / "b.mp4"
    film.write_bytes(clip(3))
    known = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (still, film)]
    rows = scorer.rows([(still, known[0]), (still, known[1]), (film, known[1]), (film, known[0])])
    assert [row is None for row in rows] == [True, False, True, False]


def test_order_and_batch_do_not_change_a_bit(tmp_path: Path) -> None:
    paths = [
        save(make(k, 40 + k, 70), tmp_path / f"{k}.png") for k, make in enumerate([natural, upsampled] * 4)
    ]
    paths += [tmp_path / "gone.png", save(natural(9, 20, 20), tmp_path / "small.png")]
    for kind in ("linear", "kernel"):
        scorer = Scorer(write_detector(tmp_path / kind, kind=kind))
        alone = {path: one(scorer, path) for path in paths}
        for order in (paths, paths[::-1], paths[3:] + paths[:3], paths[:2]):
            rows = scorer.rows([(path, None) for path in order])
            assert rows == [alone[path] for path in order]


def test_calls_tell_which_file_is_being_read(scorer: Scorer, tmp_path: Path) -> None:
    path = save(natural(1), tmp_path / "a.png")
    calls: list[int | None] = []
    scorer.rows([(path, None), (tmp_path / "gone", None), (path, None)], on_start=calls.append)
    assert calls == [0, 1, 2, None]


def test_a_batch_keeps_no_pixels(scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen pictures of 100 megapixels would be 20 GB."""
    decoded: list[weakref.ref[Any]] = []
    decode = image.decode

    def watched(*arguments: Any, **options: Any) -> image.Image:
        picture = decode(*arguments, **options)
        decoded.append(weakref.ref(picture.array))
        return picture

    alive: list[int] = []
    monkeypatch.setattr(image, "decode", watched)
    paths = [save(natural(k), tmp_path / f"{k}.png") for k in range(5)]
    scorer.rows(
        [(path, None) for path in paths],
        on_start=lambda _: alive.append(sum(array() is not None for array in decoded)),
    )
    assert len(decoded) == 5
    assert max(alive) <= 1


# Faces --------------------------------------------------------------------------------------------------


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Box]:
    """The faces that every picture seems to have."""
    boxes: list[Box] = []
    monkeypatch.setattr(faces, "boxes", lambda _image: tuple(boxes))
    return boxes


def test_no_face_is_no_score(detector: Path, tmp_path: Path, found: list[Box]) -> None:
    row = one(Scorer(detector, Options(faces=True)), save(upsampled(1), tmp_path / "a.png"))
    assert (row["label"], row["score"], row["probability"], row["faces"]) == ("uncertain", None, None, 0)
    assert row["warnings"][-1] == NO_FACE
    assert row["error"] is None


def test_faces_with_a_detector_of_whole_images_are_warned_of(
    detector: Path, tmp_path: Path, found: list[Box]
) -> None:
    found.append(Box(5, 5, 45, 45))
    path = save(upsampled(1, 128, 128), tmp_path / "a.png")
    row = one(Scorer(detector, Options(faces=True)), path)
    assert "--faces: this detector was made for the whole image" in row["warnings"][0]
    assert (row["faces"], row["region"]) == (1, "face")
    own = one(Scorer(write_detector(tmp_path / "faces", region="face")), path)
    assert own["warnings"] == []
    assert (own["faces"], own["region"], own["score"]) == (1, "face", row["score"])


def test_the_most_suspicious_face_decides(detector: Path, tmp_path: Path, found: list[Box]) -> None:
    both = np.concatenate([natural(1, 64, 64), upsampled(2, 64, 64)], axis=2)
    path = save(both, tmp_path / "both.png")
    scorer = Scorer(detector, Options(faces=True))
    scores = []
    for boxes in ([Box(8, 8, 56, 56)], [Box(72, 8, 120, 56)], [Box(8, 8, 56, 56), Box(72, 8, 120, 56)]):
        found[:] = boxes
        scores.append(one(scorer, path)["score"])
    assert scores[0] < scores[1] == scores[2]


def test_a_face_that_is_too_small_is_uncertain(detector: Path, tmp_path: Path, found: list[Box]) -> None:
    found.append(Box(5, 5, 15, 15))
    row = one(Scorer(detector, Options(faces=True)), save(upsampled(1), tmp_path / "a.png"))
    assert (row["label"], row["faces"], row["score"]) == ("uncertain", 1, None)
    found.append(Box(5, 5, 45, 45))
    assert one(Scorer(detector, Options(faces=True)), tmp_path / "a.png")["score"] is not None


# The detector -------------------------------------------------------------------------------------------


def test_the_same_again_in_another_process(detector: Path, tmp_path: Path) -> None:
    options = Options(fpr=0.1, prior=0.2, n_frames=3)
    scorer = Scorer(detector, options)
    again = pickle.loads(pickle.dumps(scorer.again))()
    assert again.settings == scorer.settings
    assert again.options == options


def test_a_detector_replaced_meanwhile_is_refused(tmp_path: Path) -> None:
    folder = write_detector(tmp_path / "d")
    again = Scorer(folder).again
    again()
    write_detector(folder, summary="trained anew")
    with pytest.raises(ArtifactError, match=r"was replaced while it was at work.*run the command again"):
        again()


def test_a_folder_that_is_no_detector(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"detector\.json is missing"):
        Scorer(tmp_path)


def test_settings_say_what_a_verdict_depends_on(detector: Path) -> None:
    base = Scorer(detector).settings
    for options in (
        Options(fpr=0.2),
        Options(prior=0.2),
        Options(faces=True),
        Options(n_frames=3),
    ):
        assert Scorer(detector, options).settings != base, options
    assert Scorer(detector, Options(max_pixels=5)).settings == base
    assert json.loads(json.dumps(base)) == base


def test_options_that_cannot_be_carried_out(detector: Path) -> None:
    for options in (Options(fpr=0.0001), Options(prior=1.5)):
        with pytest.raises(ConfigError):
            Scorer(detector, options)


def test_the_row_of_a_lost_file(scorer: Scorer) -> None:
    row = scorer.empty_row(Path("a b.MP4"), "it took too long")
    assert (row["kind"], row["error"], row["label"]) == ("video", "it took too long", None)
    assert row.keys() >= KEYS
    assert scorer.empty_row(Path("a"))["kind"] == "image"


def test_rows_share_nothing(detector: Path) -> None:
    scorer = Scorer(detector, Options(faces=True))
    first, second = scorer.empty_row(Path("a")), scorer.empty_row(Path("b"))
    first["warnings"].append("only here")
    assert len(second["warnings"]) == 1


def test_a_sound_file_is_an_error(scorer: Scorer, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(sound_only())
    row = one(scorer, tmp_path / "a.mp4")
    assert (row["kind"], row["label"]) == ("video", None)
    assert row["sha256"]
