"""When PyTorch's memory may be computed on by NumPy, and when somebody has to know."""

from __future__ import annotations

import numpy as np
import pytest

from tellsign.features.arrays import like, unwatched
from tellsign.features.dct import block_dct, dct2, log_dct

torch = pytest.importorskip("torch")


def picture():
    return torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_an_array_and_a_plain_tensor_are_their_memory():
    array, tensor = np.zeros(3), torch.zeros(3)
    assert unwatched(array) is array
    unwatched(tensor)[1] = 2
    assert tensor.tolist() == [0, 2, 0]
    assert like(array, array) is array
    assert like(unwatched(tensor), tensor).data_ptr() == tensor.data_ptr()


def test_a_gradient_is_watched_where_it_is_taken():
    tensor = torch.zeros(3, requires_grad=True)
    assert unwatched(tensor) is None
    with torch.no_grad():
        assert unwatched(tensor) is not None
    with torch.inference_mode():
        assert unwatched(torch.zeros(3)) is not None
    assert unwatched(torch.zeros(3, device="meta")) is None
    assert unwatched(torch.zeros(3).as_subclass(type("Own", (torch.Tensor,), {}))) is None


@pytest.mark.parametrize("transform", [block_dct, dct2, log_dct])
def test_all_roads_come_to_the_same(transform):
    images = picture()
    expected = transform(images.numpy())
    for found in (transform(images), transform(images.clone().requires_grad_()).detach()):
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)
    np.testing.assert_allclose(torch.func.vmap(transform)(images[:, None]).numpy()[:, 0], expected, atol=1e-9)


class Network(torch.nn.Module):
    def __init__(self, transform) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, x):
        return self.transform(x)


@pytest.mark.parametrize("transform", [block_dct, dct2, log_dct])
def test_a_program_that_was_exported_computes_of_what_it_is_given(transform):
    images = picture()
    program = torch.export.export(Network(transform), (images,)).module()
    np.testing.assert_allclose(program(1 - images).numpy(), transform(1 - images.numpy()), atol=1e-9)


def test_so_does_one_that_was_traced():
    images = picture()
    program = torch.jit.trace(Network(block_dct), (images,), check_trace=False)
    np.testing.assert_allclose(program(1 - images).numpy(), block_dct(1 - images.numpy()), atol=1e-9)
