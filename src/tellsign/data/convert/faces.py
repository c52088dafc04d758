"""Faces-HQ (Durall et al., 2020), FFHQ (Karras et al., 2019) and exported LSUN (Yu et al., 2015)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tellsign.data.convert import trees
from tellsign.data.paths import SPLIT_NAMES
from tellsign.types import FAKE, REAL, ManifestError, Sample

if TYPE_CHECKING:
    from tellsign.data.convert.trees import Warn
    from tellsign.data.manifest import Manifest

FACES_HQ_TREE = """
celebA-HQ_10K/NAME.jpg              (real)
Flickr-Faces-HQ_10K/NAME.jpg        (real)
100KFake_10K/NAME.jpg               (fake)
thispersondoesntexists_10K/NAME.jpg (fake)
"""
FACES_HQ = {
    "celebA-HQ_10K": (REAL, ""),
    "Flickr-Faces-HQ_10K": (REAL, ""),
    "100KFake_10K": (FAKE, "100k-faces"),
    "thispersondoesntexists_10K": (FAKE, "thispersondoesnotexist"),
}
FFHQ_TREE = """
images1024x1024/00000/00000.png  (or images1024x1024/00000.png, and jpg, webp)
thumbnails128x128/00000/00000.png
"""
FFHQ_FOLDERS = ("images1024x1024", "thumbnails128x128", "in-the-wild-images")
FFHQ_TRAIN = 60_000  # the first 60,000 are for training, the last 10,000 for validation
FFHQ_PUBLISHED = 70_000
# fmt: off
LSUN_CATEGORIES = frozenset((
    "bedroom", "bridge", "church", "church_outdoor", "classroom", "conference_room", "dining_room", "kitchen",
    "living_room", "restaurant", "tower", "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car",
    "cat", "chair", "cow", "dining_table", "dog", "horse", "motorbike", "person", "potted_plant", "sheep",
    "sofa", "train", "tv-monitor",
))
# fmt: on
LSUN_TREE = """
bedroom_train/NAME.webp           (exported images, in any folders below; or bedroom/train/, or bedroom/)
bedroom_val/NAME.webp
church_outdoor_train/NAME.webp    (or train/church_outdoor/)
"""


def faces_hq(root: Path, *, warn: Warn = trees.unheard) -> Manifest:
    """Faces-HQ: two folders of real and two of fake faces, 10,000 images each.

    The generator is the source's name, since the data set does not say what made its pictures. There is
    neither a split nor a group.

    Args:    root: the folder with the four folders.
             warn: called with what is worth knowing.
    Returns: the manifest.
    Raises:  ManifestError: one of the four folders is missing or empty.
    """
    samples = []
    for name, (label, generator) in FACES_HQ.items():
        folder = trees.child(root, name)
        found = trees.files(folder, trees.IMAGES) if folder else []
        if not found:
            raise trees.wrong_tree(root, FACES_HQ_TREE, f"there are no images in {name}")
        trees.compare_counts({name: len(found)}, {name: 10_000}, warn)
        samples += [Sample(path=p, label=label, dataset="faces-hq", generator=generator) for p in found]
    return trees.manifest(samples, root, FACES_HQ_TREE, warn=warn)


def ffhq(root: Path, *, warn: Warn = trees.unheard, images: str = "") -> Manifest:
    """FFHQ: real faces, with the official split of the first 60,000 and the last 10,000.

    A picture's number is its group, the same at every size.

    Args:    root: the folder with images1024x1024 or thumbnails128x128, or one of these itself.
             warn: called with what is worth knowing.
             images: which of the folders; needed where there are several.
    Returns: the manifest; split is train or valid.
    Raises:  ConfigError: an option has a value that it can't have.
             ManifestError: the tree differs, or a file's name is no number below 70,000.
    """
    there = [name for name in FFHQ_FOLDERS if (root / name).is_dir()]
    if images:
        there = [trees.choice(images, "images", FFHQ_FOLDERS)]
    if len(there) > 1:
        raise ManifestError(
            f"{str(root)!a} has {' and '.join(there)}, which are the same pictures; choose one with "
            f"images={there[0]}"
        )
    folder = root / there[0] if there else root
    samples = []
    for path in trees.files(folder, trees.IMAGES) if folder.is_dir() else ():
        # Folders too: everything here becomes real, and fake/00000.png must not slip in.
        names = (*path.relative_to(folder).parts[:-1], path.stem)
        if not all(re.fullmatch(r"\d{5}", name) and int(name) < FFHQ_PUBLISHED for name in names):
            raise trees.wrong_tree(
                root, FFHQ_TREE, f"{str(path.relative_to(root))!a} is not numbered 00000 to 69999"
            )
        split = "train" if int(path.stem) < FFHQ_TRAIN else "valid"
        group = f"ffhq-{path.stem}"
        samples.append(Sample(path=path, label=REAL, dataset="ffhq", group=group, split=split))
    numbers = Counter(sample.group for sample in samples)
    if twice := [group for group, n in numbers.items() if n > 1]:
        both = [str(sample.path) for sample in samples if sample.group == twice[0]]
        raise ManifestError(f"{both[0]!a} and {both[1]!a} have one number; give the folder of one size")
    if samples:
        trees.compare_counts({"images": len(samples)}, {"images": FFHQ_PUBLISHED}, warn)
    return trees.manifest(samples, root, FFHQ_TREE, classes=(REAL,))


def lsun(root: Path, *, warn: Warn = trees.unheard, categories: str = "") -> Manifest:
    """LSUN: real scenes, exported to image files, a folder for each category.

    Data sets are `lsun/bedroom` and so on, so that categories are reported apart. Nothing tells which images
    belong together, so that groups are empty.

    Args:    root: the folder of the categories' folders.
             warn: called with what is worth knowing.
             categories: to take, separated by commas; empty takes all.
    Returns: the manifest; split is train or valid where a folder is named so or its name ends so.
    Raises:  ConfigError: a category is not there.
             ManifestError: there are no images, only databases that have not been exported, or a folder of
                 images that is no category.
    """
    samples = []
    databases = []
    for folder, name, split in _categories(root) if root.is_dir() else ():
        if (folder / "data.mdb").is_file():
            databases.append(folder.name)
        found = trees.files(folder, trees.IMAGES)
        if found and name not in LSUN_CATEGORIES:
            # Everything here becomes real: a folder that is not known to be must not slip in.
            raise trees.wrong_tree(root, LSUN_TREE, f"{folder.name!a} is no category of LSUN")
        for path in found:
            first = path.relative_to(folder).parts[0]
            own = split or (SPLIT_NAMES.get(first, "") if first != path.name else "")
            samples.append(Sample(path=path, label=REAL, dataset=f"lsun/{name}", split=own))
    if databases and not samples:
        raise trees.wrong_tree(
            root,
            LSUN_TREE,
            f"{databases[0]} is an LMDB database; export its images first, with the script export of LSUN's "
            "repository",
        )
    if databases:
        warn(f"databases that were not exported are passed over: {trees.few(databases)}")
    if categories and samples:
        known = sorted({sample.dataset.removeprefix("lsun/") for sample in samples})
        wanted = {f"lsun/{name}" for name in trees.choices(categories, "categories", known)}
        samples = [sample for sample in samples if sample.dataset in wanted]
    return trees.manifest(samples, root, LSUN_TREE, classes=(REAL,))


def _categories(root: Path) -> Iterator[tuple[Path, str, str]]:
    """(folder, category, split) of what lies below the root, or below a folder of it that is a split.

    `train` is a category too: it is a split where another category lies in it.
    """
    for folder in trees.subfolders(root):
        split = SPLIT_NAMES.get(folder.name.lower(), "")
        below = [(path, *_category(path.name)) for path in trees.subfolders(folder)] if split else []
        if not any(name in LSUN_CATEGORIES - SPLIT_NAMES.keys() for _, name, _ in below):
            yield folder, *_category(folder.name)
            continue
        if loose := [path.name for path in folder.iterdir() if path.suffix.lower() in trees.IMAGES]:
            raise trees.wrong_tree(
                root, LSUN_TREE, f"{folder.name} holds images beside categories: {loose[0]!a}"
            )
        for path, name, own in below:
            yield path, name, own or split


def _category(folder: str) -> tuple[str, str]:
    """Category and split in a name such as church_outdoor_train_lmdb."""
    name = folder.lower().removesuffix("_lmdb")
    first, _, last = name.rpartition("_")
    return (first, SPLIT_NAMES[last]) if first and last in SPLIT_NAMES else (name, "")
