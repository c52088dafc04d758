"""The command line: parse, call, print.

Exit codes: 0 done; 1 done, but some inputs failed; 2 wrong usage, configuration or data. Results go to
standard output, everything else to standard error. Heavy imports wait for the command that needs them.
"""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

from tellsign import __version__, terminal
from tellsign.cli.lazy import PLAIN, Command, LazyGroup
from tellsign.types import TellsignError


class Commands(LazyGroup):
    """All of them, in the order in which a newcomer meets them."""

    table = {  # noqa: RUF012
        "scan": Command("scan", "scan", "Verdicts for images, folders and videos."),
        "explain": Command("scan", "explain", "The evidence as pictures and one self-contained HTML page."),
        "train": Command("learn", "train", "Train any detector."),
        "calibrate": Command("learn", "calibrate", "Refit probability and operating point on other data."),
        "evaluate": Command("learn", "evaluate", "Predictions of a detector on a manifest, and metrics."),
        "benchmark": Command("benchmark", "benchmark", "Run detectors on test sets, perturbed and attacked."),
        "attack": Command("attack", "attack", "Attack a detector."),
        "reproduce": Command("learn", "reproduce", "One table or figure of a paper."),
        "models": Command("learn", "models", "What is installed, with its card."),
        "data": Command("data", "app", "Make, check and prepare manifests of images."),
    }


app = typer.Typer(
    name="tellsign",
    cls=Commands,
    no_args_is_help=True,
    **PLAIN,
    help="Tells real photographs and videos from generated and manipulated ones, and shows its evidence.",
)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; every error of the package becomes one message and an exit code."""
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
