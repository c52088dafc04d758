"""Whatever the bytes: frames or a VideoError, and nothing on the terminal."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clips
from tellsign.types import VideoError
from tellsign.video import frames, is_video, majority_vote, probe
from tellsign.video.container import Timeline, evenly_spaced, runs_to

CLIPS = {
    "mp4": {"container_options": {"movflags": "faststart"}, "audio": True},
    "fragments": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "hevc": {"codec": "libx265"},
    "matroska": {"container": "matroska"},
    "webm": {"container": "webm", "codec": "libvpx"},
    "mpegts": {"container": "mpegts"},
    "mpeg": {"container": "mpeg", "codec": "mpeg2video"},
    "avi": {"container": "avi", "codec": "mpeg4"},
    "flv": {"container": "flv", "codec": "flv"},
    "asf": {"container": "asf", "codec": "wmv2"},
}


@cache
def content(name: str) -> bytes:
    return clips.clip(24, key_every=8, **CLIPS[name])


def mutated(data: st.DataObject, original: bytes) -> bytes:
    changed = bytearray(original)
    for _ in range(data.draw(st.integers(1, 6), label="number of changes")):
        at = data.draw(st.integers(0, max(0, len(changed) - 1)), label="place")
        piece = data.draw(st.binary(min_size=1, max_size=8), label="bytes")
        kind = data.draw(st.sampled_from(["replace", "insert", "delete", "cut", "repeat"]), label="kind")
        if kind == "replace":
            changed[at : at + len(piece)] = piece
        elif kind == "insert":
            changed[at:at] = piece
        elif kind == "delete":
            del changed[at : at + 16 * len(piece)]
        elif kind == "cut":
            del changed[max(at, len(changed) // 2) :]
        else:
            changed[at:at] = changed[at : at + 16 * len(piece)]
    return bytes(changed)


@pytest.mark.parametrize("name", CLIPS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_changed_clips_give_frames_or_a_video_error(name: str, data: st.DataObject) -> None:
    broken = mutated(data, content(name))
    try:
        taken = frames(broken, n_frames=4, max_pixels=1_000_000)
        got = list(taken)
    except VideoError:
        return
    assert 1 <= len(got) <= 4
    assert all(frame.image.dtype == np.float32 and frame.image.shape[0] == 3 for frame in got)
    assert all(frame.image.min() >= 0 and frame.image.max() <= 1 for frame in got)
    assert all(np.isfinite(frame.time) and frame.time >= 0 for frame in got)
    assert len(got) == min(4, taken.meta.n_frames) or taken.warnings


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(sorted(CLIPS)), data=st.data())
def test_what_probe_reads_frames_does_too(name: str, data: st.DataObject) -> None:
    broken = mutated(data, content(name))
    try:
        meta = probe(broken)
    except VideoError:
        return
    try:
        taken = frames(broken)
    except VideoError:
        return  # the few frames that probe looks at may be whole where those wanted are not
    assert taken.meta.n_frames == meta.n_frames


@given(st.binary(max_size=300))
def test_any_bytes_are_a_video_or_not(head: bytes) -> None:
    if not is_video(head):
        with pytest.raises(VideoError, match=r"expected MP4|is empty"):
            frames(head)


@given(st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=60, unique=True), st.integers(1, 40))
def test_chosen_frames_are_different_and_as_many_as_there_are(times: list[int], n_frames: int) -> None:
    line = timeline_of(sorted(times), keys=[0])
    chosen = evenly_spaced(line, n_frames)
    assert len(chosen) == min(n_frames, len(times))
    assert np.all(np.diff(chosen) > 0)
    assert 0 <= chosen[0] <= chosen[-1] < len(times)


@given(st.integers(1, 400), st.integers(1, 40), st.integers(1, 1000))
def test_constant_rate_is_spaced_within_a_frame(n_there: int, n_frames: int, step: int) -> None:
    chosen = evenly_spaced(timeline_of([step * k for k in range(n_there)], keys=[0]), n_frames)
    n = min(n_frames, n_there)
    expected = [(2 * k + 1) * n_there * step // (2 * n) // step for k in range(n)]
    assert chosen.tolist() == expected


@given(st.data())
def test_runs_hold_each_target_once_and_begin_at_key_frames(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 60))
    keys = sorted({0, *data.draw(st.lists(st.integers(0, n - 1), max_size=8))})
    chosen = sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1)))
    runs = runs_to(timeline_of(list(range(n)), keys=keys), np.array(chosen))
    assert [target for run in runs for target in run.targets] == chosen
    assert all(run.first in keys and run.last == run.targets[-1] for run in runs)
    assert all(a.last < b.first for a, b in pairwise(runs))
    n_decoded = sum(run.last - run.first + 1 for run in runs)
    assert n_decoded <= sum(t - max(k for k in keys if k <= t) + 1 for t in chosen)


@given(st.lists(st.sampled_from([0, 1, None])))
def test_vote_does_not_depend_on_order_and_mirrors(labels: list[int | None]) -> None:
    vote = majority_vote(labels)
    assert majority_vote(labels[::-1]) == vote
    swapped = majority_vote([None if label is None else 1 - label for label in labels])
    assert swapped == (None if vote is None else 1 - vote)


def timeline_of(times: list[int], *, keys: list[int]) -> Timeline:
    gaps = np.diff(times)
    return Timeline(
        times=np.array(times),
        ordinals=np.arange(len(times)),
        keys=np.array(keys),
        key_times=np.array(times)[keys],
        unit=Fraction(1, 1000),
        length=times[-1] - times[0] + (int(gaps.max()) if len(gaps) else 1),
        warnings=(),
    )
