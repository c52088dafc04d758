"""What the spectral loss does and its released form does not, in numbers and in pictures.

The form that was released with the paper takes profiles of arrays that are cut off from their history, gives
the cross-entropy real profiles as its input and generated ones as its target, pairs them one by one, and
multiplies the adversarial loss by 1 + λ times the result. Here it multiplies an auto-encoder's loss, so that
it stands beside the paper's own form with the same network, the same data and the same seeds. It lives here
and in tests/reference alone.

Shapes: N images, S side in pixels, K rings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.upconv.autoencoder import WEIGHT, headed, plain
from tellsign.evaluate.upconv.cells import N_SEEDS, images_of, study
from tellsign.evaluate.upconv.drawing import by_seed, described, empty, pictures_figure, rows_of, values_of
from tellsign.evaluate.upconv.features import PAPER
from tellsign.evaluate.upconv.gans import judged, regularised
from tellsign.evaluate.upconv.gans import plain as plain_gan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from tellsign.evaluate.reproduce import Inputs
    from tellsign.evaluate.upconv.cells import Finished, Study
    from tellsign.generators.task import Factor

UPS = ("transposed", "bilinear")
NEARER, MORE_ERROR = 3.0, 1.1  # what the loss is to come to: times nearer, at so much more error
WEIGHTS = (0.05, WEIGHT)  # of the loss; the smaller one costs less error
NO_LOSS, RELEASED = "no loss", f"released form, λ = {WEIGHT:g}"
KINDS = {NO_LOSS: 0.0, **{f"λ = {weight:g}": weight for weight in WEIGHTS}, RELEASED: 0.0}  # → λ
MEASURES = ("spectral_distance", "upper_band", "mse")
N_PICTURES = 4  # of each kind in a figure
N_SPECTRA = 256  # images whose mean spectrum is drawn


def loss(name: str, inputs: Inputs) -> Result:
    """The same auto-encoder without the loss, with it, and with the released form; three seeds."""
    given = study(inputs, "autoencoder")
    labels = [f"{up}, {kind}" for up in UPS for kind in KINDS]
    if given is None:
        return empty(name, "section 4.2", labels)
    rows: list[Row] = []
    for up in UPS:
        cells = {kind: [_cell(given, up, kind, seed) for seed in given.seeds] for kind in KINDS}
        for kind, made in cells.items():
            rows += rows_of(f"{up}, {kind}", made, MEASURES)
        for kind, made in cells.items():
            if kind != NO_LOSS:
                rows += _beside(f"{up}, {kind}", cells[NO_LOSS], made)
    notes = (
        "The paper has no such table.",
        f"Means over {N_SEEDS} seeds; each network has three layers of 5 × 5, with the loss or without.",
        f"The loss is to bring spectra {NEARER:g} times nearer at {MORE_ERROR:g} times the error at most.",
        described(given),
    )
    return Result(name, f"{PAPER}, sections 3 and 4.2", tuple(rows), notes)


def pictures(name: str, inputs: Inputs) -> Result:
    """Images, mean spectra and profiles of auto-encoders, before and after the correction."""
    given = study(inputs, "autoencoder")
    labels = ("one up-convolution", "three layers, no loss", f"three layers, λ = {WEIGHT:g}")
    if given is None:
        return empty(name, "section 4.2", labels)
    makers: tuple[Callable[[], Finished], ...] = (
        lambda: plain(given, UPS[0]),
        lambda: headed(given, UPS[0], 0.0),
        lambda: headed(given, UPS[0], WEIGHT),
    )
    return _pictures(name, given, {label: make() for label, make in zip(labels, makers, strict=True)})


def gan_pictures(name: str, inputs: Inputs) -> Result:
    """Images, mean spectra and profiles of a DCGAN: plain, regularised, with a discriminator of spectra."""
    given = study(inputs, "gan")
    makers = {"plain": plain_gan, "+R": regularised, "+A": judged}
    if given is None:
        return empty(name, "section 4.2", makers)
    cells = {label: make(given, "dcgan") for label, make in makers.items()}
    # What is made of nothing can be shown to anybody, which the real images may not allow.
    return _pictures(name, given, cells, shown=tuple(cells))


def released_factor(weight: float) -> Factor:
    """What the released form multiplies a loss by.

    Args:    weight: λ.
    Returns: (B, 3, S, S) generated and real images → 1 + λ times the cross-entropy, without a gradient.
    """
    from tellsign.generators.task import Factor

    return Factor(f"released-{weight:g}", lambda made, real: _released(made, real, weight))


def _released(made: Tensor, real: Tensor, weight: float) -> Tensor:
    import torch
    from torch.nn import functional

    from tellsign.features.spectrum import profile
    from tellsign.generators.luma import luma

    generated, wanted = (
        profile(luma(images.detach(), None), preset="official", normalise="minmax") for images in (made, real)
    )
    with torch.autocast(made.device.type, enabled=False):  # which would refuse the cross-entropy
        # Exchanged, as released: the real profile is the input.
        return 1 + weight * functional.binary_cross_entropy(wanted, generated)


def _cell(given: Study, up: str, kind: str, seed: int) -> Finished:
    options: dict[str, Any] = {"seed": seed}
    if kind == RELEASED:
        options["factor"] = released_factor(WEIGHT)
    return headed(given, up, KINDS[kind], **options)


def _beside(label: str, without: list[Finished], cells: list[Finished]) -> list[Row]:
    """How much nearer, and how much more error, than the same network and seed without the loss."""
    nearer = values_of(without, "spectral_distance") / values_of(cells, "spectral_distance")
    more = values_of(cells, "mse") / values_of(without, "mse")
    n_met = int(((nearer >= NEARER) & (more <= MORE_ERROR)).sum())
    return [
        Row(label, name, None, float(values.mean()), note=note + by_seed(values), unit="×")
        for name, values, note in (
            ("nearer than without the loss", nearer, f"met with {n_met} of {N_SEEDS} seeds; "),
            ("error, of that without the loss", more, ""),
        )
    ]


def _pictures(
    name: str, given: Study, cells: Mapping[str, Finished], *, shown: tuple[str, ...] | None = None
) -> Result:
    reals = given.reals[:N_SPECTRA]
    sets = {"real": reals}
    sets |= {label: images_of(cell.generator, len(reals), reals) for label, cell in cells.items()}
    rows = [row for label, cell in cells.items() for row in rows_of(label, [cell], MEASURES)]
    notes = (
        "The paper has no such picture.",
        f"Above: {N_PICTURES} images, and the mean logarithmic spectrum of {len(reals)}, all on one scale.",
        *(() if shown is None else ("Images of generators alone are shown, and no real ones.",)),
        "Below: mean profiles.",
        described(given),
    )
    figure = pictures_figure(sets, cells, n=N_PICTURES, shown=shown)
    return Result(name, f"{PAPER}, section 4.2", tuple(rows), notes, figure=figure)
