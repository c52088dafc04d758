"""The Deepfake Detection Challenge (Dolhansky et al., 2020) and its preview (2019), as they are downloaded.

Of the full set, a fake names its original in metadata.json: the original and its fakes are one group. Who is
seen in them is not published, so that two groups of `train` may show one person; `group=part` makes each part
one group, for those who want to be stricter.
Of the preview, metadata names both people of a fake: people that are linked by any fake are one group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tellsign.data.convert import trees
from tellsign.data.paths import SPLIT_NAMES, split_in
from tellsign.types import FAKE, REAL, ManifestError, Sample

if TYPE_CHECKING:
    from tellsign.data.convert.trees import Warn
    from tellsign.data.manifest import Manifest

TREE = """
dfdc_train_part_0/metadata.json  ({"a.mp4": {"label": "FAKE", "split": "train", "original": "b.mp4"}, ...})
dfdc_train_part_0/a.mp4          (parts may lie in train/; one part alone will do)
validation/labels.csv            (filename,label with 1 for fake; the videos beside it or in videos/)
test/metadata.json               ({"c.mp4": {"is_fake": 1}, ...}; or labels.csv; also dfdc_test/ and so on)
"""
PREVIEW_TREE = """
dataset.json  ({"method_A/1/1_A/2_1_A_001.mp4": {"label": "fake", "set": "train", "target_id": 2, ...}, ...})
original_videos/1/1_A_001.mp4
method_A/1/1_A/2_1_A_001.mp4
method_B/1/1_A/2_1_A_001.mp4
"""
LABELS = {"REAL": REAL, "FAKE": FAKE}
BINARY = {"0": REAL, "1": FAKE}
PREVIEW_FOLDERS = {"original_videos": REAL, "method_A": FAKE, "method_B": FAKE}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a list of the full set."""

    path: Path
    label: int
    split: str
    original: str | None  # of a fake; None where the list does not say


def dfdc(
    root: Path, *, warn: Warn = trees.unheard, group: str = "original", orphans: str = "error"
) -> Manifest:
    """DFDC: videos of every part, validation and test folder that is there.

    The challenge gave its methods no names: the generator is `dfdc`.

    Args:    root: a folder with metadata.json or labels.csv in it or up to three levels below.
             warn: called with what is worth knowing.
             group: original, or part for everything in a part of train.
             orphans: error refuses a fake of train whose original is not named; keep makes it a group of
                 its own.
    Returns: the manifest; split is that of the list, or of a word in its folder's name (dfdc_test).
    Raises:  ConfigError: an option has a value that it can't have.
             ManifestError: the tree differs, a class is missing, or a list can't be understood.
    """
    trees.choice(group, "group", ("original", "part"))
    trees.choice(orphans, "orphans", ("error", "keep"))
    lists = _lists(root)
    if not lists:
        raise trees.wrong_tree(root, TREE, "there is no metadata.json or labels.csv in it")
    samples = []
    known = set()
    unknown = set()
    for path in lists:
        entries = list(_entries(path))
        known |= {entry.path.name for entry in entries if entry.label == REAL}
        absent = {entry.path for entry in entries if not entry.path.is_file()}
        _warn_of_gaps(path, entries, absent, warn)
        for entry in entries:
            if entry.path in absent:
                continue
            if entry.label == FAKE and entry.split == "train" and not entry.original and orphans == "error":
                raise ManifestError(
                    f"{str(path)!a}: {entry.path.name} is fake and its original is not named, so that what "
                    "belongs together is not known; orphans=keep makes it a group of its own"
                )
            if entry.original:
                unknown.add(entry.original)
            own = "" if entry.split in {"valid", "test"} else entry.original or entry.path.name
            if own and group == "part":
                own = path.parent.name
            samples.append(
                Sample(
                    path=entry.path,
                    label=entry.label,
                    dataset="dfdc",
                    generator="dfdc" if entry.label == FAKE else "",
                    group=f"dfdc-{own.removesuffix('.mp4')}" if own else "",
                    split=entry.split,
                )
            )
    if lone := unknown - known:
        warn(f"{len(lone)} originals that fakes name are in no list: {trees.few(lone)}")
    return trees.manifest(samples, root, TREE, warn=warn)


def _lists(root: Path) -> list[Path]:
    """The lists, at most three folders below the root; metadata.json counts more than labels.csv."""
    if not root.is_dir():
        return []
    level, found = [root], []
    for _ in range(4):
        for folder in level:
            files = [folder / name for name in ("metadata.json", "labels.csv") if (folder / name).is_file()]
            found += files[:1]
        level = [below for folder in level for below in trees.subfolders(folder)]
    return sorted(found)


def _entries(path: Path) -> Iterator[Entry]:
    folder = path.parent
    default = split_in(folder.resolve().name)
    # The videos of test and validation lie beside their list in one release, in videos/ in another.
    places = [folder, folder / "videos"]

    def place(name: str) -> Path:
        return next((p / name for p in places if (p / name).is_file()), folder / name)

    if path.suffix == ".csv":
        for line, (name, mark) in trees.read_rows(path, "filename", "label (0 or 1)"):
            if line == 1 and (name, mark) == ("filename", "label"):
                continue
            if mark not in BINARY:
                raise ManifestError(f"{str(path)!a}, line {line}: a label is 0 or 1, found {mark!a}")
            yield Entry(place(name), BINARY[mark], default, None)
        return
    for name, facts in _dictionary(path).items():
        label = _label(facts)
        if label is None:
            raise ManifestError(
                f'{str(path)!a}, {name!a}: expected "label": "REAL" or "FAKE", or "is_fake": 0 or 1, '
                f"found {facts!a:.80}"
            )
        split = SPLIT_NAMES.get(str(facts.get("split", "")).lower(), default)
        original = facts.get("original")
        if label == REAL and original:
            raise ManifestError(f"{str(path)!a}, {name!a}: a real video with an original, {original!a}")
        yield Entry(place(name), label, split, original if isinstance(original, str) else None)


def _dictionary(path: Path) -> dict[str, dict[str, Any]]:
    entries = trees.read_json(path)
    if not isinstance(entries, dict) or not all(isinstance(facts, dict) for facts in entries.values()):
        raise ManifestError(f"{str(path)!a}: expected names of videos, each with its facts")
    return entries


def _label(facts: dict[str, Any]) -> int | None:
    if "label" in facts:
        return LABELS.get(str(facts["label"]).upper())
    return BINARY.get(str(int(facts["is_fake"]))) if facts.get("is_fake") in (0, 1) else None


def _warn_of_gaps(path: Path, entries: list[Entry], absent: set[Path], warn: Warn) -> None:
    if lost := sum(not entry.split for entry in entries):
        warn(
            f"{lost} videos of {str(path)!a} have no split: neither the list says one nor the folder's "
            "name, such as validation or dfdc_test"
        )
    if absent:
        names = {entry.name for entry in absent}
        warn(f"{len(absent)} videos of {str(path)!a} are not there: {trees.few(names)}")
    listed = {entry.path for entry in entries}
    beside = [p for place in (path.parent, path.parent / "videos") if place.is_dir() for p in place.iterdir()]
    if strays := {p.name for p in beside if p.suffix.lower() in trees.VIDEOS and p not in listed}:
        warn(f"{len(strays)} videos beside {str(path)!a} are not in it: {trees.few(strays)}")


def dfdc_preview(root: Path, *, warn: Warn = trees.unheard) -> Manifest:
    """The preview of DFDC: videos, with the official sets train and test.

    Generators are `dfdc-preview-a` and `dfdc-preview-b`, its two unnamed methods.

    Args:    root: the folder with dataset.json.
             warn: called with what is worth knowing.
    Returns: the manifest.
    Raises:  ManifestError: the tree differs, a class is missing, dataset.json can't be understood, or puts
                 people that a fake links into two sets.
    """
    path = trees.child(root, "dataset.json")
    if path is None:
        raise trees.wrong_tree(root, PREVIEW_TREE, "there is no dataset.json in it")
    entries = _dictionary(path)
    people = {name: _people(path, name, facts) for name, facts in entries.items()}
    linked = trees.components(people.values())
    samples, absent = [], set()
    for name, facts in entries.items():
        folder = name.split("/")[0]
        label = LABELS.get(str(facts.get("label", "")).upper())
        split = SPLIT_NAMES.get(str(facts.get("set", "")).lower())
        if folder not in PREVIEW_FOLDERS or PREVIEW_FOLDERS[folder] != label or split is None:
            raise ManifestError(
                f"{str(path)!a}, {name!a}: expected a video below {', '.join(PREVIEW_FOLDERS)} with a label "
                f'that agrees, and "set": "train" or "test"; found {facts!a:.100}'
            )
        if not (root / name).is_file():
            absent.add(name)
            continue
        samples.append(
            Sample(
                path=root / name,
                label=label,
                dataset="dfdc-preview",
                generator=f"dfdc-preview-{folder[-1].lower()}" if label == FAKE else "",
                group=f"dfdc-preview-{linked[people[name][0]][0]}",
                split=split,
            )
        )
    if absent:
        warn(f"{len(absent)} videos of {str(path)!a} are not there: {trees.few(absent)}")
    return trees.manifest(samples, root, PREVIEW_TREE, warn=warn)


def _people(path: Path, name: str, facts: dict[str, Any]) -> tuple[str, ...]:
    """Who is in a video: of a fake two people."""
    named = [facts.get(key) for key in ("target_id", "swapped_id")]
    people = tuple(str(person) for person in named if person not in (None, ""))
    needed = 2 if str(facts.get("label", "")).lower() == "fake" else 1
    if len(people) < needed:
        raise ManifestError(
            f"{str(path)!a}, {name!a}: expected target_id{' and swapped_id' if needed == 2 else ''}, "
            f"found {facts!a:.100}; whom it shows is not known"
        )
    return people
