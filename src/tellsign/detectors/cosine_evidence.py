"""What a linear detector of cosine coefficients can show: the spectrum, and which frequencies made the score.

Shapes: S side of a crop, K = 3 S² coefficients, n bands of frequencies.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tellsign.types import Evidence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.types import FloatArray

N_BANDS = 16  # groups of coefficients of like fineness, whose influence is added up


def cosine_evidence(
    own: FloatArray, *, arrays: Mapping[str, FloatArray], contributions: FloatArray, base: float
) -> tuple[Evidence, ...]:
    """The cosine spectrum, how it differs from that of real images, and what each frequency did.

    `base` and the influence of all bands add up to the score.

    Args:    own: (K,) logarithms of the coefficients, the mean over an image's crops.
             arrays: of the artifact, with the classes' mean and deviation.
             contributions: (K,) of each coefficient to the score, from `base` on.
             base: the score of an average training image.
    Returns: three heat maps, a curve and a scalar.
    """
    spread = np.maximum(arrays["band.real_std"], np.finfo(np.float32).eps)
    deviations = np.abs((own - arrays["band.real_mean"]) / spread)
    order = "low frequencies at the top left, the finest detail at the bottom right"
    return (
        Evidence(
            kind="heatmap",
            name="cosine spectrum",
            values=_plane(own),
            unit="ln |c|",
            caption=f"Energy at each frequency, mean of red, green and blue: {order}. Regular bright dots or "
            "a grid are traces of up-sampling.",
        ),
        Evidence(
            kind="heatmap",
            name="distance from real images",
            values=_plane(deviations),
            unit="standard deviations",
            caption=f"How far each frequency is from its mean over the real training images: {order}. "
            "Unusual is not yet fake.",
        ),
        Evidence(
            kind="heatmap",
            name="weight of frequencies",
            values=_plane(np.abs(contributions)),
            unit="change of the score",
            caption=f"How much each frequency moved the score, towards real or fake: {order}.",
        ),
        Evidence(
            kind="curve",
            name="influence",
            values=_by_band(contributions)[None],
            unit="change of the score",
            caption="What the frequencies of each band, from coarse to fine detail, add to the score of an "
            "average training image. Above zero speaks for fake.",
            labels=("influence",),
        ),
        Evidence(
            kind="scalar",
            name="average training image",
            values=np.asarray(base),
            unit="score",
            caption="Where the score starts from; the influence of all bands is added to it.",
        ),
    )


def _planes(values: FloatArray) -> FloatArray:
    """(K,) → (3, S, S)"""
    side = math.isqrt(len(values) // 3)
    return np.asarray(values.reshape(3, side, side))


def _plane(values: FloatArray) -> FloatArray:
    """(K,) → (S, S), the mean over the channels."""
    return np.asarray(_planes(values).mean(axis=0))


def _by_band(contributions: FloatArray) -> FloatArray:
    """(K,) → (n,) sums over bands of equal width from the lowest frequency to the highest."""
    summed = _planes(contributions).sum(axis=0)
    numbers = np.arange(len(summed))
    fineness = np.hypot(numbers[:, None], numbers) / np.hypot(numbers[-1], numbers[-1])
    bands = np.minimum((N_BANDS * fineness).astype(int), N_BANDS - 1)
    return np.bincount(bands.ravel(), weights=summed.ravel(), minlength=N_BANDS).astype(np.float64)
