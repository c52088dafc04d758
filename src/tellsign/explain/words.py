"""What an evidence page says in words: verdicts, probabilities, and what a plot shows.

Whatever comes from a file or a detector passes `visible` before people see it.

Shapes: n curves, K points of a curve, H W values of a heat map.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tellsign.types import Evidence, FloatArray

NBSP = "\u00a0"
_JOINERS = "\u200c\u200d"  # Persian, Hindi and emoji need them
FAITHFULNESS = (  # labels of the four curves of a map, in this order
    "deletion by the map",
    "deletion in random order",
    "insertion by the map",
    "insertion in random order",
)
LOW_FREQUENCIES = 0.05  # cycles per pixel below which every picture's spectrum is bright


@dataclass(frozen=True, slots=True)
class Words:
    """How a label is put to people. `{noun}` stands for image or video."""

    heading: str
    lead: str
    says: str
    says_not: str


WORDS = {
    "real": Words(
        "No sign found",
        "The detector found no sign that this {noun} was generated. This is no proof that it is authentic.",
        "Nothing that the detector was trained to notice stands out in this {noun}.",
        "That the {noun} is authentic. A generator that the detector has never met, a copy that was reduced "
        "or saved again, a manipulation it does not look for, or a true recording shown out of context: "
        "all of these can look the same to it.",
    ),
    "fake": Words(
        "Signs of generation found",
        "In what the detector measures, this {noun} is more like generated images than like real ones. "
        "This is a reason to look closer, not a proof.",
        "The score of this {noun} lies where few real images and more generated ones lay when the detector "
        "was calibrated.",
        "Who or what made the {noun}, that all of it was generated, or that what it shows is untrue. Strong "
        "compression, enlarging, sharpening, screenshots and unusual cameras can leave similar traces.",
    ),
    "uncertain": Words(
        "Can’t tell",
        "The detector gives no answer about this {noun}.",
        "This {noun} lies outside what the detector can judge, or too close to the border between its "
        "answers.",
        "That the {noun} is suspicious, or half generated. Nothing follows from this result: go on with the "
        "source, with earlier copies and with other evidence.",
    ),
    "failed": Words(
        "Not examined",
        "This file could not be examined, so nothing is said about it.",
        "The file could not be read or scored, for the reason above.",
        "Anything about what the file shows. Files break for harmless reasons, too.",
    ),
}


def visible(text: str, *, lines: bool = False) -> str:
    r"""Text whose every character can be seen: control, direction and surrogate characters as escapes.

    Args:    text: anything, also what is no valid Unicode.
             lines: keep line feeds and tabs.
    Returns: text that encodes as UTF-8 and that stands on the page as it was written.

    Example:
        >>> visible("photo\u202egnp.exe")
        'photo\\u202egnp.exe'
    """
    kept = _JOINERS + ("\n\t" if lines else "")
    return "".join(
        c if c.isprintable() or c in kept or unicodedata.category(c) == "Zs" else _escaped(c)
        for c in text.replace("\r\n", "\n")
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def number(value: float) -> str:
    """Three significant digits with a true minus sign.

    Args:    value: any float.
    Returns: for example 0.125, −3.4 or 12000.
    """
    if not np.isfinite(value):
        return "not a number" if np.isnan(value) else "−∞" if value < 0 else "∞"
    plain = f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
    return plain.replace("-", "−") if float(plain) else "0"


def percent(share: float) -> str:
    """A share as a percentage that claims no more than it knows.

    Args:    share: 0 to 1.
    Returns: whole percents from 10 up, one decimal below, and "over 99 %" instead of certainty.

    Example:
        >>> percent(0.62).replace(NBSP, " "), percent(0.9999).replace(NBSP, " ")
        ('62 %', 'over 99 %')
    """
    if share < 0.001:
        return f"under{NBSP}0.1{NBSP}%"
    if share > 0.99:
        return f"over{NBSP}99{NBSP}%"
    return fraction(share)


def fraction(share: float) -> str:
    """A share that is known exactly, such as an assumed one or a count's.

    Args:    share: 0 to 1.
    Returns: a percentage with one decimal below 10 % and above 99 %.
    """
    decimals = 1 if 0 < share < 0.0995 or 0.99 < share < 1 else 0
    return f"{100 * share:.{decimals}f}".removesuffix(".0") + f"{NBSP}%"


def clock(seconds: float) -> str:
    """A time stamp as minutes and seconds.

    Args:    seconds: from the start of the video.
    Returns: for example 1:02.5.
    """
    tenths = round(10 * max(seconds, 0.0))
    return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"


def plural(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def share_of(hits: NDArray[np.bool_]) -> str:
    """How many of some cases it is, without rounding to never or always.

    Args:    hits: (n,), one a case.
    Returns: none, all, or the number with its percentage.
    """
    count = int(hits.sum())
    if count in (0, hits.size):
        return "all" if count else "none"
    return f"{count} ({fraction(count / hits.size)})"


def score_finding(real: FloatArray, fake: FloatArray, *, low: float, high: float, score: float) -> str:
    """Where a score lies among those of the calibration.

    Args:    real, fake: finite calibration scores, any number of them.
             low, high: the thresholds.
             score: of the input.
    Returns: sentences with the shares of scores that are at least as extreme.
    """
    parts = [f"The score is {number(score)}."]
    if real.size:
        parts.append(
            f"Of {plural(real.size, 'real image')}, {share_of(real >= score)} scored as high or higher."
        )
    if fake.size:
        parts.append(
            f"Of {plural(fake.size, 'generated image')}, {share_of(fake <= score)} scored as low or lower."
        )
    if low < high:
        parts.append(
            f"No sign is reported below {number(low)}, signs are from {number(high)} on; in between the "
            "detector can’t tell."
        )
    else:
        parts.append(f"Signs are reported from {number(high)} on.")
    return " ".join(parts)


def curve_finding(evidence: Evidence) -> str:
    """What a curve shows, with its numbers.

    Args:    evidence: a curve, values (n, K).
    Returns: sentences.
    """
    curves = np.atleast_2d(np.asarray(evidence.values, dtype=np.float64))
    if not np.isfinite(curves).any():
        return "There are no finite values."
    rows = dict(zip(evidence.labels, curves, strict=False))
    if {"this image", "real, lower", "real, upper"} <= rows.keys():
        return _band_finding(rows)
    if evidence.name.startswith("influence") and len(curves) == 1:
        return _influence_finding(curves[0])
    if set(FAITHFULNESS) <= rows.keys():
        return _faithfulness_finding(rows)
    names = curve_names(evidence, len(curves))
    return " ".join(
        f"{name[:1].upper()}{name[1:]}: from {number(float(np.nanmin(row)))} to "
        f"{number(float(np.nanmax(row)))}, highest at point {int(np.nanargmax(row)) + 1} of {row.size}."
        for name, row in zip(names, curves, strict=False)
        if np.isfinite(row).any()
    )


def _faithfulness_finding(rows: dict[str, FloatArray]) -> str:
    """The areas under the curves of a map and of random order, and whether they speak for the map."""
    deleted, random_deleted, inserted, random_inserted = (
        float(np.trapezoid(rows[name], dx=1 / (len(rows[name]) - 1))) for name in FAITHFULNESS
    )
    drop, rise = random_deleted - deleted, inserted - random_inserted
    judged = {
        2: "Both speak for the map.",
        1: "One speaks for the map, one against it.",
        0: "Neither speaks for the map: it does not show what the score depends on.",
    }[(drop > 0) + (rise > 0)]
    return (
        f"On average the score is {number(deleted)} while pixels are deleted by the map and "
        f"{number(random_deleted)} in random order (lower is better); {number(inserted)} while they are "
        f"inserted by it and {number(random_inserted)} in random order (higher is better). {judged}"
    )


def curve_names(evidence: Evidence, count: int) -> list[str]:
    """A name for each of `count` curves: its label, or its number where there is none."""
    labels = [visible(label) for label in evidence.labels[:count]]
    return labels + [f"curve {index + 1}" for index in range(len(labels), count)]


def _band_finding(rows: dict[str, FloatArray]) -> str:
    own, lower, upper = rows["this image"], rows["real, lower"], rows["real, upper"]
    n = int(np.isfinite(own).sum())
    count = int(((own < lower) | (own > upper)).sum())
    if not count:
        return (
            f"This image stays inside the range at all {n} frequencies."
            if n
            else "There are no finite values."
        )
    deviation = deviations(own, lower, upper)
    share = (
        f"This image is outside the range at {count} of {n} frequencies "
        f"({fraction(count / n)}; for an ordinary real image about a third is usual)."
    )
    if not np.isfinite(deviation).any():
        return share
    far = int(np.nanargmax(np.abs(deviation)))
    return (
        f"{share} It is farthest from the mean at {fraction(far / max(own.size - 1, 1))} of the way from "
        f"coarse to fine detail: {number(abs(float(deviation[far])))} standard deviations "
        f"{'above' if deviation[far] > 0 else 'below'} it."
    )


def deviations(own: FloatArray, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """How many half widths of a band a curve is away from the band's middle.

    Args:    own, lower, upper: (K,).
    Returns: (K,), ±1 at the band's edges, NaN where the band has no width.
    """
    half = (upper - lower) / 2
    offset = own - (lower + upper) / 2
    return np.divide(offset, half, out=np.full_like(half, np.nan), where=half > 0)


def _influence_finding(values: FloatArray) -> str:
    finite = np.nan_to_num(values)
    top, bottom = int(np.argmax(finite)), int(np.argmin(finite))
    parts = []
    if finite[top] > 0:
        parts.append(
            f"band {top + 1} of {values.size} raises the score most, by {number(float(finite[top]))}"
        )
    if finite[bottom] < 0:
        parts.append(
            f"band {bottom + 1} of {values.size} lowers the score most, by {number(float(-finite[bottom]))}"
        )
    if not parts:
        return "No band of frequencies changes the score."
    return f"Counted from coarse to fine detail, {', and '.join(parts)}."


def heatmap_finding(evidence: Evidence, *, frequencies: bool) -> str:
    """What a heat map shows, with its numbers.

    Args:    evidence: a heat map, values (H, W).
             frequencies: the map is a spectrum with DC at [H // 2, W // 2], not a map of the picture.
    Returns: sentences.
    """
    values = np.asarray(evidence.values, dtype=np.float64)
    if not np.isfinite(values).any():
        return "There are no finite values."
    height, width = values.shape
    size = f"{width} × {height} {'frequencies' if frequencies else 'cells'}"
    extent = f"values from {number(float(np.nanmin(values)))} to {number(float(np.nanmax(values)))}"
    if not frequencies:
        row, column = np.unravel_index(int(np.nanargmax(values)), values.shape)
        across, down = fraction((column + 0.5) / width), fraction((row + 0.5) / height)
        return f"{size}, {extent}. The highest lies {across} from the left and {down} from the top."
    return f"{size}, {extent}.{_isolated_frequency(values)}"


def _isolated_frequency(values: FloatArray) -> str:
    """The frequency that stands out most from its neighbours to the sides as well as above and below.

    A dot does, a line does not: photographs have bright lines along the axes.
    """
    height, width = values.shape
    v = (np.arange(height) - height // 2)[:, None] / height
    u = (np.arange(width) - width // 2)[None, :] / width
    beyond = np.broadcast_to(np.hypot(u, v) > LOW_FREQUENCIES, values.shape)
    if min(height, width) < 8 or not np.isfinite(values).all():
        return ""
    excess = np.minimum(
        *(values - sum(np.roll(values, step, axis) for step in (-2, -1, 1, 2)) / 4 for axis in (0, 1))
    )
    row, column = np.unravel_index(int(np.argmax(np.where(beyond, excess, -np.inf))), values.shape)
    # Noise has a highest point, too; what most frequencies reach tells the two apart.
    usual = float(np.quantile(excess[beyond], 0.999))
    return (
        f" Beyond the coarsest detail, {number(abs(float(u[0, column])))} horizontal and "
        f"{number(abs(float(v[row, 0])))} vertical cycles per pixel stand out most from the frequencies "
        f"around them: by {number(float(excess[row, column]))}, where 999 of 1000 reach "
        f"less than {number(usual)}."
    )


def timeline_finding(times: Sequence[float], scores: Sequence[float], labels: Sequence[str]) -> str:
    """What the scores of a video's frames show.

    Args:    times: seconds of the frames that have a score.
             scores: of these frames.
             labels: of these frames.
    Returns: sentences.
    """
    if not scores:
        return "No frame has a score."
    top, bottom = int(np.argmax(scores)), int(np.argmin(scores))
    return (
        f"{plural(len(scores), 'frame')} with a score, mean {number(float(np.mean(scores)))}; the highest is "
        f"{number(scores[top])} at {clock(times[top])}, the lowest {number(scores[bottom])} at "
        f"{clock(times[bottom])}. "
        f"{votes({name: list(labels).count(name) for name in ('fake', 'real', 'uncertain')})}."
    )


def votes(counts: Mapping[str, int]) -> str:
    """How many frames got which label.

    Args:    counts: label → number of frames.
    Returns: for example "3 frames: signs found; 9 frames: no sign found".
    """
    names = {"fake": "signs found", "real": "no sign found", "uncertain": "can’t tell"}
    return "; ".join(
        f"{plural(counts[name], 'frame')}: {text}" for name, text in names.items() if counts.get(name)
    )
