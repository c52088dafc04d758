"""The records, protocols and errors that every other module speaks in.

Labels are 0 = real and 1 = fake everywhere inside the package, and a score is higher = more fake.
Data sets that say otherwise are converted at the border, in `tellsign.data`.

Shapes: B batch, C channels, H W pixels, K frequency bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.floating[Any]]

REAL, FAKE = 0, 1


class TellsignError(Exception):
    """Anything this package raises on purpose. The message says what to do about it."""


class ImageError(TellsignError, ValueError):
    """Bytes that are not a usable image."""


class TooSmallError(ImageError):
    """A sound image that is too small for a detector: the verdict is uncertain, not an error."""


class NoFaceError(TooSmallError):
    """A sound image in which a detector of faces finds none, or none that is large enough."""


class VideoError(TellsignError, ValueError):
    """A file that is not a usable video."""


class ManifestError(TellsignError, ValueError):
    """A manifest that breaks its own rules; the message names the line."""


class ConfigError(TellsignError, ValueError):
    """An option or a configuration that cannot be carried out."""


class ResourceError(ConfigError):
    """What a run lacks for now, whatever it was to do: memory, a process, a place that works."""


class OutputError(ResourceError):
    """A place that another run or another training holds, or that cannot be read or written."""


class ArtifactError(TellsignError, RuntimeError):
    """A detector folder that is missing, incomplete or inconsistent."""


class NotFittedError(TellsignError, RuntimeError):
    """A system that was asked for results before it was fitted."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image (or one frame, or one video) of a data set."""

    path: Path  # absolute, or relative to the working directory
    label: int | None = None  # 0 real, 1 fake, None unknown
    dataset: str = ""  # the source; results are reported per data set
    generator: str = ""  # what made a fake; empty for reals
    group: str = ""  # source video, identity or original; a group never crosses splits
    video: str = ""  # the video that a frame was taken from
    frame: float | None = None  # time stamp in seconds of a frame
    split: str = ""  # train, valid or test; empty when not yet split
    sha256: str = ""  # of the file's bytes; empty when not computed


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """One thing that a detector saw, ready to be drawn."""

    kind: Literal["heatmap", "curve", "scalar"]
    name: str
    values: FloatArray  # heatmap (H, W); curve (n, K), one row a label; scalar ()
    unit: str
    caption: str  # one sentence for people
    labels: tuple[str, ...] = ()  # names of a curve's rows


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What is said about one input."""

    label: Literal["real", "fake", "uncertain"]
    probability: float | None  # of fake, calibrated, at `prior`; None when nothing could be scored
    prior: float  # the share of fakes that `probability` assumes
    score: float | None  # uncalibrated, higher = more fake
    threshold: float  # probability from which on the label is fake, at `prior`
    detector: str  # name@digest
    sha256: str
    evidence: tuple[Evidence, ...] = ()
    warnings: tuple[str, ...] = ()  # what to know of the input
    reason: str | None = None  # why the label is uncertain; one of `warnings` where the input is to blame


class Detector(Protocol):
    """An artifact that runs. Never imports PyTorch."""

    def preprocess(self, image: FloatArray) -> dict[str, FloatArray]:
        """(3, H, W) sRGB in [0, 1] → named inputs of one image, without the batch axis."""

    def score(self, batch: Mapping[str, FloatArray]) -> FloatArray:
        """Named inputs stacked on axis 0 → (B,) uncalibrated scores, higher = more fake."""

    def explain(self, image: FloatArray) -> tuple[Evidence, ...]:
        """The evidence in one image of shape (3, H, W)."""
