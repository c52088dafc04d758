"""A script whose worker process must not outlive it.

The script prints the number of its worker's process as its first line, and then never ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def command(folder: Path, text: str) -> list[str | Path]:
    """What runs a script that finds the tests' modules in `sys.argv[1:]`."""
    script = folder / "script.py"
    script.write_text(text)
    return [sys.executable, script, HERE / "unit", HERE]


def worker_outlives_parent(folder: Path, text: str, *, patience: float = 10.0) -> bool:
    """Whether the worker is still there some seconds after its parent was killed; then it is ended."""
    with subprocess.Popen(command(folder, text), stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        worker = int(parent.stdout.readline())
        os.kill(worker, 0)
        parent.kill()
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if _is_gone(worker):
            return False
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    return True


def _is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{process}/stat")
    # Ended; whoever adopted it has not looked yet.
    return stat.is_file() and " Z " in stat.read_text()
