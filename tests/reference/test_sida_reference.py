"""SIDA against a slow loop written from the paper's equations, and against known distributions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pictures import natural
from tellsign.features.colour import ycbcr
from tellsign.features.dct import block_dct
from tellsign.features.sida import entries, sida

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SIZES = [(2, 2), (2, 5), (3, 2), (4, 6), (9, 7)]
BACKENDS = pytest.mark.parametrize("backend", ["numpy", "torch"])


def as_backend(array, backend):
    return array if backend == "numpy" else pytest.importorskip("torch").from_numpy(array)


def noise(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def slow_descriptor(coefficients):
    """(3, 64, h, w) → (2304,): equations 1 to 8, number by number."""
    planes = coefficients.astype(np.float64)
    _, _, h, w = planes.shape
    groups = {"mean": [], "std": [], "skewness": [], "kurtosis": []}
    for derivative in ("row", "col", "intra"):
        for channel in range(3):
            for k in range(64):
                t = planes[channel, k]
                if derivative == "row":
                    d = [t[m + 1, n] - t[m, n] for m in range(h - 1) for n in range(w)]
                elif derivative == "col":
                    d = [t[m, n + 1] - t[m, n] for m in range(h) for n in range(w - 1)]
                elif k < 63:
                    d = [planes[channel, k + 1, m, n] - t[m, n] for m in range(h) for n in range(w)]
                else:
                    d = [0.0] * (h * w)
                a = np.abs(np.array(d))
                mu = sum(a) / len(a)
                sigma = np.sqrt(sum((a - mu) ** 2) / len(a))
                groups["mean"].append(mu)
                groups["std"].append(sigma)
                shaped = sigma >= 1e-6
                groups["skewness"].append(sum((a - mu) ** 3) / len(a) / sigma**3 if shaped else 0.0)
                groups["kurtosis"].append(sum((a - mu) ** 4) / len(a) / sigma**4 if shaped else 0.0)
    return np.array(groups["mean"] + groups["std"] + groups["skewness"] + groups["kurtosis"])


def largest_error(found, expected):
    """Relative to the size of the numbers, at least 1; infinite where shapes differ or one is not finite."""
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape or not np.isfinite(found).all():
        return np.inf
    return float((np.abs(found - expected) / np.maximum(np.abs(expected), 1)).max())


@BACKENDS
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-4), (np.float64, 1e-12)])
@pytest.mark.parametrize(("h", "w"), SIZES)
def test_parity_with_the_slow_loop(h, w, dtype, tolerance, backend):
    coefficients = noise(1, 3, 64, h, w, dtype=dtype)
    found = sida(as_backend(coefficients, backend))
    assert np.asarray(found).dtype == dtype
    assert largest_error(found, slow_descriptor(coefficients[0])[None]) <= tolerance


def test_the_comparison_tells_other_descriptors_apart():
    coefficients = noise(1, 3, 64, 4, 6)
    expected = slow_descriptor(coefficients[0])[None]
    right = sida(coefficients)
    grouped = right.reshape(1, 4, 3, 3, 64)
    for wrong in (
        grouped[:, :, [1, 0, 2]].reshape(1, -1),  # rows and columns exchanged
        grouped[:, :, :, [0, 2, 1]].reshape(1, -1),  # Cb and Cr exchanged
        np.swapaxes(grouped, 2, 3).reshape(1, -1),  # channels outermost
        np.roll(grouped, 1, axis=-1).reshape(1, -1),  # padded at the start
        sida(2 * coefficients),
        right * (1 + 1e-6),
        right[:, :-1],
        np.where(right == right.max(), np.nan, right),
    ):
        assert largest_error(wrong, expected) > 1e-8


@BACKENDS
def test_absolute_values_of_a_normal_distribution(backend):
    """Half-normal: the specification's skewness of 0.995 and kurtosis of 3.87."""
    coefficients = noise(1, 3, 64, 160, 160, dtype=np.float32)
    found = np.asarray(sida(as_backend(coefficients, backend))).reshape(4, 3, 3, 64)
    half = stats.halfnorm(scale=np.sqrt(2))  # of the difference of two normal values
    mean, variance, skewness, excess = half.stats(moments="mvsk")
    assert (round(float(skewness), 3), round(float(excess) + 3, 2)) == (0.995, 3.87)
    found[:, 2, :, -1] = found[:, 2, :, :-1].mean(axis=-1)  # the padded entries
    averages = found.mean(axis=(1, 2, 3))
    assert averages == pytest.approx([mean, np.sqrt(variance), skewness, excess + 3], rel=2e-3)
    np.testing.assert_allclose(found[0], mean, rtol=0.03)
    np.testing.assert_allclose(found[3], excess + 3, rtol=0.1)


def test_statistics_are_those_of_scipy():
    coefficients = noise(1, 3, 64, 12, 9)
    found = dict(zip(map(str, entries()), sida(coefficients)[0], strict=True))
    a = np.abs(np.diff(coefficients[0, 1, 8], axis=-1)).ravel()  # the ninth frequency of Cb
    name = "of column differences of Cb at frequency (2, 1)"
    assert found[f"mean {name}"] == pytest.approx(a.mean())
    assert found[f"std {name}"] == pytest.approx(a.std())
    assert found[f"skewness {name}"] == pytest.approx(stats.skew(a))
    assert found[f"kurtosis {name}"] == pytest.approx(stats.kurtosis(a, fisher=False))


@pytest.mark.parametrize(("backend", "side"), [("numpy", 512), ("torch", 128)])
def test_float32_is_stable_over_many_blocks(backend, side):
    """512 x 512 are those of 4096 pixels. One plane stands for all, so that the memory is that of one."""
    rng = np.random.default_rng(0)
    # Differences that are large beside how they vary, with rare outliers: sums of powers would not survive.
    plane = np.cumsum(4 + 0.01 * rng.standard_t(5, size=(side, side)), axis=0).astype(np.float32) / side
    expected = []
    for axis in (0, 1):
        a = np.abs(np.diff(plane.astype(np.float64), axis=axis)).ravel()
        expected.append([a.mean(), a.std(), stats.skew(a), stats.kurtosis(a, fisher=False)])
    if backend == "numpy":
        coefficients = np.broadcast_to(plane, (1, 3, 64, side, side))
    else:
        coefficients = as_backend(plane, "torch").expand(1, 3, 64, side, side)
    found = np.asarray(sida(coefficients)).reshape(4, 3, 3, 64)
    for statistic in range(4):
        for derivative in range(2):
            value = expected[derivative][statistic]
            np.testing.assert_allclose(
                found[statistic, derivative], value, rtol=1e-4, atol=1e-4 * (statistic > 1)
            )


@pytest.mark.slow
@BACKENDS
def test_float32_is_stable_for_an_image_of_4096_pixels(backend):
    """From the pixels on, transformed and described in either type."""
    image = np.tile(natural(3, 1024, 1024), (1, 4, 4))
    image += 0.02 * np.random.default_rng(0).random(image.shape, np.float32)
    image = ycbcr(image)[None]
    expected = sida(block_dct(image.astype(np.float64)))
    found = np.asarray(sida(block_dct(as_backend(image, backend))))
    np.testing.assert_allclose(found, expected, rtol=1e-3)
