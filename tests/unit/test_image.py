"""Reading files: formats, metadata, limits, and the reason for each refusal."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.TiffImagePlugin
import pytest

from corpus import bit_flips, bombs, encoded, exif_block, good_files, scene, truncations
from tellsign.image import PRIVATE_EXIF, Image, decode, decoding, is_private, public_exif
from tellsign.types import ConfigError, ImageError

LOSSLESS = ("plain.png", "plain.bmp", "plain.tif", "packed.tiff", "really a png.jpg", "animated.png")


def good(name: str) -> bytes:
    return good_files()[name][0]


def uint8(array: np.ndarray) -> np.ndarray:
    """(3, H, W) in [0, 1] → (H, W, 3) levels, exact or an error."""
    levels = array.transpose(1, 2, 0) * 255
    assert np.abs(levels - np.rint(levels)).max() < 1e-4
    return np.rint(levels).astype(np.uint8)


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_give_the_levels_over_255(name: str) -> None:
    image = decode(good(name))
    assert image.array.dtype == np.float32
    assert image.array.flags.c_contiguous
    np.testing.assert_array_equal(image.array, scene().transpose(2, 0, 1) / np.float32(255))


@pytest.mark.parametrize("name", list(good_files()))
def test_lossy_formats_stay_near_the_picture(name: str) -> None:
    image = decode(good(name))
    assert (image.meta.height, image.meta.width) == image.array.shape[1:]
    if name in {"plain.jpg", "progressive.jpg", "two.mpo", "plain.webp", "animated.webp", "plain.gif"}:
        assert np.abs(uint8(image.array).astype(int) - scene()).mean() < 8


def test_metadata(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(good("plain.jpg"))
    meta = decode(path).meta
    assert (meta.format, meta.mode, meta.width, meta.height) == ("JPEG", "RGB", 200, 150)
    assert meta.n_bytes == path.stat().st_size
    assert meta.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (meta.n_frames, meta.orientation, meta.icc, meta.exif, meta.warnings) == (1, 1, None, {}, ())
    assert (meta.jpeg_quality, meta.jpeg_standard) == (90, True)
    assert meta.jpeg_tables is not None
    assert [sum(table) for table in meta.jpeg_tables] == [736, 1110]
    png = decode(good("plain.png")).meta
    assert (png.jpeg_tables, png.jpeg_quality, png.jpeg_standard) == (None, None, None)


def test_bytes_string_and_path_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(good("plain.png"))
    images = [decode(source) for source in (path, str(path), path.read_bytes())]
    for image in images[1:]:
        np.testing.assert_array_equal(image.array, images[0].array)
        assert image.meta == images[0].meta


@pytest.mark.parametrize(
    ("name", "format_", "n_frames"),
    [
        ("two.mpo", "MPO", 2),
        ("animated.png", "PNG", 2),
        ("animated.webp", "WEBP", 2),
        ("animated.gif", "GIF", 2),
        ("plain.gif", "GIF", 1),
    ],
)
def test_the_first_of_several_frames_counts_and_a_warning_says_so(
    name: str, format_: str, n_frames: int
) -> None:
    image = decode(good(name))
    assert (image.meta.format, image.meta.n_frames) == (format_, n_frames)
    assert any("2 pictures or frames" in warning for warning in image.meta.warnings) == (n_frames > 1)
    turned = scene()[::-1, ::-1].astype(int)
    levels = np.rint(image.array.transpose(1, 2, 0) * 255).astype(int)
    assert np.abs(levels - scene()).mean() < np.abs(levels - turned).mean() / 4


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_wrong_extension_is_decoded_by_content_with_a_warning(tmp_path: Path, as_bytes: bool) -> None:
    path = tmp_path / "photo.JPG"
    path.write_bytes(good("plain.png"))
    image = decode(path.read_bytes(), name=path.name) if as_bytes else decode(path)
    assert image.meta.format == "PNG"
    assert [w for w in image.meta.warnings if ".jpg" in w and "PNG" in w]
    path = tmp_path / "photo.jpeg"
    path.write_bytes(good("two.mpo"))
    assert not [w for w in decode(path).meta.warnings if "name ends" in w]
    assert not decode(good("plain.png"), name="photo.png").meta.warnings
    assert not decode(good("plain.png"), name="download").meta.warnings


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\x89PN", "first 3 bytes of a PNG"),
        (bytes(1000), "all 1000 bytes are zero"),
        (b"hello\n", "a text file"),
        ("grüße ".encode() * 1000, "a text file"),
        ("hello".encode("utf-16"), "a text file"),
        (b"\xef\xbb\xbf <?xml version='1.0'?>\n<svg></svg>", "an SVG drawing"),
        (b"<?xml version='1.0'?><note/>", "an XML file"),
        (b"\n<html><body>", "an HTML page"),
        (b"%PDF-1.4", "a PDF document"),
        (b"PK\x03\x04....", "a ZIP archive"),
        (b"RIFF\0\0\0\0AVI LIST", "an AVI video"),
        (b"RIFF\0\0\0\0WAVEfmt ", "an audio file"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "QuickTime"),
        (b"\x1aE\xdf\xa3....", "Matroska"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"BMW cars are not bitmaps, whatever they begin with", "a text file"),
        (b"\x07\xf3\x99\x01\x02\x03\x04\x05\x06", "07 f3 99 01 02 03 04 05"),
    ],
)
def test_what_is_no_image_is_named(content: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(content)


def test_unreadable_paths(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="directory"):
        decode(tmp_path)
    with pytest.raises(ImageError, match="no such file"):
        decode(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="not a possible file name"):
        decode("zero\0byte.jpg")
    with pytest.raises(ImageError, match="not a possible file name"):
        decode("\ud800.jpg")
    with pytest.raises(ImageError, match="name too long"):
        decode(tmp_path / ("x" * 1000))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jpg")
        with pytest.raises(ImageError, match="pipe"):
            decode(tmp_path / "pipe.jpg")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "locked.jpg"
    path.write_bytes(good("plain.jpg"))
    path.chmod(0)
    with pytest.raises(ImageError, match="permission"):
        decode(path)


def test_a_refused_permission_is_an_image_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "locked.jpg"
    path.write_bytes(b"x")

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ImageError, match="no permission") as caught:
        decode(path)
    assert "locked" not in str(caught.value)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.tif"
    with path.open("wb") as file:
        file.truncate(decoding.MAX_BYTES + 1)  # sparse: takes no space
    with pytest.raises(ImageError, match="are not read"):
        decode(path)


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are a thing of Linux")
def test_messages_hold_no_path_and_print_everywhere(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9 \xff\n.jpg")
    path.write_bytes(b"text")
    with pytest.raises(ImageError) as caught:
        decode(path)
    assert str(caught.value).isprintable()
    assert "caf" not in str(caught.value)
    path.write_bytes(good("plain.png"))
    assert all(warning.isprintable() for warning in decode(path).meta.warnings)


@pytest.mark.parametrize("name", list(bombs()))
def test_the_pixel_limit_is_checked_before_decoding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "read_samples", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="pixels; the limit is 100,000,000"):
        decode(bombs()[name])


def test_the_pixel_limit_is_exact_and_can_be_set() -> None:
    data = good("plain.png")
    assert decode(data, max_pixels=150 * 200).meta.width == 200
    with pytest.raises(ImageError, match="200 × 150 = 30,000 pixels"):
        decode(data, max_pixels=150 * 200 - 1)
    with pytest.raises(ConfigError, match="max_pixels"):
        decode(data, max_pixels=0)


def test_pillows_own_pixel_limit_does_not_interfere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("plain.jpg", "plain.png", "plain.gif", "plain.bmp", "plain.avif"):
            assert decode(good(name)).meta.width > 1


def readable(parts: list[bytes]) -> Iterator[tuple[bytes, Image]]:
    """Those that still decode."""
    for part in parts:
        with contextlib.suppress(ImageError):
            yield part, decode(part)


@pytest.mark.parametrize(
    "name",
    [
        *("plain.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg", "plain.png", "plain.webp", "plain.tif"),
        *("packed.tiff", "plain.gif", "plain.bmp", "plain.avif"),
    ],
)
def test_truncated_files_are_refused(name: str) -> None:
    whole = decode(good(name))
    for part, image in readable([*truncations(good(name)), *(good(name)[:-n] for n in range(1, 20))]):
        # Only what lies behind the last pixel may be missing.
        np.testing.assert_array_equal(image.array, whole.array)
        assert len(part) >= len(good(name)) - 22
        assert name in {"plain.png", "plain.gif"}
        assert image.meta.warnings or b"IEND" in part


@pytest.mark.parametrize("name", ["two.mpo", "animated.png", "animated.gif", "animated.webp"])
def test_a_file_cut_off_behind_its_first_picture_says_so(name: str) -> None:
    data = good(name)
    whole = decode(data)
    assert not any("cut off" in warning for warning in whole.meta.warnings)
    found = [image for _, image in readable(truncations(data))]
    for image in found:
        np.testing.assert_array_equal(image.array, whole.array)
        assert any("cut off after the decoded picture" in warning for warning in image.meta.warnings)
    assert len(found) > 20 or name == "animated.webp"  # whose length stands in its header: all are refused


def test_an_mpo_that_is_whole_is_not_called_cut_off() -> None:
    assert decode(good("two.mpo") + b"of the camera").meta.warnings == decode(good("two.mpo")).meta.warnings
    picture = PIL.Image.fromarray(scene())
    three = encoded(picture, "MPO", save_all=True, append_images=[picture, picture])  # with wrong sizes
    assert len(decode(three).meta.warnings) == 1
    assert len(decode(three[:-10]).meta.warnings) == 2


@pytest.mark.parametrize("slow", [False, True])
def test_truncated_jpegs_are_refused_by_both_decoders(slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if slow:
        monkeypatch.setattr("tellsign.image.pixels.fast_pixels", lambda *_: (None, ""))
    for part in [*truncations(good("plain.jpg")), good("plain.jpg")[:-2]]:
        with pytest.raises(ImageError):
            decode(part)


def test_a_damaged_jpeg_says_so() -> None:
    hits = 0
    for data in bit_flips(good("plain.jpg"), count=60, seed=3):
        try:
            hits += any("damaged" in warning for warning in decode(data).meta.warnings)
        except ImageError:
            continue
    assert hits > 5


def test_a_progressive_jpeg_made_to_stall_is_refused() -> None:
    data = good("progressive.jpg")
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(ImageError, match="1010 scans"):
        decode(data[:-2] + last_scan * 1000 + data[-2:])
    assert decode(data[:-2] + last_scan * 3 + data[-2:]).meta.width == 200


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RecursionError("deep"),
        struct.error("short"),
        zlib.error("bad"),
        SyntaxError("not it"),
        UserWarning("a warning as an error"),
        PIL.Image.DecompressionBombError("big"),
        KeyError("tag"),
        AssertionError(),
        OSError("a\nb \udcff"),
    ],
)
def test_whatever_a_decoder_raises_becomes_an_image_error(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise error

    monkeypatch.setattr(decoding, "_opened", explode)
    with pytest.raises(ImageError) as caught:
        decode(good("plain.png"))
    assert str(caught.value).isprintable()
    assert "PNG" in str(caught.value)
    assert ("memory" in str(caught.value)) == isinstance(error, MemoryError)


def test_interrupts_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(decoding, "_opened", interrupt)
    with pytest.raises(KeyboardInterrupt):
        decode(good("plain.png"))


def test_heic_without_the_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"pip install 'tellsign\[heic\]'"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50))


def test_heic() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    import io

    stream = io.BytesIO()
    picture = pillow_heif.from_pillow(PIL.Image.fromarray(scene()))
    try:
        picture.save(stream, quality=95)
    except RuntimeError as error:
        pytest.skip(f"this build writes no HEIC: {error}")
    image = decode(stream.getvalue())
    assert (image.meta.format, image.meta.width, image.meta.height) == ("HEIC", 200, 150)
    assert np.abs(image.array * 255 - scene().transpose(2, 0, 1)).mean() < 6
    with pytest.raises(ImageError, match="30,000 pixels"):
        decode(stream.getvalue(), max_pixels=100)


def test_exif_as_text() -> None:
    gps = {1: "N", 2: (48.0, 51.0, 29.5)}
    camera = {
        0x829A: PIL.TiffImagePlugin.IFDRational(1, 125),
        0x9286: b"ASCII\0\0\0a prompt",
        0x927C: b"\1\2" * 50,
        0xA431: "S-123",
        0x9000: b"0232",
    }
    block = exif_block(
        tag_0x8769=camera, tag_0x8825=gps, tag_0x013B="Zo##", tag_0x9C9D="Eva".encode("utf-16-le")
    )
    block = block.replace(b"Zo##", "Zoë".encode())  # Pillow writes ASCII only
    exif = decode(encoded(scene(), "JPEG", exif=block)).meta.exif
    assert exif["Make"] == "Corpus"
    assert exif["ExposureTime"] == "1/125"
    assert exif["UserComment"] == "a prompt"
    assert exif["MakerNote"] == "<100 bytes>"
    assert exif["BodySerialNumber"] == "S-123"
    assert exif["ExifVersion"] == "0232"
    assert exif["GPSLatitude"] == "48, 51, 59/2"
    assert exif["XPAuthor"] == "Eva"
    assert exif["Artist"] == "Zoë"
    assert all(isinstance(text, str) for text in exif.values())
    public = public_exif(exif)
    assert set(exif) - set(public) == {
        *(
            "Artist",
            "XPAuthor",
            "UserComment",
            "MakerNote",
            "BodySerialNumber",
            "GPSLatitude",
            "GPSLatitudeRef",
        )
    }
    assert not set(public) & PRIVATE_EXIF
    assert is_private("GPS0x00FF")
    assert not is_private("Make")
