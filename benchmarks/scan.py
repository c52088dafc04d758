"""Throughput of a scan against decoding alone, with the same number of processes.

Both get the same files and pay for starting their workers. 1000 files of each size: photographs of
2048 × 1536 pixels, pictures of 1024 × 768 as the web has them, and small ones of 256 × 256, which decode
in less time than their spectrum takes.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.decoding import WORKERS, photographs, seconds_to_decode
from tellsign import hub
from tellsign.scoring.scan import scan
from tellsign.scoring.scorer import Scorer
from tellsign.scoring.workers import Limits

N_FILES, N_PICTURES, REPEATS = 1000, 20, 3
SIZES = ((2048, 1536), (1024, 768), (256, 256))


def write_pictures(folder: Path, width: int, height: int) -> list[Path]:
    """Photographs, each linked under many names."""
    paths = []
    for number, content in enumerate(photographs(width, height, N_PICTURES)):
        first = folder / f"{number:04d}.jpg"
        first.write_bytes(content)
        paths.append(first)
        for copy in range(1, N_FILES // N_PICTURES):
            path = folder / f"{number:04d}-{copy:04d}.jpg"
            path.hardlink_to(first)
            paths.append(path)
    return paths


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
