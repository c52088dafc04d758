"""The features of Durall et al. (CVPR 2020): the published files, or images by the authors' recipes.

Here alone the luma that a JPEG stores is read, as the authors' code did: converting the decoded colours to
grey instead changes pixels by up to 20 levels and a profile by up to 0.04 (the 1000 published JPEGs of
generated CelebA faces). Read so, the published CelebA profiles come out to 1e-12.

Shapes: B samples, H W pixels, K values of a profile.
"""

from __future__ import annotations

import zipfile
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import PIL.Image

from tellsign.features import spectrum
from tellsign.groups import sources
from tellsign.scoring.names import escape
from tellsign.types import FAKE, REAL, ConfigError, ImageError, ManifestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tellsign.data import Manifest
    from tellsign.types import FloatArray, Sample

PAPER = "Durall, Keuper, Keuper: Watch your Up-Convolution, CVPR 2020 (arXiv 2003.01826)"
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the authors made the features of one data set."""

    data: str  # as the paper calls it
    n_features: int  # of the published files
    length: int | None  # of the interpolated profile; None keeps one value a ring
    normalise: Literal["none", "first"]
    middle_third: bool  # cut a third off every side first
    datasets: tuple[str, ...]  # names in a manifest that are this data


FACES_HQ = Recipe(
    data="Faces-HQ",
    n_features=722,
    length=None,
    normalise="none",
    middle_third=False,
    datasets=("faces-hq", "celeba-hq", "ffhq", "100k-faces", "thispersondoesnotexist"),
)
CELEBA = Recipe(
    data="CelebA", n_features=80, length=80, normalise="first", middle_third=False, datasets=("celeba",)
)
FFPP = Recipe(
    data="FaceForensics++",
    n_features=300,
    length=300,
    normalise="first",
    middle_third=True,
    datasets=("ffpp", "ff++", "faceforensics++", "dfd"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Labelled profiles with what is known of where they come from. Columns are of one length."""

    profiles: FloatArray  # (B, K)
    labels: NDArray[np.int64]  # (B,) 0 real, 1 fake
    origin: str  # for people
    samples: tuple[Sample, ...] = ()  # empty for a feature file, which names none

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def groups(self) -> list[str]:
        """What must not be on both sides of a split; a row without a group or video is one of its own."""
        if not self.samples:
            return [str(row) for row in range(len(self))]
        named = zip(sources(self.samples), self.samples, strict=True)
        return [source or str(sample.path) for source, sample in named]


def needs(recipe: Recipe) -> str:
    """What a cell without data asks for."""
    return (
        f"needs the {recipe.data} images (--data MANIFEST with the data set {' or '.join(recipe.datasets)}) "
        f"or their profiles (--features FILE.npz with {recipe.n_features} columns)"
    )


def luma(path: Path) -> FloatArray:
    """The grey levels of an image file.

    Args:    path: of the file.
    Returns: (H, W) float64, 0 to 255; for a JPEG the stored luma.
    Raises:  ImageError: it cannot be read.
    """
    try:
        with PIL.Image.open(path, formats=FORMATS) as picture:
            picture.draft("L", None)  # the JPEG decoder's own luma, before any colour conversion
            return np.asarray(picture.convert("L"), dtype=np.float64)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise ImageError(f"{escape(path)} cannot be read: {error}") from error


def profile(grey: FloatArray, recipe: Recipe) -> FloatArray:
    """The feature of one image.

    Args:    grey: (H, W), 0 to 255.
             recipe: of its data set.
    Returns: (K,).
    Raises:  ImageError: the image is too small.
    """
    if recipe.middle_third:
        top, left = grey.shape[0] // 3, grey.shape[1] // 3
        grey = grey[top : grey.shape[0] - top, left : grey.shape[1] - left]
    rows = spectrum.profile(grey[None], length=recipe.length, normalise=recipe.normalise, square=False)
    return np.asarray(rows[0])


def from_file(path: Path, recipe: Recipe | None) -> Features:
    """A published feature file.

    Args:    path: an .npz with X (B, K) and y (B,), 1 = fake.
             recipe: what the profiles must be of; None takes any.
    Returns: the features.
    Raises:  ConfigError: it is no such file, or of another data set.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            profiles, labels = np.asarray(arrays["X"], dtype=np.float64), np.asarray(arrays["y"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{escape(path)} is no feature file, an .npz with X and y: {error}") from error
    if profiles.ndim != 2 or labels.shape != profiles.shape[:1] or set(np.unique(labels)) != {REAL, FAKE}:
        raise ConfigError(
            f"{escape(path)}: X has shape {profiles.shape} and y {labels.shape}; expected one row of X "
            "for each y, with both labels, 0 (real) and 1 (fake)"
        )
    if not np.isfinite(profiles).all():
        raise ConfigError(f"{escape(path)}: X holds values that are not finite")
    if recipe and profiles.shape[1] != recipe.n_features:
        raise ConfigError(
            f"{escape(path)} holds profiles of {profiles.shape[1]} values; those of {recipe.data} have "
            f"{recipe.n_features}"
        )
    return Features(profiles, labels.astype(np.int64), f"{len(labels)} profiles of {path.name}")


def chosen(manifest: Manifest, recipe: Recipe) -> Manifest:
    """The samples of a manifest that are a paper's data set, or all of them where none is named so.

    Args:    manifest: labelled images.
             recipe: of the data set.
    Returns: a part of the manifest.
    """
    own = manifest.filter(lambda sample: sample.dataset.lower() in recipe.datasets)
    return own or manifest


def from_manifest(
    manifest: Manifest,
    recipe: Recipe,
    *,
    limit: int,
    seed: int,
    kind: Callable[[Sample], object] = lambda sample: sample.label,
) -> Features:
    """Profiles of images by a data set's recipe.

    Args:    manifest: labelled images.
             recipe: of the data set.
             limit: images of each kind at most, drawn at random.
             seed: of the draw.
             kind: of a sample; its label by default.
    Returns: the features, in the manifest's order.
    Raises:  ManifestError: a label is missing, or an image cannot be used.
             ConfigError: the recipe does not interpolate and the images differ in size.
    """
    labels = np.array(manifest.labels, dtype=np.int64)
    members: dict[object, list[int]] = defaultdict(list)
    for index, sample in enumerate(manifest):
        members[kind(sample)].append(index)
    rng = np.random.default_rng(seed)
    rows = np.sort(np.concatenate([rng.permutation(indices)[:limit] for indices in members.values()]))
    samples = [manifest[int(row)] for row in rows]
    found, failed = [], []
    for sample in samples:
        try:
            found.append(profile(luma(sample.path), recipe))
        except ImageError as error:
            failed.append(f"  {error}")
    if failed:
        raise ManifestError(
            f"{len(failed)} of {len(samples)} images cannot be used; filter them out or mend them:\n"
            + "\n".join(failed[:10])
        )
    lengths = sorted({len(row) for row in found})
    if len(lengths) > 1:
        raise ConfigError(
            f"the images have profiles of {len(lengths)} lengths, {lengths[0]} to {lengths[-1]}; the recipe "
            f"of {recipe.data} does not interpolate: give images of one size (the paper's are 1024 × 1024)"
        )
    return Features(np.stack(found), labels[rows], _origin(samples, recipe), tuple(samples))


def _origin(samples: Sequence[Sample], recipe: Recipe) -> str:
    names = sorted({sample.dataset or "unnamed" for sample in samples})
    other = (
        "" if {name.lower() for name in names} <= set(recipe.datasets) else f", which is not {recipe.data}"
    )
    return f"{len(samples)} images of {', '.join(names)}{other}, by the recipe of {recipe.data}"
