"""Runs every benchmark, prints the table and writes it to benchmarks/RESULTS.md."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import (
    audit,
    features,
    inference,
    loading,
    metrics,
    perturb,
    scan,
    startup,
    training,
    wavelet,
)

HERE = Path(__file__).parent
MODULES = (features, scan, startup, metrics, perturb, audit, wavelet, loading, training, inference)
PACKAGES = ("numpy", "pillow", "simplejpeg", "scipy", "torch", "timm", "onnxruntime")


def processor() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def line(row: Mapping[str, Any]) -> tuple[str, bool]:
    """A row of the table, and whether it misses its target.

    A row without a value says in `reason` why there is none. One without a target is measured beside others.
    """
    name, value, target, unit = (row.get(key) for key in ("name", "value", "target", "unit"))
    at_most = row.get("at_most", False)
    goal = "" if target is None else f"{'≤' if at_most else '≥'} {target:g} {unit}"
    if value is None:
        return f"| {name} | n/a | {goal} | {row['reason']} |", False
    if target is None:
        return f"| {name} | {value:.2f} {unit} | | |", False
    good = value <= target if at_most else value >= target
    return f"| {name} | {value:.2f} {unit} | {goal} | {'met' if good else '**missed**'} |", not good


def main() -> int:
    """Measure and report; the exit code is 1 when a target was missed."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    machine = f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    lines = [
        "# Speed",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {machine}, {versions}. Load before: {load:.1f}.",
        "",
        "Written by `make bench`; ratios are measured in one run. Rows of two threads mean nothing where",
        "another process has a core.",
        "",
        "| what | measured | target | |",
        "|---|---:|---:|---|",
    ]
    print("\n".join(lines))
    missed = 0
    for module in MODULES:
        for row in module.rows():
            text, is_missed = line(row)
            missed += is_missed
            lines.append(text)
            # As it comes: the whole takes the better part of an hour.
            print(lines[-1], flush=True)
    (HERE / "RESULTS.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
