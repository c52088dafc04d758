"""SIDA: analytic answers, flat planes, gradients, memory, bad input."""

from __future__ import annotations

import doctest
import tracemalloc

import numpy as np
import pytest

from pictures import natural
from tellsign.features import sida as module
from tellsign.features.colour import ycbcr
from tellsign.features.dct import ZIGZAG, block_dct
from tellsign.features.sida import CHANNELS, DERIVATIVES, LENGTH, STATISTICS, Entry, entries, sida
from tellsign.types import ImageError, TooSmallError

pytestmark = pytest.mark.usefixtures("one_torch_thread")
BACKENDS = pytest.mark.parametrize("backend", ["numpy", "torch"])


def noise(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def as_backend(array, backend):
    return array if backend == "numpy" else pytest.importorskip("torch").from_numpy(array)


def grouped(descriptors):
    """(B, 2304) → (B, statistics, derivatives, channels, frequencies)"""
    return np.asarray(descriptors).reshape(-1, 4, 3, 3, 64)


def test_entries_say_what_each_number_is():
    assert LENGTH == 2304
    assert len(entries()) == len(set(entries())) == LENGTH
    assert entries()[0] == Entry("mean", "row", "Y", (0, 0))
    assert entries()[-1] == Entry("kurtosis", "intra", "Cr", (7, 7))
    for index, derivative, channel, frequency in ((0, 0, 1, 3), (2, 1, 0, 8), (3, 2, 2, 62)):
        entry = entries()[576 * index + 192 * derivative + 64 * channel + frequency]
        expected = (STATISTICS[index], DERIVATIVES[derivative], CHANNELS[channel], ZIGZAG[frequency])
        assert (entry.statistic, entry.derivative, entry.channel, entry.frequency) == expected
    words = str(Entry("kurtosis", "column", "Cb", (2, 1)))
    assert words == "kurtosis of column differences of Cb at frequency (2, 1)"


@BACKENDS
def test_a_ramp_has_its_step_in_its_direction_alone(backend):
    """One plane rises by 2 a row and by 3 a column: its neighbours in frequency see it too."""
    coefficients = np.zeros((1, 3, 64, 4, 5))
    coefficients[0, 1, 10] = 2.0 * np.arange(4)[:, None] + 3.0 * np.arange(5)
    found = grouped(sida(as_backend(coefficients, backend)))[0]
    means = np.zeros((3, 3, 64))
    means[0, 1, 10], means[1, 1, 10] = 2, 3
    means[2, 1, 9] = means[2, 1, 10] = coefficients[0, 1, 10].mean()
    np.testing.assert_allclose(found[0], means, atol=1e-12)
    np.testing.assert_allclose(found[1, :2], 0, atol=1e-12)  # each step is the same
    np.testing.assert_array_equal(found[2:, :2], 0)
    assert (found[[1, 3], 2, 1, 9:11] > 0).all()


@BACKENDS
def test_two_values_have_known_moments(backend):
    """Differences 0, 0, 0, 4: mean 1, deviation sqrt(3), skewness 2 / sqrt(3), kurtosis 7 / 3."""
    coefficients = np.zeros((1, 3, 64, 2, 4))
    coefficients[0, 0, 0, 1, 3] = -4.0
    found = grouped(sida(as_backend(coefficients, backend)))[0, :, 0, 0, 0]
    np.testing.assert_allclose(found, [1, np.sqrt(3), 2 / np.sqrt(3), 7 / 3])


@BACKENDS
def test_twelve_entries_are_always_zero(backend):
    found = grouped(sida(as_backend(noise(2, 3, 64, 3, 4), backend)))
    np.testing.assert_array_equal(found[:, :, 2, :, 63], 0)
    assert np.count_nonzero(found[0]) == LENGTH - 12


@BACKENDS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("level", [0.0, 1 / 3, 128 / 255, 1.0])
def test_a_constant_image_has_no_shape(level, dtype, backend):
    images = np.full((1, 3, 40, 64), level, dtype)
    found = grouped(sida(block_dct(ycbcr(as_backend(images, backend)))))[0]
    np.testing.assert_allclose(found[:2, :2], 0, atol=1e-6)  # no block differs from its neighbours
    np.testing.assert_array_equal(found[2:], 0)
    np.testing.assert_allclose(found[0, 2, 0, 0], 8 * abs(level - 128 / 255), atol=1e-5)


@BACKENDS
def test_a_grey_image_has_no_shape_in_colour(backend):
    image = np.repeat(natural(0, 64, 64)[:1], 3, axis=0)[None]
    found = grouped(sida(block_dct(ycbcr(as_backend(image, backend)))))[0]
    np.testing.assert_array_equal(found[2:, :, 1:], 0)
    np.testing.assert_allclose(found[:2, :, 1:], 0, atol=1e-6)
    assert (found[:, :2, 0] > 0).all()


@BACKENDS
def test_the_limit_of_flat_planes(backend):
    """A deviation below 1e-6 is kept, and what would be divided by it is 0; one above has its shape."""
    for scale, shaped in ((1e-7, False), (1e-4, True)):
        coefficients = scale * noise(1, 3, 64, 6, 6, dtype=np.float32)
        found = grouped(sida(as_backend(coefficients, backend)))[0, :, :2]
        assert (found[1] > 0).all()
        assert ((found[2:] != 0) == shaped).all()


@BACKENDS
def test_scaling_scales_mean_and_deviation_alone(backend):
    coefficients = noise(1, 3, 64, 5, 6)
    once = grouped(sida(as_backend(coefficients, backend)))
    more = grouped(sida(as_backend(255 * coefficients, backend)))
    np.testing.assert_allclose(more[:, :2], 255 * once[:, :2], rtol=1e-12)
    np.testing.assert_allclose(more[:, 2:], once[:, 2:], rtol=1e-9)


@BACKENDS
def test_images_of_a_batch_do_not_know_each_other(backend):
    coefficients = noise(4, 3, 64, 5, 6, dtype=np.float32)
    kept = coefficients.copy()
    together = np.asarray(sida(as_backend(coefficients, backend)))
    alone = [np.asarray(sida(as_backend(one[None], backend)))[0] for one in coefficients]
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    np.testing.assert_array_equal(coefficients, kept)
    assert sida(as_backend(coefficients[:0], backend)).shape == (0, LENGTH)
    coefficients[2, 1, 7, 3, 3] = np.nan
    spoiled = np.asarray(sida(as_backend(coefficients, backend)))
    np.testing.assert_array_equal(spoiled[[0, 1, 3]], together[[0, 1, 3]])
    touched = np.isnan(grouped(spoiled)[2])
    assert touched[:, :2, 1, 7].all()
    assert touched[:, 2, 1, 6:8].all()
    assert touched.sum() == 4 * 4


def test_planes_do_not_depend_on_how_many_are_taken_at_once(monkeypatch):
    coefficients = noise(2, 3, 64, 5, 6)
    expected = sida(coefficients)
    for size in (1, 7 * 5 * 6 * 8, 2**30):
        monkeypatch.setattr(module, "CHUNK_BYTES", size)
        np.testing.assert_allclose(sida(coefficients), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tensors_and_arrays_agree(dtype):
    coefficients = noise(2, 3, 64, 7, 6, dtype=dtype)
    found = sida(as_backend(coefficients, "torch")).numpy()
    rtol = 2e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(found, sida(coefficients), rtol=rtol, atol=rtol)


def test_arrays_take_little_memory():
    """Limit of the issue: 6 times the coefficients."""
    coefficients = noise(1, 3, 64, 128, 128, dtype=np.float32)
    tracemalloc.start()
    sida(coefficients)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < coefficients.nbytes


def test_gradients_are_those_of_finite_differences():
    torch = pytest.importorskip("torch")
    base = torch.from_numpy(noise(1, 3, 64, 3, 3))
    some = torch.from_numpy(noise(2, seed=1)).requires_grad_()

    def moved_entries(values):
        """Those of the four frequencies that two coefficients of one block move."""
        moved = base.clone()
        moved[0, 1, 4:6, 1, 1] = values
        return sida(moved).reshape(4, 3, 3, 64)[:, :, 1, 3:7]

    assert torch.autograd.gradcheck(moved_entries, (some,))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["constant", "grey", "noise", "half"])
def test_the_gradient_is_finite(kind, dtype):
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).uniform(size=(1, 3, 32, 32)).astype(dtype)
    if kind == "constant":
        image[:] = 0.25
    elif kind == "grey":
        image[:, 1:] = image[:, :1]
    elif kind == "half":
        image[..., :16] = 0
    images = torch.from_numpy(image).requires_grad_()
    found = sida(block_dct(ycbcr(images)))
    (found * torch.arange(LENGTH) / LENGTH).sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(images.grad).all()
    assert kind == "constant" or images.grad.abs().max() > 0


def test_the_device_is_kept():
    # The meta device computes nothing, but refuses to meet tensors of another device.
    torch = pytest.importorskip("torch")
    found = sida(torch.empty(2, 3, 64, 3, 4, device="meta"))
    assert found.shape == (2, LENGTH)
    assert found.device.type == "meta"


@BACKENDS
@pytest.mark.parametrize(("h", "w"), [(1, 5), (5, 1), (0, 4)])
def test_images_without_neighbouring_blocks_are_too_small(h, w, backend):
    with pytest.raises(TooSmallError, match=rf"{8 * h} x {8 * w} pixels .* at least 16 x 16"):
        sida(as_backend(np.zeros((1, 3, 64, h, w)), backend))


def test_other_shapes_and_types_are_refused():
    for shape in ((3, 64, 4, 4), (1, 1, 64, 4, 4), (1, 3, 63, 4, 4), (1, 64, 3, 4, 4)):
        with pytest.raises(ImageError, match=r"\(B, 3, 64, h, w\)"):
            sida(np.zeros(shape))
    with pytest.raises(ImageError, match="expected float32 or float64"):
        sida(np.zeros((1, 3, 64, 4, 4), np.int16))


def test_the_graph_of_a_network_computes_the_same():
    """Transform and descriptor in ONNX Runtime, image by image and in batches."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from tellsign.engine.export import ScoredNetwork, graph_bytes, parity

    class Described(torch.nn.Module):
        def forward(self, images):
            parts = sida(block_dct(ycbcr(images)))
            return {"score": parts.mean(dim=1), "parts": parts}

    network = ScoredNetwork(Described(), LENGTH).eval()
    images = np.stack([natural(seed, 32, 32) for seed in range(5)])
    images[4] = 0.5
    assert parity(graph_bytes(network, 32), network, images)[0] < 1e-4


def test_the_examples_in_the_docstrings():
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
