"""Speed of DCTs, of blocks and of whole images, and of SIDA, as ratios in one run on one thread; memory too.

The fastest of measurements that take turns, in a process that keeps the memory it frees: whether a large
array costs page faults would otherwise hang on what was allocated before it, and changed torch-dct's time by
more than two. torch-dct gets the blocks one after another and SciPy the axes of
an image's blocks, as each takes them, and neither puts its coefficients in zigzag order. A copy reads and
writes as much as the transform does, into new memory like it. SIDA is held against its equations, written
down for an image at a time in NumPy. `python -m benchmarks.dct` prints the rows.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch_dct
from scipy.fft import dctn

from benchmarks import bare
from benchmarks.features import fastest
from tellsign.features.dct import ZIGZAG, block_dct, log_dct
from tellsign.features.sida import FLAT, sida

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDS = {384: 201, 1024: 41}  # side in pixels → rounds
TARGETS = {"torch-dct": 8.0, "SciPy": 2.5}
OWN = ("NumPy", "PyTorch")
WHOLE_ROUNDS = {128: 201, 256: 101, 1024: 15}  # of whole images; crops of detectors have 128 to 256 pixels
SIDA_SIDE, SIDA_ROUNDS = 1024, 15
MEMORY_SIDE = 2048
# Prints the memory that a call adds to its process, at most, over that of the coefficients.
MEMORY = """
import json, sys
import numpy as np, torch
from benchmarks.bare import memory
from tellsign.features.sida import sida

torch.set_num_threads(1)
backend, side = sys.argv[1], int(sys.argv[2]) // 8
coefficients = np.random.default_rng(0).standard_normal((1, 3, 64, side, side), np.float32)
size = coefficients.nbytes / 2**20
if backend == "PyTorch":
    coefficients = torch.from_numpy(coefficients)
sida(coefficients[..., :4, :4])  # what the first call loads is not counted
before, _ = memory()
with torch.inference_mode():
    sida(coefficients)
print(json.dumps((memory()[1] - before) / size))
"""


def measured(side: int) -> dict[str, float]:
    """Least seconds of a transform of one image, float32."""
    bare.keep_freed_memory()
    images = np.random.default_rng(0).uniform(size=(1, 3, side, side)).astype(np.float32)
    tensor = torch.from_numpy(images)
    axes = images.reshape(3, side // 8, 8, side // 8, 8)
    blocks = torch.from_numpy(np.ascontiguousarray(axes.swapaxes(2, 3)))

    def scipy_dct() -> NDArray[np.float32]:
        found: NDArray[np.float32] = dctn(axes, axes=(2, 4), norm="ortho")
        return found

    order = [8 * u + v for u, v in ZIGZAG]
    by_frequency = scipy_dct().transpose(0, 2, 4, 1, 3).reshape(1, 3, 64, side // 8, side // 8)
    expected = by_frequency[:, :, order]
    for found in (block_dct(images, level=0.0), block_dct(tensor, level=0.0).numpy()):
        assert np.abs(found - expected).max() < 1e-5  # what is fast is also right
    other = (
        torch_dct.dct_2d(blocks, norm="ortho").permute(0, 3, 4, 1, 2).reshape(1, 3, 64, *expected.shape[3:])
    )
    assert np.abs(other.numpy()[:, :, order] - expected).max() < 1e-5
    with torch.inference_mode():
        return fastest(
            ROUNDS[side],
            **{
                "torch-dct": lambda: torch_dct.dct_2d(blocks, norm="ortho"),
                "SciPy": scipy_dct,
                "copy": images.copy,
                "NumPy": lambda: block_dct(images),
                "PyTorch": lambda: block_dct(tensor),
            },
        )


def dct_rows(side: int) -> list[dict[str, Any]]:
    """The ratios for images of that side."""
    seconds = measured(side)
    what = f"block DCT 3 × {side} × {side}"
    found: list[dict[str, Any]] = []
    for own in OWN:
        found += [
            {
                "name": f"{what}, {own}, 1 thread, speed-up over {other}",
                "value": seconds[other] / seconds[own],
                "target": target,
                "unit": "×",
            }
            for other, target in TARGETS.items()
        ]
        found.append(
            {
                "name": f"{what}, {own}, 1 thread, time over a copy",
                "value": seconds[own] / seconds["copy"],
                "target": 12.0,
                "unit": "×",
                "at_most": True,
            }
        )
    return found


def whole_image_rows(side: int) -> list[dict[str, Any]]:
    """What `dct2d` looks at, against SciPy's transform and NumPy's logarithm."""
    bare.keep_freed_memory()
    images = np.random.default_rng(0).uniform(size=(1, 3, side, side))
    tensor = torch.from_numpy(images)

    def scipy_logs() -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.log(np.abs(dctn(images, axes=(-2, -1), norm="ortho")) + 1e-12)
        return found

    for found in (log_dct(images), log_dct(tensor).numpy()):
        assert np.abs(np.exp(found) - np.exp(scipy_logs())).max() < 1e-9
    with torch.inference_mode():
        seconds = fastest(
            WHOLE_ROUNDS[side],
            SciPy=scipy_logs,
            NumPy=lambda: log_dct(images),
            PyTorch=lambda: log_dct(tensor),
        )
    return [
        {
            "name": f"logarithms of a DCT of 3 × {side} × {side}, {own}, 1 thread, speed-up over SciPy",
            "value": seconds["SciPy"] / seconds[own],
            "target": 1.0,
            "unit": "×",
        }
        for own in OWN
    ]


def by_equation(t: NDArray[Any]) -> NDArray[Any]:
    """(3, 64, h, w) → (2304,): SIDA as the paper writes it."""
    statistics = []
    padding = np.zeros_like(t[:, :1])
    rows, columns = t[:, :, 1:] - t[:, :, :-1], t[..., 1:] - t[..., :-1]
    for difference in (rows, columns, np.concatenate([t[:, 1:] - t[:, :-1], padding], axis=1)):
        a = np.abs(difference)
        mean = a.mean(axis=(2, 3), keepdims=True)
        std = np.sqrt(((a - mean) ** 2).mean(axis=(2, 3)))
        divisor = np.where(std < FLAT, np.inf, std)
        skewness = ((a - mean) ** 3).mean(axis=(2, 3)) / divisor**3
        kurtosis = ((a - mean) ** 4).mean(axis=(2, 3)) / divisor**4
        statistics.append([mean[..., 0, 0], std, skewness, kurtosis])
    return np.array(statistics).swapaxes(0, 1).ravel()


def sida_rows() -> list[dict[str, Any]]:
    """Speed-up over the equations, and the memory that a call takes."""
    images = np.random.default_rng(0).uniform(size=(1, 3, SIDA_SIDE, SIDA_SIDE)).astype(np.float32)
    coefficients = block_dct(images)
    tensor = torch.from_numpy(coefficients)
    for same in (sida(coefficients), sida(tensor).numpy()):
        np.testing.assert_allclose(same[0], by_equation(coefficients[0]), rtol=1e-3, atol=1e-6)
    with torch.inference_mode():
        seconds = fastest(
            SIDA_ROUNDS,
            equations=lambda: by_equation(coefficients[0]),
            NumPy=lambda: sida(coefficients),
            PyTorch=lambda: sida(tensor),
        )
    found: list[dict[str, Any]] = [
        {
            "name": f"SIDA {SIDA_SIDE} px, {own}, 1 thread, speed-up over its equations in NumPy",
            "value": seconds["equations"] / seconds[own],
            "target": 10.0,
            "unit": "×",
        }
        for own in OWN
    ]
    return found + [memory_row(own) for own in OWN]


def memory_row(backend: str) -> dict[str, Any]:
    """The most memory that a call adds, over that of its coefficients."""
    row = {
        "name": f"SIDA {MEMORY_SIDE} px, {backend}, memory beside its coefficients, over theirs",
        "target": 6.0,
        "unit": "×",
        "at_most": True,
    }
    if sys.platform != "linux":
        return {**row, "value": None, "reason": "it is only read on Linux"}
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-c", MEMORY, backend, str(MEMORY_SIDE)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=root)
    return {**row, "value": json.loads(done.stdout)}


def rows() -> list[dict[str, Any]]:
    """Every measurement of this module."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        blocks = [row for side in ROUNDS for row in dct_rows(side)]
        return blocks + [row for side in WHOLE_ROUNDS for row in whole_image_rows(side)] + sida_rows()
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    for row in rows():
        print(row)
