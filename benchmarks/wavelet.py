"""Speed of the Haar transform against PyWavelets and ptwt, as ratios within one run, on one thread.

The fastest of measurements that take turns. Each side gets the images as it takes them and gives its four
bands; PyWavelets and ptwt give them as a tuple, `haar` as one array. `python -m benchmarks.wavelet` prints
the rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import ptwt
import pywt
import torch

from benchmarks.features import fastest
from tellsign.features.wavelet import haar

COUNTS = (1, 16)  # images a call
SHAPE = (3, 224, 224)
TARGET = 4.0
ROUNDS = 201


def measured(count: int) -> dict[str, float]:
    """Least seconds of a call with that many images, float32."""
    images = np.random.default_rng(0).uniform(size=(count, *SHAPE)).astype(np.float32)
    tensor = torch.from_numpy(images)
    if count == 1:
        images, tensor = images[0], tensor[0]
    approximation, details = pywt.dwt2(images, "haar", mode="symmetric", axes=(-2, -1))
    expected = np.stack((approximation, *details), axis=-4)
    for found in (haar(images), haar(tensor).numpy()):  # what is fast is also right
        assert np.abs(found - expected).max() < 1e-6
    with torch.inference_mode():
        return fastest(
            ROUNDS if count == 1 else ROUNDS // 8,
            PyWavelets=lambda: pywt.dwt2(images, "haar", mode="symmetric", axes=(-2, -1)),
            ptwt=lambda: ptwt.wavedec2(tensor, "haar", mode="symmetric", level=1),
            NumPy=lambda: haar(images),
            PyTorch=lambda: haar(tensor),
        )


def rows() -> list[dict[str, Any]]:
    """The ratio for each backend, other package and number of images."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = []
        for count in COUNTS:
            seconds = measured(count)
            found += [
                {
                    "name": f"Haar 3 × 224 × 224, {count} a call, {own}, 1 thread, speed-up over {other}",
                    "value": seconds[other] / seconds[own],
                    "target": TARGET,
                    "unit": "×",
                }
                for other in ("PyWavelets", "ptwt")
                for own in ("NumPy", "PyTorch")
            ]
        return found
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    for row in rows():
        print(row)
