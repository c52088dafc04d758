"""What there is to score: files, folders, manifests and lists, walked lazily and in a fixed order."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import IO

from tellsign.image import sniff
from tellsign.types import ConfigError, ImageError
from tellsign.video import HEAD_BYTES, VIDEO_SUFFIXES, is_video

# What a folder is searched for. A file that is named on the command line is tried whatever its suffix.
IMAGE_SUFFIXES = frozenset(sniff.SUFFIXES)
SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES
SORTED_IN_MEMORY = 10_000  # entries of one folder


def files(
    paths: Iterable[str | Path], *, on_skip: Callable[[Path], None] = lambda path: None
) -> Iterator[Path]:
    """Every input below some paths.

    Folders are walked recursively in the order of names, symbolic links included; a folder that is
    reached a second time (a loop) is not entered again. Of a folder's files, those are taken that have a
    suffix or a beginning of an image or video, or cannot be read. A path that does not exist is yielded
    too: it fails where it is read and so gets a line of its own.

    Args:    paths: files and folders.
             on_skip: called with each file of a folder that is neither image nor video.
    Returns: the files, lazily.
    """
    visited: set[tuple[int, int]] = set()
    for path in map(Path, paths):
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a folder above is closed
            yield from _walk(path, visited, on_skip)
        else:
            yield path


def _walk(top: Path, visited: set[tuple[int, int]], on_skip: Callable[[Path], None]) -> Iterator[Path]:
    # A stack and no recursion: folders may be nested deeper than Python calls.
    open_folders = [_entered(top, visited)]
    while open_folders:
        for path, is_folder in open_folders[-1]:
            if is_folder:
                open_folders.append(_entered(path, visited))
                break
            if is_folder is None or path.suffix.lower() in SUFFIXES or _looks_right(path):
                yield path
            else:
                on_skip(path)
        else:
            open_folders.pop()


def _entered(folder: Path, visited: set[tuple[int, int]]) -> Iterator[tuple[Path, bool | None]]:
    """What lies in a folder, each with whether it is a folder itself; nothing on a second visit.

    A folder that can't be read stands for what is in it, with None.
    """
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) not in visited:
            visited.add((status.st_dev, status.st_ino))
            for name, is_folder in _entries(folder):
                yield folder / name, is_folder
    except OSError:
        # As an input, an unreadable folder becomes an error line instead of silence.
        yield folder, None


def _entries(folder: Path) -> Iterator[tuple[str, bool]]:
    """Names in a folder in the order of their bytes. A large folder is sorted on disk: memory stays flat."""
    with os.scandir(folder) as scan:
        entries = ((os.fsencode(entry.name), _is_folder(entry)) for entry in scan)
        first = sorted(islice(entries, SORTED_IN_MEMORY))
        if len(first) < SORTED_IN_MEMORY:
            yield from ((os.fsdecode(name), is_folder) for name, is_folder in first)
            return
        with closing(sqlite3.connect("")) as disk:
            disk.execute("CREATE TABLE names (name BLOB PRIMARY KEY, is_folder INT) WITHOUT ROWID")
            disk.executemany("INSERT INTO names VALUES (?, ?)", chain(first, entries))
            del first
            for name, is_folder in disk.execute("SELECT name, is_folder FROM names ORDER BY name"):
                yield os.fsdecode(name), bool(is_folder)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _looks_right(path: Path) -> bool:
    """Whether a file without a telling suffix begins as an image or video does, or can't be looked at."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False  # a pipe would be waited for
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        return is_video(head) or bool(sniff.image_format(head))
    except (FileNotFoundError, ImageError):
        return False
    except OSError as error:
        return error.errno != errno.ELOOP


def listed(stream: IO[bytes], *, nul: bool) -> Iterator[Path]:
    """Paths from a list.

    Args:    stream: bytes, as standard input's buffer.
             nul: names end with NUL instead of a line feed (for names with line feeds in them).
    Returns: the paths, as they arrive.
    Raises:  ConfigError: a name is longer than any file system allows: the separator is wrong.
    """
    separator = b"\0" if nul else b"\n"
    rest = b""
    while chunk := (stream.read1(65536) if hasattr(stream, "read1") else stream.read(65536)):
        *names, rest = (rest + chunk).split(separator)
        if len(rest) > 65536:
            raise ConfigError("a name in the list is over 64 KiB long; are names separated by NUL (-0)?")
        yield from (Path(os.fsdecode(name)) for name in names if name)
    if rest:
        yield Path(os.fsdecode(rest))
