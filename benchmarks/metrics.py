"""A million predictions: every metric with its grouped bootstrap, in seconds and in memory.

Each measurement is a process of its own with two workers, so that its peak of memory counts everything: the
interpreter, NumPy, the predictions and what the call starts (on Linux alone). Seconds are those of the call
alone. Groups: every row is one, or 10,000 videos of 100 frames, each of one class.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

N_ROWS, N_RESAMPLES, WORKERS = 1_000_000, 1000, 2
GROUPS = {"a group a row": N_ROWS, "10,000 groups": 10_000}
MEASUREMENT = """
import json, sys, threading, time
from pathlib import Path
import numpy as np
from tellsign.metrics import summary

n_rows, n_groups, n_resamples, workers = map(int, sys.argv[1:])
rng = np.random.default_rng(0)
groups = rng.permutation(n_rows) % n_groups
labels = groups % 2
scores = rng.normal(size=n_rows) + labels
probabilities = 1 / (1 + np.exp(0.5 - scores))
# Not from getrusage, whose figure holds the memory of the process that started this one, too.
def peak(process):
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 2**10

peaks, done = {}, threading.Event()
def watch():
    while not done.wait(0.05):
        for task in Path("/proc/self/task").iterdir():
            for child in (task / "children").read_text().split():
                try:
                    peaks[child] = peak(child)  # a new process shows its parent's at first
                except (OSError, KeyError):
                    pass  # it has ended

watcher = threading.Thread(target=watch)
watcher.start()
start = time.perf_counter()
found = summary(labels, scores, threshold=0.5, probabilities=probabilities,
                groups=None if n_groups == n_rows else groups, n_resamples=n_resamples, workers=workers)
seconds = time.perf_counter() - start
assert all(estimate.low < estimate.high for estimate in found.values())
done.set()
watcher.join()
print(json.dumps({"seconds": seconds, "mib": peak("self") + sum(peaks.values())}))
"""


def measured(n_groups: int) -> dict[str, float]:
    """Seconds of the call, and the peaks of its processes in MiB, added up."""
    sizes = [str(number) for number in (N_ROWS, n_groups, N_RESAMPLES, WORKERS)]
    done = subprocess.run(
        [sys.executable, "-c", MEASUREMENT, *sizes], check=True, capture_output=True, text=True
    )
    return dict(json.loads(done.stdout))


def rows() -> list[dict[str, Any]]:
    """Time and memory for each kind of groups."""
    found = []
    for name, n_groups in GROUPS.items():
        result = measured(n_groups)
        what = f"all metrics of {N_ROWS:,} predictions, {N_RESAMPLES} resamples, {name}"
        found += [
            {"name": what, "value": result["seconds"], "target": 10, "unit": "s", "at_most": True},
            {"name": f"{what}, peak", "value": result["mib"], "target": 1024, "unit": "MiB", "at_most": True},
        ]
    return found


if __name__ == "__main__":
    for row in rows():
        print(row)
