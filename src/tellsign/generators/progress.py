"""What a generator has come to after an epoch: its spectrum, how alike its images are, and pictures of them.

All of it is measured on the same latents or images in every epoch, and beside real images measured alike,
whose numbers the card has too.
Collapse is a number of its own here: a generator of one good image has a good spectrum too.

Shapes: N images, S side in pixels, K rings.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import torch

from tellsign.durable import write_file
from tellsign.generators.collapse import Diversity, diversity
from tellsign.generators.distance import noise_floor, spectral_distance
from tellsign.generators.frechet import frechet_distance, image_features
from tellsign.generators.reals import decibels
from tellsign.generators.spectral_loss import SpectralLoss
from tellsign.types import OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tellsign.generators.frechet import FeatureNetwork
    from tellsign.types import FloatArray

    Frechet = Callable[[FloatArray], float]  # images (N, 3, S, S) → distance from the real ones

GRID = 64  # images of a picture, at most
FOLDER = "samples"  # of the pictures, in the run folder


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The real images that a generator is compared with, as numbers."""

    profiles: NDArray[np.float64]  # (N, K) in dB
    noise: float  # distance in dB between two halves of them: what no generator need come below
    diversity: Diversity  # of as many of them as are generated
    frechet: Frechet | None  # to them, where a network for the features is given


def reference(reals: FloatArray, groups: Sequence[str], n: int, frechet: Frechet | None = None) -> Reference:
    """What real images come to.

    Args:    reals: (N, 3, S, S) in [0, 1], two or more.
             groups: (N,) source of each; none is in both halves, unless all are of one.
             n: images that are generated, as many of which are compared with each other.
             frechet: distance of images from these, or None.
    Returns: the numbers.
    Raises:  ConfigError: there are fewer than two.
    """
    # Evenly over them, as neighbours in a manifest are often of one source and alike.
    places = np.linspace(0, len(reals) - 1, min(n, len(reals))).round().astype(int)
    apart = diversity(reals[places])  # first: it says that two images are needed
    rows = decibels(reals)
    noise = noise_floor(rows, groups)
    if noise is None:
        noise = noise_floor(rows, [""] * len(rows))
    assert noise is not None, "two images are two groups"
    return Reference(rows, noise, apart, frechet)


def measured(images: FloatArray, real: Reference) -> dict[str, float]:
    """What generated images come to.

    Args:    images: (N, 3, S, S) in [0, 1], two or more. real: what they are compared with.
    Returns: spectral_distance in dB, spectral_kl (the spectral loss less its least value), mean distance of
             pairs, share of images that are nearer to another than reals are, and frechet where it can be
             computed.
    """
    own = diversity(images, limit=real.diversity.limit)
    rows = decibels(images)
    means = [torch.from_numpy(profiles.mean(axis=0)) for profiles in (real.profiles, rows)]
    found = {
        "spectral_distance": spectral_distance(real.profiles, rows),
        "spectral_kl": float(SpectralLoss(means[0]).terms_of(means[1]).kl),
        "pair_distance": own.mean,
        "near_duplicates": own.duplicates,
    }
    return found if real.frechet is None else {**found, "frechet": real.frechet(images)}


def frechet_to(network: FeatureNetwork) -> Callable[[FloatArray], Frechet]:
    """What measures the Fréchet distance in the features of a network.

    Args:    network: that turns images into features.
    Returns: (N, 3, S, S) reals → the distance of other images from them.
    """

    def fitted(reals: FloatArray) -> Frechet:
        own = image_features(reals, network)
        return lambda images: frechet_distance(own, image_features(images, network))

    return fitted


def write_grid(path: Path, images: FloatArray) -> None:
    """Write images as one picture, row after row.

    Args:    path: of the PNG. images: (N, 3, S, S) in [0, 1], of which the first 64 are shown.
    Raises:  OutputError: it can't be written.
    """
    shown = np.asarray(images[:GRID])
    across = int(np.ceil(np.sqrt(len(shown))))
    down = -(-len(shown) // across)
    side = shown.shape[-1]
    sheet = np.ones((down * side, across * side, 3), dtype=np.float32)
    for number, image in enumerate(shown):
        top, left = (side * place for place in divmod(number, across))
        sheet[top : top + side, left : left + side] = image.transpose(1, 2, 0)
    stream = io.BytesIO()
    PIL.Image.fromarray(np.rint(np.clip(sheet, 0, 1) * 255).astype(np.uint8)).save(stream, "PNG")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, stream.getvalue(), lasting=False)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}; make room or mend it") from error
