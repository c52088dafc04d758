"""Analytic answers, options and errors of the spectral features; tests/reference holds the parity tests."""

from __future__ import annotations

import doctest
import json
import re
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

from tellsign.features import spectrum
from tellsign.features.spectrum import (
    ProfileOptions,
    grey,
    interpolate,
    log_spectrum,
    n_rings,
    power_spectrum,
    profile,
)
from tellsign.types import ConfigError, ImageError, TooSmallError

PRESETS = ("official", "paper")
NORMALISATIONS = ("none", "first", "minmax")
FLOOR = 20 * np.log(1e-8)  # the log magnitude of nothing


def noise(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, shape).astype(dtype)


def cosine(size, frequency):
    return np.tile(np.cos(2 * np.pi * frequency * np.arange(size) / size), (size, 1))[None]


# 2-D spectra


def test_a_constant_image_has_power_at_dc_alone():
    images = np.full((2, 6, 8), 3.0)
    power = power_spectrum(images)
    assert power[:, 3, 4] == pytest.approx((3.0 * 48) ** 2)
    power[:, 3, 4] = 0
    assert power.max() == pytest.approx(0, abs=1e-20)
    logs = log_spectrum(images)
    assert logs[0, 3, 4] == pytest.approx(20 * np.log(3.0 * 48))
    assert logs[0, 0, 0] == pytest.approx(FLOOR)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 7), (6, 9), (9, 6)])
def test_power_sums_to_the_energy_of_the_image(height, width):
    images = noise(3, height, width)
    assert power_spectrum(images).sum((1, 2)) == pytest.approx(height * width * (images**2).sum((1, 2)))


def test_the_log_spectrum_is_that_of_the_power_spectrum():
    images = noise(2, 12, 12)
    np.testing.assert_allclose(log_spectrum(images), 10 * np.log(power_spectrum(images)), rtol=1e-9)


def test_grey_weighs_the_channels():
    images = np.zeros((2, 3, 4, 5))
    images[:, 0], images[:, 1], images[:, 2] = 100, 10, 1
    result = grey(images)
    assert result.shape == (2, 4, 5)
    assert result == pytest.approx(29.89 + 5.87 + 0.114)


# Rings


@pytest.mark.parametrize(
    ("height", "width", "length"),
    [
        (64, 64, 43),
        (80, 80, 54),
        (128, 128, 88),
        (178, 218, 139),
        (218, 178, 139),
        (256, 256, 179),
        (1024, 1024, 722),
        (4, 4, 1),
    ],
)
def test_official_lengths(height, width, length):
    assert n_rings(height, width) == length
    assert profile(noise(1, height, width), square=False).shape == (1, length)


@pytest.mark.parametrize(
    ("height", "width", "length"), [(64, 64, 32), (65, 65, 32), (178, 218, 89), (218, 178, 89), (2, 2, 1)]
)
def test_paper_lengths(height, width, length):
    assert n_rings(height, width, "paper") == length
    assert profile(noise(1, height, width), preset="paper", square=False).shape == (1, length)


@pytest.mark.parametrize("frequency", [1, 5, 15])
def test_a_cosine_lies_in_its_ring(frequency):
    size = 32
    rings = profile(cosine(size, frequency), preset="paper", normalise="none")[0]
    y, x = np.mgrid[-16:16, -16:16]
    pixels = ((x**2 + y**2 >= frequency**2) & (x**2 + y**2 < (frequency + 1) ** 2)).sum()
    assert rings[frequency] == pytest.approx(2 * (size**2 / 2) ** 2 / pixels)
    assert np.delete(rings, frequency) == pytest.approx(0, abs=1e-15 * rings[frequency])


def test_the_official_centre_splits_a_cosine_between_two_rings():
    # Frequencies +5 and -5 are 5.52 and 4.53 from a centre half a pixel off DC.
    rings = profile(cosine(32, 5), normalise="none")[0]
    assert {int(i) + 1 for i in np.argsort(rings)[-2:]} == {4, 5}


def test_the_official_centre_is_dc_for_an_odd_size():
    rings = profile(cosine(33, 5), normalise="none")[0]
    assert int(np.argmax(rings)) + 1 == 5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [16, 15])
def test_a_black_image_has_a_finite_profile(size, dtype):
    images = np.zeros((2, size, size), dtype)
    assert profile(images, normalise="none") == pytest.approx(FLOOR)
    assert profile(images, normalise="first") == pytest.approx(1.0)
    assert np.isfinite(profile(images, normalise="minmax")).all()
    for normalise in NORMALISATIONS:
        assert (profile(images, preset="paper", normalise=normalise) == 0).all()


# Scale, offset, normalisation


def test_what_a_factor_does():
    images = noise(2, 32, 32)
    shift = profile(images / 255, normalise="none") - profile(images, normalise="none")
    assert shift == pytest.approx(-20 * np.log(255))
    ratio = profile(images / 255, preset="paper", normalise="none") / profile(
        images, preset="paper", normalise="none"
    )
    assert ratio == pytest.approx(255.0**-2)

    def changes(preset, normalise):
        options = {"preset": preset, "normalise": normalise}
        return not np.allclose(profile(images, **options), profile(images / 255, **options), rtol=1e-6)

    assert changes("official", "first")
    assert not changes("official", "minmax")
    assert not changes("paper", "first")
    assert not changes("paper", "minmax")


def test_what_an_offset_does():
    images = noise(2, 32, 32)
    np.testing.assert_allclose(profile(images + 50), profile(images), rtol=1e-9)
    change = profile(images + 50, preset="paper", normalise="none") / profile(
        images, preset="paper", normalise="none"
    )
    assert change[:, 1:] == pytest.approx(1)
    assert (change[:, 0] > 1.01).all()


@pytest.mark.parametrize("length", [None, 12])
@pytest.mark.parametrize("preset", PRESETS)
def test_normalisation(preset, length):
    images = noise(3, 32, 32)
    rings = profile(images, preset=preset, length=length, normalise="none")
    np.testing.assert_allclose(profile(images, preset=preset, length=length), rings / rings[:, :1])
    low, high = rings.min(1, keepdims=True), rings.max(1, keepdims=True)
    scaled = profile(images, preset=preset, length=length, normalise="minmax")
    np.testing.assert_allclose(scaled, (rings - low) / (high - low), atol=1e-14)
    assert scaled.min() == 0
    assert scaled.max() == 1


def test_first_divides_the_paper_profile_by_dc():
    images = noise(2, 16, 16)
    expected = profile(images, preset="paper", normalise="none") / images.sum((1, 2))[:, None] ** 2
    np.testing.assert_allclose(profile(images, preset="paper"), expected)


# Arrays


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_have_the_type_of_the_input(dtype):
    images = noise(2, 3, 16, 16, dtype=dtype)
    assert grey(images).dtype == dtype
    one = images[:, 0]
    assert power_spectrum(one).dtype == log_spectrum(one).dtype == profile(one, length=5).dtype == dtype
    assert interpolate(one[0], 5).dtype == dtype
    for function in (
        power_spectrum,
        log_spectrum,
        profile,
    ):  # NumPy computes in float64 and rounds at the end
        np.testing.assert_array_equal(function(one), function(one.astype(np.float64)).astype(dtype))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("chunk", [1, 3 * 16 * 16 * 8, 2**21])
def test_a_profile_does_not_depend_on_its_neighbours(monkeypatch, chunk, preset):
    images = noise(7, 16, 16)
    alone = np.concatenate([profile(image[None], preset=preset, length=6) for image in images])
    monkeypatch.setattr(spectrum, "CHUNK_BYTES", chunk)
    np.testing.assert_allclose(profile(images, preset=preset, length=6), alone, rtol=1e-13)
    np.testing.assert_allclose(
        profile(images[::-1], preset=preset, length=6), alone[::-1], rtol=1e-13, strict=True
    )


def test_inputs_are_not_changed_and_may_be_views():
    images = noise(2, 3, 20, 20)
    images.flags.writeable = False
    kept = images.copy()
    for preset in PRESETS:
        profile(images[:, 1, 2:18, 2:18], preset=preset, length=5)
    grey(images)
    power_spectrum(images[:, 0])
    assert (images == kept).all()
    view = np.moveaxis(images, 1, -1)[..., 1]
    np.testing.assert_array_equal(profile(view), profile(np.ascontiguousarray(view)))


def test_an_empty_batch_has_no_profiles():
    assert profile(np.zeros((0, 16, 16)), length=6).shape == (0, 6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_bad_pixel_spoils_its_own_profile_and_no_other(preset, bad):
    images = noise(3, 16, 16)
    expected = profile(images, preset=preset)
    images[1, 4, 5] = bad
    found = profile(images, preset=preset)
    assert not np.isfinite(found[1]).any()
    np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])


def test_nothing_heavy_is_imported():
    code = """
import sys
import numpy as np
from tellsign.features.spectrum import grey, log_spectrum, profile
images = grey(np.ones((2, 3, 16, 16), np.float32))
profile(images, length=5); log_spectrum(images)
print(*sorted({"torch", "scipy", "array_api_compat.numpy"} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


# Options and errors


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_floor_stands_in_for_the_constant(dtype):
    """10 ln (|F|^2 + f^2), mean over rings that are found pixel by pixel."""
    images = noise(2, 12, 12).astype(dtype)
    found = profile(images, normalise="none", floor=0.5)
    power = np.abs(np.fft.fftshift(np.fft.fft2(images), axes=(-2, -1))) ** 2
    rows, columns = np.indices((12, 12)) - 5.5
    ring = np.hypot(rows, columns).astype(int)
    values = 10 * np.log(power + 0.25)
    expected = [[value[ring == k].mean() for k in range(1, 1 + n_rings(12, 12))] for value in values]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    empty = profile(np.ones((1, 12, 12), dtype), normalise="none", floor=0.5)
    # Ring 0, which has DC, is left out.
    np.testing.assert_allclose(empty, 20 * np.log(0.5), rtol=1e-6)


def test_options_survive_json():
    options = ProfileOptions(preset="paper", length=7, normalise="minmax", square=False)
    stored = json.loads(json.dumps(asdict(options)))
    assert ProfileOptions(**stored) == options
    images = noise(1, 24, 20)
    found = profile(images, **stored)
    np.testing.assert_array_equal(
        found, profile(images, preset="paper", length=7, normalise="minmax", square=False)
    )
    assert asdict(ProfileOptions()) == profile.__kwdefaults__


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "Official"}, "preset is one of official, paper, found 'Official'"),
        ({"normalise": "dc"}, "normalise is one of none, first, minmax, found 'dc'"),
        ({"length": 1}, "at least 2"),
        ({"length": 8.0}, "8.0"),
        ({"length": True}, "True"),
        ({"floor": -1.0}, "floor is 0 or more and finite"),
        ({"floor": np.nan}, "found nan"),
        ({"floor": 0.1, "preset": "paper"}, "takes no logarithm"),
    ],
)
def test_options_that_do_not_exist(options, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        profile(noise(1, 16, 16), **options)
    with pytest.raises(ConfigError, match=re.escape(words)):
        ProfileOptions(**options)


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (noise(16, 16), ImageError, "images[None]"),
        (noise(1, 3, 16, 16), ImageError, "grey(images)"),
        (noise(1, 16, 17), ImageError, "square=False"),
        (noise(1, 3, 3), TooSmallError, "at least 4 x 4"),
        (np.zeros((1, 0, 0)), TooSmallError, "0 x 0"),
        (noise(1, 16, 16).astype(np.uint8), ImageError, "found uint8"),
        (noise(1, 16, 16).astype(np.float16), ImageError, "found float16"),
        ([[[1.0]]], ImageError, "found list"),
    ],
)
def test_images_that_have_no_profile(images, error, words):
    with pytest.raises(error, match=re.escape(words)):
        profile(images)


def test_other_errors_say_what_is_expected():
    with pytest.raises(TooSmallError, match="at least 2 x 2"):
        profile(noise(1, 1, 1), preset="paper")
    with pytest.raises(ConfigError, match="found 'x'"):
        n_rings(16, 16, "x")
    with pytest.raises(ImageError, match=r"\(\.\.\., 3, H, W\)"):
        grey(noise(16, 16, 3))
    with pytest.raises(ImageError, match="found uint8"):
        grey(noise(3, 4, 4).astype(np.uint8))
    with pytest.raises(ImageError, match=r"found \(2, 2, 2\)"):
        interpolate(noise(2, 2, 2), 4)
    with pytest.raises(ConfigError, match="at least 4"):
        interpolate(noise(2, 3), 4)
    with pytest.raises(ConfigError, match="at least 2"):
        interpolate(noise(2, 8), 1)
    for function in (power_spectrum, log_spectrum):
        with pytest.raises(ImageError, match="B, H, W"):
            function(noise(4, 4))


def test_rings_are_computed_once_a_size():
    rings = spectrum._rings
    rings.cache_clear()
    for _ in range(3):
        profile(noise(2, 16, 16))
        profile(noise(5, 16, 16, dtype=np.float32))
    assert (rings.cache_info().misses, rings.cache_info().hits) == (1, 5)
    profile(noise(1, 17, 17))
    profile(noise(1, 16, 16), preset="paper")
    profile(noise(1, 16, 16))
    assert (rings.cache_info().misses, rings.cache_info().hits) == (3, 6)


def test_examples_in_docstrings():
    found = doctest.testmod(spectrum)
    assert found.failed == 0
    assert found.attempted >= 7
