"""The layout of CNNDetection (Wang et al., 2020): GENERATOR[/CLASS]/0_real and 1_fake.

Each generator came with reals of its own (the images that it was trained on), so that it is a data set of
its own here: its fakes are compared with its reals and no others. Files are numbered, and nothing tells which
of them belong together, so that groups are empty.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tellsign.data.convert import trees
from tellsign.types import FAKE, REAL, Sample

if TYPE_CHECKING:
    from tellsign.data.convert.trees import Warn
    from tellsign.data.manifest import Manifest

TREE = """
biggan/0_real/NAME.png  biggan/1_fake/NAME.png
progan/airplane/0_real/NAME.png  progan/airplane/1_fake/NAME.png
(or below test/; and train/airplane/0_real, val/airplane/0_real, which are of ProGAN)
"""
LABELS = {"0_real": REAL, "1_fake": FAKE}
TRAINED_ON = "progan"  # what made the fakes of train/ and val/


def cnndetection(root: Path, *, warn: Warn = trees.unheard, generators: str = "") -> Manifest:
    """The CNNDetection layout: GENERATOR[/CLASS]/0_real and 1_fake, with train, val and test folders.

    Data sets are `cnndetection/biggan` and so on. A folder train, val or test above the generator is the
    split; without one the images are test sets, as they were published, and split is test.

    Args:    root: the folder of the generators, or of train, val and test.
             warn: called with what is worth knowing.
             generators: to take, separated by commas; empty takes all.
    Returns: the manifest.
    Raises:  ConfigError: a generator is not there.
             ManifestError: the tree differs, or a generator has only one class.
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
        above = [name.lower() for name in folders[: marks[-1]]]
        split = trees.SPLIT_NAMES.get(above[0], "") if above else ""
        named = above[1:] if split else above
        if split in {"train", "valid"}:
            generator = TRAINED_ON
        else:
            generator = named[0] if named else root.resolve().name.lower()
        samples.append(
            Sample(
                path=path,
                label=label,
                dataset=f"cnndetection/{generator}",
                generator=generator if label == FAKE else "",
                split=split or "test",
            )
        )
    if strays and samples:
        warn(f"{len(strays)} images outside of 0_real and 1_fake are passed over: {trees.few(strays)}")
    if generators and samples:
        known = sorted({sample.dataset.removeprefix("cnndetection/") for sample in samples})
        wanted = {f"cnndetection/{name}" for name in trees.choices(generators, "generators", known)}
        samples = [sample for sample in samples if sample.dataset in wanted]
    return trees.manifest(samples, root, TREE)
