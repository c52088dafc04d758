"""Long fuzzing of the two decoders: many changed files, seeded, so that a failure can be repeated."""

from __future__ import annotations

import random

import numpy as np
import pytest

import clips
from corpus import good_files
from tellsign.image import decode
from tellsign.types import ImageError, VideoError
from tellsign.video import frames

pytestmark = pytest.mark.slow

N_IMAGES, N_CLIPS = 200_000, 10_000
CONTAINERS = (
    {"container_options": {"movflags": "faststart"}, "audio": True},
    {"container": "matroska"},
    {"container": "webm", "codec": "libvpx"},
    {"container": "mpegts"},
    {"container": "avi", "codec": "mpeg4"},
)


def changed(original: bytes, rng: random.Random) -> bytes:
    """A file with one to five of its stretches overwritten, put in, cut out, repeated or cut off."""
    data = bytearray(original)
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(min(len(data), rng.choice((64, 1024, len(data)))))
        piece = rng.randbytes(rng.randint(1, 8))
        how = rng.choice(("overwrite", "insert", "delete", "repeat", "cut"))
        if how == "overwrite":
            data[at : at + len(piece)] = piece
        elif how == "insert":
            data[at:at] = piece
        elif how == "delete":
            del data[at : at + 8 * len(piece)]
        elif how == "repeat":
            data[at:at] = data[at : at + 8 * len(piece)]
        elif rng.random() < 0.2:
            del data[at:]
        if not data:
            return original
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_changed_images(seed: int) -> None:
    rng = random.Random(seed)
    originals = [content for content, _ in good_files().values() if len(content) < 120_000]
    decoded = 0
    for _ in range(N_IMAGES // 4):
        data = changed(rng.choice(originals), rng)
        try:
            array = decode(data, max_pixels=2_000_000).array
        except ImageError:
            continue
        decoded += 1
        assert array.dtype == np.float32
        assert 0 <= array.min() <= array.max() <= 1
    assert decoded > N_IMAGES // 40, "hardly anything was decoded: the changes are too coarse to find faults"


@pytest.mark.parametrize("options", CONTAINERS, ids=lambda options: str(options.get("container", "mp4")))
def test_changed_clips(options: dict[str, object]) -> None:
    rng = random.Random(1)
    original = clips.clip(24, key_every=8, **options)
    shown = 0
    for _ in range(N_CLIPS // len(CONTAINERS)):
        try:
            found = list(frames(changed(original, rng), n_frames=3, max_pixels=1_000_000))
        except VideoError:
            continue
        shown += 1
        assert 1 <= len(found) <= 3
        assert all(0 <= frame.image.min() <= frame.image.max() <= 1 for frame in found)
    assert shown > N_CLIPS // len(CONTAINERS) // 10
