"""Celeb-DF, versions 1 and 2 (Li et al., 2020), as they are downloaded.

A fake idX_idY_NNNN is the recording idX_NNNN with the face of idY. Three kinds of group could be meant:
- the recording (default): a recording and its fakes are one group. The official test list does not keep to
  it: it takes some of a recording's fakes. Rows outside of the list whose group is in the list are therefore
  left out, and counted in a warning; else the same scene would be trained and tested on.
- the identity: whoever is linked by a fake is one group. Nearly everybody is, so that nearly nothing is left
  to train on; it is meant for test sets.
- of YouTube-real every video shows somebody else and is a group of its own.
With the default, other recordings of a person in the test list stay in train: no list of the data set avoids
that, and numbers on its test list are to be read so.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tellsign.data.convert import trees
from tellsign.data.manifest import LABEL_NAMES, Manifest
from tellsign.types import FAKE, REAL, ManifestError, Sample

if TYPE_CHECKING:
    from tellsign.data.convert.trees import Warn

TREE = """
Celeb-real/id0_0000.mp4
YouTube-real/00000.mp4
Celeb-synthesis/id0_id1_0000.mp4
List_of_testing_videos.txt  (lines such as: 1 YouTube-real/00170.mp4; its 1 is real, its 0 fake)
"""
FOLDERS = {
    "Celeb-real": (REAL, re.compile(r"(id\d+)_(\d+)"), "id0_0000.mp4"),
    "YouTube-real": (REAL, re.compile(r"(\d+)"), "00000.mp4"),
    "Celeb-synthesis": (FAKE, re.compile(r"(id\d+)_(id\d+)_(\d+)"), "id0_id1_0000.mp4"),
}
TEST_LIST = "List_of_testing_videos.txt"
LIST_LABELS = {"1": REAL, "0": FAKE}  # the other way round than everywhere else
PUBLISHED = {
    "celeb-df-v1": {"Celeb-real": 158, "YouTube-real": 250, "Celeb-synthesis": 795, TEST_LIST: 100},
    "celeb-df-v2": {"Celeb-real": 590, "YouTube-real": 300, "Celeb-synthesis": 5639, TEST_LIST: 518},
}


def celeb_df_v1(
    root: Path, *, warn: Warn = trees.unheard, group: str = "recording", test_list: str = ""
) -> Manifest:
    """Celeb-DF version 1: videos, with the official test list.

    Args:    root: the folder with Celeb-real, YouTube-real and Celeb-synthesis.
             warn: called with what is worth knowing.
             group: recording or identity.
             test_list: a file, or none to leave split empty; by default the one in ROOT.
    Returns: the manifest; split is test for what is listed, train for the rest.
    Raises:  ConfigError: an option has a value that it can't have.
             ManifestError: the tree differs, a class is missing, or a name or line can't be understood.
    """
    return _celeb_df("celeb-df-v1", root, warn, group, test_list)


def celeb_df_v2(
    root: Path, *, warn: Warn = trees.unheard, group: str = "recording", test_list: str = ""
) -> Manifest:
    """Celeb-DF version 2: videos, with the official test list.

    Args:    root, warn, group, test_list: as for `celeb_df_v1`.
    Returns: as for `celeb_df_v1`.
    Raises:  ConfigError, ManifestError: as for `celeb_df_v1`.
    """
    return _celeb_df("celeb-df-v2", root, warn, group, test_list)


def _celeb_df(dataset: str, root: Path, warn: Warn, group: str, test_list: str) -> Manifest:
    trees.choice(group, "group", ("recording", "identity"))
    videos = _videos(root)
    listed = _listed(root, test_list, set(videos), dataset, warn)
    found = Counter(folder for folder, _ in videos)
    trees.compare_counts(found, {name: n for name, n in PUBLISHED[dataset].items() if name in FOLDERS}, warn)
    recordings = {ids for (folder, _), (_, ids) in videos.items() if folder == "Celeb-real"}
    lone = {
        f"{folder}/{name}"
        for (folder, name), (_, ids) in videos.items()
        if folder == "Celeb-synthesis" and (ids[0], ids[2]) not in recordings
    }
    if lone:
        warn(f"the original of {len(lone)} fakes is not in Celeb-real: {trees.few(lone)}")
    people = trees.components(tuple(i for i in ids if i.startswith("id")) for _, ids in videos.values())
    samples = []
    for (folder, name), (path, ids) in videos.items():
        if folder == "YouTube-real":
            own = f"youtube-{ids[0]}"
        else:
            own = f"{ids[0]}_{ids[-1]}" if group == "recording" else people[ids[0]][0]
        label = FOLDERS[folder][0]
        samples.append(
            Sample(
                path=path,
                label=label,
                dataset=dataset,
                generator="celeb-df" if label == FAKE else "",
                group=f"{dataset}-{own}",
                split=("test" if (folder, name) in listed else "train") if listed else "",
            )
        )
    return trees.manifest(_without_leaks(samples, group, warn), root, TREE, warn=warn)


def _videos(root: Path) -> dict[tuple[str, str], tuple[Path, tuple[str, ...]]]:
    """(folder, file name) → the path and what the name says."""
    videos: dict[tuple[str, str], tuple[Path, tuple[str, ...]]] = {}
    for folder, (_, pattern, example) in FOLDERS.items():
        place = trees.child(root, folder)
        if place is None:
            raise trees.wrong_tree(root, TREE, f"there is no folder {folder} in it")
        for path in trees.files(place, trees.VIDEOS):
            match = pattern.fullmatch(path.stem)
            if not match:
                raise ManifestError(
                    f"{str(path)!a}: videos of {folder} have names like {example}; this one tells nobody"
                )
            if (folder, path.name) in videos:
                raise ManifestError(f"{str(path)!a} and {str(videos[folder, path.name][0])!a} have one name")
            videos[folder, path.name] = (path, match.groups())
    return videos


def _listed(
    root: Path, test_list: str, there: set[tuple[str, str]], dataset: str, warn: Warn
) -> set[tuple[str, str]]:
    """(folder, file name) of the official test videos; empty where there is no list."""
    if test_list == "none":
        return set()
    path = trees.given_file(test_list, "test_list") or trees.child(root, TEST_LIST)
    if path is None:
        warn(f"there is no {TEST_LIST}: split is left empty; give test_list=FILE")
        return set()
    by_case = {name.lower(): name for name in FOLDERS}
    listed, missing = set(), set()
    for line, (mark, name) in trees.read_rows(path, "0 or 1", "FOLDER/NAME.mp4"):
        folder, _, file = name.replace("\\", "/").partition("/")
        where = f"{str(path)!a}, line {line}"
        if mark not in LIST_LABELS or folder.lower() not in by_case or not file:
            raise ManifestError(
                f"{where}: expected e.g. 1 YouTube-real/00170.mp4, found {f'{mark} {name}'!a}"
            )
        folder = by_case[folder.lower()]
        label = FOLDERS[folder][0]
        if LIST_LABELS[mark] != label:
            raise ManifestError(
                f"{where}: {name!a} is marked {mark}, which is {LABEL_NAMES[LIST_LABELS[mark]]} here, "
                f"but {folder} holds {LABEL_NAMES[label]} videos; this is not the official list"
            )
        if (folder, file) in listed:
            raise ManifestError(f"{where}: {name!a} is listed twice")
        listed.add((folder, file))
        if (folder, file) not in there:
            missing.add(f"{folder}/{file}")
    if not listed - {tuple(name.split("/", 1)) for name in missing}:
        raise ManifestError(f"{str(path)!a} lists none of the videos that are there")
    trees.compare_counts({TEST_LIST: len(listed)}, PUBLISHED[dataset], warn)
    if missing:
        warn(f"{len(missing)} of the listed test videos are not there: {trees.few(missing)}")
    return listed


def _without_leaks(samples: list[Sample], group: str, warn: Warn) -> list[Sample]:
    """The samples without those of train whose group is tested on."""
    tested = {sample.group for sample in samples if sample.split == "test"}
    kept = [sample for sample in samples if sample.split == "test" or sample.group not in tested]
    if len(kept) < len(samples):
        warn(
            f"{len(samples) - len(kept)} videos outside of the test list share their {group} with a test "
            "video and are left out; test_list=none keeps all, without splits"
        )
    return kept
