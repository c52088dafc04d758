"""What a detector can show of an image's spectrum.

Shapes: C channels, H W pixels, K frequency bins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tellsign.detectors.preprocessing import native_crops, profile
from tellsign.features import spectrum
from tellsign.types import Evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tellsign.detectors.preprocessing import ProfileInput
    from tellsign.types import FloatArray

N_BANDS = 12  # groups of neighbouring frequencies whose influence is shown


def profile_evidence(
    image: FloatArray,
    options: ProfileInput,
    arrays: Mapping[str, FloatArray],
    score: Callable[[Mapping[str, FloatArray]], FloatArray],
) -> tuple[Evidence, ...]:
    """The log spectrum, the profile over the bands of the training classes, and each band's influence.

    Args:    image: (3, H, W) in [0, 1].
             options: the detector's input.
             arrays: of the artifact, with the classes' mean and deviation.
             score: of the detector.
    Returns: a heat map and two curves.
    Raises:  TooSmallError: the image is smaller than one crop.
    """
    own = profile(image, options)
    real, spread = arrays["band.real_mean"], arrays["band.real_std"]
    return (
        spectrum_evidence(image, options),
        Evidence(
            kind="curve",
            name="profile",
            values=np.stack([own, real, real - spread, real + spread, arrays["band.fake_mean"]]),
            unit="log magnitude, mean over a ring"
            + (" / first ring" if options.normalise == "first" else ""),
            caption="The spectrum averaged over directions, from coarse to fine detail, over the range "
            "of the real images that the detector was trained on (mean ± one standard deviation).",
            labels=("this image", "real, mean", "real, lower", "real, upper", "fake, mean"),
        ),
        Evidence(
            kind="curve",
            name="influence",
            values=_influence(own, real, score)[None],
            unit="change of the score",
            caption="How much of the score each band of frequencies is responsible for: the change when "
            "the band is replaced by that of an average real image. Above zero speaks for fake.",
            labels=("influence",),
        ),
    )


def spectrum_evidence(image: FloatArray, options: ProfileInput) -> Evidence:
    """The log spectrum, as a heat map.

    Args:    image: (3, H, W) in [0, 1].
             options: which crops are looked at; their spectra are averaged.
    Returns: the evidence.
    Raises:  TooSmallError: the image is smaller than one crop.
    """
    crops = 255 * spectrum.grey(native_crops(image, options))
    return Evidence(
        kind="heatmap",
        name="log spectrum",
        values=np.mean(spectrum.log_spectrum(crops), axis=0),
        unit="20 ln |F|",
        caption="Energy at each frequency: low ones in the middle, the finest detail at the edge. "
        "Regular bright dots or a grid are traces of up-sampling.",
    )


def _influence(
    own: FloatArray, real: FloatArray, score: Callable[[Mapping[str, FloatArray]], FloatArray]
) -> FloatArray:
    """(K,) own profile → (N_BANDS,) score lost when a band is replaced by the real mean."""
    bands = np.array_split(np.arange(len(own)), min(N_BANDS, len(own)))
    replaced = np.tile(own, (len(bands) + 1, 1))
    for row, band in enumerate(bands, start=1):
        replaced[row, band] = real[band]
    scores = score({"profile": replaced})
    return np.asarray(scores[0] - scores[1:])
