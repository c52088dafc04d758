"""Temperatures, thresholds, conformal sets and risk curves against independent references and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tellsign.calibration import (
    conformal_needed,
    conformal_p_values,
    conformal_point,
    equal_error_point,
    reliability,
    risk_coverage,
    temperature_curve,
    threshold_at_fnr,
    threshold_at_fpr,
    wilson,
)
from tellsign.groups import effective_groups
from tellsign.types import ConfigError

CASES = {"overlapping": (1500, 0.4, 1.5), "rare fakes": (2000, 0.05, 3.0), "separated": (300, 0.5, 40.0)}


def case(name, decimals=None):
    n, share, distance = CASES[name]
    rng = np.random.default_rng(list(CASES).index(name))
    labels = (np.arange(n) < share * n).astype(int)
    scores = rng.normal(size=n) + distance * (labels - 0.5)
    return labels, scores if decimals is None else scores.round(decimals)


def smoothed_labels(labels):
    n_fake, n_real = labels.sum(), (1 - labels).sum()
    return np.where(labels == 1, (n_fake + 1) / (n_fake + 2), 1 / (n_real + 2))


# --- temperature ---


@pytest.mark.parametrize("name", CASES)
def test_temperature_is_the_optimum_of_the_likelihood(name):
    optimize = pytest.importorskip("scipy.optimize")
    labels, scores = case(name)
    targets = smoothed_labels(labels)

    def loss(temperature):
        logits = scores / temperature
        return float(np.sum(np.logaddexp(0, logits) - targets * logits))

    found = temperature_curve(labels, scores).temperature
    best = optimize.minimize_scalar(
        lambda slope: loss(1 / slope), bounds=(1e-6, 50), method="bounded", options={"xatol": 1e-12}
    )
    assert found == pytest.approx(1 / best.x, rel=1e-5)
    assert loss(found) <= best.fun + 1e-9
    assert loss(found * 1.01) > loss(found) < loss(found / 1.01)


@pytest.mark.parametrize("name", CASES)
def test_temperature_equals_a_logistic_regression_without_intercept(name):
    linear = pytest.importorskip("sklearn.linear_model")
    labels, scores = case(name)
    targets = smoothed_labels(labels)
    # A label between 0 and 1 is two rows, one of each class, with weights that add up to 1.
    theirs = linear.LogisticRegression(C=1e12, fit_intercept=False, tol=1e-12, max_iter=1000).fit(
        np.tile(scores, 2)[:, None],
        np.repeat([1, 0], len(scores)),
        sample_weight=np.concatenate([targets, 1 - targets]),
    )
    assert 1 / temperature_curve(labels, scores).temperature == pytest.approx(theirs.coef_[0, 0], rel=1e-4)


def test_temperature_finds_the_one_that_made_the_labels():
    rng = np.random.default_rng(1)
    scores = rng.normal(scale=4, size=200_000)
    labels = (rng.random(len(scores)) < 1 / (1 + np.exp(-scores / 2.5))).astype(int)
    assert temperature_curve(labels, scores).temperature == pytest.approx(2.5, rel=0.02)
    assert temperature_curve(labels, 1000 * scores).temperature == pytest.approx(2500, rel=0.02)


# --- equal error and rates ---


def errors(real, fake, threshold):
    return (real >= threshold).mean(), (fake < threshold).mean()


@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("seed", range(6))
def test_equal_error_is_the_best_of_all_thresholds(seed, decimals):
    rng = np.random.default_rng(seed)
    real, fake = rng.normal(size=rng.integers(30, 90)), rng.normal(size=rng.integers(30, 90)) + seed / 2
    if decimals is not None:
        real, fake = real.round(decimals), fake.round(decimals)
    point = equal_error_point(real, fake)
    assert point.low == point.high
    assert point.rule == "eer"
    assert (point.fpr, point.fnr) == pytest.approx(errors(real, fake, point.high), abs=1e-15)
    everywhere = np.concatenate([[-math.inf], np.unique([real.tolist() + fake.tolist()]), [math.inf]])
    differences = [abs(np.subtract(*errors(real, fake, t))) for t in everywhere]
    assert abs(point.fpr - point.fnr) == pytest.approx(min(differences), abs=1e-12)


def test_equal_error_lies_in_the_middle_of_a_gap():
    point = equal_error_point(np.arange(40.0), np.arange(40.0) + 100)
    assert (point.low, point.fpr, point.fnr) == (69.5, 0, 0)
    # Two neighbouring floats have no middle.
    point = equal_error_point(np.full(30, 1.0), np.full(30, np.nextafter(1.0, 2)))
    assert (point.fpr, point.fnr) == (0, 0)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.29])
@pytest.mark.parametrize("decimals", [None, 1])
def test_rates_are_met_as_by_trying_every_threshold(rate, decimals):
    rng = np.random.default_rng(3)
    scores = rng.normal(size=97)
    scores = scores if decimals is None else scores.round(decimals)
    candidates = np.unique([scores, np.nextafter(scores, math.inf)])
    assert threshold_at_fpr(scores, rate) == min(t for t in candidates if (scores >= t).mean() <= rate)
    assert threshold_at_fnr(scores, rate) == max(t for t in candidates if (scores < t).mean() <= rate)


# --- conformal ---


def sets_by_definition(real, fake, asked, alpha):
    """What the conformal sets say, from counts alone: real, fake, or uncertain for both and for none."""
    found = []
    for score in asked:
        p_real = (1 + sum(s >= score for s in real)) / (len(real) + 1)
        p_fake = (1 + sum(s <= score for s in fake)) / (len(fake) + 1)
        labels = [name for name, p in (("real", p_real), ("fake", p_fake)) if p > alpha]
        found.append(labels[0] if len(labels) == 1 else "uncertain")
    return found


@pytest.mark.parametrize("distance", [-1, 0, 1, 3, 50])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.29, 0.5, 0.9])
@pytest.mark.parametrize("decimals", [None, 0])
def test_two_thresholds_say_what_the_conformal_sets_say(distance, alpha, decimals):
    rng = np.random.default_rng(4)
    real, fake = rng.normal(size=31), rng.normal(size=44) + distance
    if decimals is not None:
        real, fake = real.round(decimals), fake.round(decimals)
    pooled = np.concatenate([real, fake])
    asked = np.concatenate(
        [pooled, np.nextafter(pooled, -9), np.nextafter(pooled, 99), [-99, 99, distance / 2]]
    )
    point = conformal_point(real, fake, alpha=alpha)
    assert [point.label(score) for score in asked] == sets_by_definition(real, fake, asked, alpha)
    assert (point.rule, point.fpr, point.fnr) == ("conformal", alpha, alpha)


def test_p_values_by_hand():
    p_real, p_fake = conformal_p_values([0.0, 1.0, 2.0], [1.0, 3.0], [-1.0, 1.0, 9.0])
    assert p_real == pytest.approx([1, 3 / 4, 1 / 4])
    assert p_fake == pytest.approx([1 / 3, 2 / 3, 1])


def test_the_gap_between_far_classes_is_uncertain():
    point = conformal_point(np.arange(100.0), np.arange(100.0) + 1000, alpha=0.1)
    assert point.low == np.nextafter(90.0, math.inf)
    assert point.high == 1009.0
    assert [point.label(score) for score in (90.0, 500.0, 1008.9, 1009.0)] == [
        "real",
        "uncertain",
        "uncertain",
        "fake",
    ]


def miscoverage(alpha, n, n_seeds, sample):
    """Share of new scores of either class whose conformal set lacks their label, over calibration draws."""
    wrong = np.zeros(2)
    for seed in range(n_seeds):
        rng = np.random.default_rng((seed, n))
        real, fake = sample(rng, n), sample(rng, n) + 1
        p_real, _ = conformal_p_values(real, fake, sample(rng, 50))
        _, p_fake = conformal_p_values(real, fake, sample(rng, 50) + 1)
        wrong += [(p_real <= alpha).mean(), (p_fake <= alpha).mean()]
    return wrong / n_seeds


@pytest.mark.parametrize(
    "sample",
    [lambda rng, n: rng.normal(size=n), lambda rng, n: rng.standard_cauchy(size=n).round(1)],
    ids=["normal", "tied with heavy tails"],
)
@pytest.mark.parametrize(("alpha", "n"), [(0.1, 9), (0.1, 57), (0.05, 40), (0.3, 25)])
def test_conformal_miscoverage_stays_below_alpha_for_each_class(alpha, n, sample):
    n_seeds = 1500
    # Of one calibration draw the miscoverage is about Beta(k, n + 1 - k), seen on 50 images.
    spread = math.sqrt((alpha * (1 - alpha) / (n + 2) + alpha * (1 - alpha) / 50) / n_seeds)
    found = miscoverage(alpha, n, n_seeds, sample)
    assert (found <= alpha + 4 * spread).all()
    # And it is no emptier than it must be: without ties at least alpha - 1 / (n + 1).
    if len(np.unique(sample(np.random.default_rng(0), 1000))) == 1000:
        assert (found >= alpha - 1 / (n + 1) - 4 * spread).all()


def test_a_quantile_without_the_finite_sample_correction_would_be_seen():
    """The same simulation with n in place of n + 1 exceeds the level by more than its slack."""
    alpha, n, n_seeds, wrong = 0.1, 10, 1500, 0.0
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        above = np.sort(rng.normal(size=n))[-2]  # the highest tenth is one score: refused from there on
        wrong += (rng.normal(size=50) > above).mean()
    spread = math.sqrt((alpha * (1 - alpha) / (n + 2) + alpha * (1 - alpha) / 50) / n_seeds)
    assert wrong / n_seeds > alpha + 4 * spread


@pytest.mark.parametrize(
    ("alpha", "needed"), [(0.1, 9), (0.05, 19), (0.01, 99), (0.07, 14), (0.5, 1), (0.9, 1)]
)
def test_a_level_needs_so_many_scores(alpha, needed):
    assert conformal_needed(alpha) == needed
    conformal_point(np.arange(float(needed)), np.arange(float(needed)), alpha=alpha)
    if needed > 1:
        few, enough = np.arange(needed - 1.0), np.arange(float(needed))
        with pytest.raises(ConfigError, match=rf"{needed - 1} real scores .* needed {needed} ") as error:
            conformal_point(few, enough, alpha=alpha)
        # The level that the message offers is one that these scores support.
        conformal_point(few, enough, alpha=float(str(error.value).rsplit(">= ", 1)[1]))
        with pytest.raises(ConfigError, match=rf"{needed - 1} fake scores .* needed {needed} "):
            conformal_point(enough, few, alpha=alpha)


# --- shares, curves, bins ---


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 10), (30, 60), (300, 300), (7, 1000)])
def test_wilson_equals_scipy(k, n):
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.binomtest(k, n).proportion_ci(method="wilson")
    found = wilson(k / n, n)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert found.low <= k / n <= found.high


def test_the_interval_of_unequal_groups_holds_the_rate_as_often_as_it_says():
    """By simulation: 6 videos of 200 frames and 54 of 5, each called fake as a whole with one chance."""
    sizes = np.repeat([200, 5], [6, 54])
    rng = np.random.default_rng(7)
    drawn = rng.random((2000, 60)) < 0.2
    shares = drawn @ sizes / sizes.sum()
    n = effective_groups(np.repeat(np.arange(60), sizes), int(sizes.sum()))

    def held(trials):
        return np.mean([share.low <= 0.2 <= share.high for share in (wilson(s, trials) for s in shares)])

    assert n == 8
    assert held(n) >= 0.93
    assert held(60) < 0.6, "groups that are only counted"


def test_the_risk_coverage_curve_by_sorting():
    rng = np.random.default_rng(5)
    probability = rng.random(200)
    labels = (rng.random(200) < probability).astype(int)
    found = risk_coverage(labels, probability)
    order = np.argsort(-np.abs(probability - 0.5))
    wrong = ((probability >= 0.5) != labels)[order]
    risks = [wrong[:n].mean() for n in range(1, 201)]
    assert found.coverage == pytest.approx(np.arange(1, 201) / 200)
    assert found.risk == pytest.approx(risks)
    assert found.aurc == pytest.approx(np.mean(risks))


def test_the_area_under_ties_is_the_mean_over_their_orders():
    rng = np.random.default_rng(6)
    certainty = rng.integers(0, 3, 12).astype(float)
    labels, scores = rng.integers(0, 2, 12), np.full(12, 0.7)
    found = risk_coverage(labels, scores, certainty=certainty)
    areas = []
    for _ in range(20_000):
        order = np.lexsort((rng.random(12), -certainty))
        areas.append(np.mean(np.cumsum(labels[order] == 0) / np.arange(1, 13)))
    assert found.aurc == pytest.approx(np.mean(areas), abs=5 * np.std(areas) / math.sqrt(20_000))
    assert len(found.coverage) == len(np.unique(certainty))


def test_reliability_bins_by_splitting_the_sorted_rows():
    rng = np.random.default_rng(7)
    probability = rng.random(1003)
    labels = (rng.random(1003) < probability**2).astype(int)
    found = reliability(labels, probability, n_bins=8)
    order = np.argsort(probability)
    assert len(found.bins) == 8
    assert max(b.n for b in found.bins) - min(b.n for b in found.bins) <= 1
    start, gaps = 0, 0.0
    for b in found.bins:
        own = order[start : start + b.n]
        assert (b.low, b.high) == (probability[own].min(), probability[own].max())
        assert b.probability == pytest.approx(probability[own].mean())
        assert b.fakes.value == pytest.approx(labels[own].mean())
        assert b.fakes == wilson(b.fakes.value, b.n)
        gaps += abs(probability[own].sum() - labels[own].sum())
        start += b.n
    assert start == found.n == 1003
    assert found.ece == pytest.approx(gaps / 1003)
    assert any(not b.agrees for b in found.bins)


def test_true_probabilities_agree_in_about_nineteen_bins_of_twenty():
    agreed = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        probability = rng.beta(1, 1, 1000)
        labels = (rng.random(1000) < probability).astype(int)
        agreed += [b.agrees for b in reliability(labels, probability).bins]
    assert 0.92 <= np.mean(agreed) <= 0.98
