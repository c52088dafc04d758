"""Pixels → looks → a verdict: what a loaded detector does with regions of an image.

Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tellsign import artifacts, detectors
from tellsign.scoring import engines
from tellsign.scoring.decision import Decision, domain_distance
from tellsign.types import ArtifactError, TooSmallError

if TYPE_CHECKING:
    from tellsign.detectors.engines import Engine
    from tellsign.types import FloatArray

Row = dict[str, Any]
Inputs = dict[str, "FloatArray"]  # what a detector takes of one region
BETWEEN = "its score lies between the thresholds, where real and fake images look alike to this detector"
NO_SCORE = "the detector gave no finite score for these pixels"
NO_FACE = "no face was found, and this run looks at faces only; without a face there is no score"


@dataclass(frozen=True, slots=True)
class Options:
    """How files are looked at."""

    fpr: float | Literal["eer"] | None = None  # false-positive rate to aim at; None: the detector's own
    prior: float | None = None  # share of fakes expected; None: the detector's own
    faces: bool = False  # look at faces although the detector was made for whole images
    n_frames: int = 20  # frames of a video
    max_pixels: int = 100_000_000  # of one image or frame
    engine: Engine = "onnx"  # what runs the graph of a network


@dataclass(frozen=True, slots=True)
class Look:
    """One region of pixels that was scored, or the reason why it was not."""

    score: float | None = None
    distance: float | None = None
    reason: str | None = None
    parts: dict[str, float | None] | None = None  # scores of a network's parts; None where it has none


NOTHING_SEEN = Look(reason=NO_FACE)


def most_suspicious(looks: Sequence[Look]) -> Look:
    """The look that decides: one manipulated face makes a manipulated picture."""
    return max(looks, key=lambda look: -np.inf if look.score is None else look.score, default=NOTHING_SEEN)


class Looker:
    """A loaded detector with its decision: call `look` on pixels and `verdict` on what it saw."""

    def __init__(
        self, detector: Path | str, options: Options | None = None, *, digest: str | None = None
    ) -> None:
        """Load the detector.

        Args:    detector: its folder.
                 options: how files are looked at.
                 digest: that the folder must have.
        Raises:  ArtifactError, NotFittedError, ConfigError: the detector or the options don't do.
        """
        self.options = options or Options()
        self.artifact = artifacts.load(detector)
        if digest not in (None, self.artifact.digest):
            raise ArtifactError(
                f"the detector at {detector} was replaced while it was at work: its digest was "
                f"{str(digest)[:12]} and is {self.artifact.digest[:12]}; run the command again"
            )
        self.detector = detectors.from_artifact(
            self.artifact, self.options.engine, torch_run=engines.torch_run
        )
        self.engine: str | None = getattr(self.detector, "engine", None)  # None: the detector has no graph
        self.decision = Decision.of(self.artifact, fpr=self.options.fpr, prior=self.options.prior)
        self.threshold = self.decision.threshold
        own_region = self.artifact.spec["preprocessing"].get("region", "image")
        self.region = "face" if self.options.faces else own_region
        self.warnings: tuple[str, ...] = ()
        if self.region != own_region:
            self.warnings = (f"--faces: this detector was made for the whole {own_region}, not for faces",)

    @property
    def settings(self) -> dict[str, Any]:
        """Everything beside a file's content that its verdict depends on.

        `max_pixels` is not among it: it decides what is refused, and what was refused is tried again.
        """
        return {
            "detector": self.artifact.name,
            "region": self.region,
            "n_frames": self.options.n_frames,
            "fpr": self.decision.operating_point.fpr,
            "threshold": self.threshold,
            **self.decision.as_settings(),
            **({"engine": self.engine} if self.engine else {}),
        }

    def start(self) -> None:
        """Set a network to work now and not at the first image. Raises what its `start` does."""
        start = getattr(self.detector, "start", None)
        if start is not None:
            start()

    def look(self, regions: Iterable[FloatArray]) -> list[Look]:
        """Score regions of pixels, (3, H, W) each, in [0, 1]."""
        return self.scored([self.prepared(region) for region in regions])

    def prepared(self, region: FloatArray) -> Inputs | Look:
        """What the detector takes of one region, (3, H, W) in [0, 1]; a look where that is nothing."""
        try:
            return self.detector.preprocess(region)
        except TooSmallError as error:
            return Look(reason=str(error))

    def scored(self, prepared: Sequence[Inputs | Look]) -> list[Look]:
        """One look for each of what `prepared` gave, scored together."""
        looks: dict[int, Look] = {}
        # One batch for each combination of shapes: a detector may take inputs of several sizes.
        batches: dict[tuple[Any, ...], list[tuple[int, Inputs]]] = {}
        for number, inputs in enumerate(prepared):
            if isinstance(inputs, Look):
                looks[number] = inputs
                continue
            key = tuple((name, array.shape) for name, array in inputs.items())
            batches.setdefault(key, []).append((number, inputs))
        for members in batches.values():
            batch = {name: np.stack([inputs[name] for _, inputs in members]) for name in members[0][1]}
            scores, parts = self._judged(batch)
            distances = domain_distance(batch["profile"], self.artifact.arrays)
            for row, (number, _) in enumerate(members):
                if not np.isfinite(scores[row]):
                    looks[number] = Look(reason=NO_SCORE)
                    continue
                own = {name: _number(values[row]) for name, values in parts.items()}
                looks[number] = Look(float(scores[row]), float(distances[row]), parts=own or None)
        return [looks[number] for number in sorted(looks)]

    def _judged(self, batch: Inputs) -> tuple[FloatArray, dict[str, FloatArray]]:
        """(B,) scores and those of the parts, by name."""
        both = getattr(self.detector, "scores_and_parts", None)
        if both is not None:  # a network runs once for both
            found: tuple[FloatArray, dict[str, FloatArray]] = both(batch)
            return found
        parts = getattr(self.detector, "parts", None)
        return self.detector.score(batch), {} if parts is None else parts(batch)

    def verdict(self, look: Look, warnings: Sequence[str]) -> Row:
        """Label, probability, score and warnings of one look."""
        if look.score is None or look.distance is None:
            return {"label": "uncertain", "reason": look.reason, "warnings": [*warnings, look.reason]}
        unknown = self.decision.domain_warning(look.distance)
        label = "uncertain" if unknown else self.decision.label(look.score)
        return {
            "label": label,
            "reason": unknown or (BETWEEN if label == "uncertain" else None),
            "probability": self.decision.probability(look.score),
            "score": look.score,
            "warnings": [*warnings, *([unknown] if unknown else [])],
            **({"parts": look.parts} if look.parts else {}),
        }


def mean_parts(looks: Iterable[Look]) -> dict[str, float | None] | None:
    """The mean of each part's score over looks that have one; None where there are no parts."""
    found: dict[str, list[float]] = {}
    for look in looks:
        for name, score in (look.parts or {}).items():
            found.setdefault(name, []).extend([] if score is None else [score])
    return {name: float(np.mean(scores)) if scores else None for name, scores in found.items()} or None


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
