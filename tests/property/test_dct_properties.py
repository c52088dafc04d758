"""What holds for the block DCT and its statistics whatever the image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tellsign.features.colour import rgb, ycbcr
from tellsign.features.dct import block_dct, inverse_block_dct, whole_blocks
from tellsign.features.sida import LENGTH, sida

pytestmark = pytest.mark.usefixtures("one_torch_thread")
DTYPES = st.sampled_from([np.float32, np.float64])
SIDES = st.integers(16, 41)


@st.composite
def images(draw):
    """(B, 3, H, W) in [0, 1]: noise, few levels, mostly one value, and all grey or constant."""
    height, width, dtype = draw(SIDES), draw(SIDES), draw(DTYPES)
    shape = (draw(st.integers(1, 3)), draw(st.sampled_from([1, 3])), height, width)
    kind = draw(st.sampled_from(["noise", "levels", "sparse", "constant"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if kind == "noise":
        x = rng.uniform(size=shape)
    elif kind == "levels":
        x = rng.integers(0, 2, shape) * draw(st.sampled_from([1.0, 1 / 255, 1e-7, 1e-30]))
    elif kind == "sparse":
        levels = st.sampled_from([0.0, 1.0, 1e-6, 1 - 2**-24])
        x = draw(arrays(np.float64, shape, elements=levels, fill=st.sampled_from([0.0, 0.5, 1.0])))
    else:
        x = np.full(shape, draw(st.floats(0, 1)))
    return np.broadcast_to(x, (shape[0], 3, height, width)).astype(dtype)


@settings(deadline=None)
@given(images())
def test_a_descriptor_is_never_nan(x):
    found = sida(block_dct(ycbcr(whole_blocks(x))))
    assert found.shape == (len(x), LENGTH)
    assert found.dtype == x.dtype
    assert np.isfinite(found).all()
    assert (found.reshape(-1, 4, 576)[:, [0, 1, 3]] >= 0).all()


@settings(deadline=None)
@given(images())
def test_image_colours_and_coefficients_come_back(x):
    atol = 3e-6 if x.dtype == np.float32 else 1e-13
    whole = whole_blocks(x)
    np.testing.assert_allclose(rgb(ycbcr(x)), x, atol=atol)
    np.testing.assert_allclose(inverse_block_dct(block_dct(whole)), whole, atol=atol)


@settings(deadline=None, max_examples=40)
@given(images(), st.randoms(use_true_random=False))
def test_the_order_of_a_batch_changes_nothing(x, random):
    order = random.sample(range(len(x)), len(x))
    coefficients = block_dct(ycbcr(whole_blocks(x)))
    np.testing.assert_array_equal(sida(coefficients[order]), sida(coefficients)[order])
    np.testing.assert_array_equal(sida(coefficients[:1])[0], sida(coefficients)[0])


@settings(deadline=None, max_examples=40)
@given(images())
def test_tensors_and_arrays_agree(x):
    torch = pytest.importorskip("torch")
    tolerance = 3e-6 if x.dtype == np.float32 else 1e-13
    tensor = block_dct(ycbcr(whole_blocks(torch.from_numpy(x))))
    coefficients = block_dct(ycbcr(whole_blocks(x)))
    np.testing.assert_allclose(tensor.numpy(), coefficients, atol=tolerance)
    found, expected = sida(torch.from_numpy(coefficients)).numpy(), sida(coefficients)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:, :1152], expected[:, :1152], rtol=1e-5, atol=tolerance)
    # The limit of flat planes is a step: a deviation that rounding moves across it is on either side.
    std = np.tile(expected[:, 576:1152], 2)
    clear = np.abs(std - 1e-6) > 0.5e-6
    np.testing.assert_allclose(found[:, 1152:][clear], expected[:, 1152:][clear], rtol=1e-2, atol=1e-2)
