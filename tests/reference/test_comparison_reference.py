"""DeLong's test, paired bootstraps and correlations against slow loops written from the definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tellsign import metrics
from tellsign.groups import group_numbers
from tellsign.metrics import correlations, delong, differences, ranking, summary
from tellsign.metrics.resampling import draw, stratified

KINDS = ["distinct", "ties", "heavy ties", "infinite"]


def table(kind: str, n: int = 90):
    rng = np.random.default_rng(KINDS.index(kind))
    labels = (rng.random(n) < 0.4).astype(int)
    first = rng.normal(size=n) + labels
    second = first + rng.normal(size=n)
    if kind == "ties":
        first, second = first.round(1), second.round(1)
    if kind == "heavy ties":
        first, second = first.round(0), second.round(0)
    if kind == "infinite":
        first[:5] = np.where(labels[:5] == 1, -np.inf, np.inf)
        second[3:9] = np.where(labels[3:9] == 1, -np.inf, np.inf)
    return labels, first, second


def slow_delong(labels, first, second):
    """AUROCs and their (2, 2) covariance, pair by pair: DeLong et al. (1988), eqs. 1 to 7."""
    real, fake = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)

    def kernel(x: float, y: float) -> float:
        return 1.0 if x > y else 0.5 if x == y else 0.0

    pairs = np.array([[[kernel(s[i], s[j]) for j in real] for i in fake] for s in (first, second)])
    areas = pairs.mean(axis=(1, 2))
    of_fakes, of_reals = pairs.mean(axis=2), pairs.mean(axis=1)
    s10, s01 = np.zeros((2, 2)), np.zeros((2, 2))
    for r in range(2):
        for s in range(2):
            s10[r, s] = ((of_fakes[r] - areas[r]) * (of_fakes[s] - areas[s])).sum() / (len(fake) - 1)
            s01[r, s] = ((of_reals[r] - areas[r]) * (of_reals[s] - areas[s])).sum() / (len(real) - 1)
    return areas, s10 / len(fake) + s01 / len(real)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_delong_equals_a_loop_over_pairs(kind, level):
    labels, first, second = table(kind)
    found = delong(labels, first, second, level=level)
    areas, covariance = slow_delong(labels, first, second)
    assert (found.first, found.second) == pytest.approx(areas, abs=1e-14)
    assert found.variances == pytest.approx(np.diag(covariance), rel=1e-11)
    assert found.covariance == pytest.approx(covariance[0, 1], rel=1e-11)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    z = (areas[0] - areas[1]) / np.sqrt(variance)
    assert found.z == pytest.approx(z, rel=1e-10)
    assert found.difference.p == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-9)
    reach = stats.norm.ppf((1 + level) / 2) * np.sqrt(variance)
    assert found.difference.ci == pytest.approx((areas[0] - areas[1] - reach, areas[0] - areas[1] + reach))
    assert (found.first, found.second) == (
        metrics.auroc(labels, first),
        metrics.auroc(labels, second),
    )


def test_delong_rejects_as_often_as_its_level_says():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [60, 50])
    rejected = 0
    for _ in range(600):
        common = rng.normal(size=110) + labels
        found = delong(labels, common + rng.normal(size=110), common + rng.normal(size=110))
        rejected += found.difference.verdict != "undecided"
    # 30 are expected of 600; the binomial's 99.9 % interval.
    assert 13 <= rejected <= 50


# --- bootstraps against one that repeats rows ---


def resampled_rows(labels, order, groups, n_resamples: int, seed: int):
    """Row numbers of each resample, repeated as often as their group is drawn."""
    numbers, strata = stratified(labels == 1, group_numbers(groups, len(labels)), order)
    counts = np.empty(sum(strata), dtype=np.int32)
    for source in np.random.SeedSequence(seed).spawn(n_resamples):
        draw(counts, strata, np.random.default_rng(source))
        yield np.repeat(np.arange(len(labels)), counts[numbers])


def joint_order(first, second):
    ranks = np.argsort(np.argsort(first, kind="stable")) + np.argsort(np.argsort(second, kind="stable"))
    return np.argsort(ranks, kind="stable")


@pytest.mark.parametrize("groups", [None, np.arange(90) // 3])
@pytest.mark.parametrize("kind", ["distinct", "heavy ties"])
def test_paired_differences_are_those_of_repeated_rows(groups, kind):
    labels, first, second = table(kind)
    chances = [1 / (1 + np.exp(-scores)) for scores in (first, second)]
    found = differences(
        labels, first, second, thresholds=(0.5, 0.7), probabilities=tuple(chances), groups=groups,
        n_resamples=40, seed=3,
    )  # fmt: skip
    slow = {name: [] for name in found}
    for rows in resampled_rows(labels, joint_order(first, second), groups, 40, 3):
        one, other = (
            summary(labels[rows], s[rows], threshold=t, probabilities=p[rows], n_resamples=0)
            for s, t, p in ((first, 0.5, chances[0]), (second, 0.7, chances[1]))
        )
        for name, values in slow.items():
            values.append(one[name].value - other[name].value)
    for name, difference in found.items():
        low, high = np.quantile(slow[name], [0.025, 0.975])
        expected = (min(low, difference.value), max(high, difference.value))
        assert difference.ci == pytest.approx(expected, abs=1e-12), name
        tail = min(np.sum(np.array(slow[name]) <= 1e-15), np.sum(np.array(slow[name]) >= -1e-15))
        assert difference.p == pytest.approx(min(1, 2 * (1 + tail) / 41)), name


def test_the_paired_interval_agrees_with_delong_and_not_with_two_unpaired_ones():
    labels, first, second = (np.concatenate([part] * 1) for part in table("distinct", n=800))
    paired = differences(labels, first, second, thresholds=None, n_resamples=2000)["auroc"]
    normal = delong(labels, first, second).difference
    width = normal.ci[1] - normal.ci[0]
    assert paired.ci == pytest.approx(normal.ci, abs=0.1 * width)
    alone = [summary(labels, s, threshold=None, n_resamples=1000)["auroc"] for s in (first, second)]
    assert np.hypot(*(e.high - e.low for e in alone)) > 1.3 * width


@pytest.mark.parametrize("kind", ["distinct", "ties", "heavy ties"])
def test_correlations_equal_scipy(kind):
    labels, first, second = table(kind)
    found = correlations(labels, first, second, n_resamples=0)
    for name, rows in (("pooled", labels >= 0), ("real", labels == 0), ("fake", labels == 1)):
        assert found[name].n == rows.sum()
        assert found[name].pearson.value == pytest.approx(stats.pearsonr(first[rows], second[rows])[0])
        assert found[name].spearman.value == pytest.approx(stats.spearmanr(first[rows], second[rows])[0])


@pytest.mark.parametrize("groups", [None, np.arange(90) // 3])
def test_correlation_intervals_are_those_of_repeated_rows(groups):
    labels, first, second = table("ties")
    found = correlations(labels, first, second, groups=groups, n_resamples=40, seed=2)["pooled"]
    slow = [
        (stats.pearsonr(first[rows], second[rows])[0], stats.spearmanr(first[rows], second[rows])[0])
        for rows in resampled_rows(labels, np.argsort(first, kind="stable"), groups, 40, 2)
    ]
    for estimate, values in zip((found.pearson, found.spearman), np.transpose(slow), strict=True):
        low, high = np.quantile(values, [0.025, 0.975])
        assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("groups", [None, np.arange(90) // 3])
def test_summary_is_that_of_repeated_rows_whatever_the_size_of_blocks(monkeypatch, kind, groups):
    labels, scores, _ = table(kind)
    chances = 1 / (1 + np.exp(-scores))

    def intervals():
        return summary(
            labels, scores, threshold=0.5, probabilities=chances, groups=groups, n_resamples=30, seed=5
        )

    whole = intervals()
    monkeypatch.setattr(ranking, "BLOCK", 7)
    monkeypatch.setattr(ranking, "_ROW", 3)
    blocks = intervals()
    slow = [
        summary(labels[rows], scores[rows], threshold=0.5, probabilities=chances[rows], n_resamples=0)
        for rows in resampled_rows(labels, np.argsort(scores, kind="stable"), groups, 30, 5)
    ]
    for name, estimate in whole.items():
        low, high = np.quantile([one[name].value for one in slow], [0.025, 0.975])
        expected = (min(low, estimate.value), max(high, estimate.value))
        for found in (estimate, blocks[name]):
            assert (found.low, found.high) == pytest.approx(expected, abs=1e-12), name


# --- the draw of many groups, which works in blocks ---


@pytest.mark.parametrize("size", [16383, 16384, 16385, 50_000, 65_536])
def test_as_many_groups_are_drawn_as_there_are(size):
    counts = np.full(size, -1, dtype=np.int32)
    draw(counts, (size, 0, 0), np.random.default_rng(size))
    assert counts.sum() == size
    assert counts.min() == 0


def test_counts_of_many_groups_are_multinomial():
    size, n_draws = 40_000, 60
    rng = np.random.default_rng(1)
    drawn = np.empty((n_draws, size), dtype=np.int32)
    for counts in drawn:
        draw(counts, (0, size, 0), rng)
    # How often a group is drawn k times: binomial(size, 1 / size), within 5 standard errors.
    for k in range(6):
        share, expected = np.mean(drawn == k), stats.binom.pmf(k, size, 1 / size)
        assert abs(share - expected) < 5 * np.sqrt(expected / drawn.size), k
    # Counts of a part of the groups are binomial too: no block is favoured, nor fixed in its total.
    for part in (slice(0, 16_384), slice(16_384, 32_768), slice(32_768, None), slice(100, 8_000)):
        totals, share = drawn[:, part].sum(axis=1), (part.stop or size) - part.start
        chance = share / size
        spread = np.sqrt(size * chance * (1 - chance))
        assert abs(totals.mean() - share) < 4 * spread / np.sqrt(n_draws)
        assert 0.6 * spread < totals.std(ddof=1) < 1.4 * spread
    # Every place within a block is as likely, to the last.
    assert abs(drawn[:, 16_383].mean() - 1) < 0.6
    assert abs(drawn.sum(axis=0) - n_draws).max() < 6.5 * np.sqrt(n_draws)
