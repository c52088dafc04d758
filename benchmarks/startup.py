"""How long a command takes to answer: `tellsign --help`, and the first verdict of a cold process.

As an installed package answers, which has its bytecode: the run that warms the disk cache writes it, whatever
the environment says.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REPEATS = 7
COMMAND = str(Path(sys.executable).with_name("tellsign"))
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
PICTURE = str(Path(__file__).parents[1] / "examples" / "portrait.jpg")


def seconds(*command: str) -> float:
    """Median wall-clock time of a command, after one run that warms the disk cache."""

    def once() -> float:
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)
        return time.perf_counter() - start

    once()
    return statistics.median(once() for _ in range(REPEATS))


def rows() -> list[dict[str, Any]]:
    """Seconds, the one place where they are what users feel."""
    bare = seconds(sys.executable, "-c", "pass")
    return [
        {
            "name": "`tellsign --help` over a bare interpreter start",
            "value": seconds(COMMAND, "--help") - bare,
            "target": 0.15,
            "unit": "s",
            "at_most": True,
        },
        {
            "name": "first verdict of a cold process",
            "value": seconds(COMMAND, "scan", PICTURE),
            "target": 1.5,
            "unit": "s",
            "at_most": True,
        },
    ]


if __name__ == "__main__":
    for row in rows():
        print(row)
