"""Decoded pictures, kept on disk so that later epochs need no decoder.

An entry is a plain .npy file that is mapped and never read whole: its pages belong to the system's file cache
and not to the process. It is found by path, time of change and size, so a file that was changed is decoded
again; entries of earlier contents stay until the folder is removed.

Shapes: C channels (3), H W pixels.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.durable import keep_array
from tellsign.image import Image, decode
from tellsign.types import ImageError, OutputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8] | NDArray[np.floating[Any]]


def decoded(path: Path, sha256: str = "") -> Image:
    """The picture in a file, if it is still the one that was indexed.

    Args:    path: of an image file. sha256: that it had; empty: not known.
    Returns: the image.
    Raises:  ImageError: the file is no usable image, or has another checksum; the message does not name it.
    """
    found = decode(path)
    if sha256 not in ("", found.meta.sha256):
        raise ImageError(
            f"the file has changed: its sha256 is {found.meta.sha256}, the manifest says {sha256}; "
            "index the data again"
        )
    return found


def pixels(path: Path, cache: Path | None = None, sha256: str = "") -> Pixels:
    """The picture in a file.

    Args:    path: of an image file.
             cache: folder of decoded pictures, made and filled here; None: the file is decoded.
             sha256: as for `decoded`.
    Returns: (3, H, W) float32 sRGB in [0, 1]; from the cache, uint8 levels where they say the same. An array
             from the cache can't be written to.
    Raises:  ImageError: as for `decoded`; OutputError: the cache can't be written or read.
    """
    if cache is None:
        return decoded(path, sha256).array
    entry = _entry(path, cache, sha256)
    if entry is None:
        return decoded(path, sha256).array  # which says what is wrong with it
    found = _mapped(entry)
    if found is None:
        _write(entry, levels(decoded(path, sha256).array))
        found = _mapped(entry)
    if found is None:
        raise OutputError(f"{entry} was written and can't be read; use another folder as cache, or none")
    return found


def levels(array: Pixels) -> Pixels:
    """An image as 8-bit levels if nothing is lost by it.

    Args:    array: float32 in [0, 1], any shape; or levels already.
    Returns: uint8 levels v where each number is v / 255 exactly; else the array itself.
    """
    if array.dtype == np.uint8:
        return array
    scaled = array * np.float32(255)
    np.rint(scaled, out=scaled)
    found = scaled.astype(np.uint8)
    scaled /= np.float32(255)
    return found if np.array_equal(scaled, array) else array


def entry_key(path: Path) -> str | None:
    """A name for what a file holds now, by its place, time of change and size.

    Args:    path: of the file.
    Returns: 64 hexadecimal digits; None where there is no such file.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    place = os.fsencode(os.path.abspath(path))  # noqa: PTH100 - links stay
    return hashlib.sha256(b"%b\0%d\0%d" % (place, status.st_mtime_ns, status.st_size)).hexdigest()


def _entry(path: Path, cache: Path, sha256: str) -> Path | None:
    """Where a file's picture is kept once its checksum was compared; None where there is no such file."""
    key = entry_key(path)
    if key is None:
        return None
    name = f"{key[2:]}-{sha256}" if sha256 else key[2:]
    return cache / key[:2] / f"{name}.npy"  # no folder of a million files


def _mapped(entry: Path) -> Pixels | None:
    """An entry; None where there is none that is whole."""
    try:
        found = np.load(entry, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    sound = found.ndim == 3 and found.shape[0] == 3 and found.dtype in (np.uint8, np.float32)
    return np.asarray(found) if sound else None


def _write(entry: Path, array: Pixels) -> None:
    """Keep a picture."""
    try:
        keep_array(entry, array)
    except OSError as error:
        raise OutputError(
            f"the cache of decoded pictures can't be written to {entry.parent.parent}: "
            f"{error.strerror or error}. It needs 3 bytes a pixel: free some space, or train without cache"
        ) from error
