"""What a benchmark's page draws: ROC curves, robustness curves, and the matrix of detectors and test sets.

Shapes: n samples, D detectors, T test sets.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.explain.figures import LIGHT, Plot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase
    from numpy.typing import NDArray

    from tellsign.evaluate.benchmark.tables import Table, Value
    from tellsign.types import FloatArray

# Okabe and Ito's colours that stand out on white and on dark ground; the dashes tell them apart in print.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ((), (4, 1.5), (1.2, 1.2), (6, 1.5, 1.2, 1.5))
LOWEST_FPR = 1e-3


def line_style(index: int) -> dict[str, Any]:
    """Colour and dash of the curve with this number: 24 curves until one comes again."""
    dash = DASHES[index // len(COLOURS) % len(DASHES)]
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": (0, dash) if dash else "solid",
    }


def roc(labels: NDArray[np.int64], scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The ROC curve: a point for each distinct score, from (0, 0) to (1, 1).

    Args:    labels: (n,) 0 real, 1 fake, both present.
             scores: (n,), higher = more fake; infinities are allowed.
    Returns: false-positive rate and true-positive rate, each rising.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, is_fake = scores[order], labels[order] == 1
    last = np.append(ranked[1:] != ranked[:-1], True)  # tied scores pass the threshold together
    fpr = np.cumsum(~is_fake)[last] / np.sum(~is_fake)
    tpr = np.cumsum(is_fake)[last] / np.sum(is_fake)
    return np.append(0.0, fpr), np.append(0.0, tpr)


def roc_plot(test: str, curves: Mapping[str, tuple[FloatArray, FloatArray]]) -> Plot:
    """ROC curves of several detectors on one test set, over a logarithmic false-positive rate.

    Args:    test: name of the test set.
             curves: detector → what `roc` returns.
    Returns: a plot.
    """

    def draw(figure: FigureBase) -> None:
        axes = figure.add_subplot()
        for index, (name, (fpr, tpr)) in enumerate(curves.items()):
            axes.step(np.maximum(fpr, LOWEST_FPR), tpr, where="post", label=name, **line_style(index))
        chance = np.geomspace(LOWEST_FPR, 1, 50)
        axes.plot(chance, chance, color=LIGHT["muted"], linewidth=1, linestyle=(0, (1, 2)))
        axes.set_xscale("log")
        ticks = (0.001, 0.01, 0.1, 1)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlim(LOWEST_FPR, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("false-positive rate")
        axes.set_ylabel("share of fakes found")
        _legend(figure, axes)

    found = {name: _at(fpr, tpr, 0.05) for name, (fpr, tpr) in curves.items()}
    best, worst = max(found, key=found.__getitem__), min(found, key=found.__getitem__)
    least = f", the fewest {worst} ({found[worst]:.0%})" if len(found) > 1 else ""
    return Plot(
        name=f"roc-{slug(test)}",
        title=f"ROC: {test}",
        caption="Dotted: a coin. The left of the logarithmic axis is where a detector is of use.",
        finding=f"At 5 % false positives {best} finds the most fakes ({found[best]:.0%}){least}.",
        draw=draw,
        height=240 + 18 * len(curves),
    )


def robustness_plot(test: str, operation: str, table: Table) -> Plot:
    """AUROC of several detectors over the strength of one operation.

    Args:    test, operation: names.
             table: a row for each strength, from none on, a column for each detector.
    Returns: a plot.
    """

    def draw(figure: FigureBase) -> None:
        axes = figure.add_subplot()
        places = np.arange(len(table.rows))
        for index, name in enumerate(table.columns):
            values = [row[index] for _, row in table.rows]
            heights = [np.nan if v.value is None else v.value for v in values]
            shift = 0.06 * (index - (len(table.columns) - 1) / 2)
            low = [np.nan if v.ci is None else h - v.ci[0] for h, v in zip(heights, values, strict=True)]
            high = [np.nan if v.ci is None else v.ci[1] - h for h, v in zip(heights, values, strict=True)]
            style = line_style(index)
            axes.errorbar(
                places + shift, heights, [low, high], marker="o", ms=3, elinewidth=0.7, label=name, **style
            )
        axes.axhline(0.5, color=LIGHT["muted"], linewidth=1, linestyle=(0, (1, 2)))
        axes.set_xticks(places, [name.partition(":")[2] or name for name, _ in table.rows])
        axes.set_xlabel(operation)
        axes.set_ylabel("AUROC")
        _legend(figure, axes)

    changes = [
        (b.value - a.value, name, a, b)
        for name, a, b in zip(table.columns, table.rows[0][1], table.rows[-1][1], strict=True)
        if a.value is not None and b.value is not None
    ]
    finding = "No detector has a value at both ends."
    if changes:
        change, name, a, b = min(changes, key=lambda entry: entry[0])
        who = f"{name} loses the most" if change < 0 else f"no detector loses, {name} gains the least"
        finding = f"From {table.rows[0][0]} to {table.rows[-1][0]}, {who}: {_number(a)} to {_number(b)}."
    return Plot(
        name=f"robustness-{slug(test)}-{slug(operation)}",
        title=f"{operation}: {test}",
        caption="AUROC with 95 % intervals; dotted: a coin.",
        finding=finding,
        draw=draw,
        height=220 + 18 * len(table.columns),
    )


def matrix_plot(table: Table) -> Plot:
    """A table of AUROCs as coloured cells.

    Args:    table: of D rows and T columns.
    Returns: a plot; blue is below a coin, vermilion above.
    """

    def draw(figure: FigureBase) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        axes = figure.add_subplot()
        size = 10 if len(table.columns) <= 6 else 7
        values = np.array([[np.nan if v.value is None else v.value for v in row] for _, row in table.rows])
        colours = LinearSegmentedColormap.from_list("auroc", (LIGHT["real"], "#f7f7f5", LIGHT["fake"]))
        axes.imshow(values, cmap=colours, vmin=0, vmax=1, aspect="auto")
        for row, column in np.ndindex(values.shape):
            value = values[row, column]
            dark = np.isfinite(value) and abs(value - 0.5) > 0.3
            text = "n/a" if np.isnan(value) else f"{value:.2f}"
            colour = "#fffffe" if dark else "#1c2127"
            axes.text(column, row, text, ha="center", va="center", size=size, color=colour)
        axes.set_xticks(range(len(table.columns)), table.columns, rotation=90, size=size)
        axes.set_yticks(range(len(table.rows)), [name for name, _ in table.rows], size=size)
        axes.grid(visible=False)

    known = [
        (v.value, n, c)
        for n, row in table.rows
        for c, v in zip(table.columns, row, strict=True)
        if v.value is not None
    ]
    finding = "No cell has a value."
    if known:
        (low, *least), (high, *most) = min(known), max(known)
        finding = f"From {low:.2f} ({' on '.join(least)}) to {high:.2f} ({' on '.join(most)}); 0.5 is a coin."
    return Plot(
        name=table.name,
        title=table.title,
        caption="AUROC; white is a coin, blue is worse than one.",
        finding=finding,
        draw=draw,
        height=110 + 22 * len(table.rows),
    )


def slug(text: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unnamed"


def _legend(figure: FigureBase, axes: Axes) -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=1)


def _at(fpr: FloatArray, tpr: FloatArray, limit: float) -> float:
    return float(tpr[fpr <= limit].max())


def _number(value: Value) -> str:
    return "n/a" if value.value is None else f"{value.value:.2f}"
