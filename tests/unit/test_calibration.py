"""Calibration, priors and operating points on cases whose answer is known, and what they refuse."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tellsign.calibration import (
    Calibration,
    Isotonic,
    OperatingPoint,
    Sigmoid,
    domain_limit,
    isotonic_curve,
    operating_point,
    shift_prior,
    sigmoid_curve,
    threshold_at_fnr,
    threshold_at_fpr,
)
from tellsign.types import ConfigError

METHODS = ["sigmoid", "isotonic"]


def rows(n: int = 2000, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(int)
    return labels, rng.normal(size=n) + 2 * labels


# --- curves ---


def test_sigmoid_of_two_scores_meets_platts_targets():
    # One real and one fake: smoothed targets 1/3 and 2/3, which two parameters meet exactly.
    curve = sigmoid_curve([0, 1], [-1.0, 3.0])
    assert curve.probability(np.array([-1.0, 1.0, 3.0])) == pytest.approx([1 / 3, 1 / 2, 2 / 3], abs=1e-12)


def test_sigmoid_of_separated_classes_stays_finite():
    curve = sigmoid_curve([0] * 50 + [1] * 50, np.arange(100.0))
    assert 0 < curve.slope < 10


def test_sigmoid_finds_the_curve_that_made_the_labels():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=200_000)
    labels = (rng.random(len(scores)) < 1 / (1 + np.exp(-(1.7 * scores - 0.6)))).astype(int)
    curve = sigmoid_curve(labels, scores)
    assert (curve.slope, curve.intercept) == pytest.approx((1.7, -0.6), abs=0.03)


@pytest.mark.parametrize(("scale", "offset"), [(1e-6, 0), (1e6, 0), (1, 1e6)])
def test_sigmoid_does_not_depend_on_the_scores_unit(scale, offset):
    labels, scores = rows()
    here, there = sigmoid_curve(labels, scores), sigmoid_curve(labels, scale * scores + offset)
    assert there.slope * scale == pytest.approx(here.slope, rel=1e-6)
    assert there.probability(scale * scores + offset) == pytest.approx(here.probability(scores), abs=1e-6)


@pytest.mark.parametrize("scores", [[4.0, 3.0, 2.0, 1.0], [2.0, 2.0, 2.0, 2.0]])
def test_scores_that_say_nothing_give_the_share(scores):
    labels = [0, 0, 1, 1]
    curve = sigmoid_curve(labels, scores)
    assert curve.slope == 0
    assert curve.probability(np.array([-math.inf, 0, math.inf])) == pytest.approx([0.5] * 3, abs=1e-15)


def test_isotonic_by_hand():
    curve = isotonic_curve([0, 0, 1, 0, 1, 1], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert curve == Isotonic((1.0, 2.0, 3.0, 4.0, 5.0, 6.0), (0.0, 0.0, 0.5, 0.5, 1.0, 1.0))
    assert curve.probability(np.array([-9, 1.5, 2.5, 3.5, 4.5, 9])).tolist() == [0, 0, 0.25, 0.5, 0.75, 1]


def test_isotonic_does_not_fall_by_a_rounding_error():
    # 0.2514… + (0.8979… - 0.2514…) is a bit above 0.8979…, and this score lies a bit below its breakpoint.
    curve = Isotonic((-1000.0, 0.001, 1.0), (0.25146198830409355, 0.8979591836734694, 0.9))
    below, at = curve.probability(np.array([np.nextafter(0.001, 0), 0.001]))
    assert below <= at


def test_isotonic_pools_ties_and_falling_scores():
    assert isotonic_curve([0, 1, 1, 0], [1.0, 1.0, 1.0, 2.0]) == Isotonic((1.0, 2.0), (0.5, 0.5))
    assert isotonic_curve([0, 1], [5.0, 5.0]).probability(np.array([4.0, 6.0])).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("method", METHODS)
def test_calibration_knows_its_limits(method):
    calibration = Calibration.fit([0, 0, 0, 1], [0.0, 1.0, 2.0, 30.0], method=method)
    found = calibration.probability([[-math.inf, -1e300], [1e300, math.inf]])
    assert found.shape == (2, 2)
    assert found.min() >= 1 / 6
    assert found.max() <= 5 / 6
    assert calibration.prior == 0.25
    assert calibration.method == method


def test_isotonic_calibration_never_says_never():
    calibration = Calibration.fit([0] * 49 + [1] * 49, np.arange(98.0), method="isotonic")
    assert calibration.probability([0.0, 97.0]) == pytest.approx([0.01, 0.99], abs=1e-15)
    assert calibration.probability([0.0], prior=0.01) == pytest.approx(1 / (1 + 99 * 99), rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_calibration_to_json_and_back(method):
    calibration = Calibration.fit(*rows(300), method=method)
    again = Calibration.from_dict(json.loads(json.dumps(calibration.to_dict())))
    assert again == calibration
    assert again.to_dict()["method"] == method


def test_calibrated_probabilities_are_frequencies():
    labels, scores = rows(20_000)
    fresh, fresh_scores = rows(20_000, seed=1)
    for method in METHODS:
        p = Calibration.fit(labels, scores, method=method).probability(fresh_scores)
        for low in (0.0, 0.2, 0.4, 0.6, 0.8):
            inside = (p > low) & (p <= low + 0.2)
            assert fresh[inside].mean() == pytest.approx(p[inside].mean(), abs=0.05)


def test_the_prior_moves_the_probability_to_other_shares():
    calibration = Calibration.fit(*rows(20_000))
    labels, scores = rows(50_000, seed=2)
    # A world with a tenth of these fakes.
    kept = (labels == 0) | (np.random.default_rng(3).random(len(labels)) < 0.1)
    prior = labels[kept].mean()
    assert calibration.probability(scores[kept], prior=prior).mean() == pytest.approx(prior, rel=0.05)
    assert calibration.probability(scores[kept]).mean() > 2 * prior


# --- priors ---


def test_prior_shift_by_hand():
    # Odds 1 at even prior; at 1 % fakes the odds are 1/99.
    assert shift_prior(0.5, from_prior=0.5, to_prior=0.01) == pytest.approx(0.01, abs=1e-15)
    assert shift_prior([0.0, 1.0], from_prior=0.3, to_prior=0.9).tolist() == [0.0, 1.0]
    assert shift_prior(0.8, from_prior=0.2, to_prior=0.5) == pytest.approx(16 / 17, abs=1e-15)


@pytest.mark.parametrize("prior", [0, 1, -0.1, 1.5, math.nan])
def test_impossible_priors_are_refused(prior):
    with pytest.raises(ConfigError, match="to_prior"):
        shift_prior(0.5, from_prior=0.5, to_prior=prior)
    with pytest.raises(ConfigError, match="from_prior"):
        shift_prior(0.5, from_prior=prior, to_prior=0.5)
    with pytest.raises(ConfigError, match="to_prior"):
        Calibration(Sigmoid(1, 0), 1, 1).probability([0.0], prior=prior)


@pytest.mark.parametrize("probability", [-0.1, 1.1, math.nan])
def test_shift_of_no_probability_is_refused(probability):
    with pytest.raises(ConfigError, match="probabilities"):
        shift_prior([0.5, probability], from_prior=0.5, to_prior=0.1)


# --- operating points ---


def test_threshold_at_fpr_is_the_smallest_that_keeps_the_rate():
    reals = np.random.default_rng(0).permutation(300.0 + np.arange(300))
    threshold = threshold_at_fpr(reals, 0.01)
    assert (reals >= threshold).sum() == 3
    assert threshold == np.nextafter(596.0, np.inf)
    assert (reals >= np.nextafter(threshold, -np.inf)).sum() == 4


def test_threshold_at_fnr_is_the_largest_that_keeps_the_rate():
    fakes = np.arange(60.0)
    assert threshold_at_fnr(fakes, 0.05) == 3.0
    assert threshold_at_fnr(np.repeat([0.0, 1.0, 2.0], 20), 0.5) == 1.0


def test_threshold_steps_over_ties():
    reals = np.repeat([0.0, 1.0], [50, 50])
    assert threshold_at_fpr(reals, 0.49) == np.nextafter(1.0, np.inf)
    assert threshold_at_fpr(reals, 0.5) == np.nextafter(0.0, np.inf)


def test_a_rate_that_is_met_exactly_in_floats_is_used():
    # 0.29 · 100 is 28.999999999999996, but 29 / 100 is 0.29.
    assert threshold_at_fnr(np.arange(100.0), 0.29) == 29.0


@pytest.mark.parametrize(("rate", "needed"), [(0.01, 300), (0.05, 60), (0.1, 30), (0.07, 43), (0.001, 3000)])
def test_too_few_scores_for_a_rate_are_refused(rate, needed):
    scores = np.arange(float(needed))
    threshold_at_fpr(scores, rate)
    threshold_at_fnr(scores, rate)
    with pytest.raises(ConfigError, match=rf"{needed - 1} real scores .* needed {needed} ") as error:
        threshold_at_fpr(scores[1:], rate)
    # The rate that the message offers is one that these scores support.
    threshold_at_fpr(scores[1:], float(str(error.value).rsplit(">= ", 1)[1]))
    with pytest.raises(ConfigError, match=rf"{needed - 1} fake scores .* needed {needed} "):
        threshold_at_fnr(scores[1:], rate)


@pytest.mark.parametrize("threshold", [threshold_at_fpr, threshold_at_fnr])
@pytest.mark.parametrize("rate", [0, 1, -0.1, 5, math.nan])
def test_impossible_rates_are_refused(threshold, rate):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        threshold(np.arange(1000.0), rate)


def test_two_scores_support_no_rate():
    with pytest.raises(ConfigError, match="no rate"):
        threshold_at_fpr([1.0, 2.0], 0.5)
    with pytest.raises(ConfigError, match="found 0"):
        threshold_at_fpr([], 0.5)


def test_operating_point_of_overlapping_classes():
    reals, fakes = np.arange(100.0), np.arange(100.0) + 50
    point = operating_point(reals, fakes, fpr=0.05, fnr=0.1)
    assert (point.low, point.high) == (60.0, np.nextafter(94.0, np.inf))
    assert (point.fpr, point.fnr, point.n_real, point.n_fake) == (0.05, 0.1, 100, 100)
    assert [point.label(score) for score in (59.9, 60.0, 94.0, 94.1, -math.inf, math.inf)] == [
        "real", "uncertain", "uncertain", "fake", "real", "fake",
    ]  # fmt: skip


def test_operating_point_of_separated_classes_has_one_threshold():
    reals, fakes = np.arange(100.0), np.arange(100.0) + 1000
    point = operating_point(reals, fakes, fpr=0.05, fnr=0.05)
    assert point.low == point.high == pytest.approx((94 + 1005) / 2, abs=1e-9)
    assert (reals >= point.high).mean() <= 0.05
    assert (fakes < point.low).mean() <= 0.05
    assert {point.label(score) for score in np.linspace(-10, 2000, 500)} == {"real", "fake"}


def test_operating_point_to_json_and_back():
    point = OperatingPoint(0.1, 0.7, 0.01, 0.05, 300, 60)
    assert OperatingPoint.from_dict(json.loads(json.dumps(point.to_dict()))) == point


def test_a_score_of_nan_has_no_verdict():
    with pytest.raises(ConfigError, match="NaN"):
        OperatingPoint(0, 1, 0.1, 0.1, 30, 30).label(math.nan)
    with pytest.raises(ConfigError, match="NaN"):
        Calibration(Sigmoid(1, 0), 1, 1).probability([0.0, math.nan])


# --- domain ---


def test_domain_limit_rounds_up_to_a_distance_that_was_seen():
    distances = np.random.default_rng(0).permutation(np.arange(1000.0))
    limit = domain_limit(distances, quantile=0.99)
    assert limit == 990.0
    assert (distances > limit).mean() <= 0.01


@pytest.mark.parametrize(("quantile", "needed"), [(0.99, 100), (0.9, 10), (0.95, 20), (0.5, 2)])
def test_too_few_distances_are_refused(quantile, needed):
    assert domain_limit(np.arange(float(needed)), quantile=quantile) <= needed - 1
    with pytest.raises(ConfigError, match=f"found {needed - 1}, needed {needed}"):
        domain_limit(np.arange(needed - 1.0), quantile=quantile)


# --- what is refused everywhere ---


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 0], [1.0, 2.0], "found 2 reals and 0 fakes"),
        ([1, 1], [1.0, 2.0], "found 0 reals and 2 fakes"),
        ([0, 1], [1.0, math.nan], "nan in row 1"),
        ([0, 1], [math.inf, 1.0], "inf in row 0"),
        ([0, 1], [1.0], "differ in shape"),
        ([0, 2], [1.0, 2.0], "labels must be 0"),
        ([0, 1], [[1.0, 2.0]], "1-D"),
        ([0, 1], ["a", "b"], "must be numbers"),
    ],
)
def test_bad_calibration_data_are_refused(method, labels, scores, message):
    with pytest.raises(ConfigError, match=message):
        Calibration.fit(labels, scores, method=method)


def test_scores_without_a_usable_spread_are_refused():
    with pytest.raises(ConfigError, match="rescale"):
        sigmoid_curve([0, 1, 0, 1], [0, 0, 0, 1e-300])
    with pytest.raises(ConfigError, match="rescale"):
        sigmoid_curve([0, 1, 0, 1], [0, 0, 0, 1e300])


@pytest.mark.parametrize(
    "call",
    [
        lambda: Calibration.fit([0, 1], [0.0, 1.0], method="magic"),
        lambda: Calibration(Sigmoid(1, 0), 0, 1),
        lambda: Sigmoid(-1, 0),
        lambda: Sigmoid(math.nan, 0),
        lambda: Sigmoid(1, math.inf),
        lambda: Isotonic((), ()),
        lambda: Isotonic((1.0,), (0.1, 0.2)),
        lambda: Isotonic((1.0, 1.0), (0.1, 0.2)),
        lambda: Isotonic((1.0, math.inf), (0.1, 0.2)),
        lambda: Isotonic((1.0, 2.0), (0.2, 0.1)),
        lambda: Isotonic((1.0, 2.0), (0.2, 1.1)),
        lambda: Isotonic((-1e308, 1e308), (0.2, 0.3)),
        lambda: OperatingPoint(2, 1, 0.1, 0.1, 30, 30),
        lambda: OperatingPoint(math.nan, 1, 0.1, 0.1, 30, 30),
        lambda: threshold_at_fpr([*range(99), math.nan], 0.1),
        lambda: threshold_at_fpr(np.ones((100, 1)), 0.1),
        lambda: domain_limit(np.arange(100.0), quantile=1.0),
        lambda: domain_limit([*range(99), math.inf]),
    ],
)
def test_impossible_values_are_refused(call):
    with pytest.raises(ConfigError):
        call()


SIGMOID = {"method": "sigmoid", "slope": 1.0, "intercept": 0.0, "n_real": 3, "n_fake": 4}
ISOTONIC = {"method": "isotonic", "scores": [0.0], "probabilities": [0.5], "n_real": 3, "n_fake": 4}


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {**SIGMOID, "method": "magic"},
        {**SIGMOID, "extra": 1},
        {**SIGMOID, "slope": "1"},
        {**SIGMOID, "slope": None},
        {**SIGMOID, "slope": True},
        {**SIGMOID, "n_real": 3.5},
        {**SIGMOID, "n_real": 0},
        {key: value for key, value in SIGMOID.items() if key != "intercept"},
        {**ISOTONIC, "scores": 1.0},
        {**ISOTONIC, "scores": ["0"]},
        {**ISOTONIC, "scores": [0.0, 1.0]},
        {**ISOTONIC, "probabilities": [math.nan]},
    ],
)
def test_broken_stored_calibrations_are_refused(stored):
    Calibration.from_dict(SIGMOID)
    Calibration.from_dict(ISOTONIC)
    with pytest.raises(ConfigError):
        Calibration.from_dict(stored)


def test_broken_stored_operating_points_are_refused():
    stored = OperatingPoint(0, 1, 0.1, 0.1, 30, 30).to_dict()
    for broken in ({}, {**stored, "x": 1}, {**stored, "low": "0"}, {**stored, "n_real": None}):
        with pytest.raises(ConfigError):
            OperatingPoint.from_dict(broken)
