"""How alike the images of a generator are, without a network: collapse is measured in pixels, and shown.

A generator that gives one image over and over can have a perfect spectrum and a small loss. Two numbers tell:
the mean distance of pairs, and the share of images whose nearest other one is nearer than reals ever are.
Both are given beside those of as many real images, since a distance in pixels means nothing alone.

Shapes: B images, N others, S side, M pixels of an image that are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tellsign.types import ConfigError, ImageError

if TYPE_CHECKING:
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

    Args:    images: (B, 3, S, S) in [0, 1]. others: (N, 3, S, S), of the same size.
    Returns: (B, N) root mean squares.
    Raises:  ImageError: they are no square images of one size.
    """
    if images.shape[1:] != others.shape[1:]:
        raise ImageError(
            f"images of {images.shape[1:]} and of {others.shape[1:]} can't be compared; crop them to one size"
        )
    a, b = (block_means(one).reshape(len(one), -1) for one in (images, others))
    squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
    found: NDArray[np.float64] = np.sqrt(np.maximum(squares, 0) / a.shape[1])
    return found


def block_means(images: FloatArray) -> NDArray[np.float64]:
    """What of images is compared: means over blocks.

    Args:    images: (B, 3, S, S).
    Returns: (B, 3, T, T), T = 16 or a little more where S is no multiple of it; S where that is less.
    Raises:  ImageError: they are no square images.
    """
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise ImageError(f"expected images (B, C, S, S), found {images.shape}; crop them to squares")
    return means_over(images, block_side(images.shape[-1]))


def block_side(size: int) -> int:
    """The side of a block in pixels.

    Args:    size: S of the images that are compared.
    Returns: 1 or more.
    """
    return max(1, size // SIDE)


def means_over(images: FloatArray, side: int) -> NDArray[np.float64]:
    """Means over whole blocks; what is left at the right and at the bottom is left out.

    Args:    images: (B, C, H, W). side: of a block.
    Returns: (B, C, H // side, W // side).
    """
    rows, columns = (length // side for length in images.shape[2:])
    cut = np.asarray(images[..., : rows * side, : columns * side], dtype=np.float64)
    return np.asarray(cut.reshape(*cut.shape[:2], rows, side, columns, side).mean(axis=(3, 5)))
