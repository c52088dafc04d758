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
    from tellsign import terminal
    from tellsign.cli.commands import app
    from tellsign.types import TellsignError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Scripts read UTF-8, whatever a terminal would show.
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except TellsignError as error:
        terminal.complain(str(error))
        sys.exit(2)
    except BrokenPipeError:
        _reader_gone()
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # typer has made a 1 of it
            _reader_gone()
        raise
    except OSError as error:
        terminal.complain(f"cannot write the results: {error.strerror or error}")
        _silence_stdout()
        sys.exit(2)


def _reader_gone() -> NoReturn:
    """End as `| head` expects it: nobody is left to tell."""
    _silence_stdout()
    sys.exit(141)


def _silence_stdout() -> None:
    """What is left in the buffer goes nowhere, instead of failing once more when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
