"""A measured distance as text, as JSON and as a picture.

Shapes: K rings.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.explain.figures import LIGHT, Plot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.figure import FigureBase

    from tellsign.generators.distance import Distance
    from tellsign.generators.frechet import Frechet
    from tellsign.generators.image_sets import SetProfiles
    from tellsign.metrics.resampling import Estimate

FEW = 100  # images of a set, below which a mean profile is told to be uncertain


def notes(reals: SetProfiles, fakes: SetProfiles) -> tuple[str, ...]:
    """What a reader should know of the images before believing a distance.

    Args:    reals, fakes: the profiles.
    Returns: sentences; none where all images have one size and there are enough.
    """
    found = []
    sizes = {size for part in (reals, fakes) for size in part.sizes}
    side = reals.side
    if sizes != {(side, side)}:
        found.append(f"measured on centre crops of {side} x {side} pixels; nothing was resized")
    if set(reals.sizes) != set(fakes.sizes):
        found.append(
            f"real images have {_size_text(reals)} pixels, fakes {_size_text(fakes)}: pictures on another "
            "scale have another spectrum, and the distance holds that too"
        )
    found += [
        f"only {len(part.images)} {name} images: their mean profile is uncertain"
        for name, part in (("real", reals), ("fake", fakes))
        if len(part.images) < FEW
    ]
    return tuple(found)


def to_dict(
    result: Distance,
    reals: SetProfiles,
    fakes: SetProfiles,
    frechet: Frechet,
    *,
    path_text: Callable[[Path], str] = str,
) -> dict[str, Any]:
    """A distance as JSON.

    Args:    result: the distance. reals, fakes: what it was measured on. frechet: beside it.
             path_text: how a path is written.
    Returns: distance, noise_floor, cloaking, frechet, largest, profile, n_real, n_fake, size, failed, notes.
    """
    own = result.cloaking
    frequency, difference = result.largest
    return {
        "distance": result.value.to_dict() | {"unit": "dB"},
        "noise_floor": result.noise_floor,
        "cloaking": {
            "value": own.held_out,
            "accuracy": own.held_out_accuracy,
            "folds": own.folds,
            "fitted": {"value": own.fitted, "accuracy": own.fitted_accuracy},
            "note": own.note or None,
        },
        "frechet": {
            "value": frechet.value,
            "network": frechet.network or None,
            "digest": frechet.digest or None,
            "note": frechet.note or None,
        },
        "largest": {"frequency": frequency, "difference": difference},
        "profile": {
            name: [None if math.isnan(value) else value for value in getattr(result, name).tolist()]
            for name in ("frequency", "real_mean", "real_std", "fake_mean", "fake_std", "low", "high")
        },
        "n_real": len(reals.images),
        "n_fake": len(fakes.images),
        "size": reals.side,
        "failed": [
            {"path": path_text(path), "error": reason}
            for part in (reals, fakes)
            for path, reason in part.failed
        ],
        "notes": list(notes(reals, fakes)),
    }


def text(result: Distance, reals: SetProfiles, fakes: SetProfiles, frechet: Frechet) -> str:
    """A distance for the terminal.

    Args:    result: the distance. reals, fakes: what it was measured on. frechet: beside it.
    Returns: lines.
    """
    own = result.cloaking
    frequency, difference = result.largest
    floor = (
        "unknown, the reals are one group" if result.noise_floor is None else f"{result.noise_floor:.2f} dB"
    )
    held = (
        f"{own.held_out:.2f} (accuracy {own.held_out_accuracy:.3f} on held-out images, {own.folds} folds)"
        if own.held_out is not None
        else f"not computed: {own.note}"
    )
    value = f"not computed: {frechet.note}"
    if frechet.value is not None:
        value = f"{frechet.value:.3f} by {frechet.network}, weights {frechet.digest[:12]}"
    lines = [
        f"{len(reals.images)} real and {len(fakes.images)} fake images, crops of {reals.side} pixels",
        "",
        f"spectral distance   {_estimate_text(result.value)}",
        f"noise floor         {floor} (between two halves of the reals)",
        f"largest difference  {difference:+.2f} dB at {frequency:.3f} cycles a pixel",
        f"cloaking score      {held}",
        f"  as in the paper   {own.fitted:.2f} (accuracy {own.fitted_accuracy:.3f} on what it was fitted to)",
        f"Fréchet distance    {value}",
    ]
    return "\n".join(lines + [f"({note})" for note in notes(reals, fakes)])


def plot(result: Distance) -> Plot:
    """Both profiles with their bands, and below them the difference with its interval.

    Args:    result: the distance.
    Returns: what to draw.
    """
    frequency, difference = result.largest
    return Plot(
        name="distance",
        title="Spectrum of real and generated images",
        caption="Above: mean log power of each ring of the spectrum, with one standard deviation of images "
        "on both sides. Below: by how much the generated images' mean exceeds the real ones', with a 95 % "
        "interval.",
        finding=f"The spectra are {_estimate_text(result.value)} apart; most at {frequency:.3f} cycles a "
        f"pixel, by {difference:+.2f} dB.",
        draw=lambda figure: _draw(figure, result),
        height=360,
    )


def _draw(figure: FigureBase, result: Distance) -> None:
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    x = result.frequency
    for name, mean, std, colour in (
        ("real", result.real_mean, result.real_std, "real"),
        ("generated", result.fake_mean, result.fake_std, "fake"),
    ):
        top.fill_between(x, mean - std, mean + std, color=LIGHT[colour], alpha=0.18, linewidth=0)
        top.plot(
            x, mean, color=LIGHT[colour], label=name, linestyle="-" if colour == "real" else (0, (4, 1.5))
        )
    top.set_title("dB, mean and standard deviation of images")
    top.tick_params(axis="x", length=0)
    figure.legend(loc="outside upper left", ncols=2)
    bottom.axhline(0, color=LIGHT["real"], linewidth=1.2)
    if np.isfinite(result.low).all():
        bottom.fill_between(x, result.low, result.high, color=LIGHT["fake"], alpha=0.25, linewidth=0)
    bottom.plot(x, result.difference, color=LIGHT["fake"], linestyle=(0, (4, 1.5)))
    bottom.set_title(f"dB, generated less real; r.m.s. {_estimate_text(result.value)}")
    for axes in (top, bottom):
        axes.axvline(0.5, color=LIGHT["muted"], linewidth=0.8, linestyle=(0, (3, 2)))
        axes.margins(x=0.01)
    bottom.set_xlabel("cycles a pixel; beyond 0.5 in the corners alone")


def _estimate_text(value: Estimate) -> str:
    bounds = "" if math.isnan(value.low) else f" [{value.low:.2f}, {value.high:.2f}]"
    return f"{value.value:.2f}{bounds} dB"


def _size_text(part: SetProfiles) -> str:
    shown: Sequence[tuple[int, int]] = sorted(part.sizes, key=lambda size: -part.sizes[size])[:3]
    more = f" and {len(part.sizes) - len(shown)} other sizes" if len(part.sizes) > len(shown) else ""
    return ", ".join(f"{width} x {height}" for height, width in shown) + more
