"""How alike images are: sets whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from tellsign.generators.collapse import diversity, pair_distances
from tellsign.types import ConfigError, ImageError


def levels(*values: float, side: int = 16) -> np.ndarray:
    return np.stack([np.full((3, side, side), value) for value in values])


def test_distances_of_flat_images_are_the_differences_of_their_levels():
    found = diversity(levels(0.0, 0.2, 1.0), limit=0.3)
    assert found.n == 3
    assert found.mean == pytest.approx((0.2 + 1.0 + 0.8) / 3)
    assert found.nearest == pytest.approx(0.2)
    assert found.duplicates == pytest.approx(2 / 3)


def test_a_generator_that_repeats_itself_is_all_near_duplicates():
    rng = np.random.default_rng(0)
    reals = rng.uniform(size=(20, 3, 32, 32))
    own = diversity(reals)
    assert own.duplicates == 0
    repeated = np.repeat(reals[:1], 20, axis=0) + rng.normal(0, 0.01, reals.shape)
    found = diversity(repeated, limit=own.limit)
    assert found.duplicates == 1
    assert found.mean < 0.1 * own.mean


def test_fine_detail_is_not_compared():
    pattern = np.indices((32, 32)).sum(axis=0) % 2 - 0.5
    image = levels(0.5, side=32)
    assert pair_distances(image, image + 0.5 * pattern)[0, 0] == pytest.approx(0)


def test_one_image_and_other_shapes_are_refused():
    with pytest.raises(ConfigError, match="two images or more, found 1"):
        diversity(levels(0.5))
    with pytest.raises(ImageError, match="crop them to one size"):
        pair_distances(levels(0.5), levels(0.5, side=8))
    with pytest.raises(ImageError, match="squares"):
        pair_distances(np.zeros((2, 3, 4, 8)), np.zeros((2, 3, 4, 8)))
