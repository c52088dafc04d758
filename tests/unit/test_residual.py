"""Down-sampling and residuals: analytic answers, both backends, gradients, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from tellsign.features.residual import FILTERS, downsampled, residual, whole_cells
from tellsign.types import ConfigError, ImageError, TooSmallError

BACKENDS = pytest.mark.parametrize("backend", ["numpy", "torch"])


def as_backend(array, backend):
    return array if backend == "numpy" else pytest.importorskip("torch").from_numpy(array)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape)


@BACKENDS
def test_a_cell_becomes_its_mean(backend):
    images = noise(2, 3, 12, 20)
    found = np.asarray(downsampled(as_backend(images, backend)))
    assert found.shape == (2, 3, 3, 5)
    for row in range(3):
        for column in range(5):
            cell = images[..., 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            np.testing.assert_allclose(found[..., row, column], cell.mean(axis=(-2, -1)), rtol=1e-12)


@BACKENDS
@pytest.mark.parametrize("kind", FILTERS)
def test_a_constant_stays_and_a_slope_stays_in_the_middle(kind, backend):
    flat = np.asarray(downsampled(as_backend(np.full((3, 32, 48), 0.3), backend), kind))
    np.testing.assert_allclose(flat, 0.3, rtol=1e-12)
    slope = np.broadcast_to(np.arange(64.0), (1, 32, 64)).copy()
    found = np.asarray(downsampled(as_backend(slope, backend), kind))
    np.testing.assert_allclose(found[0, 4, 2:-2], 4 * np.arange(2, 14) + 1.5, rtol=1e-12)


def test_the_filters_differ_where_there_is_detail():
    images = noise(3, 32, 32)
    assert np.abs(downsampled(images) - downsampled(images, "bicubic")).max() > 0.05


@pytest.mark.parametrize("kind", FILTERS)
def test_both_backends_agree_and_types_stay(kind):
    torch = pytest.importorskip("torch")
    for dtype in (np.float32, np.float64):
        images = noise(2, 3, 16, 24).astype(dtype)
        found = downsampled(images, kind)
        other = downsampled(torch.from_numpy(images), kind)
        assert found.dtype == other.numpy().dtype == dtype
        np.testing.assert_allclose(found, other.numpy(), rtol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("kind", FILTERS)
def test_the_gradient_is_right(kind):
    torch = pytest.importorskip("torch")
    images = torch.from_numpy(noise(1, 2, 8, 8)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: downsampled(x, kind), images)
    other = torch.from_numpy(noise(1, 2, 8, 8, seed=1))
    assert torch.autograd.gradcheck(lambda x: residual(x, other), images)


@BACKENDS
def test_a_residual_is_absolute_and_of_no_side(backend):
    one, other = noise(2, 4, 4), noise(2, 4, 4, seed=1)
    found = np.asarray(residual(as_backend(one, backend), as_backend(other, backend)))
    np.testing.assert_array_equal(found, np.abs(one - other))
    np.testing.assert_array_equal(
        found, np.asarray(residual(as_backend(other, backend), as_backend(one, backend)))
    )


@BACKENDS
@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [((16, 16), (0, 16), (0, 16)), ((17, 31), (0, 16), (7, 23)), ((35, 50), (1, 33), (1, 49))],
)
def test_the_middle_is_cut_and_the_smaller_half_goes_at_the_top(size, rows, columns, backend):
    images = noise(3, *size)
    found = np.asarray(whole_cells(as_backend(images, backend), 16))
    np.testing.assert_array_equal(found, images[:, slice(*rows), slice(*columns)])


def test_what_it_refuses():
    with pytest.raises(ConfigError, match="avgpool or bicubic, found 'lanczos'"):
        downsampled(noise(3, 8, 8), "lanczos")
    for shape in ((3, 9, 8), (3, 8, 6), (3, 0, 8)):
        with pytest.raises(ImageError, match="whole_cells"):
            downsampled(np.zeros(shape))
    with pytest.raises(ImageError, match="uint8"):
        downsampled(np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(ImageError, match=r"one shape, found \(1, 4, 4\) and \(1, 4, 5\)"):
        residual(np.zeros((1, 4, 4)), np.zeros((1, 4, 5)))
    with pytest.raises(TooSmallError, match="40 × 15 pixels"):
        whole_cells(np.zeros((3, 15, 40)), 16)
