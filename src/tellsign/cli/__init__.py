"""The command line: parse, call, print.

Exit codes: 0 done; 1 done, but some inputs failed; 2 wrong usage, configuration or data. Results go to
standard output, everything else to standard error. Heavy imports wait for the command that needs them.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from tellsign import __version__
from tellsign.cli import data, learn, scan
from tellsign.types import TellsignError

app = typer.Typer(
    name="tellsign",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Tells real photographs and videos from generated and manipulated ones, and shows its evidence.",
)
for command in (
    scan.scan,
    scan.explain,
    learn.train,
    learn.calibrate,
    learn.evaluate,
    learn.reproduce,
    learn.models,
):
    app.command()(command)
app.add_typer(data.app, name="data")


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; every error of the package becomes one message and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except TellsignError as error:
        print(f"tellsign: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # The reader has gone (`| head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
