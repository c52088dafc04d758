"""Mean and deviation of every coefficient over training images, of which no two batches are held at once.

Shapes: B samples of a batch; ... the axes of a sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tellsign.types import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tellsign.types import FloatArray

LEAST_STD = 1e-6  # of a coefficient; what varies less is the same everywhere, and keeps its scale


def coefficient_statistics(batches: Iterable[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of each number of a sample, in one pass and float64.

    Implements Welford's method in the form of Chan, Golub and LeVeque (1979), which merges batches: nothing
    cancels, however far the numbers are from 0.

    Args:    batches: (B, ...) each.
    Returns: (...) and (...); the deviation of a number that is the same everywhere is 1.
    Raises:  ManifestError: there are no samples.

    Example:
        >>> mean, std = coefficient_statistics([np.array([[1.0, 5.0]]), np.array([[3.0, 5.0], [2.0, 5.0]])])
        >>> mean, std.round(3)
        (array([2., 5.]), array([0.816, 1.   ]))
    """
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    for batch in batches:
        n, values = len(batch), np.asarray(batch, dtype=np.float64)
        if not n:
            continue
        own = values.mean(axis=0)
        difference, count = own - mean, count + n
        mean = mean + difference * (n / count)
        squares = squares + np.square(values - own).sum(axis=0) + difference**2 * ((count - n) * n / count)
    if not count:
        raise ManifestError("no image is left from which the statistics of coefficients could be taken")
    deviation = np.sqrt(squares / count)
    return mean, np.where(deviation > LEAST_STD, deviation, 1.0)
