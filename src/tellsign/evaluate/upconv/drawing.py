"""What figures of trained generators share: profiles, curves over epochs, sheets of samples, and rows.

Shapes: N images, S side in pixels, K rings.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.upconv.cells import NEEDS
from tellsign.evaluate.upconv.features import PAPER
from tellsign.features.spectrum import grey, log_spectrum

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tellsign.evaluate.upconv.cells import Finished, Study
    from tellsign.types import FloatArray

UNITS = {
    "spectral_distance": "dB",
    "spectral_kl": "nats",
    "mse": "squared level",
    "pair_distance": "level",
    "upper_band": "dB",
    "frechet": "squared distance",
}
UPPER = 0.25  # cycles a pixel, beyond which an image of half the size has nothing along an axis
NAMES = {
    "spectral_distance": "spectral distance",
    "spectral_kl": "spectral loss less its least value",
    "mse": "mean squared error",
    "pair_distance": "mean distance of two images",
    "near_duplicates": "near duplicates",
    "frechet": "Fréchet distance",
    "upper_band": "upper half of the band",
}
NO_NUMBERS = "The paper draws this and prints no numbers."
REAL = "#1c2127"
STYLES = ("-", (0, (4, 1.5)), (0, (1, 1)))


def empty(name: str, where: str, labels: Iterable[str]) -> Result:
    """A figure without anything to train it on: its rows, and what they need.

    Args:    name: of the figure. where: in the paper. labels: of the rows.
    Returns: the result.
    """
    rows = tuple(Row(label, NAMES["spectral_distance"], note=NEEDS, unit="dB") for label in labels)
    return Result(name, f"{PAPER}, {where}", rows, (NO_NUMBERS,))


def rows_of(label: str, cells: Sequence[Finished], measures: Sequence[str]) -> list[Row]:
    """The numbers of a cell, or the means of some that differ in their seed alone.

    Args:    label: of the row. cells: finished ones. measures: that are shown, where they have them.
    Returns: rows; the spectral distance says how far two halves of the reals are apart, a mean what it is of.
    """
    notes = {
        "spectral_distance": _floor(cells[0]),
        "upper_band": "generated less real; above 0: too much at high frequencies",
    }
    rows = []
    for name in measures:
        values = values_of(cells, name)
        if len(values):
            note = "; ".join(filter(None, (by_seed(values) if len(cells) > 1 else "", notes.get(name, ""))))
            mean = float(values.mean())
            rows.append(Row(label, NAMES[name], None, mean, note=note, unit=UNITS.get(name, "share")))
    return rows


def values_of(cells: Sequence[Finished], measure: str) -> FloatArray:
    """What a measure comes to.

    Args:    cells: finished ones. measure: its name.
    Returns: a number a cell; none where they have no such measure.
    """
    found = [{**cell.record["measured"], "upper_band": upper_band(cell)} for cell in cells]
    return np.array([one[measure] for one in found if measure in one], dtype=np.float64)


def by_seed(values: FloatArray) -> str:
    """Numbers of several seeds, in words."""
    return "by seed: " + ", ".join(f"{value:.4g}" for value in values)


def _floor(cell: Finished) -> str:
    text = f"two halves of the real images are {cell.record['noise']:.2f} dB apart"
    if cell.record["identity"]["config"]["kind"] != "autoencoder":
        return text
    return f"{text}; what is restored is held against its own original and may be nearer"


def upper_band(cell: Finished) -> float:
    """By how much the mean profile exceeds that of the reals at frequencies that a halved image has not.

    Args:    cell: a finished one.
    Returns: dB, the mean over the rings beyond 0.25 cycles a pixel; below 0 where they are damped.
    """
    real, fake = (np.array(cell.record["profile"][name]) for name in ("real", "fake"))
    frequency = (np.arange(len(real)) + 1.5) / cell.size  # ring 0 is not in a profile
    return float((fake - real)[frequency > UPPER].mean())


def described(given: Study) -> str:
    """What was trained, on what, in a sentence."""
    config = given.config
    network: Any = config.network
    n = {name: len(given.manifest.filter(split=name)) for name in ("train", "valid")}
    return (
        f"{config.kind} of {network.size} × {network.size} pixels, {config.training.epochs} epochs on "
        f"{n['train']} real images, seed {config.seed}; compared with {min(n['valid'], config.samples)} "
        "others. "
        + (
            "Not computed: the Fréchet distance, for which no network was given."
            if given.features is None
            else f"Fréchet distances are by {given.features.name}, weights {given.features.digest[:12]}."
        )
    )


def profile_figure(cells: Mapping[str, Finished]) -> Figure:
    """Mean profiles over a band of one standard deviation of the real ones.

    Args:    cells: label → finished one.
    Returns: the figure.
    """
    drawn, axes = blank("mean profile", "spatial frequency, ring", "20 log10 |F|, dB")
    _draw_profiles(axes, cells)
    return drawn


def _draw_profiles(axes: Axes, cells: Mapping[str, Finished]) -> None:
    first = next(iter(cells.values()))
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


def pictures_figure(
    sets: Mapping[str, FloatArray],
    cells: Mapping[str, Finished],
    *,
    n: int,
    shown: Collection[str] | None = None,
) -> Figure:
    """Images, their mean spectra, and below them the profiles of generators.

    Args:    sets: label → (N, 3, S, S) images in [0, 1], those of the reals first.
             cells: label → finished one, whose profiles are drawn.
             n: number of images that are shown of each, a square.
             shown: labels of those of which images are shown; None: of all.
    Returns: the figure.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(2.4 * len(sets), 8), layout="constrained")
    grid = drawn.add_gridspec(3, len(sets), height_ratios=(1, 1, 1.3))
    spectra = {label: log_spectrum(grey(images)).mean(axis=0) for label, images in sets.items()}
    reals = next(iter(spectra.values()))
    low, high = np.quantile(reals, (0.01, 0.999))
    for column, (label, images) in enumerate(sets.items()):
        above, below = (drawn.add_subplot(grid[row, column]) for row in range(2))
        if shown is None or label in shown:
            above.imshow(_square(images, max(1, math.isqrt(n))), interpolation="nearest")
        above.set_title(label, fontsize=9)
        below.imshow(spectra[label], cmap="magma", vmin=low, vmax=high, interpolation="nearest")
        for axes in (above, below):
            axes.set_axis_off()
    axes = drawn.add_subplot(grid[2, :])
    axes.set_xlabel("spatial frequency, ring")
    axes.set_ylabel("20 log10 |F|, dB")
    axes.spines[["top", "right"]].set_visible(False)
    _draw_profiles(axes, cells)
    return drawn


def _square(images: FloatArray, across: int) -> FloatArray:
    """The first (N, 3, S, S) → (across S, across S, 3)."""
    lines = [np.concatenate(images[i : i + across], axis=2) for i in range(0, across**2, across)]
    return np.concatenate(lines, axis=1).clip(0, 1).transpose(1, 2, 0)


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
