"""Training batches against decoding alone, with the same number of processes.

Both sides are warm: their workers live before the clock starts. The loader makes native random crops in
batches of 32; the bare side decodes the same files and throws them away. A cached epoch decodes nothing. No
rate is asked of the loader itself, so the targets only show when it decays.
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

from benchmarks.decoding import WORKERS, decode
from benchmarks.scan import write_pictures
from tellsign.data import Manifest
from tellsign.data.augment import View
from tellsign.data.loading import Loader
from tellsign.types import Sample

N_FILES, BATCH, CROP, REPEATS = 512, 32, 224, 3
SIZES = ((1024, 768), (256, 256))


def seconds_to_decode(pool: ProcessPoolExecutor, paths: list[Path]) -> float:
    """All files decoded by a pool that is warm."""
    start = time.perf_counter()
    for _ in pool.map(decode, paths, chunksize=BATCH):
        pass
    return time.perf_counter() - start


def seconds_to_load(loader: Loader, epoch: int) -> float:
    """One epoch over all files."""
    order = np.random.default_rng(epoch).permutation(len(loader.manifest))
    start = time.perf_counter()
    n_images = sum(len(batch.rows) for batch in loader.epoch(order, epoch=epoch, batch_size=BATCH))
    seconds = time.perf_counter() - start
    assert n_images == len(loader.manifest)
    return seconds


def measured(paths: list[Path], cache: Path) -> tuple[list[float], list[float], list[float]]:
    """Seconds to decode, to load and to load from the cache, interleaved."""
    manifest = Manifest(tuple(Sample(path, number % 2) for number, path in enumerate(paths)))
    view = View(size=CROP)
    with (
        ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool,
        Loader(manifest, view, seed=0, workers=WORKERS) as plain,
        Loader(manifest, view, seed=0, workers=WORKERS, cache=cache) as cached,
    ):
        seconds_to_decode(pool, paths[: 4 * BATCH])
        seconds_to_load(plain, 0)
        seconds_to_load(cached, 0)
        rounds = [
            (seconds_to_decode(pool, paths), seconds_to_load(plain, epoch), seconds_to_load(cached, epoch))
            for epoch in range(1, REPEATS + 1)
        ]
    decoded, loaded, mapped = (list(column) for column in zip(*rounds, strict=True))
    return decoded, loaded, mapped


def rows() -> list[dict[str, Any]]:
    """The ratios for each size, as medians over interleaved repeats."""
    found = []
    for width, height in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            paths = write_pictures(Path(folder), width, height)[:N_FILES]
            decoded, loaded, mapped = measured(paths, Path(folder) / "cache")
        rate, fast = (len(paths) / statistics.median(seconds) for seconds in (loaded, mapped))
        what = f"{len(paths)} images of {width} × {height}"
        found += [
            {
                "name": f"training batches, {what} ({rate:.0f}/s), rate over decoding",
                "value": statistics.median(a / b for a, b in zip(decoded, loaded, strict=True)),
                "target": 0.5,
                "unit": "×",
            },
            {
                "name": f"training batches from the cache, {what} ({fast:.0f}/s), rate over decoding",
                "value": statistics.median(a / b for a, b in zip(decoded, mapped, strict=True)),
                "target": 1,
                "unit": "×",
            },
        ]
    return found


if __name__ == "__main__":
    for row in rows():
        print(row)
