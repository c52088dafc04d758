"""The same picture twice: files that are equal, and files whose perceptual hashes nearly are.

Shapes: N files.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tellsign.groups import sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from tellsign.data.audit.cues import FileCues
    from tellsign.types import Sample

# Of 64 bits. Among 1600 aligned faces of stylegan140k two pairs come this near, the next ones differ in 8;
# copies of one picture at 1024 and 256 pixels differ in none.
DISTANCE = 4
# Mean difference of thumbnails: of those two pairs one is one face (0.02), the other is two (0.15).
COLOUR = 0.1
CELLS = 1 << 22  # hashes compared at once


@dataclass(frozen=True, slots=True)
class DuplicateSet:
    """Files of one picture."""

    kind: Literal["exact", "near"]
    samples: tuple[Sample, ...]  # of exact copies, a near set holds the first

    @property
    def crosses_labels(self) -> bool:
        """Whether both classes hold it."""
        return len({sample.label for sample in self.samples}) > 1

    @property
    def crosses_splits(self) -> bool:
        """Whether two splits hold it."""
        return len({sample.split for sample in self.samples if sample.split}) > 1

    @property
    def crosses_groups(self) -> bool:
        """Whether a split by group can tear it apart."""
        found = set(sources(self.samples))
        return len(found) > 1 or found == {""}


def duplicate_sets(
    samples: Sequence[Sample], cues: Sequence[FileCues], *, distance: int = DISTANCE
) -> tuple[DuplicateSet, ...]:
    """Exact and near duplicates, those that cross labels, splits or groups first.

    Near are pictures whose hashes differ in at most `distance` bits and whose thumbnails have nearly the same
    colours; a set holds what a chain of such pairs connects. Pictures without structure have no hash.

    Args:    samples: N rows. cues: theirs. distance: Hamming distance of the hashes.
    Returns: the sets, each of two files or more.
    """
    copies: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(cues):
        copies[row.sha256].append(index)
    found = [("exact", members) for members in copies.values() if len(members) > 1]
    first = [members[0] for members in copies.values() if cues[members[0]].phash is not None]
    hashes = np.array([cues[index].phash for index in first], dtype=np.uint64)
    thumbnails = np.array([cues[index].thumbnail.ravel() for index in first], dtype=np.float32)
    found += [
        ("near", [first[i] for i in members]) for members in near_sets(hashes, thumbnails, distance=distance)
    ]
    sets = [
        DuplicateSet("exact" if kind == "exact" else "near", tuple(samples[i] for i in members))
        for kind, members in found
    ]
    return tuple(
        sorted(sets, key=lambda s: (-s.crosses_labels, -s.crosses_splits, -s.crosses_groups, s.kind))
    )


def near_sets(
    hashes: NDArray[np.uint64], thumbnails: NDArray[np.float32], *, distance: int
) -> list[list[int]]:
    """Connected sets of pictures whose hashes and colours are close.

    Args:    hashes: (N,). thumbnails: (N, values) in [0, 1]. distance: in bits, at most.
    Returns: lists of two indices or more.
    """
    n = len(hashes)
    root = np.arange(n)
    step = max(1, CELLS // max(n, 1))
    for start in range(0, n, step):
        bits = np.bitwise_count(hashes[start : start + step, None] ^ hashes[None, start:])
        for row, column in _pairs(bits <= distance):
            i = start + row
            others = start + column[column > row]
            near = np.abs(thumbnails[others] - thumbnails[i]).mean(axis=1) <= COLOUR
            _join(root, i, others[near])
    sets: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(root.tolist()):
        sets[label].append(index)
    return [members for members in sets.values() if len(members) > 1]


def _pairs(close: NDArray[np.bool_]) -> Iterable[tuple[int, NDArray[np.intp]]]:
    """Rows that are close to another than themselves, with the columns."""
    for row in np.flatnonzero(close.sum(axis=1) > 1).tolist():
        yield row, np.flatnonzero(close[row])


def _join(root: NDArray[np.intp], index: int, others: NDArray[np.intp]) -> None:
    labels = np.unique(root[np.append(others, index)])
    if len(labels) > 1:
        root[np.isin(root, labels)] = labels[0]
