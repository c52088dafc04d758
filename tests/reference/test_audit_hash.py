"""The audit's perceptual hash against the library ImageHash."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest

from pictures import natural
from tellsign.data.audit.cues import GRID, area_means, perceptual_hash

imagehash = pytest.importorskip("imagehash")


@pytest.mark.parametrize("seed", range(5))
def test_bits_are_those_of_the_library(seed):
    levels = np.rint(area_means(natural(seed, 128, 128), GRID) * 255)
    grey = PIL.Image.fromarray(levels.astype(np.uint8).transpose(1, 2, 0)).convert("L")
    # As the library sees it: one channel of whole levels, so that rounding can't part the two.
    same = np.broadcast_to(np.asarray(grey, np.float32) / 255, (3, GRID, GRID))
    ours = perceptual_hash(np.ascontiguousarray(same))
    assert f"{ours:016x}" == str(imagehash.phash(grey))
    other = perceptual_hash(area_means(natural(seed + 50, 128, 128), GRID))
    assert f"{other:016x}" != str(imagehash.phash(grey))


@pytest.mark.parametrize("size", [(300, 200), (97, 131)])
def test_a_whole_picture_hashes_nearly_as_in_the_library(size):
    """Means over areas instead of a Lanczos filter move a few bits."""
    array = natural(9, *size)
    picture = PIL.Image.fromarray(np.rint(array * 255).astype(np.uint8).transpose(1, 2, 0))
    theirs = int(str(imagehash.phash(picture)), 16)
    assert (perceptual_hash(area_means(array, GRID)) ^ theirs).bit_count() <= 4
