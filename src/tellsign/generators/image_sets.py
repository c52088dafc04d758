"""A folder or a manifest of images → the profiles of its native crops, all of one size.

A ring means one frequency only where all images are squares of one side. So each is cropped to the square in
its middle, by default as large as the smallest image allows, and none is resized.

Shapes: H W pixels, S side of the crops, N images, K rings of the official profile, Q of the centred one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tellsign.data.manifest import LABEL_NAMES, Manifest, read, require_images
from tellsign.data.paths import walked
from tellsign.data.picture import picture
from tellsign.features.spectrum import DECIBEL, grey, profile
from tellsign.generators.centred_profile import centred_profile
from tellsign.groups import sources
from tellsign.image import centre_crop
from tellsign.image.sniff import SUFFIXES
from tellsign.types import REAL, ConfigError, ImageError, ManifestError, Sample, TooSmallError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tellsign.types import FloatArray

OF_ONE_COLOUR = "the crop is of one colour, and has no spectrum"
SMALLEST = 16  # side in pixels; a smaller image is named instead of cropping all others to its size


@dataclass(frozen=True, slots=True, eq=False)
class SetProfiles:
    """What is measured of one set."""

    images: Manifest  # that could be used, N of them
    rings: FloatArray  # (N, K) mean of 20 log10 |F| over each ring, in dB, of grey in [0, 1]
    centred: FloatArray  # (N, Q) as `centred_profile` has it
    side: int  # S
    sizes: dict[tuple[int, int], int]  # rows and columns of the images before cropping → how many
    failed: tuple[tuple[Path, str], ...]  # files that could not be used, with the reason

    @property
    def groups(self) -> list[str]:
        """(N,) the source of each image; empty where it is one of its own."""
        return sources(self.images)


def image_set(
    source: Path, label: int, *, split: str | None = None, warn: Callable[[str], None] = lambda text: None
) -> Manifest:
    """The images of a folder, or those of a manifest that may be of a class.

    Args:    source: a folder, of which all images are taken whatever they are called; or a manifest, of which
                 rows of the other class are left out.
             label: 0 real or 1 fake. split: keep only this one; what has no splits is taken as a whole.
             warn: told of what was left out, and of what was not.
    Returns: the images.
    Raises:  ManifestError: the manifest can't be read, or has videos in it.
             ConfigError: there is no image, or no such split.
    """
    if source.is_dir():
        files = list(walked(source))
        found = Manifest(tuple(Sample(path, label) for path in files if path.suffix.lower() in SUFFIXES))
        if skipped := len(files) - len(found):
            warn(f"{source}: {skipped} files passed over that are no images by their names")
    else:
        rows = read(source)
        whole = split is None or not any(sample.split for sample in rows)
        kept = rows if whole else rows.filter(split=split)
        found = kept.filter(label=(label, None))
        if len(found) < len(kept):
            warn(f"{source}: {len(kept) - len(found)} rows left out that are not {LABEL_NAMES[label]}")
        require_images(found)
    if split is not None and not any(sample.split for sample in found):
        warn(f"{source}: no splits, taken as a whole")
    if not found:
        where = f"{source}, split {split!r}" if split is not None else str(source)
        raise ConfigError(f"found no {LABEL_NAMES[label]} images in {where}; give a folder or a manifest")
    return found


def reals_of(manifest: Manifest) -> tuple[Manifest, Manifest]:
    """The real images that a generator learns from, and those that it is compared with.

    Args:    manifest: labelled images, fakes too, which are left alone.
    Returns: reals of the split train, or all where there are no splits; and those of valid, or the same again
             where there are none.
    Raises:  ManifestError: there are no reals to learn from.
    """
    reals = manifest.filter(label=REAL)
    train, valid = reals.filter(split="train"), reals.filter(split="valid")
    if not any(sample.split for sample in manifest):
        train = reals
    if not len(train):
        raise ManifestError(
            f"a generator learns from the real images of the split train, and the manifest has none "
            f"of them: {len(manifest)} rows, {len(reals)} reals; see `tellsign data split`"
        )
    return train, valid if len(valid) else train


def both_profiles(
    reals: Manifest, fakes: Manifest, *, side: int | None = None, on_done: Callable[[], None] = lambda: None
) -> tuple[SetProfiles, SetProfiles]:
    """The profiles of two sets, of crops of one size.

    Args:    reals, fakes: the images.
             side: of the crops in pixels, smaller images are left out as failed; None: the smallest side of
                 any image.
             on_done: called after each image that is read for the first time.
    Returns: of the reals and of the fakes.
    Raises:  ConfigError: a set has no image that can be used, or the side is below 16.
             TooSmallError: no side is given and an image is smaller than 16 pixels.
    """
    if side is not None and side < SMALLEST:
        raise ConfigError(f"crops of {side} pixels say little of a spectrum; take {SMALLEST} or more")
    # Most sets are of one size: only where they turn out not to be are they read once more.
    guess = side or _first_side(reals)
    found = [_profiles(images, guess, on_done) for images in (reals, fakes)]
    if side is None:
        common = min((min(size) for part in found for size in part.sizes), default=guess)
        if common < SMALLEST:
            raise TooSmallError(
                f"an image has a side of {common} pixels, and all would be cropped to that; leave smaller "
                f"ones out by a size of {SMALLEST} pixels or more"
            )
        if common != guess:
            found = [_profiles(images, common, lambda: None) for images in (reals, fakes)]
    for part, name in zip(found, ("real", "fake"), strict=True):
        if not part.images:
            path, reason = part.failed[0]
            raise ConfigError(f"none of the {name} images can be used; the first, {str(path)!a}: {reason}")
    return found[0], found[1]


def _first_side(images: Manifest) -> int:
    for sample in images:
        try:
            return int(min(picture(sample).array.shape[1:]))
        except ImageError:  # counted when all are read
            continue
    return SMALLEST


def _profiles(images: Manifest, side: int, on_done: Callable[[], None]) -> SetProfiles:
    used, rows, failed = [], [], []
    sizes: Counter[tuple[int, int]] = Counter()
    for sample in images:
        try:
            array = picture(sample).array
            sizes[array.shape[1], array.shape[2]] += 1
            rows.append(_profile_pair(centre_crop(array, side)))
            used.append(sample)
        except ImageError as error:
            failed.append((sample.path, str(error)))
        on_done()
    rings, centred = zip(*rows, strict=True) if rows else ((), ())
    return SetProfiles(
        Manifest(tuple(used)), np.array(rings), np.array(centred), side, dict(sizes), tuple(failed)
    )


def _profile_pair(crop: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(3, S, S) → (K,) in dB and (Q,). Raises ImageError where the crop is constant."""
    plane = grey(crop.astype(np.float64))[None]
    if np.ptp(plane) == 0:
        raise ImageError(OF_ONE_COLOUR)
    return DECIBEL * profile(plane, normalise="none")[0], centred_profile(plane)[0]
