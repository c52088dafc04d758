"""What an audit sees of one file, and how files are read by workers."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from orphans import worker_outlives_parent
from pictures import natural, save
from tellsign.data.audit import cues
from tellsign.data.audit.cues import (
    FEATURES,
    GRID,
    all_file_cues,
    area_means,
    cue_text,
    file_cues,
    perceptual_hash,
)
from tellsign.image import decode
from tellsign.types import ImageError


@pytest.fixture
def jpeg(tmp_path: Path) -> Path:
    return save(natural(1, 64, 96), tmp_path / "real" / "IMG_0012.JPG", quality=90)


def test_a_file_gives_away_what_it_is(jpeg):
    found = file_cues(jpeg)
    assert (found.format, found.suffix, found.stem, found.mode) == ("JPEG", ".jpg", "IMG_0012", "RGB")
    assert (found.width, found.height, found.n_bytes) == (96, 64, jpeg.stat().st_size)
    assert (found.jpeg_quality, found.jpeg_sums) == (90, (736, 1110))
    assert found.bits_per_pixel == 8 * jpeg.stat().st_size / (96 * 64)
    assert found.exif == ()
    mean = decode(jpeg).array.reshape(3, 8, 8, 8, 12).mean(axis=(2, 4)).transpose(1, 2, 0)
    np.testing.assert_allclose(found.thumbnail, mean, atol=1e-6)


def test_exif_and_profile_are_seen(tmp_path):
    exif = PIL.Image.Exif()
    exif[271] = "Maker"
    path = save(natural(1), tmp_path / "a.jpg", exif=exif)
    assert file_cues(path).exif == ("Make",)
    assert "tag Make" in FEATURES["exif"](file_cues(path)).tokens


@pytest.mark.parametrize(("height", "width"), [(256, 256), (100, 37), (5, 3), (1, 1), (64, 33)])
def test_areas_tile_the_picture(height, width):
    array = natural(3, height, width) if min(height, width) > 4 else np.full((3, height, width), 0.3, "f4")
    rows, columns = (np.arange(GRID + 1) * length // GRID for length in (height, width))
    expected = np.array(
        [
            [
                [
                    plane[
                        rows[i] : max(rows[i] + 1, rows[i + 1]),
                        columns[j] : max(columns[j] + 1, columns[j + 1]),
                    ]
                    .astype(np.float64)
                    .mean()
                    for j in range(GRID)
                ]
                for i in range(GRID)
            ]
            for plane in array
        ]
    )
    np.testing.assert_allclose(area_means(array, GRID), expected, atol=1e-5)


def test_the_hash_outlives_saving_and_scaling_and_not_another_picture(tmp_path):
    big = natural(5, 256, 256)
    small = big.reshape(3, 128, 2, 128, 2).mean(axis=(2, 4))
    hashes = [
        file_cues(save(array, tmp_path / name, **options)).phash
        for array, name, options in (
            (big, "a.png", {}),
            (big, "b.jpg", {"quality": 60}),
            (small, "c.jpg", {"quality": 90}),
            (natural(6, 256, 256), "d.png", {}),
        )
    ]
    near = [(hashes[0] ^ other).bit_count() for other in hashes]
    assert max(near[:3]) <= 4
    assert near[3] > 12


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_flat_picture_has_no_hash(level):
    assert perceptual_hash(np.full((3, GRID, GRID), level, np.float32)) is None


def test_folders_and_running_numbers_are_no_pattern(tmp_path, jpeg):
    row = file_cues(jpeg)
    other = jpeg.parent.parent / "fake" / "IMG_9981.JPG"
    other.parent.mkdir()
    other.write_bytes(jpeg.read_bytes())
    assert FEATURES["name"](file_cues(other)) == FEATURES["name"](row)
    renamed = FEATURES["name"](replace(row, stem="fake-12"))
    assert "word fake" in renamed.tokens
    assert renamed != FEATURES["name"](row)


def test_metadata_holds_neither_name_nor_content(jpeg):
    row = file_cues(jpeg)
    changed = replace(row, stem="fake", thumbnail=row.thumbnail * 0)
    assert FEATURES["metadata"](changed) == FEATURES["metadata"](row)
    assert FEATURES["metadata"](replace(row, n_bytes=1)) != FEATURES["metadata"](row)


@pytest.mark.parametrize("name", FEATURES)
def test_every_cue_has_words(name, jpeg, tmp_path):
    assert cue_text(name, file_cues(jpeg))
    assert cue_text(name, file_cues(save(natural(2), tmp_path / "noext.png")))


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(ImageError, match="a text file"):
        file_cues(tmp_path / "a.jpg")


def test_files_come_in_order_with_reasons(tmp_path):
    paths = [save(natural(i, 16 + i, 16), tmp_path / f"{i}.png") for i in range(20)]
    paths[7].write_bytes(b"")
    paths.insert(3, tmp_path / "gone.png")
    done = []
    rows = list(all_file_cues(paths, workers=2, on_done=lambda: done.append(1)))
    assert len(done) == len(rows) == 21
    assert "no such file" in rows[3]
    assert "0 bytes" in rows[8]
    heights = [row.height for row in rows if not isinstance(row, str)]
    assert heights == [16 + i for i in range(20) if i != 7]


def test_a_file_that_kills_its_worker_is_named(tmp_path, monkeypatch):
    paths = [save(natural(i, 16, 16), tmp_path / f"{i}.png") for i in range(3)]
    monkeypatch.setattr(cues, "_rows", _deadly)
    monkeypatch.setattr(cues, "CHUNK", 2)
    rows = list(all_file_cues(paths, workers=1))
    assert rows[1] == "the worker process crashed (exit code 9)"
    assert [getattr(rows[i], "height", None) for i in (0, 2)] == [16, 16]


def _deadly(paths, beat):
    for path in paths:
        if path.name == "1.png":
            os._exit(9)
    return [file_cues(path) for path in paths]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_no_worker_outlives_a_killed_audit(tmp_path):
    assert not worker_outlives_parent(tmp_path, ORPHANS)


ORPHANS = """
import multiprocessing, pathlib, sys
sys.path[:0] = sys.argv[1:]
import test_audit_cues
from tellsign.data.audit import cues
if __name__ == "__main__":
    cues._rows, cues.CHUNK = test_audit_cues._hanging, 1
    for _ in cues.all_file_cues([pathlib.Path("a"), pathlib.Path("hang")], workers=1):
        print(multiprocessing.active_children()[0].pid, flush=True)
"""


def _hanging(paths, beat=None):
    if paths[0].name == "hang":
        time.sleep(1000)
    return ["no image"] * len(paths)
