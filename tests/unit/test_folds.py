"""Folds without leaks, each with its share of everything; and training parts with fewer reals."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tellsign.data import Manifest
from tellsign.evaluate.folds import folds, thinned
from tellsign.groups import sources
from tellsign.types import FAKE, REAL, ManifestError, Sample


def made(n_real=60, n_fake=60, group_size=3, generators=("a", "b"), videos=False):
    """A manifest without files; successive rows of a class share a group, or a video without a group."""
    key = "video" if videos else "group"
    samples = [Sample(Path(f"r/{i}"), REAL, "set", **{key: f"r{i // group_size}"}) for i in range(n_real)]
    samples += [
        Sample(
            Path(f"f/{i}"),
            FAKE,
            "set",
            generators[(i // group_size) % len(generators)],
            **{key: f"f{i // group_size}"},
            split="train",
        )
        for i in range(n_fake)
    ]
    return Manifest(tuple(samples))


def paths(manifest):
    return [sample.path for sample in manifest]


@pytest.mark.parametrize("videos", [False, True])
@pytest.mark.parametrize(("k", "group_size"), [(5, 1), (5, 3), (2, 7)])
def test_no_group_is_in_two_parts_and_every_sample_is_tested_on_once(k, group_size, videos):
    manifest = made(group_size=group_size, videos=videos)
    found = folds(manifest, k, seed=3)
    tested = [path for fold in found for path in paths(fold.test)]
    assert Counter(tested) == Counter(paths(manifest))
    for fold in found:
        parts = (fold.train, fold.valid, fold.test)
        assert Counter(path for part in parts for path in paths(part)) == Counter(paths(manifest))
        groups = [set(sources(part)) for part in parts]
        assert not (groups[0] & groups[1])
        assert not (groups[0] & groups[2])
        assert not (groups[1] & groups[2])


def test_every_part_has_its_share_of_classes_and_generators():
    for fold in folds(made(n_real=200, n_fake=100, group_size=1), 5, seed=0):
        assert Counter(fold.test.labels) == {REAL: 40, FAKE: 20}
        assert Counter(s.generator for s in fold.test.filter(label=FAKE)) == {"a": 10, "b": 10}
        assert Counter(fold.valid.labels) == {REAL: 24, FAKE: 12}
        assert {sample.split for sample in fold.train} == {"train"}
        assert {sample.split for sample in fold.valid} == {"valid"}
        assert {sample.split for sample in fold.test} == {"test"}


def test_the_seed_decides():
    one, same, other = (folds(made(), 5, seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("manifest", "k", "message"),
    [
        (made(), 1, "2 folds or more, found 1"),
        (made(n_real=9, n_fake=60), 5, "part of fold . of 5 needs both classes"),
        (made(n_real=0), 5, "needs both classes, found .* with fake"),
        (made(n_real=3, n_fake=3), 5, "too few"),
        (Manifest((*made(), Sample(Path("x")))), 5, "'x' has no label"),
    ],
)
def test_what_cannot_be_parted(manifest, k, message):
    with pytest.raises(ManifestError, match=message):
        folds(manifest, k, seed=0)


@pytest.mark.parametrize(("ratio", "n"), [(5.0, 12), (2.0, 30), (1.0, 60), (0.5, 60)])
def test_reals_are_thinned_by_groups_and_fakes_stay(ratio, n):
    manifest = made(group_size=3)
    found = thinned(manifest, ratio=ratio, seed=1)
    assert Counter(found.labels) == {REAL: n, FAKE: 60}
    assert paths(found) == [path for path in paths(manifest) if path in set(paths(found))], "the same order"
    kept = set(sources(found.filter(label=REAL)))
    assert len(kept) == n // 3, "whole groups"


def test_the_seed_decides_which_reals_are_left():
    manifest = made(group_size=1)
    one, same, other = (thinned(manifest, ratio=5, seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert one != other


def test_reals_of_one_large_group_cannot_be_thinned():
    with pytest.raises(ManifestError, match="1 groups of reals are too large to leave 12 of 60 reals"):
        thinned(made(group_size=60), ratio=5, seed=0)
