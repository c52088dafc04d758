"""RGB and YCbCr: known colours, both backends, gradients, bad input."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from PIL import Image

from tellsign.features import colour
from tellsign.features.colour import CENTRE, rgb, ycbcr
from tellsign.types import ImageError

pytestmark = pytest.mark.usefixtures("one_torch_thread")
BACKENDS = pytest.mark.parametrize("backend", ["numpy", "torch"])


def noise(*shape, dtype=np.float64):
    return np.random.default_rng(0).uniform(size=shape).astype(dtype)


def as_backend(array, backend):
    return array if backend == "numpy" else pytest.importorskip("torch").from_numpy(array)


@BACKENDS
@pytest.mark.parametrize(
    ("pixel", "expected"),
    [
        ((0, 0, 0), (0, 128, 128)),
        ((255, 255, 255), (255, 128, 128)),
        ((90, 90, 90), (90, 128, 128)),
        ((255, 0, 0), (76.245, 84.97, 255.5)),  # ITU-T T.871, without its rounding and clipping
        ((0, 255, 0), (149.685, 43.53, 21.23)),
        ((0, 0, 255), (29.07, 255.5, 107.26)),
    ],
)
def test_known_colours(pixel, expected, backend):
    image = np.array(pixel, np.float64).reshape(3, 1, 1) / 255
    found = 255 * np.asarray(ycbcr(as_backend(image, backend))).ravel()
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_parity_with_pillow():
    levels = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(levels).convert("YCbCr"), np.float64)
    found = np.moveaxis(255 * ycbcr(np.moveaxis(levels / 255, -1, 0)), 0, -1)
    # Pillow adds numbers from rounded tables and drops what is behind the point.
    np.testing.assert_allclose(np.clip(found, 0, 255) - 0.5, expected, atol=0.6)
    assert np.abs(found[..., [0, 2, 1]] - expected).max() > 10, "the order is seen"


@BACKENDS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("front", [(), (2,), (2, 4), (0,)])
def test_round_trip(front, dtype, backend):
    image = noise(*front, 3, 5, 7, dtype=dtype)
    kept = image.copy()
    found = rgb(ycbcr(as_backend(image, backend)))
    assert np.asarray(found).dtype == dtype
    assert found.shape == image.shape
    np.testing.assert_allclose(np.asarray(found), image, atol=1e-6 if dtype == np.float32 else 1e-14)
    np.testing.assert_array_equal(image, kept)


@BACKENDS
def test_grey_has_no_colour(backend):
    image = np.repeat(noise(1, 6, 6, dtype=np.float32), 3, axis=0)
    found = np.asarray(ycbcr(as_backend(image, backend)))
    np.testing.assert_allclose(found[0], image[0], atol=1e-6)
    np.testing.assert_allclose(found[1:], CENTRE, atol=1e-6)


def test_tensors_and_arrays_agree():
    image = noise(2, 3, 4, 5, dtype=np.float32)
    for function in (ycbcr, rgb):
        np.testing.assert_allclose(function(as_backend(image, "torch")).numpy(), function(image), atol=1e-6)


def test_gradients_and_device():
    torch = pytest.importorskip("torch")
    image = torch.from_numpy(noise(3, 2, 2)).requires_grad_()
    assert torch.autograd.gradcheck(ycbcr, (image,))
    assert torch.autograd.gradcheck(rgb, (image,))
    meta = torch.empty(2, 3, 4, 4, device="meta")
    assert rgb(ycbcr(meta)).device.type == "meta"


@pytest.mark.parametrize("function", [ycbcr, rgb])
def test_what_has_no_three_channels_is_refused(function):
    for shape in ((4, 4, 3), (1, 8, 8), (3, 3)):
        with pytest.raises(ImageError, match=r"\(\.\.\., 3, H, W\)"):
            function(np.zeros(shape))
    with pytest.raises(ImageError, match="expected float32 or float64"):
        function(np.zeros((3, 4, 4), np.uint8))


def test_the_examples_in_the_docstrings():
    result = doctest.testmod(colour)
    assert result.attempted > 0
    assert result.failed == 0
