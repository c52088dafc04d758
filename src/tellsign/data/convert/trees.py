"""What the converters share: reading trees and lists with errors that name what was expected and found."""

from __future__ import annotations

import csv
import json
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tellsign.data.manifest import LABEL_NAMES, Manifest
from tellsign.data.paths import walked
from tellsign.image import sniff
from tellsign.types import FAKE, REAL, ConfigError, ManifestError, Sample
from tellsign.video import VIDEO_SUFFIXES

Warn = Callable[[str], None]

IMAGES = frozenset(sniff.SUFFIXES)
VIDEOS = VIDEO_SUFFIXES
MEDIA = IMAGES | VIDEOS


def unheard(text: str) -> None:
    """A `warn` that nobody listens to."""


def wrong_tree(root: Path, tree: str, why: str) -> ManifestError:
    """The error for a folder that is laid out otherwise.

    Args:    root: the folder.
             tree: what was expected, one path a line.
             why: what is missing or wrong.
    Returns: an error that shows both.
    """
    expected = "\n".join(f"  {line}" for line in tree.strip().split("\n"))
    return ManifestError(f"{str(root)!a}: {why}\nexpected below it:\n{expected}\nfound:\n  {_found(root)}")


def _found(root: Path, n: int = 12) -> str:
    """The first entries of a folder, one level deeper for its first folders."""
    if not root.is_dir():
        return "a file" if root.exists() else "no such folder"
    entries = list(_entries(root))
    shown = []
    for name, is_folder in entries[:n]:
        below = [child + "/" * deeper for child, deeper in _entries(root / name)][:3] if is_folder else []
        inside = f" ({', '.join(below)} …)" if below else " (empty)" if is_folder else ""
        shown.append(f"{name}{'/' if is_folder else ''}{inside}")
    more = [f"… and {len(entries) - n} more"] if len(entries) > n else []
    return "\n  ".join([*shown, *more]) or "an empty folder"


def _entries(folder: Path) -> Iterator[tuple[str, bool]]:
    try:
        with os.scandir(folder) as entries:
            yield from sorted((ascii(e.name)[1:-1], e.is_dir()) for e in entries)
    except OSError as error:
        yield f"cannot be read: {error.strerror}", False


def child(folder: Path, *names: str) -> Path | None:
    """The first entry of a folder that has one of some names, in any case; None where there is none."""
    if not folder.is_dir():
        return None
    entries = {entry.name.lower(): entry for entry in sorted(folder.iterdir(), reverse=True)}
    for name in names:
        if (folder / name).exists():
            return folder / name
        if name.lower() in entries:
            return entries[name.lower()]
    return None


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, hidden ones left out, in the order of their names."""
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]


def files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Every file below a folder that has one of some suffixes.

    Args:    folder: walked recursively, links included; a loop is not entered again.
             suffixes: lower case with the dot.
    Returns: the files in the order of their paths. Names that begin with a dot are left out: archives made
             on a Mac hold a `._NAME` beside each NAME.
    Raises:  ManifestError: a folder can't be read.
    """
    return [path for path in walked(folder) if path.suffix.lower() in suffixes]


def read_text(path: Path) -> str:
    """A list's text. Raises ManifestError where it can't be read."""
    try:
        return path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise ManifestError(f"{str(path)!a} cannot be read: {error.strerror}") from error


def read_json(path: Path) -> Any:
    """What a JSON file says.

    Args:    path: of the file.
    Returns: its value.
    Raises:  ManifestError: it can't be read, is no JSON (the line is named), or names something twice.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ManifestError(f"{str(path)!a} names {twice!a} twice; which one counts is not known")
        return value

    try:
        return json.loads(read_text(path), object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ManifestError(
            f"{str(path)!a}, line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}; "
            "the download may be cut off"
        ) from error
    except RecursionError as error:
        raise ManifestError(f"{str(path)!a}: not a list of samples: nested too deeply") from error


def read_rows(path: Path, *columns: str) -> Iterator[tuple[int, list[str]]]:
    """Rows of a list whose cells are separated by blanks or, in a `.csv`, by commas.

    Args:    path: of the list; empty lines are passed over.
             columns: what a row holds, for the message; a `.csv` may begin with a header.
    Returns: (line number, cells), lazily.
    Raises:  ManifestError: the list can't be read, or a line has another number of cells.
    """
    commas = path.suffix.lower() == ".csv"
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        if not text.strip():
            continue
        cells = next(csv.reader([text])) if commas else text.split(maxsplit=len(columns) - 1)
        if len(cells) != len(columns):
            raise ManifestError(
                f"{str(path)!a}, line {line}: expected {' and '.join(columns)}, found {text[:80]!a}"
            )
        yield line, [cell.strip() for cell in cells]


def components(links: Iterable[tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Name → every name that it is linked with, directly or through others, itself included.

    Args:    links: names that belong together; a single name is a link to itself.
    Returns: names → sorted members.

    Example:
        >>> components([("a", "b"), ("c",), ("b", "d")])["d"]
        ('a', 'b', 'd')
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = name = parent[parent[name]]
        return name

    for link in links:
        for name in link:
            parent[root(name)] = root(link[0])
    members: dict[str, list[str]] = defaultdict(list)
    for name in sorted(parent):
        members[root(name)].append(name)
    return {name: tuple(members[root(name)]) for name in parent}


def manifest(
    samples: Iterable[Sample],
    root: Path,
    tree: str,
    *,
    classes: Collection[int] = (REAL, FAKE),
    warn: Warn = unheard,
) -> Manifest:
    """Samples as a manifest, once they are found to hold together.

    Args:    samples: what was found.
             root: of the data set, for messages.
             tree: what was expected, for messages.
             classes: labels that each data set among the samples must have.
             warn: called where a split of a data set lacks one of them.
    Returns: the manifest.
    Raises:  ManifestError: there is nothing, a class is missing, or a group is in two splits.
    """
    rows = tuple(samples)
    if not rows:
        raise wrong_tree(root, tree, "there is no file of the data set in it")
    for dataset in sorted({sample.dataset for sample in rows}):
        labels = {sample.label for sample in rows if sample.dataset == dataset}
        if missing := [LABEL_NAMES[label] for label in classes if label not in labels]:
            there = sum(sample.dataset == dataset for sample in rows)
            raise wrong_tree(root, tree, f"{dataset} has {there} files, but no {missing[0]} ones")
    check_groups(rows)
    _warn_of_classes(rows, classes, warn)
    return Manifest(rows)


def _warn_of_classes(rows: Iterable[Sample], classes: Collection[int], warn: Warn) -> None:
    held: dict[tuple[str, str], set[int]] = defaultdict(set)
    for sample in rows:
        if sample.label is not None:  # test sets come without labels
            held[sample.dataset, sample.split].add(sample.label)
    for (dataset, split), labels in sorted(held.items()):
        if missing := [LABEL_NAMES[label] for label in classes if label not in labels]:
            where = f"its split {split}" if split else "what has no split"
            warn(f"{dataset}: there is nothing {missing[0]} in {where}; nothing can be told apart in it")


def check_groups(samples: Iterable[Sample]) -> None:
    """Raises ManifestError where a file is named twice or a group is in two splits."""
    first: dict[str, Sample] = {}
    paths = set()
    for sample in samples:
        where = os.path.normpath(sample.path)
        if where in paths:
            raise ManifestError(f"{os.fsdecode(sample.path)!a} is in the data set twice")
        paths.add(where)
        if sample.group:
            other = first.setdefault(sample.group, sample)
            if other.split != sample.split:
                raise ManifestError(
                    f"the group {sample.group!a} is in two splits: {os.fsdecode(other.path)!a} in "
                    f"{other.split or 'none'}, {os.fsdecode(sample.path)!a} in {sample.split or 'none'}; "
                    "the official lists contradict the names of the files"
                )


def compare_counts(found: Mapping[str, int], published: Mapping[str, int], warn: Warn) -> None:
    """Warns where a part of a data set has another number of files than was published.

    Args:    found: part → number of files.
             published: part → number of files; parts that were not found at all are passed over.
             warn: called once, with all of them.
    """
    differing = [
        f"{name} {found[name]:,} of {n:,}" for name, n in published.items() if found.get(name, n) != n
    ]
    if differing:
        warn(f"not the published number of files: {', '.join(differing)}")


def few(names: Collection[str], n: int = 3) -> str:
    """The first of some names, and how many more there are."""
    first = ", ".join(ascii(name)[1:-1] for name in sorted(names)[:n])
    return first + (f" and {len(names) - n} more" if len(names) > n else "")


def choices(text: str, option: str, allowed: Collection[str]) -> list[str]:
    """The names in a text, separated by commas; all that are allowed where it is empty.

    Args:    text: the value of an option.
             option: its name, for the message.
             allowed: names that may stand in it; case does not matter.
    Returns: names as they stand in `allowed`, in that order.
    Raises:  ConfigError: another name stands in it.
    """
    known = {name.lower(): name for name in allowed}
    wanted = [part.strip().lower() for part in text.split(",") if part.strip()]
    if unknown := [name for name in wanted if name not in known]:
        raise ConfigError(f"{option} takes {', '.join(allowed)}, found {unknown[0]!a}")
    return [name for name in allowed if not wanted or name.lower() in wanted]


def choice(text: str, option: str, allowed: Collection[str]) -> str:
    """One of some names. Raises ConfigError for any other."""
    if text not in allowed:
        raise ConfigError(f"{option} takes {', '.join(allowed)}, found {text!a}")
    return text


def given_file(text: str, option: str) -> Path | None:
    """The file or folder that an option names; None where it is empty. Raises ConfigError: it isn't there."""
    if not text:
        return None
    if not Path(text).exists():
        raise ConfigError(f"{option}: there is no {text!a}")
    return Path(text)
