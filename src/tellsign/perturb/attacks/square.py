"""Square: a random search that reads scores only, for detectors without gradients.

NumPy alone. An image's random numbers and decisions are its own.

Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np

from tellsign.perturb.attacks.score import array_margins, check_count, check_eps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tellsign.perturb.attacks.score import ArrayScore, Labels
    from tellsign.types import FloatArray

FIRST_SHARE = 0.8  # of the pixels that the first squares cover
HALVED = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)  # queries of 10,000 after which that share is halved
DRAWS = 10  # tries at colours that change something; a square at the limits everywhere may have none


def square(
    score: ArrayScore,
    images: FloatArray,
    labels: Labels,
    *,
    eps: float,
    threshold: float,
    rngs: Sequence[np.random.Generator],
    queries: int = 1000,
) -> tuple[FloatArray, FloatArray]:
    """Squares of random place and colour, each kept where it lowers the margin.

    Implements Andriushchenko et al. (2020), algorithms 1 and 2 in the maximum norm. Deviates: goes on when
    the decision is wrong, because AUROC reads scores; starts with squares of 0.8 of the pixels, as AutoAttack
    does; returns the given image where nothing is better.

    Args:    score: (B, 3, H, W) → (B,); need not be differentiable.
             images: (B, 3, H, W) in [0, 1].
             labels: (B,) 0 real, 1 fake.
             eps: largest change of a pixel value.
             threshold: score from which on an image is called fake.
             rngs: one an image.
             queries: scores asked for each image, that of the image itself not counted.
    Returns: (B, 3, H, W) the best images, and (B,) their margins.
    Raises:  ConfigError: an option is out of range, or a score is NaN.
    """
    check_eps(eps)
    check_count("queries", queries)
    change = images.dtype.type(eps)
    clean = array_margins(score, images, labels, threshold)
    if eps == 0:
        return images.copy(), clean
    low, high = np.clip(images - change, 0, 1), np.clip(images + change, 0, 1)
    height, width = images.shape[2:]
    # Stripes one pixel wide: the start that the authors found best for convolutional networks.
    up = np.stack([rng.integers(2, size=(3, 1, width)) for rng in rngs]).astype(np.bool_)
    best = np.where(up, high, low)
    margin = array_margins(score, best, labels, threshold)
    for query in range(1, queries):
        side = side_length(query, queries, height, width)
        drawn = [_with_square(best[i], low[i], high[i], side, rng) for i, rng in enumerate(rngs)]
        candidates = np.stack(drawn)
        found = array_margins(score, candidates, labels, threshold)
        better = found < margin
        best[better], margin[better] = candidates[better], found[better]
    worse = clean <= margin
    best[worse], margin[worse] = images[worse], clean[worse]
    return best, margin


def side_length(query: int, queries: int, height: int, width: int) -> int:
    """Side of the square that one query changes.

    Args:    query, queries: its number, and how many there are.
             height, width: of the image in pixels.
    Returns: pixels, at least 1 and at most the shorter side.

    Example:
        >>> [side_length(query, 10_000, 64, 64) for query in (0, 10, 11, 9_999)]
        [57, 40, 40, 4]
    """
    halvings = bisect_right(HALVED, 10_000 * query / queries)
    area = FIRST_SHARE * 0.5**halvings * height * width
    return int(min(max(1, round(area**0.5)), height, width))


def _with_square(
    image: FloatArray, low: FloatArray, high: FloatArray, side: int, rng: np.random.Generator
) -> FloatArray:
    """(3, H, W) with one square at the limits, each channel at its upper or lower one."""
    height, width = image.shape[1:]
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    window = (slice(None), slice(top, top + side), slice(left, left + side))
    changed = image.copy()
    for _ in range(DRAWS):
        up = rng.integers(2, size=(3, 1, 1)).astype(np.bool_)
        changed[window] = np.where(up, high[window], low[window])
        if (changed[window] != image[window]).any():
            break
    return changed
