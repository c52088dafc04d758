"""Trains, each time in a process of its own, which is killed when a test says so.

Says "ready", then reads pairs of lines. The first is JSON: data, run and options. The second is "kill", which
takes effect when it comes, or "wait". The answer is the signal that ended the process, or 0.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch

from tellsign.engine import recorder
from trainings import Tiny, options, trained


def run(data: str, run: str, options_: dict) -> None:
    trained(Path(data), Path(run), options(**options_))


def main() -> None:
    torch.set_num_threads(1)
    os.fsync = os.fstat  # nobody cuts the power
    recorder.write_curves = lambda run, journal: (run / "curves.png").touch()
    # What is imported when it is first used, so that a kill hits the training and not this.
    torch.optim.Adam(Tiny().parameters(), fused=True)
    print("ready", flush=True)
    while line := sys.stdin.readline():
        number = os.fork()
        if not number:
            code = 1
            try:
                run(*json.loads(line))
                code = 0
            finally:
                os._exit(code)
        if sys.stdin.readline() == "kill\n":
            os.kill(number, signal.SIGKILL)  # not waited for yet, so that the number is still its own
        status = os.waitpid(number, 0)[1]
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status), flush=True)


if __name__ == "__main__":
    main()
