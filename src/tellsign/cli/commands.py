"""The table of commands, and the options of `tellsign` itself."""

from __future__ import annotations

from typing import Annotated

import typer

from tellsign import __version__
from tellsign.cli.lazy import PLAIN, Command, LazyGroup


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
        "generators": Command("generators", "app", "Train generators, measure and correct their spectra."),
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
