"""The command line: parse, call, print.

Exit codes: 0 done; 1 done, but some inputs failed; 2 wrong usage, configuration or data. Results go to
standard output, everything else to standard error. Heavy imports wait for the command that needs them; and
every worker process imports this module once more, so that it imports next to nothing itself.
"""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import NoReturn


def main() -> None:
    """Run the command line; every error of the package becomes one message and an exit code."""
    from tellsign.cli.commands import app

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Scripts read UTF-8, whatever a terminal would show.
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        _reader_gone()
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # typer has made a 1 of it
            _reader_gone()
        raise
    except Exception as error:
        _explain(error)
        sys.exit(2)


def _explain(error: Exception) -> None:
    """One message for an error of the package or of writing; any other is raised."""
    from tellsign import terminal
    from tellsign.types import TellsignError

    if isinstance(error, TellsignError):
        terminal.complain(str(error))
    elif isinstance(error, OSError):
        terminal.complain(f"cannot write the results: {error.strerror or error}")
        _silence_stdout()
    else:
        raise error


def _reader_gone() -> NoReturn:
    """End as `| head` expects it: nobody is left to tell."""
    _silence_stdout()
    sys.exit(141)


def _silence_stdout() -> None:
    """What is left in the buffer goes nowhere, instead of failing once more when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
