"""Which part of a split each sample goes to: no source is torn apart, and each part looks like the whole.

Groups are shuffled within their stratum (data set and labels) and each goes to the part that is furthest
below its share. Where a part would then have two groups or more too few or too many of a generator, groups of
one size change places so that it has its share.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from tellsign.groups import sources
from tellsign.types import ManifestError, Sample

# Groups of a generator that a part may lack of its share, or have beyond it, before it is mended.
UNEVEN = 1.5


def parts_by_source(samples: Sequence[Sample], shares: Mapping[str, float], *, seed: int) -> list[str]:
    """The part that each sample goes to.

    Args:    samples: of a manifest.
             shares: name → share; they add up to 1.
             seed: of the shuffle.
    Returns: a name for each sample, the same in whatever order they come.
    Raises:  ManifestError: the shares don't add up to 1, the seed is negative, or a part stays empty.
    """
    # Written so that a share of NaN is refused too.
    if not (all(share > 0 for share in shares.values()) and abs(sum(shares.values()) - 1) <= 1e-9):
        raise ManifestError(f"split shares must be positive and add up to 1, found {dict(shares)}")
    if seed < 0:
        raise ManifestError(f"a seed is not negative, found {seed}")
    members: dict[str, list[int]] = defaultdict(list)
    for index, (source, sample) in enumerate(zip(sources(samples), samples, strict=True)):
        # Not by its row: the digest of a manifest knows no order, and one digest is one split.
        members[source or f"\0{sample.sha256}\0{sample.path}"].append(index)
    strata: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for group, indices in members.items():
        key = tuple(sorted({(samples[i].dataset, str(samples[i].label)) for i in indices}))
        strata[key].append(group)
    rng = np.random.default_rng(seed)
    chosen: dict[int, str] = {}
    owed: dict[tuple[str, ...], dict[str, float]] = defaultdict(lambda: dict.fromkeys(shares, 0.0))
    for key in sorted(strata):
        groups = sorted(strata[key])
        rng.shuffle(groups)
        groups.sort(key=lambda g: -len(members[g]))
        total, largest = sum(len(members[group]) for group in groups), len(members[groups[0]])
        # Many small data sets would all round in favour of the largest part: what earlier ones with the same
        # labels owe a part is made up for, by no more than one group, so that each keeps its share.
        debt = owed[tuple(label for _, label in key)]
        lack = {name: shares[name] * total + max(-largest, min(debt[name], largest)) for name in shares}
        slots = []
        for group in groups:
            slots.append(max(shares, key=lack.__getitem__))
            lack[slots[-1]] -= len(members[group])
        debt.update(lack)
        kinds = {g: (len(members[g]), *sorted({samples[i].generator for i in members[g]})) for g in groups}
        for group, part in _spread(groups, slots, kinds):
            chosen.update(dict.fromkeys(members[group], part))
    if empty := [name for name in shares if name not in chosen.values()]:
        raise ManifestError(
            f"{len(members)} groups are too few for a part {empty[0]!r} of {shares[empty[0]]:.0%}; "
            "add data or ask for fewer parts"
        )
    return [chosen[index] for index in range(len(samples))]


def _spread(
    groups: Sequence[str], slots: Sequence[str], kinds: Mapping[str, tuple[Any, ...]]
) -> Iterator[tuple[str, str]]:
    """(group, part): the parts' slots, given so that each part has its share of each kind of one size.

    Args:    groups: by size. slots: the part that each would have. kinds: group → its size, its generators.
    """
    for _, run in groupby(zip(groups, slots, strict=True), key=lambda pair: kinds[pair[0]][0]):
        names, parts = zip(*run, strict=True)
        numbers = Counter(kinds[name] for name in names)
        sizes, found = Counter(parts), Counter(zip(map(kinds.__getitem__, names), parts, strict=True))
        # Else as they were shuffled.
        if any(
            abs(found[kind, part] - numbers[kind] * sizes[part] / len(names)) > UNEVEN
            for kind in numbers
            for part in sizes
        ):
            seen: Counter[tuple[Any, ...]] = Counter()
            place = {}
            for name in names:
                kind = kinds[name]
                place[name] = ((seen[kind] + 0.5) / numbers[kind], kind)
                seen[kind] += 1
            # Every stretch of this order holds each kind by its share, and each part gets one stretch.
            names, parts = tuple(sorted(names, key=place.__getitem__)), tuple(sorted(parts))
        yield from zip(names, parts, strict=True)
