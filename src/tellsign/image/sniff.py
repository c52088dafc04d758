"""What a file holds, told from its first bytes; the reason when it is no image.

A name's extension is never trusted: what is decoded is what the bytes are.
"""

from __future__ import annotations

from tellsign.types import ImageError

# Extension → format, to tell when a name and its content disagree.
SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".mpo": "JPEG",
    ".png": "PNG",
    ".apng": "PNG",
    ".webp": "WEBP",
    ".avif": "AVIF",
    ".bmp": "BMP",
    ".dib": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".gif": "GIF",
    ".heic": "HEIC",
    ".heif": "HEIC",
    ".hif": "HEIC",
}

_SUPPORTED = "JPEG, PNG, WebP, AVIF, TIFF, BMP, GIF or HEIC"

_IMAGES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II\x2a\x00", "TIFF"),
    (b"MM\x00\x2a", "TIFF"),
    (b"II\x2b\x00", "TIFF"),
    (b"MM\x00\x2b", "TIFF"),
)

_RAW = "a camera raw file: develop it first, or take the JPEG that the camera wrote beside it"
_OTHERS = (
    (b"%PDF-", "a PDF document"),
    (b"%!PS", "a PostScript drawing"),
    (b"PK\x03\x04", "a ZIP archive or an office document: unpack it first"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x1f\x8b", "gzip-compressed data: unpack it first"),
    (b"BZh", "bzip2-compressed data: unpack it first"),
    (b"\xfd7zXZ\x00", "xz-compressed data: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it first"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image, which is not supported: convert it to PNG"),
    (b"\xff\x0a", "a JPEG XL image, which is not supported: convert it to PNG"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image, which is not supported: convert it to PNG"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image, which is not supported: convert it to PNG"),
    (b"8BPS", "a Photoshop document: export it as PNG"),
    (b"gimp xcf", "a GIMP document: export it as PNG"),
    (b"\x00\x00\x01\x00", "an icon file: export the picture as PNG"),
    (b"\x76\x2f\x31\x01", "an OpenEXR image, which is not supported: convert it to PNG"),
    (b"FUJIFILMCCD-RAW", _RAW),
    (b"IIRO", _RAW),
    (b"IIRS", _RAW),
    (b"IIU\x00", _RAW),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video, not a still image: scan it as a video"),
    (b"FLV\x01", "a Flash video, not a still image: scan it as a video"),
    (b"\x00\x00\x01\xba", "an MPEG video, not a still image: scan it as a video"),
    (b"\x00\x00\x01\xb3", "an MPEG video, not a still image: scan it as a video"),
    (b"OggS", "an Ogg audio or video file, not a still image"),
    (b"ID3", "an MP3 audio file"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3", "a database"),
    (b"\x93NUMPY", "a NumPy array: save it as an 8-bit PNG"),
    (b"version https://git-lfs", "a Git LFS pointer, not the image itself: run `git lfs pull`"),
)

_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}  # sizes of the header that follows a BMP's first 14 bytes


def image_format(data: bytes) -> str:
    """The format that the bytes are in.

    Args:    data: a whole file.
    Returns: "JPEG" (MPO included), "PNG", "WEBP", "AVIF", "HEIC", "BMP", "TIFF" or "GIF".
    Raises:  ImageError: the bytes are something else; the message says what.
    """
    if not data:
        raise ImageError("the file is empty (0 bytes): copy or download it again")
    for prefix, name in _IMAGES:
        if data.startswith(prefix):
            return name
        if prefix.startswith(data[: len(prefix)]):
            raise ImageError(f"only the first {len(data)} bytes of a {name} file are there: copy it again")
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if data[4:8] == b"ftyp":
        return _iso_media_format(data)
    raise ImageError(_other_content(data))


def _iso_media_format(data: bytes) -> str:
    """AVIF and HEIC share their container with MP4; the brands at its start tell them apart."""
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = [data[8:12], *(data[i : i + 4] for i in range(16, end, 4))]
    if any(brand in _AVIF_BRANDS for brand in brands):
        return "AVIF"
    if any(brand in _HEIC_BRANDS for brand in brands):
        return "HEIC"
    if data[8:12] in {b"crx ", b"cr3 "}:
        raise ImageError(f"this is {_RAW}")
    raise ImageError(
        f"this is an MP4 or QuickTime file (brand {data[8:12]!r}), not a still image: scan it as a video"
    )


def _other_content(data: bytes) -> str:
    for prefix, what in _OTHERS:
        if data.startswith(prefix):
            return f"this is {what} (expected {_SUPPORTED})"
    if data.startswith(b"RIFF") and data[8:12] in {b"AVI ", b"WAVE"}:
        what = (
            "an AVI video, not a still image: scan it as a video"
            if data[8:12] == b"AVI "
            else "an audio file"
        )
        return f"this is {what}"
    if text := _text_kind(data):
        return f"this is {text} (expected {_SUPPORTED})"
    if data.count(0) == len(data):
        return f"all {len(data)} bytes are zero, as after a broken copy or download: copy the file again"
    return f"no image format begins with the bytes {data[:8].hex(' ')} (expected {_SUPPORTED})"


def _text_kind(data: bytes) -> str | None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "a text file"
    head = data[:4096].removeprefix(b"\xef\xbb\xbf")
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3 or len(data) <= len(head):
            return None  # not merely a character that the 4096-byte window cut in two
        text = head[: error.start].decode("utf-8")
    if any(ord(character) < 32 and character not in "\t\n\r\f\v\x1b" for character in text):
        return None
    start = text.lstrip().lower()
    if start.startswith(("<svg", "<?xml", "<!--", "<!doctype svg")) and "<svg" in start:
        return "an SVG drawing, not a photograph"
    if start.startswith(("<!doctype html", "<html", "<head", "<body")):
        return "an HTML page, not an image: perhaps the error page of a failed download"
    return "an XML file" if start.startswith("<?xml") else "a text file"
