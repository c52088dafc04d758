"""JPEG tables and quality, the two decoders, the round trip, crops, resizing and harmonising."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from corpus import encoded, good_files, scene
from pictures import natural, save
from tellsign.image import (
    centre_crop,
    crop,
    decode,
    estimate_jpeg_quality,
    harmonise,
    harmonised_jpeg,
    is_standard_jpeg,
    jpeg_bytes,
    jpeg_round_trip,
    resize,
    square_crops,
    standard_tables,
)
from tellsign.image.jpeg import fast_pixels
from tellsign.types import ConfigError, ImageError, TooSmallError


def image(height: int = 150, width: int = 200) -> np.ndarray:
    return (scene(height, width) / 255).astype(np.float32).transpose(2, 0, 1)


def pillow_pixels(data: bytes) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(data)))


# --- tables


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_quality_is_exact_from_1_to_100(mode: str) -> None:
    picture = PIL.Image.fromarray(scene(16, 16)).convert(mode)
    found = [decode(encoded(picture, "JPEG", quality=quality)).meta for quality in range(1, 101)]
    assert [meta.jpeg_quality for meta in found] == list(range(1, 101))
    assert all(meta.jpeg_standard for meta in found)
    assert {len(meta.jpeg_tables or ()) for meta in found} == {2 if mode == "RGB" else 1}


def test_tables_are_in_natural_order() -> None:
    tables = decode(encoded(scene(16, 16), "JPEG", quality=50)).meta.jpeg_tables
    assert tables == standard_tables(50)
    assert tables is not None
    assert tables[0][:9] == (16, 11, 10, 16, 24, 40, 51, 61, 12)  # T.81, table K.1, first row and the next


def test_luminance_comes_first_whatever_the_numbers_of_the_tables() -> None:
    data = bytearray(encoded(scene(16, 16), "JPEG", quality=50))
    for number in (1, 0):
        segment = data.index(bytes([0xFF, 0xDB, 0, 67, number]))
        data[segment + 4] = 2 - number  # luminance becomes table 2, chrominance stays 1
    frame = data.index(b"\xff\xc0")
    assert list(data[frame + 12 : frame + 21 : 3]) == [0, 1, 1]
    data[frame + 12] = 2
    assert decode(bytes(data)).meta.jpeg_tables == standard_tables(50)


def test_other_tables_get_the_nearest_quality_and_are_marked() -> None:
    luminance, chrominance = standard_tables(80)
    nudged = (luminance[0] + 1, *luminance[1:])
    assert estimate_jpeg_quality((nudged, chrominance)) == 80
    assert is_standard_jpeg((nudged, chrominance)) is False
    assert is_standard_jpeg((luminance, chrominance)) is True
    data = encoded(scene(16, 16), "JPEG", qtables=[list(nudged), list(chrominance)])
    assert (decode(data).meta.jpeg_quality, decode(data).meta.jpeg_standard) == (80, False)
    assert estimate_jpeg_quality(None) is None
    assert is_standard_jpeg(None) is None
    with pytest.raises(ImageError, match="64 numbers"):
        estimate_jpeg_quality([(1, 2, 3)])


# --- the fast decoder


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:1:1", "grey", "stored as RGB"])
@pytest.mark.parametrize("size", [(150, 200), (157, 203), (1, 1), (9, 17)])
def test_fast_decoder_equals_pillow_bit_for_bit(
    subsampling: str, progressive: bool, size: tuple[int, int]
) -> None:
    picture = PIL.Image.fromarray(scene(*size))
    options: dict[str, object] = {"subsampling": subsampling}
    if subsampling == "grey":
        picture, options = picture.convert("L"), {}
    elif subsampling == "stored as RGB":
        options = {"keep_rgb": True}
    for more in ({"quality": 30}, {"quality": 97, "restart_marker_blocks": 2}, {"optimize": True}):
        data = encoded(picture, "JPEG", progressive=progressive, **options, **more)
        pixels, complaint = fast_pixels(data, picture.mode)
        assert complaint == ""
        np.testing.assert_array_equal(pixels, pillow_pixels(data))


def test_the_comparison_sees_a_difference_of_draft_mode() -> None:
    data = encoded(scene(160, 320), "JPEG")
    with PIL.Image.open(io.BytesIO(data)) as picture:
        picture.draft("RGB", (80, 40))
        drafted = np.asarray(picture.resize((320, 160)))
    pixels, _ = fast_pixels(data, "RGB")
    assert not np.array_equal(pixels, drafted)


@pytest.mark.data
def test_fast_decoder_equals_pillow_on_real_files(data_root: Path) -> None:
    n = 0
    for folder in sorted(path for path in data_root.glob("*/*") if path.is_dir()):
        for path in sorted(folder.glob("*.jpg"))[:6]:
            data = path.read_bytes()
            pixels, complaint = fast_pixels(data, PIL.Image.open(path).mode)
            assert complaint == "", path.name
            np.testing.assert_array_equal(pixels, pillow_pixels(data), err_msg=path.name)
            n += 1
    assert n > 50


@pytest.mark.data
def test_real_files_decode(data_root: Path) -> None:
    n = 0
    for folder in sorted(path for path in data_root.glob("*/*") if path.is_dir()):
        for path in sorted(folder.iterdir())[:6]:
            if path.suffix == ".mp4":
                with pytest.raises(ImageError, match="not a still image"):
                    decode(path)
                continue
            found = decode(path)
            assert found.array.dtype == np.float32
            assert found.array.shape == (3, found.meta.height, found.meta.width)
            assert 0 <= found.array.min() <= found.array.max() <= 1
            assert not [w for w in found.meta.warnings if "damaged" in w or "name ends" in w], path.name
            n += 1
    assert n > 100


# --- the round trip


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_round_trip_is_what_pillow_makes(subsampling: str) -> None:
    stream = io.BytesIO()
    PIL.Image.fromarray(scene()).save(stream, "JPEG", quality=80, subsampling=subsampling)
    expected = pillow_pixels(stream.getvalue()).transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_array_equal(jpeg_round_trip(image(), 80, subsampling=subsampling), expected)
    meta = decode(jpeg_bytes(image(), 80, subsampling=subsampling)).meta
    assert (meta.jpeg_quality, meta.jpeg_standard, meta.exif) == (80, True, {})


def test_levels_are_rounded_not_cut() -> None:
    array = np.full((3, 16, 16), 100.6 / 255)
    np.testing.assert_array_equal(jpeg_round_trip(array, 100), np.float32(101) / np.float32(255))


def test_round_trip_loses_more_at_lower_quality_and_keeps_its_input() -> None:
    array = image()
    before = array.copy()
    losses = [np.abs(jpeg_round_trip(array, quality) - array).mean() for quality in (100, 90, 60, 20)]
    assert losses == sorted(losses)
    assert losses[0] < 0.02
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("quality", [0, 101, 75.0, "keep", True])
def test_impossible_quality(quality: object) -> None:
    with pytest.raises(ConfigError, match="1 to 100"):
        jpeg_round_trip(image(16, 16), quality)  # type: ignore[arg-type]


def test_impossible_arrays_and_options() -> None:
    with pytest.raises(ConfigError, match="subsampling"):
        jpeg_round_trip(image(16, 16), 80, subsampling="4:9:0")
    for bad in (image(16, 16) * 255, image(16, 16) - 0.5, np.full((3, 4, 4), np.nan), np.zeros((3, 0, 5))):
        with pytest.raises(ImageError, match=r"\[0, 1\]"):
            jpeg_round_trip(bad, 80)
    for bad in (scene(), image()[0], image()[None], scene().transpose(2, 0, 1)):
        with pytest.raises(ImageError, match=r"\(3, H, W\)"):
            jpeg_round_trip(bad, 80)
    with pytest.raises(ImageError, match="do not fit a JPEG"):
        jpeg_round_trip(np.zeros((3, 1, 70_000), np.float32), 80)


# --- crops


def test_crop() -> None:
    np.testing.assert_array_equal(crop(image(), 10, 20, 30, 40), image()[:, 10:40, 20:60])
    for box in ((-1, 0, 5, 5), (0, 0, 0, 5), (146, 0, 5, 5), (0, 196, 5, 5)):
        with pytest.raises(ImageError, match="does not lie in an image of 150 × 200"):
            crop(image(), *box)


def test_centre_crop() -> None:
    np.testing.assert_array_equal(centre_crop(image(), 100), image()[:, 25:125, 50:150])
    np.testing.assert_array_equal(centre_crop(image(5, 6), 4), image(5, 6)[:, 0:4, 1:5])
    with pytest.raises(TooSmallError, match="200 × 150 pixels, smaller than the 151 × 151"):
        centre_crop(image(), 151)
    with pytest.raises(ConfigError):
        centre_crop(image(), 0)


def corners(height: int, width: int, size: int, max_crops: int) -> list[tuple[int, int]]:
    """(top, left) of each crop, read from an image whose pixels say where they are."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    crops = square_crops(np.stack([y, x, y]), size, max_crops)
    assert crops.shape[1:] == (3, size, size)
    for block in crops:
        np.testing.assert_array_equal(block[0] - block[0, 0, 0], np.mgrid[:size, :size][0])
        np.testing.assert_array_equal(block[1] - block[1, 0, 0], np.mgrid[:size, :size][1])
    return [(int(block[0, 0, 0]), int(block[1, 0, 0])) for block in crops]


def test_square_crops_are_evenly_placed_and_reach_the_corners() -> None:
    assert corners(150, 200, 64, 1) == [(43, 68)]
    assert corners(150, 200, 150, 9) == [(0, 25)]  # a second crop would add little
    assert corners(150, 225, 150, 9) == [(0, 0), (0, 75)]
    assert corners(64, 64, 64, 9) == [(0, 0)]
    assert corners(128, 128, 64, 4) == [(0, 0), (0, 64), (64, 0), (64, 64)]
    assert corners(300, 300, 64, 9) == [(t, left) for t in (0, 118, 236) for left in (0, 118, 236)]
    assert corners(100, 1000, 100, 3) == [(0, 0), (0, 450), (0, 900)]
    assert corners(1000, 100, 100, 3) == [(0, 0), (450, 0), (900, 0)]
    assert corners(120, 1000, 100, 4) == [(10, left) for left in (0, 300, 600, 900)]


@pytest.mark.parametrize("max_crops", [1, 2, 3, 5, 7, 9, 100])
@pytest.mark.parametrize("shape", [(150, 200), (64, 500), (700, 65), (64, 64)])
def test_square_crops_keep_to_the_limit_and_the_image(shape: tuple[int, int], max_crops: int) -> None:
    places = corners(*shape, 64, max_crops)
    assert 1 <= len(places) <= max_crops
    assert len(set(places)) == len(places)
    assert all(0 <= top <= shape[0] - 64 and 0 <= left <= shape[1] - 64 for top, left in places)
    tops, lefts = ({place[axis] for place in places} for axis in (0, 1))
    assert all(later - earlier >= 31 for line in (tops, lefts) for earlier, later in pairwise(sorted(line)))
    mirrored = sorted((shape[0] - 64 - top, shape[1] - 64 - left) for top, left in places)
    assert np.abs(np.array(mirrored) - np.array(sorted(places))).max() <= 1


def test_square_crops_refuse() -> None:
    with pytest.raises(TooSmallError):
        square_crops(image(), 151, 4)
    with pytest.raises(ConfigError, match="max_crops"):
        square_crops(image(), 64, 0)


# --- resizing and harmonising


@pytest.mark.parametrize("name", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_resize_is_pillows_within_its_rounding(name: str) -> None:
    resized = resize(image(), 60, 80, filter=name)
    assert resized.shape == (3, 60, 80)
    assert resized.dtype == np.float32
    picture = PIL.Image.fromarray(scene()).resize((80, 60), PIL.Image.Resampling[name.upper()])
    np.testing.assert_allclose(resized.transpose(1, 2, 0) * 255, np.asarray(picture), atol=1.01)


def test_resize_by_a_box_is_the_mean_and_overshoot_is_clipped() -> None:
    array = image(40, 60)
    means = array.reshape(3, 20, 2, 30, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(resize(array, 20, 30, filter="box"), means, atol=1e-6)
    edge = np.zeros((3, 8, 8), np.float32)
    edge[..., 4:] = 1
    big = resize(edge, 32, 32, filter="lanczos")
    assert (big.min(), big.max()) == (0, 1)
    with pytest.raises(ConfigError, match="one of nearest, box"):
        resize(edge, 4, 4, filter="magic")
    with pytest.raises(ConfigError, match="1 or more"):
        resize(edge, 0, 4)


def test_harmonise_crops_by_default_and_resizes_when_asked() -> None:
    cropped = harmonise(image(), size=96, quality=85)
    np.testing.assert_array_equal(cropped, jpeg_round_trip(centre_crop(image(), 96), 85))
    resized = harmonise(image(), size=96, quality=85, resize="bicubic")
    square = resize(image()[:, :, 25:175], 96, 96, filter="bicubic")
    np.testing.assert_array_equal(resized, jpeg_round_trip(square, 85))
    assert not np.array_equal(cropped, resized)


def test_harmonised_files_share_everything_but_the_pixels() -> None:
    names = ("plain.png", "profile.jpg", "turned.jpg", "plain.webp", "alpha.png")
    metas = []
    for name in names:
        array = decode(good_files()[name][0]).array
        data = harmonised_jpeg(array, size=128, quality=85)
        found = decode(data)
        metas.append(found.meta)
        np.testing.assert_array_equal(found.array, harmonise(array, size=128, quality=85))
    told = {
        (m.format, m.mode, m.width, m.height, m.jpeg_tables, m.icc, str(m.exif), m.warnings) for m in metas
    }
    assert len(told) == 1
    assert metas[0].jpeg_quality == 85


@pytest.mark.parametrize("how", [None, "lanczos"])
def test_harmonise_refuses_small_images(how: str | None) -> None:
    with pytest.raises(TooSmallError, match="smaller than the 151 × 151"):
        harmonise(image(), size=151, quality=85, resize=how)
    with pytest.raises(ConfigError, match="filter"):
        harmonise(image(), size=64, quality=85, resize="magic")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"subsampling": 0}, ("4:4:4", False)),
        ({"subsampling": 1, "progressive": True}, ("4:2:2", True)),
        ({"subsampling": 2}, ("4:2:0", False)),
    ],
)
def test_subsampling_and_scans_stand_in_the_metadata(tmp_path, options, expected):
    path = save(natural(1, 32, 40), tmp_path / "a.jpg", **options)
    meta = decode(path).meta
    assert (meta.jpeg_subsampling, meta.jpeg_progressive) == expected
    PIL.Image.open(path).convert("L").save(tmp_path / "grey.jpg")
    assert decode(tmp_path / "grey.jpg").meta.jpeg_subsampling == "grey"
    meta = decode(save(natural(1, 32, 40), tmp_path / "a.png")).meta
    assert (meta.jpeg_subsampling, meta.jpeg_progressive) == (None, None)
