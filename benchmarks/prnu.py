"""Speed of noise residuals against prnu-python's method written plainly, as ratios in one run, on one thread.

The plain side does what that package does, in its order and number types: each channel through PyWavelets,
each band through SciPy's uniform filters, all three channels back, then grey, and the whole complex spectrum.
Both give the same residual. `python -m benchmarks.prnu` prints the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pywt
from scipy.ndimage import uniform_filter

from benchmarks.features import fastest
from tellsign.features.prnu import Fingerprint, ResidualOptions, residual

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDS = {256: 41, 1024: 9}  # side in pixels → rounds
TARGET = 5.0
LEVELS, SIGMA = 4, 5.0


def wiener(x: NDArray[Any], variance: float) -> NDArray[Any]:
    """The noise in coefficients."""
    energy = x**2
    means = np.zeros((*x.shape, 4))
    for index, size in enumerate((3, 5, 7, 9)):
        means[..., index] = uniform_filter(energy, size, mode="constant")
    signal = np.min(np.maximum(means - variance, 0), axis=-1)
    return x * variance / (signal + variance)


def plain_noise(image: NDArray[Any]) -> NDArray[Any]:
    """(H, W, 3) levels → (H, W, 3)."""
    found = np.zeros(image.shape, np.float32)
    for channel in range(3):
        bands = pywt.wavedec2(image[:, :, channel], "db4", level=LEVELS)
        bands[0][:] = 0
        for level in range(1, len(bands)):
            bands[level] = tuple(wiener(band, SIGMA**2) for band in bands[level])
        back = pywt.waverec2(bands, "db4")
        found[:, :, channel] = back[: image.shape[0], : image.shape[1]]
    return found


def plain_residual(image: NDArray[Any]) -> NDArray[Any]:
    """(H, W, 3) levels → (H, W)."""
    grey = plain_noise(image) @ np.array([0.2989, 0.5870, 0.1140])
    for i in range(2):
        for j in range(2):
            lattice = grey[i::2, j::2]
            lattice = lattice - lattice.mean(axis=0, keepdims=True)
            grey[i::2, j::2] = lattice - lattice.mean(axis=1, keepdims=True)
    spectrum = np.fft.fft2(grey)
    magnitude = np.abs(spectrum) / np.sqrt(grey.size)
    kept = wiener(magnitude, float(np.var(grey, ddof=1)))
    is_zero = magnitude == 0
    kept[is_zero], magnitude[is_zero] = 0, 1
    return np.real(np.fft.ifft2(spectrum * kept / magnitude))


def measured(side: int) -> dict[str, float]:
    """Least seconds of a residual of one image, float32."""
    rng = np.random.default_rng(0)
    image = rng.uniform(size=(3, side, side)).astype(np.float32)
    levels = np.ascontiguousarray(255 * image.transpose(1, 2, 0))
    options = ResidualOptions(LEVELS, SIGMA)
    np.testing.assert_allclose(residual(image, options), plain_residual(levels), atol=1e-3)
    return fastest(
        ROUNDS[side],
        plain=lambda: plain_residual(levels),
        own=lambda: residual(image, options),
        plain_noise=lambda: plain_noise(levels),
        fingerprint=lambda: Fingerprint(options, "mean").add(image),
    )


def rows() -> list[dict[str, Any]]:
    """The ratio for each size, of what a query takes and of what an image of a fingerprint takes."""
    found = []
    for side in ROUNDS:
        seconds = measured(side)
        # The noise of all three channels, of which a fingerprint is made, has less to leave out.
        for what, own, plain, target in (
            ("residual", "own", "plain", TARGET),
            ("image of a fingerprint", "fingerprint", "plain_noise", None),
        ):
            found.append(
                {
                    "name": f"PRNU, {what}, {side} px, 1 thread, speed-up over prnu-python's method",
                    "value": seconds[plain] / seconds[own],
                    "target": target,
                    "unit": "×",
                }
            )
    return found


if __name__ == "__main__":
    for row in rows():
        print(row)
