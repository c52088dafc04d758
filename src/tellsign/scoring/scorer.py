"""One file → one row: read, look, score, decide.

A row is the JSON object of `scan --json`. Whatever is wrong with a file becomes its row's error.

Shapes: C channels, H W pixels.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BufferedReader
from pathlib import Path

from tellsign import faces, image
from tellsign.image.decoding import MAX_BYTES
from tellsign.scoring.clips import score_video
from tellsign.scoring.looks import Inputs, Look, Looker, Options, Row, most_suspicious
from tellsign.scoring.names import escape
from tellsign.scoring.workers import NO_MEMORY
from tellsign.types import ImageError, TellsignError
from tellsign.video import HEAD_BYTES, VIDEO_SUFFIXES, is_video

__all__ = ["Options", "Scorer"]


@dataclass(slots=True)
class Draft:
    """A row on its way: what was read, and the looks that will decide it."""

    row: Row
    prepared: list[Inputs | Look] = field(default_factory=list)  # one a region; no pixels, which are large
    looks: list[Look] = field(default_factory=list)


class Scorer(Looker):
    """A looker that reads files: call `rows`."""

    @property
    def again(self) -> Callable[[], Scorer]:
        """What loads the same scorer in another process, and sets it to work there."""
        return partial(_started, self.artifact.path, self.options, digest=self.artifact.digest)

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
        looks = iter(self.scored([inputs for draft in stills for inputs in draft.prepared]))
        for draft in stills:
            draft.looks = [next(looks) for _ in draft.prepared]
        return [None if draft is None else self._finished(draft) for draft in drafts]

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
        except ImageError as error:
            row["sha256"] = hashlib.sha256(content).hexdigest()
            if path.suffix.lower() == ".csv":
                raise ImageError(
                    f"{error}; is it a manifest? `scan --manifest` scans what it lists"
                ) from error
            raise
        # Not hashed twice: for a small picture that takes as long as the score.
        row["sha256"] = picture.meta.sha256
        row["warnings"] += picture.meta.warnings
        if self.region == "image":
            return Draft(row, [self.prepared(picture.array)])
        found = faces.crops(picture.array)
        row["faces"] = len(found)
        return Draft(row, [self.prepared(crop) for crop in found])

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
            "threshold": self.threshold,
            "fpr": self.decision.operating_point.fpr,
            "detector": self.artifact.name,
            "region": self.region,
            "faces": None,
            "warnings": list(self.warnings),
            "error": error,
            **({"engine": self.engine} if self.engine else {}),
        }

    def _finished(self, draft: Draft) -> Row:
        row = draft.row
        if row["error"] is not None or row["kind"] == "video":
            return row
        best = most_suspicious(draft.looks)
        return row | self.verdict(best, row["warnings"])


def _started(detector: Path, options: Options, *, digest: str) -> Scorer:
    scorer = Scorer(detector, options, digest=digest)
    scorer.start()  # a graph that can't be run is no file's fault
    if scorer.engine == "torch":
        from tellsign.engine.inference import keep_large_buffers

        keep_large_buffers()  # in a process of our own
    return scorer


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
