"""Good and bad image files, made here and now: what a folder in the wild holds, in small.

`write_corpus` fills a folder; the other functions make single files for closer tests.
"""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageCms

ORIENTATION, MAKE = 0x0112, 0x010F


@dataclass(frozen=True)
class CorpusFile:
    path: Path  # its name may hold bytes that are no UTF-8
    ok: bool  # whether it decodes (a detector may still find it too small)
    why: str


def scene(height: int = 150, width: int = 200) -> np.ndarray:
    """(height, width, 3) uint8: gradients, an edge and fine texture, all different in the three channels."""
    y, x = np.mgrid[:height, :width]
    texture = 20 * np.sin(x * 1.3) * np.cos(y * 1.1)
    red = 40 + 160 * x / width + texture
    green = 200 - 150 * y / height + texture
    blue = 60 + 120 * (x > y) - texture
    return np.clip(np.rint(np.stack([red, green, blue], axis=-1)), 0, 255).astype(np.uint8)


def encoded(picture: PIL.Image.Image | np.ndarray, format_: str, **options: object) -> bytes:
    if isinstance(picture, np.ndarray):
        picture = PIL.Image.fromarray(picture)
    stream = io.BytesIO()
    picture.save(stream, format_, **options)
    return stream.getvalue()


def exif_block(**tags: object) -> bytes:
    """EXIF with a maker, and whatever else is given by number as tag_0x0112=6."""
    exif = PIL.Image.Exif()
    exif[MAKE] = "Corpus"
    for name, value in tags.items():
        exif[int(name.removeprefix("tag_"), 16)] = value
    return exif.tobytes()


def png_bytes(
    samples: np.ndarray, *, colour_type: int, chunks: tuple[tuple[bytes, bytes], ...] = ()
) -> bytes:
    """A PNG written by the book, for what Pillow does not write: 16-bit colour, tRNS, eXIf behind the pixels.

    samples: (H, W) or (H, W, C), uint8 or uint16. chunks: more chunks, put between IHDR and IDAT.
    """
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1).astype(samples.dtype.newbyteorder(">"))
    header = struct.pack(">IIBBBBB", width, height, samples.dtype.itemsize * 8, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, body) for name, body in parts)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def tiff_bytes(samples: np.ndarray, *, planar: bool = False, tags: dict[int, int] | None = None) -> bytes:
    """A little-endian, uncompressed, one-strip TIFF of (H, W) or (H, W, C) samples of any plain type.

    planar: whole channels one after the other. tags: single-valued tags to add or to replace.
    """
    height, width = samples.shape[:2]
    n_channels = samples.shape[2] if samples.ndim == 3 else 1
    bits = samples.dtype.itemsize * 8
    body = (
        (samples.transpose(2, 0, 1) if planar else samples).astype(samples.dtype.newbyteorder("<")).tobytes()
    )
    strips = n_channels if planar else 1
    size = len(body) // strips
    tail = 8 + len(body)  # bits, sample formats, strip offsets and strip sizes follow the pixels
    lists = {
        258: ("H", [bits] * n_channels),
        339: ("H", [{"u": 1, "i": 2, "f": 3}[samples.dtype.kind]] * n_channels),
        273: ("I", [8 + size * index for index in range(strips)]),
        279: ("I", [size] * strips),
    }
    single = {254: 0, 256: width, 257: height, 259: 1, 262: 2 if n_channels >= 3 else 1, 277: n_channels}
    single |= {278: height, 284: 2 if planar else 1} | (tags or {})
    extra, entries = b"", {tag: struct.pack("<HHII", tag, 4, 1, value) for tag, value in single.items()}
    for tag, (kind, values) in lists.items():
        if tag in single:
            continue
        packed = struct.pack(f"<{len(values)}{kind}", *values)
        where = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", tail + len(extra))
        extra += packed if len(packed) > 4 else b""
        entries[tag] = struct.pack("<HHI", tag, 3 if kind == "H" else 4, len(values)) + where
    directory = (
        struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + b"\0" * 4
    )
    return b"II\x2a\0" + struct.pack("<I", tail + len(extra)) + body + extra + directory


def without_adobe_marker(data: bytes) -> bytes:
    """A JPEG without its APP14 segment."""
    start = data.index(b"\xff\xee")
    return data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]


def swapped_profile() -> bytes:
    """sRGB with the primaries of red and blue exchanged: converting from it exchanges the two channels."""
    data = bytearray(PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes())
    entries = {
        bytes(data[at : at + 4]): at for at in range(132, 132 + 12 * int.from_bytes(data[128:132], "big"), 12)
    }
    red, blue = entries[b"rXYZ"], entries[b"bXYZ"]
    data[red : red + 4], data[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(data)


def srgb_profile() -> bytes:
    return PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()


def linear_grey_profile() -> bytes:
    """A grey profile whose levels are proportional to light (ICC.1:2010, 7.2 and 9.2)."""
    description = b"desc" + bytes(4) + struct.pack(">I", 12) + b"linear grey\0" + bytes(78)
    d50 = struct.pack(">iii", 63190, 65536, 54061)
    tags = {
        b"desc": description,
        b"kTRC": b"curv" + bytes(4) + struct.pack(">I", 0),
        b"wtpt": b"XYZ " + bytes(4) + d50,
    }
    table, body, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        padded = data.ljust(-(-len(data) // 4) * 4, b"\0")
        table += name + struct.pack(">II", at + len(body), len(data))
        body += padded
    size = at + len(body)
    header = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02100000, b"mntr", b"GRAY", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + d50
    return header.ljust(128, b"\0") + table + body


def truncations(data: bytes, *, parts: int = 100) -> list[bytes]:
    """The file cut off after 0, 1, 2 … of `parts` equal parts, never whole."""
    return [data[: len(data) * part // parts] for part in range(parts)]


def bit_flips(data: bytes, *, count: int, seed: int) -> list[bytes]:
    """Copies with one to three flipped bits."""
    rng = np.random.default_rng(seed)
    copies = []
    for _ in range(count):
        copy = bytearray(data)
        for at in rng.integers(len(copy), size=rng.integers(1, 4)):
            copy[at] ^= 1 << int(rng.integers(8))
        copies.append(bytes(copy))
    return copies


def bombs() -> dict[str, bytes]:
    """A few bytes each that claim more than 100 megapixels."""
    side = 60_000
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
    webp = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + 2 * (16_000).to_bytes(3, "little")
    jpeg = bytearray(encoded(scene(16, 16), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    tiff = tiff_bytes(np.zeros((2, 2, 3), np.uint8), tags={256: side, 257: side})
    gif = bytearray(encoded(PIL.Image.fromarray(scene(16, 16)).quantize(8), "GIF"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    bmp = bytearray(encoded(scene(16, 16), "BMP"))
    bmp[18:26] = struct.pack("<ii", side, side)
    return {
        "png": png + _chunk(b"IEND", b""),
        "webp": b"RIFF" + struct.pack("<I", len(webp)) + webp,
        "jpg": bytes(jpeg),
        "tiff": tiff,
        "gif": bytes(gif),
        "bmp": bytes(bmp),
    }


@lru_cache(maxsize=1)
def good_files() -> dict[str, tuple[bytes, str]]:
    """Name → (content, why) of files that decode."""
    rgb = scene()
    picture = PIL.Image.fromarray(rgb)
    turned = picture.rotate(180)
    alpha = picture.convert("RGBA")
    alpha.putalpha(PIL.Image.fromarray(rgb[..., 0]))
    deep = rgb.astype(np.uint16) * 257
    jpeg = encoded(picture, "JPEG", quality=90)
    frames = {"save_all": True, "append_images": [turned]}
    profile = swapped_profile()
    return {
        "plain.jpg": (jpeg, "JPEG"),
        "progressive.jpg": (encoded(picture, "JPEG", progressive=True), "progressive JPEG"),
        "grey.jpg": (encoded(picture.convert("L"), "JPEG"), "grey JPEG"),
        "cmyk.jpg": (encoded(picture.convert("CMYK"), "JPEG"), "CMYK JPEG with Adobe's marker"),
        "turned.jpg": (
            encoded(picture, "JPEG", exif=exif_block(tag_0x0112=6)),
            "JPEG with EXIF orientation 6",
        ),
        "profile.jpg": (
            encoded(picture, "JPEG", icc_profile=profile),
            "JPEG with a profile that is not sRGB",
        ),
        "two.mpo": (encoded(picture, "MPO", **frames), "MPO with two pictures"),
        "plain.png": (encoded(picture, "PNG"), "PNG"),
        "deep.png": (png_bytes(deep, colour_type=2), "16-bit PNG"),
        "deep grey.png": (png_bytes(deep[..., 0], colour_type=0), "16-bit grey PNG"),
        "palette.png": (encoded(picture.quantize(32), "PNG"), "palette PNG"),
        "alpha.png": (encoded(alpha, "PNG"), "PNG with alpha"),
        "animated.png": (encoded(picture, "PNG", **frames), "APNG"),
        "plain.webp": (encoded(picture, "WEBP"), "WebP"),
        "animated.webp": (encoded(picture, "WEBP", **frames), "animated WebP"),
        "plain.avif": (encoded(PIL.Image.fromarray(scene(48, 64)), "AVIF", speed=10), "AVIF"),
        "plain.bmp": (encoded(picture, "BMP"), "BMP"),
        "plain.tif": (encoded(picture, "TIFF"), "TIFF"),
        "packed.tiff": (encoded(picture, "TIFF", compression="tiff_adobe_deflate"), "TIFF, deflate"),
        "float.tif": (tiff_bytes((rgb[..., 0] / 255).astype(np.float32)), "float TIFF in [0, 1]"),
        "plain.gif": (encoded(picture.quantize(64), "GIF"), "GIF"),
        "animated.gif": (
            encoded(picture.quantize(64), "GIF", save_all=True, append_images=[turned]),
            "animated GIF",
        ),
        "really a png.jpg": (encoded(picture, "PNG"), "a PNG with the wrong extension"),
        "one pixel.png": (encoded(scene(1, 1), "PNG"), "1 × 1"),
        "a line.png": (encoded(scene(1, 10_000), "PNG"), "1 × 10,000"),
        'it\'s "quoted".jpg': (jpeg, "quotes in the name"),
        "new\nline.jpg": (jpeg, "a newline in the name"),
        "-0.jpg": (jpeg, "a name that looks like an option"),
    }


@lru_cache(maxsize=1)
def bad_files() -> dict[str, tuple[bytes, str]]:
    """Name → (content, why) of files that do not decode."""
    good = {name: content for name, (content, _) in good_files().items()}
    float_samples = np.full((8, 8), 0.5, np.float32)
    with_nan = float_samples.copy()
    with_nan[3, 4] = np.nan
    cut = ("plain.jpg", "progressive.jpg", "plain.png", "plain.webp", "plain.tif", "packed.tiff", "plain.gif")
    files = {f"cut {name}": (good[name][: len(good[name]) * 2 // 3], "cut off") for name in cut}
    files |= {f"bomb.{name}": (content, "more than 100 megapixels") for name, content in bombs().items()}
    files |= {
        "empty.jpg": (b"", "empty"),
        "zeros.jpg": (bytes(5000), "zero bytes only"),
        "start.jpg": (b"\xff\xd8", "two bytes"),
        "text.jpg": (b"This is not a photograph.\n", "text"),
        "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>', "SVG"),
        "page.jpg": (b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>", "HTML"),
        "document.jpg": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF"),
        "archive.png": (b"PK\x03\x04" + bytes(30), "ZIP"),
        "film.jpg": (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(50), "a video"),
        "header.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50), "HEIC without a picture"),
        "noise.jpg": (np.random.default_rng(0).bytes(3000), "random bytes"),
        "noise behind a header.jpg": (good["plain.jpg"][:300] + b"\x5a" * 3000, "JPEG header, then rubbish"),
        "nan.tif": (tiff_bytes(with_nan), "NaN in a float TIFF"),
        "range.tif": (tiff_bytes(float_samples * 255), "a float TIFF from 0 to 255"),
    }
    return files


def write_corpus(folder: Path) -> list[CorpusFile]:
    """Writes good and bad files into an existing folder; what this system cannot store is left out."""
    files = []
    for ok, contents in ((True, good_files()), (False, bad_files())):
        for name, (content, why) in contents.items():
            if sys.platform == "win32" and set(name) & set('"\n'):
                continue
            (folder / name).write_bytes(content)
            files.append(CorpusFile(folder / name, ok, why))
    jpeg = good_files()["plain.jpg"][0]
    if sys.platform == "linux":
        path = folder / os.fsdecode(b"caf\xe9 \xff.jpg")
        path.write_bytes(jpeg)
        files.append(CorpusFile(path, True, "a name that is no UTF-8"))
    if sys.platform != "win32":
        vanished = folder / "vanished.jpg"
        vanished.symlink_to(folder / "was never here.jpg")
        files.append(CorpusFile(vanished, False, "a link to a file that is gone"))
        if os.geteuid() != 0:  # root reads everything
            locked = folder / "locked.jpg"
            locked.write_bytes(jpeg)
            locked.chmod(0)
            files.append(CorpusFile(locked, False, "no permission"))
    return files
