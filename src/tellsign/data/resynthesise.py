"""Aligned pairs: each real image and what a network restored of it, alike in content, size and format.

    OUT/DATASET/real/000007.png    a real, cut to whole cells and written anew
    OUT/DATASET/fake/000007.png    its re-synthesis
    OUT/pairs.jsonl                one line a pair that is done, with checksums
    OUT/options.json               what a later run in this folder must agree with
    OUT/manifest.csv               both of each pair, in one group

The second run in a folder does what is left. Nothing but the network's trace tells the two of a pair apart,
as long as the reals bring no trace of their own: a real that was a JPEG file keeps its blocks in a PNG, and
its re-synthesis has none. Of such reals say a quality, which both are written with.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.data.manifest import Manifest, require_images
from tellsign.data.paths import safe_name
from tellsign.data.picture import picture
from tellsign.durable import write_file
from tellsign.features.residual import whole_cells
from tellsign.image.jpeg import eight_bit_picture, jpeg_bytes
from tellsign.lock import locked
from tellsign.types import FAKE, REAL, ConfigError, ImageError, ManifestError, OutputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.types import FloatArray, Sample

Restore = Callable[["FloatArray"], "FloatArray"]  # (3, H, W) in [0, 1] → (3, H, W)

MULTIPLE = 16  # pixels that both sides are a multiple of: every stage of a detector then sees the whole
OPTIONS, DONE, MANIFEST = "options.json", "pairs.jsonl", "manifest.csv"


@dataclass(frozen=True, slots=True)
class Pairs:
    """What `resynthesise` wrote and what it could not."""

    manifest: Manifest
    failed: tuple[tuple[Path, str], ...]  # path and reason
    n_unchanged: int  # pairs that an earlier run had written


@dataclass(frozen=True, slots=True)
class _Task:
    """One pair."""

    number: int  # in the manifest
    sample: Sample
    real: Path  # where both are written
    fake: Path


def resynthesise(
    manifest: Manifest,
    out: Path,
    restore: Restore,
    *,
    name: str,
    identity: str,
    quality: int | None = None,
    on_pair: Callable[[], None] = lambda: None,
) -> Pairs:
    """Write each real and its re-synthesis, as far as an earlier run has not.

    Args:    manifest: real images.
             out: folder for the pairs; continued where it holds pairs of the same manifest and options.
             restore: an image, both sides multiples of 16 → what the network makes of it; clipped here.
             name: of the network, which becomes the generator of the fakes.
             identity: of the network, so that no folder holds pairs of two.
             quality: both are JPEG files of this quality, chroma halved; None: PNG, without loss.
             on_pair: called after each pair.
    Returns: the manifest of what was written, with checksums, the splits of the reals, and a group for each
             pair: the real's own, or that of its video, where it has one. The reals that failed with their
             reasons.
    Raises:  ManifestError: a row is no real image or a video, samples lie in the output folder, or there is
             no pair at all.
             ConfigError: the folder was made with another manifest or other options, or quality is none.
             OutputError: another run is writing there, or it can't be written.
    """
    _require_reals(manifest, out)
    suffix = ".png" if quality is None else ".jpg"
    tasks = [_task(number, sample, out, suffix) for number, sample in enumerate(manifest)]
    options = {"network": identity, "quality": quality, "manifest": _row_digest(manifest)}
    with locked(out):
        _begin(out, options)
        known = _known(out / DONE)
        rows: list[Sample] = []
        failed: list[tuple[Path, str]] = []
        n_unchanged = 0
        for task in tasks:
            sums = known.get(task.number)
            if sums is None or not _is_there(task, sums):
                try:
                    sums = _written(task, restore, out, quality)
                except ImageError as error:
                    failed.append((task.sample.path, str(error)))
                    sums = None
            else:
                n_unchanged += 1
            if sums is not None:
                rows += _pair(task, sums, name)
            on_pair()
    if not rows:
        raise ManifestError(f"none of the {len(manifest)} images could be used; the first: {failed[0][1]}")
    return Pairs(Manifest(tuple(rows)), tuple(failed), n_unchanged)


def _require_reals(manifest: Manifest, out: Path) -> None:
    require_images(manifest)
    if not manifest:
        raise ManifestError("the manifest has no rows: there is nothing to re-synthesise")
    others = [sample for sample in manifest if sample.label != REAL]
    if others:
        raise ManifestError(
            f"{len(others)} of {len(manifest)} rows are not real, e.g. {str(others[0].path)!a}; pairs are "
            "made of real images alone: leave the others out (--only-real)"
        )
    inside = out.resolve()
    for folder in sorted({sample.path.parent for sample in manifest}):
        if folder.resolve().is_relative_to(inside):
            raise ManifestError(f"samples lie in the output folder, in {str(folder)!a}; give another output")


def _task(number: int, sample: Sample, out: Path, suffix: str) -> _Task:
    folder = out / (safe_name(sample.dataset) or "images")
    file = f"{number:06d}{suffix}"
    return _Task(number, sample, folder / "real" / file, folder / "fake" / file)


def _row_digest(manifest: Manifest) -> str:
    """Of rows in their order, by which files are numbered."""
    rows = [[str(sample.path), sample.sha256, sample.dataset] for sample in manifest]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _begin(out: Path, options: dict[str, Any]) -> None:
    """Write down the options of the first run, or compare with them."""
    path = out / OPTIONS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if out.exists() and any(not entry.name.startswith(".") for entry in out.iterdir()):
            raise ConfigError(
                f"{out} is not empty and holds no pairs of an earlier run ({OPTIONS}); give another folder"
            ) from None
        try:
            out.mkdir(parents=True, exist_ok=True)
            write_file(path, json.dumps(options).encode())
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
        return
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; give another folder") from error
    if found != options:
        other = found if isinstance(found, dict) else {}
        names = [name for name in options if other.get(name) != options[name]]
        raise ConfigError(
            f"{out} holds pairs that were made with another {' and another '.join(names) or 'program'}; give "
            "another folder"
        )


def _known(path: Path) -> dict[int, dict[str, str]]:
    """Number of a pair → its checksums, of what earlier runs have written."""
    found: dict[int, dict[str, str]] = {}
    if not path.exists():
        return found
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            found[int(row["pair"])] = {key: str(row[key]) for key in ("source", "real", "fake")}
        except (ValueError, TypeError, KeyError):
            continue  # the end of a line was lost when a run was killed: the pair is made again
    return found


def _is_there(task: _Task, sums: dict[str, str]) -> bool:
    files = (task.sample.path, sums["source"]), (task.real, sums["real"]), (task.fake, sums["fake"])
    return all(_sha256(path) == expected for path, expected in files)


def _sha256(path: Path) -> str:
    """Of a file; empty where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _written(task: _Task, restore: Restore, out: Path, quality: int | None) -> dict[str, str]:
    """Make a pair and write it → its checksums. Raises ImageError where the real can't be used."""
    source = picture(task.sample)
    real = np.ascontiguousarray(whole_cells(source.array, MULTIPLE))
    fake = restored(real, restore)
    contents = [_content(array, quality) for array in (real, fake)]
    sums = {"source": source.meta.sha256}
    try:
        for key, path, content in zip(("real", "fake"), (task.real, task.fake), contents, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.parent.resolve().is_relative_to(out.resolve()):
                raise ManifestError(f"{path.parent} is a link that leads out of the output folder; remove it")
            sums[key] = write_file(path, content, lasting=False)
        with (out / DONE).open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps({"pair": task.number} | sums))  # behind a line that was cut off
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror or error}") from error
    return sums


def restored(real: NDArray[np.float32], restore: Restore) -> NDArray[np.float32]:
    """What a network makes of an image, as an image.

    Args:    real: (3, H, W) in [0, 1]. restore: the network.
    Returns: (3, H, W) float32 in [0, 1]; what overshoots is clipped.
    Raises:  ImageError: the network gives another size, or what is no finite number.
    """
    found = np.asarray(restore(real), np.float32)
    if found.shape != real.shape:
        raise ImageError(f"the re-synthesiser made {found.shape} of {real.shape}; expected the same shape")
    if not np.isfinite(found).all():
        raise ImageError("the re-synthesiser gives what is no finite number; train it again")
    return np.clip(found, 0, 1)


def _content(array: NDArray[np.float32], quality: int | None) -> bytes:
    if quality is not None:
        return jpeg_bytes(array, quality)
    stream = io.BytesIO()
    eight_bit_picture(array).save(stream, "PNG")
    return stream.getvalue()


def _pair(task: _Task, sums: dict[str, str], name: str) -> tuple[Sample, Sample]:
    own = task.sample
    group = own.group or own.video or f"{safe_name(own.dataset) or 'images'}-{task.number:06d}"
    real = replace(own, path=task.real, sha256=sums["real"], group=group, generator="")
    return real, replace(real, path=task.fake, sha256=sums["fake"], label=FAKE, generator=name)
