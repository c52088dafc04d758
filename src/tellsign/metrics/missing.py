"""What a metric does with samples that have no score: nothing, without them, or the worst that is possible.

A sample lacks a score where its file failed, or where the detector cannot judge it (an image that is too
small). No score is made up unless it is asked for, and then it can only do harm.

Shapes: N rows (predictions), K rows that are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tellsign.metrics.values import columns
from tellsign.types import FAKE, REAL, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from tellsign.metrics.ranking import Floats, Ints

Missing = Literal["error", "exclude", "worst"]
POLICIES: tuple[Missing, ...] = ("error", "exclude", "worst")
_N_SHOWN = 3  # rows that an error names


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Rows that have a score, or were given the worst."""

    rows: Ints  # (K,) which of the N rows
    labels: Ints  # (K,)
    scores: Floats  # (K,) no NaN
    probabilities: Floats | None  # (K,) NaN only where a row with a score has none
    n: int  # rows in all
    n_missing: int  # rows that came without a score

    @property
    def coverage(self) -> float:
        """Share of all rows that came with a score; NaN where there are no rows."""
        return (self.n - self.n_missing) / self.n if self.n else float("nan")


def with_missing(
    labels: ArrayLike,
    scores: ArrayLike,
    policy: Missing = "error",
    *,
    probabilities: ArrayLike | None = None,
    names: Sequence[str] | NDArray[np.str_] | None = None,
) -> Scored:
    """Rows for a metric, where a NaN score is none.

    `exclude` leaves such rows out; state the share that is scored beside the metric. `worst` gives a fake
    -inf and a real +inf (as probabilities 0 and 1), so that no score that the row might have had makes a
    metric worse.

    Args:    labels: (N,) 0 real or 1 fake. scores: (N,) higher = more fake; NaN where there is none.
             policy: error, exclude or worst.
             probabilities: (N,) of fake; whatever a row without a score has is not read.
             names: (N,) of the rows, for the error. None: their numbers.
    Returns: the rows that are left.
    Raises:  ConfigError: a score is missing and the policy is error, there is no such policy, lengths differ,
             a score is no number, or a label is neither 0 nor 1.

    Example:
        >>> with_missing([0, 1, 1], [0.2, 0.9, float("nan")], "worst").scores.tolist()
        [0.2, 0.9, -inf]
    """
    if policy not in POLICIES:
        raise ConfigError(f"missing scores are met with one of {', '.join(POLICIES)}: found {policy!r}")
    kind = "numbers, NaN where there is none"
    is_fake, values = columns(labels, scores, kind=kind)
    chances = None
    if probabilities is not None:
        _, chances = columns(labels, probabilities, what="probabilities", kind=kind)
    lost = np.isnan(values)
    n_missing = int(lost.sum())
    if n_missing and policy == "error":
        raise ConfigError(_complaint(lost, names))
    if policy == "worst":
        values = np.where(lost, np.where(is_fake, -np.inf, np.inf), values)
        if chances is not None:
            chances = np.where(lost, np.where(is_fake, 0.0, 1.0), chances)
    rows = np.flatnonzero(~lost) if policy == "exclude" else np.arange(len(values))
    return Scored(
        rows=rows,
        labels=np.where(is_fake, FAKE, REAL)[rows],
        scores=values[rows],
        probabilities=None if chances is None else chances[rows],
        n=len(values),
        n_missing=n_missing,
    )


def _complaint(lost: NDArray[np.bool_], names: Sequence[str] | NDArray[np.str_] | None) -> str:
    rows = np.flatnonzero(lost).tolist()
    shown = [f"row {row}" if names is None else str(names[row]) for row in rows[:_N_SHOWN]]
    more = f" and {len(rows) - len(shown)} more" if len(rows) > len(shown) else ""
    coverage = 1 - len(rows) / len(lost)
    return (
        f"{len(rows)} of {len(lost)} samples have no score ({coverage:.1%} scored): "
        f"{', '.join(shown)}{more}; `missing` is error: exclude leaves them out, worst counts them as wrong"
    )
