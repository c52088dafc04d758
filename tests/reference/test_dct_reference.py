"""The block DCT against SciPy's `dctn`, block by block, in both directions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dctn, idctn

from tellsign.features.dct import LEVEL, block_dct, dct2, inverse_block_dct

pytestmark = pytest.mark.usefixtures("one_torch_thread")

TOLERANCES = {np.float32: 1e-5, np.float64: 1e-10}
SIZES = [(8, 8), (8, 24), (32, 16), (64, 136), (384, 384)]
# Position of each frequency (row u, column v), as figure A.6 of ITU-T T.81 prints it.
FIGURE = np.array([
    [ 0,  1,  5,  6, 14, 15, 27, 28],
    [ 2,  4,  7, 13, 16, 26, 29, 42],
    [ 3,  8, 12, 17, 25, 30, 41, 43],
    [ 9, 11, 18, 24, 31, 40, 44, 53],
    [10, 19, 23, 32, 39, 45, 52, 54],
    [20, 22, 33, 38, 46, 51, 55, 60],
    [21, 34, 37, 47, 50, 56, 59, 61],
    [35, 36, 48, 49, 57, 58, 62, 63],
])  # fmt: skip


def picture(height, width, *, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).uniform(size=(2, 3, height, width)).astype(dtype)


def reference(images, level=0.0):
    """(B, C, H, W) → (B, C, 64, h, w): each block on its own, in float64."""
    count, channels, height, width = images.shape
    found = np.empty((count, channels, 64, height // 8, width // 8))
    for b, c, m, n in np.ndindex(count, channels, height // 8, width // 8):
        block = images[b, c, 8 * m : 8 * m + 8, 8 * n : 8 * n + 8].astype(np.float64) - level
        found[b, c, FIGURE.ravel(), m, n] = dctn(block, norm="ortho").ravel()
    return found


def inverse_reference(coefficients):
    count, channels, _, h, w = coefficients.shape
    found = np.empty((count, channels, 8 * h, 8 * w))
    for b, c, m, n in np.ndindex(count, channels, h, w):
        block = coefficients[b, c, FIGURE.ravel(), m, n].astype(np.float64).reshape(8, 8)
        found[b, c, 8 * m : 8 * m + 8, 8 * n : 8 * n + 8] = idctn(block, norm="ortho")
    return found


def largest_difference(found, expected):
    """Between values of equal shapes; infinite where the shapes differ or a value is not finite."""
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape or not np.isfinite(found).all():
        return np.inf
    return float(np.abs(found.astype(np.float64) - expected).max())


def as_backend(images, backend):
    return images if backend == "numpy" else pytest.importorskip("torch").from_numpy(images)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_parity_with_scipy(height, width, dtype, backend):
    images = picture(height, width, dtype=dtype)[: 1 if height > 100 else 2]
    for level in (0.0, LEVEL):
        found = block_dct(as_backend(images, backend), level=level)
        assert np.asarray(found).dtype == dtype
        assert largest_difference(found, reference(images, level)) <= TOLERANCES[dtype]


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_inverse_has_parity_too(dtype, backend):
    """On coefficients that are of no image, so that it is not the round trip alone that agrees."""
    coefficients = np.random.default_rng(1).normal(size=(2, 3, 64, 4, 5)).astype(dtype)
    found = inverse_block_dct(as_backend(coefficients, backend), level=0.0)
    assert largest_difference(found, inverse_reference(coefficients)) <= TOLERANCES[dtype]
    found = inverse_block_dct(as_backend(coefficients, backend))
    assert largest_difference(found, inverse_reference(coefficients) + LEVEL) <= TOLERANCES[dtype]


def test_the_comparison_tells_other_transforms_apart():
    images = picture(16, 24)
    expected = reference(images)
    right = block_dct(images, level=0.0)
    assert largest_difference(right, expected) <= TOLERANCES[np.float64]
    transposed = np.argsort(FIGURE.ravel())
    for wrong in (
        block_dct(images),  # shifted
        right[:, :, transposed],  # another order
        block_dct(np.swapaxes(images, 2, 3), level=0.0).swapaxes(3, 4),  # rows and columns exchanged
        right * (1 + 1e-6),  # another scale
        block_dct(np.roll(images, 1, axis=-1), level=0.0),  # other blocks
        right[..., :-1],  # another shape
        np.where(right == right.max(), np.nan, right),
    ):
        assert largest_difference(wrong, expected) > TOLERANCES[np.float32] / 100


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [(8, 8), (15, 40), (128, 128)])
def test_the_transform_of_the_whole_is_scipys(size, dtype):
    torch = pytest.importorskip("torch")
    images = picture(*size, dtype=dtype)
    expected = dctn(images.astype(np.float64), axes=(-2, -1), norm="ortho")
    # Of numbers that are as large as the side.
    atol = TOLERANCES[dtype] * max(size) / 8
    np.testing.assert_allclose(dct2(images), expected, atol=atol)
    np.testing.assert_allclose(dct2(torch.from_numpy(images)).numpy(), expected, atol=atol)


def test_the_transform_of_the_whole_is_the_sum_of_the_definition():
    image = picture(6, 5)[0, 0]
    for u, v in np.ndindex(image.shape):
        total = 0.0
        for row, column in np.ndindex(image.shape):
            wave = np.cos(np.pi * u * (row + 0.5) / 6) * np.cos(np.pi * v * (column + 0.5) / 5)
            total += image[row, column] * wave
        factor = np.sqrt((1 if u == 0 else 2) / 6) * np.sqrt((1 if v == 0 else 2) / 5)
        assert dct2(image)[u, v] == pytest.approx(factor * total, abs=1e-13)
