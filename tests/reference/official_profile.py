"""The official radial profile, image by image, written from its description: slow, plain, independent.

Nothing is imported from tellsign. The description: the log magnitude of the whole shifted spectrum, pixels
sorted by their distance from the middle of the array, and sums over a ring as differences of cumulative sums
at the places where the integer part of the distance changes. The sums lie between consecutive changes, so the
first and the last ring are lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]


def official_profile(image: Floats) -> Floats:
    """(H, W) → (K,): means of 20 ln |F + 1e-8| over rings around ((H - 1) / 2, (W - 1) / 2)."""
    spectrum = np.fft.fftshift(np.fft.fft2(image.astype(np.float64))) + 1e-8
    values = 20 * np.log(np.abs(spectrum))

    y, x = np.indices(values.shape)
    radius = np.hypot(x - (values.shape[1] - 1) / 2, y - (values.shape[0] - 1) / 2)
    order = np.argsort(radius.ravel())
    ring = radius.ravel()[order].astype(int)
    cumulative = np.cumsum(values.ravel()[order])

    last_of_ring = np.flatnonzero(np.diff(ring))  # of all rings but the outermost
    sums = np.diff(cumulative[last_of_ring])
    return sums / np.diff(last_of_ring)


def paper_profile(image: Floats) -> Floats:
    """(H, W) → (min(H, W) // 2,): means of |F| ** 2 over rings around DC, by a loop over the rings."""
    power = np.abs(np.fft.fftshift(np.fft.fft2(image.astype(np.float64)))) ** 2
    height, width = power.shape
    y, x = np.indices(power.shape)
    squared = (x - width // 2) ** 2 + (y - height // 2) ** 2  # integers, so that no ring edge is rounded
    rings = range(min(height, width) // 2)
    return np.array([power[(k**2 <= squared) & (squared < (k + 1) ** 2)].mean() for k in rings])


def resampled(values: Floats, length: int) -> Floats:
    """(K,) → (N,) by scipy's cubic `griddata` with the abscissae of the official recipe."""
    from scipy.interpolate import griddata

    return griddata(
        np.linspace(0, length, len(values)), values, np.linspace(0, length, length), method="cubic"
    )
