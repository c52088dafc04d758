"""Which frames come out of a clip, and what is said of files that have none.

Every frame of a made clip shows its own number, so a test sees which one it got.
"""

from __future__ import annotations

import gc
import logging
import os
import random
import re
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

import clips
from tellsign.types import ConfigError, VideoError
from tellsign.video import VIDEO_SUFFIXES, frames, is_video, majority_vote, probe

FORMATS = [
    ("mp4", "libx264", {}),
    ("mov", "libx264", {}),
    ("mp4", "libx264", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
    ("mp4", "libx265", {}),
    ("mp4", "libsvtav1", {}),
    ("mp4", "mpeg4", {"options": {"bf": "2"}}),
    ("matroska", "libx264", {}),
    ("matroska", "libx264", {"container_options": {"live": "1"}}),
    ("matroska", "ffv1", {}),
    ("webm", "libvpx", {}),
    ("webm", "libvpx-vp9", {}),
    ("mpegts", "libx264", {}),
    ("mpeg", "mpeg2video", {"options": {"bf": "2"}}),
    ("avi", "mpeg4", {}),
    ("avi", "mjpeg", {"pixels": "yuvj420p"}),
    ("flv", "flv", {}),
    ("asf", "wmv2", {}),
]
FORMAT_NAMES = [f"{container}-{codec}-{k}" for k, (container, codec, _) in enumerate(FORMATS)]


def numbers(source: str | Path | bytes, **options: int) -> list[int]:
    return [clips.number_of(frame.image) for frame in frames(source, **options)]


@pytest.fixture(scope="module")
def clip() -> bytes:
    return clips.clip(100)


def test_numbers_survive_only_upright() -> None:
    image = clips.picture(2741).transpose(2, 0, 1) / 255
    assert clips.number_of(image) == 2741
    for wrong in (image[:, ::-1], image[:, :, ::-1], image[:, ::-1, ::-1], image * 0.4 + 0.3):
        with pytest.raises(ValueError):
            clips.number_of(wrong)


@pytest.mark.parametrize(("container", "codec", "options"), FORMATS, ids=FORMAT_NAMES)
def test_frames_lie_in_the_middles_of_equal_parts(container: str, codec: str, options: dict) -> None:
    content = clips.clip(100, container=container, codec=codec, **options)
    assert is_video(content[:4096])
    taken = frames(content)
    got = [(clips.number_of(frame.image), frame.time) for frame in taken]
    assert [number for number, _ in got] == list(range(2, 100, 5))
    assert [time for _, time in got] == pytest.approx([number / 25 for number, _ in got], abs=1e-3)
    assert taken.warnings == ()
    assert taken.meta.duration == pytest.approx(4, abs=1e-3)


def test_variable_frame_rate_is_spaced_by_time() -> None:
    content = clips.clip(milliseconds=[0, 40, 80, 1000, 1040, 5000, 5040, 5080, 6000, 9000])
    taken = list(frames(content, n_frames=5))  # moments 0.904, 2.712, 4.52, 6.328, 8.136 of 9.04 s
    assert [frame.time for frame in taken] == pytest.approx([0.08, 1.04, 5.0, 6.0, 9.0])
    assert [clips.number_of(frame.image) for frame in taken] == [2, 4, 5, 8, 9]


def test_a_frozen_picture_is_taken_once_and_the_count_is_kept() -> None:
    content = clips.clip(milliseconds=[0, *range(10_000, 11_000, 40)])
    assert numbers(content, n_frames=8) == [0, 1, 2, 3, 4, 5, 6, 8]  # the last at 10.3125 of 11 s


def test_border_between_frames_is_exact() -> None:
    # The middle of the 4th of 20 parts of 8 s is 1.4 s, where frame 35 begins.
    assert numbers(clips.clip(200))[:4] == [5, 15, 25, 35]


@pytest.mark.parametrize("n", [1, 2, 3, 19, 20])
def test_short_clip_gives_each_frame_once(n: int) -> None:
    assert numbers(clips.clip(n), n_frames=20) == list(range(n))


def test_one_frame_is_the_middle_one(clip: bytes) -> None:
    assert numbers(clip, n_frames=1) == [50]


def test_image_is_float32_in_range_and_repeatable(clip: bytes) -> None:
    first, again = list(frames(clip)), list(frames(clip))
    assert all(frame.image.dtype == np.float32 and frame.image.flags["C_CONTIGUOUS"] for frame in first)
    assert all(frame.image.min() >= 0 and frame.image.max() <= 1 for frame in first)
    assert all(
        np.array_equal(a.image, b.image) and a.time == b.time for a, b in zip(first, again, strict=True)
    )


@pytest.mark.parametrize("factor", [0.1, 10])
def test_declared_duration_may_lie(clip: bytes, factor: float) -> None:
    assert numbers(clips.with_declared_duration(clip, factor)) == list(range(2, 100, 5))


def test_frames_that_an_edit_list_hides_are_left_out(clip: bytes) -> None:
    at = clip.index(b"elst") + 12  # version and flags, number of entries: then duration and first time
    (hidden_before,) = struct.unpack_from(">i", clip, at + 4)
    edited = bytearray(clip)
    struct.pack_into(">i", edited, at + 4, hidden_before + 10 * 512)  # a frame is 512 long
    got = [(clips.number_of(frame.image), frame.time) for frame in frames(bytes(edited), n_frames=200)]
    assert [number for number, _ in got] == list(range(10, 100))
    assert got[0][1] == 0


def test_size_may_change_on_the_way_but_not_beyond_the_limit() -> None:
    small = clips.clip(50, container="mpegts")
    large_pictures = [np.tile(clips.picture(number), (2, 2, 1)) for number in range(50)]
    large = clips.clip(milliseconds=list(range(2000, 4000, 40)), pictures=large_pictures, container="mpegts")
    shapes = {frame.image.shape[1:] for frame in frames(small + large)}
    assert shapes == {(32, 128), (64, 256)}
    taken = frames(small + large, max_pixels=128 * 32)
    assert {frame.image.shape[1:] for frame in taken} == {(32, 128)}
    assert "frames are missing" in taken.warnings[-1]


def test_metadata_need_not_be_text(clip: bytes) -> None:
    assert b"Lavf" in clip
    assert len(numbers(clip.replace(b"Lavf", b"\xff\xfe\xfd\xfc"))) == 20


@pytest.mark.parametrize(
    ("matrix", "rotation", "mirrored"),
    [
        ((1, 0, 0, 1), 0, False),
        ((0, 1, -1, 0), 90, False),
        ((-1, 0, 0, -1), 180, False),
        ((0, -1, 1, 0), 270, False),
        ((-1, 0, 0, 1), 0, True),
        ((0, -1, -1, 0), 90, True),
        ((1, 0, 0, -1), 180, True),
        ((0, 1, 1, 0), 270, True),
    ],
)
def test_display_matrix_is_applied(matrix: tuple[int, ...], rotation: int, mirrored: bool) -> None:
    # Stored so that the matrix undoes it: pixel (x, y) moves to (ax + cy, bx + dy), up to a shift.
    a, b, c, d = matrix
    upright = [clips.picture(number) for number in range(5)]
    height, width = upright[0].shape[:2]
    stored_size = (width, height) if a else (height, width)
    x, y = np.meshgrid(np.arange(stored_size[0]), np.arange(stored_size[1]))
    to_x, to_y = a * x + c * y, b * x + d * y
    stored = [picture[to_y - to_y.min(), to_x - to_x.min()] for picture in upright]
    content = clips.with_display_matrix(clips.clip(pictures=stored), a, b, c, d)
    assert numbers(content) == [0, 1, 2, 3, 4]
    meta = probe(content)
    assert (meta.rotation, meta.mirrored) == (rotation, mirrored)
    assert (meta.width, meta.height) == (width, height)


def test_odd_angle_is_left_as_stored_with_a_warning() -> None:
    content = bytearray(clips.clip(3))
    at = content.index(b"tkhd") + 44
    for k, entry in ((0, 46341), (4, 46341), (12, -46341), (16, 46341)):  # 45 degrees
        content[at + k : at + k + 4] = entry.to_bytes(4, "big", signed=True)
    taken = frames(bytes(content))
    assert [clips.number_of(frame.image) for frame in taken] == [0, 1, 2]
    assert "quarter turn" in taken.warnings[0]


def test_long_clip_is_not_decoded_whole() -> None:
    taken = frames(
        clips.clip(600, key_every=30), n_frames=4
    )  # frames 75, 225, 375, 525; keys at 60, 210, ...
    assert [clips.number_of(frame.image) for frame in taken] == [75, 225, 375, 525]
    assert taken.n_decoded <= 4 * 20
    everything = frames(clips.clip(100, key_every=30), n_frames=100)
    assert [clips.number_of(frame.image) for frame in everything] == list(range(100))
    assert everything.n_decoded == 100


def test_clip_with_one_key_frame_is_decoded_forward_once() -> None:
    taken = frames(clips.clip(300, key_every=1000), n_frames=20)
    assert [clips.number_of(frame.image) for frame in taken] == list(range(7, 300, 15))
    assert taken.n_decoded <= 300


def test_frames_come_one_at_a_time() -> None:
    taken = frames(clips.clip(600, key_every=30), n_frames=20)
    next(taken)
    assert taken.n_decoded <= 30
    taken.close()
    assert list(taken) == []


def test_no_frame_waits_for_the_garbage_collector(clip: bytes) -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in frames(clip, n_frames=100):
            pass
        n_unreachable = gc.collect()
    finally:
        gc.enable()
    assert n_unreachable < 20


def test_skipping_unneeded_frames_changes_no_pixel() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), dtype=np.uint8)
    content = clips.clip(pictures=list(noise))
    some, every = frames(content, n_frames=7), frames(content, n_frames=60)
    by_time = {frame.time: frame.image for frame in every}
    assert all(np.array_equal(frame.image, by_time[frame.time]) for frame in some)
    assert some.n_decoded < every.n_decoded


RED_601, RED_709, RED_601_FULL = (81, 90, 240), (63, 102, 240), (76, 85, 255)
BT709, BT601, UNSPECIFIED, LIMITED, FULL = 1, 6, 2, 1, 2


@pytest.mark.parametrize(
    ("ycbcr", "width", "matrix", "levels"),
    [
        (RED_601, 64, BT601, LIMITED),
        (RED_709, 64, BT709, LIMITED),
        (RED_601_FULL, 64, BT601, FULL),
        (RED_601, 64, UNSPECIFIED, LIMITED),
        (RED_601, 64, UNSPECIFIED, 0),
        (RED_709, 1280, UNSPECIFIED, 0),
        (RED_601, 1280, BT601, 0),
    ],
)
def test_red_is_red(ycbcr: tuple[int, int, int], width: int, matrix: int, levels: int) -> None:
    content = clips.one_colour(ycbcr, width=width, height=48, matrix=matrix, levels=levels)
    (frame,) = frames(content)
    assert frame.image.shape == (3, 48, width)
    red = frame.image.reshape(3, -1) * 255
    assert np.ptp(red, axis=1).max() == 0
    assert red[:, 0] == pytest.approx([255, 0, 0], abs=2)


def test_a_wrong_matrix_would_be_seen() -> None:
    content = clips.one_colour(RED_601, width=64, height=48, matrix=BT709, levels=LIMITED)
    (frame,) = frames(content)
    assert frame.image[1].mean() * 255 > 10


def test_probe_tells_the_facts() -> None:
    meta = probe(clips.clip(100, audio=True))
    assert (meta.width, meta.height) == (clips.WIDTH, clips.HEIGHT)
    assert (meta.duration, meta.n_frames, meta.frame_rate) == (pytest.approx(4), 100, pytest.approx(25))
    assert (meta.codec, meta.container, meta.pixel_format) == ("h264", "mov", "yuv420p")
    assert (meta.has_audio, meta.n_streams, meta.rotation, meta.warnings) == (True, 2, 0, ())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"color_trc": 16}, r"HDR \(PQ\)"),
        ({"color_trc": 18}, r"HDR \(HLG\)"),
        ({"options": {"x264-params": "tff=1"}}, "interlaced"),
    ],
)
def test_peculiar_video_is_read_with_a_warning(options: dict, expected: str) -> None:
    taken = frames(clips.clip(3, **options))
    assert [clips.number_of(frame.image) for frame in taken] == [0, 1, 2]
    assert len(taken.warnings) == 1
    assert re.search(expected, taken.warnings[0])


def test_of_two_video_streams_one_is_read_with_a_warning() -> None:
    taken = frames(clips.clip(3, n_streams=2))
    assert [clips.number_of(frame.image) for frame in taken] == [0, 1, 2]
    assert taken.warnings == ("the file has 2 video streams; only one is looked at",)


def test_source_may_be_any_file_name(clip: bytes, tmp_path: Path) -> None:
    wrong_suffix = tmp_path / "holiday.txt"
    not_utf8 = tmp_path / os.fsdecode(b"cl\xffip.avi")
    for path in (wrong_suffix, not_utf8):
        path.write_bytes(clip)
        assert numbers(path) == numbers(str(path)) == list(range(2, 100, 5))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"Once upon a time there was no video." * 10, "begins with b'Once upon a "),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "begins with"),
        (clips.sound_only(), "no video stream; found audio"),
        (clips.clip(30)[:200], "cut short"),
        (b"\x1a\x45\xdf\xa3" + bytes(1000), "cannot be read"),
    ],
)
def test_no_video_is_an_error_with_the_reason(content: bytes, expected: str) -> None:
    for read in (frames, probe):
        with pytest.raises(VideoError, match=expected):
            read(content)


def test_unreadable_paths_are_errors(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path, expected in (
        (tmp_path, "no regular file"),
        (tmp_path / "pipe.mp4", "no regular file"),
        (tmp_path / "absent.mp4", "No such file"),
        ("nul\0byte", "cannot be opened"),
    ):
        with pytest.raises(VideoError, match=expected):
            frames(path)


def test_zero_duration_is_an_error() -> None:
    content = bytearray(clips.clip(30, options={"tune": "zerolatency"}))
    at = content.index(b"stts") + 16  # the time from each sample to the next
    content[at : at + 4] = bytes(4)
    with pytest.raises(VideoError, match="30 frames carry the same time stamp"):
        frames(bytes(content))


def test_too_many_pixels_are_refused_before_decoding(clip: bytes) -> None:
    assert len(list(frames(clip, max_pixels=clips.WIDTH * clips.HEIGHT))) == 20
    with pytest.raises(VideoError, match="128 × 32 pixels; at most 4095"):
        frames(clip, max_pixels=clips.WIDTH * clips.HEIGHT - 1)


def test_endless_files_are_refused(clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tellsign.video.container._MAX_PACKETS", 99)
    with pytest.raises(VideoError, match="more than 99 frames"):
        frames(clip)


@pytest.mark.parametrize("options", [{"n_frames": 0}, {"n_frames": -1}, {"max_pixels": 0}])
def test_options_out_of_range_are_refused(clip: bytes, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="expected 1 or more"):
        frames(clip, **options)


def test_missing_library_is_named(clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match="pip install av"):
        frames(clip)


@pytest.mark.parametrize(
    "options",
    [
        {"container_options": {"movflags": "faststart"}},
        {},
        {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
        {"container": "matroska"},
        {"container": "mpegts"},
        {"container": "avi", "codec": "mpeg4"},
        {"container": "flv", "codec": "flv"},
    ],
    ids=["faststart", "mp4", "fragments", "matroska", "mpegts", "avi", "flv"],
)
def test_cut_clip_gives_the_frames_that_are_left_or_an_error(options: dict) -> None:
    content = clips.clip(100, **options)
    n_read = 0
    for percent in range(5, 100, 5):
        try:
            taken = frames(content[: len(content) * percent // 100], n_frames=8)
        except VideoError:
            continue
        got = [(clips.number_of(frame.image), frame.time) for frame in taken]
        n_read += 1
        assert [number for number, _ in got] == sorted({number for number, _ in got})
        assert [time for _, time in got] == pytest.approx([n / 25 for n, _ in got], abs=1e-3)
        assert got[-1][1] <= taken.meta.duration
        if percent < 70 and "faststart" in str(options):
            assert any("breaks off at" in text and "promises 4.00 s" in text for text in taken.warnings)
    assert n_read >= (0 if not options else 6)


def test_a_frame_that_is_cut_in_two_is_left_out() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 64, 128, 3), dtype=np.uint8)
    content = clips.clip(
        pictures=list(noise), key_every=1, container_options={"movflags": "faststart"}
    )  # key frames of equal size: at 52 % the cut is in the middle of one
    taken = frames(content[: len(content) * 52 // 100])
    by_time = {frame.time: frame.image for frame in frames(content)}
    left = list(taken)
    assert 8 <= len(left) <= 11
    assert all(np.array_equal(frame.image, by_time[frame.time]) for frame in left)
    assert f"1 of the video's {len(left) + 1} frames are cut short" in taken.warnings[0]
    assert "breaks off" in taken.warnings[1]
    assert len(taken.warnings) == 2


def test_damaged_frames_are_left_out_with_a_warning() -> None:
    content = clips.clip(100, container="matroska", codec="libx264")
    n_damaged = 0
    for seed in range(12):
        broken = bytearray(content)
        at = random.Random(seed).randrange(len(content) // 5, len(content) // 5 * 4)
        broken[at : at + 3] = bytes(255 - byte for byte in broken[at : at + 3])
        taken = frames(bytes(broken))
        shown = {round(frame.time * 25) for frame in taken}
        missing = 20 - len(shown)
        n_damaged += missing > 0
        assert missing < 10  # the other groups of pictures are whole
        assert (missing > 0) == any("frames are missing" in text for text in taken.warnings)
    assert n_damaged >= 6


def test_nothing_reaches_the_terminal_or_the_log(
    clip: bytes, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    import av

    level = av.logging.get_level()
    try:
        for level_in_use in (None, av.logging.DEBUG):  # torchvision, for one, turns FFmpeg's messages on
            av.logging.set_level(level_in_use)
            with caplog.at_level(logging.DEBUG):
                broken = clip[:1500] + bytes(200) + clip[1700:]
                for content in (clip, broken, clip[:3000], b"junk"):
                    try:
                        list(frames(content))
                    except VideoError:
                        continue
    finally:
        av.logging.set_level(level)
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name.startswith("libav")] == []


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\0\0\0\x18ftypisom", True),
        (b"\0\0\0\x14ftypqt  ", True),
        (b"\0\0\0\x18ftyp3gp4", True),
        (b"\0\0\0\x18ftypheic", False),
        (b"\0\0\0\x18ftypavif", False),
        (b"\0\0\0\x18ftypmif1", False),
        (b"\0\0\0\x18ftypM4A ", False),
        (b"\0\0\x10\x00moov", True),
        (b"The free software", False),
        (b"RIFF\0\0\0\0AVI LIST", True),
        (b"RIFF\0\0\0\0WAVEfmt ", False),
        (b"RIFF\0\0\0\0WEBPVP8 ", False),
        (b"OggS" + bytes(24) + b"\x80theora", True),
        (b"OggS" + bytes(24) + b"\x01vorbis", False),
        (b"\x1a\x45\xdf\xa3\x01", True),
        (b"FLV\x01\x05", True),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", True),
        (b"\0\0\x01\xba", True),
        ((b"\x47\x40\x00\x10" + bytes(184)) * 4, True),
        (bytes(4) + (b"\x47\x40\x00\x10" + bytes(188)) * 4, True),
        (b"G" * 4096, False),
        (b"\x47\x40\x00\x10", False),
        (b"\x89PNG\r\n\x1a\n", False),
        (b"\xff\xd8\xff\xe0", False),
        (b"ID3\x04", False),
        (b"", False),
    ],
)
def test_content_tells_a_video(head: bytes, expected: bool) -> None:
    assert is_video(head) is expected


def test_suffixes_are_lower_case_and_leave_typescript_alone() -> None:
    assert {".mp4", ".mov", ".mkv", ".webm", ".avi"} < VIDEO_SUFFIXES
    assert ".ts" not in VIDEO_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in VIDEO_SUFFIXES)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1, 1, 0], 1),
        ([0, 0, 1], 0),
        ([1, 0], None),
        ([], None),
        ([None, None], None),
        ([None, None, 1], 1),
        (np.array([1, 1, 0]), 1),
    ],
)
def test_majority_vote(labels: list[int | None], expected: int | None) -> None:
    assert majority_vote(labels) == expected


def test_majority_vote_refuses_other_labels() -> None:
    with pytest.raises(ConfigError, match="'2'"):
        majority_vote([0, 2, "fake"])  # type: ignore[list-item]


@pytest.mark.slow
@pytest.mark.data
def test_real_clips_give_the_frames_of_a_plain_decode(data_root: Path) -> None:
    import av

    paths = sorted((data_root / "clips").rglob("*.mp4"))
    assert len(paths) == 6
    for path in paths:
        taken = frames(path, n_frames=4)
        red, green, blue = (0.2126, 0.7152, 0.0722) if taken.meta.width >= 1280 else (0.299, 0.587, 0.114)
        by_time = {frame.time: frame.image for frame in taken}
        lumas, times = {}, []
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                times.append(frame.time)
                if frame.time in by_time:
                    plane = frame.planes[0]
                    stored = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:, : frame.width]
                    lumas[frame.time] = (stored.astype(float) - 16) / 219
        length = times[-1] + times[1]
        assert list(by_time) == [max(t for t in times if t <= (k + 0.5) * length / 4) for k in range(4)]
        for time, (r, g, b) in by_time.items():
            clipped = (np.minimum(np.minimum(r, g), b) == 0) | (np.maximum(np.maximum(r, g), b) == 1)
            error = np.abs(red * r + green * g + blue * b - lumas[time])[~clipped]
            assert error.mean() * 255 < 0.5, path
