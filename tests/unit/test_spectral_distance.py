"""The distance between two sets of images, its interval and its noise floor, and the sets themselves."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from pictures import natural, save, upsampled, write_dataset
from tellsign.data import Manifest, read, write
from tellsign.generators.cloaking import cloaking
from tellsign.generators.distance import distance, noise_floor, spectral_distance
from tellsign.generators.distance_report import notes, plot, text, to_dict
from tellsign.generators.frechet import Frechet
from tellsign.generators.image_sets import SetProfiles, both_profiles, image_set
from tellsign.types import FAKE, REAL, ConfigError, ManifestError, Sample, TooSmallError

NOT_ASKED = Frechet(None, note="not asked")


def made(rings, groups=None, side=32):
    """Profiles without images."""
    rows = tuple(Sample(Path(f"{i}.png"), group=group) for i, group in enumerate(groups or [""] * len(rings)))
    centred = (rings - rings.min()) / np.ptp(rings)
    return SetProfiles(Manifest(rows), rings, centred, side, {(side, side): len(rings)}, ())


def noise(n, seed, n_rings=20, deviation=1.0):
    return np.random.default_rng(seed).normal(0, deviation, (n, n_rings))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sets")
    write_dataset(path, 12, size=32, group_size=3)
    return path


@pytest.fixture(scope="module")
def profiles(folder):
    return both_profiles(image_set(folder / "real", REAL), image_set(folder / "fake", FAKE))


def test_a_difference_of_one_number_is_that_number():
    rows = noise(60, 0)
    found = distance(made(rows), made(rows + 3))
    assert found.value.value == pytest.approx(3)
    assert 2 < found.value.low <= 3 <= found.value.high < 4
    np.testing.assert_allclose(found.difference, 3)
    assert (found.low < 3).all()
    assert (found.high > 3).all()


def test_the_distance_is_the_root_mean_square_over_rings():
    assert spectral_distance(np.zeros((2, 4)), np.array([[0.0, 0, 0, 2], [0, 0, 0, 6]])) == 2


def test_contrast_counts_in_decibels(tmp_path):
    # Half the contrast, exactly: levels are even numbers around an even one.
    for index in range(3):
        levels = 2 * np.rint(127 * natural(index, 32, 32)).astype(np.uint8)
        for name, array in (("real", levels), ("fake", levels // 2 + 64)):
            path = tmp_path / name / f"{index}.png"
            path.parent.mkdir(exist_ok=True)
            PIL.Image.fromarray(array.transpose(1, 2, 0)).save(path)
    reals, fakes = both_profiles(image_set(tmp_path / "real", REAL), image_set(tmp_path / "fake", FAKE))
    found = distance(reals, fakes)
    np.testing.assert_allclose(found.difference, -20 * math.log10(2), atol=1e-3)
    assert found.value.value == pytest.approx(20 * math.log10(2), abs=1e-3)


def test_repeated_pixels_are_far_and_most_at_high_frequencies(profiles):
    found = distance(*profiles)
    assert found.value.low > 3 * found.noise_floor
    assert found.largest[0] > 0.4
    assert found.largest[1] < 0
    assert found.frequency[0] == pytest.approx(1.5 / 32)
    assert 0.6 < found.frequency[-1] < math.sqrt(0.5)


def test_the_noise_floor_is_what_halves_of_one_source_show():
    rows = noise(400, 0, n_rings=200)
    # Means of 200 rows each, of unit deviation: variances of 1/200 add up.
    assert noise_floor(rows, [""] * 400) == pytest.approx(math.sqrt(2 / 200), rel=0.05)
    assert noise_floor(rows, ["one"] * 400) is None


def test_groups_are_not_torn_apart():
    # Ten frames of each of six sources, which differ by much more than their frames.
    rows = np.repeat(noise(6, 0, deviation=5), 10, axis=0) + noise(60, 1, deviation=0.1)
    groups = [f"video {index // 10}" for index in range(60)]
    assert noise_floor(rows, groups) > 3 * noise_floor(rows, [""] * 60)
    alone, grouped = (distance(made(rows, own), made(noise(60, 2))) for own in (None, groups))
    assert grouped.value.high - grouped.value.low > 1.5 * (alone.value.high - alone.value.low)


def test_one_group_has_no_interval_and_says_so():
    found = distance(made(noise(8, 0), ["one"] * 8), made(noise(8, 1)))
    assert math.isnan(found.value.low)
    assert np.isnan(found.low).all()
    assert found.noise_floor is None
    assert found.cloaking.held_out is None
    written = to_dict(found, made(noise(8, 0)), made(noise(8, 1)), NOT_ASKED)
    assert written["distance"]["ci"] is None
    assert written["profile"]["low"] == [None] * 20
    shown = text(found, made(noise(8, 0)), made(noise(8, 1)), NOT_ASKED)
    assert "unknown, the reals are one group" in shown
    assert "one group only" in shown
    plot(found)


def test_the_same_seed_gives_the_same_numbers(profiles):
    written = [to_dict(distance(*profiles, seed=seed), *profiles, NOT_ASKED) for seed in (0, 0, 1)]
    assert written[0] == written[1] != written[2]
    json.dumps(written[0], allow_nan=False)


def test_images_of_several_sizes_are_cropped_to_the_smallest_side(tmp_path):
    save(natural(0, 40, 40), tmp_path / "real" / "a.png")
    save(natural(1, 50, 36), tmp_path / "real" / "b.png")
    save(natural(2, 33, 48), tmp_path / "fake" / "a.png")
    sets = image_set(tmp_path / "real", REAL), image_set(tmp_path / "fake", FAKE)
    reals, fakes = both_profiles(*sets)
    assert reals.side == fakes.side == 33
    assert (len(reals.rings), len(fakes.rings)) == (2, 1)
    assert not reals.failed
    said = " ".join(notes(reals, fakes))
    assert "33 x 33" in said
    assert "another scale" in said
    assert "only 2 real images" in said


def test_a_side_leaves_smaller_images_out_and_names_them(tmp_path):
    save(natural(0, 40, 40), tmp_path / "real" / "a.png")
    for name in ("a", "b"):
        save(natural(2, 40, 40), tmp_path / "fake" / f"{name}.png")
    save(natural(2, 20, 40), tmp_path / "fake" / "small.png")
    reals, fakes = both_profiles(
        image_set(tmp_path / "real", REAL), image_set(tmp_path / "fake", FAKE), side=32
    )
    assert reals.side == 32
    assert [path.name for path, _ in fakes.failed] == ["small.png"]
    assert "smaller" in fakes.failed[0][1]


def test_the_profiles_are_those_of_the_features_in_decibels(tmp_path):
    from tellsign.features.spectrum import grey, profile

    path = save(natural(0, 32, 32), tmp_path / "real" / "a.png")
    save(upsampled(0, 32, 32), tmp_path / "fake" / "a.png")
    reals, _ = both_profiles(image_set(tmp_path / "real", REAL), image_set(tmp_path / "fake", FAKE))
    levels = np.asarray(PIL.Image.open(path)).transpose(2, 0, 1) / 255
    expected = profile(grey(levels)[None], normalise="none") * 20 / (20 * math.log(10))
    np.testing.assert_allclose(reals.rings, expected, atol=1e-4)


def test_files_that_cannot_be_used_are_named(folder, tmp_path):
    save(natural(0, 32, 32), tmp_path / "good.png")
    save(np.full((3, 32, 32), 0.5, np.float32), tmp_path / "grey.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "text.txt").write_text("passed over")
    said = []
    fakes = image_set(tmp_path, FAKE, warn=said.append)
    assert "1 files passed over" in said[0]
    _, found = both_profiles(image_set(folder / "real", REAL), fakes)
    assert [path.name for path, _ in found.failed] == ["broken.png", "grey.png"]
    assert "one colour" in found.failed[1][1]


def test_of_a_manifest_the_other_class_is_left_out(folder):
    said = []
    found = image_set(folder / "manifest.csv", FAKE, warn=said.append)
    assert {sample.label for sample in found} == {FAKE}
    assert "12 rows left out that are not fake" in said[0]
    assert found[0].group


def test_a_split_of_a_manifest(folder, tmp_path):
    rows = [
        Sample(s.path, s.label, split="test" if i % 2 else "train")
        for i, s in enumerate(read(folder / "manifest.csv"))
    ]
    write(Manifest(tuple(rows)), tmp_path / "m.csv")
    assert len(image_set(tmp_path / "m.csv", REAL, split="test")) == 6
    with pytest.raises(ConfigError, match="split 'valid'"):
        image_set(tmp_path / "m.csv", REAL, split="valid")
    said = []
    assert len(image_set(folder / "real", REAL, split="test", warn=said.append)) == len(
        image_set(folder / "real", REAL)
    )
    assert said == [f"{folder / 'real'}: no splits, taken as a whole"]


def test_what_holds_no_images_is_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match="found no real images"):
        image_set(tmp_path, REAL)
    with pytest.raises(ManifestError):
        image_set(tmp_path / "nothing.csv", REAL)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"none of the fake images can be used; the first, .*bad\.png"):
        both_profiles(image_set(folder / "real", REAL), image_set(tmp_path, FAKE))


def test_tiny_images_and_crops_are_refused(folder, tmp_path):
    save(natural(0, 12, 40), tmp_path / "a.png")
    sets = image_set(folder / "real", REAL), image_set(tmp_path, FAKE)
    with pytest.raises(TooSmallError, match="12 pixels"):
        both_profiles(*sets)
    with pytest.raises(ConfigError, match="16 or more"):
        both_profiles(*sets, side=8)


def test_crops_of_two_sizes_are_not_compared():
    with pytest.raises(ConfigError, match="take one size"):
        distance(made(noise(8, 0), side=32), made(noise(8, 1), side=33))


def test_images_of_one_source_are_cloaked_and_separated_ones_are_not():
    labels = [REAL] * 100 + [FAKE] * 100
    rows = noise(200, 0, n_rings=5)
    same = cloaking(rows, labels, [""] * 200)
    assert same.held_out > 0.7
    assert same.folds == 5
    apart = cloaking(rows + 20 * np.array(labels)[:, None], labels, [""] * 200)
    assert apart.held_out == apart.fitted == 0
    assert apart.held_out_accuracy == 1


def test_the_published_form_tells_anything_from_anything():
    labels = [REAL] * 30 + [FAKE] * 30
    found = cloaking(noise(60, 0, n_rings=90), labels, [""] * 60)
    assert found.fitted == 0  # every image, by noise alone
    assert found.held_out > 0.5


def test_a_group_is_never_on_both_sides_of_a_fold():
    # What is learnt of a source helps with its other frames: the more so, the fewer sources there are.
    labels = [REAL] * 60 + [FAKE] * 60
    rows = np.repeat(noise(6, 0, n_rings=90), 20, axis=0) + noise(120, 1, n_rings=90, deviation=0.1)
    groups = [f"source {index // 20}" for index in range(120)]
    alone, grouped = (cloaking(rows, labels, own) for own in ([""] * 120, groups))
    assert alone.held_out == 0
    assert grouped.folds == 3
    assert grouped.held_out_accuracy < 0.9


def test_classes_of_unequal_size_are_told_by_no_guess():
    labels = [REAL] * 190 + [FAKE] * 10
    assert cloaking(noise(200, 0, n_rings=3), labels, [""] * 200).held_out > 0.5


def test_folds_are_two_or_more():
    with pytest.raises(ConfigError, match="folds is 1"):
        cloaking(noise(4, 0), [0, 0, 1, 1], [""] * 4, folds=1)
