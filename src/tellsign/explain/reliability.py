"""The reliability plot: what a probability of fake said, and how often it was so.

Shapes: K bins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tellsign.explain.figures import LIGHT, Plot

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

    from tellsign.calibration import Reliability


def reliability_plot(reliability: Reliability, *, prior: float | None = None) -> Plot:
    """Shares of fakes over the probabilities that were stated, with the line where both are equal.

    Args:    reliability: the bins.
             prior: share of fakes that the probabilities assume, where it is known.
    Returns: a plot.
    """
    assumed = "" if prior is None else f" The probabilities assume {prior:.0%} fakes."
    return Plot(
        name="reliability",
        title="Is the probability a frequency?",
        caption="Each dot stands for equally many images: across, the probability of fake that they were "
        "given; up, the share of them that is fake, with its 95 % interval. On the dashed line both are the "
        f"same. A dot below it: fewer fakes than was said. {reliability.share:.0%} of these {reliability.n} "
        f"images are fake.{assumed}",
        finding=_finding(reliability),
        draw=lambda figure: _draw(figure, reliability),
        height=330,
    )


def _draw(figure: FigureBase, reliability: Reliability) -> None:
    axes = figure.add_subplot()
    bins = reliability.bins
    said = np.array([b.probability for b in bins])
    fakes = np.array([b.fakes.value for b in bins])
    low, high = (np.array([getattr(b.fakes, side) for b in bins]) for side in ("low", "high"))
    axes.plot([0, 1], [0, 1], color=LIGHT["muted"], linewidth=1, linestyle=(0, (3, 2)))
    # How far a bin reaches says how the probabilities are spread, since all hold as many images.
    axes.hlines(fakes, [b.low for b in bins], [b.high for b in bins], color=LIGHT["rule"], linewidth=4)
    axes.vlines(said, low, high, color=LIGHT["ink"], linewidth=1.2)
    agrees = np.array([b.agrees for b in bins])
    for which, face, name in ((agrees, "ink", "as was said"), (~agrees, "fake", "not as was said")):
        if which.any():
            axes.plot(
                said[which],
                fakes[which],
                "o" if face == "ink" else "^",
                color=LIGHT[face],
                markersize=6,
                label=name,
            )
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set_xticks(ticks, [f"{tick:.0%}" for tick in ticks])
    axes.set_yticks(ticks, [f"{tick:.0%}" for tick in ticks])
    axes.set_xlabel("probability of fake that was stated")
    axes.set_title("share that is fake")
    figure.legend(loc="outside upper left", ncols=2)


def _finding(reliability: Reliability) -> str:
    bins, last = reliability.bins, reliability.bins[-1]
    n_off = sum(not b.agrees for b in bins)
    off = (
        f"In {n_off} of {len(bins)} bins the interval misses what was said"
        if n_off
        else f"In all {len(bins)} bins the interval holds what was said"
    )
    return (
        f"{off}; said and so differ by {reliability.ece:.1%} on average. Where the probability is highest, "
        f"{last.probability:.0%} on average, {last.fakes.value:.0%} of {last.n} images are fake (95 % "
        f"interval {last.fakes.low:.0%} to {last.fakes.high:.0%})."
    )
