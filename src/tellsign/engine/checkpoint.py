"""Checkpoints of a training, which a kill, a full disk or a cut write never leaves without a whole one.

A checkpoint is a folder below `checkpoints` in the run folder, written beside its place and renamed:
`tensors.safetensors` (weights and the optimisers' state), `state.json` (everything else, with a digest of the
training's identity and those of all files) and `best.safetensors` (the best weights so far: a second name of
the run's file, which takes no room).
The two newest are kept. Random states and the order of the data need no bytes: they follow from the seed, the
epoch and the step. Nothing that is read can execute code.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tellsign.durable import sync_names, write_file
from tellsign.nn.weights import read_tensors, refuse_pickle
from tellsign.types import ConfigError, OutputError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

Say = Callable[[str], None]

FORMAT = 1
KEPT = 2
AGAIN = "run the same command again, which goes on from there; a `train` takes --resume for that"
FOLDER, STATE, TENSORS, BEST = "checkpoints", "state.json", "tensors.safetensors", "best.safetensors"
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """One that was found whole."""

    path: Path
    state: dict[str, Any]  # as it was given to `save`
    tensors: dict[str, Tensor]


class ForeignError(OutputError):
    """A checkpoint that this training must not take, and that may be dear to another."""


def save(
    run: Path, name: str, *, identity: str, state: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write a checkpoint, all of it or nothing, and remove all but the two newest.

    Args:    run: the run folder; its `best.safetensors` becomes a part where there is one.
             name: later ones sort behind earlier ones.
             identity: digest of the training's.
             state: what JSON holds.
             tensors: name → tensor, on any device.
    Raises:  OutputError: it can't be written; those that were there are whole.
    """
    folder = run / FOLDER / name
    draft = folder.with_name(f".{name}.draft")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        digests = {TENSORS: write_tensors(draft / TENSORS, tensors)}
        if (run / BEST).exists():
            _second_name(run / BEST, draft / BEST)
            digests[BEST] = file_digest(draft / BEST)
        content = {"format": FORMAT, "identity": identity, "state": dict(state), "digests": digests}
        write_file(draft / STATE, _text({**content, "digest": plain_digest(content)}))
        shutil.rmtree(folder, ignore_errors=True)  # there only when it was read as broken
        draft.rename(folder)
        sync_names(folder.parent)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise OutputError(cannot_write(run, error)) from error
    for old in list(_names(run))[KEPT:]:
        shutil.rmtree(run / FOLDER / old, ignore_errors=True)


def cannot_write(run: Path, error: OSError) -> str:
    """What to do when a run folder can't be written, and what is left of the run."""
    left, reason = what_is_left(run), error.strerror or error
    return f"cannot write to {run} ({reason}): {left}; make room or mend it, then {AGAIN}"


def what_is_left(run: Path) -> str:
    """Of a run that comes to an end now: its last checkpoint, or that there is none, for a message."""
    last = last_name(run)
    return f"the checkpoint {FOLDER}/{last} is whole" if last else "there is no checkpoint yet"


def last_name(run: Path) -> str | None:
    """The name of the newest checkpoint; None where there is none."""
    return next(_names(run), None)


def newest(run: Path, *, identity: str, say: Say) -> Checkpoint | None:
    """The newest checkpoint that is whole; broken ones before it are named and removed.

    Args:    run: the run folder.
             identity: digest of the training's.
             say: told of those that are passed over.
    Returns: the checkpoint, or None where there is none.
    Raises:  OutputError: one is of another training or format, is pickled, or can't be read for now, which
             says nothing of what it holds. It is left as it was.
    """
    for name in list(_names(run)):
        try:
            return read(run, name, identity=identity)
        except ForeignError:
            raise
        except (ConfigError, OSError, ValueError, KeyError, TypeError) as error:
            if (fault := _of_reading(error)) is not None:
                raise OutputError(
                    f"the checkpoint {run / FOLDER / name} cannot be read ({fault.strerror or fault}); it is "
                    "as it was: mend what keeps it from being read, then run the same command again"
                ) from error
            say(f"the checkpoint {run / FOLDER / name} is passed over: {error}")
            shutil.rmtree(run / FOLDER / name, ignore_errors=True)
    return None


def _of_reading(error: Exception) -> OSError | None:
    """What the system said where a file could not be read, though nobody knows that it is broken."""
    fault = error if isinstance(error, OSError) else error.__cause__
    if isinstance(fault, FileNotFoundError):  # what is not there is not whole
        return None
    return fault if isinstance(fault, OSError) else None


def read(run: Path, name: str, *, identity: str) -> Checkpoint:
    """One checkpoint, every byte of it checked.

    Args:    run: the run folder. name: of the checkpoint.
             identity: digest of the training's.
    Returns: the checkpoint.
    Raises:  ForeignError: it is of another training or format, or pickled. ConfigError: it is broken.
             OSError, ValueError: it can't be read.
    """
    folder = run / FOLDER / name
    content = json.loads((folder / STATE).read_bytes())
    # Before its digest, which another format may take in another way.
    if content["format"] != FORMAT:
        raise ForeignError(
            f"the checkpoint {folder} has format {content['format']!r}, this version reads {FORMAT}: go on "
            "with the version that wrote it, or give another folder; it is as it was"
        )
    if content.pop("digest") != plain_digest(content):
        raise ConfigError(f"{STATE} is damaged")
    if content.get("identity", identity) != identity:  # those that are older than the key have none
        raise ForeignError(
            f"the checkpoint {folder} is of another training, with other data or options: put it back where "
            "it comes from, or give another folder; it is as it was"
        )
    for file, digest in content["digests"].items():
        try:
            refuse_pickle(folder / file)
        except ConfigError as error:  # which nothing here has written
            raise ForeignError(f"{error}; it is as it was") from error
        if file_digest(folder / file) != digest:
            raise ConfigError(f"{file} is cut or damaged ({(folder / file).stat().st_size} bytes)")
    return Checkpoint(folder, content["state"], read_tensors(folder / TENSORS))


def clear_drafts(run: Path) -> None:
    """Remove what a killed run had begun to write. Its folder is held by nobody else."""
    for draft in (*run.glob(".*.draft"), *(run / FOLDER).glob(".*.draft")):
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)


def restore_best(run: Path, checkpoint: Checkpoint | None) -> None:
    """Make the run's best weights those of a checkpoint, since there may be later ones; none without one.

    Args:    run: the run folder. checkpoint: from which the run goes on.
    Raises:  OutputError: the folder can't be written.
    """
    try:
        if checkpoint is None or not (checkpoint.path / BEST).exists():
            (run / BEST).unlink(missing_ok=True)
            return
        draft = run / f".{BEST}.draft"
        draft.unlink(missing_ok=True)
        _second_name(checkpoint.path / BEST, draft)
        draft.replace(run / BEST)
        draft.unlink(missing_ok=True)  # which stays where both were names of one file already
    except OSError as error:
        raise OutputError(cannot_write(run, error)) from error


def training_tensors(model: nn.Module, optimisers: Iterable[Optimizer]) -> dict[str, Tensor]:
    """Weights and the optimisers' state under one set of names.

    Args:    model: without what distributes it. optimisers: of its parameters.
    Returns: "model.NAME" and "optimiser.INDEX.KEY" → tensor; the indices of an optimiser follow on those of
             the one before.
    """
    found = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    first = 0
    for optimiser in optimisers:
        for index, entries in optimiser.state_dict()["state"].items():
            for key, value in entries.items():
                if value is not None:  # the momentum of a weight that has not moved yet
                    found[f"optimiser.{first + index}.{key}"] = torch.as_tensor(value)
        first += len(_parameters(optimiser))
    return found


def restore(checkpoint: Checkpoint, model: nn.Module, optimisers: Iterable[Optimizer]) -> None:
    """Put the tensors of a checkpoint in their places.

    Args:    checkpoint: of this network.
             model: on its device. optimisers: of its parameters, as they were made, in the same order.
    Raises:  ConfigError: the checkpoint is of another network.
    """
    split = {"model": {}, "optimiser": {}}  # type: dict[str, dict[str, Tensor]]
    for name, tensor in checkpoint.tensors.items():
        kind, _, rest = name.partition(".")
        split[kind][rest] = tensor
    load_weights(model, split["model"], where=checkpoint.path)
    first = 0
    for optimiser in optimisers:
        parameters = _parameters(optimiser)
        states: dict[int, dict[str, Tensor]] = {}
        for name, tensor in split["optimiser"].items():
            number, _, key = name.partition(".")
            index = int(number) - first
            if 0 <= index < len(parameters):
                # The layout too: fused steps walk through parameter and state side by side.
                like = torch.empty_like(parameters[index], dtype=tensor.dtype) if tensor.ndim else None
                states.setdefault(index, {})[key] = tensor if like is None else like.copy_(tensor)
        optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
        first += len(parameters)


def _parameters(optimiser: Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], *, where: Path) -> None:
    """Put weights into a model.

    Args:    model: to fill. tensors: name → tensor, all that it has.
             where: they come from, for the message.
    Raises:  ConfigError: the model has other weights; the first difference is named.
    """
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    differing = [name for name in {**own, **found} if own.get(name) != found.get(name)]
    if differing:
        name = differing[0]
        there, here = (str(shapes.get(name, "missing")) for shapes in (found, own))
        raise ConfigError(
            f"{where} holds the weights of another network: {name} is {there} there and {here} in this one "
            f"({len(differing)} of {len(own)} differ); is the number of classes or the backbone another?"
        )
    model.load_state_dict(dict(tensors))


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write a safetensors file, one tensor after the other, so that nothing is in memory twice.

    Args:    path: replaced at once, when all is on the disk. tensors: name → tensor, on any device.
    Returns: SHA-256 of the file.
    Raises:  OSError: it can't be written.
    """
    # By size of their numbers, so that each begins where its type may.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        start, end = end, end + tensors[name].numel() * tensors[name].element_size()
        header[name] = {
            "dtype": DTYPES[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    def parts() -> Iterator[bytes | memoryview]:
        yield len(text).to_bytes(8, "little")
        yield text
        for name in names:
            yield tensor_bytes(tensors[name])

    return write_file(path, parts())


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The numbers of a tensor in the order of its axes, whatever its layout."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def weights_digest(model: nn.Module) -> str:
    """Twelve hexadecimal digits that two models share when their weights are the same bit for bit."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        total.update(tensor_bytes(tensor))
    return total.hexdigest()[:12]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of plain values, in whatever order their keys stand."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("ascii")).hexdigest()


def _names(run: Path) -> Iterator[str]:
    """Of the checkpoints, newest first."""
    folder = run / FOLDER
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    yield from sorted((name for name in names if not name.startswith(".")), reverse=True)


def _second_name(path: Path, other: Path) -> None:
    try:
        os.link(path, other)
    except OSError:  # a file system without links
        shutil.copyfile(path, other)


def _text(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode("ascii")
