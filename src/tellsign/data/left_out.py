"""Images that can't be used: the first one stops what is done, or a number of them is left out and told.

A sound picture without a face is nobody's mistake: a detector of faces leaves it out, and it is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tellsign.types import ManifestError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class LeftOut:
    """Which images are left out, and why; each is told once."""

    def __init__(
        self,
        on_bad: Literal["stop", "skip"] | None = None,
        max_bad: int = 0,
        *,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Nothing is left out yet.

        Args:    on_bad: what happens at such an image; None: it stops, and there is no option to change that.
                 max_bad: how many may be left out.
                 say: told of each.
        """
        self.on_bad, self.max_bad, self.say = on_bad, max_bad, say
        self.reasons: dict[Path, str] = {}
        self.faceless: dict[Path, str] = {}

    @classmethod
    def of(cls, options: object, *, say: Callable[[str], None] = lambda text: None) -> LeftOut:
        """As the options `on_bad` and `max_bad` of a training say; where it lacks them, none is left out."""
        return cls(getattr(options, "on_bad", None), getattr(options, "max_bad", 0), say=say)

    def add(self, path: Path, reason: str) -> None:
        """Leave an image out.

        Args:    path: of the image. reason: why it can't be used.
        Raises:  ManifestError: it may not be left out, or is one too many.
        """
        if path in self.reasons:
            return
        name = f"{str(path)!a}"
        if self.on_bad != "skip":
            option = ', or skip such images with on_bad = "skip" and max_bad' if self.on_bad else ""
            raise ManifestError(
                f"{name} cannot be used: {reason}; mend it or take it out of the manifest{option}"
            )
        self.reasons[path] = reason
        if len(self.reasons) > self.max_bad:
            raise ManifestError(
                f"{len(self.reasons)} images can't be used, and max_bad is {self.max_bad}; the last one is "
                f"{name}: {reason}"
            )
        self.say(f"left out: {name}: {reason}")

    def pass_over(self, path: Path, reason: str) -> None:
        """Leave out a sound image in which a detector of faces has nothing to look at.

        Args:    path: of the image. reason: what a `NoFaceError` says.
        """
        if path not in self.faceless:
            self.faceless[path] = reason
            self.say(f"left out: {str(path)!a}: {reason}")
