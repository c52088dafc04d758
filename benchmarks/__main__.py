"""Runs every benchmark, prints the table and writes it to benchmarks/RESULTS.md."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks import audit, features, loading, metrics, perturb, scan, startup, wavelet

HERE = Path(__file__).parent
MODULES = (features, scan, startup, metrics, perturb, audit, wavelet, loading)
PACKAGES = ("numpy", "pillow", "simplejpeg", "scipy", "torch")


def processor() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


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
            at_most = row.get("at_most", False)
            good = row["value"] <= row["target"] if at_most else row["value"] >= row["target"]
            missed += not good
            lines.append(
                f"| {row['name']} | {row['value']:.2f} {row['unit']} | {'≤' if at_most else '≥'} "
                f"{row['target']:g} {row['unit']} | {'met' if good else '**missed**'} |"
            )
            # As it comes: the whole takes a quarter of an hour.
            print(lines[-1], flush=True)
    (HERE / "RESULTS.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
