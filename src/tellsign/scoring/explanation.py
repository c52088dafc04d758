"""Everything that is shown of one input: its row, the detector's evidence, the picture and its metadata."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import faces, image, video
from tellsign.explain.page import Explanation
from tellsign.scoring.looks import most_suspicious
from tellsign.scoring.scorer import opened
from tellsign.types import ImageError, TellsignError, TooSmallError, Verdict
from tellsign.video import HEAD_BYTES, is_video

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.scoring.attention import Attention
    from tellsign.scoring.looks import Row
    from tellsign.scoring.scorer import Scorer
    from tellsign.types import Evidence, FloatArray

CHANGED = "the file changed while it was looked at; run the command again"


def explained(
    scorer: Scorer, path: Path, *, full_metadata: bool, attention: Attention | None = None
) -> tuple[Row, Explanation]:
    """Score one file and gather the evidence.

    Args:    scorer: the detector.
             path: an image or a video.
             full_metadata: also show position, serial numbers and owner.
             attention: of the detector's network, where it shall be shown.
    Returns: the row of `scan`, and the explanation that goes on the page.
    """
    (row,) = scorer.rows([(path, None)])
    assert row is not None
    pixels: FloatArray | None = None
    facts: tuple[tuple[str, str], ...] = ()
    evidence: tuple[Evidence, ...] = ()
    grounds: dict[str, NDArray[np.uint8]] = {}
    if row["error"] is None:
        try:
            pixels, facts = _shown(scorer, path, row, full_metadata=full_metadata)
            region = _region(scorer, pixels)
            evidence = scorer.detector.explain(region)
            if region is not pixels:  # a map of a face lies over the face
                grounds = {one.name: _levels(region) for one in evidence if one.kind == "heatmap"}
            if attention is not None:
                more, own = attention.evidence(region)
                evidence, grounds = evidence + more, grounds | own
        except TooSmallError:
            pass  # the row says so already
        except TellsignError as error:  # the file changed under our hands
            # The row of a failed file, without anything that was said of the former content.
            kept = {"kind": row["kind"], "sha256": row["sha256"]}
            row = {**scorer.empty_row(path, str(error)), **kept}
            pixels, facts, evidence, grounds = None, (), (), {}
    verdict = None
    if row["error"] is None:
        verdict = Verdict(
            label=row["label"],
            probability=row["probability"],
            prior=row["prior"],
            score=row["score"],
            threshold=row["threshold"],
            detector=row["detector"],
            sha256=row["sha256"],
            evidence=evidence,
            warnings=tuple(row["warnings"]),
            reason=row["reason"],
        )
    arrays, point = scorer.artifact.arrays, scorer.decision.operating_point
    return row, Explanation(
        name=row["path"].rpartition("/")[2],
        kind=row["kind"],
        verdict=verdict,
        error=row["error"],
        picture=None if pixels is None else _levels(pixels),
        facts=facts,
        real_scores=arrays["scores.real"],
        fake_scores=arrays["scores.fake"],
        low=point.low,
        high=point.high,
        card=str(scorer.artifact.spec.get("summary", "")),
        timeline=tuple(row.get("timeline", ())),
        vote=row.get("vote"),
        grounds=grounds,
    )


def _levels(pixels: FloatArray) -> NDArray[np.uint8]:
    """(3, H, W) in [0, 1] → (H, W, 3) of 256 levels."""
    return np.round(255 * pixels.transpose(1, 2, 0)).astype(np.uint8)


def _shown(
    scorer: Scorer, path: Path, row: Row, *, full_metadata: bool
) -> tuple[FloatArray, tuple[tuple[str, str], ...]]:
    """The pixels that stand for a file, and its metadata."""
    max_pixels = scorer.options.max_pixels
    with opened(path) as file:
        head = file.read(HEAD_BYTES)
    if is_video(head) != (row["kind"] == "video"):
        raise ImageError(CHANGED)
    if row["kind"] == "image":
        picture = image.decode(path, max_pixels=max_pixels)
        if picture.meta.sha256 != row["sha256"]:
            raise ImageError(CHANGED)
        return picture.array, _image_facts(picture.meta, full_metadata=full_metadata)
    wanted = _telling_time(row)
    # As many as were asked for: of a damaged video fewer were scored, and for fewer others would be drawn.
    with video.frames(path, n_frames=row["n_frames"], max_pixels=max_pixels) as frames:
        meta = frames.meta
        for frame in frames:
            if frame.time >= wanted - 1e-3:
                break
    return frame.image, (("Picture", f"the frame at {frame.time:.2f} s"), *_video_facts(meta))


def _telling_time(row: Row) -> float:
    """When the frame is shown that looks most like the verdict: the most suspicious one."""
    scored: list[dict[str, Any]] = [entry for entry in row["timeline"] if entry["score"] is not None]
    return float(max(scored, key=lambda entry: entry["score"])["time"]) if scored else 0.0


def _region(scorer: Scorer, pixels: FloatArray) -> FloatArray:
    if scorer.region == "image":
        return pixels
    crops = faces.crops(pixels)
    if not crops:
        raise TooSmallError("no face was found")
    looks = scorer.look(crops)
    return crops[looks.index(most_suspicious(looks))]


def _image_facts(meta: image.ImageMeta, *, full_metadata: bool) -> tuple[tuple[str, str], ...]:
    facts = [
        ("Format", meta.format),
        ("Size", f"{meta.width} × {meta.height} pixels, {meta.n_bytes:,} bytes"),
        ("Colour mode", meta.mode),
    ]
    if meta.jpeg_quality is not None:
        kind = "the standard tables" if meta.jpeg_standard else "other tables, the nearest quality"
        facts.append(("JPEG quality", f"about {meta.jpeg_quality} ({kind})"))
    if meta.icc:
        facts.append(("Colour profile", meta.icc))
    if meta.n_frames > 1:
        facts.append(("Frames", str(meta.n_frames)))
    exif = meta.exif if full_metadata else image.public_exif(meta.exif)
    hidden = len(meta.exif) - len(exif)
    facts += [(f"EXIF {name}", value) for name, value in exif.items()]
    if hidden:
        facts.append(("EXIF left out", f"{hidden} entries that may name a place, a device or a person"))
    return tuple(facts)


def _video_facts(meta: video.VideoMeta) -> tuple[tuple[str, str], ...]:
    return (
        ("Format", f"{meta.container}, {meta.codec}"),
        ("Size", f"{meta.width} × {meta.height} pixels"),
        ("Duration", f"{meta.duration:.2f} s, {meta.n_frames} frames, {meta.frame_rate:.2f} a second"),
        ("Sound", "yes" if meta.has_audio else "no"),
    )
