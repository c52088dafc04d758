"""Calibration curves against scikit-learn, and the sigmoid against an independent optimum."""

from __future__ import annotations

import numpy as np
import pytest

from tellsign.calibration import Calibration, isotonic_curve, sigmoid_curve

CASES = {
    "overlapping": (1500, 0.4, 1.5, None),
    "rare fakes": (2000, 0.03, 2.0, None),
    "separated": (400, 0.5, 30.0, None),
    "tied": (1500, 0.4, 1.5, 1),
    "few": (12, 0.5, 1.0, None),
}


def case(name: str):
    n, share, distance, decimals = CASES[name]
    rng = np.random.default_rng(list(CASES).index(name))
    labels = (np.arange(n) < share * n).astype(int)
    scores = rng.normal(size=n) + distance * labels
    return labels, scores if decimals is None else scores.round(decimals)


@pytest.mark.parametrize("name", CASES)
def test_sigmoid_is_the_optimum_of_platts_likelihood(name):
    optimize = pytest.importorskip("scipy.optimize")
    labels, scores = case(name)
    n_fake = labels.sum()
    n_real = len(labels) - n_fake
    targets = np.where(labels == 1, (n_fake + 1) / (n_fake + 2), 1 / (n_real + 2))

    def loss(weights):
        logits = weights[0] * scores + weights[1]
        return np.sum(np.logaddexp(0, logits) - targets * logits)

    curve = sigmoid_curve(labels, scores)
    found = np.array([curve.slope, curve.intercept])
    best = optimize.minimize(
        loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 9999}
    )
    assert found == pytest.approx(best.x, rel=1e-5, abs=1e-6)
    assert loss(found) <= best.fun + 1e-10
    # The gradient is what an optimum is judged by; the comparison can tell a neighbour from it.
    gradient = optimize.approx_fprime(found, loss, 1e-6)
    assert np.abs(gradient).max() < 1e-3 * len(labels)
    assert loss(found * 1.001) > loss(found)


@pytest.mark.parametrize("name", CASES)
def test_sigmoid_equals_scikit_learn(name):
    calibration = pytest.importorskip("sklearn.calibration")
    labels, scores = case(name)
    theirs = calibration._SigmoidCalibration().fit(scores, labels)
    grid = np.linspace(scores.min() - 1, scores.max() + 1, 500)
    assert sigmoid_curve(labels, scores).probability(grid) == pytest.approx(theirs.predict(grid), abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_isotonic_equals_scikit_learn(name):
    isotonic = pytest.importorskip("sklearn.isotonic")
    labels, scores = case(name)
    theirs = isotonic.IsotonicRegression(out_of_bounds="clip").fit(scores, labels)
    grid = np.concatenate([scores, np.linspace(scores.min() - 1, scores.max() + 1, 1001)])
    assert isotonic_curve(labels, scores).probability(grid) == pytest.approx(theirs.predict(grid), abs=1e-12)
    edge = 1 / (len(labels) + 2)
    calibrated = Calibration.fit(labels, scores, method="isotonic").probability(grid)
    assert calibrated == pytest.approx(theirs.predict(grid).clip(edge, 1 - edge), abs=1e-12)


def test_isotonic_is_the_least_squares_curve():
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(9)
    labels = np.arange(30) % 3 // 2
    scores = rng.normal(size=30) + labels
    order = np.argsort(scores)
    best = optimize.isotonic_regression(labels[order].astype(float)).x
    assert isotonic_curve(labels, scores).probability(scores[order]) == pytest.approx(best, abs=1e-12)
