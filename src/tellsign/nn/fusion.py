"""Branches' scores → one score: weighted mean of probabilities or of log-odds, majority vote, fitted weights.

A crop's branches are fused; the fused scores of an image's crops are averaged.

Shapes: B images, M crops, n branches; parts are log-odds of fake.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tellsign.groups import n_groups
from tellsign.metrics import auroc, delong, differences
from tellsign.types import ConfigError, ManifestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tellsign.types import FloatArray

STEPS = 20  # of the grid: weights are multiples of 1/20
MOST_BRANCHES = 7  # for which the grid has no more than 230,230 points
RESAMPLES = 200  # of sources, for the standard error of rows that share one
ONE_ERROR = 0.6827  # level of an interval that reaches one standard error to either side
LEAST_WEIGHT = 1e-30  # in place of 0, whose logarithm has no gradient


def fused(parts: Tensor, fusion: str, weights: Tensor) -> Tensor:
    """The ensemble's log-odds of fake.

    "weights" and "fit": logit of p = Σ w p, the published rule. It is taken in the space of logarithms, where
    nothing is rounded to 0 or 1 and each score keeps its gradient, however sure the branches are. "vote": the
    median of an odd number of log-odds, which is above 0 exactly where most branches are. "logits": Σ w z,
    the mean of the log-odds themselves.

    Args:    parts: (M, n).
             fusion: "weights", "fit", "vote" or "logits".
             weights: (n,), adding up to 1; not used by a vote.
    Returns: (M,).
    """
    if fusion == "vote":
        return parts.sort(dim=1).values[:, parts.shape[1] // 2]
    if fusion == "logits":
        return (parts * weights).sum(dim=1)
    logs = weights.clamp(min=LEAST_WEIGHT).log()
    fake = torch.logsumexp(logs + functional.logsigmoid(parts), dim=1)
    real = torch.logsumexp(logs + functional.logsigmoid(-parts), dim=1)
    return fake - real


def fused_scores(parts: FloatArray, fusion: str, weights: tuple[float, ...]) -> FloatArray:
    """`fused` of arrays, in float64: (M, n) → (M,)."""
    values = torch.from_numpy(np.asarray(parts, dtype=np.float64))
    return np.asarray(fused(values, fusion, torch.tensor(weights, dtype=torch.float64)).numpy())


@dataclass(frozen=True, slots=True, eq=False)
class CropScores:
    """Branches' scores of the crops of several images."""

    parts: FloatArray  # (M, n)
    image: NDArray[np.integer[Any]]  # (M,) which of the B images a crop is of, 0 to B - 1
    rows: NDArray[np.integer[Any]]  # (B,) of the manifest


def image_means(scores: FloatArray, image: NDArray[np.integer[Any]]) -> FloatArray:
    """The mean score of each image's crops.

    Args:    scores: (M,) of crops. image: (M,) which image each is of, 0 to B - 1.
    Returns: (B,).
    """
    return np.asarray(np.bincount(image, weights=scores) / np.bincount(image))


@dataclass(frozen=True, slots=True)
class FittedWeights:
    """A point of the grid, and how it does where it was chosen."""

    weights: tuple[float, ...]  # one a branch, adding up to 1
    auroc: float  # of the fused score on the images that they were fitted on
    best: float  # AUROC of the best point of the grid
    n: int  # images


def fitted_weights(
    crops: CropScores, labels: NDArray[np.integer[Any]], groups: Sequence[str] | None = None
) -> FittedWeights:
    """The most even weights whose AUROC is within a standard error of the best of a grid over the simplex.

    On a hundred images the best point is an accident, and often leaves branches out that help elsewhere. The
    standard error is that of the paired difference (DeLong): of weights that the images can't tell from the
    best ones, those nearest to equal are taken. Rows of one source, such as frames of a video, are not
    independent, and DeLong's error would be too small: there it is that of a bootstrap over sources.

    Args:    crops: of images that the branches were neither trained nor chosen on.
             labels: (B,) 0 real, 1 fake.
             groups: (B,) source of each image; empty: of its own. None: each is.
    Returns: the weights, multiples of 1/20.
    Raises:  ManifestError: a class is missing, or scores are not finite.
             ConfigError: there are too many branches for a grid.
    """
    if set(np.unique(labels)) != {0, 1}:
        raise ManifestError(
            f"fusion weights are fitted on both classes, found {len(labels)} images with labels "
            f"{sorted(set(np.asarray(labels).tolist()))}; give more validation images"
        )
    if not np.isfinite(crops.parts).all():
        raise ManifestError("scores of a branch are not finite, so that no weights can be fitted to them")
    n = crops.parts.shape[1]
    if n > MOST_BRANCHES:
        raise ConfigError(
            f"weights of {n} branches can't be fitted by a grid, {MOST_BRANCHES} at most; give fusion_weights"
        )
    points = sorted(simplex(n, STEPS), key=lambda weights: sum(w * w for w in weights))  # most even first
    scores = [image_means(fused_scores(crops.parts, "weights", weights), crops.image) for weights in points]
    areas = [float(auroc(labels, column)) for column in scores]
    best = int(np.argmax(areas))
    for weights, area, column in zip(points, areas, scores, strict=True):
        if area == areas[best] or _within_an_error(labels, scores[best], column, groups):
            return FittedWeights(weights, area, areas[best], len(labels))
    raise AssertionError("the best point is within a standard error of itself")


def _within_an_error(
    labels: NDArray[np.integer[Any]], best: FloatArray, other: FloatArray, groups: Sequence[str] | None
) -> bool:
    """Whether a standard error reaches from the best scores' AUROC to another's."""
    if groups is not None and n_groups(groups) < len(labels):
        drawn = differences(
            labels, best, other, thresholds=None, groups=groups, n_resamples=RESAMPLES, level=ONE_ERROR
        )["auroc"]
        return drawn is None or drawn.ci is None or drawn.ci[0] <= 0
    if min(np.bincount(labels)) < 2:  # one image of a class shows no error
        return True
    z = delong(labels, best, other).z
    return z is not None and z <= 1


def simplex(n: int, steps: int) -> list[tuple[float, ...]]:
    """All n weights that are multiples of 1/steps and add up to 1.

    Args:    n: how many.
             steps: of the grid.
    Returns: the points, in a fixed order.

    Example:
        >>> simplex(2, 2)
        [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
    """
    points = []
    for bars in combinations(range(steps + n - 1), n - 1):
        edges = (-1, *bars, steps + n - 1)
        points.append(tuple((b - a - 1) / steps for a, b in pairwise(edges)))
    return points
