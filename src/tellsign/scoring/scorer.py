"""One file → one row: read, look, score, decide.

A row is the JSON object of `scan --json`. Whatever is wrong with a file becomes its row's error.

Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import artifacts, detectors, faces, image
from tellsign.image.decoding import MAX_BYTES
from tellsign.scoring.clips import score_video
from tellsign.scoring.decision import Decision, domain_distance
from tellsign.scoring.names import escape
from tellsign.scoring.workers import NO_MEMORY
from tellsign.types import ArtifactError, ImageError, TellsignError, TooSmallError
from tellsign.video import HEAD_BYTES, VIDEO_SUFFIXES, is_video

if TYPE_CHECKING:
    from tellsign.types import FloatArray

Row = dict[str, Any]
Inputs = dict[str, "FloatArray"]  # what a detector takes of one region
BETWEEN = "its score lies between the thresholds, where real and fake images look alike to this detector"
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
    prepared: list[Inputs | Look] = field(default_factory=list)  # one a region; no pixels, which are large
    looks: list[Look] = field(default_factory=list)


class Scorer:
    """A loaded detector with its decision: call `rows` on files."""

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
        self.detector = detectors.from_artifact(self.artifact)
        self.decision = Decision.of(self.artifact, fpr=self.options.fpr, prior=self.options.prior)
        own_region = self.artifact.spec["preprocessing"].get("region", "image")
        self.region = "face" if self.options.faces else own_region
        self.warnings: tuple[str, ...] = ()
        if self.region != own_region:
            self.warnings = (f"--faces: this detector was made for the whole {own_region}, not for faces",)

    @property
    def again(self) -> Callable[[], Scorer]:
        """What loads the same scorer in another process."""
        return partial(Scorer, self.artifact.path, self.options, digest=self.artifact.digest)

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
            "threshold": self.decision.threshold,
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
        stills = [draft for draft in drafts if draft]
        looks = iter(self._scored([inputs for draft in stills for inputs in draft.prepared]))
        for draft in stills:
            draft.looks = [next(looks) for _ in draft.prepared]
        return [None if draft is None else self._finished(draft) for draft in drafts]

    def look(self, regions: Iterable[FloatArray]) -> list[Look]:
        """Score regions of pixels, (3, H, W) each, in [0, 1]."""
        return self._scored([self._prepared(region) for region in regions])

    def _prepared(self, region: FloatArray) -> Inputs | Look:
        try:
            return self.detector.preprocess(region)
        except TooSmallError as error:
            return Look(reason=str(error))

    def _scored(self, prepared: Sequence[Inputs | Look]) -> list[Look]:
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
            row["error"] = NO_MEMORY
        return Draft(row)

    def _image_or_video(self, path: Path, known: str | None, row: Row) -> Draft | None:
        with opened(path) as file:
            head = file.read(HEAD_BYTES)
            file.seek(0)
            if is_video(head):
                row["kind"] = "video"
                row["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
                return None if row["sha256"] == known else Draft(score_video(self, path, row))
            row["kind"] = "image"
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise ImageError(f"the file is larger than {MAX_BYTES >> 20} MiB")
            content = file.read()
        if known is not None and hashlib.sha256(content).hexdigest() == known:
            return None
        try:
            picture = image.decode(content, name=path.name, max_pixels=self.options.max_pixels)
        except ImageError:
            row["sha256"] = hashlib.sha256(content).hexdigest()
            raise
        # Not hashed twice: for a small picture that takes as long as the score.
        row["sha256"] = picture.meta.sha256
        row["warnings"] += picture.meta.warnings
        if self.region == "image":
            return Draft(row, [self._prepared(picture.array)])
        found = faces.boxes(picture.array)
        row["faces"] = len(found)
        return Draft(row, [self._prepared(faces.crop(picture.array, box).image) for box in found])

    def empty_row(self, path: Path, error: str | None = None) -> Row:
        """The row of a file that nothing is known of yet, or that ended in an error."""
        return {
            "path": escape(path),
            "sha256": None,
            "kind": "video" if path.suffix.lower() in VIDEO_SUFFIXES else "image",
            "label": None,
            "reason": None,
            "probability": None,
            "prior": self.decision.prior,
            "score": None,
            "threshold": self.decision.threshold,
            "fpr": self.decision.operating_point.fpr,
            "detector": self.artifact.name,
            "region": self.region,
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
            return {"label": "uncertain", "reason": look.reason, "warnings": [*warnings, look.reason]}
        unknown = self.decision.domain_warning(look.distance)
        label = "uncertain" if unknown else self.decision.label(look.score)
        return {
            "label": label,
            "reason": unknown or (BETWEEN if label == "uncertain" else None),
            "probability": self.decision.probability(look.score),
            "score": look.score,
            "warnings": [*warnings, *([unknown] if unknown else [])],
        }


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """A file open for reading. Raises ImageError with the reason where it can't be had."""
    try:
        if "\0" in str(path):
            raise ImageError("no file's name has a NUL in it")
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            os.scandir(path).close()  # says why it cannot be read
            raise ImageError("it is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("it is a pipe, socket or device and not a regular file")
        if status.st_size == 0:
            raise ImageError("the file is empty")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise ImageError("there is no such file; it may have been moved or deleted meanwhile") from error
    except OSError as error:
        raise ImageError(f"the file cannot be read: {error.strerror or error}") from error
