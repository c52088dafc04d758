"""The console script as a subprocess, as a user runs it; and its commands in this process, without imports.

Imports take most of the time of a short command. `inside` spares them, and shows nothing of a process: not
that a command imports all that it uses, nor how it ends. So every command is also run as a subprocess.
"""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tellsign.cli import main

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


def inside(*arguments: str | Path | bytes, cwd: Path | None = None) -> Finished:
    """Runs the command to its end in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    code, kept = 0, os.dup(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tellsign", *map(os.fsdecode, arguments)])
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        if cwd:
            patch.chdir(cwd)
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        finally:
            os.dup2(kept, 1)  # a command that cannot write leaves it closed to all
            os.close(kept)
    out.flush()
    err.flush()
    return Finished(code, out.buffer.getvalue(), err.buffer.getvalue())


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
