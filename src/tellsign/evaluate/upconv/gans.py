"""Figures 1, 11 to 14 and 22 of Durall et al. (CVPR 2020) by GANs that are trained here.

The paper measures the Fréchet distance over the training and prints curves without numbers. It is measured
here where a network for its features is given. Beside it, or in its place, stands what needs none: the
spectral distance, and how alike the images are, by which a collapse is seen. Samples are shown as they are,
good or bad.

Shapes: K rings.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.upconv.cells import study
from tellsign.evaluate.upconv.drawing import (
    NAMES,
    NO_NUMBERS,
    UNITS,
    curve_figure,
    described,
    empty,
    profile_figure,
    rows_of,
    sheet_figure,
)
from tellsign.evaluate.upconv.features import PAPER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.evaluate.reproduce import Inputs
    from tellsign.evaluate.upconv.cells import Finished, Study

LOSSES = ("dcgan", "dragan", "lsgan", "wgan-gp")
WGAN_EPOCHS = 2  # times as many as the others have
# λ by GAN, on the scale of `SpectralLoss`, where the paper's 2 (DCGAN) and 0.5 (LSGAN) hardly count; chosen
# on images of the split valid (docs/generators.md).
WEIGHTS = {"dcgan": 100.0, "lsgan": 15.0, "dragan": 15.0, "wgan-gp": 300.0}
HEAD = {"last_up": "nearest", "head_layers": 3, "head_kernel": 5}  # of the regularised ones
MEASURES = ("spectral_distance", "upper_band", "spectral_kl", "pair_distance", "near_duplicates", "frechet")
OVER_TIME = ("spectral_distance", "pair_distance", "near_duplicates")
LAST = 5  # of the epochs a fifth, in which a training is at its end
N_SHEETS = 5  # of figure 12, evenly over the training
SHORT = "Trainings are short and networks small: samples show where they stand, not what the method can do."
TWICE = f"WGAN-GP is trained for {WGAN_EPOCHS} times as many epochs, as it was published."


def fig1(name: str, inputs: Inputs) -> Result:
    """The profiles of four GANs, plain and regularised."""
    given = study(inputs, "gan")
    if given is None:
        return empty(name, "figure 1", _both(LOSSES))
    cells = _pairs(given, LOSSES)
    return _result(name, "figure 1", cells, given, profile_figure(cells))


def fig11(name: str, inputs: Inputs) -> Result:
    """Samples of four GANs, plain and regularised."""
    given = study(inputs, "gan")
    if given is None:
        return empty(name, "figure 11", _both(LOSSES))
    cells = _pairs(given, LOSSES)
    ordered = sorted(cells, key=lambda label: label.endswith("regularised"))
    sheets = {label: cells[label].pictures()[-1] for label in ordered}
    return _result(name, "figure 11", cells, given, sheet_figure(sheets, across=len(LOSSES)))


def fig12(name: str, inputs: Inputs) -> Result:
    """A plain DCGAN over its training: measures beside samples."""
    given = study(inputs, "gan")
    if given is None:
        return empty(name, "figure 12", ["dcgan, plain"])
    cell = plain(given, "dcgan")
    epochs = np.unique(np.linspace(0, len(cell.history) - 1, N_SHEETS).astype(int)).tolist()
    pictures = cell.pictures()
    sheets = {f"epoch {epoch + 1}: {_short(cell.history[epoch])}": pictures[epoch] for epoch in epochs}
    rows = [
        Row(
            f"epoch {epoch + 1}",
            NAMES[measure],
            None,
            float(cell.history[epoch][f"valid_{measure}"]),
            unit=UNITS.get(measure, "share"),
        )
        for epoch in epochs
        for measure in (OVER_TIME if given.features is None else (*OVER_TIME, "frechet"))
    ]
    notes = (NO_NUMBERS, SHORT, described(given), _reals(cell))
    figure = sheet_figure(sheets, across=len(sheets))
    return Result(name, f"{PAPER}, figure 12", tuple(rows), notes, figure=figure)


def fig13(name: str, inputs: Inputs) -> Result:
    """DCGAN over its training: transposed, nearest, and regularised."""
    return _over_time(name, inputs, "figure 13", "dcgan")


def fig14(name: str, inputs: Inputs) -> Result:
    """LSGAN over its training: transposed, nearest, and regularised."""
    return _over_time(name, inputs, "figure 14", "lsgan")


def fig22(name: str, inputs: Inputs) -> Result:
    """Four topologies of a regularised DCGAN."""
    given = study(inputs, "gan")
    labels = ("v1", "v2", "v3", "v4")
    if given is None:
        return empty(name, "figure 22", labels)
    from tellsign.generators.gan import TOPOLOGIES

    cells = {}
    for label in labels:
        layers, inner = TOPOLOGIES[label]
        network = {**HEAD, "head_layers": layers, "inner": inner}
        cells[label] = given.cell(f"dcgan-{label}", network, loss="dcgan", spectral=WEIGHTS["dcgan"])
    return _result(name, "figure 22", cells, given, profile_figure(cells))


def _over_time(name: str, inputs: Inputs, figure: str, loss: str) -> Result:
    given = study(inputs, "gan")
    labels = ("transposed", "nearest", "three layers, no loss", f"three layers, λ = {WEIGHTS[loss]:g}")
    if given is None:
        return empty(name, figure, labels)
    made = (
        plain(given, loss),
        given.cell(f"{loss}-nearest", {"last_up": "nearest", "head_layers": 1}, **_options(given, loss)),
        headed(given, loss),
        regularised(given, loss),
    )
    cells = dict(zip(labels, made, strict=True))
    measures = OVER_TIME if given.features is None else (*OVER_TIME, "frechet")
    drawn = curve_figure(
        {label: cell.history for label, cell in cells.items()}, {key: NAMES[key] for key in measures}
    )
    return _result(name, figure, cells, given, drawn)


def plain(given: Study, loss: str) -> Finished:
    """A GAN with transposed convolutions to the end.

    Args:    given: the study. loss: of the GAN.
    Returns: the cell.
    """
    return given.cell(f"{loss}-plain", **_options(given, loss))


def judged(given: Study, loss: str) -> Finished:
    """The same GAN with a second discriminator, of spectra: +A.

    Args:    given: the study. loss: of the GAN.
    Returns: the cell.
    """
    return given.cell(f"{loss}-judged", spectral_layers=1, **_options(given, loss))


def headed(given: Study, loss: str) -> Finished:
    """The network of `regularised` without the spectral loss: what of +R is the loss, and what the layers.

    Args:    given: the study. loss: of the GAN.
    Returns: the cell.
    """
    return given.cell(f"{loss}-headed", HEAD, **_options(given, loss))


def regularised(given: Study, loss: str) -> Finished:
    """A GAN with three layers of 5 × 5 at its end and the spectral loss: +R.

    Args:    given: the study. loss: of the GAN.
    Returns: the cell.
    """
    return given.cell(f"{loss}-regularised", HEAD, spectral=WEIGHTS[loss], **_options(given, loss))


def _options(given: Study, loss: str) -> dict[str, Any]:
    """Those of a loss: as published, WGAN-GP has twice as many epochs."""
    training = given.config.training
    epochs = training.epochs * (WGAN_EPOCHS if loss == "wgan-gp" else 1)
    return {"loss": loss, "training": replace(training, epochs=epochs)}


def _both(losses: tuple[str, ...]) -> list[str]:
    return [f"{loss}, {kind}" for loss in losses for kind in ("plain", "regularised")]


def _pairs(given: Study, losses: tuple[str, ...]) -> dict[str, Finished]:
    made = (make(given, loss) for loss in losses for make in (plain, regularised))
    return dict(zip(_both(losses), made, strict=True))


def _short(row: Mapping[str, Any]) -> str:
    return f"{row['valid_spectral_distance']:.1f} dB, {row['valid_near_duplicates']:.0%} alike"


def _reals(cell: Finished) -> str:
    record = cell.record
    n = record["n"]
    return (
        f"Of {n['real']} real images the mean distance of two is {record['real_pair_distance']:.3f} and "
        f"{record['real_near_duplicates']:.1%} are near duplicates; a near duplicate is nearer to another "
        "image than half of the distance that is usual for reals. "
        + (
            f"Of {n['fake']} generated ones more would be near by their number alone."
            if n["fake"] > n["real"]
            else ""
        )
    ).rstrip()


def _last_epochs(label: str, cell: Finished) -> Row:
    """A GAN does not settle: what it is after its last epoch is one draw of those before."""
    found = [row["valid_spectral_distance"] for row in cell.history[-max(1, len(cell.history) // LAST) :]]
    column = f"{NAMES['spectral_distance']}, median of the last {len(found)} epochs"
    note = f"from {min(found):.3g} to {max(found):.3g}"
    return Row(label, column, None, float(np.median(found)), note=note, unit="dB")


def _result(name: str, figure: str, cells: dict[str, Finished], given: Study, drawn: Any) -> Result:
    rows = [
        row
        for label, cell in cells.items()
        for row in (*rows_of(label, [cell], MEASURES), _last_epochs(label, cell))
    ]
    first = next(iter(cells.values()))
    longer = [TWICE] if len(first.history) < max(len(cell.history) for cell in cells.values()) else []
    notes = (NO_NUMBERS, SHORT, described(given), *longer, _reals(first))
    return Result(name, f"{PAPER}, {figure}", tuple(rows), notes, figure=drawn)
