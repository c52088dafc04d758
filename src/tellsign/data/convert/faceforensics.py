"""FaceForensics++ (Rössler et al., 2019) and DeepFakeDetection (Dufour and Gully, 2019), as downloaded.

A fake of FaceForensics++ is named TARGET_SOURCE: the recording that was changed and the one that drives it.
The official lists divide pairs of recordings, and a fake is in the split of its pair; the pair is the group.
A fake of DeepFakeDetection is named TARGET_SOURCE__SCENE__ID after actors; actors that are linked by any
fake are one group, so that no face is on both sides of a split.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tellsign.data.convert import trees
from tellsign.types import FAKE, REAL, ManifestError, Sample

if TYPE_CHECKING:
    from tellsign.data.convert.trees import Warn
    from tellsign.data.manifest import Manifest

TREE = """
original_sequences/youtube/c23/videos/000.mp4           (c0 or raw, c23, c40)
original_sequences/actors/c23/videos/01__kitchen_pan.mp4
manipulated_sequences/Deepfakes/c23/videos/000_003.mp4  (Face2Face, FaceSwap, NeuralTextures, FaceShifter)
manipulated_sequences/DeepFakeDetection/c23/videos/01_02__kitchen_pan__IDENTIFIER.mp4
splits/train.json, splits/val.json, splits/test.json    (from the data set's repository: dataset/splits)
"""
YOUTUBE_METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
ACTORS_METHOD = "DeepFakeDetection"
# The repository says c0, the download script calls the same folder raw.
COMPRESSIONS = {"c0": ("c0", "raw"), "c23": ("c23",), "c40": ("c40",)}
SPLIT_FILES = {"train.json": "train", "val.json": "valid", "test.json": "test"}
PAIRS = {"train": 360, "valid": 70, "test": 70}
PUBLISHED = {"youtube": 1000, **dict.fromkeys(YOUTUBE_METHODS, 1000), "actors": 363, ACTORS_METHOD: 3068}
NAMES = {
    "youtube": (re.compile(r"(\d{3})"), "000.mp4"),
    "actors": (re.compile(r"(\d{2})__.+"), "01__kitchen_pan.mp4"),
    ACTORS_METHOD: (re.compile(r"(\d{2})_(\d{2})__.+"), "01_02__kitchen_pan__IDENTIFIER.mp4"),
    **dict.fromkeys(YOUTUBE_METHODS, (re.compile(r"(\d{3})_(\d{3})"), "000_003.mp4")),
}


@dataclass(frozen=True, slots=True)
class Video:
    """One file, as its folder and name describe it."""

    path: Path
    part: str  # youtube, actors, or the method
    compression: str  # c0, c23 or c40
    ids: tuple[str, ...]  # recording or actor; of a fake the target, then the source

    @property
    def family(self) -> str:
        """The data set: its reals are not those of the other."""
        name = "deepfakedetection" if self.part in ("actors", ACTORS_METHOD) else "faceforensics++"
        return f"{name}/{self.compression}"

    @property
    def original(self) -> str:
        """Name of the recording that a fake was made from; of a real one its own."""
        scene = self.path.stem.split("__")[1:2]
        return "__".join([self.ids[0], *scene])


def faceforensics(
    root: Path, *, warn: Warn = trees.unheard, compression: str = "", methods: str = "", splits: str = ""
) -> Manifest:
    """FaceForensics++ and DeepFakeDetection: videos, with the official pair split.

    Data sets are `faceforensics++/c23` and so on, and `deepfakedetection/c23`, whose reals are others; raw is
    called c0. Generators are the methods in lower case. DeepFakeDetection has no official split.

    Args:    root: the folder with original_sequences and manipulated_sequences.
             warn: called with what is worth knowing.
             compression: c0, c23, c40, separated by commas; empty takes those that are there.
             methods: of manipulation, separated by commas; empty takes those that are there.
             splits: folder of train.json, val.json and test.json; empty looks in ROOT/splits and ROOT.
    Returns: the manifest.
    Raises:  ConfigError: an option has a value that it can't have.
             ManifestError: the tree differs, a class is missing, a name or a list can't be understood, or
                 the lists put a pair into two splits.
    """
    wanted = trees.choices(compression, "compression", list(COMPRESSIONS))
    chosen = trees.choices(methods, "methods", [*YOUTUBE_METHODS, ACTORS_METHOD])
    videos = _videos(root, wanted, chosen)
    if not videos:
        raise trees.wrong_tree(root, TREE, "there is no video of FaceForensics++ in it")
    youtube = [video for video in videos if video.family.startswith("faceforensics++")]
    actors = [video for video in videos if video.family.startswith("deepfakedetection")]
    split_of: dict[str, str] = {}
    groups: dict[str, str] = {}
    if youtube:
        pairs = _official_pairs(root, splits, warn)
        split_of = {name: split for pair, split in pairs.items() for name in pair}
        _check_covered(youtube, split_of)
        linked = trees.components([*pairs, *(video.ids for video in youtube)])
        groups |= {name: "ff++-" + "-".join(members) for name, members in linked.items()}
    if actors:
        linked = trees.components(video.ids for video in actors)
        groups |= {name: f"dfd-{members[0]}" for name, members in linked.items()}
        if len(set(linked.values())) == 1:
            warn(
                f"the fakes link all {len(linked)} actors of DeepFakeDetection, so that it is one group: "
                "it can be tested on, and not be split"
            )
    _warn_of_gaps(videos, warn)
    samples = [
        Sample(
            path=video.path,
            label=REAL if len(video.ids) == 1 else FAKE,
            dataset=video.family,
            generator="" if len(video.ids) == 1 else video.part.lower(),
            group=groups[video.ids[0]],
            split=split_of.get(video.ids[0], ""),
        )
        for video in videos
    ]
    return trees.manifest(samples, root, TREE, warn=warn)


def _videos(root: Path, compressions: Iterable[str], methods: Iterable[str]) -> list[Video]:
    originals, manipulated = root / "original_sequences", root / "manipulated_sequences"
    parts = []
    if set(methods) & set(YOUTUBE_METHODS):
        parts.append(("youtube", originals / "youtube"))
    if ACTORS_METHOD in methods:
        parts.append(("actors", originals / "actors"))
    parts += [(method, manipulated / method) for method in methods]
    found = []
    for part, folder in parts:
        for compression in compressions:
            there = [folder / name for name in COMPRESSIONS[compression] if (folder / name).is_dir()]
            if len(there) > 1:
                raise ManifestError(
                    f"{str(folder)!a} has both {there[0].name} and {there[1].name}, which are two names of "
                    "one thing; remove or rename one"
                )
            for path in trees.files(there[0] / "videos", trees.VIDEOS) if there else ():
                pattern, example = NAMES[part]
                match = pattern.fullmatch(path.stem)
                if not match:
                    raise ManifestError(
                        f"{str(path)!a}: a video of {part} has a name like {example}; whom it shows can't be "
                        "told. Remove the file from the folder if it is not of the data set"
                    )
                found.append(Video(path, part, compression, match.groups()))
    return found


def _official_pairs(root: Path, splits: str, warn: Warn) -> dict[tuple[str, str], str]:
    """Pairs of recordings → split; empty, with a warning, where the lists are not there."""
    given = trees.given_file(splits, "splits")
    places = [given] if given else [root / "splits", root / "dataset" / "splits", root]
    folder = next((place for place in places if any((place / name).exists() for name in SPLIT_FILES)), None)
    if folder is None:
        if given:
            raise ManifestError(f"{str(given)!a} holds none of {', '.join(SPLIT_FILES)}")
        warn(
            "no train.json, val.json, test.json in ROOT/splits: split is left empty. They are in "
            "dataset/splits of the data set's repository; put them there or give splits=FOLDER"
        )
        return {}
    pairs: dict[tuple[str, str], str] = {}
    split_of: dict[str, str] = {}
    for name, split in SPLIT_FILES.items():
        for pair in _read_pairs(folder / name):
            for identity in pair:
                if identity in split_of:
                    raise ManifestError(
                        f"{str(folder / name)!a}: {identity} is in {split_of[identity]} already; a recording "
                        "is in one pair of one split"
                    )
                split_of[identity] = split
            pairs[pair] = split
    counts = Counter(pairs.values())
    trees.compare_counts(
        {f"pairs in {split}": counts[split] for split in PAIRS},
        {f"pairs in {split}": n for split, n in PAIRS.items()},
        warn,
    )
    return pairs


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    entries = trees.read_json(path)
    if not isinstance(entries, list):
        raise ManifestError(f'{str(path)!a}: expected a list of pairs such as ["071", "054"]')
    pairs = []
    for number, entry in enumerate(entries, start=1):
        if not (
            isinstance(entry, list)
            and len(entry) == 2
            and all(isinstance(name, str) and re.fullmatch(r"\d{3}", name) for name in entry)
        ):
            raise ManifestError(
                f'{str(path)!a}, entry {number}: expected a pair such as ["071", "054"], found {entry!a:.60}'
            )
        pairs.append((entry[0], entry[1]))
    return pairs


def _check_covered(videos: Iterable[Video], split_of: Mapping[str, str]) -> None:
    if not split_of:
        return
    for video in videos:
        if missing := [name for name in video.ids if name not in split_of]:
            raise ManifestError(
                f"{str(video.path)!a}: the recording {missing[0]} is in none of the official splits; these "
                "are lists of another data set, or not complete"
            )
        if len({split_of[name] for name in video.ids}) > 1:
            target, source = video.ids
            raise ManifestError(
                f"{str(video.path)!a}: {target} is in {split_of[target]}, {source} in {split_of[source]}; a "
                "fake is made of one pair, and a pair is in one split"
            )


def _warn_of_gaps(videos: Iterable[Video], warn: Warn) -> None:
    by_compression: dict[str, list[Video]] = {}
    for video in videos:
        by_compression.setdefault(video.compression, []).append(video)
    for compression, some in by_compression.items():
        found = Counter(f"{video.part} {compression}" for video in some)
        trees.compare_counts(found, {f"{part} {compression}": n for part, n in PUBLISHED.items()}, warn)
        reals = {(v.family, v.original) for v in some if len(v.ids) == 1}
        fakes = [v for v in some if len(v.ids) > 1]
        lone = {f"{v.part}/{v.path.name}" for v in fakes if (v.family, v.original) not in reals}
        if reals and lone:
            warn(f"{compression}: the original of {len(lone)} fakes is not there: {trees.few(lone)}")
