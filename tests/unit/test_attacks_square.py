"""The black-box attack: on scores that have no gradient, and against its own rules."""

from __future__ import annotations

import numpy as np
import pytest

from tellsign.perturb.attacks import parse
from tellsign.perturb.attacks.score import streams
from tellsign.perturb.attacks.square import side_length, square

KEYS = ["a", "b", "c", "d"]


def images_of(n=4, seed=0, size=12):
    return (np.random.default_rng(seed).integers(40, 216, size=(n, 3, size, size)) / 255).astype(np.float32)


def steps_of_brightness(images):
    """A step function: its gradient is 0 wherever there is one."""
    return np.floor(images.astype(np.float64).mean(axis=(1, 2, 3)) * 2000)


def test_a_step_function_is_pushed_over_the_threshold():
    images, labels = images_of(), np.array([1, 1, 0, 0])
    clean = steps_of_brightness(images)
    # Fakes just above the threshold and reals just below it, by some steps.
    for i, label in enumerate(labels):
        threshold = clean[i] - 4 if label else clean[i] + 5
        found = parse("square:0.03,queries=300").run(
            steps_of_brightness,
            images[i : i + 1],
            labels[i : i + 1],
            threshold=threshold,
            seed=0,
            keys=KEYS[:1],
        )
        before, after = clean[i], steps_of_brightness(found)[0]
        assert (before >= threshold) == label
        assert (after >= threshold) != label


def test_most_of_the_optimum_of_a_linear_score_is_found():
    rng = np.random.default_rng(3)
    weights = np.repeat(np.repeat(rng.normal(size=(3, 3, 3)), 4, axis=1), 4, axis=2)  # even over squares
    images, labels = images_of(), np.ones(4, dtype=int)

    def score(batch):
        return (batch.astype(np.float64) * weights).sum(axis=(1, 2, 3))

    options = {"eps": 0.03, "threshold": 0.0, "queries": 1500, "rngs": streams(0, KEYS)}
    found, margin = square(score, images, labels, **options)
    drop = (score(images) - score(found)) / (0.03 * np.abs(weights).sum())
    assert (drop > 0.8).all()
    assert (drop <= 1 + 1e-5).all()
    np.testing.assert_allclose(margin, score(found))


def test_it_asks_as_often_as_it_says_and_never_leaves_the_limits():
    asked = []

    def score(batch):
        asked.append(len(batch))
        assert np.abs(batch - images).max() <= 0.05 + 1e-6
        assert batch.min() >= 0
        assert batch.max() <= 1
        return batch.mean(axis=(1, 2, 3))

    images = np.random.default_rng(0).random((4, 3, 12, 12), dtype=np.float32)
    square(score, images, np.array([0, 1, 0, 1]), eps=0.05, threshold=0.5, rngs=streams(0, KEYS), queries=30)
    assert asked == [4] * 31  # that of the images themselves, and thirty


def test_more_queries_never_hurt_and_no_query_gives_back_a_worse_image():
    images, labels = images_of(), np.array([0, 1, 0, 1])
    pattern = np.random.default_rng(9).normal(size=(3, 12, 12))

    def score(batch):  # lowest where the image is what it was: nothing to be found for fakes
        return np.abs((batch - images[:1]) * pattern).sum(axis=(1, 2, 3)) + 1

    alone = {"eps": 0.05, "threshold": 0.5, "rngs": streams(0, KEYS[:1]), "queries": 20}
    found, margin = square(score, images[:1], np.array([1]), **alone)
    np.testing.assert_array_equal(found, images[:1])
    np.testing.assert_allclose(margin, 0.5)

    def brightness(batch):
        return batch.mean(axis=(1, 2, 3))

    margins = [
        square(brightness, images, labels, eps=0.05, threshold=0.5, rngs=streams(0, KEYS), queries=queries)[1]
        for queries in (1, 400)
    ]
    assert (margins[1] < margins[0]).all()


def test_squares_shrink_as_the_paper_says():
    """Share 0.8 of 100 × 100 pixels, halved after 10, 50, 200, 1000, 2000, 4000, 6000 and 8000 of 10,000."""
    for query, halvings in ((9, 0), (10, 1), (49, 1), (50, 2), (199, 2), (200, 3), (1000, 4), (9_999, 8)):
        assert side_length(query, 10_000, 100, 100) == round((0.8 * 100 * 100 / 2**halvings) ** 0.5)
    assert side_length(500, 1000, 100, 100) == side_length(5000, 10_000, 100, 100)
    assert side_length(999, 1000, 2, 2) == 1
    assert side_length(0, 1000, 10, 1000) == 10


@pytest.mark.parametrize("label", [0, 1])
def test_an_image_at_the_limits_ends_the_search_for_colours(label):
    """Black stays black where eps is 0, and the search for another colour gives up."""
    images = np.full((1, 3, 6, 6), float(label), np.float32)
    found, margin = square(
        lambda batch: batch.mean(axis=(1, 2, 3)),
        images,
        np.array([label]),
        eps=1.0,
        threshold=0.5,
        rngs=streams(0, ["a"]),
        queries=60,
    )
    assert np.isfinite(margin).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert margin[0] < 0.5
