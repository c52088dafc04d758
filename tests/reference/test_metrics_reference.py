"""Metrics and their bootstrap against scikit-learn, SciPy and slow loops written from the definitions."""

from __future__ import annotations

import numpy as np
import pytest

from tellsign import metrics
from tellsign.metrics import summary

sklearn_metrics = pytest.importorskip("sklearn.metrics")
EXACT = 1e-12
KINDS = ["distinct", "ties", "heavy ties", "float32", "random"]


def table(kind: str, n: int = 3000, share: float = 0.4):
    rng = np.random.default_rng(KINDS.index(kind))
    labels = (rng.random(n) < share).astype(int)
    scores = rng.normal(size=n) + labels
    if kind == "ties":
        scores = scores.round(1)
    if kind == "heavy ties":
        scores = scores.round(0)
    if kind == "float32":
        scores = scores.astype(np.float32)
    if kind == "random":
        scores = rng.normal(size=n)
    return labels, scores


@pytest.mark.parametrize("kind", KINDS)
def test_curves_equal_scikit_learn(kind):
    labels, scores = table(kind)
    assert metrics.auroc(labels, scores) == pytest.approx(
        sklearn_metrics.roc_auc_score(labels, scores), abs=EXACT
    )
    assert metrics.average_precision(labels, scores) == pytest.approx(
        sklearn_metrics.average_precision_score(labels, scores), abs=EXACT
    )


@pytest.mark.parametrize("kind", KINDS)
def test_eer_is_where_the_interpolated_curve_meets_the_diagonal(kind):
    optimize = pytest.importorskip("scipy.optimize")
    labels, scores = table(kind)
    fpr, tpr, _ = sklearn_metrics.roc_curve(labels, scores, drop_intermediate=False)
    # The curve is a polygon: a parameter along it, since FPR alone repeats.
    at = np.arange(len(fpr))
    meeting = optimize.brentq(
        lambda x: np.interp(x, at, fpr) - (1 - np.interp(x, at, tpr)), 0, len(fpr) - 1, xtol=1e-14
    )
    assert metrics.eer(labels, scores) == pytest.approx(np.interp(meeting, at, fpr), abs=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", [0.0, 0.001, 0.01, 0.05, 0.5, 1.0])
def test_tpr_is_the_largest_among_all_thresholds(kind, target):
    labels, scores = table(kind)
    fpr, tpr, _ = sklearn_metrics.roc_curve(labels, scores, drop_intermediate=False)
    assert metrics.tpr_at_fpr(labels, scores, fpr=target) == pytest.approx(
        tpr[fpr <= target].max(), abs=EXACT
    )


@pytest.mark.parametrize("threshold", [-np.inf, -1.0, 0.3, 0.5, np.inf])
def test_decisions_equal_scikit_learn(threshold):
    labels, scores = table("ties")
    decisions = (scores >= threshold).astype(int)
    cells = sklearn_metrics.confusion_matrix(labels, decisions, labels=[0, 1])
    assert (metrics.confusion_matrix(labels, scores, threshold=threshold) == cells).all()
    assert metrics.accuracy(labels, scores, threshold=threshold) == pytest.approx(
        sklearn_metrics.accuracy_score(labels, decisions), abs=EXACT
    )
    assert metrics.balanced_accuracy(labels, scores, threshold=threshold) == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(labels, decisions), abs=EXACT
    )


@pytest.mark.parametrize("n_bins", [1, 10, 15])
def test_probabilities_equal_scikit_learn(n_bins):
    calibration = pytest.importorskip("sklearn.calibration")
    rng = np.random.default_rng(3)
    # Grid points lie on the edges of bins.
    probabilities = np.concatenate([rng.random(2000), np.linspace(0, 1, 31)])
    labels = (rng.random(len(probabilities)) < probabilities**1.3).astype(int)
    assert metrics.brier(labels, probabilities) == pytest.approx(
        sklearn_metrics.brier_score_loss(labels, probabilities), abs=EXACT
    )
    frequency, mean = calibration.calibration_curve(labels, probabilities, n_bins=n_bins)
    edges = np.linspace(0, 1, n_bins + 1)[1:-1]
    counts = np.bincount(np.searchsorted(edges, probabilities), minlength=n_bins)
    expected = np.abs(frequency - mean) @ counts[counts > 0] / len(labels)
    assert metrics.ece(labels, probabilities, n_bins=n_bins) == pytest.approx(expected, abs=EXACT)


def slow_ece(labels, probabilities, n_bins: int) -> float:
    total = 0.0
    for k in range(n_bins):
        inside = [
            (p, y)
            for p, y in zip(probabilities, labels, strict=True)
            if k / n_bins < p <= (k + 1) / n_bins or (k == 0 and p == 0)
        ]
        if inside:
            p, y = np.mean(inside, axis=0)
            total += len(inside) / len(labels) * abs(p - y)
    return total


def test_ece_equals_a_loop_over_guos_definition():
    rng = np.random.default_rng(4)
    probabilities = rng.random(500)
    labels = rng.integers(2, size=500)
    assert metrics.ece(labels, probabilities) == pytest.approx(slow_ece(labels, probabilities, 15), abs=EXACT)
    assert abs(metrics.ece(labels, probabilities) - slow_ece(labels, probabilities, 14)) > 1e-4


# --- the bootstrap against one that repeats rows and calls scikit-learn ---


def slow_intervals(labels, scores, groups, metric, *, n_resamples: int, seed: int) -> tuple[float, float]:
    """Percentiles of a metric over resamples of groups within strata, row by row."""
    rng = np.random.default_rng(seed)
    rows_of = {g: np.flatnonzero(groups == g) for g in np.unique(groups)}
    strata: dict[tuple[int, ...], list[int]] = {}
    for group, own in rows_of.items():
        strata.setdefault(tuple(np.unique(labels[own])), []).append(group)
    values = []
    for _ in range(n_resamples):
        drawn = [g for members in strata.values() for g in rng.choice(members, size=len(members))]
        own = np.concatenate([rows_of[g] for g in drawn])
        values.append(metric(labels[own], scores[own]))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


@pytest.mark.parametrize("groups", ["rows", "videos", "pairs of a real and a fake"])
@pytest.mark.parametrize(
    ("name", "reference"), [("auroc", "roc_auc_score"), ("ap", "average_precision_score")]
)
def test_interval_equals_a_bootstrap_that_repeats_rows(groups, name, reference):
    rng = np.random.default_rng(5)
    n = 240
    labels = np.arange(n) % 2 if groups.startswith("pairs") else np.arange(n) // (n // 2)
    width = {"rows": 1, "videos": 6, "pairs of a real and a fake": 2}[groups]
    number = np.arange(n) // width
    # A common shift for each group makes its rows dependent.
    scores = rng.normal(size=n) + labels + rng.normal(size=n)[number]
    found = summary(labels, scores, threshold=None, groups=number, n_resamples=2000)[name]
    low, high = slow_intervals(
        labels, scores, number, getattr(sklearn_metrics, reference), n_resamples=400, seed=6
    )
    # Two independent bootstraps differ by their own noise, about a tenth of the interval.
    assert found.low == pytest.approx(low, abs=0.15 * (high - low))
    assert found.high == pytest.approx(high, abs=0.15 * (high - low))


def test_interval_of_the_accuracy_is_the_binomial_one():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(7)
    labels = np.repeat([0, 1], 1000)
    scores = np.where(rng.random(2000) < 0.9, labels, 1 - labels)
    found = summary(labels, scores, threshold=0.5, n_resamples=4000)["accuracy"]
    wrong = stats.norm.ppf(0.975) * np.sqrt(found.value * (1 - found.value) / 2000)
    assert found.high - found.low == pytest.approx(2 * wrong, rel=0.08)
