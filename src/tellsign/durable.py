"""Files that are the old one or the new one, whenever the process that writes them is killed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def write_file(path: Path, parts: Iterable[bytes | memoryview] | bytes, *, lasting: bool = True) -> str:
    """Replace a file at once, when all of the new one is there: draft, fsync, rename, fsync of the folder.

    One process at a time writes a file: the draft is `.NAME.draft` beside it.

    Args:    path: of the file. parts: its bytes, one after the other.
             lasting: whether it must survive a power cut too, for which the disk is waited for.
    Returns: SHA-256 of the file.
    Raises:  OSError: it can't be written; the old one is as it was.
    """
    total = hashlib.sha256()
    draft = path.with_name(f".{path.name}.draft")
    try:
        with draft.open("wb") as file:
            for part in (parts,) if isinstance(parts, bytes) else parts:
                total.update(part)
                file.write(part)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
        if lasting:
            sync_names(path.parent)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return total.hexdigest()


def keep_array(file: Path, array: NDArray[Any]) -> None:
    """Write an array into a cache: whole or not at all, also where several processes keep the same one.

    A power cut may lose it: what is kept can be made again.

    Args:    file: .npy, in a folder that is made where it is missing. array: what is kept.
    Raises:  OSError: it can't be written.
    """
    draft = file.with_name(f".{file.name}.{os.getpid()}.draft")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as stream:
            np.save(stream, array, allow_pickle=False)
        draft.replace(file)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def sync_names(folder: Path) -> None:
    """Have the names in a folder on the disk as well.

    Args:    folder: in which files were made, renamed or removed.
    Raises:  OSError: the disk failed.
    """
    try:
        number = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(number)
    finally:
        os.close(number)
