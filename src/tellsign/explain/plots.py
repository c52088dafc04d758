"""What the plots of an evidence page draw.

Evidence is drawn by its kind; the names that the spectrum detector sends get more care.

Shapes: n curves, K points of a curve, H W pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tellsign.explain import words
from tellsign.explain.figures import LIGHT, Plot
from tellsign.explain.heatmaps import draw_heatmap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase
    from numpy.typing import NDArray

    from tellsign.types import Evidence, FloatArray

MAX_BARS = 32
COARSE_TO_FINE = ("profile", "influence")  # what names of curves over frequencies begin with
TITLES = {  # of evidence whose own name says little to people
    "log spectrum": "Spectrum",
    "profile": "Energy from coarse to fine detail",
    "influence": "Which detail decided the score",
}
MARKERS = {  # of a video's frames
    "fake": ("^", "fake", "signs found"),
    "uncertain": ("D", "unsure", "can’t tell"),
    "real": ("o", "real", "no sign found"),
}


def score_plot(
    real: FloatArray, fake: FloatArray, *, low: float, high: float, score: float, noun: str
) -> Plot:
    """The score among those of the calibration.

    Args:    real, fake: calibration scores, any number of them.
             low, high: the thresholds.
             score: of the input, finite.
             noun: image or video.
    Returns: a plot.
    """
    real, fake = (np.asarray(scores, dtype=np.float64).ravel() for scores in (real, fake))
    real, fake = real[np.isfinite(real)], fake[np.isfinite(fake)]

    def draw(figure: FigureBase) -> None:
        axes = figure.add_subplot()
        marks = [value for value in (low, high) if np.isfinite(value)]
        left, right = _score_range(np.concatenate([real, fake]), marks, score)
        edges = np.linspace(left, right, 41)
        for scores, sign, colour in ((real, 1, "real"), (fake, -1, "fake")):
            counts = np.histogram(np.clip(scores, left, right), edges)[0]
            heights = sign * counts / max(counts.max(), 1)
            axes.stairs(heights, edges, fill=True, color=LIGHT[colour], linewidth=0)
        if len(marks) == 2:
            axes.axvspan(*marks, color=LIGHT["unsure"], alpha=0.13, linewidth=0, zorder=0)
        for mark in dict.fromkeys(marks):
            axes.axvline(mark, color=LIGHT["muted"], linewidth=1, linestyle=(0, (3, 2)))
        axes.axhline(0, color=LIGHT["muted"], linewidth=0.8)
        axes.set_xlim(left, right)
        axes.set_ylim(-1.1, 1.1)
        axes.set_yticks([0.55, -0.55], [f"{real.size}\nreal", f"{fake.size}\ngenerated"])
        for label, colour in zip(axes.get_yticklabels(), ("real", "fake"), strict=True):
            label.set_color(LIGHT[colour])
        axes.grid(visible=False)
        axes.set_xlabel("score (higher: more like generated images)")
        _zone_names(axes, low, high)
        _score_mark(axes, score, f"this {noun}: {words.number(score)}")

    return Plot(
        name="score",
        title="Where the score lies",
        caption=f"The {noun}’s score among those of images with a known answer that the detector was not "
        "trained on. Dashed: the thresholds; in the grey strip between them it can’t tell. Where the two "
        "groups overlap, no answer is safe.",
        finding=words.score_finding(real, fake, low=low, high=high, score=score),
        draw=draw,
        height=240,
    )


def timeline_plot(
    timeline: Sequence[Mapping[str, Any]], *, low: float, high: float, score: float | None
) -> Plot:
    """The scores of a video's frames over time.

    Args:    timeline: {"time", "score", "label"} of each frame; a score may be None.
             low, high: the thresholds.
             score: the video's.
    Returns: a plot.
    """
    known = [entry["score"] is not None and bool(np.isfinite(entry["score"])) for entry in timeline]
    scored = [entry for entry, is_known in zip(timeline, known, strict=True) if is_known]
    times = [float(entry["time"]) for entry in scored]
    scores = [float(entry["score"]) for entry in scored]
    labels = [entry["label"] for entry in scored]
    missing = [float(entry["time"]) for entry, is_known in zip(timeline, known, strict=True) if not is_known]
    missing = [float(entry["time"]) for entry, is_known in zip(timeline, known, strict=True) if not is_known]
    return Plot(
        name="timeline",
        title="Frame by frame",
        caption="The score of each frame that was looked at. Dashed: the thresholds; in the grey strip "
        "between them the detector can’t tell.",
        finding=words.timeline_finding(times, scores, labels),
        draw=lambda figure: _timeline(
            figure,
            times=times,
            scores=scores,
            labels=labels,
            missing=missing,
            thresholds=(low, high),
            score=score,
        ),
        height=270,
    )


def evidence_plot(evidence: Evidence, picture: NDArray[np.uint8] | None) -> Plot:
    """A heat map or a curve, drawn by its kind; known names get more care.

    Args:    evidence: of kind heatmap or curve.
             picture: (H, W, 3) that a heat map of a picture is laid over, or None.
    Returns: a plot.
    """
    name = words.visible(evidence.name)
    title = TITLES.get(evidence.name, name[:1].upper() + name[1:])
    caption = words.visible(evidence.caption)
    if evidence.kind == "heatmap":
        frequencies = "spectrum" in evidence.name.lower()
        return Plot(
            name=name,
            title=title,
            caption=caption,
            finding=words.heatmap_finding(evidence, frequencies=frequencies),
            draw=lambda figure: draw_heatmap(
                figure, evidence, None if frequencies else picture, frequencies=frequencies
            ),
            height=300,
            many_colours=True,
        )
    curves = np.atleast_2d(np.asarray(evidence.values, dtype=np.float64))
    bars = len(curves) == 1 and curves.shape[1] <= MAX_BARS
    banded = {"this image", "real, lower", "real, upper"} <= set(evidence.labels)
    faithful = set(words.FAITHFULNESS) <= set(evidence.labels)
    draw = _bars if bars else _banded if banded else _faithful if faithful else _lines
    return Plot(
        name=name,
        title=title,
        caption=caption,
        finding=words.curve_finding(evidence),
        draw=lambda figure: draw(figure, evidence, curves),
        height=310 if banded or faithful else 220 + 8 * len(curves),
    )


def _score_range(scores: FloatArray, marks: list[float], score: float) -> tuple[float, float]:
    """Limits that hold most scores, the thresholds and, unless it is far off, the input's score."""
    ends = [*marks, *(np.quantile(scores, (0.005, 0.995)) if scores.size else ())]
    left, right = (min(ends), max(ends)) if ends else (score, score)
    if 2 * left - right <= score <= 2 * right - left:
        left, right = min(left, score), max(right, score)
    pad = 0.06 * (right - left) or max(1.0, abs(left)) * 0.5
    return float(left - pad), float(right + pad)


def _timeline(
    figure: FigureBase,
    *,
    times: list[float],
    scores: list[float],
    labels: list[str],
    missing: list[float],
    thresholds: tuple[float, float],
    score: float | None,
) -> None:
    from matplotlib.ticker import MaxNLocator

    axes = figure.add_subplot()
    axes.plot(times, scores, color=LIGHT["rule"], linewidth=1.2)
    for label, (marker, colour, name) in MARKERS.items():
        at = [i for i, found in enumerate(labels) if found == label]
        if at:
            axes.plot(
                [times[i] for i in at],
                [scores[i] for i in at],
                marker,
                color=LIGHT[colour],
                # Filled only where signs were found, as in the rest of the page.
                markerfacecolor=LIGHT["fake" if label == "fake" else "paper"],
                markeredgewidth=1.6,
                markersize=6,
                label=name,
            )
    if missing:
        axes.plot(
            missing,
            [0.03] * len(missing),
            "x",
            color=LIGHT["muted"],
            label="no score",
            transform=axes.get_xaxis_transform(),
        )
    if score is not None:
        axes.axhline(score, color=LIGHT["ink"], linewidth=1.2, label="the video’s score")
    marks = [value for value in thresholds if np.isfinite(value)]
    if len(marks) == 2:
        axes.axhspan(*marks, color=LIGHT["unsure"], alpha=0.13, linewidth=0, zorder=0)
    for mark in dict.fromkeys(marks):
        axes.axhline(mark, color=LIGHT["muted"], linewidth=1, linestyle=(0, (3, 2)))
    axes.margins(x=0.03, y=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: words.clock(value).removesuffix(".0"))
    axes.set_xlabel("time (minutes : seconds)")
    axes.set_title("score")
    _legend(figure, axes)


def _zone_names(axes: Axes, low: float, high: float) -> None:
    left, right = axes.get_xlim()
    first, last = (min(max(mark, left), right) for mark in (min(low, high), high))
    for name, start, end in (("no sign", left, first), ("can’t tell", first, last), ("signs", last, right)):
        # A letter is about 7 units wide, the axes about 280.
        if (end - start) / (right - left) * 280 > 7 * len(name) + 6:
            axes.text(
                (start + end) / 2,
                1.02,
                name,
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="bottom",
                color=LIGHT["muted"],
            )


def _score_mark(axes: Axes, score: float, text: str) -> None:
    left, right = axes.get_xlim()
    share = (min(max(score, left), right) - left) / (right - left)
    side: Literal["left", "center", "right"]
    side = "left" if share < 0.25 else "right" if share > 0.75 else "center"
    arrow = "◂ " if score < left else " ▸" if score > right else ""
    text = arrow + text if score < left else text + arrow
    axes.axvline(left + share * (right - left), color=LIGHT["ink"], linewidth=2.2, clip_on=False)
    axes.text(
        share, 1.13, text, transform=axes.transAxes, ha=side, va="bottom", color=LIGHT["ink"], weight="bold"
    )


def _coarse_to_fine(axes: Axes, left: float, right: float) -> None:
    axes.set_xticks([left, right], ["coarse detail", "fine detail"])
    axes.tick_params(axis="x", length=0)
    first, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")


def _legend(figure: FigureBase, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside upper left", ncols=_legend_columns(labels))


def _legend_columns(labels: Sequence[str]) -> int:
    return len(labels) if sum(len(label) + 5 for label in labels) < 45 else 2


def _bars(figure: FigureBase, evidence: Evidence, curves: FloatArray) -> None:
    axes = figure.add_subplot()
    values = np.nan_to_num(curves[0], posinf=0, neginf=0)
    signed = evidence.name.startswith("influence")
    colours = [LIGHT["fake" if value > 0 else "real"] if signed else LIGHT["ink"] for value in values]
    axes.bar(np.arange(values.size), values, width=0.8, color=colours)
    axes.axhline(0, color=LIGHT["muted"], linewidth=0.8)
    axes.spines["bottom"].set_visible(False)
    axes.set_title(words.visible(evidence.unit))
    if evidence.name.startswith(COARSE_TO_FINE):
        _coarse_to_fine(axes, -0.5, values.size - 0.5)
    else:
        axes.set_xlabel("point")
    if signed:
        reach = 1.3 * float(np.abs(values).max(initial=0)) or 1.0
        low = -reach if (values < 0).any() else -0.35 * reach
        axes.set_ylim(low, reach if (values > 0).any() else 0.35 * reach)
        for y, side, text, colour in (
            (0.99, "top", "▲ towards generated", "fake"),
            (0.01, "bottom", "▼ towards real", "real"),
        ):
            axes.text(
                0.01,
                y,
                text,
                transform=axes.transAxes,
                va=side,
                color=LIGHT[colour],
                # Hides the grid line behind it.
                bbox={"facecolor": LIGHT["paper"], "linewidth": 0, "pad": 1.5},
            )


def _banded(figure: FigureBase, evidence: Evidence, curves: FloatArray) -> None:
    """A profile over the band of real images, and below it the same in half widths of the band."""
    rows = dict(zip(evidence.labels, curves, strict=False))
    own, lower, upper = rows["this image"], rows["real, lower"], rows["real, upper"]
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    x = np.arange(own.size)
    lines = [
        (name, rows[name], colour, style)
        for name, colour, style in (("real, mean", "real", "-"), ("fake, mean", "fake", (0, (4, 1.5))))
        if name in rows
    ]
    band = top.fill_between(x, lower, upper, color=LIGHT["real"], alpha=0.22, linewidth=0)
    handles, labels = [band], ["range of real images"]
    for name, values, colour, style in lines:
        handles += top.plot(x, values, color=LIGHT[colour], linestyle=style)
        labels.append({"real, mean": "their mean", "fake, mean": "mean of generated ones"}[name])
    handles = [*top.plot(x, own, color=LIGHT["ink"], linewidth=2.2), *handles]
    figure.legend(handles, ["this image", *labels], loc="outside upper left", ncols=2)

    bottom.axhspan(-1, 1, color=LIGHT["real"], alpha=0.22, linewidth=0)
    for name, values, colour, style in lines:
        flat = np.zeros(own.size) if name == "real, mean" else words.deviations(values, lower, upper)
        bottom.plot(x, flat, color=LIGHT[colour], linestyle=style)
    deviation = words.deviations(own, lower, upper)
    bottom.plot(x, deviation, color=LIGHT["ink"], linewidth=2.2)
    reach = max(2.2, 1.1 * float(np.nanmax(np.abs(deviation), initial=0)))
    bottom.set_ylim(-reach, reach)
    top.set_title(words.visible(evidence.unit))
    top.margins(x=0.01)
    bottom.set_title("distance from the real mean, in standard deviations")
    top.tick_params(axis="x", length=0)
    _coarse_to_fine(bottom, 0, own.size - 1)


def _faithful(figure: FigureBase, evidence: Evidence, curves: FloatArray) -> None:
    """Deletion above insertion, each by the map and in random order."""
    rows = dict(zip(evidence.labels, curves, strict=False))
    pairs = (words.FAITHFULNESS[:2], words.FAITHFULNESS[2:])
    axes = figure.subplots(2, 1, sharex=True, sharey=True)
    x = np.linspace(0, 1, curves.shape[1])
    for one, names, title in zip(axes, pairs, ("pixels deleted", "pixels inserted"), strict=True):
        for name, label, colour, style in zip(
            names, ("by the map", "in random order"), ("ink", "unsure"), ("-", (0, (4, 1.5))), strict=True
        ):
            one.plot(x, rows[name], color=LIGHT[colour], linestyle=style, label=label)
        one.set_title(f"{words.visible(evidence.unit)}, {title}")
    axes[0].tick_params(axis="x", length=0)
    axes[1].set_xlabel("share of the pixels")
    _legend(figure, axes[0])


def _lines(figure: FigureBase, evidence: Evidence, curves: FloatArray) -> None:
    axes = figure.add_subplot()
    colours, styles = ("ink", "real", "fake", "unsure"), ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
    for index, (row, label) in enumerate(zip(curves, words.curve_names(evidence, len(curves)), strict=True)):
        axes.plot(
            row, color=LIGHT[colours[index % 4]], linestyle=styles[(index + index // 4) % 4], label=label
        )
    axes.set_title(words.visible(evidence.unit))
    if evidence.name.startswith(COARSE_TO_FINE):
        _coarse_to_fine(axes, 0, max(curves.shape[1] - 1, 1))
    else:
        axes.set_xlabel("point")
    if len(curves) > 1:
        _legend(figure, axes)
