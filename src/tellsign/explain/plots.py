"""What the plots of an evidence page draw.

Evidence is drawn by its kind; the names that the spectrum detector sends get more care.

Shapes: n curves, K points of a curve, H W values of a heat map or pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

from tellsign.explain import words
from tellsign.explain.figures import LIGHT, Plot, reduced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from tellsign.types import Evidence, FloatArray

MAX_CELLS = 384  # side of a drawn heat map
MAX_BARS = 32
COARSE_TO_FINE = ("profile", "influence")  # curves over frequencies
MARKERS = {"real": "o", "fake": "^", "uncertain": "D"}


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

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        marks = [value for value in (low, high) if np.isfinite(value)]
        left, right = _score_range(np.concatenate([real, fake]), marks)
        edges = np.linspace(left, right, 41)
        for scores, sign, colour in ((real, 1, "real"), (fake, -1, "fake")):
            counts = np.histogram(np.clip(scores, left, right), edges)[0]
            axes.bar(
                edges[:-1],
                sign * counts / max(counts.max(), 1),
                width=np.diff(edges) * 0.88,
                align="edge",
                color=LIGHT[colour],
            )
        for mark in dict.fromkeys(marks):
            axes.axvline(mark, ymax=1.0, color=LIGHT["muted"], linewidth=1, linestyle=(0, (3, 2)))
        axes.axhline(0, color=LIGHT["muted"], linewidth=0.8)
        axes.set_xlim(left, right)
        axes.set_ylim(-1.1, 1.1)
        axes.set_yticks([0.55, -0.55], [f"real\n{real.size}", f"generated\n{fake.size}"])
        for label, colour in zip(axes.get_yticklabels(), ("real", "fake"), strict=True):
            label.set_color(LIGHT[colour])
        axes.grid(visible=False)
        axes.set_xlabel("score (higher: more like generated images)")
        _zone_names(axes, low, high)
        _score_mark(axes, score, f"this {noun}: {words.number(score)}")

    return Plot(
        name="score",
        title="Where the score lies",
        caption=f"The {noun}’s score among those of images with a known answer that the detector was not trained "
        "on. Dashed: the thresholds. Where the two groups overlap, no answer is safe.",
        finding=words.score_finding(real, fake, low=low, high=high, score=score),
        draw=draw,
        height=250,
    )


def timeline_plot(
    timeline: Sequence[dict[str, Any]], *, low: float, high: float, score: float | None
) -> Plot:
    """The scores of a video's frames over time.

    Args:    timeline: {"time", "score", "label"} of each frame; a score may be None.
             low, high: the thresholds.
             score: the video's.
    Returns: a plot.
    """
    scored = [entry for entry in timeline if entry["score"] is not None and np.isfinite(entry["score"])]
    times = [float(entry["time"]) for entry in scored]
    scores = [float(entry["score"]) for entry in scored]
    labels = [entry["label"] for entry in scored]
    missing = [float(entry["time"]) for entry in timeline if entry not in scored]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot(times, scores, color=LIGHT["rule"], linewidth=1.2)
        colours = {"real": "real", "fake": "fake", "uncertain": "unsure"}
        names = {"fake": "signs found", "uncertain": "can’t tell", "real": "no sign found"}
        for label, name in names.items():
            at = [i for i, found in enumerate(labels) if found == label]
            if at:
                axes.plot(
                    [times[i] for i in at],
                    [scores[i] for i in at],
                    MARKERS[label],
                    color=LIGHT[colours[label]],
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
        for mark in dict.fromkeys(value for value in (low, high) if np.isfinite(value)):
            axes.axhline(mark, color=LIGHT["muted"], linewidth=1, linestyle=(0, (3, 2)))
        axes.margins(x=0.03, y=0.12)
        axes.xaxis.set_major_formatter(lambda value, _: words.clock(value).removesuffix(".0"))
        axes.set_xlabel("time (minutes : seconds)")
        axes.set_title("score")
        _legend(figure, axes)

    return Plot(
        name="timeline",
        title="Frame by frame",
        caption="The score of each frame that was looked at. Dashed: the thresholds.",
        finding=words.timeline_finding(times, scores, labels),
        draw=draw,
        height=270,
    )


def evidence_plot(evidence: Evidence, picture: NDArray[np.uint8] | None) -> Plot:
    """A heat map or a curve, drawn by its kind; known names get more care.

    Args:    evidence: of kind heatmap or curve.
             picture: (H, W, 3) that a heat map of a picture is laid over, or None.
    Returns: a plot.
    """
    name = words.visible(evidence.name)
    title = name[:1].upper() + name[1:]
    caption = words.visible(evidence.caption)
    if evidence.kind == "heatmap":
        frequencies = "spectrum" in evidence.name.lower()
        return Plot(
            name=name,
            title=title,
            caption=caption,
            finding=words.heatmap_finding(evidence, frequencies=frequencies),
            draw=lambda figure: _heatmap(figure, evidence, None if frequencies else picture, frequencies),
            height=320,
            photo=not frequencies and picture is not None,
        )
    curves = np.atleast_2d(np.asarray(evidence.values, dtype=np.float64))
    bars = len(curves) == 1 and curves.shape[1] <= MAX_BARS
    banded = {"this image", "real, lower", "real, upper"} <= set(evidence.labels)
    draw = _bars if bars else _banded if banded else _lines
    return Plot(
        name=name,
        title=title,
        caption=caption,
        finding=words.curve_finding(evidence),
        draw=lambda figure: draw(figure, evidence, curves),
        height=300 if banded else 230,
    )


def _score_range(scores: FloatArray, marks: list[float]) -> tuple[float, float]:
    """Limits that hold the bulk of the scores and the thresholds; a stray score doesn't squeeze the rest."""
    ends = [*marks, *(np.quantile(scores, (0.005, 0.995)) if scores.size else ())]
    left, right = (min(ends), max(ends)) if ends else (0.0, 1.0)
    pad = 0.06 * (right - left) or max(1.0, abs(left)) * 0.5
    return float(left - pad), float(right + pad)


def _zone_names(axes: Axes, low: float, high: float) -> None:
    left, right = axes.get_xlim()
    inner = [min(max(mark, left), right) for mark in (min(low, high), high)]
    for name, start, end in (
        ("no sign", left, inner[0]),
        ("can’t tell", *inner),
        ("signs", inner[1], right),
    ):
        # A letter is about 7 units wide, the axes about 310.
        if (end - start) / (right - left) * 310 > 7 * len(name) + 6:
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
    for label, side in zip(axes.get_xticklabels(), ("left", "right"), strict=True):
        label.set_horizontalalignment(side)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside upper left", ncols=2)


def _bars(figure: Figure, evidence: Evidence, curves: FloatArray) -> None:
    axes = figure.add_subplot()
    values = np.nan_to_num(curves[0], posinf=0, neginf=0)
    signed = bool((values < 0).any()) or evidence.name == "influence"
    colours = [LIGHT["fake" if value > 0 else "real"] if signed else LIGHT["ink"] for value in values]
    axes.bar(np.arange(values.size), values, width=0.8, color=colours)
    axes.axhline(0, color=LIGHT["muted"], linewidth=0.8)
    axes.spines["bottom"].set_visible(False)
    axes.set_title(words.visible(evidence.unit))
    if evidence.name in COARSE_TO_FINE:
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
            axes.text(0, y, text, transform=axes.transAxes, va=side, color=LIGHT[colour])


def _banded(figure: Figure, evidence: Evidence, curves: FloatArray) -> None:
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
    bottom.set_title("distance from the real mean, in standard deviations")
    top.tick_params(axis="x", length=0)
    _coarse_to_fine(bottom, 0, own.size - 1)


def _lines(figure: Figure, evidence: Evidence, curves: FloatArray) -> None:
    axes = figure.add_subplot()
    colours, styles = ("ink", "real", "fake", "unsure"), ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
    for index, row in enumerate(curves):
        label = (
            words.visible(evidence.labels[index]) if index < len(evidence.labels) else f"curve {index + 1}"
        )
        axes.plot(
            row, color=LIGHT[colours[index % 4]], linestyle=styles[(index + index // 4) % 4], label=label
        )
    axes.set_title(words.visible(evidence.unit))
    if evidence.name in COARSE_TO_FINE:
        _coarse_to_fine(axes, 0, max(curves.shape[1] - 1, 1))
    else:
        axes.set_xlabel("point")
    if len(curves) > 1:
        _legend(figure, axes)


def _heatmap(
    figure: Figure, evidence: Evidence, picture: NDArray[np.uint8] | None, frequencies: bool
) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    axes = figure.add_subplot()
    values = np.asarray(evidence.values, dtype=np.float64)
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, (0.002, 0.9995)) if finite.size else (0.0, 1.0)
    signed = not frequencies and low < 0 < high
    if signed:
        high = max(-low, high)
        low = -high
    norm = Normalize(float(low), float(high) if high > low else float(low) + 1)
    if picture is not None:
        stops = [LIGHT["real"], "#bfbfbf", LIGHT["fake"]] if signed else ["#bfbfbf", LIGHT["fake"]]
        colours = LinearSegmentedColormap.from_list("overlay", stops)
        axes.imshow(_overlay(norm(values), picture, colours, signed=signed), interpolation="none")
    else:
        colours = "cividis"
        extent = (-0.5, 0.5, 0.5, -0.5) if frequencies else None
        axes.imshow(
            _pooled(values),
            norm=norm,
            cmap=colours,
            extent=extent,
            interpolation="none",
            aspect="auto" if frequencies else None,
        )
        if frequencies:
            axes.set_box_aspect(1)
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    ticks = (-0.5, -0.25, 0, 0.25, 0.5) if frequencies else ()
    axes.set_xticks(ticks, [words.number(tick) for tick in ticks])
    axes.set_yticks(ticks, [words.number(tick) for tick in ticks])
    axes.tick_params(length=0)
    if frequencies:
        axes.set_xlabel("horizontal cycles per pixel")
        axes.set_ylabel("vertical cycles per pixel")
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, aspect=28, pad=0.03)
    bar.outline.set_visible(False)
    bar.ax.set_title(words.visible(evidence.unit), loc="right")


def _pooled(values: FloatArray) -> FloatArray:
    """A heat map of at most MAX_CELLS a side. The maximum of each block: a mean would hide single dots."""
    step = -(-max(values.shape) // MAX_CELLS)
    height, width = values.shape
    padded = np.pad(values, ((0, -height % step), (0, -width % step)), constant_values=-np.inf)
    blocks = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)
    pooled = np.nan_to_num(blocks, nan=-np.inf).max(axis=(1, 3))
    return np.where(np.isfinite(pooled), pooled, np.nan)


def _overlay(shares: FloatArray, picture: NDArray[np.uint8], colours: Any, *, signed: bool) -> FloatArray:
    """(H, W) shares of the colour range and a picture of any size → RGB: the grey picture, tinted."""
    base = reduced(PIL.Image.fromarray(np.ascontiguousarray(picture)).convert("L"), MAX_CELLS)
    filled = np.clip(np.nan_to_num(np.ma.filled(shares, np.nan), nan=0.5 if signed else 0.0), 0, 1)
    map_ = PIL.Image.fromarray(filled.astype(np.float32)).resize(base.size, PIL.Image.Resampling.BILINEAR)
    share = np.asarray(map_, dtype=np.float64)
    strength = 0.75 * (np.abs(2 * share - 1) if signed else share)[..., None]
    grey = np.asarray(base, dtype=np.float64)[..., None] / 255
    return np.asarray(grey * (1 - strength) + colours(share)[..., :3] * strength)
