"""Commands of `tellsign reproduce` on one data set, each in a process that a test may kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from cae_net_tiny import images

TESTS = Path(__file__).resolve().parents[1]
SCRIPT = TESTS / "e2e" / "reproduce_tiny.py"
PATHS = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
ENV = {**os.environ, "PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Trials:
    """One data set, one configuration, the folder of cells that tests share, and what runs commands."""

    def __init__(self, folder: Path, config: Path) -> None:
        self.folder = folder
        images(folder / "data")
        self.config = config
        self.cells = folder / "cells"
        self.process = subprocess.Popen(
            [sys.executable, SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENV
        )
        assert self.process.stdout.readline() == "ready\n"

    def arguments(
        self, name: str, *more: str | Path, out: Path | None = None, config: Path | None = None
    ) -> list[str]:
        data = self.folder / "data" / "manifest.csv"
        given = ["--data", data, "--config", config or self.config, "--folds", "2", "-o", out or self.cells]
        return [str(one) for one in ("reproduce", name, "--json", *given, *more)]

    def start(self, arguments: list[str]) -> None:
        self.tell(json.dumps([arguments, str(self.folder / "printed"), str(self.folder / "said")]))

    def tell(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self, how: str) -> int:
        self.tell(how)
        return int(self.process.stdout.readline())

    def run(self, name: str, *more: str | Path, **options: Path) -> tuple[dict, list[str]]:
        """The table, and what was said."""
        self.start(self.arguments(name, *more, **options))
        status = self.end("wait")
        said = (self.folder / "said").read_text()
        assert status == 0, said
        return json.loads((self.folder / "printed").read_text()), said.splitlines()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)


def cells_of(folder: Path) -> dict[str, dict]:
    """Name of a cell's folder → its record."""
    return {path.parent.name: json.loads(path.read_bytes()) for path in folder.glob("*/record.json")}
