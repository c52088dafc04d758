"""One self-contained HTML page for any number of inputs: verdict first, then the evidence.

No script, no network, no path of this machine. The same explanations give the same bytes.

Shapes: H W pixels.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tellsign import __version__
from tellsign.calibration import shift_prior
from tellsign.explain import figures, plots, words
from tellsign.explain.templates import template
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from tellsign.explain.figures import Plot
    from tellsign.types import FloatArray, Verdict

    Context = dict[str, Any]

PRIORS = (0.01, 0.1, 0.5)  # shares of fakes that every probability is also stated for
PICTURE_SIDE = 640
THUMBNAIL_SIDE = 96
SPOOL = 8 << 20  # characters of rendered sections that are kept in memory, the rest on disk


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """One input with everything that its section shows."""

    name: str  # file name as text, may hold anything
    kind: Literal["image", "video"]
    verdict: Verdict | None  # None when the input failed
    error: str | None
    picture: NDArray[np.uint8] | None  # (H, W, 3); of a video, a frame that stands for it
    facts: tuple[tuple[str, str], ...]  # rows of metadata, already filtered for privacy
    real_scores: FloatArray  # calibration scores of images that the detector was not trained on
    fake_scores: FloatArray
    low: float  # no sign is reported below
    high: float  # signs are reported from here on; uncertain in between
    card: str  # the detector's training data and limits, in a few words
    timeline: tuple[Mapping[str, Any], ...] = ()  # {"time", "score", "label"} of a video's frames
    vote: Mapping[str, Any] | None = None  # {"label", "real", "fake", "uncertain"} of a video's frames
    grounds: Mapping[str, NDArray[np.uint8]] = field(
        default_factory=dict
    )  # name of a heat map → what it covers

    def __post_init__(self) -> None:
        picture = self.picture
        if picture is not None and (picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3):
            raise ConfigError(
                f"a picture to explain is uint8 (H, W, 3), found {picture.dtype} {picture.shape}; "
                "move the channels last and scale to 0 … 255"
            )
        if self.kind not in ("image", "video"):
            raise ConfigError(f"kind is image or video, found {self.kind!r}")
        if self.verdict is None and self.error is None:
            raise ConfigError("an explanation without a verdict needs the reason as its error")


def page(
    explanations: Iterable[Explanation], *, title: str, detector: str, notes: tuple[str, ...] = ()
) -> Iterator[str]:
    """The page in pieces of HTML.

    Every explanation is rendered and let go before the next one is taken; the first piece comes when the
    last explanation was taken, because the summary stands on top.

    Args:    explanations: in the order of the page.
             title: of the page.
             detector: name@digest.
             notes: remarks on the whole run, plain text.
    Returns: pieces that joined are one HTML document, valid UTF-8.
    """
    pieces = template("page.html").module
    counts: Counter[str] = Counter()
    with _spool() as rows, _spool() as sections:
        for index, explanation in enumerate(explanations, start=1):
            context = _context(explanation, index)
            counts[context["label"]] += 1
            rows.write(pieces.row(context))
            sections.write(pieces.section(context))
        summary = [
            (label, counts[label], words.WORDS[label].heading) for label in words.WORDS if counts[label]
        ]
        yield pieces.head(
            title=words.visible(title),
            detector=words.visible(detector),
            notes=[words.visible(note) for note in notes],
            counts=summary,
            n=counts.total(),
            light=figures.LIGHT,
            dark=figures.DARK,
        )
        if counts.total() > 1:
            yield pieces.summary_open()
            yield from _pieces(rows)
            yield pieces.summary_close()
        yield from _pieces(sections)
        yield pieces.foot(version=__version__)


def write_page(
    explanations: Iterable[Explanation],
    path: Path | str,
    *,
    title: str,
    detector: str,
    notes: tuple[str, ...] = (),
) -> None:
    """Write the page to a file, which is there as a whole or not at all.

    Args:    explanations: in the order of the page; taken one at a time.
             path: to write to, replaced where it exists.
             title, detector, notes: as for `page`.
    Raises:  ConfigError: the file can't be written.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.draft")
    # Only what concerns the file is translated: an explanation may raise an OSError of its own.
    with _writing(path):
        file = draft.open("w", encoding="utf-8", newline="\n")
    try:
        with file:
            for piece in page(explanations, title=title, detector=detector, notes=notes):
                with _writing(path):
                    file.write(piece)
        with _writing(path):
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def save_pictures(explanation: Explanation, folder: Path | str) -> list[Path]:
    """Write the plots of an explanation as PNG files.

    Args:    explanation: of one input.
             folder: made if need be; files of the same name, from the same content, are replaced.
    Returns: the files, in the order of the page: none where there is no verdict.
    Raises:  ConfigError: the folder can't be written to.
    """
    folder = Path(folder)
    if explanation.verdict is None:
        return []
    stem = f"{_slug(Path(_name(explanation)).stem)}-{explanation.verdict.sha256[:8]}"
    paths: list[Path] = []
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for plot in _plots(explanation):
        path = folder / f"{stem}-{_slug(plot.name)}.png"
        if path in paths:
            path = path.with_stem(f"{path.stem}-{len(paths) + 1}")
        with _writing(path):
            path.write_bytes(figures.png(plot))
        paths.append(path)
    return paths


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot write {path.name!a}: {error.strerror or error}; give another place or make room"
        ) from error


def _context(explanation: Explanation, index: int) -> Context:
    """What the template shows of one input. Every text in it is visible, none of it is escaped yet."""
    verdict = explanation.verdict
    label = verdict.label if verdict else "failed"
    said = words.WORDS[label]
    noun = explanation.kind
    anchor = f"input-{index}"
    context: Context = {
        "anchor": anchor,
        "index": index,
        "name": words.visible(_name(explanation)),
        "noun": noun,
        "label": label,
        "heading": said.heading,
        "lead": said.lead.format(noun=noun),
        "says": said.says.format(noun=noun),
        "says_not": said.says_not.format(noun=noun),
        "reasons": [words.visible(reason) for reason in _reasons(explanation)],
        "picture": explanation.picture is not None and figures.jpeg_url(explanation.picture, PICTURE_SIDE),
        "thumbnail": explanation.picture is not None
        and figures.jpeg_url(explanation.picture, THUMBNAIL_SIDE, quality=70),
        "facts": [(words.visible(k), words.visible(v, lines=True)) for k, v in explanation.facts],
        "card": words.visible(explanation.card, lines=True),
        "probability": None,
        "plots": [],
        "scalars": [],
        "frames": [],
        "judged": verdict is not None,
    }
    return context | _judged(explanation, verdict, anchor) if verdict else context


def _judged(explanation: Explanation, verdict: Verdict, anchor: str) -> Context:
    """What the template shows besides, where there is a verdict."""
    # A warning may well be the reason, even where the score lies between the thresholds, too.
    doubtful = verdict.label == "uncertain" and (bool(_doubt(verdict)) or not _undecided(explanation))
    return {
        "detector": words.visible(verdict.detector),
        "sha256": words.visible(verdict.sha256),
        "score": None if verdict.score is None else words.number(verdict.score),
        "low": words.number(explanation.low),
        "high": words.number(explanation.high),
        **_probability(verdict, doubtful=doubtful),
        "plots": [
            {
                "title": plot.title,
                "caption": plot.caption,
                "finding": plot.finding,
                "void": plot.name == "score" and doubtful,
                "svg": figures.svg(plot, prefix=f"{anchor}-plot-{position}"),
            }
            for position, plot in enumerate(_plots(explanation), start=1)
        ],
        "scalars": [
            {
                "name": words.visible(evidence.name),
                "value": words.number(float(np.asarray(evidence.values))),
                "unit": words.visible(evidence.unit),
                "caption": words.visible(evidence.caption),
            }
            for evidence in verdict.evidence
            if evidence.kind == "scalar"
        ],
        "frames": [
            {
                "time": words.clock(entry["time"]),
                "score": "–" if entry["score"] is None else words.number(entry["score"]),
                "heading": words.WORDS[entry["label"]].heading if entry["label"] else "No score",
            }
            for entry in explanation.timeline
        ],
        "vote": _vote(explanation.vote),
    }


def _name(explanation: Explanation) -> str:
    """The name; of an absolute path its last part, because a page travels and folders are private."""
    name = explanation.name
    if re.match(r"/|[A-Za-z]:\\|\\\\", name):
        return re.split(r"[/\\]", name.rstrip("/\\"))[-1] or name
    return name


def _reasons(explanation: Explanation) -> tuple[str, ...]:
    verdict = explanation.verdict
    if verdict is None:
        return (explanation.error or "",)
    if verdict.label == "uncertain" and verdict.score is not None and _undecided(explanation):
        between = (
            f"its score {words.number(verdict.score)} lies between the thresholds "
            f"{words.number(explanation.low)} and {words.number(explanation.high)}, where real and generated "
            "images look alike to this detector"
        )
        doubt = _doubt(verdict)
        others = (warning for warning in verdict.warnings if warning not in doubt)
        return (*doubt, between, *others)
    return verdict.warnings


def _doubt(verdict: Verdict) -> tuple[str, ...]:
    """What is wrong with the input, so that no score would count; empty where nothing is."""
    return (verdict.reason,) if verdict.reason is not None and verdict.reason in verdict.warnings else ()


def _undecided(explanation: Explanation) -> bool:
    """Whether the score itself is why there is no answer, and not a doubt about the input."""
    verdict = explanation.verdict
    return bool(verdict and verdict.score is not None and explanation.low <= verdict.score < explanation.high)


def _probability(verdict: Verdict, *, doubtful: bool) -> Context:
    """The probability with its prior, and at other priors; none where the detector isn't to be trusted."""
    if verdict.probability is None or doubtful:
        return {"probability": None}
    own = words.fraction(verdict.prior)
    # One that reads like the detector's own would look like a misprint.
    shares = sorted({verdict.prior, *(share for share in PRIORS if words.fraction(share) != own)})
    return {
        "probability": words.percent(verdict.probability),
        "prior": own,
        "priors": [
            {
                "share": words.fraction(share),
                "probability": words.percent(
                    float(shift_prior(verdict.probability, from_prior=verdict.prior, to_prior=share))
                ),
                "used": share == verdict.prior,
            }
            for share in shares
        ],
    }


def _vote(vote: Mapping[str, Any] | None) -> str:
    if vote is None or not (counts := words.votes(vote)):
        return ""
    label = vote.get("label")
    outcome = f" Majority: {words.WORDS[label].heading.lower()}." if label in words.WORDS else ""
    return f"{counts}.{outcome}"


def _plots(explanation: Explanation) -> list[Plot]:
    """The plots of an input, in the order of the page."""
    verdict = explanation.verdict
    assert verdict is not None
    found = []
    if verdict.score is not None and np.isfinite(verdict.score):
        found.append(
            plots.score_plot(
                explanation.real_scores,
                explanation.fake_scores,
                low=explanation.low,
                high=explanation.high,
                score=verdict.score,
                noun=explanation.kind,
            )
        )
    if explanation.timeline:
        found.append(
            plots.timeline_plot(
                explanation.timeline, low=explanation.low, high=explanation.high, score=verdict.score
            )
        )
    return found + [
        plots.evidence_plot(evidence, explanation.grounds.get(evidence.name, explanation.picture))
        for evidence in verdict.evidence
        if evidence.kind != "scalar"
    ]


def _slug(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")[:60] or "input"


def _spool() -> Any:
    return tempfile.SpooledTemporaryFile(SPOOL, "w+", encoding="utf-8", newline="\n")


def _pieces(file: Any) -> Iterator[str]:
    file.seek(0)
    while piece := file.read(1 << 16):
        yield piece
