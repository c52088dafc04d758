"""Faces of a manifest's images: sought once, kept on disk, and where they lie in the crops of a batch."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pictures import natural, save  # noqa: E402
from tellsign import faces  # noqa: E402
from tellsign.data import Manifest, face_boxes  # noqa: E402
from tellsign.data.augment import View  # noqa: E402
from tellsign.data.face_boxes import FaceBoxes  # noqa: E402
from tellsign.data.loading import Loader  # noqa: E402
from tellsign.types import ConfigError, Sample  # noqa: E402

RED = np.array([1.0, 0.0, 0.0])[:, None, None]
PLACES = {0: (5, 8, 25, 30), 2: (20, 10, 45, 40), 3: (0, 0, 60, 48)}  # row → left, top, right, bottom


def red_box(image):
    """A finder of faces that are plain red, in the place of dlib."""
    rows, columns = np.nonzero((np.abs(image - RED) < 0.01).all(axis=0))
    if not len(rows):
        return ()
    box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    return (faces.Box(*box, score=2.0), faces.Box(0, 0, 1, 1, score=1.0))


@pytest.fixture
def sought(monkeypatch):
    """How often a face was sought."""
    calls = []

    def boxes(image):
        calls.append(image.shape)
        return red_box(image)

    monkeypatch.setattr("tellsign.faces.boxes", boxes)
    return calls


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Five images of 60 × 48 pixels, of which three have a red face."""
    paths = [tmp_path / "images" / f"{row}.png" for row in range(5)]
    for row, path in enumerate(paths):
        image = 0.8 * natural(row, 48, 60)
        if row in PLACES:
            left, top, right, bottom = PLACES[row]
            image[:, top:bottom, left:right] = RED
        save(image, path)
    return Manifest(tuple(Sample(path, row % 2) for row, path in enumerate(paths)))


def test_the_surest_face_of_each_image(manifest, tmp_path, sought):
    found = face_boxes.face_boxes(manifest, tmp_path / "run" / "faces.jsonl")
    assert found.boxes.tolist() == [list(PLACES.get(row, (0, 0, 0, 0))) for row in range(5)]
    assert found.sizes.tolist() == [[48, 60]] * 5
    assert found.n_found == 3
    again = FaceBoxes.from_rows(json.loads(json.dumps(found.rows())))
    assert np.array_equal(again.boxes, found.boxes)
    assert np.array_equal(again.sizes, found.sizes)


def test_an_image_is_searched_once(manifest, tmp_path, sought):
    file = tmp_path / "faces.jsonl"
    first = face_boxes.face_boxes(Manifest(manifest.samples[:3]), file)
    assert len(sought) == 3
    doubled = Manifest((*manifest.samples, *manifest.samples))
    second = face_boxes.face_boxes(doubled, file)
    assert len(sought) == 5
    assert np.array_equal(second.boxes[:3], first.boxes)
    assert np.array_equal(second.boxes[5:], second.boxes[:5])
    # The file names no image.
    assert str(tmp_path) not in file.read_text()


def test_a_changed_image_is_searched_again(manifest, tmp_path, sought):
    file = tmp_path / "faces.jsonl"
    face_boxes.face_boxes(manifest, file)
    save(natural(9, 50, 70), manifest[0].path)
    found = face_boxes.face_boxes(manifest, file)
    assert len(sought) == 6
    assert found.boxes[0].tolist() == [0, 0, 0, 0]
    assert found.sizes[0].tolist() == [50, 70]


def test_a_search_that_was_ended_goes_on(manifest, tmp_path, sought):
    file = tmp_path / "faces.jsonl"
    whole = face_boxes.face_boxes(manifest, file)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"no JSON\n" + b'{"image": 3}\n' + lines[0] + lines[1][:20])
    found = face_boxes.face_boxes(manifest, file)
    assert len(sought) == 5 + 4
    assert np.array_equal(found.boxes, whole.boxes)
    assert np.array_equal(face_boxes.face_boxes(manifest, file).boxes, whole.boxes)
    assert len(sought) == 9, "what was added after a cut line was lost"


def test_an_image_that_cannot_be_read_has_none_and_is_tried_again(manifest, tmp_path, sought):
    file, path = tmp_path / "faces.jsonl", manifest[0].path
    content = path.read_bytes()
    path.write_bytes(b"no image")
    found = face_boxes.face_boxes(manifest, file)
    assert found.boxes[0].tolist() == found.sizes[0].tolist() * 2 == [0, 0, 0, 0]
    path.write_bytes(content)
    assert face_boxes.face_boxes(manifest, file).n_found == 3
    path.unlink()
    assert face_boxes.face_boxes(manifest, file).n_found == 2


def test_workers_find_the_same(manifest, tmp_path):
    """With dlib itself, which finds no face in these."""
    alone, together = (
        face_boxes.face_boxes(manifest, tmp_path / f"{workers}.jsonl", workers=workers) for workers in (0, 2)
    )
    assert np.array_equal(alone.boxes, together.boxes)
    assert alone.sizes.tolist() == together.sizes.tolist() == [[48, 60]] * 5


def test_without_dlib_it_says_so(manifest, tmp_path, monkeypatch):
    def missing(image):
        raise ConfigError("dlib, which finds faces, is not installed")

    monkeypatch.setattr("tellsign.faces.boxes", missing)
    with pytest.raises(ConfigError, match="dlib"):
        face_boxes.face_boxes(manifest, tmp_path / "faces.jsonl")


def test_a_file_that_cannot_be_read_or_written(manifest, tmp_path, sought, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="found faces are kept, can't be read: Not a directory"):
        face_boxes.face_boxes(manifest, tmp_path / "file" / "faces.jsonl")

    def full(descriptor, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(ConfigError, match=r"found faces can't be written to .*No space left"):
        face_boxes.face_boxes(manifest, tmp_path / "faces.jsonl")


# in batches


def batches(manifest, view, found, **options):
    with Loader(manifest, view, seed=4, faces=found, shown=found is not None, **options) as loader:
        order = np.array([3, 0, 1, 2, 4, 2, 0])
        return list(loader.epoch(order, epoch=1, batch_size=4))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_box_lies_where_the_face_is_in_the_crop(manifest, tmp_path, sought, workers):
    found = face_boxes.face_boxes(manifest, tmp_path / "faces.jsonl")
    checked = 0
    for batch in batches(manifest, View(size=32), found, workers=workers):
        assert batch.boxes.shape == (len(batch.rows), 4)
        assert batch.boxes.dtype == torch.float32
        for image, box, row in zip(
            batch.images.numpy(), batch.boxes.tolist(), batch.rows.tolist(), strict=True
        ):
            seen = red_box(image)
            if row not in PLACES:
                assert box == [0, 0, 0, 0]
            elif any(box):
                checked += 1
                assert box == [seen[0].left, seen[0].top, seen[0].right, seen[0].bottom]
            else:
                shown = (seen[0].right - seen[0].left) * (seen[0].bottom - seen[0].top) if seen else 0
                left, top, right, bottom = PLACES[row]
                assert shown < 0.25 * min((right - left) * (bottom - top), 32 * 32)
    assert checked >= 3


def test_images_are_the_same_with_and_without(manifest, tmp_path, sought):
    view = View(size=24, rotation=12, jitter=0.1)
    found = face_boxes.face_boxes(manifest, tmp_path / "faces.jsonl")
    for one, other in zip(batches(manifest, view, found), batches(manifest, view, None), strict=True):
        assert torch.equal(one.images, other.images)
        assert other.boxes is None


def test_left_out_images_have_no_box(manifest, tmp_path, sought):
    found = face_boxes.face_boxes(manifest, tmp_path / "faces.jsonl")
    manifest[0].path.write_bytes(b"no image")
    for batch in batches(manifest, View(size=32), found, on_bad="skip", max_bad=1):
        assert len(batch.boxes) == len(batch.rows) == len(batch.images)


def test_faces_of_other_images_are_refused(manifest):
    faces_of_two = FaceBoxes(np.zeros((2, 4), np.int64), np.zeros((2, 2), np.int64))
    with pytest.raises(ConfigError, match="one an image, found 2 for a manifest of 5"):
        Loader(manifest, View(size=32), seed=0, faces=faces_of_two)
    with pytest.raises(ConfigError, match=r"found \(2, 4\) and \(3, 2\)"):
        FaceBoxes(np.zeros((2, 4), np.int64), np.zeros((3, 2), np.int64))
