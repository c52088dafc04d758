"""Reads and writes detector folders. Knows no detector, and nothing that it loads can execute code.

A folder holds `detector.json` (what the detector is and does), `weights.safetensors` (its arrays),
`graph.onnx` where it is a network, `CARD.md` and `LICENSE`. The first three are what a verdict depends
on; their digest names the detector in every verdict, table and cache key.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tellsign.types import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

FORMAT = 1
SPEC_FILE, WEIGHTS_FILE, GRAPH_FILE, CARD_FILE, LICENCE_FILE = (
    "detector.json",
    "weights.safetensors",
    "graph.onnx",
    "CARD.md",
    "LICENSE",
)
DIGESTED = (SPEC_FILE, WEIGHTS_FILE, GRAPH_FILE)
FILES = (*DIGESTED, CARD_FILE, LICENCE_FILE)

DRAFT, OLD = ".draft", ".old"  # behind a name: of what is being written, and of what it takes the place of
DRAFT_ENDS = "[a-z0-9_]{8}" + re.escape(DRAFT)  # as `tempfile` ends names
RUN_SUFFIX = ".run"  # behind a detector's name: the folder beside it in which it is trained

# Weights from this size on stay on disk until an array is looked at: of a network that runs from its graph,
# every worker would hold a copy that it never reads.
MAPPED_BYTES = 64 << 20
TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}  # safetensors' name of a number type → NumPy's


@dataclass(frozen=True, slots=True, eq=False)
class Artifact:
    """A detector folder in memory."""

    path: Path
    spec: dict[str, Any]  # detector.json
    arrays: dict[str, NDArray[Any]]
    digest: str  # 64 hexadecimal digits over the files a verdict depends on

    @property
    def name(self) -> str:
        """Name and the first twelve digits of the digest, as verdicts show it."""
        return f"{self.spec['name']}@{self.digest[:12]}"

    @property
    def graph(self) -> Path | None:
        """Where its graph lies; None where it has none, as a detector that is no network."""
        graph = self.path / GRAPH_FILE
        return graph if graph.is_file() else None


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of the files that a verdict depends on.

    Args:    folder: a detector folder.
    Returns: 64 hexadecimal digits.
    """
    total = hashlib.sha256()
    for name in DIGESTED:
        file = folder / name
        if file.is_file():
            with file.open("rb") as content:  # in chunks: a network's weights needn't fit into memory twice
                total.update(f"{name}\0{hashlib.file_digest(content, 'sha256').hexdigest()}\0".encode())
    return total.hexdigest()


def load(folder: Path | str) -> Artifact:
    """Read a detector folder.

    Args:    folder: where `detector.json` lies.
    Returns: the artifact, its arrays read-only; those of large weights are read when they are used.
    Raises:  ArtifactError: the folder is missing, incomplete, of another format, or unreadable.
    """
    from safetensors import SafetensorError

    folder = Path(folder)
    restore(folder)
    try:
        spec = json.loads((folder / SPEC_FILE).read_bytes())
        arrays = _arrays(folder / WEIGHTS_FILE)
        digest = folder_digest(folder)
    except FileNotFoundError as error:
        missing = Path(str(error.filename)).name
        raise ArtifactError(
            f"no detector at {folder}: {missing} is missing; a detector is a folder written by "
            "`tellsign train`, and `tellsign models` lists those that are installed"
        ) from error
    # KeyError: a number type that NumPy lacks. RecursionError: JSON nested deeper than any detector's.
    except (OSError, ValueError, KeyError, RecursionError, SafetensorError) as error:
        raise ArtifactError(
            f"the detector at {folder} cannot be read ({error!r}); copy or train it again"
        ) from error
    if not isinstance(spec, dict) or spec.get("format") != FORMAT:
        found = spec.get("format") if isinstance(spec, dict) else type(spec).__name__
        raise ArtifactError(
            f"the detector at {folder} has format {found!r}, this version reads {FORMAT}; "
            "train it again or install the version that wrote it"
        )
    for key, kind in (("name", str), ("kind", str), ("preprocessing", dict)):
        if not isinstance(spec.get(key), kind):
            raise ArtifactError(
                f"{folder / SPEC_FILE}: {key!r} should be a {kind.__name__}, found {spec.get(key)!r}; "
                "train the detector again"
            )
    for array in arrays.values():
        array.flags.writeable = False  # what was changed would score under the digest of what was read
    return Artifact(folder, spec, arrays, digest)


def _arrays(file: Path) -> dict[str, NDArray[Any]]:
    import numpy as np
    from safetensors import safe_open
    from safetensors.numpy import load as load_arrays

    if file.stat().st_size < MAPPED_BYTES:
        return load_arrays(file.read_bytes())
    with safe_open(file, framework="numpy"):
        pass  # the header is sound, and its arrays fill the file
    content = np.asarray(np.memmap(file, mode="r"))
    start = 8 + int.from_bytes(content[:8].tobytes(), "little")
    header = json.loads(content[8:start].tobytes())
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        begin, end = (start + offset for offset in entry["data_offsets"])
        arrays[name] = content[begin:end].view(TYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def check_target(folder: Path) -> None:
    """Refuse, before hours of training, a place where `save` would not write.

    Args:    folder: where a detector is to be written.
    Raises:  ArtifactError: it is a file, or a folder that holds anything but a detector.
    """
    try:
        found = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise ArtifactError(f"no detector can be written to {folder}: {error}") from error
    others = [name for name in found if name not in FILES]
    if found and (SPEC_FILE not in found or others):
        raise ArtifactError(
            f"{folder} exists and is not a detector folder alone, it holds {(others or found)[0]!a}; "
            "give another --output or remove it"
        )


def save(
    folder: Path,
    *,
    spec: Mapping[str, Any],
    arrays: Mapping[str, NDArray[np.generic]],
    graph: bytes | Path | None = None,
    card: str = "",
    licence: str = "",
) -> Artifact:
    """Write a detector folder, all of it or nothing.

    Args:    folder: where to write; an existing detector there is replaced.
             spec: the content of detector.json; `format` is added.
             arrays: name → array, stored in the order of their names.
             graph: content of graph.onnx, or a file to copy, which may be the one that is replaced.
             card: text of CARD.md.
             licence: text of the weights' own LICENSE.
    Returns: the artifact as `load` reads it back.
    Raises:  ArtifactError: the folder holds something that is not a detector, the content cannot be
             stored, or the folder cannot be written.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import save as save_arrays

    check_target(folder)
    try:
        # In ASCII, because the name of a data set may hold bytes that are no UTF-8.
        text = json.dumps({"format": FORMAT, **spec}, indent=2, allow_nan=False)
        # Not ascontiguousarray, which makes a scalar an array of one axis.
        ordered = {name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}
        weights = save_arrays(ordered)
    except (TypeError, ValueError, SafetensorError) as error:
        raise ArtifactError(f"the detector for {folder} holds what cannot be stored: {error}") from error
    target = folder.resolve()  # where `folder` is a link, it stays one
    restore(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=DRAFT, dir=target.parent))
        try:
            (draft / SPEC_FILE).write_text(text + "\n", encoding="ascii")
            (draft / WEIGHTS_FILE).write_bytes(weights)
            if isinstance(graph, bytes):
                (draft / GRAPH_FILE).write_bytes(graph)
            elif graph is not None:
                shutil.copyfile(graph, draft / GRAPH_FILE)
            if card:
                (draft / CARD_FILE).write_text(card, encoding="utf-8")
            if licence:
                (draft / LICENCE_FILE).write_text(licence, encoding="utf-8")
            draft.chmod(0o755)
            _put(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise ArtifactError(f"cannot write the detector to {folder}: {error}") from error
    return load(folder)


def restore(folder: Path) -> None:
    """Bring back the detector that a `save` was replacing when it was killed.

    Args:    folder: of a detector. Where one is, or none was being replaced, nothing happens.
    """
    with suppress(OSError, ValueError, RuntimeError):  # no such place, or another process was faster
        target = folder.resolve()
        if target.exists():
            return
        old = re.compile(re.escape(f".{target.name}-") + DRAFT_ENDS + re.escape(OLD))
        for path in target.parent.iterdir():
            # A draft beside it tells a save that was cut short from one whose rest was not cleared away.
            if old.fullmatch(path.name) and path.with_suffix("").exists():
                path.rename(target)
                return


def clear_drafts(folder: Path) -> None:
    """Remove what saves that were killed have left beside a detector, which is brought back first.

    Args:    folder: of the detector, to which nobody is writing.
    """
    restore(folder)
    with suppress(OSError, ValueError, RuntimeError):  # no such place
        target = folder.resolve()
        own = re.compile(re.escape(f".{target.name}-") + DRAFT_ENDS + f"({re.escape(OLD)})?")
        drafts = [path for path in target.parent.iterdir() if own.fullmatch(path.name)]
        if not target.exists() and any(path.suffix == OLD for path in drafts):
            return  # the detector could not be brought back, and is one of them
        for path in drafts:
            shutil.rmtree(path, ignore_errors=True)


def _put(draft: Path, target: Path) -> None:
    """Two renames. Killed between them, the old detector lies under a hidden name: see `restore`."""
    old = draft.with_name(f"{draft.name}{OLD}")
    while True:
        if target.exists():
            target.rename(old)
        try:
            draft.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            elif target.exists():
                continue  # a reader has brought the old one back between the two
            raise
        break
    shutil.rmtree(old, ignore_errors=True)
