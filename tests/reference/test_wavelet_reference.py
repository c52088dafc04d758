"""The Haar transform against PyWavelets, forward and back, for even and odd sizes."""

from __future__ import annotations

import numpy as np
import pytest

from tellsign.features.wavelet import haar, inverse_haar

pywt = pytest.importorskip("pywt")

TOLERANCE = 1e-6
SIZES = [(1, 1), (1, 8), (2, 2), (3, 3), (4, 5), (5, 4), (17, 32), (33, 31), (64, 64), (224, 224), (225, 223)]


def picture(height, width, *, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).uniform(size=(2, 3, height, width)).astype(dtype)


def reference(images):
    """(..., C, H, W) → (..., 4, C, h, w) by PyWavelets."""
    approximation, details = pywt.dwt2(images, "haar", mode="symmetric", axes=(-2, -1))
    return np.stack((approximation, *details), axis=-4)


def largest_difference(found, expected):
    """Between values of equal shapes; infinite where the shapes differ or a value is not finite."""
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape or not np.isfinite(found).all():
        return np.inf
    return float(np.abs(found.astype(np.float64) - expected).max())


def as_backend(images, backend):
    if backend == "numpy":
        return images
    return pytest.importorskip("torch").from_numpy(images)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_parity_with_pywavelets(height, width, dtype, backend):
    images = picture(height, width, dtype=dtype)
    found = haar(as_backend(images, backend))
    assert largest_difference(found, reference(images)) <= TOLERANCE


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_inverse_has_parity_too(height, width, dtype, backend):
    """On bands that are of no image, so that it is not the round trip alone that agrees."""
    bands = np.random.default_rng(1).normal(size=(2, 4, 3, -(-height // 2), -(-width // 2))).astype(dtype)
    c_a, *details = np.moveaxis(bands, -4, 0)
    expected = pywt.idwt2((c_a, details), "haar", mode="symmetric", axes=(-2, -1))[..., :height, :width]
    found = inverse_haar(as_backend(bands, backend), height=height, width=width)
    assert largest_difference(found, expected) <= TOLERANCE


def test_the_comparison_tells_other_transforms_apart():
    images = picture(33, 31)
    right = haar(images)
    assert largest_difference(right, reference(images)) <= TOLERANCE
    for wrong in (
        right[:, [0, 2, 1, 3]],  # cH and cV exchanged
        right * np.array([1, 1, 1, -1])[:, None, None, None],  # another sign
        right * (1 + 1e-5),  # another scale
        haar(np.roll(images, 1, axis=-1)),  # other cells
        haar(np.pad(images, ((0, 0), (0, 0), (0, 1), (0, 1)))),  # zeros beyond an odd side
        right[..., :-1],  # another shape
        np.where(right == right.max(), np.nan, right),
    ):
        assert largest_difference(wrong, reference(images)) > TOLERANCE
