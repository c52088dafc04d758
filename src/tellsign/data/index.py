"""Builds a manifest from real/ and fake/ folders, or from another project's CSV."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from tellsign.data.manifest import COLUMNS, SPLITS, Manifest, csv_rows, from_rows
from tellsign.types import FAKE, REAL, ManifestError, Sample

# The CNNDetection layout names its folders 0_real and 1_fake.
FOLDER_LABELS = {"real": REAL, "fake": FAKE, "0_real": REAL, "1_fake": FAKE}
# Columns of other projects' tables that say the same as ours.
COLUMN_SYNONYMS = {"source": "dataset", "split_hint": "split", "method": "generator"}
SPLIT_SYNONYMS = {"val": "valid", "validation": "valid", "dev": "valid"}


def index_folder(
    root: Path,
    *,
    suffixes: frozenset[str],
    checksums: bool = False,
    on_skip: Callable[[Path], None] = lambda path: None,
) -> Manifest:
    """A manifest of every image below folders named real and fake.

    The label is the nearest such folder above a file. `dataset` is the folder above that one, and a
    folder below fake/ names the generator. Groups are not guessed: fill the column in where images
    share a source, or a split will tear them apart.

    Args:    root: the folder to walk.
             suffixes: of the files to take, lower case with the dot.
             checksums: also hash every file.
             on_skip: called with each file that is not taken.
    Returns: samples in the order of their paths.
    Raises:  ManifestError: there is no real/ or fake/ folder, nothing in them, or a folder can't be read.
    """
    if not root.is_dir():
        raise ManifestError(f"{str(root)!a} is not a folder")
    samples = []
    visited = set()
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=_raise):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in visited:  # a link leads back to where we were
            subfolders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        subfolders.sort()
        for name in sorted(files):
            path = Path(folder, name)
            parts = path.relative_to(root).parts[:-1]
            marks = [i for i, part in enumerate(parts) if part.lower() in FOLDER_LABELS]
            if not marks or path.suffix.lower() not in suffixes:
                on_skip(path)
                continue
            mark = marks[-1]
            label = FOLDER_LABELS[parts[mark].lower()]
            below = parts[mark + 1 :]
            samples.append(
                Sample(
                    path=path,
                    label=label,
                    dataset=parts[mark - 1] if mark else root.resolve().name,
                    generator=below[0] if label == FAKE and below else "",
                )
            )
    if not samples:
        raise ManifestError(
            f"found no images below folders named real and fake in {str(root)!a}; "
            "expected e.g. real/a.jpg and fake/GENERATOR/b.jpg"
        )
    manifest = Manifest(tuple(samples))
    return with_checksums(manifest) if checksums else manifest


def _raise(error: OSError) -> None:
    raise ManifestError(f"cannot read the folder {str(error.filename)!a}: {error.strerror}") from error


def index_csv(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    skip_labels: Iterable[str] = (),
    suffixes: frozenset[str] | None = None,
    checksums: bool = False,
) -> Manifest:
    """A manifest from a CSV whose columns have other names.

    `source`, `split_hint` and `method` are read as dataset, split and generator, the splits val and
    validation as valid, and a split that is none of train, valid, test as not split.

    Args:    path: the CSV; its paths are relative to its folder.
             columns: our column → theirs, for what has another name still.
             skip_labels: rows with these labels are left out (say so: nothing is dropped in silence).
             suffixes: take only files with these suffixes; None takes all.
             checksums: hash every file and compare with the table's sha256 where it has one.
    Returns: the manifest, in the table's order.
    Raises:  ManifestError: as `manifest.read`, and for a checksum that differs.
    """
    skipped = set(skip_labels)
    rows = []
    names: dict[str, str] = {}
    for line, row in csv_rows(path):
        names = names or _column_names(path, row.keys(), columns or {})
        mapped = {ours: row.get(their, "") for ours, their in names.items()}
        if mapped["label"] in skipped:
            continue
        if suffixes is not None and Path(mapped["path"]).suffix.lower() not in suffixes:
            continue
        split = SPLIT_SYNONYMS.get(mapped["split"], mapped["split"])
        mapped["split"] = split if split in SPLITS else ""
        rows.append((line, mapped))
    manifest = from_rows(rows, root=path.parent, name=str(path))
    return with_checksums(manifest) if checksums else manifest


def _column_names(path: Path, header: Collection[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Our columns → theirs: as asked for, else by our own name, else by a known other name."""
    for ours, their in columns.items():
        if ours not in COLUMNS:
            raise ManifestError(f"no column {ours!r} in a manifest; there are {', '.join(COLUMNS)}")
        if their not in header:
            raise ManifestError(f"{path} has no column {their!a}; it has {', '.join(header)[:200]!a}")
    known = {ours: their for their, ours in COLUMN_SYNONYMS.items() if their in header and ours not in header}
    names = {column: column for column in COLUMNS} | known | dict(columns)
    if not {names["path"], names["label"]} <= set(header):
        raise ManifestError(
            f"{path} has no column {names['path']} or {names['label']}; it has "
            f"{', '.join(header)[:200]!a}. Name them with --column path=THEIRS"
        )
    return names


def with_checksums(manifest: Manifest) -> Manifest:
    """The same samples, each with the SHA-256 of its file.

    Args:    manifest: samples, with or without checksums.
    Returns: samples with checksums.
    Raises:  ManifestError: a file cannot be read, or differs from the checksum that it came with.
    """
    hashed = []
    for sample in manifest:
        try:
            with sample.path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ManifestError(f"cannot read {os.fsdecode(sample.path)!a}: {error}") from error
        if sample.sha256 and sample.sha256 != found:
            raise ManifestError(
                f"{os.fsdecode(sample.path)!a} has changed: its sha256 is {found}, "
                f"the manifest says {sample.sha256}"
            )
        hashed.append(replace(sample, sha256=found))
    return Manifest(tuple(hashed))
