"""Speed of the spectral features as ratios within one run: `python benchmarks/features.py` prints the table.

Every ratio compares the fastest of measurements that take turns, so that a slower machine slows both sides.
The fastest, as `timeit` advises: what others on the machine take is only ever added. The slow side is
tests/reference/official_profile.py: the official method, image by image. Two threads need two idle cores:
where one is busy, they wait for each other and the ratios mean nothing.
"""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np
import simplejpeg
import torch
from PIL import Image

from tellsign.features.spectrum import grey, profile

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "reference"))
from official_profile import official_profile, resampled

BATCHES = {128: 64, 256: 64, 1024: 4}  # side in pixels → images in a batch
SPEED_TARGETS = {128: 20, 256: 22, 1024: 30}
FFT_TARGETS = {128: 3.0, 256: 2.6, 1024: 2.0}
LENGTH = 300


class Row(TypedDict):
    """One measured ratio, as `python -m benchmarks` collects it."""

    name: str
    value: float
    target: float
    unit: str
    at_most: NotRequired[bool]  # the target is an upper bound; otherwise a lower one


def fastest(rounds: int, **tasks: Callable[[], object]) -> dict[str, float]:
    """Least seconds of each task over rounds in which the tasks take turns, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - start)
    return {name: min(times[1:]) for name, times in seconds.items()}


def profile_rows(size: int) -> list[Row]:
    """Profiles of images in memory, per image, against the official method and the bare FFT."""
    count = BATCHES[size]
    rounds = 15 if size > 512 else 61
    images = np.random.default_rng(0).uniform(0, 255, (count, size, size))
    single = images.astype(np.float32)
    double_tensor, single_tensor = torch.from_numpy(images), torch.from_numpy(single)

    torch.set_num_threads(2)
    two = fastest(
        rounds,
        reference=lambda: official_profile(images[0]),
        fft=lambda: torch.fft.rfft2(single_tensor),
        float32=lambda: profile(single_tensor),
        float64=lambda: profile(double_tensor),
    )
    torch.set_num_threads(1)
    one = fastest(
        rounds,
        reference=lambda: official_profile(images[0]),
        float32=lambda: profile(single_tensor),
        float64=lambda: profile(double_tensor),
        numpy32=lambda: profile(single),
        numpy64=lambda: profile(images),
    )

    def speed(name: str, value: float, target: float) -> Row:
        return {"name": f"profile {size} px, {name}, speed-up", "value": value, "target": target, "unit": "×"}

    return [
        speed("torch float32, 2 threads", count * two["reference"] / two["float32"], SPEED_TARGETS[size]),
        {
            "name": f"profile {size} px, torch float32, 2 threads, time over bare FFT",
            "value": two["float32"] / two["fft"],
            "target": FFT_TARGETS[size],
            "unit": "×",
            "at_most": True,
        },
        speed("torch float64, 2 threads", count * two["reference"] / two["float64"], 13),
        speed("torch float32, 1 thread", count * one["reference"] / one["float32"], 13),
        speed("torch float64, 1 thread", count * one["reference"] / one["float64"], 13),
        speed("NumPy float32, 1 thread", count * one["reference"] / one["numpy32"], 8),
        speed("NumPy float64, 1 thread", count * one["reference"] / one["numpy64"], 8),
    ]


def write_photographs(folder: Path, count: int, size: int) -> list[Path]:
    """JPEG files of noise with a spectrum like that of photographs; 120 kB at 1024 pixels, as for faces."""
    rng = np.random.default_rng(0)
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))
    paths = []
    for index in range(count):
        noise = np.fft.fft2(rng.normal(size=(3, size, size)) + rng.normal(size=(size, size)))
        pixels = np.fft.ifft2(noise / (radius + 1 / size) ** 1.5).real
        pixels = np.interp(pixels, (pixels.min(), pixels.max()), (0, 255)).astype(np.uint8)
        paths.append(folder / f"{index}.jpg")
        Image.fromarray(np.moveaxis(pixels, 0, -1)).save(paths[-1], quality=75)
    return paths


def feature_of_file(path: Path) -> object:
    rgb = simplejpeg.decode_jpeg(path.read_bytes())
    image = grey(np.moveaxis(rgb, -1, 0).astype(np.float32))
    return profile(torch.from_numpy(image)[None], length=LENGTH)


def reference_of_file(path: Path) -> object:
    with Image.open(path) as image:
        values = resampled(official_profile(np.asarray(image.convert("L"))), LENGTH)
    return values / values[0]


def file_row(size: int = 1024, count: int = 8) -> Row:
    """From a JPEG file to an interpolated profile, files shared between two threads.

    Decoded by simplejpeg alone: without what `tellsign.image.decode` adds
    (checks, metadata, checksum, colour profile). The section "scan" measures the way that a scan goes.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as threads:
        paths = write_photographs(Path(folder), count, size)
        seconds = fastest(
            15,
            reference=lambda: reference_of_file(paths[0]),
            files=lambda: list(threads.map(feature_of_file, paths)),
        )
    return {
        "name": f"JPEG file to interpolated profile {size} px, simplejpeg alone, 2 threads, speed-up",
        "value": count * seconds["reference"] / seconds["files"],
        "target": 20,
        "unit": "×",
    }


def rows() -> list[Row]:
    """Every measurement of this module."""
    threads = torch.get_num_threads()
    try:
        return [row for size in BATCHES for row in profile_rows(size)] + [file_row()]
    finally:
        torch.set_num_threads(threads)


def main() -> None:
    """Print the table."""
    print("| what | measured | target | |\n|---|---:|---:|---|")
    for row in rows():
        at_most = row.get("at_most", False)
        good = row["value"] <= row["target"] if at_most else row["value"] >= row["target"]
        print(
            f"| {row['name']} | {row['value']:.1f} {row['unit']} | {'≤' if at_most else '≥'} "
            f"{row['target']:g} {row['unit']} | {'pass' if good else 'FAIL'} |"
        )


if __name__ == "__main__":
    main()
