"""How far a generator's spectrum is from that of real images, in dB.

The distance is the root mean square, over all rings of the profile, of the difference between the mean log
profiles of the two sets. No profile is scaled: a difference in contrast counts. Two sets of real images are
never 0 apart, so the distance comes with that between two halves of the reals, and with an interval.

Shapes: N images, R reals, K rings, G groups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tellsign.generators.cloaking import Cloaking, cloaking
from tellsign.groups import group_numbers
from tellsign.metrics.resampling import Design, Estimate, estimate
from tellsign.types import FAKE, REAL, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tellsign.generators.image_sets import SetProfiles
    from tellsign.metrics.resampling import Measure
    from tellsign.types import FloatArray

    Ints = NDArray[np.int64]

HALVINGS = 20  # random ones, of which the mean is taken: a single one varies
LEVEL = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Distance:
    """What is said of two sets."""

    value: Estimate  # dB; its bounds are NaN where too few groups show how much it varies
    noise_floor: float | None  # dB, mean distance between two halves of the reals; None: one group
    frequency: FloatArray  # (K,) middle of each ring, in cycles a pixel: 0.5 is the finest along an axis
    real_mean: FloatArray  # (K,) dB
    real_std: FloatArray  # (K,) dB, over images
    fake_mean: FloatArray  # (K,)
    fake_std: FloatArray  # (K,)
    low: FloatArray  # (K,) bounds of fake_mean - real_mean; NaN as those of `value`
    high: FloatArray  # (K,)
    cloaking: Cloaking

    @property
    def difference(self) -> FloatArray:
        """(K,) dB by which the fakes' mean profile exceeds the reals'."""
        return self.fake_mean - self.real_mean

    @property
    def largest(self) -> tuple[float, float]:
        """Frequency and difference of the ring in which the sets differ most."""
        ring = int(np.abs(self.difference).argmax())
        return float(self.frequency[ring]), float(self.difference[ring])


def spectral_distance(reals: FloatArray, fakes: FloatArray) -> float:
    """The distance between two sets of log profiles.

    Args:    reals, fakes: (N, K) log profiles, any number of rows each.
    Returns: root mean square over rings of the difference of their means, in the profiles' unit.

    Example:
        >>> spectral_distance(np.zeros((2, 4)), np.full((3, 4), 1.5))
        1.5
    """
    return _root_mean_square(fakes.mean(axis=0) - reals.mean(axis=0))


def distance(
    reals: SetProfiles, fakes: SetProfiles, *, folds: int = 5, n_resamples: int = 1000, seed: int = 0
) -> Distance:
    """The distance between two sets of images, and what is said beside it.

    The interval is a bootstrap over groups, drawn apart for reals and fakes. Resampling adds noise, and noise
    adds to a distance: near the noise floor the interval lies above the value, and is widened to hold it.

    Args:    reals, fakes: their profiles, of crops of one size.
             folds: of the cloaking score's cross-validation.
             n_resamples: of the bootstrap. seed: of everything random.
    Returns: the distance.
    Raises:  ConfigError: the crops differ, or there are fewer than 2 folds.
    """
    if reals.side != fakes.side:
        raise ConfigError(
            f"the reals are crops of {reals.side} pixels, the fakes of {fakes.side}; take one size"
        )
    rows = np.concatenate((reals.rings, fakes.rings))
    labels = np.repeat((REAL, FAKE), (len(reals.rings), len(fakes.rings)))
    groups = reals.groups + fakes.groups
    design = Design.of(
        labels == FAKE, np.arange(len(rows)), groups, n_resamples=n_resamples, seed=seed, workers=1
    )
    known = design.varies(labels == FAKE)[None]
    measure = _measure(rows, labels, design.numbers)
    draws = design.draws(lambda: measure).reshape(-1, 1 + rows.shape[1])
    value = estimate(spectral_distance(reals.rings, fakes.rings), draws[:, 0], LEVEL, known=known)
    assert value is not None
    unknown = np.full(rows.shape[1], math.nan)
    bounds = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    low, high = np.quantile(draws[:, 1:], bounds, axis=0) if known and len(draws) else (unknown, unknown)
    return Distance(
        value=value,
        noise_floor=noise_floor(reals.rings, reals.groups, seed=seed),
        frequency=(np.arange(rows.shape[1]) + 1.5) / reals.side,  # ring 0 is not in a profile
        real_mean=reals.rings.mean(axis=0),
        real_std=reals.rings.std(axis=0),
        fake_mean=fakes.rings.mean(axis=0),
        fake_std=fakes.rings.std(axis=0),
        low=low,
        high=high,
        cloaking=cloaking(
            np.concatenate((reals.centred, fakes.centred)), labels.tolist(), groups, folds=folds, seed=seed
        ),
    )


def noise_floor(rings: FloatArray, groups: Sequence[str], *, seed: int = 0) -> float | None:
    """What the distance is between two halves of one set.

    A half has half as many images, so this is about 1.4 times what two whole sets from one source would show.

    Args:    rings: (N, K) log profiles. groups: (N,) source of each; no group is in both halves.
             seed: of the halves.
    Returns: mean over 20 random halvings; None where there is one group only.
    """
    numbers = group_numbers(groups, len(rings))
    n_groups = int(numbers.max(initial=-1)) + 1
    if n_groups < 2:
        return None
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(HALVINGS):
        first = np.isin(numbers, rng.permutation(n_groups)[: n_groups // 2])
        found.append(spectral_distance(rings[first], rings[~first]))
    return float(np.mean(found))


def _measure(rows: FloatArray, labels: Ints, numbers: Ints) -> Measure:
    """Groups' counts → the distance, and the difference of each ring."""
    n_groups = int(numbers.max()) + 1
    sums, sizes = np.zeros((2, n_groups, rows.shape[1])), np.zeros((2, n_groups))
    np.add.at(sums, (labels, numbers), rows)
    np.add.at(sizes, (labels, numbers), 1)

    def measured(counts: NDArray[np.int32]) -> list[float]:
        real, fake = (counts @ sums[label] / (counts @ sizes[label]) for label in (REAL, FAKE))
        return [_root_mean_square(fake - real), *(fake - real).tolist()]

    return measured


def _root_mean_square(difference: FloatArray) -> float:
    return float(np.sqrt(np.mean(difference**2)))
