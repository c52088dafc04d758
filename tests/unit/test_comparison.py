"""Two detectors on the same samples: verdicts, signs, and what the data leave open."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tellsign.metrics import correlations, delong, differences
from tellsign.metrics.comparison import Difference
from tellsign.types import ConfigError

NAN = float("nan")


def rows(n: int = 300, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    good = rng.normal(size=n) + 2 * labels
    return labels, good, good + 2 * rng.normal(size=n)


def test_the_better_one_is_named_and_swapping_swaps_the_verdict():
    labels, good, bad = rows()
    options = {"thresholds": (1.0, 1.0), "n_resamples": 200}
    found = differences(labels, good, bad, names=("a", "b"), **options)
    turned = differences(labels, bad, good, names=("b", "a"), **options)
    for name in ("auroc", "ap", "eer", "accuracy", "fnr"):
        assert found[name].verdict == "first", name
        assert found[name].words == turned[name].words == "a is better", name
        assert turned[name].verdict == "second"
        assert found[name].value == -turned[name].value
        assert found[name].ci == pytest.approx([-x for x in turned[name].ci[::-1]], abs=1e-15)
        assert found[name].p == turned[name].p < 0.05
    # Of an error rate less is better: its difference is below zero.
    assert found["eer"].value < 0 < found["auroc"].value
    assert found["ece"] is None
    test = delong(labels, bad, good, names=("b", "a"))
    assert test.difference.words == "a is better"
    assert test.z < 0


def test_an_interval_that_crosses_zero_is_undecided():
    labels, good, _ = rows(n=40)
    other = good + np.random.default_rng(5).normal(size=40) * 0.2
    for found in (
        differences(labels, good, other, thresholds=None, n_resamples=200)["auroc"],
        delong(labels, good, other).difference,
    ):
        assert found.ci[0] < 0 < found.ci[1]
        assert found.verdict == found.words == "undecided"
        assert found.p > 0.05


def test_a_detector_does_not_differ_from_itself():
    labels, good, _ = rows()
    for name, found in differences(labels, good, good, thresholds=(1.0, 1.0), n_resamples=50).items():
        if found is not None:
            assert (found.value, found.ci, found.p, found.verdict) == (0, (0, 0), 1, "undecided"), name
    found = delong(labels, good, good)
    assert found.variances[0] == found.variances[1] == pytest.approx(found.covariance)
    assert (found.z, found.difference.ci, found.difference.p) == (None, None, None)
    assert found.difference.words == "undecided"


def test_perfect_against_constant_has_no_variance_to_judge_by():
    found = delong([0, 0, 1, 1], [1, 2, 3, 4], [0, 0, 0, 0])
    assert (found.first, found.second, found.variances, found.covariance) == (1.0, 0.5, (0.0, 0.0), 0.0)
    assert (found.z, found.difference.ci, found.difference.verdict) == (None, None, "undecided")


@pytest.mark.parametrize("groups", ["aabb", "aaaa"])
def test_one_source_of_a_class_decides_nothing(groups):
    labels = [0, 0, 1, 1] if groups == "aabb" else [0, 1, 0, 1]
    found = differences(
        labels, [1, 2, 3, 4], [4, 3, 2, 1], thresholds=(2.5, 2.5), groups=list(groups), n_resamples=20
    )
    assert found["auroc"].value != 0
    for name in ("auroc", "accuracy", "fpr"):
        assert (found[name].ci, found[name].p, found[name].words) == (None, None, "undecided")
    assert json.loads(json.dumps(found["auroc"].to_dict()))["ci"] is None


def test_groups_widen_the_interval_of_a_difference():
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(60) % 2, 10)
    groups = np.arange(600) // 10
    first = rng.normal(size=600) + labels
    second = first + rng.normal(size=60)[groups]
    widths = []
    for names in (groups, None):
        low, high = differences(labels, first, second, thresholds=None, groups=names, n_resamples=300)[
            "auroc"
        ].ci
        widths.append(high - low)
    assert widths[0] > 1.5 * widths[1]


@pytest.mark.parametrize("label", [0, 1])
def test_a_set_of_one_class_has_differences_of_its_own_rate_only(label):
    scores = np.linspace(0, 1, 20)
    found = differences([label] * 20, scores, scores[::-1] ** 2, thresholds=(0.5, 0.5), n_resamples=20)
    undefined = {name for name, difference in found.items() if difference is None}
    assert {"auroc", "ap", "eer", "balanced_accuracy", ("fnr", "fpr")[label], "ece"} <= undefined
    assert found[("fpr", "fnr")[label]].ci is not None
    with pytest.raises(ConfigError, match=r"2 rows of each class: found \d+ reals and \d+ fakes"):
        delong([label] * 20, scores, scores)
    known = correlations([label] * 20, scores, scores**2, n_resamples=20)
    present, absent = ("real", "fake") if label == 0 else ("fake", "real")
    assert known[present].spearman.value == pytest.approx(1)
    assert (known[absent].n, known[absent].pearson, known[absent].spearman) == (0, None, None)


def test_no_rows_are_no_difference():
    assert set(differences([], [], [], thresholds=(0.5, 0.5), n_resamples=10).values()) == {None}
    assert correlations([], [], [], n_resamples=10)["pooled"].pearson is None


@pytest.mark.parametrize("call", [delong, correlations, lambda *a: differences(*a, thresholds=None)])
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([0, 1, 0, 1], [1, NAN, 2, 3], [1, 2, 3, 4]), "scores of the first detector must not be NaN"),
        (([0, 1, 0, 1], [1, 2, 3, 4], [1, 2, 3, NAN]), "scores of the second detector must not be NaN"),
        (([0, 1, 0, 1], [1, 2, 3, 4], [1, 2, 3]), "of one length"),
        (([0, 1, 0, 2], [1, 2, 3, 4], [1, 2, 3, 4]), "found 2 in row 3"),
    ],
)
def test_bad_rows_are_refused(call, columns, message):
    with pytest.raises(ConfigError, match=message):
        call(*columns)


@pytest.mark.parametrize(
    "call",
    [
        lambda y, s: delong(y, s, s, level=95),
        lambda y, s: differences(y, s, s, thresholds=(0.5, NAN)),
        lambda y, s: differences(y, s, s, thresholds=None, n_resamples=-1),
        lambda y, s: differences(y, s, s, thresholds=None, fpr_targets=(5,)),
        lambda y, s: differences(y, s, s, thresholds=None, groups=["a"]),
        lambda y, s: differences(y, s, s, thresholds=None, probabilities=(s, s)),
        lambda y, s: correlations(y, s, s, workers=0),
    ],
)
def test_bad_options_are_refused(call):
    labels, good, _ = rows(20)
    with pytest.raises(ConfigError):
        call(labels, good)


def test_infinite_scores_rank_and_have_no_pearson():
    labels, good, bad = rows(60)
    good[0], bad[1] = np.inf, -np.inf
    found = correlations(labels, good, bad, n_resamples=20)["pooled"]
    assert found.pearson is None
    assert 0 < found.spearman.value < 1
    assert delong(labels, good, bad).difference.ci is not None
    assert differences(labels, good, bad, thresholds=(1.0, 1.0), n_resamples=20)["auroc"].ci is not None


def test_a_constant_detector_correlates_with_nothing():
    labels, good, _ = rows(30)
    found = correlations(labels, good, np.full(30, 0.1), n_resamples=10)
    assert all(part.pearson is None and part.spearman is None for part in found.values())


def test_correlation_is_that_of_the_classes_too():
    # Both part the classes, and within a class they have nothing to do with each other.
    rng = np.random.default_rng(8)
    labels = np.repeat([0, 1], 400)
    first, second = (rng.normal(size=800) + 6 * labels for _ in range(2))
    found = correlations(labels, first, second, n_resamples=200)
    assert found["pooled"].pearson.value > 0.85
    for label in ("real", "fake"):
        assert found[label].pearson.low < 0 < found[label].pearson.high
        assert found[label].spearman.low < 0 < found[label].spearman.high
    assert json.loads(json.dumps(found["real"].to_dict()))["n"] == 400


def test_correlation_of_scores_too_large_to_square():
    labels, good, bad = rows(50)
    plain = correlations(labels, good, bad, n_resamples=0)["pooled"].pearson.value
    for scale in (1e200, 1e-200):
        found = correlations(labels, good * scale, bad * scale, n_resamples=0)["pooled"].pearson
        assert found.value == pytest.approx(plain)
        assert math.isnan(found.low)


def test_the_interval_is_unknown_where_a_class_has_one_source():
    labels, good, bad = rows(20)
    groups = np.where(labels == 1, "one", np.arange(20).astype(str))
    found = correlations(labels, good, bad, groups=groups, n_resamples=20)
    assert math.isnan(found["fake"].pearson.low)
    assert math.isnan(found["pooled"].pearson.low)
    assert found["real"].pearson.low < found["real"].pearson.high


def test_a_difference_as_json():
    found = Difference(0.1, (0.05, 0.2), 0.01, "second", ("svm", "net"))
    assert found.to_dict() == {"value": 0.1, "ci": [0.05, 0.2], "p": 0.01, "verdict": "net is better"}


def test_an_interval_without_zero_decides_nothing_where_p_is_too_large():
    # Among 20 resamples none lies beyond zero, and that happens by chance in more than 5 % of such cases.
    labels, good, bad = rows()
    few, many = (differences(labels, good, bad, thresholds=None, n_resamples=n)["auroc"] for n in (20, 200))
    assert few.ci[0] > 0
    assert few.p == pytest.approx(2 / 21)
    assert few.verdict == "undecided"
    assert many.p <= 0.05
    assert many.verdict == "first"


def test_a_row_that_is_not_drawn_does_not_hide_the_others():
    scores = np.array([1.0, 2.0, 3.0, 4.0, 1e300])
    found = correlations([0] * 5, scores, scores, n_resamples=50)["real"].pearson
    assert found.value == pytest.approx(1)
    assert found.low == pytest.approx(1)
