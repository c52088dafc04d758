"""Throughput of an audit against decoding alone, with the same number of processes.

Both get the same 10,000 files and pay for starting their workers; the audit's time holds everything up to
its result: cues, hashes, the search for duplicates, nine cross-validated classifiers and their bootstrap.
Pictures of 1024 × 768 pixels as the web has them, and small ones of 256 × 256, which decode in a millisecond.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.decoding import WORKERS, photographs, seconds_to_decode
from tellsign.data import Manifest
from tellsign.data.audit import audit
from tellsign.types import FAKE, REAL, Sample

N_FILES, N_PICTURES, REPEATS = 10_000, 20, 3
SIZES = ((1024, 768), (256, 256))


def write_pictures(folder: Path, width: int, height: int, n_files: int) -> Manifest:
    """Photographs, of which copies differ in a comment, so that none is equal."""
    contents = list(photographs(width, height, N_PICTURES))
    samples = []
    for number in range(n_files):
        content = contents[number % N_PICTURES]
        comment = b"\xff\xfe" + (2 + 64).to_bytes(2, "big") + f"{number:064d}".encode()
        path = folder / f"{number:06d}.jpg"
        path.write_bytes(content[:2] + comment + content[2:])
        # Half of the pictures are fake; a group holds files of one class.
        label = FAKE if number % N_PICTURES % 2 else REAL
        samples.append(Sample(path, label, "made", group=f"group-{number // 40}-{label}"))
    return Manifest(tuple(samples))


def seconds_to_audit(manifest: Manifest) -> float:
    """All files audited."""
    start = time.perf_counter()
    result = audit(manifest, workers=WORKERS)
    assert result.n == len(manifest)
    assert not result.unreadable
    return time.perf_counter() - start


def rows(n_files: int = N_FILES, repeats: int = REPEATS) -> list[dict[str, Any]]:
    """The ratio for each size, as the median over interleaved repeats."""
    found = []
    for width, height in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            manifest = write_pictures(Path(folder), width, height, n_files)
            paths = [sample.path for sample in manifest]
            pairs = [(seconds_to_decode(paths), seconds_to_audit(manifest)) for _ in range(repeats)]
        rate = statistics.median(n_files / audited for _, audited in pairs)
        found.append(
            {
                "name": f"audit, {n_files} images of {width} × {height} ({rate:.0f}/s), rate over decoding",
                "value": statistics.median(decoded / audited for decoded, audited in pairs),
                "target": 0.5,
                "unit": "×",
            }
        )
    return found


if __name__ == "__main__":
    for row in rows():
        print(row)
