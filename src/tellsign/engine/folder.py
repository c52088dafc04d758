"""The folder of a training: what is trained in it, whether it is done, and that one run at a time writes it.

`run.json` says what is trained: the identity, without which nothing is resumed, all options of the training,
also those that the weights don't depend on, and the versions. `best.safetensors` holds the weights of the
best epoch (the last one where nothing chooses), `result.json` what came out once it is done.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tellsign import __version__
from tellsign.data.manifest import common_folder
from tellsign.durable import write_file
from tellsign.engine.checkpoint import FORMAT, cannot_write, clear_drafts, last_name
from tellsign.lock import locked
from tellsign.types import ConfigError, OutputError
from tellsign.versions import package_versions

if TYPE_CHECKING:
    from tellsign.data import Manifest
    from tellsign.engine.config import TrainingConfig
    from tellsign.engine.distributed import Process

Say = Callable[[str], None]

RUN, RESULT, CACHE = "run.json", "result.json", "cache"


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training came to."""

    run: Path  # its folder
    best: dict[str, Any]  # epoch, and what was measured then: of a classifier auroc, accuracy and loss
    history: tuple[dict[str, Any], ...]  # one row an epoch, as log.csv has it
    skipped: tuple[dict[str, Any], ...]  # images that were left out: split, row, path, reason
    seconds: float  # of all sessions
    waiting: float  # share of the time of the steps in which the network had no images


def cache_folder(run: Path) -> Path:
    """Where decoded images are kept by default: beside the run folder, for all runs there."""
    return run.parent / CACHE


def cache_of(run: Path, config: TrainingConfig) -> Path | None:
    """The folder of decoded images that all trainings in a folder share; None where none is asked for."""
    return run / CACHE if config.cache else None


def run_identity(
    identity: Mapping[str, Any], data: Mapping[str, Manifest], config: TrainingConfig, *, seed: int
) -> dict[str, Any]:
    """All that the weights depend on.

    Args:    identity: of the caller: kind of detector, its options, class count, how images are looked at.
             data: name of a split → its images, whose order counts too.
             config, seed: the options.
    Returns: plain values, as JSON gives them back.
    Raises:  ConfigError: the caller's identity is not made of plain values.
    """
    own = {
        "tellsign": __version__,
        "format": FORMAT,
        "seed": seed,
        "training": config.decisive(),
        "data": {
            **{name: part.digest() for name, part in data.items()},
            "rows": hashlib.sha256(b"\n\n".join(map(_rows, data.values()))).hexdigest(),
        },
    }
    try:
        found: dict[str, Any] = json.loads(json.dumps({**identity, **own}, sort_keys=True))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the identity of a training is made of plain values: {error}") from error
    return found


def _rows(manifest: Manifest) -> bytes:
    root = common_folder(manifest)
    rows = (f"{s.sha256 or os.path.relpath(s.path, root)}\0{s.label}" for s in manifest)
    return "\n".join(rows).encode("utf-8", "surrogateescape")


@contextmanager
def opened(
    run: Path, identity: Mapping[str, Any], config: TrainingConfig, at: Process, *, say: Say
) -> Iterator[None]:
    """Hold a run folder for as long as the block runs, once it is known to be of this training.

    Args:    run: the folder; made where there is none.
             identity: of `run_identity`. config: all options, which are kept and not compared.
             at: this process; the first holds the folder for all.
             say: told of versions that are others than when the run was begun.
    Raises:  OutputError: it holds another training, another run is writing it, or it can't be
             written.
    """
    if not at.is_first:
        yield
        return
    with locked(run):
        try:
            run.mkdir(parents=True, exist_ok=True)
            content = {"identity": identity, "options": asdict(config), "versions": versions(at)}
            before = _begun(run, identity).get("versions", content["versions"])
            if others := differences(before, content["versions"]):
                say(f"{run} was begun with other versions, weights may differ a little: {'; '.join(others)}")
            clear_drafts(run)
            write_file(run / RUN, (json.dumps(content, indent=1) + "\n").encode("ascii"))
        except OSError as error:
            raise OutputError(cannot_write(run, error)) from error
        yield


def _begun(run: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """What run.json says; raises OutputError where the folder holds another training."""
    file = run / RUN
    if not file.exists():
        if (run / RESULT).exists():
            raise OutputError(
                f"{run} holds a training that is done, and {RUN} is missing, so nobody knows which: give "
                "another folder, or remove this one to start anew"
            )
        return {}
    try:
        content: dict[str, Any] = json.loads(file.read_bytes())
        found = content["identity"]
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{file} is damaged, so nobody knows what is trained there ({error!r}); give another folder, or "
            "remove this one to start anew"
        ) from error
    if differing := differences(found, identity):
        more = f"; and {len(differing) - 5} more" if len(differing) > 5 else ""
        raise OutputError(
            f"{run} holds another training: {'; '.join(differing[:5])}{more}. Resume it with what it was "
            "begun with, give another folder, or remove this one to start anew"
        )
    return content


def differences(old: Any, new: Any, name: str = "") -> list[str]:
    """Where two trees of plain values differ.

    Args:    old, new: the trees. name: of the branch.
    Returns: one text a leaf: what it was and what it is.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            text
            for key in {**old, **new}
            for text in differences(
                old.get(key, "not there"), new.get(key, "not there"), f"{name}.{key}" if name else key
            )
        ]
    return [] if old == new else [f"{name} was {_short(old)} and is {_short(new)}"]


def _short(value: Any) -> str:
    text = value if value == "not there" else repr(value)
    return text if len(text) < 60 else text[:20] + "…"


def versions(at: Process) -> dict[str, Any]:
    """What a training runs on. The same weights bit for bit need the same of all of it.

    Args:    at: this process.
    Returns: versions of Python and of the packages, device, threads, processes.
    """
    name = torch.cuda.get_device_name(at.device) if at.device.type == "cuda" else platform.machine()
    return {
        "tellsign": __version__,
        "python": platform.python_version(),
        **package_versions(("torch", "numpy", "timm", "pillow", "safetensors")),
        "device": name,
        "threads": torch.get_num_threads(),
        "processes": at.world,
    }


def read_result(run: Path) -> TrainingResult | None:
    """The result of a run that is done, or None."""
    try:
        content = json.loads((run / RESULT).read_bytes())
        return TrainingResult(
            run=run,
            best=content["best"],
            history=tuple(content["history"]),
            skipped=tuple(content["skipped"]),
            seconds=content["seconds"],
            waiting=content["waiting"],
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        rest = "Its checkpoints went when the run was done: give another folder, or remove this one"
        if last_name(run):
            rest = "Remove it, and the same command goes on from the last checkpoint"
        raise OutputError(f"{run / RESULT} is damaged ({error!r}). {rest}") from error


def write_result(result: TrainingResult) -> None:
    """Say in its folder that a run is done. Raises OSError where it can't be written."""
    content = {name: value for name, value in asdict(result).items() if name != "run"}
    write_file(result.run / RESULT, (json.dumps(content, indent=1) + "\n").encode("ascii"))
