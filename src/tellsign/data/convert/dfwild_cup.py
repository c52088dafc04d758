"""DFWild-Cup, the Signal Processing Cup of 2025, and the scores that it takes.

Files have anonymous names: neither the source data set nor the generator, the video or the person is known.
Groups are therefore empty, and near duplicates between its splits can be found by their pixels only. The
contest's scores are higher = more real, the opposite of ours; `write_scores` turns them round.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tellsign.data.convert import trees
from tellsign.data.paths import SPLIT_NAMES
from tellsign.types import FAKE, REAL, ConfigError, ManifestError, Sample

if TYPE_CHECKING:
    from tellsign.data.convert.trees import Warn
    from tellsign.data.manifest import Manifest

TREE = """
train_real/NAME.jpg  train_fake/NAME.jpg  (or train/real, train/fake, real/train, fake/train ...)
valid_real/NAME.jpg  valid_fake/NAME.jpg  (or val, validation, dev)
test/NAME.jpg                             (or eval; without labels)
"""
LABELS = {"real": REAL, "fake": FAKE}
# As third parties counted them; 3,072 is the published validation set as a whole.
PUBLISHED = {"train real": 42_690, "train fake": 219_470, "valid": 3_072}


def dfwild_cup(root: Path, *, warn: Warn = trees.unheard) -> Manifest:
    """DFWild-Cup (SP Cup 2025): images, with the contest's train, validation and test folders.

    The name of a file's folders tells split and label, as whole words in any order and case; the archives
    have been passed on in more than one layout. The test images have no label. The generator is `dfwild`.

    Args:    root: the folder with the splits.
             warn: called with what is worth knowing.
    Returns: the manifest.
    Raises:  ManifestError: the tree differs, a class is missing, or a folder's name says two things.
    """
    samples = []
    meant: dict[Path, tuple[str, int | None]] = {}
    for path in trees.files(root, trees.IMAGES) if root.is_dir() else ():
        folder = path.parent
        if folder not in meant:
            meant[folder] = _meaning(root, folder)
        split, label = meant[folder]
        generator = "dfwild" if label == FAKE else ""
        samples.append(Sample(path=path, label=label, dataset="dfwild-cup", generator=generator, split=split))
    found = Counter(f"train {'fake' if s.label else 'real'}" for s in samples if s.split == "train")
    found.update("valid" for s in samples if s.split == "valid")
    trees.compare_counts(found, PUBLISHED, warn)
    for split in sorted({sample.split for sample in samples}):
        labels = {sample.label for sample in samples if sample.split == split}
        missing = [name for name, label in LABELS.items() if label not in labels]
        if missing and labels != {None}:
            raise trees.wrong_tree(root, TREE, f"{split} has no {missing[0]} images")
    return trees.manifest(samples, root, TREE, classes=())


def _meaning(root: Path, folder: Path) -> tuple[str, int | None]:
    """Split and label that a folder's name tells."""
    below = folder.relative_to(root)
    words = re.split(r"[^a-z]+", str(below).lower())
    splits = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
    labels = {LABELS[word] for word in words if word in LABELS}
    if len(splits) != 1 or len(labels) > 1 or (not labels and splits != {"test"}):
        raise trees.wrong_tree(
            root, TREE, f"the folder {str(below)!a} names {len(splits)} splits and {len(labels)} labels"
        )
    return splits.pop(), labels.pop() if labels else None


def write_scores(
    rows: Iterable[Mapping[str, Any]],
    out: Path,
    *,
    separator: str = "\t",
    header: str = "",
    suffix: bool = True,
) -> None:
    r"""Write the contest's score file: one image a line, its score 1 - P(fake), higher = more real.

    The contest's rules say what a score means, but no public page shows the form of the file: separator,
    header and whether names keep their suffix are options.

    Args:    rows: as `tellsign scan` writes them: `path`, of which the file name is written without its
                 folders, and `probability` of fake, in [0, 1]; where that is missing, `error` or `reason`.
             out: the file; replaced when it exists.
             separator: between name and score.
             header: first line; none when empty.
             suffix: whether names keep theirs.
    Raises:  ConfigError: there is no row, a probability is missing or not in [0, 1], or an image is named
                 twice.
             ManifestError: the file can't be written.

    Example:
        >>> import tempfile
        >>> out = Path(tempfile.mkdtemp()) / "scores.txt"
        >>> rows = [{"path": "a.png", "probability": 0.25}, {"path": "b.png", "probability": 1.0}]
        >>> write_scores(rows, out, separator=" ")
        >>> out.read_text()
        'a.png 0.75\nb.png 0.0\n'
    """
    lines = []
    seen = set()
    for row in rows:
        path = Path(row["path"])
        written = path.name if suffix else path.stem
        lines.append(f"{written}{separator}{1 - _probability(row)!r}")
        if written in seen:
            raise ConfigError(f"two images are named {written!a}; the contest's names are unique")
        seen.add(written)
    if not lines:
        raise ConfigError("there is no row to write a score of; give those of `tellsign scan`")
    try:
        text = "".join(f"{line}\n" for line in [*([header] if header else []), *lines])
        out.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")
    except OSError as error:
        raise ManifestError(f"cannot write {str(out)!a}: {error.strerror}") from error


def _probability(row: Mapping[str, Any]) -> float:
    """Of fake; raises ConfigError where a row has none."""
    found = row["probability"]
    if found is None or not (math.isfinite(found) and 0 <= found <= 1):
        why = row.get("error") or row.get("reason")
        because = f" ({why})" if why else ""
        raise ConfigError(
            f"{Path(row['path']).name!a} has no probability in [0, 1] but {found}{because}; every "
            "image of the test set needs a score, so mend it or decide on one yourself"
        )
    return float(found)
