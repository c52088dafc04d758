"""A manifest → training, validation and test parts that no group crosses; and with fewer reals.

Shapes: N samples.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from tellsign.data import Manifest
from tellsign.data.manifest import LABEL_NAMES
from tellsign.data.splitting import parts_by_source
from tellsign.groups import sources
from tellsign.types import FAKE, REAL, ManifestError

VALID_SHARE = 0.15  # of what is not tested on


@dataclass(frozen=True, slots=True)
class Fold:
    """One of k ways to part a manifest; each sample is tested on in one of them."""

    number: int  # from 1
    train: Manifest
    valid: Manifest
    test: Manifest


def folds(manifest: Manifest, k: int, *, seed: int, valid: float = VALID_SHARE) -> tuple[Fold, ...]:
    """Grouped stratified folds: each has its share of every data set, label and generator.

    Args:    manifest: labelled samples; their own splits are not looked at.
             k: how many folds, 2 or more.
             seed: of the partition.
             valid: share of a fold's other samples that are its validation part.
    Returns: the folds, each part in the manifest's order. No group is in two parts of a fold.
    Raises:  ManifestError: there are too few groups, or a part lacks a class.
    """
    if k < 2:
        raise ManifestError(f"samples are tested on in turn in 2 folds or more, found {k}")
    _ = manifest.labels  # each has one
    numbers = [str(number) for number in range(1, k + 1)]
    places = parts_by_source(manifest, dict.fromkeys(numbers, 1 / k), seed=seed)
    found = []
    for number in numbers:
        test, others = (
            Manifest(
                tuple(s for s, place in zip(manifest, places, strict=True) if (place == number) == tested)
            )
            for tested in (True, False)
        )
        parts = others.split({"train": 1 - valid, "valid": valid}, seed=seed)
        test = Manifest(tuple(replace(sample, split="test") for sample in test))
        fold = Fold(int(number), parts["train"], parts["valid"], test)
        _check_classes(fold, k)
        found.append(fold)
    return tuple(found)


def thinned(training: Manifest, *, ratio: float, seed: int) -> Manifest:
    """A training part with fewer reals, so that there are `ratio` fakes to one.

    Args:    training: reals and fakes.
             ratio: fakes for each real.
             seed: of the choice.
    Returns: all fakes and whole groups of reals, in the same order; the part itself where it has no more
             reals than that.
    Raises:  ManifestError: no group of reals is small enough.
    """
    labels = np.array(training.labels)
    wanted = int(np.sum(labels == FAKE) / ratio + 0.5)
    if int(np.sum(labels == REAL)) <= wanted:
        return training
    members: dict[str, list[int]] = defaultdict(list)
    for row, source in enumerate(sources(training)):
        if labels[row] == REAL:
            members[source or f"\0{row}"].append(row)
    kept: set[int] = set()
    for name in np.random.default_rng(seed).permutation(sorted(members)).tolist():
        if len(kept) + len(members[name]) <= wanted:
            kept.update(members[name])
    if not kept:
        raise ManifestError(
            f"{len(members)} groups of reals are too large to leave {wanted} of {np.sum(labels == REAL)} "
            "reals; give more fakes"
        )
    return Manifest(
        tuple(sample for row, sample in enumerate(training) if labels[row] == FAKE or row in kept)
    )


def _check_classes(fold: Fold, k: int) -> None:
    for name in ("train", "valid", "test"):
        part: Manifest = getattr(fold, name)
        if set(part.labels) != {REAL, FAKE}:
            found = " and ".join(sorted({LABEL_NAMES[label] for label in part.labels})) or "nothing"
            raise ManifestError(
                f"the {name} part of fold {fold.number} of {k} needs both classes, found {len(part)} samples "
                f"with {found}; give more groups of both, or fewer folds"
            )
