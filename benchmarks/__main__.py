"""Runs benchmarks, prints their rows and writes them to benchmarks/RESULTS.md.

`python -m benchmarks` runs all, which takes the better part of an hour; `python -m benchmarks scan audit`
runs some. Each module's rows stand below a line of their own that says when and on what they were measured,
and are written as soon as they are there: the others' stay as they are.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("RESULTS.md")
MODULES = (
    "features",
    "scan",
    "startup",
    "metrics",
    "perturb",
    "audit",
    "wavelet",
    "dct",
    "prnu",
    "resynthesis",
    "loading",
    "training",
    "inference",
    "spectral_loss",
    "generators",
)
PACKAGES = ("numpy", "pillow", "simplejpeg", "scipy", "torch", "timm", "onnxruntime")
HEAD = """# Speed

Written by `make bench`. A ratio is measured in one run, its two sides in turns. Rows of two threads mean
nothing where another process has a core.
"""


def processor() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def instructions() -> str:
    """The widest that PyTorch uses here: much hangs on them, and a processor's name may not tell."""
    import torch

    return torch.backends.cpu.get_cpu_capability()


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


def section(name: str) -> tuple[list[str], int]:
    """What a module measures, printed as it comes, and how many targets it misses."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    machine = f"{processor()} ({instructions()}), {os.cpu_count()} cores, Python {platform.python_version()}"
    lines = [
        f"## {name}",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {machine}, {versions}. Load before: {load:.1f}.",
        "",
        "| what | measured | target | |",
        "|---|---:|---:|---|",
    ]
    print("\n".join(lines), flush=True)
    missed = 0
    for row in import_module(f"benchmarks.{name}").rows():
        text, is_missed = line(row)
        missed += is_missed
        lines.append(text)
        print(text, flush=True)
    print(flush=True)
    return lines, missed


def sections(text: str) -> dict[str, list[str]]:
    """Those of a written page, by module.

    Args:    text: of the page.
    Returns: module → lines, without blank ones at the end.
    """
    found: dict[str, list[str]] = {}
    for part in ("\n" + text).split("\n## ")[1:]:
        lines = ("## " + part.rstrip()).split("\n")
        found[lines[0].removeprefix("## ")] = lines
    return found


def main(names: list[str]) -> int:
    """Measure and report; the exit code is 1 when a target was missed."""
    if unknown := sorted(set(names) - set(MODULES)):
        print(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(MODULES)}", file=sys.stderr)
        return 2
    missed = 0
    for name in names or MODULES:
        lines, count = section(name)
        missed += count
        there = sections(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
        there[name] = lines
        pages = ["\n".join(there[module]) for module in MODULES if module in there]
        RESULTS.write_text(HEAD + "\n" + "\n\n".join(pages) + "\n", encoding="utf-8")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
