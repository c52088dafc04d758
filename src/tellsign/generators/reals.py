"""The real images of a manifest, as a generator's training uses them: to learn from, and to compare with.

Shapes: N images, S side in pixels, K rings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tellsign.data.loading import evaluation_batches
from tellsign.features.spectrum import DECIBEL, grey, profile
from tellsign.generators.image_sets import OF_ONE_COLOUR
from tellsign.generators.luma import varied
from tellsign.groups import sources
from tellsign.types import ManifestError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from tellsign.data import Manifest
    from tellsign.image.network_input import NetworkInput
    from tellsign.types import FloatArray

AT_ONCE = 64  # images that are in memory together


def real_images(
    manifest: Manifest,
    look: NetworkInput,
    n: int,
    *,
    workers: int = 0,
    cache: Path | None = None,
    left_out: Callable[[str], None] | None = None,
) -> tuple[NDArray[np.float32], list[str]]:
    """Pictures of a manifest, as many as are asked for, evenly over it.

    One of a single colour can't be used: it has no spectrum.

    Args:    manifest: the samples. look: how they are looked at.
             n: number of images, at most.
             workers: processes that read them. cache: folder of decoded images, or none.
             left_out: told of images that can't be used; None: the first of them is an error.
    Returns: (N, 3, S, S) in [0, 1], and the source of each, as `tellsign.groups.sources` names it.
    Raises:  ManifestError: an image can't be used, or none can.
    """
    chosen = manifest.evenly(n)
    own = sources(chosen)
    found: list[NDArray[np.float32]] = []
    groups: list[str] = []
    for batch in evaluation_batches(chosen, look, batch_size=AT_ONCE, workers=workers, cache=cache):
        usable = varied(batch.crops[:, 0]) if len(batch.rows) else batch.rows.bool()
        flat = dict.fromkeys(batch.rows[~usable].tolist(), OF_ONE_COLOUR)
        for row, reason in {**batch.bad, **flat}.items():
            text = f"{str(chosen[row].path)!a}: {reason}"
            if left_out is None:
                raise ManifestError(
                    f"a real image can't be used, {text}; mend it or take it out of the manifest, or set "
                    'on_bad = "skip" and max_bad'
                )
            left_out(text)
        if usable.any():
            found.append(batch.crops[usable, 0].numpy())
            groups += [own[row] for row in batch.rows[usable].tolist()]
    if not groups:
        raise ManifestError(f"none of {len(chosen)} real images can be used")
    return np.concatenate(found), groups


def decibels(images: FloatArray) -> NDArray[np.float64]:
    """The profile of each image in dB, without any scaling.

    Args:    images: (N, 3, S, S) in [0, 1].
    Returns: (N, K), the official profile: the mean of 20 log10 |F| over each ring.
    """
    rows = profile(grey(np.asarray(images, dtype=np.float64)), normalise="none")
    return DECIBEL * rows
