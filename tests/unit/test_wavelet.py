"""The Haar transform: analytic answers, both backends, gradients, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from tellsign.features.wavelet import BANDS, haar, inverse_haar
from tellsign.types import ImageError

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SIZES = [(1, 1), (1, 6), (2, 2), (3, 4), (4, 3), (7, 9), (16, 30)]


def noise(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(dtype)


def as_backend(array, backend):
    return array if backend == "numpy" else pytest.importorskip("torch").from_numpy(array)


BACKENDS = pytest.mark.parametrize("backend", ["numpy", "torch"])


@BACKENDS
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_constant_image_is_its_approximation_alone(height, width, backend):
    bands = np.asarray(haar(as_backend(np.full((3, height, width), 0.3, np.float32), backend)))
    assert bands.shape == (4, 3, -(-height // 2), -(-width // 2))
    np.testing.assert_array_equal(bands[0], np.float32(0.3) * 2)
    np.testing.assert_array_equal(bands[1:], 0)


@BACKENDS
@pytest.mark.parametrize(
    ("pixel", "signs"),
    [((0, 0), (1, 1, 1, 1)), ((0, 1), (1, 1, -1, -1)), ((1, 0), (1, -1, 1, -1)), ((1, 1), (1, -1, -1, 1))],
)
def test_one_pixel_has_half_its_value_in_each_band(pixel, signs, backend):
    image = np.zeros((1, 6, 8))
    image[0, 2 + pixel[0], 4 + pixel[1]] = 1.0
    bands = np.asarray(haar(as_backend(image, backend)))
    np.testing.assert_array_equal(bands[:, 0, 1, 2], np.array(signs) / 2)
    assert np.count_nonzero(bands) == len(BANDS)


@BACKENDS
def test_stripes_fall_into_the_band_of_their_direction(backend):
    rows = np.broadcast_to(np.array([0.0, 1.0])[:, None], (1, 2, 2)).copy()
    columns = np.swapaxes(rows, 1, 2).copy()
    checks = np.array([[[0.0, 1.0], [1.0, 0.0]]])
    for image, name in ((rows, "cH"), (columns, "cV"), (checks, "cD")):
        bands = np.asarray(haar(as_backend(image, backend)))[:, 0, 0, 0]
        assert [BANDS[i] for i in np.flatnonzero(bands)] == ["cA", name]


@BACKENDS
def test_energy_is_kept(backend):
    image = noise(2, 3, 16, 30)
    bands = np.asarray(haar(as_backend(image, backend)))
    np.testing.assert_allclose((bands**2).sum(axis=(1, 2, 3, 4)), (image**2).sum(axis=(1, 2, 3)), rtol=1e-12)


@BACKENDS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("front", [(), (2,), (2, 5), (0,)])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_round_trip(height, width, front, dtype, backend):
    image = noise(*front, 3, height, width, dtype=dtype)
    bands = haar(as_backend(image, backend))
    assert bands.shape == (*front, 4, 3, -(-height // 2), -(-width // 2))
    found = np.asarray(inverse_haar(bands, height=height, width=width))
    assert found.dtype == dtype
    assert found.shape == image.shape
    np.testing.assert_allclose(found, image, atol=1e-6 if dtype == np.float32 else 1e-14)


@BACKENDS
def test_an_odd_side_has_its_last_row_repeated(backend):
    image = noise(3, 5, 7)
    repeated = np.pad(image, ((0, 0), (0, 1), (0, 1)), mode="edge")
    np.testing.assert_array_equal(
        np.asarray(haar(as_backend(image, backend))), np.asarray(haar(as_backend(repeated, backend)))
    )


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_tensors_and_arrays_agree(height, width):
    image = noise(2, 3, height, width, dtype=np.float32)
    bands = haar(image)
    np.testing.assert_array_equal(haar(as_backend(image, "torch")).numpy(), bands)
    back = inverse_haar(as_backend(bands, "torch"), height=height, width=width)
    np.testing.assert_array_equal(back.numpy(), inverse_haar(bands, height=height, width=width))


@BACKENDS
def test_images_laid_out_otherwise_give_the_same_and_stay_the_same(backend):
    image = noise(2, 3, 6, 8)
    expected = haar(image)
    for strided in (np.asfortranarray(image), np.repeat(image, 2, axis=-1)[..., ::2]):
        kept = strided.copy()
        np.testing.assert_array_equal(np.asarray(haar(as_backend(strided, backend))), expected)
        np.testing.assert_array_equal(strided, kept)
    alone = np.stack([np.asarray(haar(as_backend(one, backend))) for one in image])
    np.testing.assert_array_equal(alone, expected)


@BACKENDS
def test_a_bad_pixel_spoils_its_own_cell_and_no_other(backend):
    image = noise(1, 6, 6)
    image[0, 2, 5] = np.nan
    bad = np.isnan(np.asarray(haar(as_backend(image, backend))))
    assert bad[:, 0, 1, 2].all()
    assert bad.sum() == len(BANDS)


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 3), (1, 1)])
def test_gradients_are_those_of_finite_differences(height, width):
    torch = pytest.importorskip("torch")
    image = torch.from_numpy(noise(2, 2, height, width)).requires_grad_()
    assert torch.autograd.gradcheck(haar, (image,))
    assert torch.autograd.gradgradcheck(haar, (image,))
    bands = haar(image).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: inverse_haar(x, height=height, width=width), (bands,))


def test_the_gradient_does_not_shrink_or_grow():
    """Orthonormal: the gradient of a sum of products with some bands is the image of these bands."""
    torch = pytest.importorskip("torch")
    image = torch.from_numpy(noise(3, 8, 10)).requires_grad_()
    weights = torch.from_numpy(noise(4, 3, 4, 5, seed=1))
    (haar(image) * weights).sum().backward()
    torch.testing.assert_close(image.grad, inverse_haar(weights, height=8, width=10))


def test_the_device_is_kept():
    # The meta device computes nothing, but refuses to meet tensors of another device.
    torch = pytest.importorskip("torch")
    bands = haar(torch.empty(2, 3, 5, 6, device="meta"))
    assert bands.device.type == inverse_haar(bands, height=5, width=6).device.type == "meta"


def test_a_module_with_sub_bands_can_be_exported_for_any_batch():
    torch = pytest.importorskip("torch")

    class Bands(torch.nn.Module):
        def forward(self, images):
            bands = haar(images)
            return inverse_haar(bands * 2, height=images.shape[-2], width=images.shape[-1])

    images = torch.from_numpy(noise(2, 3, 7, 8, dtype=np.float32))
    batch = torch.export.Dim("batch")
    program = torch.export.export(Bands(), (images,), dynamic_shapes=({0: batch},), strict=False)
    more = torch.from_numpy(noise(5, 3, 7, 8, dtype=np.float32, seed=1))
    torch.testing.assert_close(program.module()(more), more * 2)


@BACKENDS
@pytest.mark.parametrize("shape", [(8, 8), (3, 0, 8), (3, 8, 0)])
def test_what_is_no_image_is_refused(shape, backend):
    with pytest.raises(ImageError, match=r"\(\.\.\., C, H, W\)"):
        haar(as_backend(np.zeros(shape), backend))


@pytest.mark.parametrize(
    ("shape", "height", "width"),
    [
        ((4, 4, 4), 8, 8),  # no axis of channels
        ((3, 3, 4, 4), 8, 8),  # three bands
        ((4, 3, 4, 4), 9, 8),
        ((4, 3, 4, 4), 8, 6),
        ((4, 3, 0, 4), 0, 8),
    ],
)
def test_bands_of_another_size_are_refused(shape, height, width):
    with pytest.raises(ImageError, match=f"an image of {height} x {width} pixels has sub-bands"):
        inverse_haar(np.zeros(shape), height=height, width=width)


def test_other_types_are_refused():
    torch = pytest.importorskip("torch")
    for image in (np.zeros((3, 4, 4), np.uint8), torch.zeros(3, 4, 4, dtype=torch.bfloat16)):
        with pytest.raises(ImageError, match="expected float32 or float64"):
            haar(image)
        with pytest.raises(ImageError, match="expected float32 or float64"):
            inverse_haar(image[None], height=8, width=8)
