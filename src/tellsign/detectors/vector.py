"""A detector of feature vectors: preprocessing → standardisation → a decision function.

Shapes: B batch, C channels, H W pixels, K features.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

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
        Raises:  ArtifactError: an array is missing or has another number of features.
        """
        needed = (*STATISTICS, *decision.PER_FEATURE)
        missing = [name for name in (*needed, *decision.OTHERS) if name not in artifact.arrays]
        if missing:
            raise ArtifactError(f"{artifact.path}: array {missing[0]!r} is missing; train the detector again")
        lengths = {name: artifact.arrays[name].shape[-1] for name in needed}
        if len(set(lengths.values())) != 1:
            raise ArtifactError(f"{artifact.path}: arrays differ in length, {lengths}; train it again")
        self.input = ProfileInput.from_spec(artifact.spec["preprocessing"])
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
        standardised = (features - self.arrays["mean"]) / self.arrays["scale"]
        scores: FloatArray = self._scores(standardised, self.arrays)
        return scores

    def explain(self, image: FloatArray) -> tuple[Evidence, ...]:
        """Spectrum, profile in its band, and what each frequency band did to the score."""
        return profile_evidence(image, self.input, self.arrays, self.score)
