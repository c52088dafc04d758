"""Metrics of the order of scores, as functions of how often each row counts.

One sort serves every resample of a bootstrap: a resample only changes the counts, and each metric here reads
cumulative sums of counts. For the point value every row counts once.

Shapes: R reals, F fakes, T distinct scores.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Counts = NDArray[np.int32]

# Rows that are worked on together: few enough to stay in the processor's cache.
BLOCK = 1 << 17
_ROW = 1 << 12
_WIDE = 1 << 26  # rows from which on 32 bits may be too few for the sum of their counts


@dataclass(frozen=True, eq=False)
class Ranking:
    """Both classes in ascending order of score, and where each falls in the other."""

    real: Floats  # (R,)
    fake: Floats  # (F,)

    @cached_property
    def reals_below(self) -> Ints:
        """(F,) reals that score less than each fake."""
        return self.real.searchsorted(self.fake, side="left")

    @cached_property
    def reals_up_to(self) -> Ints | None:
        """(F,) reals that score at most as much as each fake; None where no real ties with a fake."""
        up_to = self.real.searchsorted(self.fake, side="right")
        return None if np.array_equal(up_to, self.reals_below) else up_to

    @cached_property
    def fakes_below(self) -> Ints | None:
        """(F,) fakes that score less than each fake; None where no two fakes tie: then 0 to F-1."""
        below = self.fake.searchsorted(self.fake, side="left")
        return None if np.array_equal(below, np.arange(len(below))) else below

    @cached_property
    def cuts(self) -> tuple[Ints, Ints]:
        """(T + 1,) reals and fakes below each distinct score, ascending, and below infinity."""
        both = np.concatenate([self.real, self.fake])
        # Two runs that are in order already, which a stable sort merges.
        order = np.argsort(both, kind="stable")
        merged = both[order]
        ends = np.append(np.flatnonzero(merged[1:] != merged[:-1]) + 1, len(merged))
        real = np.cumsum(order < len(self.real))[ends - 1]
        return np.append(0, real), np.append(0, ends - real)


class Mass:
    """How often each row of a ranking counts, and the sums of it.

    Written in place for every resample: memory that is asked for afresh a thousand times costs more time
    than the sums. Integers, since they are exact and their cumulative sum is several times faster.
    """

    def __init__(self, n_real: int, n_fake: int) -> None:
        """Every row counts once."""
        dtype = np.int32 if n_real + n_fake < _WIDE else np.int64
        self.real_sum = np.zeros(n_real + 1, dtype=dtype)  # (R + 1,) [k]: of the k lowest reals
        self.fake_sum = np.zeros(n_fake + 1, dtype=dtype)  # (F + 1,)
        n_block = min(n_fake, BLOCK)
        self.looked_up, self.below = np.empty((2, n_block), dtype=dtype)  # scratch for a block of fakes
        self.weight, self.tp, self.called = np.empty((3, n_block), dtype=np.float64)
        self.count(np.ones(n_real, dtype=np.int32), np.ones(n_fake, dtype=np.int32))

    def count(self, real: Counts, fake: Counts) -> None:
        """Every row counts as often as it is said here.

        Args:    real: (R,), fake: (F,) how often; kept, and not to be changed while the sums are read.
        """
        self.fake = fake
        np.cumsum(real, out=self.real_sum[1:])
        np.cumsum(fake, out=self.fake_sum[1:])

    @property
    def reals(self) -> int:
        """Reals in all, each as often as it counts."""
        return int(self.real_sum[-1])

    @property
    def fakes(self) -> int:
        """Fakes in all, each as often as it counts."""
        return int(self.fake_sum[-1])


def area(ranking: Ranking, mass: Mass) -> float:
    """Share of pairs of a fake and a real in which the fake scores higher, ties counting half."""
    return area_and_precision(ranking, mass)[0]


def step_precision(ranking: Ranking, mass: Mass) -> float:
    """Mean over the fakes of the precision at each fake's own score."""
    return area_and_precision(ranking, mass)[1]


def area_and_precision(ranking: Ranking, mass: Mass) -> tuple[float, float]:
    """`area` and `step_precision` in one walk over the fakes, since both read the reals below each."""
    won, precision = 0, 0.0
    reals_below, reals_up_to, fakes_below = ranking.reals_below, ranking.reals_up_to, ranking.fakes_below
    for part in blocks(0, _counting(ranking, mass)):
        n = part.stop - part.start
        weight, tp, called = mass.weight[:n], mass.tp[:n], mass.called[:n]
        looked_up, below = mass.looked_up[:n], mass.below[:n]
        weight[:] = mass.fake[part]
        # With "clip" NumPy writes straight into `out`; no index is out of range.
        if reals_up_to is not None:
            tp[:] = mass.real_sum.take(reals_up_to[part], out=looked_up, mode="clip")
        called[:] = mass.real_sum.take(reals_below[part], out=looked_up, mode="clip")
        # Whole numbers below 2**53, which floats hold exactly.
        won_here = int(total_product(weight, called))
        won += won_here + (won_here if reals_up_to is None else int(total_product(weight, tp)))
        # As integers, which are half as wide: `below` becomes what is called fake rightly, `looked_up` all.
        if fakes_below is None:
            np.subtract(mass.fakes, mass.fake_sum[part], out=below)
        else:
            mass.fake_sum.take(fakes_below[part], out=below, mode="clip")
            np.subtract(mass.fakes, below, out=below)
        np.subtract(mass.reals, looked_up, out=looked_up)
        looked_up += below
        tp[:], called[:] = below, looked_up
        tp /= called
        precision += total_product(weight, tp)
    return won / (2 * mass.reals * mass.fakes), precision / mass.fakes


def _counting(ranking: Ranking, mass: Mass) -> int:
    """How many of the lowest fakes there are up to the highest score at which one counts.

    Beyond, nothing is won, and the precision may be 0 of 0.
    """
    # Of the sums' own type: beside a plain number NumPy widens them all.
    below = int(mass.fake_sum.searchsorted(mass.fake_sum[-1]))
    if ranking.fakes_below is None:
        return below
    return int(ranking.fakes_below.searchsorted(below))


def blocks(start: int, stop: int) -> Iterator[slice]:
    """Rows `start` to `stop` in blocks of at most BLOCK."""
    for first in range(start, stop, BLOCK):
        yield slice(first, min(first + BLOCK, stop))


def total_product(left: Floats, right: Floats) -> float:
    """Sum of the products of two rows of numbers."""
    if len(left) < _ROW:
        return float(np.vecdot(left, right))
    # Row by row of a table, for which BLAS starts no threads: other processes do the same beside this one.
    n_even = len(left) // _ROW * _ROW
    table = np.vecdot(left[:n_even].reshape(-1, _ROW), right[:n_even].reshape(-1, _ROW))
    return float(table.sum() + np.vecdot(left[n_even:], right[n_even:]))


def equal_error(ranking: Ranking, mass: Mass) -> float:
    """FPR where the line through two neighbouring points of the ROC curve meets FPR = FNR."""

    def excess(cut: int) -> float:
        fp, fn = _mistakes(ranking, mass, cut)
        return fn / mass.fakes - fp / mass.reals

    # The excess climbs from -1 (all called fake) to 1 (none is), so that halving finds the crossing.
    after = bisect_left(range(len(ranking.cuts[0])), 0.0, key=excess)
    share = -excess(after - 1) / (excess(after) - excess(after - 1))
    fpr_before = _mistakes(ranking, mass, after - 1)[0] / mass.reals
    fpr_after = _mistakes(ranking, mass, after)[0] / mass.reals
    return fpr_before + share * (fpr_after - fpr_before)


def largest_tpr(ranking: Ranking, mass: Mass, *, fpr: float) -> float:
    """TPR at the lowest score whose FPR is at most `fpr`."""

    def allowed(cut: int) -> bool:
        return _mistakes(ranking, mass, cut)[0] / mass.reals <= fpr

    lowest = bisect_left(range(len(ranking.cuts[0])), True, key=allowed)
    return (mass.fakes - _mistakes(ranking, mass, lowest)[1]) / mass.fakes


def _mistakes(ranking: Ranking, mass: Mass, cut: int) -> tuple[int, int]:
    """False positives and false negatives with the threshold at the cut-th distinct score."""
    real, fake = ranking.cuts
    return mass.reals - int(mass.real_sum[real[cut]]), int(mass.fake_sum[fake[cut]])
