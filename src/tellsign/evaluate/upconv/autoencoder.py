"""Figures 5 to 8, 20 and 21 of Durall et al. (CVPR 2020): what one up-convolution does to a spectrum.

Auto-encoders that halve an image and restore it. The paper prints curves and no numbers, so that nothing
stands beside what is measured here; rows are the distances that a figure shows. A corrected network is set
beside the same network without the loss too, which the paper does not do: a longer network restores more.

Shapes: K rings, S side in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.upconv.cells import N_SEEDS, images_of, study
from tellsign.evaluate.upconv.drawing import (
    NO_NUMBERS,
    blank,
    curve_figure,
    described,
    empty,
    profile_figure,
    rows_of,
)
from tellsign.evaluate.upconv.features import PAPER

if TYPE_CHECKING:
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.evaluate.upconv.cells import Finished, Study

UPS = ("transposed", "nearest", "bilinear")
WEIGHT = 0.5  # λ of figure 21
WEIGHTS = (0.05, 0.5, 5.0)  # of figure 7; the paper does not print its own
KERNELS = (3, 5, 7, 9, 11)  # of figure 8
HEAD = {"head_layers": 3, "head_kernel": 5}  # of the corrected networks
DRAWN = f"Numbers are means over {N_SEEDS} seeds; the first of them is drawn."
MEASURES = ("spectral_distance", "upper_band", "spectral_kl", "mse")


def fig5(name: str, inputs: Inputs) -> Result:
    """One up-convolution, without the loss: transposed, nearest, bilinear."""
    given = study(inputs, "autoencoder")
    if given is None:
        return empty(name, "figure 5", UPS)
    cells = {up: [plain(given, up, seed=seed) for seed in given.seeds] for up in UPS}
    return _profiles(name, "figure 5", cells, given)


def fig6(name: str, inputs: Inputs) -> Result:
    """An image, what the network makes of it, and the high frequencies of the difference."""
    given = study(inputs, "autoencoder")
    if given is None:
        return empty(name, "figure 6", ("bilinear", "transposed"))
    cells = {up: plain(given, up) for up in ("bilinear", "transposed")}
    original = given.reals[:1]
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7.5, 5), layout="constrained")
    rows = []
    for line, (up, cell) in zip(drawn.subplots(2, 3), cells.items(), strict=True):
        restored = images_of(cell.generator, 1, original)
        difference = high_frequencies(restored[0] - original[0])
        rows.append(
            Row(
                up,
                "share of the error in the upper half band",
                None,
                share_of_error(restored[0] - original[0]),
            )
        )
        for axes, picture, title in zip(
            line,
            (original[0], restored[0], 0.5 + difference / (4 * max(difference.std(), 1e-9))),
            ("original", f"restored, {up}", "difference, high frequencies"),
            strict=True,
        ):
            axes.imshow(np.clip(picture, 0, 1).transpose(1, 2, 0), interpolation="nearest")
            axes.set_title(title, fontsize=9)
            axes.set_axis_off()
    notes = (
        NO_NUMBERS,
        "Of one image of the split valid. Differences are stretched to be seen.",
        described(given),
    )
    return Result(name, f"{PAPER}, figure 6", tuple(rows), notes, figure=drawn)


def fig7(name: str, inputs: Inputs) -> Result:
    """The loss by its weight, with one filter of 3 × 3."""
    given = study(inputs, "autoencoder")
    kinds = [(up, weight) for up in ("transposed", "bilinear") for weight in (0.0, *WEIGHTS)]
    labels = [f"{up}, λ = {weight:g}" for up, weight in kinds]
    if given is None:
        return empty(name, "figure 7", labels)
    cells = {
        label: [
            given.cell(f"{up}-{weight:g}" if weight else up, {"up": up}, spectral=weight, seed=seed)
            for seed in given.seeds
        ]
        for label, (up, weight) in zip(labels, kinds, strict=True)
    }
    return _profiles(name, "figure 7", cells, given)


def fig8(name: str, inputs: Inputs) -> Result:
    """The loss by the side of the filters behind a bilinear up-sampling, in one layer and in three."""
    given = study(inputs, "autoencoder")
    kinds = [(layers, kernel) for layers in (1, 3) for kernel in KERNELS]
    labels = [f"{layers} of {kernel} × {kernel}" for layers, kernel in kinds]
    if given is None:
        return empty(name, "figure 8", labels)
    cells = {}
    for label, (layers, kernel) in zip(labels, kinds, strict=True):
        # The up-convolution is the first of the layers.
        network = {"up": "bilinear", "kernel": kernel, "head_layers": layers - 1, "head_kernel": kernel}
        cells[label] = [given.cell(f"bilinear-{layers}x{kernel}", network, spectral=WEIGHT)]
    return _profiles(name, "figure 8", cells, given)


def fig20(name: str, inputs: Inputs) -> Result:
    """Both losses over the training, with and without the spectral term."""
    given = study(inputs, "autoencoder")
    labels = ("without the spectral loss", f"λ = {WEIGHT:g}")
    if given is None:
        return empty(name, "figure 20", labels)
    cells = {
        label: [headed(given, "transposed", weight, seed=seed) for seed in given.seeds]
        for label, weight in zip(labels, (0.0, WEIGHT), strict=True)
    }
    drawn = curve_figure(
        {label: made[0].history for label, made in cells.items()},
        {"mse": "mean squared error", "spectral_kl": "spectral loss less its least value"},
    )
    rows = [row for label, made in cells.items() for row in rows_of(label, made, MEASURES)]
    notes = (NO_NUMBERS, "On images of the split valid, after each epoch.", DRAWN, described(given))
    return Result(name, f"{PAPER}, figure 20", tuple(rows), notes, figure=drawn)


def fig21(name: str, inputs: Inputs) -> Result:
    """Three layers of 5 × 5 with the loss, beside the plain networks and the same ones without the loss."""
    given = study(inputs, "autoencoder")
    kinds = {"plain": None, "three layers": 0.0, f"three layers, λ = {WEIGHT:g}": WEIGHT}
    ups = ("transposed", "bilinear")
    if given is None:
        return empty(name, "figure 21", [f"{up}, {kind}" for up in ups for kind in kinds])
    cells = {
        f"{up}, {kind}": [
            plain(given, up, seed=seed) if weight is None else headed(given, up, weight, seed=seed)
            for seed in given.seeds
        ]
        for up in ups
        for kind, weight in kinds.items()
    }
    return _profiles(name, "figure 21", cells, given)


def theory(name: str, inputs: Inputs) -> Result:  # noqa: ARG001 - nothing is needed
    """Both identities of section 2.3 on a signal of random phases: measured and predicted spectra."""
    from tellsign.generators import upsampling

    signal = falling_noise(64, seed=0)
    pairs = {
        "zeros inserted": (upsampling.zeros_inserted, upsampling.spectrum_with_zeros),
        "linearly interpolated": (upsampling.linearly_interpolated, upsampling.spectrum_interpolated),
    }
    drawn, axes = blank("a signal of 64 values, doubled", "frequency, of the doubled signal", "|DFT|")
    rows = []
    for number, (label, (doubled, predicted)) in enumerate(pairs.items()):
        found, expected = np.fft.fft(doubled(signal)), predicted(signal)
        axes.plot(np.abs(found), color=f"C{number}", label=label)
        axes.plot(np.abs(expected), ".", color="black", markersize=3)
        rows.append(
            Row(
                label, "largest difference of both", None, float(np.abs(found - expected).max()), unit="|DFT|"
            )
        )
    axes.plot(np.abs(np.fft.fft(signal)), color="grey", linewidth=3, alpha=0.5, label="the signal itself")
    axes.legend(frameon=False)
    note = "Lines: the DFT of the doubled signal. Dots: what eqs. 3 to 7, corrected, say it is."
    return Result(name, f"{PAPER}, section 2.3", tuple(rows), (note,), figure=drawn)


def falling_noise(n: int, *, seed: int) -> Any:
    """A signal whose amplitudes fall with frequency, as those of pictures do.

    Args:    n: number of values. seed: of the phases.
    Returns: (n,) values.
    """
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=n))
    return np.fft.irfft(spectrum / np.maximum(1, np.arange(len(spectrum))), n)


def high_frequencies(image: Any) -> Any:
    """What of an image lies beyond half of the band of its halved form.

    Args:    image: (3, S, S).
    Returns: (3, S, S).
    """
    return np.fft.ifft2(np.fft.fft2(image) * _upper(image.shape[-1])).real


def share_of_error(difference: Any) -> float:
    """The share of the squared error beyond the frequencies that a halved image has.

    Args:    difference: (3, S, S) of two images.
    Returns: from 0 to 1.
    """
    power = np.square(np.abs(np.fft.fft2(difference)))
    return float((power * _upper(difference.shape[-1])).sum() / power.sum())


def _upper(side: int) -> Any:
    """(S, S) 1 where a coefficient is one that an image of half the side has not."""
    frequency = np.abs(np.fft.fftfreq(side))
    return (np.maximum(frequency[:, None], frequency) > 0.25).astype(np.float64)


def plain(given: Study, up: str, **options: Any) -> Finished:
    """An auto-encoder of one up-convolution.

    Args:    given: the study. up: the up-convolution. options: other ones, as for `Study.cell`.
    Returns: the cell.
    """
    return given.cell(up, {"up": up}, **options)


def headed(given: Study, up: str, weight: float, **options: Any) -> Finished:
    """An auto-encoder with three layers of 5 × 5 behind its up-convolution.

    Args:    given: the study. up: the up-convolution. weight: λ. options: other ones, as for `Study.cell`.
    Returns: the cell.
    """
    return given.cell(f"{up}-3x5-{weight:g}", {"up": up, **HEAD}, spectral=weight, **options)


def _profiles(name: str, figure: str, cells: dict[str, list[Finished]], given: Study) -> Result:
    rows = [row for label, made in cells.items() for row in rows_of(label, made, MEASURES)]
    several = [DRAWN] if max(map(len, cells.values())) > 1 else []
    return Result(
        name,
        f"{PAPER}, {figure}",
        tuple(rows),
        (NO_NUMBERS, *several, described(given)),
        figure=profile_figure({label: made[0] for label, made in cells.items()}),
    )
