"""Images by their content, evenly chosen, and one after the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pictures import write_dataset
from tellsign.data import Manifest, read
from tellsign.evaluate.samples import content, evenly, known, pictures
from tellsign.image import decode
from tellsign.types import FAKE, REAL, ImageError, ManifestError, Sample


@pytest.fixture
def manifest(tmp_path):
    return read(write_dataset(tmp_path / "data", 3, size=32))


def test_missing_checksums_are_taken_and_given_ones_are_believed(manifest):
    given = replace(manifest[1], sha256="a" * 64)
    found = known(Manifest((manifest[0], given, *manifest[2:])))
    assert [sample.path for sample in found] == [sample.path for sample in manifest]
    sums = [decode(sample.path).meta.sha256 for sample in manifest]
    assert [sample.sha256 for sample in found] == [sums[0], "a" * 64, *sums[2:]]
    assert known(found) == found
    with pytest.raises(ManifestError, match=r"cannot read .*gone"):
        known(Manifest((Sample(Path("gone.png"), 0),)))


def test_content_tells_files_apart_and_not_their_places(manifest, tmp_path):
    moved = tmp_path / "elsewhere.png"
    moved.write_bytes(manifest[0].path.read_bytes())
    before = content(manifest)
    assert len(set(before)) == len(manifest)
    assert content(Manifest((replace(manifest[0], path=moved), *manifest[1:]))) == before
    assert content(Manifest((replace(manifest[0], label=FAKE), *manifest[1:]))) != before
    manifest[0].path.write_bytes(manifest[1].path.read_bytes())
    assert content(manifest) != before


def test_images_are_taken_evenly_from_both_classes():
    samples = Manifest(tuple(Sample(Path(f"{row}.png"), FAKE if row % 3 else REAL) for row in range(30)))
    found = evenly(samples, 8)
    assert (found.labels.count(REAL), found.labels.count(FAKE)) == (4, 4)
    rows = [int(sample.path.stem) for sample in found]
    assert rows == sorted(rows)
    assert rows[0] <= 1
    assert rows[-1] == 29
    assert evenly(samples, 1000) == samples


def test_pictures_that_cannot_be_used_are_none(manifest):
    samples = list(known(manifest))
    samples[1] = replace(samples[1], sha256="0" * 64)
    samples[2].path.write_bytes(b"no image")

    def change(picture, sample):
        if sample == samples[3]:
            raise ImageError("too small")
        return 1 - picture

    found = list(pictures(Manifest(tuple(samples)), change))
    assert [picture is None for picture in found] == [False, True, True, True, False, False]
    assert np.array_equal(found[0], 1 - decode(samples[0].path).array)
