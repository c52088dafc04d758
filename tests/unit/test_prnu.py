"""Noise residuals and fingerprints: known answers, and what they refuse.

Shapes: H W pixels.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pictures import natural, stamped
from tellsign.features.daubechies import SCALING, decomposed
from tellsign.features.prnu import (
    Fingerprint,
    ResidualOptions,
    attenuation,
    correlations,
    intensity_weight,
    noise,
    residual,
    saturated,
    whitened,
    without_lattice_means,
)
from tellsign.types import ConfigError, ImageError, TooSmallError

SMALL = ResidualOptions(levels=2)


def test_the_filters_are_orthonormal_with_four_vanishing_moments():
    taps = np.array(SCALING)
    assert taps.sum() == pytest.approx(np.sqrt(2), abs=1e-12)
    for shift in (0, 2, 4, 6):
        assert taps[shift:] @ taps[: 8 - shift] == pytest.approx(float(shift == 0), abs=1e-12)
    high = taps[::-1] * (-1) ** np.arange(8)
    for power in range(4):
        assert high @ np.arange(8.0) ** power == pytest.approx(0, abs=1e-9)


def test_a_cubic_has_no_detail_away_from_the_borders():
    x = np.linspace(-1, 1, 60)
    _, (details,) = decomposed(np.add.outer(x**3, x**2 - x), 1)
    for band in details:
        assert np.abs(band[6:-6, 6:-6]).max() < 1e-12
    assert max(np.abs(band).max() for band in details) > 1e-3


@pytest.mark.parametrize("value", [0.0, 0.1, 0.5, 1 / 3, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_image_has_no_noise(value, dtype):
    image = np.full((3, 28, 40), value, dtype)
    for found in (noise(image, SMALL), residual(image, SMALL)):
        assert found.dtype == dtype
        assert not found.any()


def test_noise_stays_and_an_edge_goes():
    rng = np.random.default_rng(0)
    weak = rng.normal(size=(64, 64))
    edge = np.zeros((64, 64))
    edge[:, 32:] = 200
    found = noise(((edge + weak + 20) / 255)[None].repeat(3, axis=0), ResidualOptions(levels=3))[0]
    far = np.r_[8:24, 40:56]
    assert np.corrcoef(found[:, far].ravel(), weak[:, far].ravel())[0, 1] > 0.9
    assert np.abs(found).max() < 40


def test_lattices_lose_their_means():
    rows, columns = np.arange(20)[:, None], np.arange(30)
    pattern = (
        3.0 + rows + 2.0 * columns + 5.0 * ((rows % 2) * (columns % 2)) + np.sin(rows) + np.cos(3 * columns)
    )
    assert np.abs(without_lattice_means(pattern)).max() < 1e-12
    with pytest.raises(AssertionError):
        assert np.abs(without_lattice_means(pattern + rows * columns)).max() < 1e-12


def test_a_peak_of_the_spectrum_is_attenuated():
    rng = np.random.default_rng(0)
    plain = rng.normal(size=(48, 48))
    wave = (
        3 * np.cos(2 * np.pi * 7 * np.arange(48) / 48)[:, None] * np.cos(2 * np.pi * 11 * np.arange(48) / 48)
    )
    before, after = (np.abs(np.fft.fft2(x))[7, 11] for x in (plain + wave, whitened(plain + wave)))
    assert after < before / 5
    assert np.corrcoef(plain.ravel(), whitened(plain + wave).ravel())[0, 1] > 0.9


def test_no_variance_is_no_residual():
    assert not whitened(np.full((6, 6), 2.0)).any()
    assert np.array_equal(attenuation(np.zeros((5, 5)), 2.0), np.ones((5, 5)))


def test_saturated_pixels_are_those_that_touch_another():
    levels = np.zeros((3, 5, 5))
    levels[0, 0, 0] = levels[0, 0, 1] = levels[0, 4, 4] = 255
    levels[1, 2, 2] = levels[1, 2, 3] = 250
    levels[2, 1, 1] = levels[2, 2, 1] = 251
    found = saturated(levels)
    assert sorted(map(tuple, np.argwhere(found).tolist())) == [(0, 0, 0), (0, 0, 1), (2, 1, 1), (2, 2, 1)]


def test_weights_rise_with_the_light_and_fall_where_it_saturates():
    found = intensity_weight(np.array([0.0, 126.0, 252.0, 255.0]))
    assert found == pytest.approx([0, 0.5, 1, np.exp(-1.5)])


def test_images_of_a_source_have_its_fingerprint_and_others_have_not():
    options = ResidualOptions(levels=2)
    own, other = Fingerprint(options), Fingerprint(options)
    for seed in range(12):
        own.add(stamped(seed, 48, 48))
        other.add(natural(100 + seed, 48, 48))
    prints = np.stack([other.estimate(), own.estimate()])
    queries = [stamped(50, 48, 48), natural(51, 48, 48)]
    found = correlations(np.stack([residual(q, options) for q in queries]), prints)
    assert found[0, 1] > 0.15
    assert np.abs(found[1]).max() < 0.1
    assert own.n_images == 12


def test_what_is_nothing_correlates_with_nothing():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(1, 6, 6))
    assert correlations(np.zeros((2, 6, 6)), one).tolist() == [[0.0], [0.0]]
    assert correlations(np.empty((0, 6, 6)), one).shape == (0, 1)
    assert correlations(one, np.concatenate([one, -one])) == pytest.approx(np.array([[1.0, -1.0]]))


def test_what_is_no_image_is_refused():
    with pytest.raises(TooSmallError, match=r"40 × 27 pixels, .* 2 levels needs at least 28 × 28"):
        residual(np.zeros((3, 27, 40)), SMALL)
    with pytest.raises(ImageError, match="not finite"):
        noise(np.full((3, 40, 40), np.nan), SMALL)
    for shape in ((40, 40), (1, 40, 40), (2, 3, 40, 40)):
        with pytest.raises(ImageError, match=r"expected an image of shape \(3, H, W\)"):
            residual(np.zeros(shape), SMALL)
    with pytest.raises(ImageError, match=r"shape \(\.\.\., H, W\) .* at least 14 pixels"):
        decomposed(np.zeros((20, 13)), 1)
    with pytest.raises(ImageError, match="1 level or more"):
        decomposed(np.zeros((20, 20)), 0)
    with pytest.raises(ImageError, match="can't be compared"):
        correlations(np.zeros((1, 4, 4)), np.zeros((1, 4, 5)))


def test_a_fingerprint_is_of_images_of_one_size():
    found = Fingerprint(SMALL)
    with pytest.raises(ImageError, match="at least one image"):
        found.estimate()
    found.add(natural(0, 40, 40))
    with pytest.raises(ImageError, match=r"\(3, 40, 44\) and those before it \(3, 40, 40\)"):
        found.add(natural(0, 40, 44))


@pytest.mark.parametrize(
    "options",
    [{"levels": 0}, {"levels": 2.0}, {"sigma": 0}, {"sigma": np.nan}, {"sigma": True}, {"sigma": "5"}],
)
def test_options_of_a_residual_that_there_cannot_be(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        ResidualOptions(**options)


def test_scipy_waits_until_a_residual_is_taken():
    code = (
        "import sys, tellsign.features.prnu, tellsign.detectors.fingerprint\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('scipy', 'pywt')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
