"""One file → one row: read, look, score, decide.

A row is the JSON object of `scan --json`. Whatever is wrong with a file becomes its row's error.

Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from tellsign import artifacts, detectors, faces, image, video
from tellsign.scoring.clips import score_video
from tellsign.scoring.decision import Decision, domain_distance
from tellsign.scoring.names import escape
from tellsign.types import ImageError, TellsignError, TooSmallError

if TYPE_CHECKING:
    from tellsign.types import FloatArray

Row = dict[str, Any]
NO_FACE = "no face was found, and this run looks at faces only; without a face there is no score"


@dataclass(frozen=True, slots=True)
class Options:
    """How files are looked at."""

    fpr: float | None = None  # false-positive rate to aim at; None: the detector's own
    prior: float | None = None  # share of fakes expected; None: the detector's own
    faces: bool = False  # look at faces although the detector was made for whole images
    n_frames: int = 20  # frames of a video
    max_pixels: int = 100_000_000  # of one image or frame


@dataclass(slots=True)
class Look:
    """One region of pixels that was scored, or the reason why it was not."""

    score: float | None = None
    distance: float | None = None
    reason: str | None = None


@dataclass(slots=True)
class Draft:
    """A row on its way: what was read, and the looks that will decide it."""

    row: Row
    regions: list[FloatArray] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)


class Scorer:
    """A loaded detector with its decision: call `rows` on files."""

    def __init__(self, detector: Path | str, options: Options | None = None) -> None:
        """Load the detector.

        Args:    detector: its folder.
                 options: how files are looked at.
        Raises:  ArtifactError, NotFittedError, ConfigError: the detector or the options don't do.
        """
        self.options = options or Options()
        self.artifact = artifacts.load(detector)
        self.detector = detectors.from_artifact(self.artifact)
        self.decision = Decision.of(self.artifact, fpr=self.options.fpr, prior=self.options.prior)
        own_region = self.artifact.spec["preprocessing"].get("region", "image")
        self.region = "face" if self.options.faces else own_region
        self.warnings = ()
        if self.region != own_region:
            self.warnings = (f"--faces: this detector was made for the whole {own_region}, not for faces",)

    @property
    def settings(self) -> dict[str, Any]:
        """Everything beside a file's content that its row depends on."""
        return {
            "detector": self.artifact.name,
            "region": self.region,
            "n_frames": self.options.n_frames,
            "max_pixels": self.options.max_pixels,
            **self.decision.as_settings(),
        }

    def rows(
        self, paths: Sequence[Path], *, on_start: Callable[[int], None] = lambda index: None
    ) -> list[Row]:
        """Score some files as one batch.

        Args:    paths: images and videos.
                 on_start: called with the index of each file before it is read.
        Returns: one row a path, in order.
        """
        drafts = []
        for index, path in enumerate(paths):
            on_start(index)
            drafts.append(self._draft(path))
        stills = [draft for draft in drafts if draft.regions]
        looks = iter(self.look([region for draft in stills for region in draft.regions]))
        for draft in stills:
            draft.looks = [next(looks) for _ in draft.regions]
            draft.regions = []
        return [self._finished(draft) for draft in drafts]

    def look(self, regions: Iterable[FloatArray]) -> list[Look]:
        """Score regions of pixels, (3, H, W) each, in [0, 1]."""
        looks, inputs = [], []
        for region in regions:
            look = Look()
            try:
                inputs.append((look, self.detector.preprocess(region)))
            except TooSmallError as error:
                look.reason = str(error)
            looks.append(look)
        # One batch for each combination of shapes: a detector may take inputs of several sizes.
        batches: dict[tuple[Any, ...], list[tuple[Look, dict[str, FloatArray]]]] = {}
        for look, named in inputs:
            key = tuple((name, array.shape) for name, array in named.items())
            batches.setdefault(key, []).append((look, named))
        for members in batches.values():
            batch = {name: np.stack([named[name] for _, named in members]) for name in members[0][1]}
            scores = self.detector.score(batch)
            distances = domain_distance(batch["profile"], self.artifact.arrays)
            for (look, _), score, distance in zip(members, scores, distances, strict=True):
                if not np.isfinite(score):
                    look.reason = "the detector gave no finite score"
                    continue
                look.score, look.distance = float(score), float(distance)
        return looks

    def _draft(self, path: Path) -> Draft:
        row = self._empty_row(path)
        try:
            return self._image_or_video(path, row)
        except TellsignError as error:
            row["error"] = str(error)
        except MemoryError:
            row["error"] = "not enough memory to read it; raise --memory-limit or lower --max-pixels"
        return Draft(row)

    def _image_or_video(self, path: Path, row: Row) -> Draft:
        with opened(path) as file:
            head = file.read(64)
            file.seek(0)
            if video.is_video(head):
                row["kind"] = "video"
                row["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
                return Draft(score_video(self, path, row))
            content = file.read()
        row["sha256"] = hashlib.sha256(content).hexdigest()
        picture = image.decode(content, max_pixels=self.options.max_pixels)
        row["warnings"] += picture.meta.warnings
        if self.region == "image":
            return Draft(row, [picture.array])
        found = faces.boxes(picture.array)
        row["faces"] = len(found)
        return Draft(row, [faces.crop(picture.array, box).array for box in found])

    def _empty_row(self, path: Path) -> Row:
        return {
            "path": escape(path),
            "sha256": None,
            "kind": "image",
            "label": None,
            "probability": None,
            "prior": self.decision.prior,
            "score": None,
            "threshold": self.decision.threshold,
            "detector": self.artifact.name,
            "faces": None,
            "warnings": list(self.warnings),
            "error": None,
        }

    def _finished(self, draft: Draft) -> Row:
        row = draft.row
        if row["error"] is not None or row["kind"] == "video":
            return row
        if not draft.looks:
            row["label"] = "uncertain"
            row["warnings"].append(NO_FACE)
            return row
        # Of several faces the most suspicious one decides: one manipulated face makes a manipulated picture.
        best = max(draft.looks, key=lambda look: -np.inf if look.score is None else look.score)
        return row | self.verdict(best, row["warnings"])

    def verdict(self, look: Look, warnings: Sequence[str]) -> Row:
        """Label, probability, score and warnings of one look."""
        if look.score is None or look.distance is None:
            return {"label": "uncertain", "warnings": [*warnings, look.reason]}
        unknown = self.decision.domain_warning(look.distance)
        return {
            "label": "uncertain" if unknown else self.decision.label(look.score),
            "probability": self.decision.probability(look.score),
            "score": look.score,
            "warnings": [*warnings, *([unknown] if unknown else [])],
        }


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file open for reading. Raises ImageError with the reason where it can't be had."""
    try:
        if not path.is_file():
            reason = "it is not a regular file" if path.exists() else "there is no such file"
            raise ImageError("the folder cannot be read" if path.is_dir() else reason)
        if path.stat().st_size == 0:
            raise ImageError("the file is empty")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise ImageError(f"the file cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, TellsignError):
            raise
        raise ImageError(f"the name is not a file's: {error}") from error  # a NUL in it
