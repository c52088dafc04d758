"""The curves of a training, drawn from its journal while it runs."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, NamedTuple

from tellsign.durable import write_file
from tellsign.engine.record import SHOWN, VALID, figure_names, measures

if TYPE_CHECKING:
    from pathlib import Path

    from tellsign.engine.record import Journal

CURVES = "curves.png"
INK, MUTED, RULE, PAPER, BLUE, VERMILION = "#1c2127", "#59636e", "#d3d8dd", "#fffffe", "#0a5c99", "#b0440c"
COLOURS = (VERMILION, INK, BLUE, MUTED)  # of the lines of a panel
TOGETHER = ("auroc", "accuracy")  # shares, which one panel compares
STYLE = {
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": MUTED,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "font.size": 11,
    "grid.color": RULE,
    "legend.frameon": False,
    "text.color": INK,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
}


class Line(NamedTuple):
    """One curve of a panel."""

    label: str
    colour: str
    values: list[float]  # one an epoch
    fine: list[list[float]]  # [steps, value], or none


def write_curves(run: Path, journal: Journal) -> None:
    """Replace curves.png: losses above, their figures where there are some, what was measured below.

    Args:    run: the run folder. journal: what is drawn.
    Raises:  OSError: it can't be written.
    """
    import matplotlib.style
    from matplotlib.figure import Figure

    per_epoch = _steps_of_an_epoch(journal)
    epochs = [row["epoch"] for row in journal.history]
    found = panels(journal)
    with matplotlib.style.context(STYLE, after_reset=True):
        figure = Figure(figsize=(7, 3 * len(found)), layout="constrained", facecolor=PAPER)
        every = figure.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (title, lines) in zip(every, found.items(), strict=True):
            axes.set_title(title)
            for line in lines:
                fine = [(steps / per_epoch, value) for steps, value in line.fine]
                if fine:
                    axes.plot(*zip(*fine, strict=True), color=line.colour, linewidth=1.2, alpha=0.3)
                axes.plot(epochs, line.values, "o-", color=line.colour, label=line.label, markersize=3)
            if epochs:
                axes.legend(ncols=2)
        every[-1].set_xlabel("epoch")
        if journal.best:
            every[-1].axvline(journal.best["epoch"], color=MUTED, linewidth=1, linestyle=(0, (3, 2)))
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=120, metadata={"Software": None})
    write_file(run / CURVES, picture.getvalue(), lasting=False)


def panels(journal: Journal) -> dict[str, list[Line]]:
    """What is drawn: shares in one panel, any other measure in one of its own.

    Args:    journal: of the run.
    Returns: title of a panel → its lines.
    """
    rows = journal.history
    last = rows[-1] if rows else {}

    def column(name: str) -> list[float]:
        return [row.get(name, math.nan) for row in rows]

    found = {"mean loss": [Line("training", BLUE, column("loss"), journal.points)]}
    if f"{VALID}loss" in last:
        found["mean loss"].append(Line("validation", VERMILION, column(f"{VALID}loss"), []))
    for name in figure_names(last):
        lines = found.setdefault("parts of the loss", [])
        colour = COLOURS[len(lines) % len(COLOURS)]
        lines.append(Line(name, colour, column(name), journal.figure_points.get(name, [])))
    for name in measures(last):
        if name != "loss":
            shown = SHOWN.get(name, name)
            title = "on the validation split" if name in TOGETHER else f"{shown} on the validation split"
            lines = found.setdefault(title, [])
            lines.append(Line(shown, COLOURS[len(lines)], column(f"{VALID}{name}"), []))
    return found


def _steps_of_an_epoch(journal: Journal) -> float:
    last = journal.history[-1] if journal.history else None
    return last["step"] / last["epoch"] if last else max(journal.steps, 1)
