"""EXIF as a plain dict of tag name → text, and which of its tags can name a person or a place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import PIL.ExifTags
import PIL.Image

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_CHARACTERS = 2000  # of one value: long prompts stay whole, embedded files do not
_MAX_NUMBERS = 64  # of one value

# Tags that can tell who took a picture, with which device, or hold free text; every GPS tag belongs too.
PRIVATE_EXIF = frozenset(
    {
        "Artist",
        "BodySerialNumber",
        "CameraOwnerName",
        "CameraSerialNumber",
        "Copyright",
        "DeviceSettingDescription",
        "HostComputer",
        "ImageEditor",
        "ImageUniqueID",
        "LensSerialNumber",
        "MakerNote",
        "MakerNoteApple",
        "OriginalRawFileName",
        "OwnerName",
        "Photographer",
        "RawDataUniqueID",
        "SerialNumber",
        "SubjectLocation",
        "UserComment",
        "XPAuthor",
        "XPComment",
        *PIL.ExifTags.GPSTAGS.values(),
    }
)

# Where the pixels lie in a TIFF and what other readers keep there: no statement about the picture.
_STRUCTURE = frozenset(
    {
        "ColorMap",
        "ExifOffset",
        "GPSInfo",
        "InterColorProfile",
        "ExifInteroperabilityOffset",
        "JPEGTables",
        "JpegIFByteCount",
        "JpegIFOffset",
        "StripByteCounts",
        "StripOffsets",
        "SubIFDs",
        "TileByteCounts",
        "TileOffsets",
    }
)

_ASCII_BYTES = frozenset({"ExifVersion", "FlashPixVersion", "InteropVersion", "InteropIndex"})
_COMMENT_BYTES = frozenset({"UserComment", "GPSProcessingMethod", "GPSAreaInformation"})
_INTEROP_TAGS = {int(tag): tag.name for tag in PIL.ExifTags.Interop}


def is_private(name: str) -> bool:
    """Whether a tag can name a person, a device or a place.

    Args:    name: an EXIF tag name as in `ImageMeta.exif`.
    Returns: True for the names of PRIVATE_EXIF and for every GPS tag, known or not.
    """
    return name in PRIVATE_EXIF or name.startswith("GPS")


def public_exif(exif: Mapping[str, str]) -> dict[str, str]:
    """The tags that name no person, device or place.

    Args:    exif: tag name → text, as in `ImageMeta.exif`.
    Returns: a new dict without the private tags.
    """
    return {name: text for name, text in exif.items() if not is_private(name)}


def exif_text(picture: PIL.Image.Image) -> tuple[dict[str, str], int]:
    """All EXIF tags of an opened picture as text, and its orientation.

    Values are cut at 2000 characters. MakerNote and other binary values give their size only; UserComment is
    decoded by the character code that it declares.

    Args:    picture: as opened by Pillow.
    Returns: (tag name → text, sorted by name; orientation 1 to 8, 1 where none is stated).
    """
    try:
        # The base class's method: the PNG plugin's own would decode the pixels first.
        exif = PIL.Image.Image.getexif(picture)
        orientation = exif.get(PIL.ExifTags.Base.Orientation, 1)
    except Exception:  # whatever a damaged block raises, the pixels may be fine
        return {}, 1
    directories: tuple[tuple[int | None, Mapping[int, str], str], ...] = (
        (None, PIL.ExifTags.TAGS, ""),
        (PIL.ExifTags.IFD.Exif, PIL.ExifTags.TAGS, ""),
        (PIL.ExifTags.IFD.GPSInfo, PIL.ExifTags.GPSTAGS, "GPS"),
        (PIL.ExifTags.IFD.Interop, _INTEROP_TAGS, "Interop"),
    )
    texts: dict[str, str] = {}
    for directory, names, prefix in directories:
        try:
            tags = exif if directory is None else exif.get_ifd(directory)
            numbers = list(tags)
        except Exception:  # noqa: S112 - a damaged directory leaves the others readable
            continue
        for number in numbers:
            name = names.get(number, f"{prefix}0x{number:04X}")
            if name not in _STRUCTURE:
                texts.setdefault(name, _text(tags, number, name))
    if not isinstance(orientation, int) or not 1 <= orientation <= 8:
        orientation = 1
    return dict(sorted(texts.items())), orientation


def _text(tags: Any, number: int, name: str) -> str:
    try:
        value = tags[number]
        text = _bytes_text(value, name) if isinstance(value, bytes) else _value_text(value)
    except Exception:  # one damaged tag
        return "<unreadable>"
    text = "".join(c if c.isprintable() or c in "\n\t" else " " for c in text.rstrip("\0")).strip()
    return text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + "…"


def _value_text(value: Any) -> str:
    if isinstance(value, str):
        try:
            return value.encode("latin-1").decode("utf-8")  # Pillow reads Latin-1, most writers use UTF-8
        except UnicodeError:
            return value
    if isinstance(value, tuple):
        more = ", …" if len(value) > _MAX_NUMBERS else ""
        return ", ".join(_value_text(item) for item in value[:_MAX_NUMBERS]) + more
    if isinstance(value, int | float | bytes):
        return f"<{len(value)} bytes>" if isinstance(value, bytes) else f"{value}"
    if hasattr(value, "numerator") and hasattr(value, "denominator"):
        return f"{value.numerator}/{value.denominator}" if value.denominator != 1 else f"{value.numerator}"
    return f"<{type(value).__name__}>"


def _bytes_text(value: bytes, name: str) -> str:
    if name in _ASCII_BYTES:
        return value.decode("ascii", "replace")
    if name in _COMMENT_BYTES:
        return _comment_text(value)
    if name.startswith("XP"):  # Windows Explorer's tags
        return value.decode("utf-16-le", "replace")
    return f"<{len(value)} bytes>"


def _comment_text(value: bytes) -> str:
    """Exif 2.32, table 9: the first eight bytes name the character code."""
    code, body = value[:8], value[8:]
    if code.startswith(b"UNICODE"):
        if body.startswith((b"\xff\xfe", b"\xfe\xff")):
            return body.decode("utf-16", "replace")
        # The standard leaves the byte order open, and writers disagree; in most scripts high bytes repeat.
        big_endian = len(set(body[0::2])) <= len(set(body[1::2]))
        return body.decode("utf-16-be" if big_endian else "utf-16-le", "replace")
    if code.startswith(b"JIS"):
        return body.decode("iso2022_jp", "replace")
    if code.startswith(b"ASCII") or not code.strip(b"\0"):
        return body.decode("utf-8", "replace")
    return value.decode("utf-8", "replace")
