"""What holds for metrics whatever the scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tellsign import metrics
from tellsign.metrics import summary
from tellsign.metrics.bootstrap import Table
from tellsign.metrics.resampling import stratified

POINTS = [
    metrics.auroc,
    metrics.average_precision,
    metrics.eer,
    lambda y, s: metrics.tpr_at_fpr(y, s, fpr=0.2),
]


@st.composite
def tables(draw, min_size: int = 1):
    """Labels with both classes, and scores that often tie."""
    n_real, n_fake = (draw(st.integers(min_size, 25)) for _ in range(2))
    values = st.integers(-6, 6).map(float) | st.floats(-50, 50, allow_nan=False)
    scores = draw(st.lists(values, min_size=n_real + n_fake, max_size=n_real + n_fake))
    order = draw(st.permutations(range(n_real + n_fake)))
    return np.repeat([0, 1], [n_real, n_fake])[order], np.array(scores)


def rank(scores):
    """A strictly rising map that no rounding can merge."""
    return np.unique(scores, return_inverse=True)[1] ** 3.0 - 7


@given(tables())
def test_metrics_of_the_order_survive_rising_maps(rows):
    labels, scores = rows
    for metric in POINTS:
        assert metric(labels, rank(scores)) == pytest.approx(metric(labels, scores), abs=1e-12)


@given(tables())
def test_negation_turns_the_roc_curve_over(rows):
    labels, scores = rows
    assert metrics.auroc(labels, -scores) == pytest.approx(1 - metrics.auroc(labels, scores), abs=1e-12)
    assert metrics.eer(labels, -scores) == pytest.approx(1 - metrics.eer(labels, scores), abs=1e-12)


@given(tables())
def test_swapping_labels_and_signs_changes_no_area_and_no_eer(rows):
    labels, scores = rows
    for metric in (metrics.auroc, metrics.eer):
        assert metric(1 - labels, -scores) == pytest.approx(metric(labels, scores), abs=1e-12)


@given(tables())
def test_values_are_shares_and_do_not_depend_on_the_order_of_rows(rows):
    labels, scores = rows
    for metric in POINTS:
        value = metric(labels, scores)
        assert 0 <= value <= 1
        assert metric(labels[::-1], scores[::-1]) == pytest.approx(value, abs=1e-12)


@given(tables(), st.floats(0, 1), st.floats(0, 1))
def test_more_false_alarms_allow_no_fewer_finds(rows, one, other):
    low, high = sorted((one, other))
    assert metrics.tpr_at_fpr(*rows, fpr=low) <= metrics.tpr_at_fpr(*rows, fpr=high)


@given(tables(), st.data())
def test_counts_are_worth_repeated_rows(rows, data):
    labels, scores = rows
    n = len(labels)
    groups = np.array(data.draw(st.lists(st.integers(0, 8), min_size=n, max_size=n)))
    groups = np.unique(groups, return_inverse=True)[1]
    counts = np.array(
        data.draw(st.lists(st.integers(0, 3), min_size=len(set(groups)), max_size=len(set(groups))))
    )
    probabilities = 1 / (1 + np.exp(-scores / 9))
    is_fake = labels == 1
    order = np.argsort(scores, kind="stable")
    numbers, _ = stratified(is_fake, groups, order)
    table = Table.of(
        is_fake, scores, numbers, order, threshold=0.5, probabilities=probabilities, fpr_targets=(0.2,)
    )
    drawn = np.empty(len(counts), dtype=np.int32)
    drawn[numbers] = counts[groups]
    again = np.repeat(np.arange(n), counts[groups])
    if not len(again):
        return
    expected = summary(
        labels[again],
        scores[again],
        threshold=0.5,
        probabilities=probabilities[again],
        fpr_targets=(0.2,),
        n_resamples=0,
    )
    for name, value in table.measure()(drawn).items():
        assert (value is None) == (expected[name] is None)
        assert value is None or value == pytest.approx(expected[name].value, abs=1e-12)


@given(tables(min_size=4), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_rows_of_their_own_are_the_plain_bootstrap(rows, seed):
    labels, scores = rows
    plain = summary(labels, scores, threshold=0, n_resamples=40, seed=seed)
    assert summary(labels, scores, threshold=0, groups=range(len(labels)), n_resamples=40, seed=seed) == plain
    for estimate in plain.values():
        assert estimate is None or estimate.low <= estimate.value <= estimate.high


@given(st.integers(0, 1000), st.integers(4, 8))
@settings(max_examples=10, deadline=None)
def test_copies_within_a_group_add_no_certainty(seed, copies):
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], 60)
    scores = rng.normal(size=120) + labels
    once = summary(labels, scores, threshold=0.5, n_resamples=400)
    many = [np.repeat(values, copies) for values in (labels, scores, np.arange(120))]
    grouped = summary(many[0], many[1], threshold=0.5, groups=many[2], n_resamples=400)
    alone = summary(many[0], many[1], threshold=0.5, n_resamples=400)
    for name in ("auroc", "accuracy", "ap", "eer"):
        widths = [found[name].high - found[name].low for found in (once, grouped, alone)]
        assert widths[1] == pytest.approx(widths[0], rel=1e-6)
        assert widths[2] < 0.85 * widths[1]
