"""Manifests of any names survive writing and reading; splits keep groups whole and shares close."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tellsign.data import Manifest, read, write
from tellsign.types import ManifestError, Sample

# Everything that CSV gives a meaning, letters of several lengths in UTF-8, and a byte that is none.
TEXT = st.text(st.sampled_from("ab ,;\"'\n\r\t\\#=é猫\U0001f408\u2028\x85\x1c\udcff"), max_size=6)
NAMES = st.binary(min_size=1, max_size=8).filter(
    lambda name: not set(name) & set(b"/\0") and name not in {b".", b".."}
)
PARTS = st.sampled_from(
    [
        {"train": 0.5, "valid": 0.5},
        {"train": 0.9, "valid": 0.1},
        {"train": 0.6, "valid": 0.25, "test": 0.15},
    ]
)


@pytest.mark.skipif(sys.platform == "win32", reason="names are bytes on POSIX only")
@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            NAMES,
            st.sampled_from([0, 1, None]),
            TEXT,
            TEXT,
            st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda row: row[0],
    )
)
def test_what_is_written_is_read(rows):
    with tempfile.TemporaryDirectory() as folder:
        manifest = Manifest(
            tuple(
                Sample(
                    Path(folder, os.fsdecode(name)),
                    label,
                    dataset=text,
                    generator=other,
                    group=other,
                    video=text,
                    frame=frame,
                )
                for name, label, text, other, frame in rows
            )
        )
        target = Path(folder, "sub", "m.csv")
        write(manifest, target)
        again = read(target, check_files=False)
        assert [os.path.normpath(s.path) for s in again] == [str(s.path) for s in manifest]
        write(again, target)
        assert read(target, check_files=False) == again
        write(again, Path(folder, "m.csv"))
        assert read(Path(folder, "m.csv"), check_files=False) == manifest
        assert again.digest() == manifest.digest()


@st.composite
def manifests(draw):
    """Up to 120 samples of up to four data sets, in groups of one or several labels."""
    rows = draw(
        st.lists(
            st.tuples(st.sampled_from("ABCD"), st.integers(0, 1), st.integers(0, 40), st.booleans()),
            min_size=1,
            max_size=120,
        )
    )
    return Manifest(
        tuple(
            Sample(Path(f"{i}.png"), label, dataset, group=f"{dataset}{group}" if grouped else "")
            for i, (dataset, label, group, grouped) in enumerate(rows)
        )
    )


@settings(max_examples=150, deadline=None)
@given(manifests(), PARTS, st.integers(0, 5))
def test_splits(manifest, shares, seed):
    try:
        parts = manifest.split(shares, seed=seed)
    except ManifestError:
        with pytest.raises(ManifestError, match="too few"):
            manifest.split(shares, seed=seed)
        return
    assert manifest.split(shares, seed=seed) == parts
    assert list(parts) == list(shares)
    assert Counter(s.path for part in parts.values() for s in part) == Counter(s.path for s in manifest)
    where = defaultdict(set)
    for name, part in parts.items():
        for sample in part:
            assert sample.split == name
            where[sample.group or sample.path].add(name)
    assert all(len(names) == 1 for names in where.values()), "a group crosses"
    # In each stratum a part is off by less than its largest group for itself, and one for earlier strata.
    labels, sizes = defaultdict(set), Counter(s.group or str(s.path) for s in manifest)
    for sample in manifest:
        labels[sample.group or str(sample.path)].add((sample.dataset, sample.label))
    strata = defaultdict(list)
    for group, key in labels.items():
        strata[frozenset(key)].append(group)
    for groups in strata.values():
        total, largest = sum(sizes[g] for g in groups), max(sizes[g] for g in groups)
        for name, share in shares.items():
            found = sum(sizes[g] for g in groups if where[g if g in where else Path(g)] == {name})
            assert abs(found - share * total) <= 2 * largest * (len(shares) - 1)
