"""A detector by fingerprints: the noise residual of an image → its correlation with each source → a score.

The score is the highest correlation with a generator's fingerprint less the correlation with that of the real
images: above 0 a generator has won, and at 0 neither has.

A fingerprint knows places. Either all images are of its size and are looked at as a whole, or tiles are cut
out of an image on a grid that begins at its upper left corner, so that a pattern which repeats itself, as
those of up-sampling do, meets its fingerprint in step wherever the tile lies.

Shapes: B batch, T tiles of an image, S sources, C channels (3), H W pixels of a fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.configuration import check_whole
from tellsign.detectors.preprocessing import domain_input, profile
from tellsign.features.prnu import ResidualOptions, correlations, residual
from tellsign.image.network_input import SMALLEST
from tellsign.types import ArtifactError, ConfigError, Evidence, ImageError, TooSmallError

if TYPE_CHECKING:
    from tellsign.artifacts import Artifact
    from tellsign.detectors.preprocessing import ProfileInput
    from tellsign.types import FloatArray

REAL_SOURCE = "real"  # the first of the sources


@dataclass(frozen=True, slots=True)
class FingerprintInput:
    """How an image becomes residuals."""

    crop: int | None = 128  # side of the tiles in pixels; None: the whole image, all of one size
    max_crops: int = 4  # tiles of a large image, evenly spread; their correlations are averaged
    levels: int = 4  # of the wavelet
    sigma: float = 5.0  # standard deviation of the noise, on levels 0 to 255

    def __post_init__(self) -> None:
        check_whole("max_crops", self.max_crops, 1)
        if self.crop is None:
            _ = self.noise  # checks the rest
            return
        check_whole("crop", self.crop, SMALLEST)
        if self.crop < self.noise.least_side:
            raise ConfigError(
                f"tiles of {self.crop} pixels are too small for {self.levels} levels of a wavelet, which "
                f"need {self.noise.least_side}; ask for fewer levels or larger tiles"
            )

    @property
    def noise(self) -> ResidualOptions:
        """What counts as noise."""
        return ResidualOptions(self.levels, self.sigma)

    @property
    def domain(self) -> ProfileInput:
        """What the domain check looks at."""
        return domain_input("image", self.crop)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> FingerprintInput:
        """The options stored in an artifact. Raises ArtifactError for what this version can't carry out."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(spec) - set(known)):
            raise ArtifactError(f"unknown preprocessing {unknown}; this version knows {sorted(known)}")
        try:
            return cls(**spec)
        except ConfigError as error:
            raise ArtifactError(f"its preprocessing cannot be carried out: {error}") from error

    def to_spec(self) -> dict[str, Any]:
        """The options as plain values."""
        return asdict(self)


def tiles(image: FloatArray, options: FingerprintInput) -> list[FloatArray]:
    """The pixels that are looked at.

    Args:    image: (3, H, W).
             options: crop and max_crops.
    Returns: (3, side, side) each, their corners at multiples of the side; the whole image without a crop.
    Raises:  TooSmallError: the image is smaller than a tile, or than the residual needs.
    """
    height, width = image.shape[-2:]
    side = options.crop or max(SMALLEST, options.noise.least_side)
    if min(height, width) < side:
        raise TooSmallError(
            f"the image is {width} × {height} pixels, this detector needs at least {side} × {side}; it is "
            "not enlarged, that would change its noise"
        )
    if options.crop is None:
        return [image]
    n_columns = width // side
    n_all = height // side * n_columns
    n_seen = min(options.max_crops, n_all)
    # In the middle of equal parts of the row of all tiles, so that a single one lies in the middle.
    chosen = [(2 * i + 1) * n_all // (2 * n_seen) for i in range(n_seen)]
    corners = [(side * (place // n_columns), side * (place % n_columns)) for place in chosen]
    return [image[:, top : top + side, left : left + side] for top, left in corners]


class FingerprintDetector:
    """Scores residuals by their correlations with the fingerprints of real images and of generators."""

    def __init__(self, artifact: Artifact) -> None:
        """Check that the artifact's parts fit together.

        Args:    artifact: the detector folder.
        Raises:  ArtifactError: fingerprints are missing, of another shape, or without their names.
        """
        try:
            self.input = FingerprintInput.from_spec(artifact.spec["preprocessing"])
            self.sources = _sources(artifact.spec)
            self.fingerprints = _fingerprints(artifact, self.input, len(self.sources))
        except ArtifactError as error:
            raise ArtifactError(f"{artifact.path}: {error}; train the detector again") from error

    def preprocess(self, image: FloatArray) -> dict[str, FloatArray]:
        """What is compared with the fingerprints, and what the domain check compares.

        Args:    image: (3, H, W) in [0, 1].
        Returns: residual (T, H, W) and profile (K,).
        Raises:  TooSmallError: the image is smaller than a tile.
                 ImageError: whole images are looked at, and this one is of another size.
        """
        seen = self._seen(image)
        residuals = np.stack([residual(tile, self.input.noise) for tile in seen])
        return {"residual": residuals, "profile": profile(image, self.input.domain)}

    def score(self, batch: Mapping[str, FloatArray]) -> FloatArray:
        """A batch as for `scores_and_parts` → (B,), higher = more fake; 0 is a tie."""
        return self.scores_and_parts(batch)[0]

    def parts(self, batch: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """A batch as for `scores_and_parts` → generator → (B,), the score if there were no other."""
        return self.scores_and_parts(batch)[1]

    def scores_and_parts(self, batch: Mapping[str, FloatArray]) -> tuple[FloatArray, dict[str, FloatArray]]:
        """What `score` and `parts` give, for the work of one.

        Args:    batch: residual (B, T, H, W).
        Returns: (B,) scores, and for each generator its lead over the real images (B,).
        Raises:  ArtifactError: the residuals are of another size than the fingerprints.
        """
        found = self._correlations(batch["residual"])
        lead = found[:, 1:] - found[:, :1]
        return lead.max(axis=1), dict(zip(self.sources[1:], lead.T, strict=True))

    def explain(self, image: FloatArray) -> tuple[Evidence, ...]:
        """The residual in the middle of what is looked at, and its correlation with each source.

        Args:    image: (3, H, W) in [0, 1].
        Returns: a heat map and scalars.
        Raises:  as `preprocess`.
        """
        residuals = self.preprocess(image)["residual"]
        found = self._correlations(residuals[None])[0]
        where = "" if self.input.crop is None else f" of one of {len(residuals)} tiles of the image"
        maps = Evidence(
            kind="heatmap",
            name="noise residual",
            values=np.asarray(residuals[len(residuals) // 2], np.float64),
            unit="levels of 255",
            caption=f"The noise{where}: what a denoiser takes away, and what is compared with the "
            "fingerprints. Regular dots or grids are traces of up-sampling.",
        )
        scalars = [
            Evidence(
                kind="scalar",
                name=f"correlation with {_named(source)}",
                values=value,
                unit="normalised, -1 to 1",
                caption="How much of the pattern that all images of this source share is in the noise of "
                "this one. The image is put down to the source with the highest value.",
            )
            for source, value in zip(self.sources, found, strict=True)
        ]
        return (maps, *scalars)

    def _seen(self, image: FloatArray) -> list[FloatArray]:
        seen, size = tiles(image, self.input), self.fingerprints.shape[1:]
        if seen[0].shape[1:] != size:
            height, width = image.shape[1:]
            raise ImageError(
                f"the image is {width} × {height} pixels, and the fingerprints are of images of "
                f"{size[1]} × {size[0]}; crop it to that size, or train a detector of tiles (crop = 128)"
            )
        return seen

    def _correlations(self, residuals: FloatArray) -> FloatArray:
        """(B, T, H, W) → (B, S), each the mean over an image's tiles."""
        if residuals.ndim != 4 or residuals.shape[2:] != self.fingerprints.shape[1:]:
            raise ArtifactError(
                f"the detector compares residuals of {self.fingerprints.shape[1:]} pixels and got a batch of "
                f"shape {residuals.shape}; its preprocessing and its arrays don't belong together"
            )
        n_images, n_tiles = residuals.shape[:2]
        flat = correlations(residuals.reshape(-1, *residuals.shape[2:]), self.fingerprints)
        means: FloatArray = flat.reshape(n_images, n_tiles, len(self.sources)).mean(axis=1)
        return means


def _named(source: str) -> str:
    return "real images" if source == REAL_SOURCE else source


def _sources(spec: Mapping[str, Any]) -> tuple[str, ...]:
    names = spec.get("sources")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ArtifactError(f"the key 'sources' should name whose fingerprints these are, found {names!r}")
    if len(names) < 2 or names[0] != REAL_SOURCE or len(set(names)) != len(names):
        raise ArtifactError(
            f"the key 'sources' should begin with {REAL_SOURCE!r} and name each generator once, found {names}"
        )
    return tuple(names)


def _fingerprints(artifact: Artifact, options: FingerprintInput, n_sources: int) -> FloatArray:
    found = artifact.arrays.get("fingerprint")
    if found is None:
        raise ArtifactError("array 'fingerprint' is missing")
    side = options.crop
    fits = found.ndim == 3 and len(found) == n_sources and side in (None, found.shape[1])
    if not fits or (side is not None and found.shape[2] != side):
        expected = (n_sources, side or "H", side or "W")
        raise ArtifactError(f"array 'fingerprint' should have the shape {expected}, found {found.shape}")
    if not (np.issubdtype(found.dtype, np.floating) and np.isfinite(found).all()):
        raise ArtifactError(f"array 'fingerprint' should hold finite numbers, found {found.dtype}")
    return np.asarray(found)
