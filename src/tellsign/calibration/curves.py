"""Rising curves from scores to the probability of fake, and how they are fitted.

Shapes: N calibration scores, K breakpoints, P weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tellsign.calibration.checks import checked
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from tellsign.calibration.checks import Bools, Floats


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """probability = 1 / (1 + exp(-(slope · score + intercept)))."""

    slope: float  # never negative; 0 where fakes don't score higher than reals
    intercept: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept) and self.slope >= 0):
            raise ConfigError(
                f"a sigmoid needs a finite slope >= 0 and a finite intercept: found {self.slope} and "
                f"{self.intercept}; give scores of a usual size, higher = more fake"
            )

    def probability(self, scores: Floats) -> Floats:
        """Any shape → same shape, in the unit interval."""
        if self.slope == 0:  # says the same of every score, of an infinite one too
            return _logistic(np.full_like(scores, self.intercept))
        with np.errstate(over="ignore"):  # a logit may be infinite
            return _logistic(self.slope * scores + self.intercept)


@dataclass(frozen=True, slots=True)
class Temperature:
    """probability = 1 / (1 + exp(-score / temperature)): a score of 0 is a probability of one half."""

    temperature: float  # above 0; infinite where fakes don't score higher than reals

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ConfigError(
                f"a temperature must be above 0: found {self.temperature}; give scores, higher = more fake"
            )

    def probability(self, scores: Floats) -> Floats:
        """Any shape → same shape, in the unit interval."""
        if math.isinf(self.temperature):  # says the same of every score, of an infinite one too
            return np.full_like(scores, 0.5)
        with np.errstate(over="ignore"):  # a logit may be infinite
            return _logistic(scores / self.temperature)


@dataclass(frozen=True, slots=True)
class Isotonic:
    """Breakpoints of a rising curve: straight lines between them, constant outside."""

    scores: tuple[float, ...]  # (K,) strictly ascending
    probabilities: tuple[float, ...]  # (K,) ascending, 0 to 1

    def __post_init__(self) -> None:
        x, p = np.array(self.scores), np.array(self.probabilities)
        if x.ndim != 1 or x.shape != p.shape or not len(x):
            raise ConfigError(f"expected as many scores as probabilities, found {x.shape} and {p.shape}")
        # The span too, since the lines divide by differences of scores.
        if not (math.isfinite(self.scores[-1] - self.scores[0]) and (x[1:] > x[:-1]).all()):
            raise ConfigError("breakpoints of an isotonic curve must have finite, strictly ascending scores")
        if not ((p >= 0).all() and (p <= 1).all() and (p[1:] >= p[:-1]).all()):
            raise ConfigError(
                "breakpoints of an isotonic curve must have ascending probabilities between 0 and 1"
            )

    def probability(self, scores: Floats) -> Floats:
        """Any shape → same shape, in the unit interval."""
        x, p = np.array(self.scores), np.array(self.probabilities)
        if len(x) == 1:
            return np.full_like(scores, p[0])
        left = np.clip(x.searchsorted(scores, side="right") - 1, 0, len(x) - 2)
        right = left + 1
        with np.errstate(over="ignore"):  # far outside, where the share is clipped
            share = np.clip((scores - x[left]) / (x[right] - x[left]), 0, 1)
        # Rounding may carry the end of a line past its breakpoint, and the curve would fall there.
        found: Floats = np.minimum(p[left] + share * (p[right] - p[left]), p[right])
        return found


def sigmoid_curve(labels: ArrayLike, scores: ArrayLike) -> Sigmoid:
    """The sigmoid of largest likelihood under Platt's smoothed labels.

    Implements Platt (1999), section 2.2, by the Newton iteration with backtracking of Lin, Lin and Weng
    (2007), algorithm 1, on standardised scores. Deviates: the slope is kept at 0 or above, because a
    probability must not fall when the score rises; where fakes score no higher than reals, the curve is flat,
    at their (smoothed) share.

    Args:    labels: (N,) 0 real or 1 fake. scores: (N,) finite, higher = more fake.
    Returns: slope per unit of the score, and intercept.
    Raises:  ConfigError: a class is missing, a score is not finite, or lengths differ.
    """
    is_fake, values = checked(labels, scores)
    targets = _smoothed(is_fake)
    share = float(targets.mean())
    flat = Sigmoid(0.0, math.log(share / (1 - share)))
    if values.min() == values.max():
        return flat
    with np.errstate(over="ignore", invalid="ignore"):
        centre, scale = float(values.mean()), float(values.std())
    if not (math.isfinite(scale) and scale > 0):
        raise ConfigError(
            f"scores cannot be standardised: found {values.min():g} to {values.max():g}; rescale them"
        )
    design = np.stack([(values - centre) / scale, np.ones_like(values)])
    slope, intercept = _newton(design, targets, np.array([0.0, np.log(share / (1 - share))])).tolist()
    return Sigmoid(slope / scale, intercept - slope * centre / scale) if slope > 0 else flat


def temperature_curve(labels: ArrayLike, scores: ArrayLike) -> Temperature:
    """The one number that divides scores so that their logistic is the likeliest probability.

    Implements Guo et al. (2017), section 4.2, for two classes: logit(p) = score / T, with the T of smallest
    negative log-likelihood. T divides the raw score as the detector gives it (a network's logit, the distance
    from a decision boundary), whose 0 has to be where the detector itself is undecided: there is no intercept
    that could move it. Deviates: Platt's smoothed labels, as in `sigmoid_curve`, because with labels of 0 and
    1 the temperature of separated classes falls to 0.

    Args:    labels: (N,) 0 real or 1 fake. scores: (N,) finite, higher = more fake.
    Returns: the temperature, in the unit of the score; infinite where fakes don't score higher than reals.
    Raises:  ConfigError: a class is missing, a score is not finite, lengths differ, or no score lies on one
             side of 0.
    """
    is_fake, values = checked(labels, scores)
    if values.min() >= 0 or values.max() <= 0:
        raise ConfigError(
            f"a temperature divides scores around 0, where the detector itself is undecided: found "
            f"{values.min():g} to {values.max():g}, all on one side; use the sigmoid method, which has an "
            "intercept"
        )
    with np.errstate(over="ignore", under="ignore"):
        scale = float(np.sqrt(np.mean(np.square(values))))
    if not (math.isfinite(scale) and scale > 0):
        raise ConfigError(
            f"scores cannot be scaled: found {values.min():g} to {values.max():g}; rescale them"
        )
    slope = float(_newton(values[None] / scale, _smoothed(is_fake), np.zeros(1))[0])
    return Temperature(scale / slope if slope > 0 else math.inf)


def _smoothed(is_fake: Bools) -> Floats:
    """(N,) Platt's labels: how sure n rows of a class allow one to be of the next."""
    n_fake = int(is_fake.sum())
    n_real = len(is_fake) - n_fake
    return np.where(is_fake, (n_fake + 1) / (n_fake + 2), 1 / (n_real + 2))


def _newton(design: Floats, targets: Floats, weights: Floats) -> Floats:
    """The (P,) weights of (P, N) design rows with the smallest mean cross-entropy to (N,) targets.

    The search begins at `weights`.
    """

    def loss(candidate: Floats) -> float:
        logits = candidate @ design
        return float(np.mean(np.logaddexp(0, logits) - targets * logits))

    for _ in range(100):
        p = _logistic(weights @ design)
        gradient = design @ (p - targets) / len(targets)
        hessian = (design * (p * (1 - p))) @ design.T / len(targets) + 1e-12 * np.eye(len(design))
        step = -np.linalg.solve(hessian, gradient)
        if np.abs(step).max() <= 1e-12 * (1 + np.abs(weights).max()):
            return weights
        current, length = loss(weights), 1.0
        # The slack lets the last steps through, whose gain is below rounding.
        slack = 1e-14 * (1 + abs(current))
        while loss(weights + length * step) > current + 1e-4 * length * float(gradient @ step) + slack:
            length /= 2
        weights = weights + length * step
    raise ConfigError(
        f"the curve of {len(targets)} scores did not converge in 100 steps; look for scores far off all "
        "others, or use the isotonic method"
    )


def _logistic(logits: Floats) -> Floats:
    small = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits < 0, small, 1.0) / (1 + small), dtype=np.float64)


def isotonic_curve(labels: ArrayLike, scores: ArrayLike) -> Isotonic:
    """The rising curve with the smallest squared error, by pooling adjacent violators.

    Implements Ayer et al. (1955); Zadrozny and Elkan (2002) use it for calibration. Equal scores are pooled
    first. A pool becomes two breakpoints, its lowest and highest score. Deviates: none.

    Args:    labels: (N,) 0 real or 1 fake. scores: (N,) finite, higher = more fake.
    Returns: the breakpoints; outside of them the curve is constant.
    Raises:  ConfigError: a class is missing, a score is not finite, or lengths differ.
    """
    is_fake, values = checked(labels, scores)
    distinct, which, rows = np.unique(values, return_inverse=True, return_counts=True)
    fakes = np.bincount(which, weights=is_fake).astype(np.int64)
    pools: list[tuple[int, int, int]] = []  # fakes, rows, first distinct score
    for first, (n_fake, n_rows) in enumerate(zip(fakes.tolist(), rows.tolist(), strict=True)):
        pool = (n_fake, n_rows, first)
        # Shares are compared as products of counts, which are exact.
        while pools and pools[-1][0] * pool[1] >= pool[0] * pools[-1][1]:
            before = pools.pop()
            pool = (before[0] + pool[0], before[1] + pool[1], before[2])
        pools.append(pool)
    starts = [pool[2] for pool in pools]
    ends = [*(start - 1 for start in starts[1:]), len(distinct) - 1]
    scores_at: list[float] = []
    shares: list[float] = []
    for (n_fake, n_rows, _), start, end in zip(pools, starts, ends, strict=True):
        for at in (start,) if start == end else (start, end):
            scores_at.append(float(distinct[at]))
            shares.append(n_fake / n_rows)
    return Isotonic(tuple(scores_at), tuple(shares))
