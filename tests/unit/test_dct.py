"""The block DCT: analytic answers, both backends, gradients, bad input."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from tellsign.features import dct
from tellsign.features.dct import (
    LEVEL,
    ZIGZAG,
    block_dct,
    cosines,
    dct2,
    inverse_block_dct,
    log_dct,
    whole_blocks,
)
from tellsign.types import ImageError, TooSmallError

pytestmark = pytest.mark.usefixtures("one_torch_thread")
BACKENDS = pytest.mark.parametrize("backend", ["numpy", "torch", "watched"])


def noise(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(dtype)


def as_backend(array, backend):
    """A watched tensor is of a class of its own, as one that stands for another during an export."""
    if backend == "numpy":
        return array
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(array)
    return tensor.as_subclass(type("Watched", (torch.Tensor,), {})) if backend == "watched" else tensor


def test_the_zigzag_starts_as_in_jpeg_and_has_each_frequency_once():
    assert ZIGZAG[:10] == ((0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2), (2, 1), (3, 0))
    assert ZIGZAG[-3:] == ((6, 7), (7, 6), (7, 7))
    assert len(ZIGZAG) == len(set(ZIGZAG)) == 64
    steps = np.abs(np.diff(np.array(ZIGZAG), axis=0))
    assert steps.max() == 1, "each is a neighbour of the one before"


@BACKENDS
@pytest.mark.parametrize("level", [0.0, 0.25, LEVEL])
def test_a_constant_image_has_its_level_alone(level, backend):
    images = np.full((2, 3, 16, 24), 0.3)
    found = np.asarray(block_dct(as_backend(images, backend), level=level))
    assert found.shape == (2, 3, 64, 2, 3)
    np.testing.assert_allclose(found[:, :, 0], 8 * (0.3 - level), rtol=1e-12)
    np.testing.assert_allclose(found[:, :, 1:], 0, atol=1e-15)


def test_the_default_level_is_that_of_jpeg():
    """128 of 0 to 255, which is 1024 of the lowest coefficient (specification of SFCL-HCMF, section 2)."""
    images = noise(1, 1, 8, 8)
    shifted, plain = 255 * block_dct(images), block_dct(255 * images, level=0.0)
    np.testing.assert_allclose(plain[:, :, 0] - shifted[:, :, 0], 1024)
    np.testing.assert_allclose(plain[:, :, 1:], shifted[:, :, 1:], atol=1e-11)


@BACKENDS
@pytest.mark.parametrize("position", [0, 1, 2, 5, 17, 62, 63])
def test_one_cosine_falls_into_its_frequency(position, backend):
    u, v = ZIGZAG[position]
    x = np.arange(8) + 0.5
    block = np.outer(np.cos(np.pi * u * x / 8), np.cos(np.pi * v * x / 8))
    images = np.zeros((1, 1, 16, 16))
    images[0, 0, 8:, :8] = block
    found = np.asarray(block_dct(as_backend(images, backend), level=0.0))
    expected = np.zeros((1, 1, 64, 2, 2))
    expected[0, 0, position, 1, 0] = np.sqrt((block**2).sum())
    np.testing.assert_allclose(found, expected, atol=1e-14)


@BACKENDS
def test_energy_is_kept(backend):
    images = noise(2, 3, 16, 40)
    found = np.asarray(block_dct(as_backend(images, backend), level=0.0))
    np.testing.assert_allclose((found**2).sum(axis=(2, 3, 4)), (images**2).sum(axis=(2, 3)), rtol=1e-12)


@BACKENDS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (2, 3, 16, 40), (0, 3, 16, 16), (2, 5, 24, 8)])
def test_round_trip(shape, dtype, backend):
    images = noise(*shape, dtype=dtype)
    for level in (0.0, LEVEL):
        coefficients = block_dct(as_backend(images, backend), level=level)
        assert coefficients.shape == (*shape[:2], 64, shape[2] // 8, shape[3] // 8)
        found = np.asarray(inverse_block_dct(coefficients, level=level))
        assert found.dtype == dtype
        assert found.shape == shape
        np.testing.assert_allclose(found, images, atol=2e-6 if dtype == np.float32 else 1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tensors_and_arrays_agree(dtype):
    atol = 2e-6 if dtype == np.float32 else 1e-14
    images = noise(2, 3, 24, 16, dtype=dtype)
    coefficients = block_dct(images)
    for backend in ("torch", "watched"):
        np.testing.assert_allclose(block_dct(as_backend(images, backend)).numpy(), coefficients, atol=atol)
    back = inverse_block_dct(as_backend(coefficients, "torch"))
    np.testing.assert_allclose(back.numpy(), inverse_block_dct(coefficients), atol=atol)


@BACKENDS
def test_images_laid_out_otherwise_give_the_same_and_stay_the_same(backend):
    images = noise(2, 3, 16, 24)
    expected = block_dct(images)
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(images, 1, -1)), -1, 1)
    cut = np.pad(images, ((0, 0), (0, 0), (0, 5), (0, 3)))[..., :16, :24]
    for strided in (np.asfortranarray(images), last, cut):
        kept = strided.copy()
        np.testing.assert_allclose(np.asarray(block_dct(as_backend(strided, backend))), expected, atol=1e-14)
        np.testing.assert_array_equal(strided, kept)


def test_blocks_do_not_depend_on_how_many_are_taken_at_once(monkeypatch):
    images = noise(2, 3, 56, 16)
    expected = block_dct(images)
    for size in (1, 3 * 8 * 16 * 8, 2**30):
        monkeypatch.setattr(dct, "CHUNK_BYTES", size)
        np.testing.assert_allclose(block_dct(images), expected, atol=1e-14)


@BACKENDS
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_pixel_spoils_its_own_block_and_no_other(bad, backend):
    images = noise(2, 3, 24, 24)
    images[1, 2, 9, 20] = bad
    spoiled = ~np.isfinite(np.asarray(block_dct(as_backend(images, backend))))
    assert spoiled[1, 2, :, 1, 2].all()
    assert spoiled.sum() == 64


def test_gradients_are_those_of_finite_differences():
    torch = pytest.importorskip("torch")
    images = torch.from_numpy(noise(2, 1, 8, 16)).requires_grad_()
    assert torch.autograd.gradcheck(block_dct, (images,))
    assert torch.autograd.gradgradcheck(block_dct, (images,))
    coefficients = block_dct(images).detach().requires_grad_()
    assert torch.autograd.gradcheck(inverse_block_dct, (coefficients,))


def test_the_gradient_is_the_inverse():
    torch = pytest.importorskip("torch")
    images = torch.from_numpy(noise(2, 3, 16, 24)).requires_grad_()
    weights = torch.from_numpy(noise(2, 3, 64, 2, 3, seed=1))
    (block_dct(images) * weights).sum().backward()
    torch.testing.assert_close(images.grad, inverse_block_dct(weights, level=0.0))


def test_the_device_is_kept():
    # The meta device computes nothing, but refuses to meet tensors of another device.
    torch = pytest.importorskip("torch")
    found = block_dct(torch.empty(2, 3, 16, 24, device="meta"))
    assert found.shape == (2, 3, 64, 2, 3)
    assert found.device.type == inverse_block_dct(found).device.type == "meta"


def test_what_other_devices_compute_is_the_same(monkeypatch):
    """The way that the CPU does not go, on the CPU."""
    torch = pytest.importorskip("torch")
    images = torch.from_numpy(noise(2, 3, 16, 24))
    expected = block_dct(images)
    monkeypatch.setattr(dct, "on_cpu", lambda x: False)
    monkeypatch.setattr(torch, "conv2d", None)
    torch.testing.assert_close(block_dct(images), expected, atol=1e-14, rtol=0)


def test_a_module_with_coefficients_can_be_exported_for_any_batch():
    torch = pytest.importorskip("torch")

    class Halved(torch.nn.Module):
        def forward(self, images):
            return inverse_block_dct(block_dct(images) / 2)

    images = torch.from_numpy(noise(2, 3, 16, 24, dtype=np.float32))
    batch = torch.export.Dim("batch")
    program = torch.export.export(Halved(), (images,), dynamic_shapes=({0: batch},), strict=False)
    more = torch.from_numpy(noise(5, 3, 16, 24, dtype=np.float32, seed=1))
    torch.testing.assert_close(program.module()(more), (more + LEVEL) / 2)


@BACKENDS
@pytest.mark.parametrize(("height", "width"), [(380, 380), (16, 17), (7, 8), (0, 8), (8, 0)])
def test_sizes_that_are_no_whole_blocks_are_refused(height, width, backend):
    with pytest.raises(ImageError, match=rf"{height} x {width} pixels are no whole blocks .*whole_blocks"):
        block_dct(as_backend(np.zeros((1, 3, height, width), np.float32), backend))


@BACKENDS
def test_whole_blocks_keep_the_first_block(backend):
    images = noise(2, 3, 23, 18)
    found = whole_blocks(as_backend(images, backend))
    np.testing.assert_array_equal(np.asarray(found), images[..., :16, :16])
    assert whole_blocks(found).shape == found.shape
    for height, width in ((7, 40), (40, 7), (0, 0)):
        with pytest.raises(TooSmallError, match=f"{height} x {width} pixels holds no block"):
            whole_blocks(as_backend(np.zeros((3, height, width)), backend))


def test_other_shapes_and_types_are_refused():
    torch = pytest.importorskip("torch")
    for shape in ((3, 16, 16), (16, 16), (1, 1, 3, 16, 16)):
        with pytest.raises(ImageError, match=r"\(B, C, H, W\)"):
            block_dct(np.zeros(shape))
    for shape in ((3, 64, 2, 2), (1, 3, 63, 2, 2), (1, 64, 3, 2, 2)):
        with pytest.raises(ImageError, match=r"\(B, C, 64, h, w\)"):
            inverse_block_dct(np.zeros(shape))
    for images in (np.zeros((1, 3, 8, 8), np.uint8), torch.zeros(1, 3, 8, 8, dtype=torch.bfloat16)):
        with pytest.raises(ImageError, match="expected float32 or float64"):
            block_dct(images)


def test_the_examples_in_the_docstrings():
    result = doctest.testmod(dct)
    assert result.attempted > 0
    assert result.failed == 0


# whole images


@BACKENDS
def test_a_constant_image_has_its_mean_alone(backend):
    found = np.asarray(dct2(as_backend(np.full((2, 3, 12, 7), 0.3), backend)))
    assert found.shape == (2, 3, 12, 7)
    np.testing.assert_allclose(found[..., 0, 0], 0.3 * np.sqrt(12 * 7), rtol=1e-12)
    assert np.abs(found).reshape(6, -1)[:, 1:].max() < 1e-13


@BACKENDS
def test_one_cosine_is_one_coefficient_of_the_whole(backend):
    rows, columns = np.arange(12) + 0.5, np.arange(7) + 0.5
    image = np.outer(np.cos(np.pi * 5 * rows / 12), np.cos(np.pi * 2 * columns / 7))
    expected = np.zeros((12, 7))
    expected[5, 2] = np.sqrt((image**2).sum())
    np.testing.assert_allclose(np.asarray(dct2(as_backend(image, backend))), expected, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tensors_and_arrays_agree_on_the_whole(dtype):
    images = noise(2, 3, 24, 15, dtype=dtype)
    found, kept = dct2(images), images.copy()
    assert found.dtype == dtype
    atol = 2e-6 if dtype == np.float32 else 1e-13
    for backend in ("torch", "watched"):
        np.testing.assert_allclose(dct2(as_backend(images, backend)).numpy(), found, atol=atol)
    np.testing.assert_array_equal(images, kept)


def test_the_matrix_is_orthonormal_and_cannot_be_changed():
    for n in (1, 8, 37):
        np.testing.assert_allclose(cosines(n) @ cosines(n).T, np.eye(n), atol=1e-13)
    with pytest.raises(ValueError, match="read-only"):
        cosines(8)[0] = 0


@BACKENDS
def test_a_coefficient_that_is_not_there_has_the_logarithm_of_the_constant(backend):
    found = np.asarray(log_dct(as_backend(np.full((1, 3, 16, 16), 0.25), backend)))
    assert found[0, 0, 0, 0] == pytest.approx(np.log(4))
    np.testing.assert_allclose(found[0, 0, 1:], np.log(1e-12), rtol=1e-15)


@BACKENDS
def test_the_coefficients_that_doubled_pixels_lack_are_not_those_of_rounding(backend):
    doubled = noise(1, 1, 16, 16).repeat(2, axis=2).repeat(2, axis=3)
    found = np.asarray(log_dct(as_backend(doubled, backend)))[0, 0]
    np.testing.assert_allclose(found[16], np.log(1e-12), rtol=1e-15)
    others = np.delete(np.delete(dct2(doubled)[0, 0], 16, axis=0), 16, axis=1)
    kept = np.delete(np.delete(found, 16, axis=0), 16, axis=1)
    np.testing.assert_allclose(kept, np.log(np.abs(others) + 1e-12), atol=1e-4)


def test_gradients_of_the_whole_are_those_of_finite_differences():
    torch = pytest.importorskip("torch")
    images = torch.from_numpy(noise(1, 2, 6, 5)).requires_grad_()
    assert torch.autograd.gradcheck(dct2, (images,))
    log_dct(torch.zeros(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)).sum().backward()


def test_what_is_no_image_has_no_transform():
    for shape in ((), (4,), (3, 0, 4), (3, 4, 0)):
        with pytest.raises(ImageError, match=r"\(\.\.\., H, W\)"):
            dct2(np.zeros(shape))
    with pytest.raises(ImageError, match="expected float32 or float64"):
        log_dct(np.zeros((3, 8, 8), np.uint8))
