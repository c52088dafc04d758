"""The manifest: one row per image, checked when it is read.

A CSV with a header. `path` and `label` (real, fake or empty) are needed; `dataset`, `generator`,
`group`, `video`, `frame`, `split` and `sha256` are optional, other columns are kept out. Paths are
relative to the manifest's folder.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import overload

from tellsign.groups import sources
from tellsign.types import FAKE, REAL, ManifestError, Sample

COLUMNS = tuple(field.name for field in fields(Sample))
LABELS = {"real": REAL, "fake": FAKE, "0": REAL, "1": FAKE, "": None}
LABEL_NAMES = {REAL: "real", FAKE: "fake", None: ""}
SPLITS = ("train", "valid", "test", "")
SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Manifest(Sequence[Sample]):
    """An immutable sequence of samples; every method returns a new one."""

    samples: tuple[Sample, ...]

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Manifest: ...
    def __getitem__(self, index: int | slice) -> Sample | Manifest:
        if isinstance(index, slice):
            return Manifest(self.samples[index])
        return self.samples[index]

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    @property
    def labels(self) -> list[int]:
        """0 or 1 per sample. Raises ManifestError where a label is unknown."""
        found = [sample.label for sample in self.samples if sample.label is not None]
        if len(found) != len(self.samples):
            missing = next(sample.path for sample in self.samples if sample.label is None)
            raise ManifestError(f"{str(missing)!a} has no label; give real or fake, or filter it out")
        return found

    def filter(
        self,
        predicate: Callable[[Sample], bool] | None = None,
        /,
        **columns: str | float | Path | Iterable[str | float | Path | None] | None,
    ) -> Manifest:
        """The samples that satisfy everything asked.

        Args:    predicate: a function of a sample.
                 columns: column = value, or column = several allowed values.
        Returns: a manifest in the same order.
        Raises:  ManifestError: there is no such column.

        Example:
            >>> real, fake = Sample(Path("a.png"), 0), Sample(Path("b.png"), 1)
            >>> len(Manifest((real, fake)).filter(label=0))
            1
        """
        unknown = sorted(set(columns) - set(COLUMNS))
        if unknown:
            raise ManifestError(f"no column {unknown[0]!r} in a manifest; there are {', '.join(COLUMNS)}")
        allowed = {
            name: {value} if value is None or isinstance(value, (str, int, float, Path)) else set(value)
            for name, value in columns.items()
        }
        return Manifest(
            tuple(
                sample
                for sample in self.samples
                if (predicate is None or predicate(sample))
                and all(getattr(sample, name) in values for name, values in allowed.items())
            )
        )

    def digest(self) -> str:
        """SHA-256 over content hash, label, group and split of every sample, in any order.

        A file without a checksum is known by its path below the folder that all samples share, so that a
        data set that was moved keeps its digest. Data sets, generators and videos are no part of it.
        """
        root = common_folder(self.samples)
        rows = sorted(
            "\0".join((s.sha256 or os.path.relpath(s.path, root), LABEL_NAMES[s.label], s.group, s.split))
            for s in self.samples
        )
        return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()

    def evenly(self, n: int) -> Manifest:
        """At most n samples, evenly over the manifest, the same every time."""
        import numpy as np

        rows = np.unique(np.linspace(0, len(self) - 1, min(len(self), n)).astype(int))
        return Manifest(tuple(self.samples[row] for row in rows.tolist()))

    def split(self, parts: Mapping[str, float], *, seed: int) -> dict[str, Manifest]:
        """Parts that no group crosses, with the share of each data set and label kept.

        See `tellsign.data.splitting`. Without a group the frames of a video are one, and any other sample is
        a group of its own.

        Args:    parts: name → share; the shares add up to 1.
                 seed: of the shuffle.
        Returns: name → manifest; each sample's `split` says its part.
        Raises:  ManifestError: the shares don't add up to 1, the seed is negative, or a part stays empty.
        """
        from tellsign.data.splitting import parts_by_source

        places = parts_by_source(self.samples, parts, seed=seed)
        return {
            name: Manifest(
                tuple(
                    replace(sample, split=name)
                    for sample, place in zip(self.samples, places, strict=True)
                    if place == name
                )
            )
            for name in parts
        }


def common_folder(samples: Iterable[Sample]) -> str:
    """The deepest folder that holds all samples.

    Args:    samples: of a manifest.
    Returns: an absolute path, links in it as they are; empty without samples.
    """
    folders = {os.path.abspath(sample.path.parent) for sample in samples}  # noqa: PTH100 - links stay
    return os.path.commonpath(folders) if folders else ""


def require_images(manifest: Manifest) -> None:
    """Raises ManifestError where rows are videos by their names, which what reads images can't take."""
    from tellsign.video import VIDEO_SUFFIXES

    n_videos = sum(sample.path.suffix.lower() in VIDEO_SUFFIXES for sample in manifest)
    if n_videos:
        raise ManifestError(
            f"{n_videos} of {len(manifest)} rows are videos: run `tellsign data faces MANIFEST -o crops` and "
            "audit crops/manifest.csv, which every other command takes too; or leave them out with "
            "`tellsign data index SOURCE --no-videos -o MANIFEST`"
        )


def require_both_classes(manifest: Manifest, what: str) -> None:
    """Raises ManifestError where labelled samples are of one class alone, or there are none.

    Args:    manifest: the samples. what: they are, for the message.
    """
    found = set(manifest.labels)
    if found != {REAL, FAKE}:
        names = " and ".join(f"{LABEL_NAMES[label]}s" for label in sorted(found)) or "nothing"
        raise ManifestError(
            f"{what} needs reals and fakes, found {len(manifest)} rows with {names}; give more groups of "
            "both, and see `tellsign data split`"
        )


def read(path: Path | str, *, check_files: bool = True, check_splits: bool = True) -> Manifest:
    """Read a manifest and check it.

    Args:    path: a CSV file; its paths are relative to its folder.
             check_files: also check that every file exists.
             check_splits: also check that no group, and no video without one, lies in several splits.
    Returns: the samples, paths joined to the manifest's folder.
    Raises:  ManifestError: the file is not a manifest, or rows break the rules; up to ten are
             named with their line numbers.
    """
    path = Path(path)
    return from_rows(
        _rows(path), root=path.parent, name=str(path), check_files=check_files, check_splits=check_splits
    )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    for line, row in csv_rows(path):
        if not {"path", "label"} <= row.keys():
            found = ", ".join(row)[:200]
            raise ManifestError(f"{path}, line 1: a manifest's header has path and label; found {found!a}")
        yield line, row


def csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV with a header.

    Args:    path: of the file; bytes that are not UTF-8 are kept as Python keeps those of file names.
    Returns: (number of the line on which the row ends, column → text, empty where a row is short), lazily.
    Raises:  ManifestError: the file cannot be read, or is no CSV with a header; the line is named.
    """
    line = 0
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file, restval="", strict=True)
            header = list(reader.fieldnames or ())
            if not header:
                raise ManifestError(f"{path} is empty; a table begins with the names of its columns")
            if twice := [name for name in header if header.count(name) > 1]:
                raise ManifestError(f"{path}, line 1: there are two columns {twice[0]!a}; rename one")
            line = reader.line_num
            for row in reader:
                line = reader.line_num
                if None in row:
                    raise ManifestError(
                        f"{path}, line {line}: {len(header) + len(row[None])} cells, the header has "
                        f"{len(header)}; put quotes around a name with a comma in it"
                    )
                yield line, row
    except csv.Error as error:
        raise ManifestError(f"{path}, after line {line}: cannot be read as CSV: {error}") from error
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error}") from error


def from_rows(
    rows: Iterable[tuple[int, Mapping[str, str]]],
    *,
    root: Path,
    name: str,
    check_files: bool = True,
    check_splits: bool = True,
) -> Manifest:
    """Samples from numbered rows of text, checked against every rule of a manifest.

    Args:    rows: (line number, column → text).
             root: what relative paths are relative to.
             name: of the table, for messages.
             check_files: also check that every file exists.
             check_splits: also check that no group, and no video without one, lies in several splits.
    Returns: the manifest.
    Raises:  ManifestError: as for `read`.
    """
    faults: list[str] = []
    samples: list[Sample] = []
    first_line: dict[str, int] = {}
    source_split: dict[str, tuple[str, int]] = {}
    for line, row in rows:
        sample, fault = _sample(row, root)
        where = os.path.normpath(sample.path)
        if not fault and where in first_line:
            fault = f"the path {row['path']!a} stands on line {first_line[where]} already"
        # Not Path.is_file, which raises where a name is too long for the file system.
        if not fault and check_files and not os.path.isfile(sample.path):  # noqa: PTH113
            fault = f"there is no file {os.fsdecode(sample.path)!a}"
        if not fault and check_splits and sample.split and (source := sources([sample])[0]):
            seen = source_split.setdefault(source, (sample.split, line))
            if seen[0] != sample.split:
                what = f"group {sample.group!a}" if sample.group else f"video {source!a}"
                fault = (
                    f"{what} is in split {sample.split} here and in {seen[0]} on line {seen[1]}; a group, or "
                    "a video without one, stays in one split; `tellsign data split --anew` splits all again"
                )
        first_line.setdefault(where, line)
        if fault:
            faults.append(f"  line {line}: {fault}")
        samples.append(sample)
    if faults:
        more = f"\n  … and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise ManifestError(f"{name} has {len(faults)} bad rows:\n" + "\n".join(faults[:10]) + more)
    if not samples:
        raise ManifestError(f"{name} has no rows")
    return Manifest(tuple(samples))


def _sample(row: Mapping[str, str], root: Path) -> tuple[Sample, str]:
    """A sample and what is wrong with its row, or an empty string."""
    text = {column: row.get(column, "") or "" for column in COLUMNS}
    fault = ""
    if not text["path"]:
        fault = "the path is empty"
    if text["label"] not in LABELS:
        fault = (
            f"unknown label {text['label']!a}; expected real, fake or nothing "
            "(`tellsign data index` leaves rows out with --skip-label)"
        )
    if text["split"] not in SPLITS:
        fault = f"unknown split {text['split']!a}; expected train, valid, test or nothing"
    frame = None
    if text["frame"]:
        try:
            frame = float(text["frame"])
        except ValueError:
            frame = math.nan
        if not math.isfinite(frame):
            fault = f"frame {text['frame']!a} is not a time in seconds"
    checksum = text["sha256"].lower()
    if checksum and not SHA256.fullmatch(checksum):
        fault = f"sha256 {text['sha256']!a} is not 64 hexadecimal digits"
    sample = Sample(
        path=root / text["path"],
        label=LABELS.get(text["label"]),
        dataset=text["dataset"],
        generator=text["generator"],
        group=text["group"],
        video=text["video"],
        frame=frame,
        split=text["split"] if text["split"] in SPLITS else "",
        sha256=checksum,
    )
    return sample, fault


def as_row(sample: Sample, folder: Path) -> dict[str, str]:
    """A sample as a row of text.

    Args:    sample: of a manifest.
             folder: of the table, with its links resolved.
    Returns: column → text, in the order of the columns; the path is relative to the folder where it can be.
    """
    row = {column: getattr(sample, column) for column in COLUMNS}
    # Folders are resolved on both sides, since ".." behind a link leads out of its target.
    row["path"] = os.path.relpath(sample.path.parent.resolve() / sample.path.name, folder)
    row["label"] = LABEL_NAMES[sample.label]
    row["frame"] = "" if sample.frame is None else repr(float(sample.frame))
    return row


def write(manifest: Manifest, path: Path | str) -> None:
    """Write a manifest as CSV, with paths relative to its folder where they can be.

    Args:    manifest: the samples.
             path: of the CSV file; replaced when it exists.
    Raises:  ManifestError: the file cannot be written.
    """
    path = Path(path)
    folder = path.parent.resolve()
    draft = path.with_name(f".{path.name}.draft")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with draft.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            quoting_writer = csv.DictWriter(file, COLUMNS, lineterminator="\n", quoting=csv.QUOTE_ALL)
            writer.writeheader()
            for sample in manifest:
                row = as_row(sample, folder)
                # A lone carriage return ends a row when it is read, and csv does not quote it by itself.
                (quoting_writer if "\r" in "".join(row.values()) else writer).writerow(row)
        draft.replace(path)
    except (OSError, UnicodeError) as error:
        with suppress(OSError):
            draft.unlink()
        raise ManifestError(f"cannot write {path}: {error}") from error
