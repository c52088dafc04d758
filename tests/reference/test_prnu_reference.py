"""Wavelet and noise residuals against PyWavelets and a slow version written from the definition.

Shapes: H W pixels.
"""

from __future__ import annotations

import numpy as np
import pytest

from pictures import natural, stamped
from tellsign.features.daubechies import composed, decomposed, least_side, most_levels
from tellsign.features.prnu import Fingerprint, ResidualOptions, attenuation, correlations, noise, residual

pywt = pytest.importorskip("pywt")
GREY = np.array([0.2989, 0.5870, 0.1140])


@pytest.mark.parametrize(
    ("shape", "levels"),
    [((14, 15), 1), ((57, 83), 3), ((3, 112, 113), 4), ((2, 3, 64, 30), 2), ((200, 28), 2)],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_wavelet_is_that_of_pywavelets(shape, levels, dtype):
    image = np.random.default_rng(0).normal(size=shape).astype(dtype)
    approximation, details = decomposed(image, levels)
    expected = pywt.wavedec2(image, "db4", mode="symmetric", level=levels, axes=(-2, -1))
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    assert approximation.dtype == dtype
    np.testing.assert_allclose(approximation, expected[0], atol=tolerance)
    for own, theirs in zip(details, reversed(expected[1:]), strict=True):
        for band, other in zip(own, theirs, strict=True):
            np.testing.assert_allclose(band, other, atol=tolerance)
    np.testing.assert_allclose(composed(approximation, details, shape[-2:]), image, atol=tolerance)
    alone = pywt.waverec2([np.zeros_like(expected[0]), *expected[1:]], "db4", axes=(-2, -1))
    own = composed(None, details, shape[-2:])
    np.testing.assert_allclose(own, alone[..., : shape[-2], : shape[-1]], atol=tolerance)


def test_a_side_has_as_many_levels_as_pywavelets_says():
    assert [most_levels(n) for n in range(14, 300)] == [pywt.dwt_max_level(n, 8) for n in range(14, 300)]
    assert [most_levels(least_side(n)) for n in range(1, 8)] == list(range(1, 8))
    assert [most_levels(least_side(n) - 1) for n in range(1, 8)] == list(range(7))


def slow_attenuation(power, variance):
    """A loop over every place and window."""
    found = np.empty(power.shape)
    for row, column in np.ndindex(*power.shape):
        signals = []
        for size in (3, 5, 7, 9):
            half = size // 2
            window = power[max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1]
            signals.append(max(window.sum() / size**2 - variance, 0))
        found[row, column] = variance / (min(signals) + variance)
    return found


@pytest.mark.parametrize("shape", [(1, 1), (3, 20), (17, 5), (40, 41)])
def test_the_share_of_noise_is_that_of_a_loop(shape):
    power = 3 * np.random.default_rng(1).exponential(size=shape)
    power[: shape[0] // 2] *= 20
    np.testing.assert_allclose(attenuation(power, 2.0), slow_attenuation(power, 2.0), rtol=1e-12)


def test_large_images_are_worked_on_in_portions_without_seams(monkeypatch):
    power = np.random.default_rng(1).exponential(size=(3, 50, 30))
    whole = attenuation(power, 1.0)
    for portion in (1, 30, 100, 1500, 3000):
        monkeypatch.setattr("tellsign.features.prnu.PORTION", portion)
        np.testing.assert_array_equal(attenuation(power, 1.0), whole)


def slow_noise(plane, levels, sigma):
    bands = pywt.wavedec2(plane, "db4", level=levels)
    bands[0] = np.zeros_like(bands[0])
    for level in range(1, len(bands)):
        bands[level] = tuple(band * slow_attenuation(band**2, sigma**2) for band in bands[level])
    return pywt.waverec2(bands, "db4")[: plane.shape[0], : plane.shape[1]]


def slow_treatment(plane):
    """Row and column means of the four lattices off, then the Wiener rule on the whole complex spectrum."""
    plane = plane.copy()
    for i, j in np.ndindex(2, 2):
        lattice = plane[i::2, j::2]
        means = lattice.mean(axis=0, keepdims=True), lattice.mean(axis=1, keepdims=True)
        plane[i::2, j::2] = lattice - means[0] - means[1] + lattice.mean()
    spectrum = np.fft.fft2(plane)
    share = slow_attenuation(np.abs(spectrum) ** 2 / plane.size, np.var(plane, ddof=1))
    return np.real(np.fft.ifft2(spectrum * share))


@pytest.mark.parametrize(
    ("size", "levels", "sigma"), [((28, 28), 2, 5.0), ((31, 44), 2, 0.8), ((45, 30), 1, 3.0)]
)
def test_a_residual_is_that_of_the_definition(size, levels, sigma):
    image = stamped(3, *size).astype(np.float64)
    options = ResidualOptions(levels, sigma)
    slow = np.stack([slow_noise(255 * plane, levels, sigma) for plane in image])
    np.testing.assert_allclose(noise(image, options), slow, atol=1e-10)
    expected = slow_treatment(np.tensordot(GREY, slow, axes=1))
    np.testing.assert_allclose(residual(image, options), expected, atol=1e-10)
    np.testing.assert_allclose(residual(image.astype(np.float32), options), expected, atol=1e-3)
    assert np.abs(expected).max() > 0.1


@pytest.mark.parametrize("weighting", ["intensity", "mean"])
def test_a_fingerprint_is_that_of_the_definition(weighting):
    images = [np.clip(1.4 * stamped(seed, 30, 33), 0, 1).astype(np.float64) for seed in range(4)]
    options = ResidualOptions(2)
    own = Fingerprint(options, weighting)
    total, squared = np.zeros((3, 30, 33)), np.zeros((3, 30, 33))
    n_masked = 0
    for image in images:
        own.add(image)
        levels = 255 * image
        found = np.stack([slow_noise(plane, 2, 5.0) for plane in levels])
        for place in np.ndindex(*levels.shape):
            channel, row, column = place
            level = levels[place]
            top = levels[channel].max()
            beside = ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
            equal = [levels[channel, r, c] == level for r, c in beside if 0 <= r < 30 and 0 <= c < 33]
            if weighting == "mean":
                total[place] += found[place] / 4
            elif level == top > 250 and any(equal):
                n_masked += 1
            else:
                total[place] += found[place] * level / 255
                squared[place] += (level / 252 if level < 252 else np.exp(-((level - 252) ** 2) / 6)) ** 2
    if weighting == "intensity":
        assert n_masked > 20
        total /= squared + 1
    expected = slow_treatment(np.tensordot(GREY, total, axes=1))
    np.testing.assert_allclose(own.estimate(), expected, atol=1e-10)


def test_correlations_are_those_of_numpy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 8, 9)), rng.normal(size=(2, 8, 9))
    a, b = (x - x.mean(axis=(1, 2), keepdims=True) for x in (a, b))
    expected = np.corrcoef(a.reshape(3, -1), b.reshape(2, -1))[:3, 3:]
    np.testing.assert_allclose(correlations(a, b), expected, atol=1e-12)


def test_the_plain_method_of_the_benchmark_gives_the_same():
    from benchmarks.prnu import plain_residual

    image = natural(5, 120, 128)
    found = residual(image, ResidualOptions())
    expected = plain_residual(255 * image.transpose(1, 2, 0))
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert np.abs(expected).max() > 0.5
