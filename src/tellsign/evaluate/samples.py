"""Images that a trained detector is looked at with: some of a manifest, known by their content.

Shapes: H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from tellsign.data import Manifest
from tellsign.data.index import with_checksums
from tellsign.data.picture import picture
from tellsign.types import FAKE, REAL, ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tellsign.types import FloatArray, Sample


def known(manifest: Manifest) -> Manifest:
    """The same samples, each with a checksum: files whose rows have none are read.

    Args:    manifest: the samples.
    Returns: the samples, in the same order.
    Raises:  ManifestError: a file can't be read.
    """
    hashed = iter(with_checksums(manifest.filter(sha256="")))
    return Manifest(tuple(sample if sample.sha256 else next(hashed) for sample in manifest))


def content(manifest: Manifest) -> list[str]:
    """What tells one list of images from another, for what is kept: checksum and label of each.

    Args:    manifest: the samples.
    Returns: a text a sample.
    Raises:  ManifestError: a file without a checksum can't be read.
    """
    return [f"{sample.sha256} {sample.label}" for sample in known(manifest)]


def made_by(sample: Sample, generator: str) -> bool:
    """Whether a generator made an image: by its name, whatever its case.

    Args:    sample: the image. generator: a name; of what `tellsign generators sample` writes behind it, the
             version of its weights (`name@digest`), none is asked for.
    Returns: whether.
    """
    return sample.generator.partition("@")[0].lower() == generator.lower()


def evenly(manifest: Manifest, n: int) -> Manifest:
    """At most n samples, half of each class where there are as many, evenly over the manifest."""
    chosen: list[int] = []
    for label in (REAL, FAKE):
        rows = [row for row, sample in enumerate(manifest) if sample.label == label]
        places = np.linspace(0, len(rows) - 1, min(len(rows), max(1, n // 2)))
        chosen += [rows[int(place)] for place in np.unique(places.astype(int))] if rows else []
    return Manifest(tuple(manifest[row] for row in sorted(chosen)))


def pictures(
    manifest: Manifest, change: Callable[[FloatArray, Sample], FloatArray] = lambda found, _: found
) -> Iterator[FloatArray | None]:
    """The images of a manifest one after the other, changed.

    Args:    manifest: the samples.
             change: of an image (3, H, W) in [0, 1].
    Returns: (3, H, W) each; None where it can't be decoded or changed, or is another file than was indexed.
    """
    for sample in manifest:
        try:
            yield change(picture(sample).array, sample)
        except ImageError:
            yield None
