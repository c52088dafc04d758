"""Builds a manifest from real/ and fake/ folders, or from another project's CSV."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePath

from tellsign.data.manifest import COLUMNS, LABEL_NAMES, LABELS, Manifest, csv_rows, from_rows
from tellsign.data.paths import SPLIT_NAMES, walked
from tellsign.types import FAKE, REAL, ConfigError, ManifestError, Sample

# The CNNDetection layout names its folders 0_real and 1_fake.
FOLDER_LABELS = {"real": REAL, "fake": FAKE, "0_real": REAL, "1_fake": FAKE}
# Columns of other projects' tables that say the same as ours.
COLUMN_SYNONYMS = {"source": "dataset", "split_hint": "split", "method": "generator"}
MEND = "give --label-of 1=real --label-of 0=fake"
NUMERIC = ("0", "1")  # labels that some tables mean the other way round


class NothingFoundError(ManifestError):
    """A folder holds no file below a folder named real or fake."""


def index_folder(
    root: Path,
    *,
    suffixes: frozenset[str],
    checksums: bool = False,
    on_skip: Callable[[Path], None] = lambda path: None,
) -> Manifest:
    """A manifest of every image below folders named real and fake.

    The label is the nearest such folder above a file. A folder named train, val, test and the like right
    above or below that one is the split. `dataset` is the folder above, and a folder below fake/ names the
    generator. Groups are not guessed: fill the column in where images share a source, or a split will tear
    them apart. Names that begin with a dot are left out.

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
    for path in walked(root):
        parts = path.relative_to(root).parts[:-1]
        marks = [i for i, part in enumerate(parts) if part.lower() in FOLDER_LABELS]
        if not marks or path.suffix.lower() not in suffixes:
            on_skip(path)
            continue
        label = FOLDER_LABELS[parts[marks[-1]].lower()]
        above, below = parts[: marks[-1]], parts[marks[-1] + 1 :]
        split = ""
        if above and above[-1].lower() in SPLIT_NAMES:
            above, split = above[:-1], SPLIT_NAMES[above[-1].lower()]
        elif below and below[0].lower() in SPLIT_NAMES:
            below, split = below[1:], SPLIT_NAMES[below[0].lower()]
        samples.append(
            Sample(
                path=path,
                label=label,
                dataset=above[-1] if above else root.resolve().name,
                generator=below[0] if label == FAKE and below else "",
                split=split,
            )
        )
    if not samples:
        raise NothingFoundError(
            f"found no images below folders named real and fake in {str(root)!a}; "
            "expected e.g. real/a.jpg and fake/GENERATOR/b.jpg"
        )
    manifest = Manifest(tuple(samples))
    return with_checksums(manifest) if checksums else manifest


def index_csv(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    skip_labels: Iterable[str] = (),
    label_of: Mapping[str, str] | None = None,
    suffixes: frozenset[str] | None = None,
    checksums: bool = False,
    warn: Callable[[str], None] = lambda text: None,
    on_skip: Callable[[Path], None] = lambda path: None,
) -> Manifest:
    """A manifest from a CSV whose columns have other names.

    `source`, `split_hint` and `method` are read as dataset, split and generator, and splits in any case and
    by their other names, such as Val and testing. The label 0 is read as real and 1 as fake unless `label_of`
    says otherwise, since some tables mean the contrary.

    Args:    path: the CSV; its paths are relative to its folder.
             columns: our column → theirs, for what has another name still.
             skip_labels: rows with these labels are left out.
             label_of: the table's word → real or fake.
             suffixes: take only files with these suffixes; None takes all.
             checksums: hash every file and compare with the table's sha256 where it has one.
             warn: called with what a reader should know: how numbers were read as labels, and splits that are
                 not understood and were left empty.
             on_skip: called with the file of each row that is left out.
    Returns: the manifest, in the table's order.
    Raises:  ManifestError: as `manifest.read`, for a checksum that differs, and for a label 0 or 1 that
                 contradicts a folder named real or fake in the row's path.
             ConfigError: `label_of` is no mapping to real and fake.
    """
    words = _label_words(label_of or {})
    skipped = set(skip_labels)
    rows = []
    names: dict[str, str] = {}
    numeric: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for line, row in csv_rows(path):
        names = names or _column_names(path, row.keys(), columns or {})
        mapped = {ours: row.get(their, "") for ours, their in names.items()}
        is_other = suffixes is not None and Path(mapped["path"]).suffix.lower() not in suffixes
        if mapped["label"] in skipped or is_other:
            on_skip(path.parent / mapped["path"])
            continue
        if mapped["label"] in words:
            mapped["label"] = words[mapped["label"]]
        elif mapped["label"] in NUMERIC:
            _check_against_folder(mapped["path"], mapped["label"], f"{path}, line {line}")
            numeric[mapped["label"]] += 1
        split = mapped["split"].strip().lower()
        if split and split not in SPLIT_NAMES:
            lost[mapped["split"]] += 1
        mapped["split"] = SPLIT_NAMES.get(split, "")
        rows.append((line, mapped))
    manifest = from_rows(rows, root=path.parent, name=str(path))
    _warn_of_readings(numeric, lost, warn)
    return with_checksums(manifest) if checksums else manifest


def _warn_of_readings(numeric: Counter[str], lost: Counter[str], warn: Callable[[str], None]) -> None:
    """Says how many labels were numbers, and how many splits nobody understands."""
    if numeric:
        read = " and ".join(f"{word} was read as {LABEL_NAMES[LABELS[word]]}" for word in sorted(numeric))
        warn(f"{read} in {sum(numeric.values())} rows; {MEND} where the table means the contrary")
    if lost:
        named = ", ".join(f"{n} with {word[:40]!a}" for word, n in lost.most_common(5))
        warn(
            f"{sum(lost.values())} rows have a split that is not understood, and are not split: {named}; "
            f"understood are {', '.join(SPLIT_NAMES)}"
        )


def _label_words(label_of: Mapping[str, str]) -> dict[str, str]:
    """The mapping, checked: where one of 0 and 1 has another meaning, so must the other."""
    for word, label in label_of.items():
        if label not in {"real", "fake"}:
            raise ConfigError(f"a label {word!a} is to be read as {label!a}; expected real or fake")
    if len(given := set(label_of) & set(NUMERIC)) == 1:
        raise ConfigError(f"label {given.pop()} is given a meaning; give both, e.g. 1=real and 0=fake")
    return dict(label_of)


def _check_against_folder(text: str, label: str, where: str) -> None:
    """Raises ManifestError where a folder in a row's own path says the contrary of its label."""
    folders = [part for part in PurePath(text.replace("\\", "/")).parts[:-1] if part.lower() in FOLDER_LABELS]
    if folders and FOLDER_LABELS[folders[-1].lower()] != LABELS[label]:
        raise ManifestError(
            f"{where}: the label {label} is read as {LABEL_NAMES[LABELS[label]]}, but the file lies in the "
            f"folder {folders[-1]!a}: {text!a}. {MEND}, or --label-of 1=fake --label-of 0=real where the "
            "folder means something else"
        )


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
