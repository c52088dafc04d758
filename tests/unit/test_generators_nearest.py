"""The nearest of what was learnt from: crops that were copied are found where they were cut out."""

from __future__ import annotations

import numpy as np
import pytest

from pictures import natural, save
from tellsign.data import Manifest
from tellsign.generators.collapse import pair_distances
from tellsign.generators.nearest import compared, neighbours, summary
from tellsign.generators.nearest_report import sheet, text, to_dict
from tellsign.image import decode
from tellsign.types import FAKE, REAL, ConfigError, ImageError, ManifestError, Sample


def written(folder, images, label):
    samples = [
        Sample(save(image, folder / f"{label}-{number:02d}.png"), label)
        for number, image in enumerate(images)
    ]
    return Manifest(tuple(samples))


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    return written(tmp_path_factory.mktemp("learnt"), [natural(seed, 40, 56) for seed in range(5)], REAL)


def crop(learnt, row, top, left, size):
    return decode(learnt[row].path).array[:, top : top + size, left : left + size]


def test_copies_are_found_where_they_were_cut_out(learnt):
    copies = np.stack([crop(learnt, 3, 7, 21, 16), crop(learnt, 0, 24, 40, 16)[..., ::-1]])
    noisy = copies + np.random.default_rng(0).normal(0, 0.01, copies.shape)
    found = neighbours(noisy, learnt)
    assert [(one.row, one.top, one.left, one.flip) for one in found] == [(3, 7, 21, False), (0, 24, 40, True)]
    assert all(0.005 < one.distance < 0.015 for one in found)
    others = np.stack([natural(100 + seed, 16, 16) for seed in range(3)])
    assert min(one.distance for one in neighbours(others, learnt)) > 0.03


def test_mirror_images_count_only_where_they_were_learnt_from(learnt):
    copy = crop(learnt, 1, 3, 5, 16)[None, ..., ::-1]
    assert neighbours(copy, learnt)[0].distance < 1e-3
    found = neighbours(copy, learnt, flip=False)[0]
    assert found.distance > 0.01
    assert not found.flip


@pytest.mark.parametrize(("size", "block"), [(16, 1), (18, 1), (32, 2), (35, 2)])
def test_every_position_at_whole_blocks_is_looked_at(learnt, size, block):
    """Against a loop over all of them."""
    images = np.stack([natural(200 + seed, size, size) for seed in range(3)])
    best = np.full(3, np.inf)
    for sample in learnt:
        array = decode(sample.path).array
        for top in range(0, array.shape[1] - size + 1, block):
            for left in range(0, array.shape[2] - size + 1, block):
                own = array[:, top : top + size, left : left + size]
                for one in (own, own[..., ::-1]):
                    best = np.minimum(
                        best, pair_distances(images, mirrored_alike(one, own, size, block))[:, 0]
                    )
    found = neighbours(images, learnt)
    np.testing.assert_allclose([one.distance for one in found], best, atol=1e-4)


def mirrored_alike(one, own, size, block):
    """A crop for the loop: where a side is no whole number of blocks, its last pixels are left out first."""
    whole = size - size % block
    cut = own[:, :whole, :whole]
    cut = cut[..., ::-1] if one is not own else cut
    padded = np.zeros((1, 3, size, size), dtype=cut.dtype)
    padded[0, :, :whole, :whole] = cut
    return padded


def test_what_was_resized_is_compared_as_it_was_seen(learnt, tmp_path):
    from tellsign.image.network_input import resized

    copy = resized(decode(learnt[4].path).array, 16)
    found = neighbours(copy[None], learnt, fit="resize")[0]
    assert (found.row, found.top, found.left) == (4, 0, 0)
    assert found.distance < 1e-3
    assert neighbours(copy[None], learnt)[0].distance > 0.01


def test_generated_images_stand_beside_other_real_ones(learnt, tmp_path):
    others = written(tmp_path / "others", [natural(300 + seed, 40, 56) for seed in range(4)], REAL)
    made = [natural(400, 16, 16), crop(learnt, 2, 4, 4, 16), natural(401, 16, 16)]
    fakes = written(tmp_path / "fakes", made, FAKE)
    found = compared(fakes, learnt, others)
    assert found.order[0] == 1
    assert summary(found.found)["least"] < 1e-3 < summary(found.others)["least"]
    assert summary(found.found)["median"] == np.median([one.distance for one in found.found])
    told = to_dict(found)
    assert (told["n"], told["n_learnt"], told["size"]) == (3, 5, 16)
    first = told["neighbours"][0]
    assert (first["path"], first["top"], first["left"]) == (str(fakes[1].path), 4, 4)
    assert first["nearest"] == str(learnt[2].path)
    assert told["real"]["median"] > 0.01
    lines = text(found)
    assert "3 generated images of 16 pixels, 5 that were learnt from" in lines
    assert "other real images   0." in lines
    drawn = sheet(found)
    assert drawn.shape == (3, 36, 54)
    np.testing.assert_allclose(drawn[:, :16, :16], drawn[:, 16:32, :16], atol=1e-6)
    alone = compared(fakes, learnt, None)
    assert alone.others is None
    assert to_dict(alone)["real"] is None
    assert "none were given" in text(alone)


def test_what_cannot_be_compared_is_refused_or_told(learnt, tmp_path):
    images = natural(0, 16, 16)[None]
    small = Sample(save(natural(0, 8, 40), tmp_path / "small.png"), REAL)
    mixed = Manifest((small, *learnt))
    with pytest.raises(ManifestError, match=r"small\.png.*40 × 8 pixels, smaller"):
        neighbours(images, mixed)
    told: list[str] = []
    found = neighbours(images, mixed, left_out=told.append)[0]
    assert found.row > 0
    assert len(told) == 1
    with pytest.raises(ManifestError, match="none of the images"):
        neighbours(images, Manifest((small,)), left_out=told.append)
    with pytest.raises(ConfigError, match="no images"):
        neighbours(images[:0], learnt)
    with pytest.raises(ImageError, match="squares"):
        neighbours(images[..., :8], learnt)
    unlike = written(tmp_path / "unlike", [natural(0, 16, 16), natural(1, 20, 20)], FAKE)
    with pytest.raises(ImageError, match=r"20 × 20 pixels; expected 16 × 16"):
        compared(unlike, learnt, None)
    oblong = written(tmp_path / "oblong", [natural(0, 16, 20)], FAKE)
    with pytest.raises(ImageError, match=r"20 × 16 pixels; expected squares"):
        compared(oblong, learnt, None)
