"""How alike the images of a generator are, without a network: collapse is measured in pixels, and shown.

A generator that gives one image over and over can have a perfect spectrum and a small loss. Two numbers tell:
the mean distance of pairs, and the share of images whose nearest other one is nearer than reals ever are.
Both are given beside those of as many real images, since a distance in pixels means nothing alone.

Shapes: B images, S side, M pixels of an image that are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tellsign.types import ConfigError, ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from tellsign.types import FloatArray

SIDE = 16  # of the means over blocks that are compared: fine detail and one pixel of shift don't count
NEAR = 0.5  # of the median distance of a real image from its nearest other


@dataclass(frozen=True, slots=True)
class Diversity:
    """How far the images of a set lie apart, as root mean squares over pixels in [0, 1]."""

    n: int  # images
    mean: float  # distance of pairs
    nearest: float  # median distance of an image from its nearest other
    duplicates: float  # share of images with another one nearer than the limit
    limit: float  # below which two images are near duplicates


def diversity(images: FloatArray, *, limit: float | None = None) -> Diversity:
    """How far images lie apart.

    Args:    images: (B, 3, S, S) in [0, 1], two or more.
             limit: below which two are near duplicates; None: half of their own median distance from the
             nearest, as for reals, whose limit is then that of generated images.
    Returns: mean distance of pairs, median distance of the nearest, share of near duplicates.
    Raises:  ConfigError: there are fewer than two. ImageError: they are no square images.
    """
    if len(images) < 2:
        raise ConfigError(f"distances need two images or more, found {len(images)}")
    distances = pair_distances(images, images)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.min(axis=1)
    middle = float(np.median(nearest))
    limit = NEAR * middle if limit is None else limit
    return Diversity(
        n=len(images),
        mean=float(distances[np.isfinite(distances)].mean()),
        nearest=middle,
        duplicates=float(np.mean(nearest < limit)),
        limit=limit,
    )


def pair_distances(images: FloatArray, others: FloatArray) -> NDArray[np.float64]:
    """The distance of each image from each other one, in means over blocks.

    Args:    images, others: (B, 3, S, S) in [0, 1], of one size.
    Returns: (B, B) root mean squares.
    Raises:  ImageError: they are no square images of one size.
    """
    if images.shape[1:] != others.shape[1:]:
        raise ImageError(
            f"images of {images.shape[1:]} and of {others.shape[1:]} can't be compared; crop them to one size"
        )
    a, b = _blocks(images), _blocks(others)
    squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
    found: NDArray[np.float64] = np.sqrt(np.maximum(squares, 0) / a.shape[1])
    return found


def nearest(images: FloatArray, others: Iterable[FloatArray]) -> float:
    """How far images are from the nearest of others, such as those that were learnt from.

    Args:    images: (B, 3, S, S) in [0, 1]. others: such arrays, one after the other.
    Returns: the median distance, a root mean square over pixels.
    Raises:  ImageError: they are no square images of one size.
    """
    found = np.full(len(images), np.inf)
    for part in others:
        found = np.minimum(found, pair_distances(images, part).min(axis=1))
    return float(np.median(found))


def _blocks(images: FloatArray) -> NDArray[np.float64]:
    """(B, 3, S, S) → (B, M), means over blocks, which makes a side of 16 or a little more."""
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise ImageError(f"expected images (B, C, S, S), found {images.shape}; crop them to squares")
    factor = max(1, images.shape[-1] // SIDE)
    n = images.shape[-1] // factor
    cut = np.asarray(images[..., : n * factor, : n * factor], dtype=np.float64)
    means = cut.reshape(*cut.shape[:2], n, factor, n, factor).mean(axis=(3, 5))
    return np.asarray(means.reshape(len(cut), -1))
