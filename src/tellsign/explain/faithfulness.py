"""Whether a map of an image is faithful: does the score move most where the map says that it matters?

Deletion and insertion (Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box
Models", BMVC 2018): pixels are taken out of an image, or put into an empty one, in the order of the map, and
the score is watched. A faithful map takes the evidence away early, so that the area under its deletion is
small, and brings it early, so that the area under its insertion is large. Beside them stand maps of no
meaning: blobs in random order, as coarse as the map, since single pixels taken at random harm an image in
another way.

All of it is NumPy and needs nothing but a score function, whoever computes it.

Shapes: B batch, H W pixels, n points of a curve.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tellsign.types import ConfigError, ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tellsign.faces import Box
    from tellsign.types import FloatArray

    Score = Callable[[FloatArray], FloatArray]  # (B, 3, H, W) → (B,), higher = more fake

SIGMA = 10.0  # pixels, of the blurred image; removes what is finer than about a twentieth of 224 pixels


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """How a score changes while pixels are deleted or inserted."""

    shares: FloatArray  # (n,) of the pixels changed so far, from 0 to 1
    scores: FloatArray  # (n,) after each step, in the unit of the score function

    @property
    def area(self) -> float:
        """Under the curve, by trapezia: the mean score on the way."""
        return float(np.trapezoid(self.scores, self.shares))


@dataclass(frozen=True, slots=True, eq=False)
class Faithfulness:
    """The curves of a map and those of maps of no meaning."""

    deletion: Curve
    insertion: Curve
    random_deletions: tuple[Curve, ...]  # one a random map
    random_insertions: tuple[Curve, ...]

    @property
    def random_deletion(self) -> FloatArray:
        """(n_random,) areas."""
        return np.array([curve.area for curve in self.random_deletions])

    @property
    def random_insertion(self) -> FloatArray:
        """(n_random,) areas."""
        return np.array([curve.area for curve in self.random_insertions])

    @property
    def deletion_gain(self) -> float:
        """How much sooner the score falls than in random order, in its own unit; above 0 is faithful."""
        return float(np.mean(self.random_deletion) - self.deletion.area)

    @property
    def insertion_gain(self) -> float:
        """How much sooner the score rises than in random order, in its own unit; above 0 is faithful."""
        return float(self.insertion.area - np.mean(self.random_insertion))


def deletion(
    score: Score,
    image: FloatArray,
    values: FloatArray,
    *,
    steps: int = 32,
    batch_size: int = 16,
) -> Curve:
    """The score while pixels are replaced by those of the blurred image, first where the map is highest.

    Args:    score: (B, 3, H, W) → (B,), such as the probability of fake.
             image: (3, H, W) in [0, 1].
             values: (H, W) the map; equal values go in the order of rows.
             steps: how often the score is asked, beside the start.
             batch_size: images that `score` gets at once.
    Returns: the curve, from the image to the blurred one.
    Raises:  ConfigError: an option is out of range. ImageError: image and map don't fit together, or hold
                 values that are not finite.
    """
    return _curve(score, image, _blurred(image), values, steps=steps, batch_size=batch_size)


def insertion(
    score: Score,
    image: FloatArray,
    values: FloatArray,
    *,
    steps: int = 32,
    batch_size: int = 16,
) -> Curve:
    """The score while the image's pixels come into the blurred one, those first where the map is highest.

    Args:    score, image, values, steps, batch_size: as for `deletion`.
    Returns: the curve, from the blurred image to the image.
    Raises:  ConfigError, ImageError: as for `deletion`.
    """
    return _curve(score, _blurred(image), image, values, steps=steps, batch_size=batch_size)


def random_map(height: int, width: int, *, cells: int, rng: np.random.Generator) -> FloatArray:
    """A map of no meaning: noise on a grid, as smooth between its cells as a map brought to image size.

    Args:    height, width: H and W.
             cells: of the grid, along each side; 7 for most networks at 224 pixels, 14 for transformers.
             rng: for the noise.
    Returns: (H, W) in [0, 1].
    Raises:  ConfigError: there are no cells.
    """
    from PIL import Image

    noise = rng.uniform(size=(_count("cells", cells), cells)).astype(np.float32)
    resized = Image.fromarray(noise).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float64)


def faithfulness(
    score: Score,
    image: FloatArray,
    values: FloatArray,
    *,
    cells: int,
    seed: int,
    n_random: int = 8,
    steps: int = 32,
    batch_size: int = 16,
) -> Faithfulness:
    """Both curves of a map, beside random order.

    Args:    score, image, values, steps, batch_size: as for `deletion`.
             cells, seed: of the random maps.
             n_random: number of random maps.
    Returns: curves and areas.
    Raises:  ConfigError, ImageError: as for `deletion`.
    """
    rng = np.random.default_rng(seed)
    others = [
        random_map(*image.shape[-2:], cells=cells, rng=rng) for _ in range(_count("n_random", n_random))
    ]
    deleted, inserted = (
        [one(score, image, order, steps=steps, batch_size=batch_size) for order in (values, *others)]
        for one in (deletion, insertion)
    )
    return Faithfulness(
        deletion=deleted[0],
        insertion=inserted[0],
        random_deletions=tuple(deleted[1:]),
        random_insertions=tuple(inserted[1:]),
    )


def attention_inside(values: FloatArray, box: Box) -> float:
    """The share of a map's mass that lies in a face box.

    Args:    values: (H, W) the map, at least 0.
             box: in pixels of the map; it may stick out.
    Returns: from 0 to 1; NaN for a map that is 0 everywhere, which looks at nothing.
    Raises:  ImageError: the map has another shape, or values that are negative or not finite.

    Example:
        >>> from tellsign.faces import Box
        >>> attention_inside(np.ones((4, 6)), Box(0, 0, 3, 2))
        0.25
    """
    found = _checked_map(values)
    if found.min() < 0:
        raise ImageError(f"a share of attention needs a map of at least 0, found {found.min():g}")
    total = found.sum()
    inside = found[max(0, box.top) : max(0, box.bottom), max(0, box.left) : max(0, box.right)].sum()
    return float(inside / total) if total > 0 else float("nan")


def _curve(
    score: Score, start: FloatArray, end: FloatArray, values: FloatArray, *, steps: int, batch_size: int
) -> Curve:
    """The score on the way from one image to another, pixel by pixel in falling order of a map."""
    order_map = _checked_map(values)
    if start.ndim != 3 or start.shape[1:] != order_map.shape:
        raise ImageError(
            f"expected an image (3, H, W) and its map (H, W), found {start.shape} and {order_map.shape}"
        )
    _count("batch_size", batch_size)
    order = np.argsort(-order_map, axis=None, kind="stable")
    places = np.empty(order.size, dtype=np.int64)
    places[order] = np.arange(order.size)
    rank = places.reshape(order_map.shape)
    counts = np.rint(np.linspace(0, order.size, _count("steps", steps) + 1)).astype(np.int64)
    scores = [
        np.asarray(score(np.where(rank < counts[i : i + batch_size, None, None, None], end, start)))
        for i in range(0, len(counts), batch_size)
    ]
    return Curve(counts / order.size, np.concatenate(scores).astype(np.float64))


def _blurred(image: FloatArray) -> FloatArray:
    """The image without what the detector may have seen."""
    if image.ndim != 3 or image.shape[0] != 3 or not np.isfinite(image).all():
        raise ImageError(f"expected an image (3, H, W) of finite values, found {image.shape}")
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(image, sigma=(0, SIGMA, SIGMA), mode="nearest"))


def _checked_map(values: FloatArray) -> FloatArray:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 2 or found.size == 0 or not np.isfinite(found).all():
        raise ImageError(f"expected a map (H, W) of finite values, found {found.shape}")
    return found


def _count(name: str, value: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if isinstance(value, bool) or number < 1:
        raise ConfigError(f"{name} is a whole number of at least 1, found {value!r}")
    return number
