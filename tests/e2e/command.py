"""The console script as a subprocess, as a user runs it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = Path(sys.executable).with_name("tellsign")


@dataclass(frozen=True)
class Finished:
    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Standard output; bytes that are no UTF-8 would fail here, and should."""
        return self.out.decode("utf-8")

    @property
    def messages(self) -> str:
        return self.err.decode("utf-8")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of `--json`."""
        return [json.loads(line) for line in self.text.split("\n")[:-1]]


def tellsign(
    *arguments: str | Path | bytes,
    stdin: bytes = b"",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 300,
) -> Finished:
    """Runs the command to its end. env: added to this process's."""
    done = subprocess.run(
        [SCRIPT, *arguments],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        timeout=timeout,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def started(*arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    """Starts the command in a process group of its own, with pipes; the caller ends it."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([SCRIPT, *arguments], start_new_session=True, bufsize=0, **(pipes | options))


def next_line(process: subprocess.Popen[bytes], timeout: float = 60) -> bytes:
    """The next line that a started command prints."""
    assert process.stdout
    line = b""
    while not line.endswith(b"\n"):
        if not select.select([process.stdout], [], [], timeout)[0]:
            process.kill()
            raise TimeoutError(f"no line came in {timeout} s, but {line!r}")
        character = process.stdout.read(1)
        if not character:
            raise EOFError(f"the command ended after {line!r}")
        line += character
    return line
