"""Metrics on cases whose answer is known by hand, and what they refuse."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tellsign import metrics
from tellsign.groups import group_numbers
from tellsign.metrics import Estimate, summary
from tellsign.metrics.resampling import draw, stratified
from tellsign.types import ConfigError, TellsignError

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1])
SCORES = np.array([0.1, 0.2, 0.3, 0.6, 0.4, 0.7, 0.8, 0.9])
RANKED = [
    metrics.auroc,
    metrics.average_precision,
    metrics.eer,
    lambda y, s: metrics.tpr_at_fpr(y, s, fpr=0.05),
]


def test_values_by_hand():
    assert metrics.auroc(LABELS, SCORES) == 15 / 16
    assert metrics.average_precision(LABELS, SCORES) == pytest.approx((1 + 1 + 1 + 4 / 5) / 4, abs=1e-15)
    assert metrics.eer(LABELS, SCORES) == 0.25
    assert metrics.tpr_at_fpr(LABELS, SCORES, fpr=0.05) == 0.75
    assert metrics.tpr_at_fpr(LABELS, SCORES, fpr=0.25) == 1.0
    assert metrics.confusion_matrix(LABELS, SCORES, threshold=0.4).tolist() == [[3, 1], [0, 4]]
    assert metrics.accuracy(LABELS, SCORES, threshold=0.4) == 7 / 8
    assert metrics.balanced_accuracy(LABELS, SCORES, threshold=0.65) == (1 + 3 / 4) / 2
    assert metrics.brier(LABELS, SCORES) == pytest.approx(np.mean((SCORES - LABELS) ** 2))


@pytest.mark.parametrize(
    ("scores", "area", "error"), [(LABELS, 1, 0), (-LABELS, 0, 1), (0 * LABELS, 0.5, 0.5)]
)
def test_perfect_inverted_and_constant_scores(scores, area, error):
    assert metrics.auroc(LABELS, scores) == area
    assert metrics.eer(LABELS, scores) == error


def test_one_class_lies_wholly_in_a_tie():
    # ROC points (0, 0), (1, 0.5), (1, 1): the first line meets FPR = FNR at FPR 2/3.
    labels, scores = [0, 0, 1, 1], [5, 5, 5, 1]
    assert metrics.auroc(labels, scores) == 0.25
    assert metrics.eer(labels, scores) == pytest.approx(2 / 3, abs=1e-15)


def test_tpr_is_not_interpolated():
    labels, scores = [0] * 10 + [1] * 4, [*range(10), 8.5, 8.6, 20, 21]
    assert metrics.tpr_at_fpr(labels, scores, fpr=0.0999) == 0.5
    assert metrics.tpr_at_fpr(labels, scores, fpr=0.1) == 1.0
    # The highest score is a real: no threshold but infinity calls nothing real fake.
    assert metrics.tpr_at_fpr([0, 1, 1], [3, 1, 2], fpr=0.4) == 0.0


def test_tpr_takes_a_rate_that_is_met_exactly():
    # 3 of 60 is 0.05, although 0.05 · 60 is not 3 in floating point.
    labels, scores = np.repeat([0, 1], 60), np.concatenate([np.arange(60.0), np.full(60, 56.5)])
    assert metrics.tpr_at_fpr(labels, scores, fpr=0.05) == 1.0


def test_infinite_scores_rank():
    assert metrics.auroc([0, 1, 1, 0], [-np.inf, np.inf, 3, 2]) == 1.0
    assert metrics.tpr_at_fpr([0, 1], [np.inf, np.inf], fpr=0.5) == 0.0


def test_decision_is_fake_at_the_threshold():
    assert metrics.confusion_matrix([0, 1], [0.5, 0.5], threshold=0.5).tolist() == [[0, 1], [0, 1]]
    assert metrics.confusion_matrix([0, 1], [0.5, 0.5], threshold=np.inf).tolist() == [[1, 0], [1, 0]]


def test_ece_by_hand():
    # Bins (0, 0.5] and (0.5, 1]: 0.5 lies in the lower one.
    labels, probabilities = [0, 1, 1, 1], [0.0, 0.5, 0.7, 0.9]
    assert metrics.ece(labels, probabilities, n_bins=2) == pytest.approx((0.5 + 0.4) / 4)
    assert metrics.ece([0, 1], [0.5, 0.5]) == 0.0
    assert metrics.ece([0, 1], [0.0, 1.0]) == 0.0
    assert metrics.ece([1, 0], [0.0, 1.0]) == 1.0


def test_accuracy_exists_for_one_class():
    assert metrics.accuracy([0, 0], [0.1, 0.9], threshold=0.5) == 0.5


@pytest.mark.parametrize("metric", RANKED)
@pytest.mark.parametrize(("label", "missing"), [(0, "fakes"), (1, "reals")])
def test_a_missing_class_is_named(metric, label, missing):
    with pytest.raises(ConfigError, match=f"no {missing}"):
        metric([label] * 3, [1.0, 2.0, 3.0])


def test_balanced_accuracy_needs_both_classes():
    with pytest.raises(ConfigError, match="no fakes"):
        metrics.balanced_accuracy([0, 0], [1.0, 2.0], threshold=1)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1, 1], [0.1, np.nan, np.nan], r"NaN: found 2 of 3, the first in row 1"),
        ([0, 1], [0.1], r"one length: found \(2,\) and \(1,\)"),
        ([[0, 1]], [[0.1, 0.2]], r"1-D"),
        ([0, 2], [0.1, 0.2], r"found 2 in row 1"),
        ([0, None], [0.1, 0.2], r"found None in row 1"),
        (["real", "fake"], [0.1, 0.2], r"found 'real' in row 0"),
        ([0, 1], ["a", "b"], r"scores must be numbers"),
        ([], [], r"no rows"),
    ],
)
def test_bad_rows_are_refused(labels, scores, message):
    with pytest.raises(ConfigError, match=message):
        metrics.auroc(labels, scores)


@pytest.mark.parametrize("metric", [metrics.ece, metrics.brier])
@pytest.mark.parametrize("probabilities", [[0.1, 1.1], [-0.1, 0.5], [0.1, np.nan]])
def test_probabilities_out_of_range_are_refused(metric, probabilities):
    with pytest.raises(ConfigError, match="probabilities"):
        metric([0, 1], probabilities)


@pytest.mark.parametrize(
    "call",
    [
        lambda: metrics.tpr_at_fpr(LABELS, SCORES, fpr=5),
        lambda: metrics.accuracy(LABELS, SCORES, threshold=math.nan),
        lambda: metrics.accuracy([], [], threshold=0),
        lambda: metrics.ece([], []),
        lambda: metrics.ece(LABELS, SCORES, n_bins=0),
        lambda: summary(LABELS, SCORES, threshold=math.nan),
        lambda: summary(LABELS, SCORES, threshold=None, n_resamples=-1),
        lambda: summary(LABELS, SCORES, threshold=None, level=95),
        lambda: summary(LABELS, SCORES, threshold=None, workers=0),
        lambda: summary(LABELS, SCORES, threshold=None, fpr_targets=(5,)),
        lambda: summary(LABELS, SCORES, threshold=None, groups=["a"]),
        lambda: summary(LABELS, SCORES, threshold=None, probabilities=SCORES[:3]),
        lambda: summary(LABELS, SCORES, threshold=None, probabilities=SCORES + 1),
    ],
)
def test_bad_options_are_refused(call):
    with pytest.raises(TellsignError):
        call()


# --- summary ---


def rows(n: int = 400, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    scores = rng.normal(size=n) + 1.5 * labels
    return labels, scores, 1 / (1 + np.exp(0.75 - scores))


def test_summary_values_are_those_of_the_functions():
    labels, scores, probabilities = rows()
    scores = scores.round(1)
    found = summary(
        labels, scores, threshold=0.5, probabilities=probabilities, fpr_targets=(0.05, 0.1), n_resamples=50
    )
    (tn, fp), (fn, tp) = metrics.confusion_matrix(labels, scores, threshold=0.5)
    expected = {
        "auroc": metrics.auroc(labels, scores),
        "ap": metrics.average_precision(labels, scores),
        "eer": metrics.eer(labels, scores),
        "tpr_at_fpr_0.05": metrics.tpr_at_fpr(labels, scores, fpr=0.05),
        "tpr_at_fpr_0.1": metrics.tpr_at_fpr(labels, scores, fpr=0.1),
        "accuracy": metrics.accuracy(labels, scores, threshold=0.5),
        "balanced_accuracy": metrics.balanced_accuracy(labels, scores, threshold=0.5),
        "fpr": fp / (fp + tn),
        "fnr": fn / (fn + tp),
        "ece": metrics.ece(labels, probabilities),
        "brier": metrics.brier(labels, probabilities),
    }
    assert {name: estimate.value for name, estimate in found.items()} == pytest.approx(expected, abs=1e-14)
    for estimate in found.values():
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.low < estimate.high


@pytest.mark.parametrize(("label", "rate", "other"), [(0, "fpr", "fnr"), (1, "fnr", "fpr")])
def test_summary_of_one_class(label, rate, other):
    scores = np.linspace(0, 1, 40)
    found = summary(np.full(40, label), scores, threshold=0.5, probabilities=scores, n_resamples=50)
    undefined = {name for name, estimate in found.items() if estimate is None}
    assert undefined == {"auroc", "ap", "eer", "tpr_at_fpr_0.05", "balanced_accuracy", other}
    assert found[rate].value == 0.5
    assert found[rate].low < 0.5 < found[rate].high
    assert found["accuracy"].low < found["accuracy"].high


def test_summary_without_threshold_probabilities_or_rows():
    labels, scores, _ = rows()
    found = summary(labels, scores, threshold=None, n_resamples=10)
    assert {name for name, estimate in found.items() if estimate is None} == {
        "accuracy", "balanced_accuracy", "fpr", "fnr", "ece", "brier",
    }  # fmt: skip
    nothing = summary([], [], threshold=0.5, probabilities=[], n_resamples=10)
    assert set(nothing) == set(found)
    assert set(nothing.values()) == {None}


def test_summary_needs_no_resamples():
    labels, scores, _ = rows()
    found = summary(labels, scores, threshold=None, n_resamples=0)["auroc"]
    assert found.value == metrics.auroc(labels, scores)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_same_seed_same_interval_whatever_the_workers_and_the_order_of_rows():
    labels, scores, probabilities = rows()
    groups = np.arange(len(labels)) // 4

    def intervals(order, **options):
        return summary(
            labels[order],
            scores[order],
            threshold=0.5,
            probabilities=probabilities[order],
            groups=groups[order],
            n_resamples=40,
            **options,
        )

    straight = np.arange(len(labels))
    first = intervals(straight)
    assert intervals(straight, workers=3) == first
    assert intervals(straight, seed=1)["auroc"] != first["auroc"]
    shuffled = intervals(np.random.default_rng(0).permutation(len(labels)))
    for name, estimate in first.items():
        assert shuffled[name].to_dict()["ci"] == pytest.approx(estimate.to_dict()["ci"], abs=1e-12)


def test_groups_of_any_name_and_rows_without_one():
    labels, scores, _ = rows(60)
    plain = summary(labels, scores, threshold=0.5, n_resamples=30)
    for groups in (
        range(60),
        [f"v{k}" for k in range(60)],
        np.array([f"v{k}" for k in range(60)]),
        [""] * 60,
        [None] * 60,
    ):
        assert summary(labels, scores, threshold=0.5, groups=groups, n_resamples=30) == plain
    pairs = summary(labels, scores, threshold=0.5, groups=np.arange(60) // 2, n_resamples=30)
    assert pairs != plain


def test_unnamed_rows_are_no_group():
    assert group_numbers(["a", "", "b", "a", None], 5).tolist() == [0, 1, 2, 0, 3]


def test_strata_keep_the_make_up():
    is_fake = np.array([False, False, True, True, False, True, True])
    groups = np.array([0, 0, 1, 2, 2, 3, 4])
    numbers, strata = stratified(is_fake, groups, np.arange(7))
    assert strata == (1, 3, 1)
    counts = np.empty(5, dtype=np.int32)
    for seed in range(20):
        draw(counts, strata, np.random.default_rng(seed))
        weights = counts[numbers]
        # The only groups of their strata: always there, once.
        assert weights[:2].tolist() == [1, 1]
        assert weights[3:5].tolist() == [1, 1]
        assert weights[2] + weights[5] + weights[6] == 3


@pytest.mark.parametrize(
    ("labels", "groups", "known"),
    [
        ([0, 0, 1, 1], "aabb", {"auroc": False, "fpr": False, "fnr": False, "accuracy": False}),
        ([0, 0, 1, 1], "abcc", {"auroc": False, "fpr": True, "fnr": False, "accuracy": False}),
        ([0, 1, 0, 1], "aabb", {"auroc": True, "fpr": True, "fnr": True, "accuracy": True}),
        ([0, 1, 0, 1], "aaaa", {"auroc": False, "fpr": False, "fnr": False, "accuracy": False}),
        # Two groups of reals, but alone in their strata: no resample differs.
        ([0, 0, 1, 1], "abbb", {"auroc": False, "fpr": False, "fnr": False, "accuracy": False}),
        ([0, 0, 1, 1], "abcd", {"auroc": True, "fpr": True, "fnr": True, "accuracy": True}),
    ],
)
def test_interval_is_unknown_where_a_class_has_one_source(labels, groups, known):
    found = summary(labels, [0.1, 0.6, 0.4, 0.9], threshold=0.5, groups=list(groups), n_resamples=20)
    assert {name: not math.isnan(found[name].low) for name in known} == known


def test_interval_holds_the_value_where_resampling_is_biased():
    # Calibrated perfectly on these rows: 200 of 1000 fakes where it says 0.2, and 800 where it says 0.8.
    labels = np.repeat([0, 1, 0, 1], [800, 200, 200, 800])
    probabilities = np.repeat([0.2, 0.8], 1000)
    found = summary(labels, probabilities, threshold=0.5, probabilities=probabilities, n_resamples=200)["ece"]
    assert found.value == pytest.approx(0, abs=1e-12)
    assert found.low == found.value
    assert found.high > 0.01


def test_estimate_as_json():
    assert json.loads(json.dumps(Estimate(0.5, 0.25, 0.75).to_dict())) == {"value": 0.5, "ci": [0.25, 0.75]}
    assert Estimate(0.5, math.nan, math.nan).to_dict() == {"value": 0.5, "ci": None}


def test_without_ranks_the_rates_stay_as_they_are():
    rng = np.random.default_rng(2)
    labels, scores, groups = rng.integers(0, 2, 80), rng.normal(size=80), rng.integers(0, 30, 80)
    options = {"threshold": 0.1, "groups": groups, "n_resamples": 30}
    whole, rates = summary(labels, scores, **options), summary(labels, scores, ranks=False, **options)
    assert whole.keys() - rates.keys() == {"auroc", "ap", "eer", "tpr_at_fpr_0.05"}
    for name in ("accuracy", "balanced_accuracy", "fpr", "fnr"):
        assert rates[name] == whole[name], name
