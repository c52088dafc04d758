"""Draws of many groups, and metrics where rows count several times or not at all: against slow loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tellsign.metrics import auroc, average_precision, eer, summary, tpr_at_fpr
from tellsign.metrics.ranking import (
    BLOCK,
    Mass,
    Ranking,
    area_and_precision,
    blocks,
    equal_error,
    largest_tpr,
)
from tellsign.metrics.resampling import _MANY, draw


def slow_counts(size: int, seed: int) -> np.ndarray:
    """Each group's 16 bits looked up in a table of the Poisson distribution, the rest drawn one by one."""
    rng = np.random.default_rng(seed)
    mean = 1 - 3 / math.sqrt(size)
    exact = [2**16 * math.exp(-mean) * mean**k / math.factorial(k) for k in range(30)]
    table = [k for k, share in enumerate(exact) for _ in range(math.floor(share))]
    rest = np.array([share - math.floor(share) for share in exact])
    total = size + 1
    while total > size:
        words = rng.bit_generator.random_raw(size // 4 + 1)
        numbers = [(int(word) >> shift) & 0xFFFF for word in words for shift in (0, 16, 32, 48)][:size]
        counts = [table[number] if number < len(table) else -1 for number in numbers]
        undecided = [row for row, count in enumerate(counts) if count < 0]
        drawn = rng.choice(30, size=len(undecided), p=(rest / rest.sum()).tolist())
        for row, count in zip(undecided, drawn.tolist(), strict=True):
            counts[row] = count
        total = sum(counts)
    for row in rng.integers(size, size=size - total).tolist():
        counts[row] += 1
    return np.array(counts)


@pytest.mark.parametrize("size", [_MANY, _MANY + 5, BLOCK - 1, BLOCK, BLOCK + 3, 2 * BLOCK + 2])
def test_many_groups_are_drawn_as_a_loop_would(size: int) -> None:
    counts = np.empty(size, dtype=np.int32)
    draw(counts, (size,), np.random.default_rng(size))
    assert counts.sum() == size
    np.testing.assert_array_equal(counts, slow_counts(size, size))


def test_counts_of_many_groups_are_those_of_draws_with_replacement() -> None:
    """Shares of groups that are drawn 0, 1, 2, … times, within five standard errors."""
    size, n = 40_000, 50
    counts = np.empty(size, dtype=np.int32)
    found = np.zeros(12)
    for seed in range(n):
        draw(counts, (size,), np.random.default_rng(seed))
        found += np.bincount(counts, minlength=12)[:12]
    shares = np.array([math.comb(size, k) * (1 / size) ** k * (1 - 1 / size) ** (size - k) for k in range(7)])
    error = np.sqrt(shares / (size * n))
    assert (np.abs(found[:7] / (size * n) - shares) < 5 * error).all()
    assert np.abs(found[:7] / (size * n) - np.roll(shares, 1)).max() > 0.01  # it can fail


CASES = {
    "all different": ([0.1, 0.3, 0.5, 0.7], [0.2, 0.4, 0.6, 0.8, 0.9]),
    "ties": ([0.1, 0.3, 0.3, 0.7], [0.3, 0.3, 0.7, 0.7, 0.9]),
    "infinite": ([-math.inf, 0.0, math.inf], [-math.inf, 0.0, math.inf, math.inf]),
    "one of each": ([0.5], [0.5]),
}


def repeated(real: list[float], fake: list[float], n_real: Any, n_fake: Any) -> tuple[list[int], list[float]]:
    scores = [*np.repeat(real, n_real).tolist(), *np.repeat(fake, n_fake).tolist()]
    return [0] * int(sum(n_real)) + [1] * int(sum(n_fake)), scores


@pytest.mark.parametrize("case", CASES)
def test_a_row_that_counts_twice_is_there_twice(case: str) -> None:
    real, fake = CASES[case]
    ranking, mass = Ranking(np.array(real), np.array(fake)), Mass(len(real), len(fake))
    rng = np.random.default_rng(0)
    for number in range(60):
        n_real, n_fake = rng.integers(4, size=len(real)), rng.integers(4, size=len(fake))
        if number % 3 == 0:
            n_fake[len(fake) // 2 :] = (
                0  # the highest fakes do not count, and with them nothing is called fake
            )
        if number % 3 == 1:
            n_real[len(real) // 2 :] = 0
        n_real[0], n_fake[0] = max(n_real[0], 1), max(n_fake[0], 1)
        mass.count(n_real.astype(np.int32), n_fake.astype(np.int32))
        labels, scores = repeated(real, fake, n_real, n_fake)
        area, precision = area_and_precision(ranking, mass)
        assert area == pytest.approx(auroc(labels, scores), abs=1e-12)
        assert precision == pytest.approx(average_precision(labels, scores), abs=1e-12)
        assert equal_error(ranking, mass) == pytest.approx(eer(labels, scores), abs=1e-12)
        for fpr in (0.0, 0.3):
            assert largest_tpr(ranking, mass, fpr=fpr) == pytest.approx(tpr_at_fpr(labels, scores, fpr=fpr))


@pytest.mark.parametrize("case", CASES)
def test_cuts_are_counts_below_each_score(case: str) -> None:
    real, fake = CASES[case]
    below_real, below_fake = Ranking(np.array(real), np.array(fake)).cuts
    distinct = sorted({*real, *fake})
    assert below_real.tolist() == [sum(r < score for r in real) for score in distinct] + [len(real)]
    assert below_fake.tolist() == [sum(f < score for f in fake) for score in distinct] + [len(fake)]


def test_blocks_cover_all_rows() -> None:
    parts = list(blocks(0, 2 * BLOCK + 7))
    assert [part.stop - part.start for part in parts] == [BLOCK, BLOCK, 7]
    assert list(blocks(0, 0)) == []


def test_probabilities_are_summed_by_group_whatever_the_order_of_the_groups() -> None:
    """ECE and Brier of groups of several rows, of one row each, and in more than 2**16 groups."""
    rng = np.random.default_rng(2)
    n = 70_000
    labels = rng.integers(2, size=n)
    probabilities = np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1)
    names = rng.permutation(n)
    results = [
        summary(
            labels, probabilities, threshold=0.5, probabilities=probabilities, groups=groups, n_resamples=0
        )
        for groups in (None, names, names // 7, np.minimum(names, 66_000))
    ]
    brier = float(np.mean((probabilities - labels) ** 2))
    for found in results:
        assert found["brier"] is not None
        assert found["ece"] is not None
        assert found["brier"].value == pytest.approx(brier, abs=1e-12)
        assert found["ece"].value == pytest.approx(results[0]["ece"].value, abs=1e-12)  # type: ignore[union-attr]
