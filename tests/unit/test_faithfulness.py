"""Deletion, insertion and the share of attention: scores whose curves are known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tellsign.explain.faithfulness import (
    SIGMA,
    Curve,
    attention_inside,
    deletion,
    faithfulness,
    insertion,
    random_map,
)
from tellsign.faces import Box
from tellsign.types import ConfigError, ImageError

SIDE = 16


def picture(seed=0, side=SIDE):
    return np.random.default_rng(seed).uniform(size=(3, side, side)).astype(np.float32)


def quadrant(side=SIDE):
    """1 where the evidence of `quadrant_score` is, 0 elsewhere."""
    found = np.zeros((side, side))
    found[: side // 2, side // 2 :] = 1
    return found


def quadrant_score(images):
    """Variance of the upper right quadrant, which blurring takes away."""
    half = images.shape[-1] // 2
    return images[:, :, :half, half:].var(axis=(1, 2, 3))


def linear_score(images):
    weights = np.random.default_rng(7).normal(size=images.shape[1:])
    return (images.astype(np.float64) * weights).sum(axis=(1, 2, 3))


def slow_scores(score, start, end, values, steps):
    """One image after the other, pixels replaced one by one from a sorted list."""
    image, found = start.copy(), [float(score(start[None])[0])]
    places = sorted(np.ndindex(values.shape), key=lambda at: (-values[at], at))
    done = 0
    for step in range(1, steps + 1):
        until = round(step * len(places) / steps)
        for row, column in places[done:until]:
            image[:, row, column] = end[:, row, column]
        done = until
        found.append(float(score(image[None])[0]))
    return found


@pytest.mark.parametrize("steps", [1, 4, 256])
def test_curves_are_those_of_the_slow_loop(steps):
    image, values = picture(), np.random.default_rng(1).normal(size=(SIDE, SIDE))
    empty = np.stack([gaussian_filter(colour, SIGMA, mode="nearest") for colour in image])
    for function, start, end in ((deletion, image, empty), (insertion, empty, image)):
        found = function(linear_score, image, values, steps=steps)
        expected = slow_scores(linear_score, start, end, values, steps)
        np.testing.assert_allclose(found.scores, expected, atol=1e-5)
        np.testing.assert_allclose(found.shares, np.linspace(0, 1, steps + 1))


def test_equal_values_go_in_the_order_of_rows():
    image, values = picture(), np.zeros((SIDE, SIDE))
    rows = np.repeat(-np.arange(SIDE), SIDE).reshape(SIDE, SIDE)
    one, two = (deletion(linear_score, image, one, steps=SIDE) for one in (values, rows))
    np.testing.assert_array_equal(one.scores, two.scores)


def test_curves_go_from_the_image_to_the_blurred_one_and_back():
    image, values = picture(), picture(1)[0]
    out, back = (one(quadrant_score, image, values) for one in (deletion, insertion))
    assert out.scores[0] == back.scores[-1] == quadrant_score(image[None])[0]
    assert out.scores[-1] == back.scores[0] < out.scores[0] / 20
    # What is inserted last is what the opposite map deletes first.
    opposite = deletion(quadrant_score, image, -values.astype(np.float64))
    np.testing.assert_allclose(back.scores, opposite.scores[::-1], rtol=1e-5, atol=1e-7)


def test_the_area_of_a_straight_line_and_of_a_constant():
    assert Curve(np.linspace(0, 1, 5), np.linspace(3, 1, 5)).area == pytest.approx(2)
    constant = deletion(lambda images: np.full(len(images), 0.7), picture(), np.zeros((SIDE, SIDE)))
    assert constant.area == pytest.approx(0.7)


def test_the_area_of_a_map_that_knows_is_known():
    """A quarter of the pixels holds all of the score and goes first: along a line to 0 at 1/4."""
    image = np.zeros((3, SIDE, SIDE), np.float32)
    image[:, quadrant() == 1] = 1.0

    def score(images):  # pixels that are as they were, and brighter than any that is blurred
        return (images[:, 0, : SIDE // 2, SIDE // 2 :] > 0.99).mean(axis=(1, 2))

    found = deletion(score, image, quadrant(), steps=64)
    assert found.area == pytest.approx(0.25 / 2)
    assert insertion(score, image, quadrant(), steps=64).area == pytest.approx(1 - 0.25 / 2)


def test_a_faithful_map_beats_random_order_and_its_opposite_loses():
    options = {"cells": 4, "seed": 0}
    good = faithfulness(quadrant_score, picture(), quadrant(), **options)
    bad = faithfulness(quadrant_score, picture(), -quadrant(), **options)
    assert good.deletion.area < good.random_deletion.min()
    assert good.insertion.area > good.random_insertion.max()
    assert good.deletion_gain > 0 > bad.deletion_gain
    assert good.insertion_gain > 0 > bad.insertion_gain
    np.testing.assert_array_equal(good.random_deletion, bad.random_deletion)
    assert len(good.random_deletion) == 8


def test_the_gain_of_maps_of_no_meaning_is_none():
    """A score whose pixels count alike falls alike in any order: against random, each map gains nothing."""
    image = np.full((3, SIDE, SIDE), 0.2, np.float32)
    image[:, ::2] = 0.8

    def score(images):
        return (np.abs(images - 0.5) > 0.2).mean(axis=(1, 2, 3))

    found = faithfulness(score, image, quadrant(), cells=4, seed=0)
    assert found.deletion_gain == pytest.approx(0, abs=1e-12)
    assert found.insertion_gain == pytest.approx(0, abs=1e-12)


def test_the_same_seed_gives_the_same_and_the_batch_size_changes_nothing():
    image, values = picture(), quadrant()
    options = {"cells": 3, "n_random": 2, "steps": 10}
    one = faithfulness(quadrant_score, image, values, seed=1, **options)
    two = faithfulness(quadrant_score, image, values, seed=1, batch_size=3, **options)
    other = faithfulness(quadrant_score, image, values, seed=2, **options)
    np.testing.assert_array_equal(one.random_deletion, two.random_deletion)
    np.testing.assert_array_equal(one.insertion.scores, two.insertion.scores)
    assert (one.random_deletion != other.random_deletion).any()


def test_the_score_never_gets_more_images_than_asked_and_none_is_changed():
    image, seen = picture(), []
    kept = image.copy()

    def score(images):
        seen.append(images.shape)
        return images.mean(axis=(1, 2, 3))

    deletion(score, image, quadrant(), steps=10, batch_size=4)
    assert seen == [(4, 3, SIDE, SIDE), (4, 3, SIDE, SIDE), (3, 3, SIDE, SIDE)]
    np.testing.assert_array_equal(image, kept)


def test_a_random_map_is_as_coarse_as_its_grid():
    rng = np.random.default_rng(0)
    single = random_map(8, 12, cells=1, rng=rng)
    assert single.shape == (8, 12)
    assert np.ptp(single) == 0
    coarse, fine = (random_map(64, 64, cells=cells, rng=rng) for cells in (4, 32))
    steps = [np.abs(np.diff(one, axis=1)).mean() for one in (coarse, fine)]
    assert steps[0] < steps[1] / 3
    assert 0 <= coarse.min() < coarse.max() <= 1


@pytest.mark.parametrize(
    ("box", "share"),
    [
        (Box(8, 0, 16, 8), 1.0),
        (Box(0, 0, 16, 16), 1.0),
        (Box(0, 8, 16, 16), 0.0),
        (Box(8, 0, 12, 8), 0.5),
        (Box(12, -5, 99, 4), 0.25),  # sticks out
        (Box(-9, -9, -1, -1), 0.0),  # wholly outside
    ],
)
def test_the_share_of_attention_inside_a_box(box, share):
    assert attention_inside(quadrant(), box) == share


def test_a_map_of_nothing_has_no_share():
    assert np.isnan(attention_inside(np.zeros((4, 4)), Box(0, 0, 2, 2)))


@pytest.mark.parametrize("bad", [np.ones(4), np.ones((0, 4)), np.full((4, 4), np.nan), -np.ones((4, 4))])
def test_a_share_of_what_is_no_attention_is_refused(bad):
    with pytest.raises(ImageError):
        attention_inside(bad, Box(0, 0, 2, 2))


@pytest.mark.parametrize("function", [deletion, insertion])
@pytest.mark.parametrize(
    ("image", "values"),
    [
        (picture(), np.zeros((SIDE, SIDE + 1))),
        (picture()[0], quadrant()),
        (picture(), np.full((SIDE, SIDE), np.inf)),
        (np.full((3, SIDE, SIDE), np.nan, np.float32), quadrant()),
        (picture(), quadrant()[None]),
    ],
)
def test_an_image_and_a_map_that_do_not_fit_are_refused(function, image, values):
    with pytest.raises(ImageError, match="expected"):
        function(quadrant_score, image, values)


@pytest.mark.parametrize(
    "options",
    [{"steps": 0}, {"steps": 1.5}, {"steps": True}, {"batch_size": 0}],
    ids=str,
)
def test_options_out_of_range_are_refused(options):
    for function in (deletion, insertion):
        with pytest.raises(ConfigError, match=next(iter(options))):
            function(quadrant_score, picture(), quadrant(), **options)


@pytest.mark.parametrize("options", [{"cells": 0}, {"n_random": 0}])
def test_random_order_needs_maps_and_cells(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        faithfulness(quadrant_score, picture(), quadrant(), **({"cells": 4, "seed": 0} | options))
