"""The folder beside a detector in which it is trained: what a stopped run leaves, the next one finds.

`OUT.run` holds the candidates and what their trainings keep. Once the detector is written, the records stay
(logs, curves, tables) and the weights go.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tellsign.lock import locked
from tellsign.types import ConfigError, OutputError

SUFFIX = ".run"
DONE = "done"  # a file that says that the detector was written
HEAVY = ("*.safetensors", "graph.onnx")


def is_first() -> bool:
    """Whether this process writes: alone, or the first of those that torchrun has started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def run_folder(out: Path, *, resume: bool) -> Iterator[Path]:
    """Hold the folder for as long as the block runs.

    Args:    out: the detector's folder.
             resume: go on with what an earlier run has left.
    Returns: the folder.
    Raises:  ConfigError: another run holds it, it can't be written, or it holds what a run that was stopped
             has left and that is not to be resumed.
    """
    folder = out.with_name(out.name + SUFFIX)
    if not is_first():
        yield folder
        return
    with locked(folder):
        try:
            _begin(folder, resume=resume)
            yield folder
            (folder / DONE).touch()  # first, so that nobody goes on without the weights
            for pattern in HEAVY:
                for path in folder.rglob(pattern):
                    path.unlink()
        finally:
            if not _trainings(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _begin(folder: Path, *, resume: bool) -> None:
    try:
        if (folder / DONE).exists() or not _trainings(folder):
            shutil.rmtree(folder, ignore_errors=True)
        if folder.exists() and not resume:
            raise ConfigError(
                f"{folder} holds a training that was stopped: go on with it by --resume, or remove the "
                "folder to begin anew"
            )
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror or error}") from error


def _trainings(folder: Path) -> list[Path]:
    """What systems that train for long keep beside their candidates; the others begin anew in seconds."""
    return list(folder.glob(f"*{SUFFIX}"))
