"""What a detector of block-DCT statistics (SIDA) can show: where blocks have detail, how neighbouring blocks
differ, and which statistics made the score.

Shapes: C channels, H W pixels, h w blocks of 8 × 8 pixels, K = 2304 statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tellsign.features.colour import ycbcr
from tellsign.features.dct import ZIGZAG, block_dct, whole_blocks
from tellsign.features.sida import entries
from tellsign.types import Evidence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.types import FloatArray

LEVELS = 255  # of brightness, in which people and JPEG count
N_STRONGEST = 10  # statistics that are named
NEIGHBOURS = {  # derivative → the curve's name, and what is compared
    "row": ("change to the block below", "those of the block below it"),
    "column": ("change to the block beside it", "those of the block at its right"),
    "intra": ("change to the next frequency", "the next finer one in the same block"),
}


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
        _influence(contributions),
        Evidence(
            kind="scalar",
            name="average training image",
            values=np.asarray(base),
            unit="score",
            caption="Where the score starts from. What the 2304 statistics of this image add to it follows "
            "for the strongest: above zero speaks for fake. They are taken of the differences between a "
            "block of 8 × 8 pixels and the block below it (row), or beside it (column), or between "
            "neighbouring frequencies inside it (intra-block). Y is brightness, Cb and Cr are colour; "
            "a frequency (u, v) has u half waves from top to bottom of a block and v from left to right.",
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


def _influence(contributions: FloatArray) -> Evidence:
    """What the statistics of each frequency did together, frequencies of one fineness in one band."""
    bands = [sum(entry.frequency) for entry in entries()]
    return Evidence(
        kind="curve",
        name="influence",
        values=np.bincount(bands, weights=contributions).astype(np.float64)[None],
        unit="change of the score",
        caption="What the statistics of each band of frequencies add to the score of an average training "
        "image. Above zero speaks for fake.",
        labels=("influence",),
    )


def _strongest(
    own: FloatArray, arrays: Mapping[str, FloatArray], contributions: FloatArray
) -> tuple[Evidence, ...]:
    order = np.argsort(-np.abs(contributions), kind="stable")[:N_STRONGEST]
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
        for place in order
        if contributions[place]
    )
