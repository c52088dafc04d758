"""Trees as arrays: one that is written by hand, and arrays that are no trees.

Shapes: B rows, K features.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tellsign.detectors import trees
from tellsign.types import ArtifactError

# Tree 0: x0 <= 1 ? (x2 <= -2 ? 1 : 2) : 4, over 1, 3 and 4 images; tree 1: x2 <= 0 ? -8 : 8, over 2 and 6.
TREES = {
    "tree.root": np.array([0, 5]),
    "tree.feature": np.array([0, 2, 0, 0, 0, 2, 0, 0]),
    "tree.threshold": np.array([1.0, -2, 0, 0, 0, 0, 0, 0]),
    "tree.left": np.array([1, 2, 2, 3, 4, 6, 6, 7]),
    "tree.right": np.array([4, 3, 2, 3, 4, 7, 6, 7]),
    "tree.value": np.array([23 / 8, 1.75, 1, 2, 4, 4, -8, 8]),
    "bias": np.array(0.5),
}
ROWS = np.array([[0.0, 9, -3], [1, 9, -2], [1, 9, 0.1], [1.5, 9, 0], [1.5, 9, 5]])


def test_a_way_ends_at_its_leaf():
    trees.check(TREES, 3)
    assert trees.scores(ROWS, TREES).tolist() == [1 - 7.5, 1 - 7.5, 2 + 8.5, 4 - 7.5, 4 + 8.5]
    assert trees.base(TREES) == 0.5 + 23 / 8 + 4


def test_each_step_is_put_down_to_the_feature_that_is_asked_for():
    found = trees.contributions(ROWS[:4], TREES)
    down, up = 1.75 - 23 / 8, 4 - 23 / 8
    expected = [[down, 0, -0.75 - 12], [down, 0, -0.75 - 12], [down, 0, 0.25 + 4], [up, 0, -12]]
    assert found.tolist() == expected
    assert trees.base(TREES) + found.sum(axis=1) == pytest.approx(trees.scores(ROWS[:4], TREES), abs=1e-12)


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64, np.uint64])
def test_numbers_of_every_type_lead_the_same_way(kind):
    arrays = TREES | {name: TREES[name].astype(kind) for name in trees.INDICES}
    trees.check(arrays, 3)
    assert np.array_equal(trees.scores(ROWS, arrays), trees.scores(ROWS, TREES))
    assert np.array_equal(trees.contributions(ROWS, arrays), trees.contributions(ROWS, TREES))


def test_a_feature_that_is_not_finite_gives_no_score():
    rows = ROWS.copy()
    rows[0, 1], rows[2, 2] = np.nan, np.inf  # one is never asked for
    assert np.isnan(trees.scores(rows, TREES)).tolist() == [True, False, True, False, False]


def test_a_row_does_not_depend_on_its_neighbours():
    rng = np.random.default_rng(0)
    arrays = TREES | {"tree.value": rng.normal(size=8)}
    rows = rng.normal(size=(50, 3)) * 3
    together = trees.scores(rows, arrays)
    assert np.array_equal(together, np.concatenate([trees.scores(row[None], arrays) for row in rows]))
    assert np.array_equal(trees.scores(np.asfortranarray(rows[::-1]), arrays), together[::-1])
    assert trees.scores(rows[:0], arrays).shape == (0,)


def test_no_trees_leave_the_bias():
    none = {name: array[:0] for name, array in TREES.items() if name != "bias"} | {"bias": TREES["bias"]}
    trees.check(none, 3)
    assert trees.scores(ROWS, none).tolist() == [0.5] * 5
    assert trees.base(none) == 0.5
    assert not trees.contributions(ROWS, none).any()


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("tree.feature", 1, 3, "'tree.feature' should hold numbers from 0 to 2"),
        ("tree.feature", 2, -1, "'tree.feature' should hold numbers"),  # of a leaf, too: it is read
        ("tree.left", 0, 8, "'tree.left' should hold numbers from 0 to 7"),
        ("tree.right", 0, -1, "'tree.right' should hold numbers"),
        ("tree.root", 0, 8, "'tree.root' should hold numbers"),
        ("tree.left", 1, 0, "from a node to later ones"),  # back to its parent
        ("tree.right", 1, 1, "from a node to later ones"),  # half a leaf
        ("tree.left", 7, 5, "from a node to later ones"),  # a leaf that leads back
        ("tree.right", 0, 3, "each node should be a root or the child of one"),  # of two
        ("tree.root", 1, 4, "each node should be a root or the child of one"),  # of no tree
    ],
)
def test_what_is_no_tree_is_refused(name, place, value, message):
    arrays = TREES | {name: TREES[name].copy()}
    arrays[name][place] = value
    with pytest.raises(ArtifactError, match=message):
        trees.check(arrays, 3)


def test_arrays_that_pass_always_end():
    """Numbers at random: whatever is not refused is scored, in as many steps as there are nodes at most."""
    rng = np.random.default_rng(0)
    passed = 0
    for _ in range(3000):
        n = int(rng.integers(1, 5))
        arrays = {
            "tree.root": rng.integers(0, n, size=1),
            "tree.feature": rng.integers(0, 3, size=n),
            "tree.threshold": rng.normal(size=n),
            "tree.left": rng.integers(0, n + 1, size=n),
            "tree.right": rng.integers(0, n + 1, size=n),
            "tree.value": rng.normal(size=n),
            "bias": np.array(0.0),
        }
        try:
            trees.check(arrays, 3)
        except ArtifactError:
            continue
        passed += 1
        steps = list(trees._steps(ROWS, arrays))
        assert len(steps) <= n
        assert all(np.array_equal(one[1], two[0]) for one, two in pairwise(steps))
        assert np.isfinite(trees.scores(ROWS, arrays)).all()
    assert passed > 20
