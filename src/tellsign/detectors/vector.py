"""A detector of feature vectors: preprocessing → standardisation → a decision function.

Shapes: B batch, C channels, H W pixels, K features.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.detectors.cosine_evidence import cosine_evidence
from tellsign.detectors.descriptor_evidence import descriptor_evidence
from tellsign.detectors.evidence import profile_evidence
from tellsign.detectors.preprocessing import ProfileInput, features, profile, vector_input
from tellsign.types import REAL, ArtifactError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.artifacts import Artifact
    from tellsign.types import Evidence, FloatArray

Arrays = Mapping[str, "NDArray[Any]"]

# What every such artifact holds for each feature: how it is standardised, and what the classes look like.
STATISTICS = ("mean", "scale", "band.real_mean", "band.real_std", "band.fake_mean", "band.fake_std")


class VectorDetector:
    """Scores a standardised feature vector with the decision function of its kind."""

    def __init__(self, artifact: Artifact, decision: ModuleType) -> None:
        """Check that the artifact's arrays fit together.

        Args:    artifact: the detector folder.
                 decision: the module of its kind, `linear`, `kernel` or `trees`.
        Raises:  ArtifactError: an array is missing, of another shape, or holds what it can't be read with.
        """
        try:
            self.input = vector_input(artifact.spec["preprocessing"])
            _check(artifact.arrays, decision, self.input.n_features)
            if not (isinstance(self.input, ProfileInput) or hasattr(decision, "contributions")):
                raise ArtifactError("a detector of this kind judges profiles, and not descriptors")
        except ArtifactError as error:
            raise ArtifactError(f"{artifact.path}: {error}; train the detector again") from error
        self.arrays = artifact.arrays
        # Functions and not the module, which can't be sent to another process.
        self._scores = decision.scores
        self._contributions = getattr(decision, "contributions", None)
        self._base = getattr(decision, "base", None)

    def preprocess(self, image: FloatArray) -> dict[str, FloatArray]:
        """What is judged, and what the domain check compares.

        Args:    image: (3, H, W) in [0, 1].
        Returns: profile (K,); where a descriptor is judged, this (K,), and a profile beside it.
        Raises:  TooSmallError: the image is smaller than one crop.
        """
        found = {self.input.key: features(image, self.input)}
        if isinstance(self.input, ProfileInput):
            return found
        return found | {"profile": profile(image, self.input.domain)}

    def score(self, batch: Mapping[str, FloatArray]) -> FloatArray:
        """What `standardised` takes → (B,), higher = more fake. Raises ArtifactError for another K."""
        scores: FloatArray = self._scores(self.standardised(batch), self.arrays)
        return scores

    def standardised(self, batch: Mapping[str, FloatArray]) -> FloatArray:
        """What the decision is taken on.

        Args:    batch: profile (B, K), or descriptor (B, K) where one is judged.
        Returns: (B, K), each feature less its mean over the training images, over its scale.
        Raises:  ArtifactError: there is another number of features.
        """
        found = batch[self.input.key]
        if found.shape[-1] != self.arrays["mean"].shape[-1]:
            raise ArtifactError(
                f"the detector was trained on {self.arrays['mean'].shape[-1]} features and got "
                f"{found.shape[-1]}; its preprocessing and its arrays don't belong together"
            )
        # Row after row in memory: in another order sums are rounded in another way.
        rows = np.ascontiguousarray(found)
        return np.asarray((rows - self.arrays["mean"]) / self.arrays["scale"])

    def explain(self, image: FloatArray) -> tuple[Evidence, ...]:
        """What is judged within the bands of the classes, and what did what to the score."""
        if isinstance(self.input, ProfileInput):
            return profile_evidence(image, self.input, self.arrays, self.score)
        assert self._contributions is not None
        assert self._base is not None
        own = features(image, self.input)
        z = self.standardised({self.input.key: own[None]})
        contributions, base = self._contributions(z, self.arrays)[0], self._base(self.arrays)
        if self.input.descriptor == "dct2d":
            return cosine_evidence(own, arrays=self.arrays, contributions=contributions, base=base)
        return descriptor_evidence(
            image,
            own,
            region=self.input.region,
            arrays=self.arrays,
            contributions=contributions,
            base=base,
        )


def class_bands(features: FloatArray, labels: NDArray[np.integer[Any]]) -> dict[str, FloatArray]:
    """Mean and standard deviation of each class, for evidence.

    Args:    features: (B, K).
             labels: (B,).
    Returns: band.real_mean, band.real_std, band.fake_mean, band.fake_std, each (K,).
    """
    bands: dict[str, FloatArray] = {}
    for name, members in (("real", features[labels == REAL]), ("fake", features[labels != REAL])):
        bands |= {f"band.{name}_mean": members.mean(axis=0), f"band.{name}_std": members.std(axis=0)}
    return bands


def _check(arrays: Arrays, decision: ModuleType, n_features: int) -> None:
    """Raises ArtifactError unless every array is there, finite and of its shape; a letter is one length."""
    lengths = {"K": n_features}
    indices = getattr(decision, "INDICES", {})
    for name, letters in (dict.fromkeys(STATISTICS, "K") | decision.SHAPES | indices).items():
        if name not in arrays:
            raise ArtifactError(f"array {name!r} is missing")
        array = arrays[name]
        # A single number may be stored with an axis.
        found = () if not letters and array.size == 1 else array.shape
        fits = len(found) == len(letters) and all(
            lengths.setdefault(letter, length) == length
            for letter, length in zip(letters, found, strict=True)
        )
        if not fits:
            expected = tuple(lengths.get(letter, letter) for letter in letters)
            raise ArtifactError(f"array {name!r} should have the shape {expected}, found {array.shape}")
        if name in indices and not np.issubdtype(array.dtype, np.integer):
            raise ArtifactError(f"array {name!r} should hold whole numbers, found {array.dtype}")
        if name not in indices and not (np.issubdtype(array.dtype, np.floating) and np.isfinite(array).all()):
            raise ArtifactError(f"array {name!r} should hold finite numbers, found {array.dtype}")
    if not (arrays["scale"] > 0).all():
        raise ArtifactError("array 'scale' should be positive")
    if indices:
        decision.check(arrays, n_features)
