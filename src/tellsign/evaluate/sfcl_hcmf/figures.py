"""Figures 1 and 7: an image's cosine spectra, and SIDA's curves of reals and fakes. Nothing is trained.

Shapes: H W pixels, h w blocks, B images, K = 2304 statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.data.manifest import require_images
from tellsign.detectors.preprocessing import DescriptorInput
from tellsign.detectors.rows import feature_rows
from tellsign.evaluate.comparisons import NOT_IN_PAPER
from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.samples import evenly
from tellsign.evaluate.sfcl_hcmf.notes import PAPER
from tellsign.features.colour import ycbcr
from tellsign.features.dct import LEVEL, SIDE, ZIGZAG, block_dct, whole_blocks
from tellsign.features.sida import DERIVATIVES, entries
from tellsign.image import decode
from tellsign.types import FAKE, REAL, ConfigError, ManifestError

if TYPE_CHECKING:
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.types import FloatArray

N_IMAGES = 1000  # of each class, at most
EDGES = (0.25, 0.5, 0.75)  # of the highest frequency
COLOURS = {"real": "red", "fake": "blue", "difference": "green"}  # as in the paper
FULL, BLOCKS = "full-image DCT", "regional block DCT"


def dct_heatmap(name: str, inputs: Inputs) -> Result:
    """Figure 1: the cosine spectrum of a whole image, and those of its 8 × 8 blocks in their places."""
    if inputs.image is None:
        raise ConfigError("this figure needs an image: --image FILE")
    luma = ycbcr(whole_blocks(decode(inputs.image).array[None]))[:, :1]
    maps = {FULL: full_dct(luma[0, 0]), BLOCKS: regional_dct(luma)}
    rows = [
        Row(title, f"energy below {edge:g} of the highest frequency", None, share, note=NOT_IN_PAPER)
        for title, coefficients in maps.items()
        for edge, share in zip(
            EDGES, energy_shares(coefficients, _frequencies(title, coefficients)), strict=True
        )
    ]
    height, width = luma.shape[2:]
    notes = (
        f"Luma of {inputs.image.name}, cut to whole blocks: {width} × {height} pixels.",
        (
            "Energy: squares of the coefficients without that of the mean, of the whole or of each block. A "
            "frequency is the mean of its two directions, as a share of the highest."
        ),
    )
    return Result(name, f"{PAPER}, figure 1", tuple(rows), notes, figure=_heatmaps(luma[0, 0], maps))


def full_dct(luma: FloatArray) -> FloatArray:
    """(H, W) → (H, W) coefficients of the orthonormal DCT-II of the whole, less JPEG's level shift."""
    from scipy.fft import dctn

    return np.asarray(dctn(luma - LEVEL, norm="ortho"))


def regional_dct(luma: FloatArray) -> FloatArray:
    """(1, 1, H, W) → (H, W): each block's coefficients in the block's own place, rows by frequency."""
    coefficients = block_dct(luma)[0, 0]
    blocks = np.empty((coefficients.shape[1], SIDE, coefficients.shape[2], SIDE), coefficients.dtype)
    for plane, (u, v) in zip(coefficients, ZIGZAG, strict=True):
        blocks[:, u, :, v] = plane
    return blocks.reshape(luma.shape[2:])


def energy_shares(coefficients: FloatArray, frequencies: FloatArray) -> list[float]:
    """How much of the energy lies below each of `EDGES`.

    Args:    coefficients, frequencies: (H, W), the latter from 0, which is left out, to 1.
    Returns: shares; 0 of an image that is the same everywhere.
    """
    energy = np.where(frequencies > 0, np.square(coefficients, dtype=np.float64), 0)
    total = energy.sum()
    return [float(energy[frequencies < edge].sum() / total) if total else 0.0 for edge in EDGES]


def _frequencies(title: str, coefficients: FloatArray) -> FloatArray:
    """(H, W): the mean of the two directions' frequencies, each from 0 to 1."""
    axes = [
        np.arange(n) / (n - 1) if title == FULL else np.arange(n) % SIDE / (SIDE - 1)
        for n in coefficients.shape
    ]
    return np.asarray((axes[0][:, None] + axes[1]) / 2)


def sida_plot(name: str, inputs: Inputs) -> Result:
    """Figure 7: the means of the Y channel's differences, of reals and of fakes."""
    if inputs.manifest is None:
        raise ConfigError("this figure needs images of both classes: --data MANIFEST")
    require_images(inputs.manifest)
    sample = evenly(inputs.manifest, 2 * (max(inputs.samples) if inputs.samples else N_IMAGES))
    labels = np.array([sample_.label for sample_ in sample])
    if set(labels.tolist()) != {REAL, FAKE}:
        raise ManifestError("this figure needs images of both classes, real and fake")
    curves = class_curves(feature_rows(sample, DescriptorInput()).values, labels)
    counts = {"real": int((labels == REAL).sum()), "fake": int((labels == FAKE).sum())}
    rows = [
        Row(
            title,
            f"{derivative} differences, mean of {len(ZIGZAG)} frequencies",
            None,
            float(part.mean()),
            unit="Y",
        )
        for title, values in curves.items()
        for derivative, part in zip(DERIVATIVES, np.split(values, len(DERIVATIVES)), strict=True)
    ]
    notes = (
        (
            f"Means over {counts['real']} reals and {counts['fake']} fakes of the statistic 'mean' of SIDA "
            "in the Y channel, of images in [0, 1] at their own size. Difference: fake - real."
        ),
        (
            "Frequencies are in zigzag order, lowest first, so that the middle and the end of each segment "
            "are those of which the paper says that they tell the classes apart. Of how far they do a mean "
            "says nothing: see sfcl-sida."
        ),
    )
    return Result(name, f"{PAPER}, figure 7", tuple(rows), notes, figure=_curves(curves, counts))


def class_curves(descriptors: FloatArray, labels: FloatArray) -> dict[str, FloatArray]:
    """The 192 means of the Y channel's differences: 64 of rows, 64 of columns, 64 within blocks.

    Args:    descriptors: (B, K). labels: (B,) 0 real, 1 fake, both of them.
    Returns: real, fake and difference → (192,).
    """
    places = [place for place, one in enumerate(entries()) if (one.statistic, one.channel) == ("mean", "Y")]
    real, fake = (descriptors[labels == label][:, places].mean(axis=0) for label in (REAL, FAKE))
    return {"real": real, "fake": fake, "difference": fake - real}


def _heatmaps(luma: FloatArray, maps: dict[str, FloatArray]) -> Any:
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(12, 4), layout="constrained")
    picture, *planes = drawn.subplots(1, 1 + len(maps))
    picture.imshow(luma, cmap="gray", vmin=0, vmax=1)
    picture.set_title("Y", fontsize=9)
    picture.set_axis_off()
    for axes, (title, coefficients) in zip(planes, maps.items(), strict=True):
        # In JPEG's unit, and 1 more, so that what would be rounded to nothing is dark.
        shown = axes.imshow(np.log10(1 + 255 * np.abs(coefficients)), cmap="magma", interpolation="nearest")
        axes.set_title(f"{title}, lg (1 + |coefficient|)", fontsize=9)
        axes.set_axis_off()
        drawn.colorbar(shown, ax=axes, shrink=0.8)
    return drawn


def _curves(curves: dict[str, FloatArray], counts: dict[str, int]) -> Any:
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(9, 5.5), layout="constrained")
    levels, differences = drawn.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for title, n in counts.items():
        levels.plot(curves[title], color=COLOURS[title], label=f"{title} ({n})", linewidth=1)
    levels.set_yscale("log")
    levels.set_ylabel("mean of |difference|, Y in [0, 1]")
    levels.legend(frameon=False)
    share = np.full_like(curves["real"], np.nan)  # where neither class differs, as at the padded frequency
    np.divide(curves["difference"], curves["real"], out=share, where=curves["real"] > 0)
    differences.plot(share, color=COLOURS["difference"], linewidth=1)
    differences.axhline(0, color="grey", linewidth=0.5)
    differences.set_ylabel("difference, fake - real,\nas a share of real")
    n = len(ZIGZAG)
    differences.set_xticks(
        [n * place + n / 2 for place in range(len(DERIVATIVES))],
        [f"{derivative} differences, 64 frequencies" for derivative in DERIVATIVES],
    )
    for axes in (levels, differences):
        for place in range(1, len(DERIVATIVES)):
            axes.axvline(n * place - 0.5, color="grey", linewidth=0.5)
    return drawn
