"""Small clips made on the spot, whose every frame shows its own number.

Shapes: H W pixels.
"""

from __future__ import annotations

import io
import shutil
import struct
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 16  # pixels a side; a block is one bit, dark or light
COLUMNS, ROWS = 8, 2  # 12 bits of the number, 4 bits of its check sum: turned or mirrored, it does not hold
WIDTH, HEIGHT = COLUMNS * BLOCK, ROWS * BLOCK


def _check_sum(number: int) -> int:
    return (number * 7 + number // 16 + 5) % 16


def picture(number: int) -> np.ndarray:
    """(H, W, 3) uint8 that shows a number below 4096."""
    code = number << 4 | _check_sum(number)
    bits = np.array([code >> k & 1 for k in range(COLUMNS * ROWS)]).reshape(ROWS, COLUMNS)
    grey = np.where(bits, 215, 40).astype(np.uint8)
    return np.repeat(grey.repeat(BLOCK, 0).repeat(BLOCK, 1)[..., None], 3, axis=2)


def number_of(image: np.ndarray) -> int:
    """The number that a (3, H, W) image in [0, 1] shows; ValueError where it shows none."""
    if image.shape != (3, HEIGHT, WIDTH):
        raise ValueError(f"shape {image.shape}")
    blocks = image.mean(axis=0).reshape(ROWS, BLOCK, COLUMNS, BLOCK).mean(axis=(1, 3)).ravel()
    if np.any((blocks > 0.35) & (blocks < 0.65)):
        raise ValueError(f"neither dark nor light: {blocks}")
    code = sum(1 << k for k, level in enumerate(blocks) if level > 0.5)
    number, check_sum = code >> 4, code & 15
    if check_sum != _check_sum(number):
        raise ValueError(f"check sum of {number} is {check_sum}")
    return number


def clip(
    n_frames: int = 50,
    *,
    milliseconds: list[int] | None = None,
    pictures: list[np.ndarray] | None = None,
    container: str = "mp4",
    codec: str = "libx264",
    pixels: str = "yuv420p",
    key_every: int = 12,
    audio: bool = False,
    n_streams: int = 1,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    **context: Any,
) -> bytes:
    """A video of numbered pictures at 25 a second, or at the given milliseconds."""
    import av

    # A file on disk: to move the index to the front ("faststart"), FFmpeg opens it a second time.
    path = Path(tempfile.mkdtemp()) / "clip"
    with av.open(str(path), "w", format=container, options=container_options or {}) as output:
        shown = pictures or [picture(number) for number in range(len(milliseconds or range(n_frames)))]
        unit = Fraction(1, 1000) if milliseconds else Fraction(1, 25)
        streams = []
        for _ in range(n_streams):
            stream = output.add_stream(codec, rate=25, options=_encoder_options(codec) | (options or {}))
            stream.width, stream.height, stream.pix_fmt = shown[0].shape[1], shown[0].shape[0], pixels
            stream.gop_size = key_every
            stream.codec_context.time_base = unit
            for name, value in context.items():
                setattr(stream.codec_context, name, value)
            streams.append(stream)
        sound = output.add_stream("aac", rate=8000, layout="mono") if audio else None
        for k, rgb in enumerate(shown):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
                frame.pts, frame.time_base = (milliseconds[k] if milliseconds else k), unit
                output.mux(stream.encode(frame))
        for stream in streams:
            output.mux(stream.encode(None))
        if sound is not None:
            _add_silence(output, sound, seconds=len(shown) / 25)
    content = path.read_bytes()
    shutil.rmtree(path.parent)
    return content


def one_colour(ycbcr: tuple[int, int, int], *, width: int, height: int, matrix: int, levels: int) -> bytes:
    """A lossless clip of one frame with the given YCbCr levels, tagged with FFmpeg's matrix and range."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, levels
        frame = av.VideoFrame(width, height, "yuv420p")
        for plane, level in zip(frame.planes, ycbcr, strict=True):
            plane.update(bytes([level]) * plane.buffer_size)
        frame.colorspace, frame.color_range = matrix, levels
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def sound_only(container: str = "mp4") -> bytes:
    """A second of silence."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        _add_silence(output, output.add_stream("aac", rate=8000, layout="mono"), seconds=1)
    return file.getvalue()


def _add_silence(output: Any, stream: Any, *, seconds: float) -> None:
    import av

    for start in range(0, int(8000 * seconds), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 8000, start
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def _encoder_options(codec: str) -> dict[str, str]:
    return {
        "libx264": {"preset": "veryfast", "x264-params": "scenecut=0:threads=1"},
        "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"},
        "libvpx": {"cpu-used": "8", "deadline": "realtime"},
        "libvpx-vp9": {"cpu-used": "8", "deadline": "realtime"},
    }.get(codec, {})


def with_display_matrix(mp4: bytes, a: int, b: int, c: int, d: int) -> bytes:
    """An MP4 whose track header turns its pictures: x' = ax + cy, y' = bx + dy."""
    at = mp4.index(b"tkhd") + 4 + 40  # version 0: the matrix lies 40 bytes after the version and flags
    one, w = 1 << 16, 1 << 30
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, w)
    assert mp4[at : at + 36] == struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, w)
    return mp4[:at] + matrix + mp4[at + 36 :]


def with_declared_duration(mp4: bytes, factor: float) -> bytes:
    """An MP4 whose three headers state another duration than its samples have."""
    changed = bytearray(mp4)
    for box, offset in ((b"mvhd", 16), (b"tkhd", 20), (b"mdhd", 16)):
        at = mp4.index(box) + 4 + offset
        (duration,) = struct.unpack_from(">I", mp4, at)
        struct.pack_into(">I", changed, at, int(duration * factor))
    return bytes(changed)
