"""SIDA's classifiers as arrays against scikit-learn's own, and what features did against a slow walk.

Each estimator is fitted here anew, not taken from `tellsign.systems`.

Shapes: B samples, K features.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tellsign.detectors import linear, trees
from tellsign.systems.sfcl_hcmf.sida_config import SidaConfig
from tellsign.systems.sfcl_hcmf.sida_model import fit, tree_arrays
from tellsign.types import ConfigError

K, TOLERANCE = 12, 1e-9


def features(n, seed=0, k=K):
    """(n, k) of different scales, one that never varies and one of few values; (n,) labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    labels[:2] = 0, 1
    rows = rng.normal(size=(n, k)) * np.logspace(-3, 2, k)
    rows[:, 3] += 0.8 * labels * rows[:, 3].std()
    rows[:, 5] *= 1 - 0.5 * labels
    rows[:, 0], rows[:, 1] = 0.1, rng.integers(3, size=n)
    return rows, labels


def boosted(train, labels, **options):
    settings = {"max_iter": 30, "min_samples_leaf": 5, "early_stopping": False, "random_state": 0} | options
    return HistGradientBoostingClassifier(**settings).fit(train, labels)


def walked(estimator, row, k):
    """What each feature did to one score, and where it starts: node by node through scikit-learn's trees."""
    found, start = np.zeros(k), float(np.ravel(estimator._baseline_prediction)[0])
    for (predictor,) in estimator._predictors:
        nodes = predictor.nodes

        def value(place, nodes=nodes):
            node = nodes[place]
            if node["is_leaf"]:
                return node["value"], int(node["count"])
            (a, n), (b, m) = value(node["left"]), value(node["right"])
            return (n * a + m * b) / (n + m), n + m

        start += value(0)[0]
        place = 0
        while not nodes[place]["is_leaf"]:
            asked = nodes[place]["feature_idx"]
            side = "left" if row[asked] <= nodes[place]["num_threshold"] else "right"
            found[asked] += value(nodes[place][side])[0] - value(place)[0]
            place = nodes[place][side]
    return found, start


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_iter": 1},
        {"max_leaf_nodes": 2, "learning_rate": 1.0},
        {"max_leaf_nodes": 40, "min_samples_leaf": 1, "l2_regularization": 3.0},
        {"min_samples_leaf": 400},  # no tree can be split
    ],
    ids=str,
)
def test_trees_score_as_scikit_learn_does(options):
    train, labels = features(600)
    test, _ = features(300, seed=1)
    estimator = boosted(train, labels, **options)
    arrays = tree_arrays(estimator)
    trees.check(arrays, K)
    for rows in (train, test):  # the thresholds lie among the first
        assert np.abs(trees.scores(rows, arrays) - estimator.decision_function(rows)).max() < TOLERANCE


def test_values_on_a_threshold_go_to_the_left_in_float64():
    train, labels = features(300)
    estimator = boosted(train, labels)
    arrays = tree_arrays(estimator)
    inner = arrays["tree.left"] != np.arange(len(arrays["tree.left"]))
    rows = np.tile(train[0], (3 * inner.sum(), 1))
    asked, at = arrays["tree.feature"][inner], arrays["tree.threshold"][inner]
    steps = (at, np.nextafter(at, np.inf), np.nextafter(at, -np.inf))
    for number, value in enumerate(steps):
        place = np.arange(inner.sum()) + number * inner.sum()
        rows[place, asked] = value
    found = trees.scores(rows, arrays)
    assert np.abs(found - estimator.decision_function(rows)).max() < TOLERANCE
    n = inner.sum()
    assert (found[:n] != found[n : 2 * n]).any(), "one step beyond the threshold is another leaf"
    assert np.array_equal(found[:n], found[2 * n :])


def test_contributions_are_those_of_a_walk():
    train, labels = features(200)
    test, _ = features(6, seed=1)
    estimator = boosted(train, labels, max_iter=8)
    arrays = tree_arrays(estimator)
    found = trees.contributions(test, arrays)
    for row, own in zip(test, found, strict=True):
        expected, start = walked(estimator, row, K)
        assert own == pytest.approx(expected, abs=1e-12)
        assert trees.base(arrays) == pytest.approx(start, abs=1e-12)
    assert not found[:, 0].any(), "a feature that never varies did something"
    assert found.any(axis=0).sum() > 3


@pytest.mark.parametrize("classifier", ["logistic_regression", "gradient_boosting"])
def test_contributions_add_up_to_the_score(classifier):
    train, labels = features(300)
    test, _ = features(100, seed=1)
    fitted = fit(train, labels, SidaConfig(classifier, c=0.1, trees=40))
    decision = linear if fitted.kind == "linear" else trees
    for rows in (train, test):
        z = (rows - fitted.arrays["mean"]) / fitted.arrays["scale"]
        scores = decision.scores(z, fitted.arrays)
        total = decision.base(fitted.arrays) + decision.contributions(z, fitted.arrays).sum(axis=1)
        assert np.abs(total - scores).max() < TOLERANCE
        if rows is train:  # what an average training image has
            assert decision.base(fitted.arrays) == pytest.approx(scores.mean(), abs=TOLERANCE)


def test_the_fit_is_scikit_learns_on_z_scores():
    train, labels = features(300)
    test, _ = features(100, seed=1)
    logistic = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, tol=1e-10, max_iter=10_000))
    expected = logistic.fit(train, labels).decision_function(test)
    fitted = fit(train, labels, SidaConfig("logistic_regression", c=0.3))
    z = (test - fitted.arrays["mean"]) / fitted.arrays["scale"]
    assert np.abs(linear.scores(z, fitted.arrays) - expected).max() < 1e-4, "of one minimum"
    assert np.abs(linear.scores(z, fitted.arrays) - fitted.estimator.decision_function(z)).max() < TOLERANCE
    settings = {"max_iter": 25, "max_leaf_nodes": 6, "learning_rate": 0.2, "l2_regularization": 2.0}
    other = HistGradientBoostingClassifier(**settings, min_samples_leaf=9, early_stopping=False)
    config = SidaConfig("gradient_boosting", trees=25, leaves=6, learning_rate=0.2, l2=2.0, leaf_images=9)
    fitted = fit(train, labels, config)
    z_train = (train - fitted.arrays["mean"]) / fitted.arrays["scale"]
    expected = other.fit(z_train, labels).decision_function(z)
    assert np.abs(trees.scores(z, fitted.arrays) - expected).max() < TOLERANCE


def test_the_comparison_can_fail():
    train, labels = features(300)
    estimator = boosted(train, labels)
    arrays = tree_arrays(estimator)
    expected = estimator.decision_function(train)
    for name in ("tree.threshold", "tree.value", "bias"):
        other = arrays | {name: arrays[name] + 0.01 * np.abs(arrays[name])}
        assert np.abs(trees.scores(train, other) - expected).max() > 100 * TOLERANCE, name
    swapped = arrays | {"tree.left": arrays["tree.right"], "tree.right": arrays["tree.left"]}
    assert np.abs(trees.scores(train, swapped) - expected).max() > 0.1


def test_a_version_that_keeps_trees_otherwise_is_noticed(monkeypatch):
    train, labels = features(100)
    made = tree_arrays

    def others(estimator):
        arrays = made(estimator)
        return arrays | {"bias": arrays["bias"] + 1e-6}

    monkeypatch.setattr("tellsign.systems.sfcl_hcmf.sida_model.tree_arrays", others)
    with pytest.raises(ConfigError, match=r"differ from scikit-learn's by up to 1e-06"):
        fit(train, labels, SidaConfig("gradient_boosting", trees=3))


def test_a_statistic_that_hardly_varies_keeps_its_scale():
    """Rounding of grey images must not be blown up to z-scores of millions."""
    train, labels = features(100)
    train[:, 2] = 1e-8 * np.arange(100)
    arrays = fit(train, labels, SidaConfig(c=0.1)).arrays
    assert arrays["scale"][0] == arrays["scale"][2] == 1
    assert arrays["scale"][4] == pytest.approx(train[:, 4].std())


@pytest.mark.parametrize("classifier", ["logistic_regression", "gradient_boosting"])
def test_a_larger_score_is_more_fake_and_the_same_seed_fits_the_same(classifier):
    train, labels = features(200)
    config = SidaConfig(classifier, c=0.1, trees=10)
    for these in (labels, 1 - labels):
        one, two = (fit(train, these, config, seed=5) for _ in range(2))
        for name in one.arrays:
            assert np.array_equal(one.arrays[name], two.arrays[name]), name
        scores = one.estimator.decision_function((train - one.arrays["mean"]) / one.arrays["scale"])
        assert scores[these == 1].mean() > scores[these == 0].mean()


def test_what_cannot_be_fitted(monkeypatch):
    train, labels = features(20)
    for rows, these, message in (
        (train, np.zeros(20, int), "need both labels"),
        (train[:10], labels, "one per row"),
        (np.where(train > 1, np.nan, train), labels, "not finite"),
    ):
        with pytest.raises(ConfigError, match=message):
            fit(rows, these, SidaConfig())
    monkeypatch.setattr("tellsign.systems.sfcl_hcmf.sida_model.MAX_STEPS", 1)
    with pytest.raises(ConfigError, match="no minimum in 1 steps; take a smaller c"):
        fit(train, labels, SidaConfig(c=10.0))
