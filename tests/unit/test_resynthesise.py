"""Aligned pairs of reals and their re-synthesis: what is written, gone on with and refused.

Shapes: H W pixels.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

from detector import write_detector
from pictures import natural, save
from tellsign import image
from tellsign.cli.commands import app
from tellsign.data import Manifest, read, write
from tellsign.data.resynthesise import resynthesise
from tellsign.types import FAKE, REAL, ConfigError, ManifestError, OutputError, Sample

NETWORK = {"name": "blur", "identity": "blur@1"}


class Blur:
    """A re-synthesiser that averages cells of 4 × 4 pixels, and counts."""

    def __init__(self, stop_at=None):
        self.n_calls, self.stop_at = 0, stop_at

    def __call__(self, array):
        self.n_calls += 1
        if self.n_calls == self.stop_at:
            raise KeyboardInterrupt
        return (
            array.reshape(3, array.shape[1] // 4, 4, -1, 4)
            .mean(axis=(2, 4))
            .repeat(4, axis=1)
            .repeat(4, axis=2)
        )


@pytest.fixture
def reals(tmp_path):
    folder = tmp_path / "reals"
    exif = PIL.Image.Exif()
    exif[0x010F] = "Maker"
    paths = [
        save(natural(0, 48, 64), folder / "a.png"),
        save(natural(1, 53, 71), folder / "b.jpg", quality=95, exif=exif, comment=b"hello"),
        save(natural(2, 40, 40), folder / "c.png"),
    ]
    sums = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return Manifest(
        (
            Sample(paths[0], REAL, "photos", split="train", sha256=sums[0]),
            Sample(paths[1], REAL, "photos", group="person 1", split="valid"),
            Sample(paths[2], REAL, "../else", video="v.mp4", frame=2.0, split="test"),
        )
    )


def made(reals, out, restore=None, **options):
    return resynthesise(reals, out, restore or Blur(), **(NETWORK | options))


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_each_real_lies_beside_what_was_restored_of_it(reals, tmp_path):
    result = made(reals, tmp_path / "out")
    assert (result.failed, result.n_unchanged) == ((), 0)
    assert [s.label for s in result.manifest] == [REAL, FAKE] * 3
    for before, real, fake in zip(reals, result.manifest[::2], result.manifest[1::2], strict=True):
        source, *pair = (image.decode(s.path).array for s in (before, real, fake))
        height, width = (side - side % 16 for side in source.shape[1:])
        top, left = ((a - b) // 2 for a, b in zip(source.shape[1:], (height, width), strict=True))
        assert np.array_equal(pair[0], source[:, top : top + height, left : left + width])
        assert np.abs(pair[1] - Blur()(pair[0])).max() <= 0.5 / 255 + 1e-6
        assert real.path.name == fake.path.name
        for sample in (real, fake):
            assert sample.sha256 == hashlib.sha256(sample.path.read_bytes()).hexdigest()
            with PIL.Image.open(sample.path) as picture:
                assert (picture.format, picture.mode, picture.info) == ("PNG", "RGB", {})


def test_a_pair_is_one_group_with_the_split_of_its_real(reals, tmp_path):
    result = made(reals, tmp_path / "out")
    assert [s.split for s in result.manifest] == ["train", "train", "valid", "valid", "test", "test"]
    groups = [s.group for s in result.manifest]
    assert groups == ["photos-000000"] * 2 + ["person 1"] * 2 + ["v.mp4"] * 2
    assert [s.generator for s in result.manifest] == ["", "blur"] * 3
    assert [s.frame for s in result.manifest[4:]] == [2.0, 2.0]
    write(result.manifest, tmp_path / "out" / "manifest.csv")
    assert read(tmp_path / "out" / "manifest.csv").digest() == result.manifest.digest()


def test_both_get_the_jpeg_quality_that_is_asked_for_and_no_metadata(reals, tmp_path):
    result = made(reals, tmp_path / "out", quality=80)
    for sample in result.manifest:
        meta = image.decode(sample.path).meta
        assert (meta.format, meta.jpeg_quality, meta.jpeg_standard, meta.exif) == ("JPEG", 80, True, {})
        assert sample.path.suffix == ".jpg"


def test_nothing_is_written_outside_of_the_folder(reals, tmp_path):
    before = files(tmp_path / "reals")
    result = made(reals, tmp_path / "deep" / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"reals", "deep"}
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"out"}
    assert files(tmp_path / "reals") == before
    assert all(s.path.resolve().is_relative_to(tmp_path / "deep" / "out") for s in result.manifest)


def test_a_link_that_leads_outside_is_not_followed(reals, tmp_path):
    made(reals[:1], tmp_path / "out")
    (tmp_path / "out" / "photos" / "fake" / "000000.png").unlink()
    (tmp_path / "out" / "photos" / "fake").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "photos" / "fake").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ManifestError, match="leads out of the output folder"):
        made(reals[:1], tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_run_that_was_stopped_goes_on_and_ends_as_an_uninterrupted_one(reals, tmp_path):
    whole = made(reals, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        made(reals, tmp_path / "out", Blur(stop_at=3))
    again = Blur()
    result = made(reals, tmp_path / "out", again)
    assert (again.n_calls, result.n_unchanged) == (1, 2)
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert [s.sha256 for s in result.manifest] == [s.sha256 for s in whole.manifest]
    third = Blur()
    assert (made(reals, tmp_path / "out", third).n_unchanged, third.n_calls) == (3, 0)


def test_what_was_damaged_or_changed_meanwhile_is_made_again(reals, tmp_path):
    expected = made(reals, tmp_path / "out").manifest
    (tmp_path / "out" / "photos" / "fake" / "000000.png").write_bytes(b"half")
    record = tmp_path / "out" / "pairs.jsonl"
    record.write_bytes(record.read_bytes()[:-20])  # of the last pair
    save(natural(9, 48, 64), reals[1].path, quality=90)
    again = Blur()
    result = made(reals, tmp_path / "out", again)
    assert (again.n_calls, result.n_unchanged) == (3, 0)
    assert [s.sha256 for s in result.manifest[:2]] == [s.sha256 for s in expected[:2]]
    assert result.manifest[2].sha256 != expected[2].sha256
    assert made(reals, tmp_path / "out").n_unchanged == 3


def test_images_that_cannot_be_used_are_named_and_the_others_written(reals, tmp_path):
    small = save(natural(3, 15, 60), tmp_path / "reals" / "small.png")
    broken = tmp_path / "reals" / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    more = Manifest((Sample(small, REAL), *reals, Sample(broken, REAL), replace(reals[0], sha256="0" * 64)))
    result = made(more, tmp_path / "out")
    assert len(result.manifest) == 6
    reasons = dict(result.failed)
    assert "60 × 15 pixels is smaller than the 16 × 16" in reasons[small]
    assert broken in reasons
    assert "has changed" in reasons[reals[0].path]
    assert made(more, tmp_path / "out").n_unchanged == 3
    with pytest.raises(ManifestError, match=r"none of the 1 images could be used.*15"):
        made(more[:1], tmp_path / "none")


@pytest.mark.parametrize(
    ("restore", "message"),
    [
        (lambda a: a[:, ::2], r"made \(3, 24, 64\) of \(3, 48, 64\)"),
        (lambda a: np.full_like(a, np.nan), "no finite number"),
    ],
)
def test_a_network_that_makes_no_image_of_it(reals, tmp_path, restore, message):
    with pytest.raises(ManifestError, match=message):
        made(reals[:1], tmp_path / "out", restore)


def test_what_overshoots_is_clipped(reals, tmp_path):
    result = made(reals[:1], tmp_path / "out", lambda a: 3 * a - 1)
    found = image.decode(result.manifest[1].path).array
    expected = np.clip(3 * image.decode(result.manifest[0].path).array - 1, 0, 1)
    assert np.abs(found - expected).max() <= 0.5 / 255 + 1e-6
    assert (expected == 0).any()


def test_what_is_no_real_image_is_refused(reals, tmp_path):
    fake, unknown = (replace(reals[0], label=label) for label in (FAKE, None))
    with pytest.raises(ManifestError, match=r"2 of 5 rows are not real.*--only-real"):
        made(Manifest((*reals, fake, unknown)), tmp_path / "out")
    with pytest.raises(ManifestError, match="no rows"):
        made(Manifest(()), tmp_path / "out")
    with pytest.raises(ManifestError, match="lie in the output folder"):
        made(reals, tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identity": "blur@2"}, "another network;"),
        ({"quality": 75}, "another quality;"),
        ({}, "another manifest;"),
    ],
)
def test_a_folder_of_other_pairs_is_not_gone_on_with(reals, tmp_path, change, message):
    made(reals, tmp_path / "out")
    before = files(tmp_path / "out")
    with pytest.raises(ConfigError, match=message):
        made(reals if change else reals[:2], tmp_path / "out", **change)
    assert files(tmp_path / "out") == before


def test_a_folder_of_somebody_else_is_left_alone(reals, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty and holds no pairs"):
        made(reals, tmp_path / "out")
    (tmp_path / "out" / "options.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        made(reals, tmp_path / "out")
    (tmp_path / "file").write_text("a file")
    with pytest.raises((ConfigError, OutputError)):
        made(reals, tmp_path / "file")
    with pytest.raises(ConfigError, match="JPEG quality 101"):
        made(reals, tmp_path / "other", quality=101)


# the command


def command(*arguments):
    return CliRunner().invoke(app, ["data", "resynthesise", *map(str, arguments)])


@pytest.fixture
def source(reals, tmp_path, monkeypatch):
    """A manifest with a fake in it, and a command whose network is at hand."""
    path = save(natural(8, 48, 48), tmp_path / "fakes" / "d.png")
    fake = Sample(path, FAKE, "photos", generator="gan", split="train")
    write(Manifest((*reals, fake)), tmp_path / "all.csv")
    monkeypatch.setattr("tellsign.cli.images._restorer", lambda detector: (Blur(), "blur", "blur@1"))
    return tmp_path / "all.csv"


def test_the_command_writes_pairs_and_their_manifest(source, tmp_path):
    arguments = (source, "-d", "any", "-o", tmp_path / "out")
    assert "not real" in str(command(*arguments).exception)
    done = command(*arguments, "--only-real", "--quality", 90)
    assert done.exit_code == 0
    assert len(read(tmp_path / "out" / "manifest.csv")) == 6
    assert json.loads((tmp_path / "out" / "options.json").read_text())["quality"] == 90
    done = command(source, "-d", "any", "-o", tmp_path / "valid", "--split", "valid")
    assert [s.label for s in read(tmp_path / "valid" / "manifest.csv")] == [REAL, FAKE]


def test_the_command_ends_with_1_where_images_failed(source, tmp_path):
    (tmp_path / "reals" / "c.png").write_bytes(b"no image")
    done = command(source, "-d", "any", "-o", tmp_path / "out", "--only-real")
    assert (done.exit_code, type(done.exception)) == (1, SystemExit)
    assert len(read(tmp_path / "out" / "manifest.csv")) == 4


def test_the_command_takes_a_detector_that_restores(reals, tmp_path):
    write(reals, tmp_path / "reals.csv")
    other = write_detector(tmp_path / "spectrum", system="spectrum")
    found = command(tmp_path / "reals.csv", "-d", other, "-o", tmp_path / "out").exception
    assert isinstance(found, ConfigError)
    assert "of the system 'spectrum', and a re-synthesiser is in those of 'resynthesis'" in str(found)
    assert not (tmp_path / "out").exists()
