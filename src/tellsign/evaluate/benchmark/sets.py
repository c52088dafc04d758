"""Entries of a benchmark's [data] → samples whose files are known by content, harmonised where asked."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import tellsign
from tellsign import __version__
from tellsign.data import Manifest, read, write
from tellsign.data.harmonise import harmonise
from tellsign.data.index import index_csv
from tellsign.data.manifest import COLUMNS, LABELS
from tellsign.types import FAKE, ConfigError, ManifestError
from tellsign.versions import package_versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tellsign.evaluate.benchmark.config import BenchmarkConfig, DataConfig, SourceConfig
    from tellsign.types import Sample

RECORD = "harmonised.json"  # what a folder of harmonised files was made from
# What pixels and scores depend on.
PIXEL_PACKAGES = ("array-api-compat", "dlib-bin", "numpy", "onnxruntime", "pillow", "scipy", "simplejpeg")
MAX_NAMED = 10
# Code of this package that no number depends on.
_PAGE = tuple(f"evaluate/benchmark/{name}.py" for name in ("page", "plots", "report", "sections", "tables"))
ONLY_SHOW = ("cli/", "explain/", "terminal.py", *_PAGE)


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """The samples of an entry."""

    name: str
    manifest: Manifest  # every sample with the checksum of its file
    failed: Mapping[Path, str] = field(default_factory=dict)  # what could not be harmonised, and why
    origins: Mapping[Path, str] = field(default_factory=dict)  # harmonised file → checksum of its source
    notes: tuple[str, ...] = ()  # how its tables were read, where that may not be how they were meant
    digest: str = field(init=False)  # of everything but the places and the sources of the files

    def __post_init__(self) -> None:
        failed = sorted((s.sha256, self.failed[s.path]) for s in self.manifest if s.path in self.failed)
        text = json.dumps([rows_digest(self.manifest), failed])
        object.__setattr__(self, "digest", hashlib.sha256(text.encode()).hexdigest())

    def contents(self, sample: Sample) -> tuple[str, str]:
        """Checksums by which a sample is known: of its file, and of what that was harmonised from."""
        return sample.sha256, self.origins.get(sample.path, sample.sha256)


def data_set(
    name: str, config: BenchmarkConfig, out: Path, *, say: Callable[[str], None] = lambda text: None
) -> DataSet:
    """The samples of one entry.

    Args:    name: of the entry.
             config: of the benchmark.
             out: its folder; harmonised files go to `out/data/NAME`, and are reused by the next run.
             say: told what happens, and how a table was read that could be meant otherwise.
    Returns: the samples, in the order of the sources.
    Raises:  ManifestError: a table breaks its rules, a file is missing or has changed, or nothing is left.
             ConfigError: an option can't be carried out.
    """
    entry = config.data[name]
    heard: list[str] = []
    parts = [_source(source, Path(config.root), name, heard.append) for source in entry.sources]
    notes = tuple(dict.fromkeys(heard))
    for note in notes:
        say(f"[data.{name}] {note}")
    manifest = Manifest(tuple(sample for part in parts for sample in part))
    places = [sample.path.resolve() for sample in manifest]
    if len(set(places)) < len(places):
        twice = next(path for path in places if places.count(path) > 1)
        raise ManifestError(f"[data.{name}] takes {str(twice)!a} from two sources; filter one of them")
    _ = manifest.labels  # refuses what has none
    found = DataSet(name, verified(manifest, name), notes=notes)
    if entry.harmonise is not None:
        found = _harmonised(found, entry, out / "data" / name, say)
    if entry.split:
        split = found.manifest.split(entry.split, seed=config.seed)
        found = replace(found, manifest=Manifest(tuple(s for part in split.values() for s in part)))
    return found


def capped(test: DataSet, n: int | None, *, seed: int) -> DataSet:
    """At most n samples a class, chosen by their content.

    Args:    test: samples with checksums.
             n: samples a class; None: all.
             seed: another one chooses others.
    Returns: the samples in their order.
    """
    if n is None:
        return test
    manifest = test.manifest

    def rank(sample: Sample) -> str:
        return hashlib.sha256(
            f"{seed}\0{sample.sha256}\0{sample.path.name}".encode(errors="replace")
        ).hexdigest()

    kept = set()
    for label in sorted(set(manifest.labels)):
        members = (s for s in manifest if s.label == label)
        kept |= {s.path for s in sorted(members, key=rank)[:n]}
    return replace(test, manifest=manifest.filter(lambda sample: sample.path in kept))


def rows_digest(manifest: Manifest) -> str:
    """SHA-256 over every column but the path, in order: what results may depend on."""
    columns = [name for name in COLUMNS if name != "path"]
    rows = (json.dumps([getattr(sample, name) for name in columns]) for sample in manifest)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def verified(manifest: Manifest, name: str) -> Manifest:
    """The same samples, each with the SHA-256 of its file.

    Args:    manifest: samples, with or without checksums.
             name: of the entry, for messages.
    Returns: samples with checksums.
    Raises:  ManifestError: files cannot be read, or differ from the checksum that they came with; up to ten
             are named.
    """
    hashed, faults = [], []
    for sample in manifest:
        try:
            with sample.path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            faults.append(f"{str(sample.path)!a} cannot be read: {error.strerror or error}")
            continue
        if sample.sha256 not in ("", found):
            faults.append(
                f"{str(sample.path)!a} has changed: its sha256 is {found}, the table says {sample.sha256}"
            )
        hashed.append(replace(sample, sha256=found))
    if faults:
        rest = f"\n  and {len(faults) - MAX_NAMED} more" if len(faults) > MAX_NAMED else ""
        raise ManifestError(
            f"[data.{name}]: {len(faults)} of {len(manifest)} files are not those of the table; bring them "
            "back, or index the data again:\n  " + "\n  ".join(faults[:MAX_NAMED]) + rest
        )
    return Manifest(tuple(hashed))


@lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """Of this package, its code included, and of what pixels and scores depend on."""
    return {"tellsign": __version__, "code": code_digest()[:12], **package_versions(PIXEL_PACKAGES)}


@lru_cache(maxsize=1)
def code_digest() -> str:
    """SHA-256 over this package's own code: a version says nothing of what was changed since."""
    return folder_digest(Path(tellsign.__file__).parent)


def folder_digest(folder: Path) -> str:
    """SHA-256 over names and contents of the .py files below a folder, but for those that only show."""
    paths = ((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*.py"))
    files = sorted((name, path) for name, path in paths if not name.startswith(ONLY_SHOW))
    parts = [[name, hashlib.sha256(path.read_bytes()).hexdigest()] for name, path in files]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _source(source: SourceConfig, root: Path, name: str, warn: Callable[[str], None]) -> Manifest:
    table = root / source.manifest

    def read_as(text: str) -> None:
        warn(f"{table.name!a} was read as `tellsign data index` reads it: {text}")

    rows = index_csv(table, columns=source.columns, skip_labels=source.skip_labels, warn=read_as)
    kept = rows.filter(lambda sample: _wanted(sample, source, table.parent))
    if not kept:
        raise ManifestError(
            f"[data.{name}]: none of the {len(rows)} rows of {table} passes the filters; it has the data "
            f"sets {_listed(s.dataset for s in rows)}, the generators {_listed(s.generator for s in rows)} "
            f"and the splits {_listed(s.split for s in rows)}"
        )
    return kept


def _wanted(sample: Sample, source: SourceConfig, folder: Path) -> bool:
    place = PurePosixPath(
        sample.path.relative_to(folder) if sample.path.is_relative_to(folder) else sample.path
    )
    return (
        (not source.paths or any(_matches(place.parts, PurePosixPath(text).parts) for text in source.paths))
        and (not source.datasets or sample.dataset in source.datasets)
        and (not source.generators or sample.label != FAKE or sample.generator in source.generators)
        and (not source.splits or sample.split in source.splits)
        and (not source.labels or sample.label in {LABELS[label] for label in source.labels})
    )


def _matches(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether a whole path is meant; `**` is any number of folders. `PurePath.match` goes from the right."""
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_matches(parts[start:], patterns[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], patterns[0]) and _matches(parts[1:], patterns[1:])


def _listed(names: Any) -> str:
    known = sorted({name or "(none)" for name in names})
    return ", ".join(known[:MAX_NAMED]) + (", …" if len(known) > MAX_NAMED else "")


def _harmonised(found: DataSet, entry: DataConfig, folder: Path, say: Callable[[str], None]) -> DataSet:
    """The samples as JPEGs of one size and quality below a folder, written once."""
    assert entry.harmonise is not None
    options = asdict(entry.harmonise)
    record = {"made_from": rows_digest(found.manifest), "options": options, "versions": library_versions()}
    if not _made_from(folder, record):
        say(f"harmonising {found.name}: {len(found.manifest)} images")
        _write_harmonised(found.manifest, options, folder, record)
    reasons = dict(_failed(folder))
    failed = {found.manifest[index]: why for index, why in reasons.items()}
    try:
        written = read(folder / "manifest.csv")
    except ManifestError as error:
        raise ManifestError(f"{error}\n{_AGAIN.format(folder)}") from error
    try:
        written = verified(written, found.name)
    except ManifestError as error:
        raise ManifestError(f"{error}\n{_AGAIN.format(folder)}") from error
    # Written in the order of the sources.
    sources = [sample.sha256 for index, sample in enumerate(found.manifest) if index not in reasons]
    if len(sources) != len(written):
        raise ManifestError(f"{folder} holds {len(written)} of {len(sources)} files\n{_AGAIN.format(folder)}")
    # What failed stays a sample: no metric may lose it in silence.
    samples = (*written, *failed)
    return replace(
        found,
        manifest=Manifest(samples),
        failed={sample.path: f"it could not be harmonised: {why}" for sample, why in failed.items()},
        origins={sample.path: source for sample, source in zip(written, sources, strict=True)},
    )


_AGAIN = "These are the benchmark's own copies: remove {} and they are made again."


def _made_from(folder: Path, record: dict[str, Any]) -> bool:
    """Whether a folder holds just what is wanted. Raises ConfigError where it is none of ours."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return bool({key: found[key] for key in record} == record)
    except FileNotFoundError:
        if folder.exists():
            raise ConfigError(
                f"{folder} holds something else than harmonised files; give another -o, or remove it"
            ) from None
        return False
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder / RECORD} cannot be read ({error}); remove {folder}") from error


def _write_harmonised(
    manifest: Manifest, options: dict[str, Any], folder: Path, record: dict[str, Any]
) -> None:
    """Write next door and rename, so that a folder that is there is complete."""
    draft = folder.with_name(f".{folder.name}.draft")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        done = harmonise(manifest, draft, **options)
        write(verified(done.manifest, folder.name), draft / "manifest.csv")
        reasons = dict(done.failed)
        failed = [[i, reasons[s.path]] for i, s in enumerate(manifest) if s.path in reasons]
        text = json.dumps({**record, "failed": failed}, indent=2)
        (draft / RECORD).write_text(text + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error.strerror or error}") from error


def _failed(folder: Path) -> list[tuple[int, str]]:
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return [(index, why) for index, why in record["failed"]]
