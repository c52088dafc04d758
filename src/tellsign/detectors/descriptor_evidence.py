"""What a detector of block-DCT statistics (SIDA) can show: where blocks have detail, how neighbouring blocks
differ, and which statistics made the score, or are unlike those of the training images.

Shapes: C channels, H W pixels, h w blocks of 8 × 8 pixels, K = 2304 statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tellsign.features.colour import ycbcr
from tellsign.features.dct import ZIGZAG, block_dct, whole_blocks
from tellsign.features.sida import LENGTH, entries
from tellsign.types import Evidence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.types import FloatArray

LEVELS = 255  # of brightness, in which people and JPEG count
N_STRONGEST = 10  # statistics that are named
FAR = 3  # standard deviations from the training images' mean, beyond which a statistic is counted
NEIGHBOURS = {  # derivative → the curve's name, and what is compared
    "row": ("change to the block below", "those of the block below it"),
    "column": ("change to the block beside it", "those of the block at its right"),
    "intra": ("change to the next frequency", "the next finer one in the same block"),
}
HOW_TO_READ = (
    "The statistics are taken of the differences between a block of 8 × 8 pixels and the block below it "
    "(row), or beside it (column), or between neighbouring frequencies inside it (intra-block). Y is "
    "brightness, Cb and Cr are colour; a frequency (u, v) has u half waves from top to bottom of a block and "
    "v from left to right."
)


def descriptor_evidence(
    image: FloatArray,
    own: FloatArray,
    *,
    region: str,
    arrays: Mapping[str, FloatArray],
    contributions: FloatArray,
    base: float,
) -> tuple[Evidence, ...]:
    """The detail in each block, neighbours' differences over the bands of the classes, and what did what.

    `base` and the influence of all bands, or of all statistics, add up to the score.

    Args:    image: (3, H, W) in [0, 1], what the detector looks at.
             own: (K,) its descriptor.
             region: image or face.
             arrays: of the artifact, with the classes' mean and deviation.
             contributions: (K,) of each statistic to the score, from `base` on.
             base: the score of an average training image.
    Returns: a heat map, four curves, and scalars.
    Raises:  TooSmallError: the image holds no block.
    """
    return (
        block_evidence(image, region),
        *(_curve(derivative, own, arrays) for derivative in NEIGHBOURS),
        influence_evidence(contributions, start="an average training image"),
        Evidence(
            kind="scalar",
            name="average training image",
            values=np.asarray(base),
            unit="score",
            caption=f"Where the score starts from. What the {LENGTH} statistics of this image add to it "
            f"follows for the strongest: above zero speaks for fake. {HOW_TO_READ}",
        ),
        *_strongest(own, arrays, contributions),
    )


def block_evidence(image: FloatArray, region: str) -> Evidence:
    """How much detail each block of an image holds, as a heat map.

    Args:    image: (3, H, W) in [0, 1].
             region: image or face, for the caption.
    Returns: the evidence, (h, w).
    Raises:  TooSmallError: the image holds no block.
    """
    luma = ycbcr(whole_blocks(np.asarray(image, dtype=np.float32)))[:1]
    detail = LEVELS * block_dct(luma[None])[0, 0, 1:]  # without the mean of the block
    return Evidence(
        kind="heatmap",
        name="detail in blocks",
        values=np.log10(1 + np.square(detail).sum(axis=0, dtype=np.float64)),
        unit="log₁₀ energy",
        caption=f"How much the brightness changes inside each block of 8 × 8 pixels of the {region}: nothing "
        "in a smooth sky, much at edges and in hair or grass. It shows where the statistics come from, and "
        "not what is suspicious.",
    )


def deviation_evidence(
    own: FloatArray, mean: FloatArray, std: FloatArray, *, region: str
) -> tuple[Evidence, ...]:
    """The statistics that are least like those of the training images, whatever the detector makes of them.

    Args:    own: (K,) the descriptor.
             mean, std: (K,) of the training images, real and fake together.
             region: image or face, for the captions.
    Returns: scalars: how many statistics are far off, and the farthest.
    """
    z = (np.asarray(own, dtype=np.float64) - mean) / std
    count = Evidence(
        kind="scalar",
        name="unusual statistics",
        values=np.asarray(float(np.sum(np.abs(z) > FAR))),
        unit=f"of {LENGTH}",
        caption=f"How many of the block statistics of this {region} are more than {FAR} standard deviations "
        f"from their mean over the training images, real and fake together. The farthest follow. Unusual is "
        f"neither real nor fake: what they did to the score is not said by this. {HOW_TO_READ}",
    )
    farthest = (
        Evidence(
            kind="scalar",
            name=str(entries()[place]),
            values=np.asarray(z[place]),
            unit="standard deviations",
            caption=f"This {region} has {own[place]:.3g}; the training images {mean[place]:.3g} ± "
            f"{std[place]:.3g}.",
        )
        for place in strongest(z)
    )
    return (count, *farthest)


def influence_evidence(contributions: FloatArray, *, start: str, name: str = "influence") -> Evidence:
    """What the statistics of each frequency did together, frequencies of one fineness in one band.

    Args:    contributions: (K,) of each statistic to the score.
             start: that they are added to, for the caption.
             name: of the evidence, which begins with "influence".
    Returns: a curve of one row.
    """
    bands = [sum(entry.frequency) for entry in entries()]
    return Evidence(
        kind="curve",
        name=name,
        values=np.bincount(bands, weights=contributions).astype(np.float64)[None],
        unit="change of the score",
        caption=f"What the statistics of each band of frequencies add to the score of {start}. Above zero "
        "speaks for fake.",
        labels=("influence",),
    )


def strongest(values: FloatArray) -> tuple[int, ...]:
    """The places of the values farthest from 0, those of 0 left out.

    Args:    values: (K,).
    Returns: 10 places at most, the farthest first.

    Example:
        >>> strongest(np.array([0.0, 1.0, -2.0]))
        (2, 1)
    """
    order = np.argsort(-np.abs(values), kind="stable")[:N_STRONGEST]
    return tuple(int(place) for place in order if values[place])


def _curve(derivative: str, own: FloatArray, arrays: Mapping[str, FloatArray]) -> Evidence:
    """The mean differences of the brightness, frequency by frequency, over the bands of the classes."""
    places = [
        place
        for place, entry in enumerate(entries())
        if (entry.statistic, entry.channel, entry.derivative) == ("mean", "Y", derivative)
        and not (derivative == "intra" and entry.frequency == ZIGZAG[-1])  # which has no next one
    ]
    real, spread = arrays["band.real_mean"][places], arrays["band.real_std"][places]
    curves = np.stack([own[places], real, real - spread, real + spread, arrays["band.fake_mean"][places]])
    name, other = NEIGHBOURS[derivative]
    return Evidence(
        kind="curve",
        name=name,
        values=LEVELS * curves,
        unit="mean difference, grey levels",
        caption=f"How far the frequencies of a block of 8 × 8 pixels are from {other}, in the brightness, "
        "averaged over all blocks, from coarse to fine detail; over the range of the real images that the "
        "detector was trained on (mean ± one standard deviation).",
        labels=("this image", "real, mean", "real, lower", "real, upper", "fake, mean"),
    )


def _strongest(
    own: FloatArray, arrays: Mapping[str, FloatArray], contributions: FloatArray
) -> tuple[Evidence, ...]:
    real, spread, fake, fake_spread = (
        arrays[f"band.{name}"] for name in ("real_mean", "real_std", "fake_mean", "fake_std")
    )
    return tuple(
        Evidence(
            kind="scalar",
            name=str(entries()[place]),
            values=np.asarray(contributions[place]),
            unit="of the score",
            caption=f"This image has {own[place]:.3g}; the real training images {real[place]:.3g} ± "
            f"{spread[place]:.3g}, the fake ones {fake[place]:.3g} ± {fake_spread[place]:.3g}.",
        )
        for place in strongest(contributions)
    )
