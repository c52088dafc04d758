"""Sample depths, alpha, inks, colour profiles, orientation: exact numbers and slow references."""

from __future__ import annotations

import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import PIL.Image
import PIL.ImageChops
import PIL.ImageCms
import pytest

from corpus import (
    bit_flips,
    encoded,
    exif_block,
    good_files,
    linear_grey_profile,
    png_bytes,
    scene,
    srgb_profile,
    swapped_profile,
    tiff_bytes,
    without_adobe_marker,
)
from tellsign.image import colour, decode, decoding
from tellsign.types import ImageError


def levels(data: bytes) -> np.ndarray:
    """(H, W, 3) float64 levels of 255."""
    return decode(data).array.transpose(1, 2, 0).astype(np.float64) * 255


def random_samples(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 65_536, shape).astype(np.uint16)


# --- depth


def test_16_bit_grey_png_is_exact() -> None:
    samples = random_samples(5, 7)
    samples[0, :3] = 0, 32_768, 65_535
    image = decode(png_bytes(samples, colour_type=0))
    np.testing.assert_array_equal(image.array, np.broadcast_to(samples / np.float32(65_535), (3, 5, 7)))
    assert image.array[:, 0, 2].tolist() == [1, 1, 1]
    assert image.meta.mode == "I;16"


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_16_bit_colour_png_keeps_both_bytes(colour_type: int, channels: int) -> None:
    samples = random_samples(6, 5, channels)
    image = decode(png_bytes(samples, colour_type=colour_type))
    scaled = samples.astype(np.float64) / 65_535
    colours = scaled[..., :3] if channels >= 3 else scaled[..., :1]
    alpha = scaled[..., -1:] if channels in {2, 4} else 1
    expected = np.broadcast_to(colours * alpha + 1 - alpha, (6, 5, 3))
    np.testing.assert_allclose(image.array.transpose(1, 2, 0), expected, atol=2e-7)
    assert image.meta.mode in {"RGB;16", "RGBA;16"}
    low_byte_lost = (samples >> 8).astype(np.float64)[..., :3] / 255
    if channels == 3:
        assert np.abs(image.array.transpose(1, 2, 0) - low_byte_lost).max() > 1e-3


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_tiff_against_tifffile(byte_order: str, compression: str | None, channels: int) -> None:
    import io

    tifffile = pytest.importorskip("tifffile")
    samples = random_samples(6, 5, channels) if channels > 1 else random_samples(6, 5)
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        samples,
        photometric="rgb" if channels > 1 else "minisblack",
        byteorder=byte_order,
        compression=compression,
        extrasamples=["unassalpha"] if channels == 4 else None,
    )
    scaled = samples.astype(np.float64).reshape(6, 5, channels) / 65_535
    alpha = scaled[..., 3:] if channels == 4 else 1
    expected = np.broadcast_to(scaled[..., :3] * alpha + 1 - alpha, (6, 5, 3))
    np.testing.assert_allclose(decode(stream.getvalue()).array.transpose(1, 2, 0), expected, atol=2e-7)


def test_tiff_layouts_that_pillow_misreads_are_refused() -> None:
    with pytest.raises(ImageError, match="PlanarConfiguration 1"):
        decode(tiff_bytes(random_samples(6, 5, 3), planar=True))
    eight_bit = tiff_bytes(scene(6, 5), planar=True)
    np.testing.assert_allclose(levels(eight_bit), scene(6, 5), atol=1e-4)
    with pytest.raises(ImageError, match="signed"):
        decode(tiff_bytes(random_samples(6, 5).astype(np.int16)))
    with pytest.raises(ImageError, match="32-bit integer"):
        decode(tiff_bytes(random_samples(6, 5).astype(np.uint32)))
    with pytest.raises(ImageError, match="camera raw"):
        decode(tiff_bytes(scene(6, 5), tags={254: 1}))
    with pytest.raises(ImageError, match="camera raw"):
        decode(tiff_bytes(scene(6, 5), tags={50706: 1}))


def test_white_is_zero_tiff_is_inverted_at_every_depth() -> None:
    grey = scene(6, 5)[..., 0]
    for samples in (grey, grey.astype(np.uint16) * 257, (grey / 255).astype(np.float32)):
        image = decode(tiff_bytes(samples, tags={262: 0}))
        np.testing.assert_allclose(image.array[0] * 255, 255 - grey.astype(float), atol=1e-4)


def test_float_tiff() -> None:
    samples = np.linspace(0, 1, 30, dtype=np.float32).reshape(5, 6)
    np.testing.assert_array_equal(decode(tiff_bytes(samples)).array[2], samples)
    for bad in (np.nan, np.inf, -np.inf):
        damaged = samples.copy()
        damaged[2, 2] = bad
        with pytest.raises(ImageError, match="NaN or infinite"):
            decode(tiff_bytes(damaged))
    for factor in (255, -1, 1.001):
        with pytest.raises(ImageError, match="expected 0 to 1; units are never guessed"):
            decode(tiff_bytes(samples * np.float32(factor)))


def test_one_bit_and_palette() -> None:
    bits = PIL.Image.fromarray(scene(9, 11)[..., 0]).convert("1")
    np.testing.assert_array_equal(levels(encoded(bits, "PNG")), np.dstack([np.asarray(bits) * 255.0] * 3))
    palette = PIL.Image.fromarray(scene()).quantize(16)
    np.testing.assert_allclose(levels(encoded(palette, "PNG")), np.asarray(palette.convert("RGB")), atol=1e-4)


# --- alpha


def test_alpha_over_white_is_exact() -> None:
    rgba = np.zeros((1, 5, 4), np.uint8)
    rgba[0] = [(0, 0, 0, 0), (0, 0, 0, 255), (255, 255, 255, 77), (100, 50, 200, 128), (255, 0, 0, 51)]
    image = decode(encoded(rgba, "PNG"))
    alpha = rgba[..., 3:].astype(np.float64) / 255
    expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
    np.testing.assert_allclose(image.array.transpose(1, 2, 0) * 255, expected, atol=1e-4)
    assert image.array[:, 0, [0, 2]].tolist() == [[1, 1]] * 3
    assert any("white" in warning for warning in image.meta.warnings)
    grey_alpha = decode(encoded(PIL.Image.fromarray(rgba).convert("LA"), "PNG"))
    assert grey_alpha.array[0, 0, :2].tolist() == [1, 0]
    webp = decode(encoded(rgba, "WEBP", lossless=True, exact=True))
    np.testing.assert_array_equal(webp.array, image.array)


def test_opaque_alpha_changes_nothing_and_warns_of_nothing() -> None:
    opaque = np.dstack([scene(), np.full(scene().shape[:2], 255, np.uint8)])
    image = decode(encoded(opaque, "PNG"))
    assert image.meta.warnings == ()
    np.testing.assert_array_equal(image.array, decode(encoded(scene(), "PNG")).array)


def test_transparent_palette_entry_and_transparent_colour() -> None:
    palette = PIL.Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    for format_ in ("PNG", "GIF"):
        image = decode(encoded(palette, format_, transparency=1))
        np.testing.assert_allclose(image.array[:, 0, 0] * 255, [10, 20, 30], atol=1e-4)
        assert image.array[:, 0, 1].tolist() == [1, 1, 1]
    deep = random_samples(3, 4, 3)
    key = struct.pack(">HHH", *deep[1, 2])
    image = decode(png_bytes(deep, colour_type=2, chunks=((b"tRNS", key),)))
    assert image.array[:, 1, 2].tolist() == [1, 1, 1]
    np.testing.assert_allclose(image.array[:, 0, 0], deep[0, 0] / 65_535, atol=1e-7)
    grey = decode(
        png_bytes(deep[..., 0], colour_type=0, chunks=((b"tRNS", struct.pack(">H", deep[1, 2, 0])),))
    )
    assert grey.array[:, 1, 2].tolist() == [1, 1, 1]


# --- inks


def test_cmyk_jpeg_inverted_or_not() -> None:
    inks = PIL.Image.new("CMYK", (16, 16), (200, 100, 30, 40))
    expected = [(255 - ink) * (255 - 40) / 255 for ink in (200, 100, 30)]
    adobe = encoded(inks, "JPEG", quality=100)
    image = decode(adobe)
    np.testing.assert_allclose(image.array[:, 8, 8] * 255, expected, atol=3)
    assert any("CMYK" in warning for warning in image.meta.warnings)
    plain = without_adobe_marker(encoded(PIL.ImageChops.invert(inks), "JPEG", quality=100))
    image = decode(plain)
    np.testing.assert_allclose(image.array[:, 8, 8] * 255, expected, atol=3)
    assert any("Adobe" in warning for warning in image.meta.warnings)
    assert np.abs(levels(without_adobe_marker(adobe)) - levels(adobe)).max() > 50


def test_cmyk_and_lab_tiff() -> None:
    inks = PIL.Image.new("CMYK", (4, 4), (200, 100, 30, 40))
    np.testing.assert_allclose(levels(encoded(inks, "TIFF")), np.asarray(inks.convert("RGB")), atol=1e-4)
    white = PIL.Image.new("LAB", (4, 4), (255, 128, 128))
    np.testing.assert_allclose(levels(encoded(white, "TIFF")), 255, atol=1.01)


# --- profiles


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_profile_with_swapped_primaries_swaps_the_channels(format_: str) -> None:
    options = {"quality": 95} if format_ == "JPEG" else {"lossless": True} if format_ == "WEBP" else {}
    plain = decode(encoded(scene(), format_, **options))
    image = decode(encoded(scene(), format_, icc_profile=swapped_profile(), **options))
    assert image.meta.icc is not None
    assert plain.meta.icc is None
    np.testing.assert_allclose(image.array * 255, plain.array[::-1] * 255, atol=1.01)


def test_an_srgb_profile_changes_nothing() -> None:
    plain = decode(encoded(scene(), "PNG"))
    image = decode(encoded(scene(), "PNG", icc_profile=srgb_profile()))
    assert "sRGB" in str(image.meta.icc)
    assert image.meta.warnings == ()
    np.testing.assert_array_equal(image.array, plain.array)


def test_a_linear_grey_profile_is_converted() -> None:
    grey = np.arange(256, dtype=np.uint8)[None]
    image = decode(encoded(grey, "PNG", icc_profile=linear_grey_profile()))
    light = grey[0] / 255
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(image.array[1, 0] * 255, srgb * 255, atol=1.01)
    assert image.meta.icc == "linear grey"
    assert np.abs(image.array[1, 0] - light).max() > 0.2


def test_a_16_bit_picture_with_a_profile_is_converted_at_8_bits() -> None:
    deep = scene(20, 30).astype(np.uint16) * 257
    profile = b"swap\0\0" + zlib.compress(swapped_profile())
    image = decode(png_bytes(deep, colour_type=2, chunks=((b"iCCP", profile),)))
    np.testing.assert_allclose(image.array.transpose(1, 2, 0) * 255, scene(20, 30)[..., ::-1], atol=1.01)
    assert any("16 bits" in warning for warning in image.meta.warnings)


def test_a_16_bit_grey_picture_with_a_profile_is_rounded_to_8_bits_and_keeps_its_transparency() -> None:
    deep = np.array([[257 * 60 + 200, 257 * 61, 257 * 200]], np.uint16)
    profile = b"linear\0\0" + zlib.compress(linear_grey_profile())
    chunks = ((b"iCCP", profile), (b"tRNS", struct.pack(">H", deep[0, 2])))
    image = decode(png_bytes(deep, colour_type=0, chunks=chunks))
    eight_bit = decode(encoded(np.array([[61]], np.uint8), "PNG", icc_profile=linear_grey_profile()))
    assert image.array[:, 0].tolist() == [[eight_bit.array[0, 0, 0]] * 2 + [1]] * 3


def test_a_grey_picture_takes_an_rgb_profile() -> None:
    image = decode(encoded(scene()[..., 0], "PNG", icc_profile=swapped_profile()))
    assert image.meta.icc is not None
    assert image.meta.warnings == ()
    np.testing.assert_allclose(image.array[0] * 255, scene()[..., 0], atol=1.01)


def test_only_what_moves_colours_is_converted() -> None:
    assert colour.conversion(srgb_profile()).applied is None
    assert colour.conversion(swapped_profile()).applied is not None
    with pytest.raises(ValueError, match="damaged"):
        colour.conversion(b"rubbish")


def test_profiles_that_do_not_fit_are_ignored_with_a_warning() -> None:
    plain = decode(encoded(scene(), "PNG"))
    for profile, reason in ((b"rubbish" * 40, "damaged"), (linear_grey_profile(), "is for L")):
        image = decode(encoded(scene(), "PNG", icc_profile=profile))
        np.testing.assert_array_equal(image.array, plain.array)
        assert any(reason in warning for warning in image.meta.warnings), profile[:8]


def test_alpha_and_profile_together() -> None:
    rgba = np.dstack([scene(), scene()[..., 1]])
    image = decode(encoded(rgba, "PNG", icc_profile=swapped_profile()))
    alpha = rgba[..., 3:].astype(np.float64) / 255
    expected = scene()[..., ::-1] * alpha + 255 * (1 - alpha)
    np.testing.assert_allclose(image.array.transpose(1, 2, 0) * 255, expected, atol=1.02)


# --- orientation


def slow_upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Exif 2.32, tag 0x0112, pixel by pixel: which side of the scene row 0 and column 0 of the file show."""
    H, W = stored.shape[:2]
    out = np.zeros((W, H, 3) if orientation > 4 else (H, W, 3), stored.dtype)
    for row in range(H):
        for column in range(W):
            place = {
                1: (row, column),
                2: (row, W - 1 - column),
                3: (H - 1 - row, W - 1 - column),
                4: (H - 1 - row, column),
                5: (column, row),
                6: (column, H - 1 - row),
                7: (W - 1 - column, H - 1 - row),
                8: (W - 1 - column, row),
            }[orientation]
            out[place] = stored[row, column]
    return out


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_every_orientation_against_a_slow_reference(format_: str, orientation: int) -> None:
    options = {"lossless": True} if format_ == "WEBP" else {}
    exif = exif_block(tag_0x0112=orientation)
    stored = levels(encoded(scene(20, 30), format_, **options))
    image = decode(encoded(scene(20, 30), format_, exif=exif, **options))
    np.testing.assert_allclose(
        image.array.transpose(1, 2, 0) * 255, slow_upright(stored, orientation), atol=1e-4
    )
    assert image.meta.orientation == orientation
    assert (image.meta.height, image.meta.width) == image.array.shape[1:]
    assert image.array.flags.c_contiguous


def test_the_rotation_box_of_avif_is_applied_once() -> None:
    flat = decode(encoded(scene(40, 60), "AVIF", quality=95, speed=10))
    turned = decode(encoded(scene(40, 60), "AVIF", quality=95, speed=10, exif=exif_block(tag_0x0112=6)))
    assert np.abs(turned.array - np.rot90(flat.array, -1, axes=(1, 2))).max() < 0.02
    assert turned.meta.orientation == 6


def test_16_bit_and_transparent_pictures_are_turned_too() -> None:
    deep = random_samples(4, 6, 4)
    block = exif_block(tag_0x0112=6).removeprefix(b"Exif\0\0")
    flat = decode(png_bytes(deep, colour_type=6))
    turned = decode(png_bytes(deep, colour_type=6, chunks=((b"eXIf", block),)))
    np.testing.assert_array_equal(turned.array, np.rot90(flat.array, -1, axes=(1, 2)))


@pytest.mark.parametrize("value", [0, 9, 77])
def test_an_impossible_orientation_is_ignored(value: int) -> None:
    image = decode(encoded(scene(20, 30), "PNG", exif=exif_block(tag_0x0112=value)))
    assert (image.meta.orientation, image.meta.width) == (1, 30)


# --- side effects


def test_threads_leave_the_warning_filters_alone() -> None:
    files = [content for content, _ in good_files().values()] * 3
    before = list(warnings.filters), warnings.showwarning
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(decode, files))
    assert (list(warnings.filters), warnings.showwarning) == before
    assert threading.active_count() < 20
    for image, data in zip(threaded, files, strict=True):
        alone = decode(data)
        np.testing.assert_array_equal(image.array, alone.array)
        assert image.meta == alone.meta


def test_one_thread_at_a_time_holds_the_warning_filters() -> None:
    with decoding._recorded_warnings([]):
        assert decoding._WARNINGS.locked()
    assert not decoding._WARNINGS.locked()


def test_warnings_of_pillow_are_kept_even_as_errors() -> None:
    cut = exif_block(tag_0x010E="a long description " * 20)[:-40]
    data = encoded(scene(), "JPEG", exif=cut)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = decode(data)
    assert image.meta.warnings
    np.testing.assert_array_equal(image.array, decode(encoded(scene(), "JPEG")).array)


def test_libtiff_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    refused = 0
    for data in bit_flips(good_files()["packed.tiff"][0], count=30, seed=1):
        try:
            decode(data)
        except ImageError:
            refused += 1
    assert refused > 5
    assert capfd.readouterr() == ("", "")
