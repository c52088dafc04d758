"""Throughput of a scan against decoding alone, with the same number of processes.

Both get the same files and pay for starting their workers. 1000 files of each size: photographs of
2048 × 1536 pixels, pictures of 1024 × 768 as the web has them, and small ones of 256 × 256, which decode
in less time than their spectrum takes.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tellsign import hub, image
from tellsign.scoring.scan import scan
from tellsign.scoring.scorer import Scorer
from tellsign.scoring.workers import Limits

N_FILES, N_PICTURES, WORKERS, REPEATS = 1000, 20, 2, 3
SIZES = ((2048, 1536), (1024, 768), (256, 256))


def write_pictures(folder: Path, width: int, height: int) -> list[Path]:
    """JPEGs with the spectrum of photographs; each picture is linked under many names."""
    rng = np.random.default_rng(0)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    falloff = 1 / np.maximum(np.hypot(fy, fx), 1 / max(width, height))
    paths = []
    for number in range(N_PICTURES):
        waves = np.fft.rfft2(rng.standard_normal((3, height, width)), axes=(1, 2)) * falloff
        planes = np.fft.irfft2(waves, s=(height, width), axes=(1, 2))
        planes = 128 + 50 * (0.9 * planes[:1] + 0.1 * planes) / planes.std()
        first = folder / f"{number:04d}.jpg"
        pixels = planes.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
        Image.fromarray(pixels).save(first, quality=90)
        paths.append(first)
        for copy in range(1, N_FILES // N_PICTURES):
            path = folder / f"{number:04d}-{copy:04d}.jpg"
            path.hardlink_to(first)
            paths.append(path)
    return paths


def decode(path: Path) -> None:
    """What `scan` can't do without."""
    image.decode(path)


def seconds_to_decode(paths: list[Path]) -> float:
    """All files decoded by worker processes."""
    start = time.perf_counter()
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(decode, paths, chunksize=16):
            pass
    return time.perf_counter() - start


def seconds_to_scan(paths: list[Path], scorer: Scorer) -> float:
    """All files scanned with the default detector."""
    start = time.perf_counter()
    summary = scan(paths, scorer, limits=Limits(workers=WORKERS))
    assert summary.n == len(paths)
    assert summary.failed == 0
    return time.perf_counter() - start


def rows() -> list[dict[str, Any]]:
    """The ratio for each size, as the median over interleaved repeats."""
    scorer = Scorer(hub.detector_path(hub.DEFAULT_DETECTOR))
    found = []
    for width, height in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            paths = write_pictures(Path(folder), width, height)
            pairs = [(seconds_to_decode(paths), seconds_to_scan(paths, scorer)) for _ in range(REPEATS)]
        rate = statistics.median(N_FILES / scanned for _, scanned in pairs)
        found.append(
            {
                "name": f"scan, {N_FILES} images of {width} × {height} ({rate:.0f}/s), rate over decoding",
                "value": statistics.median(decoded / scanned for decoded, scanned in pairs),
                "target": 0.8,
                "unit": "×",
            }
        )
    return found


if __name__ == "__main__":
    for row in rows():
        print(row)
