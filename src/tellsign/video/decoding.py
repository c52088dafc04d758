"""Frames of a video by their time stamps, and what is known of the file.

A file is read twice without decoding, which costs less than taking its digest: once for the time stamp of
every frame that is really there, once more to decode the few stretches that hold the frames asked for, each
from its key frame. Nothing relies on a header's frame count, duration or seek table.

Colour: the frame's own matrix and range. Where the matrix is not given, BT.709 from 1280 pixels of width or
577 lines on and BT.601 below, as the player mpv does (FFmpeg itself takes BT.601 at every size); where the
range is not given, limited. Chroma is interpolated linearly, with exact rounding, to 8 bits a channel.
Primaries and transfer curves are not converted. Pixels are as stored: never resized, not even where they are
not square.

Shapes: C channels (3), H W pixels, upright unless said otherwise.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np

from tellsign.types import FAKE, REAL, ConfigError, VideoError
from tellsign.video.container import (
    Run,
    Timeline,
    av_errors,
    evenly_spaced,
    opened_file,
    opened_stream,
    packet_time,
    packets,
    pyav,
    reason,
    runs_to,
    timeline,
)

if TYPE_CHECKING:
    from pathlib import Path

    from av.container import InputContainer
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

    FloatArray = NDArray[np.floating[Any]]
    IntArray = NDArray[np.int64]

# FFmpeg's SWS_BILINEAR | FULL_CHR_H_INT | ACCURATE_RND | BITEXACT: the same pixels on every machine
_SCALER = 0x2 | 0x2000 | 0x40000 | 0x80000
_BT709, _BT601 = 1, 5  # FFmpeg's numbers of colour matrices
_NO_MATRIX = (0, 2, 3)  # RGB, unspecified, reserved: none of them can be meant for YCbCr
_HDR_CURVES = {16: "PQ", 18: "HLG"}  # FFmpeg's numbers of transfer curves
# Signs of a, b, c, d in a display matrix (x' = ax + cy, y' = bx + dy) → degrees clockwise, mirrored before.
_ORIENTATIONS = {
    (1, 0, 0, 1): (0, False),
    (0, 1, -1, 0): (90, False),
    (-1, 0, 0, -1): (180, False),
    (0, -1, 1, 0): (270, False),
    (-1, 0, 0, 1): (0, True),
    (0, -1, -1, 0): (90, True),
    (1, 0, 0, -1): (180, True),
    (0, 1, 1, 0): (270, True),
}


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a video."""

    image: FloatArray  # (3, H, W) float32, sRGB in [0, 1], upright
    time: float  # seconds after the video's first frame


@dataclass(frozen=True, slots=True)
class VideoMeta:
    """What is known of a video when its first frame is decoded."""

    width: int  # pixels, upright
    height: int
    duration: float  # seconds, from the time stamps of the frames that are there
    n_frames: int
    frame_rate: float  # mean, frames a second; 0 where the duration is not known
    codec: str
    container: str  # FFmpeg's name; "mov" stands for MP4, QuickTime and 3GP
    pixel_format: str
    rotation: int  # degrees clockwise by which the stored pictures are turned: 0, 90, 180 or 270
    mirrored: bool  # whether they are mirrored left to right before
    has_audio: bool
    n_streams: int
    warnings: tuple[str, ...] = ()  # what a reader of a verdict should know of this file


@dataclass(slots=True)
class _Progress:
    """What came up while decoding."""

    n_decoded: int = 0
    damaged_at: float | None = None  # seconds; the first damage
    reason: str = "the decoder gave no picture"
    warnings: list[str] = field(default_factory=list)


class Frames(Iterator[Frame]):
    """The frames of a video that were asked for, one at a time; exhaust or `close` it to release the file."""

    def __init__(
        self,
        meta: VideoMeta,
        first: tuple[VideoFrame, float],
        rest: Generator[tuple[VideoFrame, float]],
        progress: _Progress,
    ) -> None:
        self.meta = meta
        self._first: tuple[VideoFrame, float] | None = first
        self._rest = rest
        self._progress = progress

    @property
    def warnings(self) -> tuple[str, ...]:
        """Those of `meta` and what came up while decoding; complete when the frames are exhausted."""
        return (*self.meta.warnings, *self._progress.warnings)

    @property
    def n_decoded(self) -> int:
        """Frames decoded so far, wanted or not."""
        return self._progress.n_decoded

    def __next__(self) -> Frame:
        with av_errors():
            picture, self._first = self._first or next(self._rest, None), None
            if picture is not None:
                return Frame(_array(picture[0], self.meta.rotation, self.meta.mirrored), picture[1])
        raise StopIteration

    def close(self) -> None:
        """Release the file; no more frames come."""
        self._first = None
        self._rest.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def probe(source: str | Path | bytes, *, max_pixels: int = 100_000_000) -> VideoMeta:
    """What is known of a video: size, true duration, codec, rotation and the like.

    Args:    source: a path, or the bytes of a file.
             max_pixels: largest width × height that is decoded.
    Returns: the facts; the duration is that of the frames that are there.
    Raises:  VideoError, ConfigError: as for `frames`.
    """
    with _started(
        source, lambda line: np.unique([0, len(line.times) // 2, len(line.times) - 1]), max_pixels
    ) as started:
        return started.meta


def frames(source: str | Path | bytes, *, n_frames: int = 20, max_pixels: int = 100_000_000) -> Frames:
    """Frames of a video, evenly spaced in time.

    The duration is cut into `n_frames` equal parts, and the frame shown in the middle of each is taken. Where
    one frame stands for several of these moments, its neighbours take the other places, so that each frame
    comes once. A clip with no more than `n_frames` frames gives them all. Frames that are damaged, or follow
    damage in their group of pictures, are left out, and `warnings` says so.

    Args:    source: a path, or the bytes of a file.
             n_frames: frames wanted, at least 1.
             max_pixels: largest width × height that is decoded.
    Returns: an iterator over min(n_frames, frames of the clip) frames in order of time, decoded one at a
             time, with `meta` and `warnings`. AVI stores no times: with H.264 that reorders its frames they
             may be wrong by a few frames.
    Raises:  VideoError: the file is unreadable, empty, no video, has no video stream, no time stamps, no
                 frame that can be decoded, or more pixels than `max_pixels`.
             ConfigError: an option is out of its range, or PyAV is not installed.
    """
    if n_frames < 1:
        raise ConfigError(f"n_frames is {n_frames}; expected 1 or more")
    return _started(source, lambda line: evenly_spaced(line, n_frames), max_pixels)


def majority_vote(labels: Iterable[int | None]) -> int | None:
    """A video's label by the majority of its frames (Durall et al. 2020, section 4.1).

    Args:    labels: for each frame 0 (real), 1 (fake) or None (undecided, which does not vote).
    Returns: 0 or 1; None on a tie or without a vote.
    Raises:  ConfigError: a label is something else.
    """
    votes = Counter(labels)
    if unknown := set(votes) - {REAL, FAKE, None}:
        raise ConfigError(f"labels hold {sorted(map(repr, unknown))}; expected 0 (real), 1 (fake) or None")
    if votes[REAL] == votes[FAKE]:
        return None
    return FAKE if votes[FAKE] > votes[REAL] else REAL


def _started(source: str | Path | bytes, choose: Callable[[Timeline], IntArray], max_pixels: int) -> Frames:
    """Frames of which the first is decoded, so that a file without any fails here and not in a loop."""
    if max_pixels < 1:
        raise ConfigError(f"max_pixels is {max_pixels}; expected 1 or more")
    file = opened_file(source)
    progress = _Progress()
    try:
        with av_errors():
            with opened_stream(file, max_pixels=max_pixels) as (container, stream):
                line = timeline(container, stream)
                meta = _meta(container, stream, line)
            rest = _pictures(file, max_pixels, line, runs_to(line, choose(line)), progress)
            first = next(rest, None)
            if first is None:
                raise VideoError(f"no frame of the video can be decoded: {progress.reason}")
            return Frames(_meta_as_shown(meta, first[0]), first, rest, progress)
    except BaseException:
        file.close()
        raise


def _pictures(
    file: BinaryIO, max_pixels: int, line: Timeline, runs: list[Run], progress: _Progress
) -> Generator[tuple[VideoFrame, float]]:
    """The wanted frames with their times in seconds; closes `file` at the end."""
    n_missing = sum(len(run.targets) for run in runs)
    n_wanted = n_missing
    with file, opened_stream(file, max_pixels=max_pixels) as (container, stream):
        numbered = enumerate(packets(container, stream))
        for run in runs:
            pending = deque(run.targets)
            for frame, time in _intact_frames(stream.codec_context, numbered, run, line, progress):
                # Later than wanted where the packet that promised the frame held none to show.
                due = bool(pending) and pending[0] <= time
                while pending and pending[0] <= time:
                    pending.popleft()
                if due:
                    n_missing -= 1
                    yield frame, line.seconds(time)
    if n_missing:
        where = "" if progress.damaged_at is None else f"; damage begins at {progress.damaged_at:.2f} s"
        progress.warnings.append(f"{n_missing} of {n_wanted} frames are missing: {progress.reason}{where}")


def _intact_frames(
    context: VideoCodecContext,
    numbered: Iterator[tuple[int, Packet[VideoStream]]],
    run: Run,
    line: Timeline,
    progress: _Progress,
) -> Iterator[tuple[VideoFrame, int]]:
    """Frames of a run with their time stamps, without those that damage may have reached."""
    av = pyav()
    damage: dict[int, int] = {}  # group of pictures → ordinal of its first damaged packet

    def note(ordinal: int, time: int | None, why: str) -> None:
        group = line.group(ordinal)
        damage[group] = min(damage.get(group, ordinal), ordinal)
        progress.reason = why
        if progress.damaged_at is None and time is not None:
            progress.damaged_at = line.seconds(time)

    def decoded(ordinal: int, packet: Packet[VideoStream] | None) -> Iterator[tuple[VideoFrame, int]]:
        due = None if packet is None else packet_time(packet)
        try:
            found = context.decode(packet)
        except av.FFmpegError as error:
            note(ordinal, due, reason(error))
            return
        for frame in found:
            progress.n_decoded += 1
            time = frame.dts if frame.pts is None else frame.pts
            if time is None:
                continue
            origin = line.ordinal(time)
            if frame.is_corrupt:
                note(origin, time, "the decoder reports damage")
            if origin < damage.get(line.group(origin), origin + 1):
                yield frame, time

    context.flush_buffers()
    wanted = set(run.targets)
    ordinal = run.first
    for ordinal, packet in numbered:
        if ordinal < run.first:
            continue
        if packet.is_corrupt:
            note(ordinal, packet_time(packet), "the file is damaged")
        else:
            # No other frame is built on a frame without references, so that it need not be decoded.
            context.skip_frame = "DEFAULT" if packet_time(packet) in wanted else "NONREF"
            yield from decoded(ordinal, packet)
        if ordinal >= run.last:
            break
    yield from decoded(ordinal, None)


def _meta(container: InputContainer, stream: VideoStream, line: Timeline) -> VideoMeta:
    """What the file says before anything is decoded."""
    context = stream.codec_context
    warnings = list(line.warnings)
    if len(container.streams.video) > 1:
        warnings.append(f"the file has {len(container.streams.video)} video streams; only one is looked at")
    if context.color_trc in _HDR_CURVES:
        warnings.append(
            f"the video is HDR ({_HDR_CURVES[context.color_trc]}); its colours are taken without tone mapping"
        )
    span = line.seconds(int(line.times[-1]))
    return VideoMeta(
        width=context.width,
        height=context.height,
        duration=float(line.length * line.unit),
        n_frames=len(line.times),
        frame_rate=(len(line.times) - 1) / span if span else 0.0,
        codec=context.codec.canonical_name,
        container=container.format.name,
        pixel_format=context.pix_fmt or "",
        rotation=0,
        mirrored=False,
        has_audio=bool(container.streams.audio),
        n_streams=len(container.streams),
        warnings=tuple(warnings),
    )


def _meta_as_shown(meta: VideoMeta, frame: VideoFrame) -> VideoMeta:
    """The facts, completed by what only a decoded frame tells."""
    warnings = list(meta.warnings)
    orientation = _orientation(frame)
    if orientation is None:
        warnings.append(
            f"the video is to be turned by {frame.rotation} degrees, no quarter turn: left as stored"
        )
    if frame.interlaced_frame:
        warnings.append("the video is interlaced: the lines of a frame stem from two moments")
    rotation, mirrored = orientation or (0, False)
    width, height = (frame.height, frame.width) if rotation in (90, 270) else (frame.width, frame.height)
    return replace(
        meta,
        width=width,
        height=height,
        pixel_format=frame.format.name,
        rotation=rotation,
        mirrored=mirrored,
        warnings=tuple(warnings),
    )


def _orientation(frame: VideoFrame) -> tuple[int, bool] | None:
    """(degrees clockwise, mirrored before) that make a frame upright; None for no quarter turn.

    Asked of the first frame only: PyAV's side data and their frame hold each other in memory.
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 0, False
    entries = np.frombuffer(bytes(matrix), dtype=np.int32)[[0, 1, 3, 4]] / 2**16
    signs = np.rint(entries)
    if np.abs(entries - signs).max() > 0.02:
        return None
    a, b, c, d = (int(sign) for sign in signs)
    return _ORIENTATIONS.get((a, b, c, d))


def _array(frame: VideoFrame, rotation: int, mirrored: bool) -> FloatArray:
    """A decoded frame as an upright (3, H, W) float32 array, sRGB in [0, 1]."""
    matrix = None
    if not frame.format.is_rgb and frame.colorspace in _NO_MATRIX:
        matrix = _BT709 if frame.width >= 1280 or frame.height > 576 else _BT601
    # Planar: the same pixels as rgb24, in a quarter of the time.
    planar = frame.reformat(format="gbrp", interpolation=_SCALER, src_colorspace=matrix)
    size = (planar.width, planar.height) if rotation in (90, 270) else (planar.height, planar.width)
    image = np.empty((3, *size), dtype=np.float32)
    for channel, plane in zip((1, 2, 0), planar.planes, strict=True):
        lines = np.frombuffer(memoryview(plane), dtype=np.uint8).reshape(-1, plane.line_size)
        levels = lines[: planar.height, : planar.width]
        levels = np.rot90(levels[:, ::-1] if mirrored else levels, k=-rotation // 90)
        np.divide(levels, 255, out=image[channel], dtype=np.float32)
    return image
