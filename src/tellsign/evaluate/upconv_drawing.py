"""What figures of trained generators share: profiles, curves over epochs, sheets of samples, and rows.

Shapes: K rings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.evaluate.reproduce import Row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tellsign.evaluate.upconv_cells import Finished, Study

UNITS = {"spectral_distance": "dB", "spectral_kl": "nats", "mse": "squared level", "pair_distance": "level"}
NAMES = {
    "spectral_distance": "spectral distance",
    "spectral_kl": "spectral loss less its least value",
    "mse": "mean squared error",
    "pair_distance": "mean distance of two images",
    "near_duplicates": "near duplicates",
    "frechet": "Fréchet distance",
}
REAL = "#1c2127"
STYLES = ("-", (0, (4, 1.5)), (0, (1, 1)))


def rows_of(label: str, cell: Finished, measures: Sequence[str]) -> list[Row]:
    """The numbers of a cell.

    Args:    label: of the row. cell: a finished one. measures: that are shown, where it has them.
    Returns: rows; the spectral distance says what two halves of the reals are apart.
    """
    found = cell.record["measured"]
    floor = f"two halves of the real images are {cell.record['noise']:.2f} dB apart"
    return [
        Row(
            label,
            NAMES[name],
            None,
            float(found[name]),
            note=floor if name == "spectral_distance" else "",
            unit=UNITS.get(name, "share"),
        )
        for name in measures
        if name in found
    ]


def described(given: Study) -> str:
    """What was trained, on what, in a sentence."""
    config = given.config
    network: Any = config.network
    n = {name: len(given.manifest.filter(split=name)) for name in ("train", "valid")}
    return (
        f"{config.kind} of {network.size} × {network.size} pixels, {config.training.epochs} epochs on "
        f"{n['train']} real images, seed {config.seed}; compared with {min(n['valid'], config.samples)} "
        "others. Not computed: the Fréchet distance, for which no network was given."
    )


def profile_figure(cells: Mapping[str, Finished]) -> Figure:
    """Mean profiles over a band of one standard deviation of the real ones.

    Args:    cells: label → finished one.
    Returns: the figure.
    """
    first = next(iter(cells.values()))
    drawn, axes = blank("mean profile", "spatial frequency, ring", "20 log10 |F|, dB")
    real, spread = (np.array(first.record[name]["real"]) for name in ("profile", "deviation"))
    rings = np.arange(len(real))
    axes.fill_between(rings, real - spread, real + spread, color=REAL, alpha=0.15, linewidth=0)
    axes.plot(rings, real, color=REAL, linewidth=2.2, label="real")
    for number, (label, cell) in enumerate(cells.items()):
        style: Any = STYLES[number // 10 % len(STYLES)]
        axes.plot(
            rings, cell.record["profile"]["fake"], color=f"C{number % 10}", linestyle=style, label=label
        )
    axes.legend(frameon=False, fontsize=8)
    return drawn


def curve_figure(histories: Mapping[str, list[dict[str, Any]]], measures: Mapping[str, str]) -> Figure:
    """What was measured after each epoch.

    Args:    histories: label → rows of a training's log.
             measures: name of what was measured → title.
    Returns: the figure, one drawing a measure.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7, 2.6 * len(measures)), layout="constrained")
    for axes, (name, title) in zip(
        drawn.subplots(len(measures), 1, squeeze=False)[:, 0], measures.items(), strict=True
    ):
        for number, (label, rows) in enumerate(histories.items()):
            axes.plot(
                [row["epoch"] for row in rows],
                [row[f"valid_{name}"] for row in rows],
                "o-",
                color=f"C{number}",
                markersize=3,
                label=label,
            )
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("epoch")
        axes.legend(frameon=False, fontsize=8)
    return drawn


def sheet_figure(sheets: Mapping[str, Path], *, across: int) -> Figure:
    """Pictures of samples side by side.

    Args:    sheets: label → picture. across: how many in a row.
    Returns: the figure.
    """
    from matplotlib.figure import Figure

    from tellsign.image import decode

    down = -(-len(sheets) // across)
    drawn = Figure(figsize=(2.6 * across, 2.8 * down), layout="constrained")
    places = drawn.subplots(down, across, squeeze=False).ravel()
    for axes in places:
        axes.set_axis_off()
    for axes, (label, path) in zip(places, sheets.items(), strict=False):
        axes.imshow(decode(path).array.transpose(1, 2, 0), interpolation="nearest")
        axes.set_title(label, fontsize=9)
    return drawn


def blank(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """An empty drawing.

    Args:    title: of it. x, y: of its axes.
    Returns: the figure and its axes.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7, 4.2), layout="constrained")
    axes = drawn.subplots()
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return drawn, axes
