"""Both classes get one size and one JPEG history, and no metadata."""

from __future__ import annotations

import hashlib

import numpy as np
import PIL.Image
import pytest

from pictures import natural, save, upsampled
from tellsign import image
from tellsign.data import Manifest
from tellsign.data.harmonise import harmonise
from tellsign.types import FAKE, REAL, ConfigError, ManifestError, Sample


@pytest.fixture
def mixed(tmp_path):
    """A real camera JPEG and a larger fake PNG: every property but the label differs too."""
    exif = PIL.Image.Exif()
    exif[0x010F] = "Maker"
    a = save(natural(0, 90, 70), tmp_path / "a.jpg", quality=95, exif=exif, comment=b"hello", subsampling=0)
    checksum = hashlib.sha256(a.read_bytes()).hexdigest()
    save(upsampled(1, 120, 200), tmp_path / "b.png", icc_profile=b"")
    return Manifest(
        (
            Sample(tmp_path / "a.jpg", REAL, "camera", group="g1", split="train", sha256=checksum),
            Sample(tmp_path / "b.png", FAKE, "camera", "gan", split="valid", frame=1.5),
        )
    )


def test_size_tables_and_metadata_are_the_same(mixed, tmp_path):
    result = harmonise(mixed, tmp_path / "out", size=64, quality=80)
    assert result.failed == ()
    metas = [image.decode(sample.path).meta for sample in result.manifest]
    for meta in metas:
        assert (meta.format, meta.width, meta.height, meta.jpeg_quality) == ("JPEG", 64, 64, 80)
        assert meta.jpeg_standard
        assert meta.exif == {}
        assert meta.icc is None
    assert metas[0].jpeg_tables == metas[1].jpeg_tables
    for sample in result.manifest:
        with PIL.Image.open(sample.path) as picture:
            assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
            assert picture.mode == "RGB"


def test_what_is_known_of_a_sample_is_kept(mixed, tmp_path):
    result = harmonise(mixed, tmp_path / "out", size=64, quality=80)
    for before, after in zip(mixed, result.manifest, strict=True):
        for name in ("label", "dataset", "generator", "group", "split", "frame"):
            assert getattr(after, name) == getattr(before, name)
        assert after.sha256 == hashlib.sha256(after.path.read_bytes()).hexdigest()
        assert after.path.suffix == ".jpg"
    assert not {s.path.name for s in mixed} & {s.path.name for s in result.manifest}, "names tell labels too"


def test_the_pixels_are_the_native_centre(mixed, tmp_path):
    result = harmonise(mixed, tmp_path / "out", size=64, quality=100)
    for before, after in zip(mixed, result.manifest, strict=True):
        whole, part = image.decode(before.path).array, image.decode(after.path).array
        # Chroma is halved; grey levels are those of the centre.
        difference = image.centre_crop(whole, 64).mean(axis=0) - part.mean(axis=0)
        assert np.abs(difference).mean() < 0.01


def test_resizing_takes_the_largest_square(mixed, tmp_path):
    result = harmonise(mixed, tmp_path / "out", size=64, quality=100, resize="box")
    whole = image.decode(mixed[1].path).array
    expected = image.resize(whole[:, :, 40:160], 64, 64, filter="box")
    assert np.abs(image.decode(result.manifest[1].path).array - expected).mean() < 0.02


def test_images_that_cannot_be_used_are_reported_and_the_others_written(mixed, tmp_path):
    save(natural(2, 40, 90), tmp_path / "small.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    manifest = Manifest(
        (
            Sample(tmp_path / "small.png", REAL),
            mixed[0],
            Sample(tmp_path / "broken.png", REAL),
            Sample(tmp_path / "gone.png", REAL),
            mixed[1],
        )
    )
    result = harmonise(manifest, tmp_path / "out", size=64, quality=80)
    assert [s.label for s in result.manifest] == [REAL, FAKE]
    reasons = {path.name: reason for path, reason in result.failed}
    assert list(reasons) == ["small.png", "broken.png", "gone.png"]
    assert "90 × 40 pixels, smaller than the 64 × 64" in reasons["small.png"]
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 2


def test_a_file_that_has_changed_is_not_harmonised(mixed, tmp_path):
    other = save(natural(5, 90, 70), tmp_path / "c.png")
    changed = Sample(other, REAL, sha256=mixed[0].sha256)
    result = harmonise(Manifest((*mixed, changed)), tmp_path / "out", size=64, quality=80)
    assert [sample.path.name for sample in result.manifest] == ["000000.jpg", "000001.jpg"]
    ((path, reason),) = result.failed
    assert path == other
    assert reason.startswith("the file has changed: its sha256 is ")
    assert not list((tmp_path / "out").rglob("000002.jpg"))


def test_nothing_usable_is_an_error(mixed, tmp_path):
    with pytest.raises(ManifestError, match="none of the 2 images could be used; the first: the image has"):
        harmonise(mixed, tmp_path / "out", size=500, quality=80)


@pytest.mark.parametrize(
    ("options", "message"), [({"resize": "magic"}, "magic"), ({"quality": 0}, "quality"), ({"size": 0}, "0")]
)
def test_options_that_cannot_be_carried_out(mixed, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        harmonise(mixed, tmp_path / "out", **{"size": 64, "quality": 80} | options)


@pytest.mark.parametrize("dataset", ["../escape", "/escape", "..", ".", "", "a/b", "\udcff\0\n"])
def test_no_name_of_a_data_set_leads_out_of_the_folder(mixed, tmp_path, dataset):
    manifest = Manifest((Sample(mixed[0].path, REAL, dataset),))
    result = harmonise(manifest, tmp_path / "in" / "out", size=64, quality=80)
    assert result.manifest[0].path.resolve().parent.parent == (tmp_path / "in" / "out").resolve()
    assert result.manifest[0].dataset == dataset


def test_sources_are_never_replaced(mixed, tmp_path):
    """In another order, a row's target is the source of a row that is yet to be read."""
    first = harmonise(mixed, tmp_path / "out", size=64, quality=80).manifest
    before = [s.path.read_bytes() for s in first]
    with pytest.raises(ManifestError, match="would be replaced before it is read"):
        harmonise(Manifest(first.samples[::-1]), tmp_path / "out", size=32, quality=80)
    assert [s.path.read_bytes() for s in first] == before


def test_a_folder_that_cannot_be_written(mixed, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ManifestError, match="cannot write"):
        harmonise(mixed, tmp_path / "file", size=64, quality=80)


def test_the_result_is_the_same_each_time(mixed, tmp_path):
    one, two = (harmonise(mixed, tmp_path / name, size=64, quality=80).manifest for name in ("a", "b"))
    assert [s.path.read_bytes() for s in one] == [s.path.read_bytes() for s in two]


def test_the_digest_tells_of_the_content(mixed, tmp_path):
    """Two qualities give files of the same names."""
    one, two = (harmonise(mixed, tmp_path / str(q), size=64, quality=q).manifest for q in (80, 90))
    assert one.digest() != two.digest()


def test_videos_are_refused_before_anything_is_written(mixed, tmp_path):
    (tmp_path / "c.mp4").touch()
    rows = Manifest((*mixed, Sample(tmp_path / "c.mp4", FAKE)))
    with pytest.raises(
        ManifestError, match="1 of 3 rows are videos: run `tellsign data faces MANIFEST -o crops`"
    ):
        harmonise(rows, tmp_path / "out", size=64, quality=80)
    assert not (tmp_path / "out").exists()
