"""A file's bytes → sRGB image with its metadata. Whatever the bytes, nothing but ImageError is raised.

Formats are told by content and opened by that format's plugin alone: no other parser sees the bytes.

Shapes: H W pixels; an image array is (3, H, W) float32 sRGB in [0, 1].
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import re
import stat
import threading
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tellsign.image.exif import exif_text
from tellsign.image.jpeg import (
    chroma_subsampling,
    estimate_jpeg_quality,
    is_standard_jpeg,
    quantisation_tables,
)
from tellsign.image.pixels import image_array, read_samples
from tellsign.image.sniff import SUFFIXES, image_format
from tellsign.types import ConfigError, ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

MAX_PIXELS = 100_000_000
MAX_SCANS = 100  # of a progressive JPEG; encoders write 10 or so, each costs a pass over all pixels
MAX_BYTES = 1 << 30  # a larger file is not read: even 100 megapixels at 8 bytes each are smaller

# Format → module and class (or factory) that opens it.
_OPENERS = {
    "JPEG": ("PIL.JpegImagePlugin", "jpeg_factory"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "HEIC": ("pillow_heif", "HeifImageFile"),
}
# CIPA DC-007 (MPO): the segment from whose data offsets count, and the tag with the place of each picture.
_MP_INDEX, _MP_ENTRIES = re.compile(rb"\xff\xe2..MPF\0", re.DOTALL), 0xB002
_WARNINGS = threading.Lock()  # the interpreter's warning filters are global


@dataclass(frozen=True, slots=True)
class ImageMeta:
    """What a file says about its picture."""

    format: str  # JPEG, MPO, PNG, WEBP, AVIF, HEIC, BMP, TIFF or GIF: by content
    width: int  # of the array, orientation applied
    height: int
    mode: str  # as stored, by Pillow's names (RGB, L, CMYK, P, RGBA, I;16, F, …) and RGB;16, RGBA;16
    n_bytes: int
    sha256: str  # of the file's bytes
    n_frames: int  # more than 1: only the first (HEIC: the primary) picture was decoded
    orientation: int  # EXIF, 1 to 8; already undone in the array
    icc: str | None  # description of the colour profile; None without one
    jpeg_tables: (
        tuple[tuple[int, ...], ...] | None
    )  # luminance first, natural order (not zigzag); None: no JPEG
    jpeg_quality: int | None  # nearest quality of libjpeg
    jpeg_standard: bool | None  # whether the tables are exactly libjpeg's at that quality
    exif: dict[str, str]  # tag name → text
    warnings: tuple[str, ...]
    jpeg_subsampling: str | None = None  # of the chroma, such as 4:2:0; None: no JPEG
    jpeg_progressive: bool | None = None  # None: no JPEG


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A decoded image."""

    array: NDArray[np.float32]  # (3, H, W) sRGB in [0, 1], C-contiguous
    meta: ImageMeta


def decode(source: bytes | str | Path, *, name: str = "", max_pixels: int = MAX_PIXELS) -> Image:
    """Decodes an image file to sRGB.

    EXIF orientation is undone, colour profiles are converted to sRGB, transparency is laid over white, inks
    become RGB; of several frames the first counts. What was done beyond plain decoding stands in
    `meta.warnings`. 8-bit levels v become v / 255, 16-bit ones v / 65535, both rounded to float32 only.

    Args:    source: the bytes of a file, or its path.
             name: the name of the file that the bytes are from, for the warning when its extension is wrong.
             max_pixels: larger pictures are refused before they are decoded.
    Returns: the array (3, H, W) and its metadata.
    Raises:  ImageError: the file cannot be read or is no usable image. The message gives the reason and not
             the path, which the caller knows better how to print.
             ConfigError: max_pixels is below 1.
    """
    if max_pixels < 1:
        raise ConfigError(f"max_pixels is {max_pixels}; expected 1 or more")
    kind = "file"
    try:
        data = source if isinstance(source, bytes) else _read(source)
        suffix = Path(name if isinstance(source, bytes) else source).suffix.lower()
        kind = image_format(data)
        return _decode(data, kind, suffix, max_pixels)
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(
            f"this {kind} does not fit into memory: lower max_pixels or use a larger machine"
        ) from None
    except Exception as error:
        raise ImageError(
            f"this {kind} cannot be decoded: {_printable(error)}. It may be damaged or cut off: copy it again"
        ) from error


def _decode(data: bytes, kind: str, suffix: str, max_pixels: int) -> Image:
    notes: list[str] = []
    if SUFFIXES.get(suffix, kind) != kind:
        notes.append(f"the name ends in {suffix}, but the content is {kind}; decoded by its content")
    _check_pixels(_canvas(data, kind), max_pixels)
    with _recorded_warnings(notes):
        picture = _opened(data, kind)
        _check_pixels(picture.size, max_pixels)
        _check_scans(picture, data)
        n_frames = _n_frames(picture, notes)
        # TIFF forgets its orientation once loaded; PNG may keep its EXIF behind the pixels.
        exif, orientation = exif_text(picture) if kind != "PNG" else ({}, 1)
    mode = picture.mode
    samples, icc = read_samples(picture, data, lambda: _reopened(data, kind), notes)
    if samples.white > 255 and mode in {"RGB", "RGBA"}:
        mode += ";16"
    if kind == "PNG":
        with _recorded_warnings(notes):
            exif, orientation = exif_text(picture)
    if lack := _missing_end(picture, data, kind):
        notes.append(f"{lack}: the file was cut off after the decoded picture")
    array = image_array(samples, 1 if kind == "TIFF" else orientation, notes)  # Pillow turns TIFF itself
    tables = quantisation_tables(picture)
    return Image(
        array,
        ImageMeta(
            format="HEIC" if kind == "HEIC" else picture.format,
            width=array.shape[2],
            height=array.shape[1],
            mode=mode,
            n_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            n_frames=n_frames,
            orientation=orientation,
            icc=icc,
            jpeg_tables=tables,
            jpeg_quality=estimate_jpeg_quality(tables),
            jpeg_standard=is_standard_jpeg(tables),
            exif=exif,
            warnings=tuple(dict.fromkeys(notes)),
            jpeg_subsampling=chroma_subsampling(picture),
            jpeg_progressive="progressive" in picture.info if tables else None,
        ),
    )


def _read(source: str | Path) -> bytes:
    try:
        path = Path(source)
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError("this is a directory, not an image file")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("this is a pipe, socket or device, not an image file")
        if status.st_size > MAX_BYTES:
            raise ImageError(f"the file has {status.st_size:,} bytes; more than {MAX_BYTES:,} are not read")
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError("there is no such file; it may have been moved or deleted meanwhile") from None
    except PermissionError:
        raise ImageError("no permission to read the file") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ImageError(f"the file cannot be read: {reason}") from None
    except ImageError:
        raise
    except ValueError as error:  # a zero byte, or a character that no file name can hold
        raise ImageError(f"the path is not a possible file name: {_printable(error)}") from None


def _canvas(data: bytes, kind: str) -> tuple[int, int]:
    """Width and height by the header where the plugin allocates pixels while opening; else (1, 1)."""
    if kind == "GIF":
        return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    if kind == "WEBP" and data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == "WEBP" and data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == "WEBP":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return 1, 1


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            f"the picture has {width} × {height} = {width * height:,} pixels; "
            f"the limit is {max_pixels:,} (raise max_pixels to decode it)"
        )


def _check_scans(picture: Any, data: bytes) -> None:
    """A few kilobytes of empty scans would keep every decoder busy for hours."""
    if "progressive" in picture.info:
        n_scans = data.count(b"\xff\xda")
        if n_scans > MAX_SCANS + len(data) // 8192:  # by chance, the two bytes occur once in 65536
            raise ImageError(f"the progressive JPEG has {n_scans} scans, as if made to stall its readers")


def _opened(data: bytes, kind: str) -> Any:
    """The picture with its header read; not by PIL.Image.open, which has a pixel limit of its own."""
    if kind == "TIFF":
        _silence_libtiff()
    module, name = _OPENERS[kind]
    try:
        opener = getattr(import_module(module), name)
    except ImportError as error:
        if kind == "HEIC":
            raise ImageError("reading HEIC needs an extra package: pip install 'tellsign[heic]'") from None
        raise ImageError(f"this build of Pillow does not read {kind}: {_printable(error)}") from None
    return opener(io.BytesIO(data))


def _reopened(data: bytes, kind: str) -> Any:
    with _recorded_warnings([]):  # all said when it was opened first
        return _opened(data, kind)


def _missing_end(picture: Any, data: bytes, kind: str) -> str:
    """What shows that bytes are missing behind the first picture; empty where nothing does."""
    if (kind == "PNG" and data.rfind(b"IEND") < 0) or (
        kind == "GIF" and not data.rstrip(b"\0").endswith(b"\0;")  # behind the end of a block
    ):
        return "the end marker is missing"
    if picture.format == "MPO":
        # Cameras may write more behind the last picture, and some programs (Pillow, of three pictures or
        # more) write wrong sizes: a file is cut off where both its index and its last bytes say so.
        index = _MP_INDEX.search(data)
        start = index.end() if index else 0
        entries = picture.mpinfo.get(_MP_ENTRIES, [])[1:]
        outside = any(start + entry["DataOffset"] + entry["Size"] > len(data) for entry in entries)
        if outside and not data.rstrip(b"\0").endswith(b"\xff\xd9"):
            return "the last picture's end is missing"
    return ""


def _n_frames(picture: Any, notes: list[str]) -> int:
    try:
        n_frames = int(getattr(picture, "n_frames", 1))
    except Exception:  # frames behind the first may be damaged in any way
        notes.append("the frames behind the first are damaged")
        return 1
    if n_frames > 1:
        notes.append(
            f"the file holds {n_frames} pictures or frames; only the first (primary) one was decoded"
        )
    return n_frames


@contextmanager
def _recorded_warnings(notes: list[str]) -> Iterator[None]:
    """Keeps Pillow's warnings for the caller, even where the interpreter turns warnings into errors.

    Held only while headers are parsed, which the interpreter does one thread at a time anyway.
    """
    with _WARNINGS, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    notes.extend(_printable(warning.message) for warning in caught)


@lru_cache(maxsize=1)
def _silence_libtiff() -> None:
    """Stops libtiff from printing to standard error what Pillow raises as exceptions anyway."""
    try:
        library = ctypes.CDLL(import_module("PIL._imaging").__file__)
        library.TIFFSetErrorHandler.argtypes = [ctypes.c_void_p]
        library.TIFFSetErrorHandler.restype = ctypes.c_void_p
        library.TIFFSetErrorHandler(None)
    except (OSError, AttributeError, TypeError):
        pass  # a build that hides the symbol: its messages stay visible


def _printable(error: object) -> str:
    text = "".join(c if c.isprintable() else " " for c in str(error)) or type(error).__name__
    return text[:200].rstrip(". ")
