"""The folder beside a detector in which it is trained: what a stopped run leaves, the next one finds.

`OUT.run` holds the candidates and what their trainings keep. Once the detector is written, the records stay
(logs, curves, tables) and the weights go. A folder that holds anything else is somebody's own, and stays.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tellsign.artifacts import DRAFT_ENDS, OLD, RUN_SUFFIX, clear_drafts
from tellsign.lock import locked
from tellsign.types import ConfigError, OutputError

CHOSEN = "chosen"  # the best candidate, before it is calibrated
DONE = "done"  # a file that says that the detector was written
HEAVY = ("*.safetensors", "graph.onnx")
# Candidates, what their systems keep beside them, and drafts of either.
OWN = re.compile(
    rf"{DONE}|{CHOSEN}|\d+({re.escape(RUN_SUFFIX)})?|\.({CHOSEN}|\d+)-{DRAFT_ENDS}({re.escape(OLD)})?"
)


def n_processes() -> int:
    """How many processes train together, as torchrun has started them; 1 without it.

    Returns: the number.
    Raises:  ConfigError: the environment names none.
    """
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(
            f"WORLD_SIZE is the number of processes that train together, found {text!r}: start them with "
            "torchrun, or unset it"
        )
    return int(text)


def is_first() -> bool:
    """Whether this process writes: alone, or the first of those that torchrun has started."""
    return n_processes() == 1 or os.environ.get("RANK", "0") == "0"


@contextmanager
def run_folder(out: Path, *, resume: bool) -> Iterator[Path]:
    """Hold the folder for as long as the block runs.

    Args:    out: the detector's folder.
             resume: go on with what an earlier run has left.
    Returns: the folder.
    Raises:  ConfigError: another run holds it, it can't be written, it holds what a run that was stopped has
             left and that is not to be resumed, or what no training has written.
    """
    folder = out.with_name(out.name + RUN_SUFFIX)
    if not is_first():
        yield folder
        return
    with locked(folder):
        _begin(folder, resume=resume)
        for place in (out, folder / CHOSEN, *(path.with_suffix("") for path in _trainings(folder))):
            clear_drafts(place)
        try:
            yield folder
            (folder / DONE).touch()  # first, so that nobody goes on without the weights
            for pattern in HEAVY:
                for path in folder.rglob(pattern):
                    path.unlink()
        finally:
            if not _trainings(folder):
                _remove(folder)


def _begin(folder: Path, *, resume: bool) -> None:
    try:
        if (folder / DONE).exists() or not _trainings(folder):
            _remove(folder)
        if others := _others(folder):
            raise ConfigError(
                f"{folder} holds {others[0]!a}, which is of no training, and a detector is trained in that "
                "folder: move it elsewhere, or give another -o"
            )
        if folder.exists() and not resume:
            raise ConfigError(
                f"{folder} holds a training that was stopped: go on with it by --resume, or remove the "
                "folder to begin anew"
            )
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror or error}") from error


def _remove(folder: Path) -> None:
    """With all that trainings have left in it, unless there is anything else."""
    if not _others(folder):
        shutil.rmtree(folder, ignore_errors=True)


def _others(folder: Path) -> list[str]:
    """What no training has written. Raises OSError where that can't be seen."""
    if not folder.exists():
        return []
    return sorted(path.name for path in folder.iterdir() if not OWN.fullmatch(path.name))


def _trainings(folder: Path) -> list[Path]:
    """What systems that train for long keep beside their candidates; the others begin anew in seconds."""
    return list(folder.glob(f"*{RUN_SUFFIX}"))
