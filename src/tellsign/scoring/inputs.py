"""What there is to score: files, folders, manifests and lists, walked lazily and in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from tellsign.container import HEAD_BYTES, VIDEO_SUFFIXES, is_video
from tellsign.image import sniff
from tellsign.types import ConfigError, ImageError

# What a folder is searched for. A file that is named on the command line is tried whatever its suffix.
IMAGE_SUFFIXES = frozenset(sniff.SUFFIXES)
SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES


def files(
    paths: Iterable[str | Path], *, on_skip: Callable[[Path], None] = lambda path: None
) -> Iterator[Path]:
    """Every input below some paths.

    Folders are walked recursively in the order of names, symbolic links included; a folder that is
    reached a second time (a loop) is not entered again. Of a folder's files, those are taken that have a
    suffix or a beginning of an image or video. A path that does not exist is yielded too: it fails where
    it is read and so gets a line of its own.

    Args:    paths: files and folders.
             on_skip: called with each file of a folder that is neither image nor video.
    Returns: the files, lazily.
    """
    visited: set[tuple[int, int]] = set()
    for path in map(Path, paths):
        if path.is_dir():
            yield from _walk(path, visited, on_skip)
        else:
            yield path


def _walk(folder: Path, visited: set[tuple[int, int]], on_skip: Callable[[Path], None]) -> Iterator[Path]:
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in visited:
            return
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as scan:
            entries = sorted((entry.name, entry.is_dir()) for entry in scan)
    except OSError:
        # Yielded as an input, an unreadable folder becomes an error line instead of silence.
        yield folder
        return
    for name, is_folder in entries:
        path = folder / name
        if is_folder:
            yield from _walk(path, visited, on_skip)
        elif path.suffix.lower() in SUFFIXES or _looks_right(path):
            yield path
        else:
            on_skip(path)


def _looks_right(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        return is_video(head) or bool(sniff.image_format(head))
    except (OSError, ImageError):
        return False


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
