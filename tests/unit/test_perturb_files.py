"""Perturbed images as PNG files: the pixels that `apply` gives, and a manifest that says what they are."""

from __future__ import annotations

import hashlib

import numpy as np
import PIL.Image
import pytest

from pictures import natural, save, upsampled
from tellsign import image
from tellsign.data import Manifest
from tellsign.perturb import parse
from tellsign.perturb.files import pixels, write_perturbed
from tellsign.types import FAKE, REAL, ConfigError, ImageError, ManifestError, Sample


@pytest.fixture
def mixed(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x010F] = "Maker"
    a = save(natural(0, 50, 70), tmp_path / "in" / "a.jpg", quality=95, exif=exif)
    checksum = hashlib.sha256(a.read_bytes()).hexdigest()
    save(upsampled(1, 60, 40), tmp_path / "in" / "b.png")
    return Manifest(
        (
            Sample(tmp_path / "in" / "a.jpg", REAL, "camera", group="g1", split="train", sha256=checksum),
            Sample(tmp_path / "in" / "b.png", FAKE, "camera", "gan", split="valid", frame=1.5),
        )
    )


@pytest.mark.parametrize(
    "name", ["none", "combined:p=1", "noise:10", "jpeg:30", "resize:0.5:keep", "fake@blur:9", "real@noise:20"]
)
def test_the_files_hold_the_pixels_that_a_benchmark_sees(mixed, tmp_path, name):
    one = parse(name)
    result = write_perturbed(mixed, tmp_path / "out", one, seed=7)
    assert result.failed == ()
    for before, after in zip(mixed, result.manifest, strict=True):
        source, written = image.decode(before.path), image.decode(after.path)
        expected = source.array
        if one.touches(before.label):
            expected = one.apply(expected, key=source.meta.sha256, seed=7)
        assert np.array_equal(written.array, expected)
        assert (written.meta.format, written.meta.mode, written.meta.exif) == ("PNG", "RGB", {})
        assert after.sha256 == written.meta.sha256
        for column in ("label", "dataset", "generator", "group", "split", "frame"):
            assert getattr(after, column) == getattr(before, column)
    assert [sample.path.name for sample in result.manifest] == ["000000.png", "000001.png"]


def test_the_content_is_the_key_and_not_the_place(mixed, tmp_path):
    one = parse("noise:10")
    forward = write_perturbed(mixed, tmp_path / "a", one).manifest
    backward = write_perturbed(Manifest(mixed.samples[::-1]), tmp_path / "b", one).manifest
    assert [s.sha256 for s in forward] == [s.sha256 for s in backward][::-1]


def test_what_cannot_be_used_is_named_and_the_rest_written(mixed, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    manifest = Manifest((Sample(tmp_path / "broken.png", REAL), *mixed, Sample(tmp_path / "gone.png", FAKE)))
    result = write_perturbed(manifest, tmp_path / "out", parse("jpeg:75"))
    assert [path.name for path, _ in result.failed] == ["broken.png", "gone.png"]
    assert [s.label for s in result.manifest] == [REAL, FAKE]
    for sample in result.manifest:
        assert hashlib.sha256(sample.path.read_bytes()).hexdigest() == sample.sha256
    with pytest.raises(ManifestError, match="none of the 1 images could be used"):
        write_perturbed(manifest[:1], tmp_path / "out", parse("jpeg:75"))
    with pytest.raises(ManifestError, match="none of the 0 images"):
        write_perturbed(manifest[:0], tmp_path / "out", parse("jpeg:75"))


def test_a_file_that_has_changed_is_not_taken(mixed, tmp_path):
    changed = Sample(save(natural(5), tmp_path / "in" / "c.png"), REAL, sha256="0" * 64)
    result = write_perturbed(Manifest((*mixed, changed)), tmp_path / "out", parse("blur:3"))
    assert len(result.manifest) == 2
    ((path, reason),) = result.failed
    assert path == changed.path
    assert reason.startswith("the file has changed: its sha256 is ")
    with pytest.raises(ImageError, match=r"c\.png': the file has changed"):
        list(pixels(Manifest((*mixed, changed))))


def test_refusals_come_before_the_work(mixed, tmp_path):
    nobody = Manifest((*mixed, Sample(mixed[0].path)))
    with pytest.raises(ConfigError, match="no label"):
        write_perturbed(nobody, tmp_path / "out", parse("fake@jpeg:75"))
    assert not (tmp_path / "out").exists()
    written = write_perturbed(mixed, tmp_path / "out", parse("none")).manifest
    with pytest.raises(ManifestError, match="would be replaced"):
        write_perturbed(written, tmp_path / "out", parse("none"))
    (tmp_path / "file").touch()
    with pytest.raises(ManifestError, match="cannot write"):
        write_perturbed(mixed, tmp_path / "file", parse("none"))


def test_pixels_come_one_at_a_time_and_a_bad_file_is_named(mixed, tmp_path):
    manifest = Manifest((*mixed, Sample(tmp_path / "gone.png", FAKE)))
    stream = pixels(manifest)
    for sample in mixed:
        assert np.array_equal(next(stream), image.decode(sample.path).array)
    with pytest.raises(ImageError, match=r"gone\.png"):
        next(stream)
