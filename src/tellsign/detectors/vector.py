"""A detector of feature vectors: preprocessing → standardisation → a decision function.

Shapes: B batch, C channels, H W pixels, K features.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from tellsign.detectors.evidence import profile_evidence
from tellsign.detectors.preprocessing import ProfileInput, profile
from tellsign.types import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.artifacts import Artifact
    from tellsign.types import Evidence, FloatArray

# What every such artifact holds for each feature: how it is standardised, and what the classes look like.
STATISTICS = ("mean", "scale", "band.real_mean", "band.real_std", "band.fake_mean", "band.fake_std")


class VectorDetector:
    """Scores a standardised feature vector with the decision function of its kind."""

    def __init__(self, artifact: Artifact, decision: ModuleType) -> None:
        """Check that the artifact's arrays fit together.

        Args:    artifact: the detector folder.
                 decision: the module of its kind, `linear` or `kernel`.
        Raises:  ArtifactError: an array is missing, of another shape, or holds what is no finite number.
        """
        try:
            self.input = ProfileInput.from_spec(artifact.spec["preprocessing"])
            _check(artifact.arrays, dict.fromkeys(STATISTICS, "K") | decision.SHAPES, self.input.n_features)
        except ArtifactError as error:
            raise ArtifactError(f"{artifact.path}: {error}; train the detector again") from error
        self.arrays = artifact.arrays
        self._scores = decision.scores

    def preprocess(self, image: FloatArray) -> dict[str, FloatArray]:
        """(3, H, W) in [0, 1] → {"profile": (K,)}. Raises TooSmallError."""
        return {"profile": profile(image, self.input)}

    def score(self, batch: Mapping[str, FloatArray]) -> FloatArray:
        """{"profile": (B, K)} → (B,), higher = more fake. Raises ArtifactError for another K."""
        features = batch["profile"]
        if features.shape[-1] != self.arrays["mean"].shape[-1]:
            raise ArtifactError(
                f"the detector was trained on {self.arrays['mean'].shape[-1]} features and got "
                f"{features.shape[-1]}; its preprocessing and its arrays don't belong together"
            )
        # Row after row in memory: in another order sums are rounded in another way.
        features = np.ascontiguousarray(features)
        standardised = (features - self.arrays["mean"]) / self.arrays["scale"]
        scores: FloatArray = self._scores(standardised, self.arrays)
        return scores

    def explain(self, image: FloatArray) -> tuple[Evidence, ...]:
        """Spectrum, profile in its band, and what each frequency band did to the score."""
        return profile_evidence(image, self.input, self.arrays, self.score)


def _check(arrays: Mapping[str, FloatArray], shapes: Mapping[str, str], n_features: int) -> None:
    """Raises ArtifactError unless every array is there, finite and of its shape; a letter is one length."""
    lengths = {"K": n_features}
    for name, letters in shapes.items():
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
        if not (np.issubdtype(array.dtype, np.floating) and np.isfinite(array).all()):
            raise ArtifactError(f"array {name!r} should hold finite numbers, found {array.dtype}")
    if not (arrays["scale"] > 0).all():
        raise ArtifactError("array 'scale' should be positive")
