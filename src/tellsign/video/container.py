"""Which files are videos, and when each of their frames is shown: everything short of decoding.

Shapes: N frames of a video stream.
"""

from __future__ import annotations

import io
from array import array
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from tellsign.types import ConfigError, TellsignError, VideoError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

# Suffixes that promise a video. `.ts` and `.mts` are absent: most files of that name are TypeScript, and a
# transport stream is known by its content.
# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv",
    ".qt", ".vob", ".webm", ".wmv",
))
# fmt: on
HEAD_BYTES = 4096  # what `is_video` wants to see of a file

# Brands of the MP4 family that are pictures or sound, not video.
# fmt: off
_OTHER_BRANDS = frozenset((
    b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1",
    b"miaf", b"avif", b"avis", b"crx ", b"M4A ", b"M4B ", b"M4P ",
))
# fmt: on
_OGG_VIDEO = (b"\x80theora", b"OVP80", b"BBCD\0", b"\x01video\0")
_SYNC = 0x47  # the first byte of each packet of an MPEG transport stream
_ESTIMATES_DURATION = ("mpeg", "mpegts")  # without one in the header, FFmpeg guesses from the bit rate
_NO_TIME = -(2**63)
_MAX_PACKETS = 20_000_000  # 46 hours at 120 frames a second; bounds the memory that a hostile file takes


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """The time stamps of a stream's frames. A packet's ordinal is its place in the stream, from 0."""

    times: IntArray  # (N,) ascending, in units of `unit`
    ordinals: IntArray  # (N,) of the packets that hold the frames
    keys: IntArray  # ordinals of the key frames, ascending
    key_times: IntArray
    unit: Fraction  # seconds
    length: int  # from the first frame to the end of the last, in units of `unit`
    warnings: tuple[str, ...]

    def seconds(self, time: int) -> float:
        """After the first frame."""
        return float((time - int(self.times[0])) * self.unit)

    def ordinal(self, time: int) -> int:
        """Of the packet that holds the frame shown at `time`."""
        shown = int(np.searchsorted(self.times, time, side="right")) - 1
        return int(self.ordinals[max(0, shown)])

    def group(self, ordinal: int) -> int:
        """Number of the group of pictures, each opened by a key frame, in which a packet lies."""
        return int(np.searchsorted(self.keys, ordinal, side="right"))


@dataclass(slots=True)
class Run:
    """A stretch of a stream's packets that is decoded in one go."""

    first: int  # ordinal of a key frame's packet
    last: int
    targets: list[int]  # times wanted, ascending, in the stream's unit


def is_video(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a video, by its content alone.

    Knows MP4, QuickTime and 3GP (not HEIC, AVIF or M4A), Matroska and WebM, AVI, MPEG transport and program
    streams, Ogg with a video codec, Flash video and ASF. Matroska, Flash and ASF may still hold sound only.

    Args:    head: the first HEAD_BYTES of the file, or all of it if it is shorter.
    Returns: True for a video.
    """
    return demuxer(head) is not None


def demuxer(head: bytes) -> str | None:
    """FFmpeg's name of the container that begins with these bytes; None if it is no video."""
    box = head[4:8]
    if box == b"ftyp":
        return None if head[8:12] in _OTHER_BRANDS else "mov"
    if box == b"mdat" or (head[:1] == b"\0" and box in (b"moov", b"wide", b"free", b"skip", b"pnot")):
        return "mov"
    if head[:4] == b"RIFF":
        return "avi" if head[8:12] in (b"AVI ", b"AVIX") else None
    if head[:4] == b"OggS":
        return "ogg" if any(magic in head for magic in _OGG_VIDEO) else None
    for magic, name in (
        (b"\x1a\x45\xdf\xa3", "matroska"),
        (b"FLV\x01", "flv"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
        (b"\x00\x00\x01\xba", "mpeg"),
    ):
        if head.startswith(magic):
            return name
    return "mpegts" if _is_transport_stream(head) else None


def _is_transport_stream(head: bytes) -> bool:
    for start, size in ((0, 188), (4, 192), (0, 204)):
        packets = [head[p : p + 4] for p in range(start, len(head) - 3, size)][:8]
        if len(packets) >= 3 and all(p[0] == _SYNC and p[1] < 0x80 and p[3] & 0x30 for p in packets):
            return True
    return False


def pyav() -> Any:
    """The library PyAV, which is slow to load and which only videos need."""
    try:
        import av
    except ImportError as error:
        raise ConfigError("PyAV, which reads videos, is not installed: pip install av") from error
    return av


@contextmanager
def av_errors() -> Iterator[None]:
    """Whatever PyAV raises becomes a VideoError, and FFmpeg's messages stay out of the log."""
    av = pyav()
    with av.logging.Capture():
        try:
            yield
        except TellsignError:
            raise
        except (av.FFmpegError, OSError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
            raise VideoError(
                f"the video cannot be read, it is damaged or was cut short: {reason(error)}"
            ) from error


def reason(error: BaseException) -> str:
    """What an exception says, without the number and the file name that its text may carry."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def opened_file(source: str | Path | bytes) -> BinaryIO:
    """The bytes of a source, as a file to read."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    path = Path(source)
    try:
        regular = path.is_file() or not path.exists()
        file = path.open("rb") if regular else None
    except (OSError, ValueError) as error:
        raise VideoError(f"the file cannot be opened: {reason(error)}") from error
    if file is None:
        raise VideoError("the path is no regular file; expected a video file")
    return file


@contextmanager
def opened_stream(file: BinaryIO, *, max_pixels: int) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container in a file and its main video stream, its decoder set up and nothing decoded.

    Raises:  VideoError: empty, no video, no video stream, no decoder, or too many pixels.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    name = demuxer(head)
    if name is None:
        found = f"begins with {head[:12]!r}" if head else "is empty"
        raise VideoError(f"the file {found}; expected MP4, MOV, Matroska, WebM, AVI, MPEG, Ogg, FLV or ASF")
    file.seek(0)
    limit = {"max_pixels": str(max_pixels)}  # for the decoder: the size may change on the way
    # Named, so that a hostile file cannot choose a format that opens other files or addresses.
    with pyav().open(file, mode="r", format=name, metadata_errors="replace", options=limit) as container:
        stream = _main_stream(container)
        context = stream.codec_context
        if context.width * context.height > max_pixels:
            raise VideoError(
                f"the video has {context.width} × {context.height} pixels; at most {max_pixels} are decoded: "
                "raise max_pixels if the file can be trusted"
            )
        context.options = limit
        context.thread_count = 1  # with more, how a damaged picture is patched depends on chance
        context.open()
        yield container, stream


def _main_stream(container: InputContainer) -> VideoStream:
    cover = pyav().stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & cover]
    if not streams:
        kinds = sorted({str(s.type) for s in container.streams})
        raise VideoError(f"the file has no video stream; found {', '.join(kinds) or 'no stream at all'}")
    decodable = [s for s in streams if s.codec_context is not None]
    if not decodable:
        raise VideoError("the installed PyAV has no decoder for the video's codec: convert it to H.264")
    best = container.streams.best("video")
    return next((s for s in decodable if s is best), decodable[0])


def packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """A stream's packets in the order of the file, up to where the file breaks off."""
    try:
        # A packet without bytes would tell the decoder that the stream ends.
        yield from (packet for packet in container.demux(stream) if packet.size)
    except pyav().FFmpegError:
        return


def packet_time(packet: Packet[Any]) -> int | None:
    """When a packet is shown, or failing that decoded, in units of its stream."""
    return packet.dts if packet.pts is None else packet.pts


def timeline(container: InputContainer, stream: VideoStream) -> Timeline:
    """When each frame of a stream is shown, from its packets, without decoding.

    Left out are frames before the first key frame, frames that an edit list hides and packets that are cut
    short: none of them can be shown.

    Raises:  VideoError: no frame, no time stamps, or all of them equal.
    """
    times, durations, keys, shown = array("q"), array("q"), array("q"), bytearray()
    spans: dict[int, tuple[int, int]] = {}  # of every stream: sound may go on for longer than the pictures
    broken, cut = None, 0
    try:
        for packet in container.demux():
            if not packet.size:
                continue
            time, duration = packet_time(packet), max(packet.duration or 0, 0)
            intact = time is not None and not packet.is_corrupt
            if time is not None and intact:
                begin, end = spans.get(packet.stream.index, (time, time))
                spans[packet.stream.index] = (min(begin, time), max(end, time + duration))
            if packet.stream.index != stream.index:
                continue
            if len(times) == _MAX_PACKETS:
                raise VideoError(f"the video has more than {_MAX_PACKETS} frames: cut it into parts")
            if packet.is_keyframe and intact:
                keys.append(len(times))
            times.append(_NO_TIME if time is None else time)
            durations.append(duration)
            cut += packet.is_corrupt
            shown.append(intact and not packet.is_discard)
    except pyav().FFmpegError as error:
        broken = reason(error)
    if not times:
        raise VideoError(f"the video stream holds no frame{f': {broken}' if broken else ''}")
    seen = _seconds_covered(container, spans)
    warnings = []
    declared = (container.duration or 0) / pyav().time_base
    if cut:
        warnings.append(f"{cut} of the video's {len(times)} frames are cut short or damaged in the file")
    if broken:
        warnings.append(f"reading broke off at {seen:.2f} s: {broken}")
    elif container.format.name not in _ESTIMATES_DURATION and declared > seen + max(0.25, 0.02 * declared):
        warnings.append(
            f"the video breaks off at {seen:.2f} s: its header promises {declared:.2f} s, "
            "so it was cut short or the header is wrong"
        )
    return _sorted_timeline(
        np.array(times),
        np.array(durations),
        np.array(keys),
        np.array(shown, dtype=bool),
        unit=Fraction(stream.time_base or 0),
        warnings=tuple(warnings),
    )


def _seconds_covered(container: InputContainer, spans: dict[int, tuple[int, int]]) -> float:
    """From the first time stamp in the file to the end of its last packet, over all streams."""
    units = {stream.index: stream.time_base or Fraction(0) for stream in container.streams}
    begins = [begin * units[index] for index, (begin, _) in spans.items()]
    ends = [end * units[index] for index, (_, end) in spans.items()]
    return float(max(ends) - min(begins)) if spans else 0.0


def _sorted_timeline(
    times: IntArray,
    durations: IntArray,
    keys: IntArray,
    shown: NDArray[np.bool_],
    *,
    unit: Fraction,
    warnings: tuple[str, ...],
) -> Timeline:
    """A timeline from what each packet, in the order of the file, says of itself."""
    if keys.size:
        shown[: keys[0]] = False
        shown &= times >= times[keys[0]]
    if not unit or not shown.any():
        raise VideoError(
            f"none of the video's {len(times)} frames can be shown: no time stamps, or all cut short"
        )
    ordinals = np.flatnonzero(shown)
    sorted_times, first = np.unique(times[ordinals], return_index=True)
    ordinals = ordinals[first]
    if not keys.size:
        keys = ordinals[:1]
    n, n_shown = len(sorted_times), int(shown.sum())
    if n == 1 and n_shown > 1:
        raise VideoError(f"all {n_shown} frames carry the same time stamp: the video has no duration")
    last = int(durations[ordinals[-1]])
    if n > 1:
        gaps = np.diff(sorted_times.astype(np.float64))  # float: a difference may overflow 64 bits
        # Where the header is wrong, the last frame's duration is missing or boundless.
        last = min(last, int(gaps.max())) if last > 0 else int(np.median(gaps))
    return Timeline(
        times=sorted_times,
        ordinals=ordinals,
        keys=keys,
        key_times=times[keys],
        unit=unit,
        length=int(sorted_times[-1]) - int(sorted_times[0]) + last,
        warnings=warnings,
    )


def evenly_spaced(line: Timeline, n_frames: int) -> IntArray:
    """Indices of at most `n_frames` different frames, shown in the middles of equal parts of the duration."""
    n_there = len(line.times)
    if n_there <= n_frames:
        return np.arange(n_there)
    first, final = int(line.times[0]), int(line.times[-1])
    # Whole numbers: a moment on the border of two frames must not depend on rounding.
    moments = [min(first + (2 * k + 1) * line.length // (2 * n_frames), final) for k in range(n_frames)]
    places = np.arange(n_frames)
    shown = np.searchsorted(line.times, np.array(moments), side="right") - 1
    different = np.maximum.accumulate(shown - places) + places
    return np.minimum(different, n_there - n_frames + places)


def runs_to(line: Timeline, indices: IntArray) -> list[Run]:
    """The stretches to decode, each from the last key frame that is shown no later than its first target."""
    runs: list[Run] = []
    for time, ordinal in zip(line.times[indices].tolist(), line.ordinals[indices].tolist(), strict=True):
        key = line.group(ordinal) - 1
        while key > 0 and line.key_times[key] > time:
            key -= 1
        first = int(line.keys[key])
        if runs and first <= runs[-1].last:
            runs[-1].last = max(runs[-1].last, ordinal)
            runs[-1].targets.append(time)
        else:
            runs.append(Run(first, ordinal, [time]))
    return runs
