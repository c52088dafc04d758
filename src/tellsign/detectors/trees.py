"""Decision trees, each of which corrects the sum of those before it: gradient boosting.

The nodes of all trees lie in one row, each behind its parent. From an inner node the way goes on to `left`
where the feature is at most the threshold, otherwise to `right`; a leaf is its own left and right. A leaf's
value is what the tree adds to the score. That of an inner node is the mean over the training images that came
through it, so that each step of a way is worth a difference of two values.

Shapes: B batch, K features, N nodes, T trees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.types import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from tellsign.types import FloatArray

    Indices = NDArray[np.integer[Any]]

# The arrays that `scores` needs, with the letters of their axes.
SHAPES = {"tree.threshold": "N", "tree.value": "N", "bias": ""}
INDICES = {"tree.root": "T", "tree.feature": "N", "tree.left": "N", "tree.right": "N"}  # whole numbers


def check(arrays: Mapping[str, NDArray[Any]], n_features: int) -> None:
    """Raises ArtifactError unless the nodes are trees, so that every way through them ends at a leaf.

    Args:    arrays: of the shapes and types of `SHAPES` and `INDICES`.
             n_features: K.
    """
    n_nodes = len(arrays["tree.value"])
    limits = dict.fromkeys(INDICES, n_nodes) | {"tree.feature": n_features}
    for name, limit in limits.items():
        indices = arrays[name]
        if not ((indices >= 0) & (indices < limit)).all():
            raise ArtifactError(f"array {name!r} should hold numbers from 0 to {limit - 1}")
    node = np.arange(n_nodes)
    left, right = arrays["tree.left"], arrays["tree.right"]
    inner = (left != node) | (right != node)
    if not ((left > node) & (right > node))[inner].all():
        raise ArtifactError("'tree.left' and 'tree.right' should lead from a node to later ones or to itself")
    reached = np.concatenate([arrays["tree.root"], left[inner], right[inner]])
    if not (np.bincount(reached.astype(np.intp), minlength=n_nodes) == 1).all():
        raise ArtifactError("each node should be a root or the child of one other node")


def scores(features: FloatArray, arrays: Mapping[str, NDArray[Any]]) -> FloatArray:
    """The values of the leaves that are reached, one in each tree, and the bias, added up.

    Args:    features: (B, K), standardised.
             arrays: as `check` takes them.
    Returns: (B,), higher = more fake; NaN where a feature is not finite.
    """
    *_, (_, leaves) = _steps(features, arrays)
    # Tree after tree, so that to the last bit a row's score doesn't depend on its neighbours.
    total = np.full(len(features), float(arrays["bias"].reshape(())))
    for values in arrays["tree.value"][leaves].T:
        total += values
    return np.where(np.isfinite(features).all(axis=1), total, np.nan)


def contributions(features: FloatArray, arrays: Mapping[str, NDArray[Any]]) -> FloatArray:
    """What each feature did to the score on the ways through the trees.

    A step from a node to its child is worth the difference of their values, which is put down to the feature
    that the node asks for. The sum over features is exact: it is the score less `base`.

    Args:    features: (B, K), standardised.
             arrays: as `check` takes them.
    Returns: (B, K).
    """
    values, asked = arrays["tree.value"], arrays["tree.feature"]
    found = np.zeros(features.shape)
    rows = np.arange(len(features))[:, None]
    for before, after in _steps(features, arrays):
        np.add.at(found, (rows, asked[before]), values[after] - values[before])
    return found


def base(arrays: Mapping[str, NDArray[Any]]) -> float:
    """The mean score of the training images, from which `contributions` start."""
    return float(arrays["bias"].reshape(()) + arrays["tree.value"][arrays["tree.root"]].sum())


def _steps(features: FloatArray, arrays: Mapping[str, NDArray[Any]]) -> Iterator[tuple[Indices, Indices]]:
    """(B, T) nodes before and after each step, until every way has ended; at least one step."""
    asked, threshold = arrays["tree.feature"], arrays["tree.threshold"]
    left, right = arrays["tree.left"], arrays["tree.right"]
    rows = np.arange(len(features))[:, None]
    before: Indices = np.broadcast_to(arrays["tree.root"], (len(features), len(arrays["tree.root"])))
    while True:
        is_left = features[rows, asked[before]] <= threshold[before]
        after = np.where(is_left, left[before], right[before])
        yield before, after
        if np.array_equal(before, after):
            return
        before = after
