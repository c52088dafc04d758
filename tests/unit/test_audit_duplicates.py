"""Exact and near duplicates, and what they cross."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pictures import natural, save
from tellsign.data.audit.cues import file_cues
from tellsign.data.audit.duplicates import DuplicateSet, duplicate_sets, near_sets
from tellsign.types import Sample


def sample(path, label=0, group="", split="", video=""):
    return Sample(Path(path), label, group=group, split=split, video=video)


def test_copies_and_their_resaved_versions(tmp_path):
    a = save(natural(1, 128, 128), tmp_path / "a.png")
    copy = tmp_path / "copy.png"
    copy.write_bytes(a.read_bytes())
    resaved = save(natural(1, 128, 128), tmp_path / "b.jpg", quality=70)
    other = save(natural(2, 128, 128), tmp_path / "c.png")
    samples = [sample(a), sample(copy, label=1), sample(resaved, split="test"), sample(other)]
    found = duplicate_sets(samples, [file_cues(s.path) for s in samples])
    assert [(s.kind, [x.path.name for x in s.samples]) for s in found] == [
        ("exact", ["a.png", "copy.png"]),
        ("near", ["a.png", "b.jpg"]),
    ]
    assert found[0].crosses_labels
    assert not found[1].crosses_labels


@pytest.mark.parametrize(
    ("samples", "labels", "splits", "groups"),
    [
        ((sample("a"), sample("b")), False, False, True),
        ((sample("a", group="g"), sample("b", group="g")), False, False, False),
        ((sample("a", video="v"), sample("b", video="v")), False, False, False),
        ((sample("a", video="v"), sample("b", video="w")), False, False, True),
        ((sample("a", group="g", video="v"), sample("b", video="v")), False, False, True),
        ((sample("a", 0, "g", "train"), sample("b", 1, "g", "test")), True, True, False),
        ((sample("a", 0, "g", "train"), sample("b", 0, "h", "")), False, False, True),
        ((sample("a", None), sample("b", 0)), True, False, True),
    ],
)
def test_what_a_set_crosses(samples, labels, splits, groups):
    found = DuplicateSet("near", samples)
    assert (found.crosses_labels, found.crosses_splits, found.crosses_groups) == (labels, splits, groups)


def brute_force(hashes, thumbnails, distance):
    n = len(hashes)
    sets = [{i} for i in range(n)]
    for i in range(n):
        for j in range(i):
            bits = (int(hashes[i]) ^ int(hashes[j])).bit_count()
            if (
                bits <= distance
                and np.abs(thumbnails[i] - thumbnails[j]).mean() <= 0.1
                and sets[i] is not sets[j]
            ):
                joined = sets[i] | sets[j]
                for k in joined:
                    sets[k] = joined
    return {frozenset(s) for s in sets if len(s) > 1}


@pytest.mark.parametrize("distance", [0, 4, 9])
@pytest.mark.parametrize("cells", [1 << 22, 500])
def test_sets_are_those_of_a_slow_search(distance, cells, monkeypatch):
    monkeypatch.setattr("tellsign.data.audit.duplicates.CELLS", cells)
    rng = np.random.default_rng(distance)
    seeds = rng.integers(0, 2**63, 30, dtype=np.uint64)
    hashes = np.concatenate(
        [seeds ^ (np.uint64(1) << rng.integers(0, 63, 30).astype(np.uint64)) for _ in range(6)]
    )
    thumbnails = rng.choice([0.2, 0.25, 0.8], (len(hashes), 1)).astype(np.float32).repeat(192, axis=1)
    found = {frozenset(s) for s in near_sets(hashes, thumbnails, distance=distance)}
    assert found == brute_force(hashes, thumbnails, distance)


def test_flat_pictures_are_no_near_duplicates(tmp_path):
    paths = [save(np.full((3, 32, 32), level), tmp_path / f"{level}.png") for level in (0.2, 0.21)]
    samples = [sample(path) for path in paths]
    assert duplicate_sets(samples, [file_cues(path) for path in paths]) == ()


def test_no_pictures_no_sets():
    assert duplicate_sets([], []) == ()
