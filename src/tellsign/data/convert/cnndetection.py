"""The layout of CNNDetection (Wang et al., 2020): GENERATOR[/CLASS]/0_real and 1_fake.

Each generator came with reals of its own (the images that it was trained on), so that it is a data set of
its own here: its fakes are compared with its reals and no others. Files are numbered, and nothing tells which
of them belong together, so that groups are empty.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tellsign.data.convert import trees
from tellsign.data.paths import SPLIT_NAMES
from tellsign.types import FAKE, REAL, ManifestError, Sample

if TYPE_CHECKING:
    from tellsign.data.convert.trees import Warn
    from tellsign.data.manifest import Manifest

TREE = """
biggan/0_real/NAME.png  biggan/1_fake/NAME.png
progan/airplane/0_real/NAME.png  progan/airplane/1_fake/NAME.png
(or below test/; and train/airplane/0_real, val/airplane/0_real, progan_train/airplane/0_real, ...,
which are of ProGAN)
"""
LABELS = {"0_real": REAL, "1_fake": FAKE}
TRAINED_ON = "progan"  # what made the fakes of train/ and val/
# LSUN's objects, of which ProGAN was trained: folders below a generator, and never one.
OBJECTS = frozenset((
    "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
))  # fmt: skip


def cnndetection(root: Path, *, warn: Warn = trees.unheard, generators: str = "") -> Manifest:
    """The CNNDetection layout: GENERATOR[/CLASS]/0_real and 1_fake, with train, val and test folders.

    Data sets are `cnndetection/biggan` and so on. A folder train, val or test above the generator is the
    split; without one the images are test sets, as they were published, and split is test. Where the root or
    a first folder is named as progan_train is, it is the split.

    Args:    root: the folder of the generators, or of train, val and test, or one of these.
             warn: called with what is worth knowing.
             generators: to take, separated by commas; empty takes all.
    Returns: the manifest.
    Raises:  ConfigError: a generator is not there.
             ManifestError: the tree differs, a generator has only one class, or what made the fakes can't be
                 told, since the root is the folder of a generator's object categories.
    """
    samples = []
    strays = set()
    for path in trees.files(root, trees.IMAGES) if root.is_dir() else ():
        folders = path.relative_to(root).parts[:-1]
        marks = [i for i, name in enumerate(folders) if name.lower() in LABELS]
        if not marks:
            strays.add(str(path.relative_to(root)))
            continue
        label = LABELS[folders[marks[-1]].lower()]
        generator, split = _origin(root, [name.lower() for name in folders[: marks[-1]]])
        samples.append(
            Sample(
                path=path,
                label=label,
                dataset=f"cnndetection/{generator}",
                generator=generator if label == FAKE else "",
                split=split,
            )
        )
    if strays and samples:
        warn(f"{len(strays)} images outside of 0_real and 1_fake are passed over: {trees.few(strays)}")
    if generators and samples:
        known = sorted({sample.dataset.removeprefix("cnndetection/") for sample in samples})
        wanted = {f"cnndetection/{name}" for name in trees.choices(generators, "generators", known)}
        samples = [sample for sample in samples if sample.dataset in wanted]
    return trees.manifest(samples, root, TREE, warn=warn)


def _origin(root: Path, above: list[str]) -> tuple[str, str]:
    """Generator and split of the files below some folders, those between the root and 0_real or 1_fake."""
    own, first = root.resolve().name.lower(), above[0] if above else ""
    own_split = _names_training(own)
    # train is an object too: in the folder of ProGAN's objects it is no split.
    is_object = first in OBJECTS and len(above) == 1 and bool(own_split or own == TRAINED_ON)
    if not is_object and (split := SPLIT_NAMES.get(first) or _names_training(first)):
        generator = TRAINED_ON if split != "test" else above[1] if len(above) > 1 else own
        return generator, split
    if first and first not in OBJECTS:
        return first, own_split or "test"
    if own_split:
        return TRAINED_ON, own_split
    if not first or own == TRAINED_ON:
        return own, "test"
    raise ManifestError(
        f"{str(root)!a}: {first!a} is a category of objects, and no generator; what made the fakes and which "
        "split they are of is not known. Give the folder above, which holds progan_train, or a folder for "
        "each generator"
    )


def _names_training(folder: str) -> str:
    """The split train or valid where a word of a folder's name says so, as in progan_train; else empty."""
    words = set(re.findall(r"[a-z]+", folder)) & {"train", "training", "val", "valid", "validation"}
    return SPLIT_NAMES[words.pop()] if len(words) == 1 else ""
