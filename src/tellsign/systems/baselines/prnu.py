"""The fingerprint detector: images → noise residuals → a fingerprint of each source → artifact.

Marra, Gragnaniello, Verdoliva and Poggi, "Do GANs leave artificial fingerprints?", MIPR 2019. A fingerprint
is estimated as in Chen, Fridrich, Goljan and Lukáš, "Determining image origin and integrity using sensor
noise", 2008.

Shapes: S sources, H W pixels of a fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np

from tellsign import artifacts
from tellsign.configuration import check_choice
from tellsign.data.manifest import require_both_classes, require_images
from tellsign.data.picture import picture
from tellsign.detectors import FINGERPRINT
from tellsign.detectors.fingerprint import REAL_SOURCE, FingerprintInput, tiles
from tellsign.detectors.fitting import system_spec
from tellsign.features.prnu import Fingerprint, Weighting
from tellsign.types import REAL, ImageError, ManifestError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tellsign.data.manifest import Manifest
    from tellsign.types import FloatArray, Sample

UNNAMED = "fake"  # the source of fakes whose generator the manifest doesn't name
FEW = 50  # images of a source, below which its fingerprint is mostly the noise of its images


@dataclass(frozen=True, slots=True)
class PrnuConfig:
    """What is taken of an image, and how a fingerprint is estimated."""

    crop: int | None = 128  # side of the tiles in pixels; none: whole images, all of one size
    max_crops: int = 4  # tiles of a large image, evenly spread
    levels: int = 4  # of the wavelet
    sigma: float = 5.0  # standard deviation of the noise, on levels 0 to 255
    fingerprint: Weighting = "intensity"  # bright pixels count for more; mean: all alike

    def __post_init__(self) -> None:
        check_choice("fingerprint", self.fingerprint, get_args(Weighting))
        _ = self.input  # checks the rest

    @property
    def input(self) -> FingerprintInput:
        """The part that the detector needs to run."""
        return FingerprintInput(self.crop, self.max_crops, self.levels, self.sigma)


class PrnuSystem:
    """Fingerprints of the real images and of each generator."""

    name = "prnu"
    config_class = PrnuConfig
    requires = ("sklearn",)  # what the domain check of any training imports; `fit` does without

    def __init__(self, config: PrnuConfig | None = None) -> None:
        self.config = config or PrnuConfig()

    def fit(
        self,
        train: Manifest,
        valid: Manifest,  # noqa: ARG002
        *,
        out: Path,
        seed: int,
        say: Callable[[str], None] = lambda text: None,
    ) -> Path:
        """Estimate the fingerprints and write the detector, uncalibrated.

        The manifest's generators are the sources of fakes, those without a name one more.

        Args:    train: labelled images.
                 valid: not looked at: nothing here is stopped early.
                 out: the detector's folder.
                 seed: recorded; nothing here is random.
                 say: told of sources with few images.
        Returns: `out`.
        Raises:  ManifestError: an image cannot be used, whole images differ in size, or a class is missing.
        """
        require_images(train)
        require_both_classes(train, "the training images")
        fingerprints, counts = fitted(train, self.config)
        for source, n in counts.items():
            if n < FEW:
                say(f"the fingerprint of {source} is taken of {n} images; below {FEW} it is mostly noise")
        artifacts.save(
            out,
            spec={
                **system_spec(self.name, self.config, seed=seed, kind=FINGERPRINT),
                "sources": list(counts),
                "source_images": list(counts.values()),
            },
            arrays={"fingerprint": fingerprints},
        )
        return out


def fitted(train: Manifest, config: PrnuConfig) -> tuple[FloatArray, dict[str, int]]:
    """The fingerprint of each source.

    Args:    train: labelled images.
             config: tiles and noise.
    Returns: (S, H, W) float32, and how many images each is taken of, reals first.
    Raises:  ManifestError: an image cannot be used, or whole images differ in size; all such are counted.
    """
    generators = sorted({_source(sample) for sample in train} - {REAL_SOURCE})
    options = config.input
    found = {name: Fingerprint(options.noise, config.fingerprint) for name in (REAL_SOURCE, *generators)}
    counts = dict.fromkeys(found, 0)
    failed: list[str] = []
    size: tuple[int, ...] | None = None
    for sample in train:
        try:
            array = picture(sample).array
            if size is not None and config.crop is None and array.shape != size:
                raise ImageError(
                    f"the image is {array.shape[2]} × {array.shape[1]} pixels, and those before it "
                    f"{size[2]} × {size[1]}: fingerprints of whole images need one size; crop them "
                    "(`tellsign data harmonise`), or take tiles (crop = 128)"
                )
            for tile in tiles(array, options):
                found[_source(sample)].add(tile)
        except ImageError as error:
            failed.append(f"  {str(sample.path)!a}: {error}")
            continue
        size = size or array.shape
        counts[_source(sample)] += 1
    if failed:
        raise ManifestError(
            f"{len(failed)} of {len(train)} images cannot be used; filter them out or mend them:\n"
            + "\n".join(failed[:10])
        )
    return np.stack([one.estimate().astype(np.float32) for one in found.values()]), counts


def _source(sample: Sample) -> str:
    """Whose fingerprint an image is for. Raises ManifestError where a generator has the reals' name."""
    if sample.label == REAL:
        return REAL_SOURCE
    if sample.generator == REAL_SOURCE:
        raise ManifestError(
            f"{str(sample.path)!a} is fake and its generator is called {REAL_SOURCE!r}: rename it"
        )
    return sample.generator or UNNAMED
