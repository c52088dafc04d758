"""CelebA (Liu et al., 2015) and CelebA-HQ (Karras et al., 2018): real faces, with CelebA's partition.

The person is the group where identity_CelebA.txt is there, for both sets alike; otherwise the picture's
CelebA number is, by which CelebA-HQ and CelebA know each other's pictures, but not the person.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tellsign.data.convert import trees
from tellsign.data.paths import SPLIT_NAMES
from tellsign.types import REAL, ConfigError, ManifestError, Sample

if TYPE_CHECKING:
    from tellsign.data.convert.trees import Warn
    from tellsign.data.manifest import Manifest

TREE = """
img_align_celeba/000001.jpg  (in ROOT or ROOT/Img, images at any depth below it; also img_celeba)
list_eval_partition.txt      (lines such as: 000001.jpg 0; also in Eval/, or as .csv)
identity_CelebA.txt          (optional; lines such as: 000001.jpg 2880; also in Anno/)
"""
HQ_TREE = """
CelebA-HQ-img/0.jpg              (or celeba_hq/train/female/000004.jpg, or data1024x1024/00000.png)
CelebA-HQ-to-CelebA-mapping.txt  (optional; idx orig_idx orig_file)
list_eval_partition.txt          (optional, CelebA's; also in Eval/)
identity_CelebA.txt              (optional, CelebA's; also in Anno/)
"""
PARTITIONS = {"0": "train", "1": "valid", "2": "test"}
PARTITION_LISTS = ("list_eval_partition.txt", "list_eval_partition.csv")
IDENTITY_LISTS = ("identity_CelebA.txt", "identity_CelebA.csv")
MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
IMAGE_FOLDERS = ("img_align_celeba", "img_align_celeba_png", "img_celeba")
# Everything that is found becomes real: a folder that is not known to be of the data set must not slip in.
HQ_FOLDERS = re.compile(
    r"celeba(mask)?[-_ ]?hq([-_ ]?(images?|imgs?|resized|train|val|valid|test|png|jpe?g|\d+k?(x\d+)?))*"
    r"|celeba.?\d+|data\d+x\d+|\d+(x\d+)?|images?|imgs?|train|val|valid|test|(fe)?male"
)
# celebahq_pggan_fake, pggan, synthesis: fakes that others made after CelebA-HQ. Not organised.
FAKES = re.compile(r"fake|gan(?![a-z])|syn")
PUBLISHED, HQ_PUBLISHED = 202_599, 30_000


def celeba(
    root: Path, *, warn: Warn = trees.unheard, images: str = "", partition: str = "", identities: str = ""
) -> Manifest:
    """CelebA: real faces, with the official partition and, where it is there, the identity as group.

    Args:    root: the folder with the images and lists, or with Img, Eval and Anno.
             warn: called with what is worth knowing.
             images: which folder of images; needed where there are several.
             partition: the list; by default list_eval_partition.txt in ROOT or ROOT/Eval.
             identities: the list; by default identity_CelebA.txt in ROOT or ROOT/Anno.
    Returns: the manifest; split is train, valid or test.
    Raises:  ConfigError: an option has a value that it can't have.
             ManifestError: the tree differs, a list is missing or can't be understood, or lacks an image.
    """
    places = [
        place for base in (root, root / "Img") for name in IMAGE_FOLDERS if (place := base / name).is_dir()
    ]
    if images:
        name = trees.choice(images, "images", IMAGE_FOLDERS)
        places = [place for place in places if place.name == name]
    if len(places) != 1:
        why = "which are the same pictures; choose one with images=NAME" if places else "no folder of images"
        raise trees.wrong_tree(root, TREE, ", ".join([*(place.name for place in places), why]))
    split_of = _partition(root, partition)
    if split_of is None:
        raise trees.wrong_tree(root, TREE, "there is no list_eval_partition.txt in it")
    person_of = _identities(root, identities, warn)
    samples = []
    for path in trees.files(places[0], trees.IMAGES):
        # The lists name JPEG files, whatever the release that is there.
        listed = f"{path.stem}.jpg"
        if listed not in split_of or (person_of and listed not in person_of):
            raise ManifestError(f"{str(path)!a} is not in the lists of CelebA, {len(split_of)} images long")
        samples.append(_sample(path, listed, "celeba", split_of, person_of))
    if samples:
        trees.compare_counts({"images": len(samples)}, {"images": PUBLISHED}, warn)
    return trees.manifest(samples, root, TREE, classes=(REAL,))


def celeba_hq(
    root: Path, *, warn: Warn = trees.unheard, mapping: str = "", partition: str = "", identities: str = ""
) -> Manifest:
    """CelebA-HQ: real faces; split and group are CelebA's where the lists are there.

    CelebA-HQ has no official split of its own. With the mapping and CelebA's partition a picture is in the
    split of its CelebA picture; otherwise folders train, val and test count, and without them split is empty.
    The files of train/female and its like, as StarGAN v2 passes them on, have CelebA's numbers and not
    CelebA-HQ's: they have the split of their folder and no group.

    Args:    root: a folder with the images anywhere below; masks are left out.
             warn: called with what is worth knowing.
             mapping: the list from CelebA-HQ's numbers to CelebA's files; by default the one in ROOT.
             partition: CelebA's list; by default list_eval_partition.txt in ROOT or ROOT/Eval.
             identities: CelebA's list; by default identity_CelebA.txt in ROOT or ROOT/Anno.
    Returns: the manifest.
    Raises:  ConfigError: an option names no file, or a mapping is given for files with CelebA's numbers.
             ManifestError: the tree differs, a name is no number, or a list can't be understood.
    """
    if FAKES.search(root.resolve().name.lower()):
        raise trees.wrong_tree(root, HQ_TREE, "its name is one of fakes, and CelebA-HQ is real")
    paths = _hq_files(root)
    # Path → split of those with CelebA's numbers.
    renumbered = {path: split for path in paths if (split := _split_of_celeba_number(root, path))}
    if renumbered and mapping:
        raise ConfigError(
            f"mapping is for CelebA-HQ's numbers, and {str(min(renumbered))!a} has CelebA's, as files in "
            "train/female and its like do; leave the option out"
        )
    all_renumbered = bool(paths) and len(renumbered) == len(paths)
    source = {} if all_renumbered else _mapping(root, mapping)
    split_of = _partition(root, partition) or {}
    person_of = _identities(root, identities, warn) if source else {}
    if renumbered:
        warn(
            f"{len(renumbered)} files have CelebA's numbers, as those in train/female and its like do: split "
            "is that of the folder, no list is applied, and group is empty"
        )
    if not source and not all_renumbered:
        warn(f"no {MAPPING}: which pictures are of one person or of CelebA is not known, and group is empty")
    elif not split_of and not all_renumbered:
        warn("no list_eval_partition.txt: split is that of the folders, empty where they say none")
    samples = []
    for path, folders in paths.items():
        match = re.fullmatch(r"(?:imgHQ)?(\d{1,6})", path.stem)
        if not match:
            raise trees.wrong_tree(root, HQ_TREE, f"{str(path.relative_to(root))!a} is not named by a number")
        named = renumbered.get(path) or next((SPLIT_NAMES[f] for f in folders if f in SPLIT_NAMES), "")
        if source and path not in renumbered:
            listed = source.get(int(match.group(1)))
            if listed is None or (split_of and listed not in split_of):
                raise ManifestError(f"{str(path)!a} is not in {MAPPING}, or its picture not in the partition")
            sample = _sample(path, listed, "celeba-hq", split_of or {listed: named}, person_of)
        else:
            sample = Sample(path=path, label=REAL, dataset="celeba-hq", split=named)
        samples.append(sample)
    if samples:
        trees.compare_counts({"images": len(samples)}, {"images": HQ_PUBLISHED}, warn)
    return trees.manifest(samples, root, HQ_TREE, classes=(REAL,))


def _hq_files(root: Path) -> dict[Path, tuple[str, ...]]:
    """Image → the folders between it and the root, in lower case; drawings of masks are left out."""
    found = {}
    for path in trees.files(root, trees.IMAGES) if root.is_dir() else ():
        folders = tuple(part.lower() for part in path.relative_to(root).parts[:-1])
        unknown = [name for name in folders if not HQ_FOLDERS.fullmatch(name)]
        if any("mask" in name for name in unknown):  # CelebAMask-HQ-mask-anno holds drawings
            continue
        if unknown:
            raise trees.wrong_tree(root, HQ_TREE, f"the folder {unknown[0]!a} is not one of CelebA-HQ")
        found[path] = folders
    return found


def _split_of_celeba_number(root: Path, path: Path) -> str:
    """Split of a file such as train/female/000004.jpg; empty for files that are laid out otherwise."""
    folders = (root.resolve() / path.relative_to(root)).parts[-3:-1]
    split, sex = folders[0].lower(), folders[-1].lower()
    is_one = re.fullmatch(r"\d{6}", path.stem) and sex in {"male", "female"}
    return SPLIT_NAMES.get(split, "") if is_one else ""


def _sample(
    path: Path, listed: str, dataset: str, split_of: Mapping[str, str], person_of: Mapping[str, str]
) -> Sample:
    own = person_of[listed] if listed in person_of else f"file-{Path(listed).stem}"
    return Sample(path=path, label=REAL, dataset=dataset, group=f"celeba-{own}", split=split_of[listed])


def _list(root: Path, given: str, option: str, names: tuple[str, ...], folder: str) -> Path | None:
    chosen = trees.given_file(given, option)
    places = [root, trees.child(root, folder) or root]
    return chosen or next((found for place in places if (found := trees.child(place, *names))), None)


def _partition(root: Path, given: str) -> dict[str, str] | None:
    """File name → split; None where there is no list."""
    path = _list(root, given, "partition", PARTITION_LISTS, "Eval")
    if path is None:
        return None
    split_of = {}
    for line, (name, mark) in trees.read_rows(path, "000001.jpg", "0, 1 or 2"):
        if line == 1 and path.suffix == ".csv" and mark == "partition":
            continue
        if mark not in PARTITIONS or name in split_of:
            found = f"{name} twice" if name in split_of else repr(mark)
            raise ManifestError(
                f"{str(path)!a}, line {line}: expected each image once with 0 for train, 1 for validation or "
                f"2 for test, found {found}"
            )
        split_of[name] = PARTITIONS[mark]
    return split_of


def _identities(root: Path, given: str, warn: Warn) -> dict[str, str]:
    """File name → person; empty, with a warning, where there is no list."""
    path = _list(root, given, "identities", IDENTITY_LISTS, "Anno")
    if path is None:
        warn(
            "no identity_CelebA.txt: each picture is a group of its own, and a split other than the official "
            "one can put a person on both sides"
        )
        return {}
    person_of = {}
    for line, (name, person) in trees.read_rows(path, "000001.jpg", "a number"):
        if not person.isdigit():
            if line == 1 and path.suffix == ".csv":
                continue
            raise ManifestError(f"{str(path)!a}, line {line}: a person is a number, found {person!a}")
        person_of[name] = person
    return person_of


def _mapping(root: Path, given: str) -> dict[int, str]:
    """CelebA-HQ's number → CelebA's file name; empty where there is no list."""
    path = trees.given_file(given, "mapping") or trees.child(root, MAPPING)
    source: dict[int, str] = {}
    for line, (number, _, name) in trees.read_rows(path, "idx", "orig_idx", "orig_file") if path else ():
        if line == 1 and number == "idx":
            continue
        if not number.isdigit() or int(number) in source:
            raise ManifestError(f"{str(path)!a}, line {line}: expected each number once, found {number!a}")
        source[int(number)] = name
    return source
