"""Samples without a score: refused, left out or counted as the worst, in metrics and in reports."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tellsign import metrics
from tellsign.metrics import summary, with_missing
from tellsign.types import ConfigError

NAN = float("nan")
LABELS = [0, 0, 0, 1, 1, 1]
SCORES = [0.1, NAN, 0.3, 0.9, 0.2, NAN]


def test_error_counts_and_names_the_first_rows():
    with pytest.raises(ConfigError, match=r"2 of 6 samples have no score \(66.7% scored\): row 1, row 5;"):
        with_missing(LABELS, SCORES)
    names = [f"{i}.png" for i in range(9)]
    with pytest.raises(ConfigError, match=r"9 of 9 .*: 0.png, 1.png, 2.png and 6 more; .*exclude.*worst"):
        with_missing([0] * 9, [NAN] * 9, "error", names=names)


def test_error_lets_whole_tables_pass():
    found = with_missing([0, 1], [0.5, np.inf], "error", probabilities=[0.2, NAN])
    assert (found.rows.tolist(), found.scores.tolist(), found.coverage) == ([0, 1], [0.5, np.inf], 1.0)
    assert np.isnan(found.probabilities[1])


def test_exclude_leaves_rows_out():
    found = with_missing(LABELS, SCORES, "exclude", probabilities=[0.1, 0.7, 0.3, 0.9, 0.2, NAN])
    assert found.rows.tolist() == [0, 2, 3, 4]
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert found.scores.tolist() == found.probabilities.tolist() == [0.1, 0.3, 0.9, 0.2]
    assert (found.n, found.n_missing, found.coverage) == (6, 2, 4 / 6)


def test_worst_is_wrong_at_every_threshold_and_against_every_row():
    found = with_missing(LABELS, SCORES, "worst", probabilities=[0.1, NAN, 0.3, 0.9, 0.2, 0.8])
    assert found.scores.tolist() == [0.1, np.inf, 0.3, 0.9, 0.2, -np.inf]
    assert found.probabilities.tolist() == [0.1, 1.0, 0.3, 0.9, 0.2, 0.0]
    assert found.coverage == 4 / 6
    # Of nine pairs, 0.9 wins against two reals and 0.2 against one.
    assert metrics.auroc(found.labels, found.scores) == 3 / 9
    for threshold in (-1e300, 0.5, 1e300):
        (_, fp), (fn, _) = metrics.confusion_matrix(found.labels, found.scores, threshold=threshold)
        assert fp >= 1
        assert fn >= 1


def test_no_score_would_have_made_a_metric_worse():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    scores = rng.normal(size=60) + labels
    lost = rng.random(60) < 0.2

    def measured(values, chances):
        found = summary(labels, values, threshold=0.5, probabilities=chances, n_resamples=0)
        return {name: estimate.value for name, estimate in found.items()}

    holes = np.where(lost, NAN, scores)
    bound = with_missing(labels, holes, "worst", probabilities=1 / (1 + np.exp(-holes)))
    worst = measured(bound.scores, bound.probabilities)
    for _ in range(30):
        guessed = np.where(lost, 5 * rng.normal(size=60), scores)
        chances = 1 / (1 + np.exp(-guessed))
        for name, value in measured(guessed, chances).items():
            if name == "ece":  # a mean of distances, in which errors of two kinds can cancel
                continue
            assert value <= worst[name] + 1e-12 if name in {"eer", "fpr", "fnr", "brier"} else (
                value >= worst[name] - 1e-12
            ), name  # fmt: skip


def test_infinities_go_through_the_bootstrap():
    labels = np.arange(80) % 2
    scores = np.random.default_rng(1).normal(size=80) + labels
    scores[:10] = NAN
    found = with_missing(labels, scores, "worst")
    estimates = summary(found.labels, found.scores, threshold=0.5, n_resamples=100)
    for name in ("auroc", "ap", "eer", "tpr_at_fpr_0.05", "accuracy", "fpr", "fnr"):
        estimate = estimates[name]
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1, name
    assert estimates["auroc"].value < metrics.auroc(labels[10:], scores[10:])


@pytest.mark.parametrize("policy", ["exclude", "worst"])
def test_a_table_without_any_score(policy):
    found = with_missing([0, 1], [NAN, NAN], policy)
    estimates = summary(found.labels, found.scores, threshold=0.5, n_resamples=5)
    if policy == "exclude":
        assert set(estimates.values()) == {None}
    else:
        assert (estimates["auroc"].value, estimates["accuracy"].value, estimates["eer"].value) == (0, 0, 1)
    empty = with_missing([], [], policy)
    assert len(empty.rows) == 0
    assert np.isnan(empty.coverage)


@pytest.mark.parametrize(
    ("labels", "scores", "policy", "message"),
    [
        ([0, 1], [0.1, 0.2], "drop", "error, exclude, worst: found 'drop'"),
        ([0, 1], [0.1], "exclude", r"one length: found \(2,\) and \(1,\)"),
        ([0, 2], [0.1, NAN], "worst", "found 2 in row 1"),
        ([0, 1], ["a", "b"], "exclude", "scores must be numbers"),
    ],
)
def test_what_cannot_be_used_is_refused(labels, scores, policy, message):
    with pytest.raises(ConfigError, match=message):
        with_missing(labels, scores, policy)


def test_probabilities_of_another_length_are_refused():
    with pytest.raises(ConfigError, match="labels and probabilities"):
        with_missing([0, 1], [0.1, 0.2], probabilities=[0.1])


def test_inputs_are_left_as_they_were():
    scores, chances = np.array(SCORES), np.array(SCORES)
    found = with_missing(LABELS, scores, "worst", probabilities=chances)
    found.scores[:] = 7
    assert json.dumps(scores.tolist()) == json.dumps(chances.tolist()) == json.dumps(SCORES)
