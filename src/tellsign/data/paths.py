"""Paths of data sets: what lies below a folder, what folders call their splits, names that are safe."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from tellsign.types import ManifestError

# What folders and lists of data sets call our splits; to be compared in lower case.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
    "eval": "test",
}


def walked(folder: Path) -> Iterator[Path]:
    """Every file below a folder, in the order of their paths.

    Names that begin with a dot are left out: archives made on a Mac hold a `._NAME` beside each NAME.

    Args:    folder: walked recursively, links included; a loop is not entered again.
    Returns: the files, lazily.
    Raises:  ManifestError: a folder can't be read.
    """
    visited = set()
    for where, below, names in os.walk(folder, followlinks=True, onerror=_unreadable):
        status = Path(where).stat()
        if (status.st_dev, status.st_ino) in visited:  # a link leads back to where we were
            below.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (Path(where, name) for name in sorted(names) if not name.startswith("."))


def _unreadable(error: OSError) -> None:
    raise ManifestError(f"cannot read the folder {str(error.filename)!a}: {error.strerror}") from error


def split_in(name: str) -> str:
    """The split that the words of a folder's name say, as in `dfdc_test` or `progan_val`.

    Args:    name: of one folder, or of a file.
    Returns: train, valid or test; empty where no word, or where words of two splits, are in it.
    """
    found = {SPLIT_NAMES[word] for word in re.findall(r"[a-z]+", name.lower()) if word in SPLIT_NAMES}
    return found.pop() if len(found) == 1 else ""


def safe_name(text: str) -> str:
    """A name for one folder on any file system, that stays inside its parent.

    Args:    text: whatever a table calls its data set, or a file.
    Returns: the text with other characters than letters, digits, dots and dashes as underscores, without
             dots at its beginning; may be empty.
    """
    return re.sub(r"[^\w.-]", "_", text).lstrip(".")
