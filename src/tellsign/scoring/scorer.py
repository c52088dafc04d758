"""One file → one row: read, look, score, decide.

A row is the JSON object of `scan --json`. Whatever is wrong with a file becomes its row's error.

Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import artifacts, detectors, faces, image
from tellsign.container import HEAD_BYTES, is_video
from tellsign.image.decoding import MAX_BYTES
from tellsign.scoring.clips import score_video
from tellsign.scoring.decision import Decision, domain_distance
from tellsign.scoring.names import escape
from tellsign.types import ImageError, TellsignError, TooSmallError

if TYPE_CHECKING:
    from tellsign.types import FloatArray

Row = dict[str, Any]
NO_SCORE = "the detector gave no finite score for these pixels"
NO_FACE = "no face was found, and this run looks at faces only; without a face there is no score"


@dataclass(frozen=True, slots=True)
class Options:
    """How files are looked at."""

    fpr: float | None = None  # false-positive rate to aim at; None: the detector's own
    prior: float | None = None  # share of fakes expected; None: the detector's own
    faces: bool = False  # look at faces although the detector was made for whole images
    n_frames: int = 20  # frames of a video
    max_pixels: int = 100_000_000  # of one image or frame


@dataclass(frozen=True, slots=True)
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
        self.warnings: tuple[str, ...] = ()
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
        self,
        files: Sequence[tuple[Path, str | None]],
        *,
        on_start: Callable[[int | None], None] = lambda index: None,
    ) -> list[Row | None]:
        """Score some files as one batch.

        Args:    files: paths of images and videos, each with the sha256 it was scored with before, if any.
                 on_start: called with the index of each file before it is read, and with None before
                 those that were read are scored together.
        Returns: one row a file, in order; None where the content has not changed.
        """
        drafts: list[Draft | None] = []
        for index, (path, known) in enumerate(files):
            on_start(index)
            drafts.append(self._draft(path, known))
        on_start(None)
        stills = [draft for draft in drafts if draft and draft.regions]
        looks = iter(self.look([region for draft in stills for region in draft.regions]))
        for draft in stills:
            draft.looks = [next(looks) for _ in draft.regions]
            draft.regions = []
        return [None if draft is None else self._finished(draft) for draft in drafts]

    def look(self, regions: Iterable[FloatArray]) -> list[Look]:
        """Score regions of pixels, (3, H, W) each, in [0, 1]."""
        looks: dict[int, Look] = {}
        # One batch for each combination of shapes: a detector may take inputs of several sizes.
        batches: dict[tuple[Any, ...], list[tuple[int, dict[str, FloatArray]]]] = {}
        for number, region in enumerate(regions):
            try:
                inputs = self.detector.preprocess(region)
            except TooSmallError as error:
                looks[number] = Look(reason=str(error))
                continue
            key = tuple((name, array.shape) for name, array in inputs.items())
            batches.setdefault(key, []).append((number, inputs))
        for members in batches.values():
            batch = {name: np.stack([inputs[name] for _, inputs in members]) for name in members[0][1]}
            scores = self.detector.score(batch)
            distances = domain_distance(batch["profile"], self.artifact.arrays)
            for (number, _), score, distance in zip(members, scores, distances, strict=True):
                looks[number] = (
                    Look(float(score), float(distance)) if np.isfinite(score) else Look(reason=NO_SCORE)
                )
        return [looks[number] for number in sorted(looks)]

    def _draft(self, path: Path, known: str | None) -> Draft | None:
        row = self.empty_row(path)
        try:
            return self._image_or_video(path, known, row)
        except TellsignError as error:
            row["error"] = str(error)
        except MemoryError:
            row["error"] = "not enough memory to read it; raise --memory-limit or lower --max-pixels"
        return Draft(row)

    def _image_or_video(self, path: Path, known: str | None, row: Row) -> Draft | None:
        with opened(path) as file:
            head = file.read(HEAD_BYTES)
            file.seek(0)
            if is_video(head):
                row["kind"] = "video"
                row["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
                return None if row["sha256"] == known else Draft(score_video(self, path, row))
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise ImageError(f"the file is larger than {MAX_BYTES >> 20} MiB")
            content = file.read()
        row["sha256"] = hashlib.sha256(content).hexdigest()
        if row["sha256"] == known:
            return None
        picture = image.decode(content, name=path.name, max_pixels=self.options.max_pixels)
        row["warnings"] += picture.meta.warnings
        if self.region == "image":
            return Draft(row, [picture.array])
        found = faces.boxes(picture.array)
        row["faces"] = len(found)
        return Draft(row, [faces.crop(picture.array, box).image for box in found])

    def empty_row(self, path: Path, error: str | None = None) -> Row:
        """The row of a file that nothing is known of yet, or that ended in an error."""
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
            "error": error,
        }

    def _finished(self, draft: Draft) -> Row:
        row = draft.row
        if row["error"] is not None or row["kind"] == "video":
            return row
        best = self.most_suspicious(draft.looks) or self.nothing
        return row | self.verdict(best, row["warnings"])

    nothing = Look(reason=NO_FACE)  # what there is to judge where no face was found

    @staticmethod
    def most_suspicious(looks: Sequence[Look]) -> Look | None:
        """The look that decides: one manipulated face makes a manipulated picture."""
        return max(looks, key=lambda look: -np.inf if look.score is None else look.score, default=None)

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
def opened(path: Path) -> Iterator[BufferedReader]:
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
