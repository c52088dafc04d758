"""Resamples of a bootstrap over groups, and the intervals of what was measured on them.

A resample is (G,) counts, how often each group is drawn: whole groups with replacement, since rows of one
source video or identity are not independent. It is stratified: groups of reals, groups of fakes and groups
with both are drawn apart, each as often as there are such groups. So the make-up of the test set stays as
designed, and no resample lacks a class. A stratum of one group is always drawn once and adds no variation.

Shapes: N rows (predictions), G groups, M measured values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.groups import group_numbers
from tellsign.metrics.apart import side_by_side
from tellsign.metrics.ranking import BLOCK, blocks
from tellsign.types import FAKE, REAL, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tellsign.groups import Groups
    from tellsign.metrics.ranking import Counts, Floats, Ints
    from tellsign.metrics.values import Bools

    Strata = tuple[int, int, int]  # groups of reals, of fakes and of both
    Measure = Callable[[Counts], Sequence[float | None]]  # (G,) counts → (M,) values

_APART = 100_000_000  # rows times resamples from which on a process is worth its start: about a second's work
_MANY = 1 << 14  # groups from which on they are drawn all at once
_N_CODES = 1 << 16
_COMMON = 4  # counts up to this one are common: about one group in 280 is drawn more often


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric and its bootstrap interval, in the metric's own unit (a share between 0 and 1)."""

    value: float
    low: float  # NaN, like `high`, where the data do not show how much the value varies
    high: float

    def to_dict(self) -> dict[str, Any]:
        """{"value": float, "ci": [low, high]}; "ci" is None where the interval is unknown."""
        return {"value": self.value, "ci": None if math.isnan(self.low) else [self.low, self.high]}


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """The groups of a set of rows, as they are drawn."""

    numbers: Ints  # (N,) group of each row; each stratum is a range of numbers
    strata: Strata
    n_resamples: int
    seed: int
    workers: int  # processes, where the work is worth their start

    @classmethod
    def of(
        cls, is_fake: Bools, order: Ints, groups: Groups, *, n_resamples: int, seed: int, workers: int
    ) -> Design:
        """How the groups of some rows are drawn.

        Args:    is_fake: (N,) which rows are fake.
                 order: (N,) rows by ascending score, in which the groups are numbered.
                 groups: (N,) source of each row; "" or None is a row of its own. None: every row is one.
                 n_resamples, seed, workers: of the bootstrap.
        Returns: the design.
        """
        numbers, strata = stratified(is_fake, group_numbers(groups, len(is_fake)), order)
        return cls(numbers, strata, n_resamples if len(is_fake) else 0, seed, workers)

    def draws(self, measure: Callable[[], Measure]) -> Floats:
        """(resamples, M) values, NaN where undefined.

        Resample i depends on (seed, i) alone, not on how many there are.

        Args:    measure: makes what measures one resample; called once in each process, and can be pickled
                 where the design has several workers.
        Returns: one row a resample.
        """
        drawn = partial(_drawn, self.strata, self.seed, measure)
        pays = len(self.numbers) * self.n_resamples >= _APART
        everything = range(self.n_resamples)
        share = max(1, math.ceil(self.n_resamples / (self.workers if pays else 1)))
        parts = [everything[start : start + share] for start in everything[::share]]
        rows = [row for part in side_by_side(drawn, parts) for row in part]
        return np.array(rows, dtype=np.float64)

    def varies(self, is_fake: Bools) -> dict[int | None, bool]:
        """Whether resampling varies what reads reals alone, fakes alone, or (None) every class there is."""
        real, fake, both = self.strata
        varies: dict[int | None, bool] = {REAL: max(real, both) > 1, FAKE: max(fake, both) > 1}
        present = [label for label in (REAL, FAKE) if (is_fake == label).any()]
        return {**varies, None: all(varies[label] for label in present)}


def _drawn(strata: Strata, seed: int, measure: Callable[[], Measure], resamples: range) -> list[list[float]]:
    """What is measured on some of the resamples, in one process."""
    measured, counts = measure(), np.empty(sum(strata), dtype=np.int32)
    found = []
    for index in resamples:
        source = np.random.SeedSequence(seed, spawn_key=(index,))
        draw(counts, strata, np.random.default_rng(source))
        found.append([math.nan if value is None else value for value in measured(counts)])
    return found


def estimate(value: float | None, draws: Floats, level: float, *, known: bool) -> Estimate | None:
    """A value with the percentiles of its resamples, widened to hold the value itself; None stays None."""
    if value is None:
        return None
    if not known or not len(draws):
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, min(float(low), value), max(float(high), value))


def check_options(*, n_resamples: int, level: float, workers: int) -> None:
    """Raises ConfigError where a bootstrap cannot be run so."""
    if n_resamples < 0:
        raise ConfigError(f"n_resamples must be 0 or more: found {n_resamples}")
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1: found {level}; write 95 % as 0.95")
    if workers < 1:
        raise ConfigError(f"workers must be 1 or more: found {workers}")


def stratified(is_fake: Bools, numbers: Ints, order: Ints) -> tuple[Ints, Strata]:
    """(N,) groups renumbered so that each stratum is a range; the sizes of reals, fakes and both.

    Within a stratum groups follow the lowest score: reading counts in the order of scores then walks through
    memory instead of jumping, and the interval does not depend on the order of the rows.
    """
    n_rows, n_groups = len(order), int(numbers.max(initial=-1)) + 1
    lowest = np.empty(n_groups, dtype=np.int64)
    # The last write to a group stays, so that writing backwards leaves the first row.
    lowest[numbers[order[::-1]]] = np.arange(n_rows)[::-1]
    has_real, has_fake = np.zeros((2, n_groups), dtype=np.bool_)
    has_real[numbers[~is_fake]] = True
    has_fake[numbers[is_fake]] = True
    stratum = np.where(has_real & has_fake, 2, has_fake)
    # A place for each pair of stratum and lowest row: no sort is needed.
    places = np.full(3 * n_rows, -1, dtype=np.int64)
    places[stratum * n_rows + lowest] = np.arange(n_groups)
    renumbered = np.empty(n_groups, dtype=np.int64)
    renumbered[places[places >= 0]] = np.arange(n_groups)
    real, fake, both = np.bincount(stratum, minlength=3).tolist()
    return renumbered[numbers], (real, fake, both)


def draw(counts: Counts, strata: tuple[int, ...], rng: np.random.Generator) -> None:
    """Fills (G,) counts with how often each group is drawn."""
    start = 0
    for size in filter(None, strata):
        _draw_evenly(counts[start : start + size], rng)
        start += size


def _draw_evenly(counts: Counts, rng: np.random.Generator) -> None:
    """Counts of as many draws as there are groups, each group as likely as another."""
    size = len(counts)
    if size < _MANY:
        counts[:] = np.bincount(rng.integers(size, size=size), minlength=size)
        return
    # Counts of draws are Poisson counts of which the sum is known, whatever it is. So nearly all draws come
    # at once, as Poisson counts of a mean a little below 1, and those that lack to the sum one by one: the
    # same distribution, several times faster.
    total = _draw_poisson(counts, _Codes.of(size), rng)
    while total > size:  # by chance of one in a thousand
        total = _draw_poisson(counts, _Codes.of(size), rng)
    # A plain 1 is of another type, and a hundred times slower.
    np.add.at(counts, rng.integers(size, size=size - total), np.int32(1))


@dataclass(frozen=True, slots=True, eq=False)
class _Codes:
    """Which of the 2**16 numbers of 16 bits stand for which Poisson count."""

    firsts: tuple[int, ...]  # the first number that stands for 1, for 2, ...; up to the last common count
    rare: int  # the first number that stands for a count beyond these
    counts: NDArray[np.uint8]  # (2**16,) of each number
    undecided: int  # from here on the numbers stand for none: the shares are no multiples of 2**-16
    rest: tuple[float, ...]  # distribution of the count where the number stands for none

    @classmethod
    @cache
    def of(cls, size: int) -> _Codes:
        mean = 1 - 3 / math.sqrt(size)
        exact = [_N_CODES * math.exp(-mean) * mean**k / math.factorial(k) for k in range(30)]
        whole = [math.floor(share) for share in exact]
        ends = list(accumulate(whole))
        rest = np.array(exact) - whole
        return cls(
            firsts=tuple(ends[:_COMMON]),
            rare=ends[_COMMON],
            counts=np.repeat(np.arange(len(whole) + 1), [*whole, _N_CODES - ends[-1]]).astype(np.uint8),
            undecided=ends[-1],
            rest=tuple((rest / rest.sum()).tolist()),
        )


def _draw_poisson(counts: Counts, codes: _Codes, rng: np.random.Generator) -> int:
    """Fills (G,) counts, and gives their sum."""
    total, undecided = 0, []
    n_block = min(len(counts), BLOCK)
    whole_drawn, whole_reached = np.empty(n_block, dtype=np.uint8), np.empty(n_block, dtype=np.bool_)
    for part in blocks(0, len(counts)):
        n = part.stop - part.start
        drawn, reached = whole_drawn[:n], whole_reached[:n]
        bits = rng.bit_generator.random_raw(n // 4 + (part.stop == len(counts))).view(np.uint16)[:n]
        # Comparing is several times faster than looking a count up, which is left for the rare ones.
        np.greater_equal(bits, codes.firsts[0], out=drawn.view(np.bool_))
        for first in codes.firsts[1:]:
            np.greater_equal(bits, first, out=reached)
            drawn += reached.view(np.uint8)
        rare = _rare(np.greater_equal(bits, codes.rare, out=reached))
        numbers = bits[rare]
        drawn[rare] = codes.counts[numbers]
        undecided.append(part.start + rare[numbers >= codes.undecided])
        counts[part] = drawn
        total += int(drawn.sum(dtype=np.uint32))
    rows = np.concatenate(undecided)
    decided = rng.choice(len(codes.rest), size=len(rows), p=codes.rest)
    total += int(decided.sum()) - int(counts[rows].sum())
    counts[rows] = decided
    return total


def _rare(flags: Bools) -> Ints:
    """As `np.flatnonzero`, faster where hardly any flag is set: it looks at eight at once."""
    n_even = len(flags) // 8 * 8
    eights = np.flatnonzero(flags[:n_even].view(np.uint64) != 0)
    rows = np.append((eights[:, None] * 8 + np.arange(8)).ravel(), np.arange(n_even, len(flags)))
    return np.asarray(rows[flags[rows]], dtype=np.int64)
