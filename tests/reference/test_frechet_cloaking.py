"""The Fréchet distance and the regression of the cloaking score against SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from tellsign.generators.cloaking import logistic_weights
from tellsign.generators.frechet import frechet_distance
from tellsign.types import ConfigError


def features(n, dimensions, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dimensions)) @ rng.normal(size=(dimensions, dimensions)) + shift


def by_square_roots(a, b):
    from scipy.linalg import sqrtm

    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    trace = np.trace(s + t - 2 * np.real(sqrtm(s @ t)))
    return ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() + trace


@pytest.mark.parametrize(("n", "m", "dimensions"), [(200, 150, 6), (40, 60, 30)])
def test_the_frechet_distance_is_that_of_square_roots_of_matrices(n, m, dimensions):
    a, b = features(n, dimensions, 0), features(m, dimensions, 1, shift=0.5)
    assert frechet_distance(a, b) == pytest.approx(by_square_roots(a, b), rel=1e-8)


def test_fewer_images_than_features_are_no_trouble():
    # The same images with 90 more features that never vary.
    a, b = features(8, 4, 0), features(9, 4, 1)
    wide = [np.hstack((x, np.ones((len(x), 90)))) for x in (a, b)]
    assert frechet_distance(*wide) == pytest.approx(by_square_roots(a, b), rel=1e-8)


def test_moved_features_are_as_far_as_they_were_moved():
    a = features(50, 5, 0)
    assert frechet_distance(a, a + 2) == pytest.approx(5 * 4)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, 3 * a - 2 * a.mean(axis=0)) == pytest.approx(
        4 * np.trace(np.cov(a, rowvar=False))
    )


def test_one_image_has_no_covariance():
    with pytest.raises(ConfigError, match="2 images or more"):
        frechet_distance(features(1, 3, 0), features(5, 3, 1))


@pytest.mark.parametrize(("n_real", "n_fake", "shift"), [(60, 60, 0.5), (90, 20, 0.5), (30, 30, 50.0)])
def test_the_regression_is_that_of_scikit_learn(n_real, n_fake, shift):
    linear_model = pytest.importorskip("sklearn.linear_model")
    x = np.concatenate((features(n_real, 8, 0), features(n_fake, 8, 1, shift)))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    y = np.repeat((0, 1), (n_real, n_fake))
    model = linear_model.LogisticRegression(class_weight="balanced", tol=1e-8, max_iter=1000).fit(x, y)
    found = logistic_weights(x, y)
    np.testing.assert_allclose(x @ found[:-1] + found[-1], model.decision_function(x), atol=2e-3, rtol=2e-3)
