"""File names that are safe to print and can be turned back into the file's name.

On POSIX a name is bytes. A byte that is not UTF-8 becomes a backslash, x and two digits, and a backslash
becomes two, so that the two are never confused and `unescape` gives the name back byte for byte.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

_ESCAPE = re.compile(rb"\\(\\|x[0-9a-f]{2})")


def escape(path: Path | str) -> str:
    """A path as valid Unicode text.

    Args:    path: as the file system gave it.
    Returns: the same text for any ordinary name.

    Example:
        >>> escape("a b.png")
        'a b.png'
    """
    if sys.platform == "win32":
        return str(path)
    return os.fsencode(path).replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def unescape(text: str) -> str:
    """The path that `escape` was given.

    Args:    text: an escaped path.
    Returns: a path for the file system, with surrogates where its bytes are not UTF-8.
    """
    if sys.platform == "win32":
        return text

    def original(match: re.Match[bytes]) -> bytes:
        code = match.group(1)
        return b"\\" if code == b"\\" else bytes([int(code[1:], 16)])

    return os.fsdecode(_ESCAPE.sub(original, text.encode("utf-8")))


def printable(text: str) -> str:
    r"""Text without control sequences: what is not printable is shown as its escape.

    Args:    text: anything from a file.
    Returns: one line that can't move a terminal's cursor.

    Example:
        >>> printable("a\x1b[2Jb")
        'a\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
