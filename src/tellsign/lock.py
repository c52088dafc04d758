"""One run at a time writes an output."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tellsign.types import OutputError

HELD = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK}  # what a system says of a lock that another holds


@contextlib.contextmanager
def locked(output: Path) -> Iterator[None]:
    """Hold the lock of an output for as long as the block runs; raises as `lock` does."""
    held = lock(output.resolve())
    try:
        yield
    finally:
        release(held)


def lock(output: Path) -> IO[str]:
    """A file beside an output that this process alone holds.

    The system lets go of it when the process ends, however it ends.

    Args:    output: the file or folder that will be written.
    Returns: the open lock; hand it to `release`.
    Raises:  OutputError: another run holds it, or nothing can be written or locked there.
    """
    while True:
        file = _held(output)
        try:
            # Another run may have removed the file between the opening and the locking of it.
            if os.path.samestat(os.fstat(file.fileno()), Path(file.name).stat()):
                return file
        except FileNotFoundError:
            pass
        file.close()


def release(held: IO[str]) -> None:
    """Let go of a lock and remove its file."""
    with contextlib.suppress(OSError):  # Windows removes no open file; an empty one is no harm
        Path(held.name).unlink()
    held.close()


def _held(output: Path) -> IO[str]:
    path = output.with_name(output.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror or error}") from error
    try:
        try:
            import fcntl
        except ImportError:  # Windows
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno in HELD:
            raise OutputError(f"another run is writing {output}; wait for it or give another -o") from error
        raise OutputError(
            f"cannot lock {path} ({error.strerror or error}); put the output on another file system"
        ) from error
    return file
