"""What throughput is held against: made photographs, and decoding them with as many processes."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from tellsign import image

WORKERS = 2


def photographs(width: int, height: int, n: int) -> Iterator[bytes]:
    """JPEGs of quality 90 with the spectrum of photographs."""
    rng = np.random.default_rng(0)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    falloff = 1 / np.maximum(np.hypot(fy, fx), 1 / max(width, height))
    for _ in range(n):
        waves = np.fft.rfft2(rng.standard_normal((3, height, width)), axes=(1, 2)) * falloff
        planes = np.fft.irfft2(waves, s=(height, width), axes=(1, 2))
        planes = 128 + 50 * (0.9 * planes[:1] + 0.1 * planes) / planes.std()
        file = io.BytesIO()
        pixels = planes.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
        Image.fromarray(pixels).save(file, "JPEG", quality=90)
        yield file.getvalue()


def decode(path: Path) -> None:
    """What nothing that looks at a file can do without."""
    image.decode(path)


def seconds_to_decode(paths: Sequence[Path]) -> float:
    """All files decoded by worker processes, whose start counts."""
    start = time.perf_counter()
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(decode, paths, chunksize=16):
            pass
    return time.perf_counter() - start
