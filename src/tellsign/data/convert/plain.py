"""Folders named real and fake, and tables of other projects, by the same names as published data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tellsign.data.convert import trees
from tellsign.data.index import NothingFoundError, index_csv, index_folder
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from tellsign.data.convert.trees import Warn
    from tellsign.data.manifest import Manifest

TREE = """
[DATASET/][train/]real/NAME.jpg
[DATASET/][train/]fake/[GENERATOR/]NAME.jpg  (train, val, test: the split; also real/train/ and so on)
"""
CSV_TREE = """
path,label,dataset,generator,group,video,frame,split,sha256  (path and label are needed)
"""


def folder(root: Path, *, warn: Warn = trees.unheard) -> Manifest:
    """Any tree with folders named real and fake: images and videos, as `tellsign data index` reads it.

    Args:    root: the folder.
             warn: called with what is worth knowing.
    Returns: the manifest, without groups; split is that of a folder train, val or test beside real or fake.
    Raises:  ManifestError: there is no real or fake folder, nothing in them, or a folder can't be read.
    """
    if not root.is_dir():
        raise trees.wrong_tree(root, TREE, "it is not a folder")
    skipped: set[str] = set()

    def pass_over(path: Path) -> None:
        skipped.add(str(path.relative_to(root)))

    try:
        found = index_folder(root, suffixes=trees.MEDIA, on_skip=pass_over)
    except NothingFoundError:
        why = "there is no image or video below a folder named real or fake"
        raise trees.wrong_tree(root, TREE, why) from None
    if skipped:
        warn(f"{len(skipped)} files are passed over: {trees.few(skipped)}")
    return found


def csv(
    root: Path, *, warn: Warn = trees.unheard, skip_label: str = "", label_of: str = "", **columns: str
) -> Manifest:
    """A table of another project, as `tellsign data index` reads it.

    Args:    root: the CSV; its paths are relative to its folder.
             warn: called with what is worth knowing.
             skip_label: rows with this label are left out.
             label_of: what labels mean, e.g. 1=real,0=fake.
             columns: our column = the table's, e.g. path=file.
    Returns: the manifest.
    Raises:  ManifestError: the table can't be read, lacks a column, or rows break a manifest's rules.
             ConfigError: label_of can't be understood.
    """
    skipped = [skip_label] if skip_label else []
    if skipped:
        warn(f"rows with the label {skip_label!a} are left out")
    words = dict(_word_and_label(text) for text in label_of.split(",") if text.strip())
    return index_csv(root, columns=columns, skip_labels=skipped, label_of=words, warn=warn)


def _word_and_label(text: str) -> tuple[str, str]:
    word, equals, label = text.strip().partition("=")
    if not equals:
        raise ConfigError(f"label_of takes WORD=real and WORD=fake, separated by commas, found {text!a}")
    return word, label
