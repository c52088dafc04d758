"""The spectral features on PyTorch tensors: gradients, devices, export."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

from tellsign.features import spectrum  # noqa: E402
from tellsign.features.spectrum import grey, interpolate, log_spectrum, power_spectrum, profile  # noqa: E402
from tellsign.types import ImageError  # noqa: E402

PRESETS = ("official", "paper")
NORMALISATIONS = ("none", "first", "minmax")


def noise(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, dtype=dtype, generator=generator) * 255


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shape", [(32, 32), (33, 33), (20, 31), (31, 20)])
def test_tensors_and_arrays_agree(shape, preset):
    images = noise(3, 3, *shape)
    for function in (power_spectrum, log_spectrum):
        np.testing.assert_allclose(
            function(images[:, 0]).numpy(), function(images[:, 0].numpy()), rtol=1e-9, atol=1e-9
        )
    np.testing.assert_array_equal(grey(images).numpy(), grey(images.numpy()))
    for normalise in NORMALISATIONS:
        options = {"preset": preset, "normalise": normalise, "length": 9, "square": False}
        found, expected = profile(grey(images), **options), profile(grey(images.numpy()), **options)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("normalise", NORMALISATIONS)
@pytest.mark.parametrize(
    ("preset", "shape", "length"),
    [("official", (10, 10), 7), ("official", (9, 8), None), ("paper", (8, 8), 5)],
)
def test_gradients_are_those_of_finite_differences(preset, shape, length, normalise):
    images = noise(2, *shape).div(255).requires_grad_()

    def features(x):
        return profile(x, preset=preset, length=length, normalise=normalise, square=False)

    assert torch.autograd.gradcheck(features, (images,))


def test_gradients_of_the_other_functions():
    assert torch.autograd.gradcheck(power_spectrum, (noise(1, 4, 5).div(255).requires_grad_(),))
    assert torch.autograd.gradcheck(log_spectrum, (noise(1, 4, 5).div(255).requires_grad_(),))
    assert torch.autograd.gradcheck(grey, (noise(3, 2, 2).requires_grad_(),))
    assert torch.autograd.gradcheck(lambda x: interpolate(x, 9), (noise(2, 6).requires_grad_(),))


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("normalise", NORMALISATIONS)
@pytest.mark.parametrize("preset", PRESETS)
def test_the_gradient_of_a_constant_image_is_finite(preset, normalise, dtype, value):
    images = torch.full((1, 16, 16), value, dtype=dtype, requires_grad=True)
    result = profile(images, preset=preset, normalise=normalise)
    (result * torch.arange(result.shape[1])).sum().backward()
    assert torch.isfinite(result).all()
    assert torch.isfinite(images.grad).all()


def test_the_gradient_moves_a_spectrum():
    # A spectral loss on detached arrays would leave the images as they are.
    images, target = noise(1, 16, 16, seed=1).requires_grad_(), profile(noise(1, 16, 16, seed=2) * 3)
    losses = []
    optimiser = torch.optim.Adam([images], lr=2.0)
    for _ in range(20):
        loss = ((profile(images) - target) ** 2).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4


def test_a_profile_does_not_depend_on_its_neighbours(monkeypatch):
    images = noise(7, 16, 16, dtype=torch.float32)
    alone = torch.cat([profile(image[None]) for image in images])
    for chunk in (1, 3 * 16 * 16 * 4, 2**21):
        monkeypatch.setattr(spectrum, "CHUNK_BYTES", chunk)
        torch.testing.assert_close(profile(images), alone, rtol=1e-5, atol=0)
    assert profile(images[:0], length=6).shape == (0, 6)


def test_float32_stays_float32_and_inputs_stay_the_same():
    images = noise(2, 16, 16, dtype=torch.float32)
    kept = images.clone()
    for function in (power_spectrum, log_spectrum, profile):
        assert function(images).dtype == torch.float32
    assert torch.equal(images, kept)


def test_a_large_scale_does_not_overflow_float32():
    # 16-bit levels at 512 pixels: the product of four powers would exceed float32.
    images = 257 * noise(1, 512, 512, dtype=torch.float32)
    found = profile(images, normalise="none")
    expected = profile(images.double(), normalise="none")
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=0)


def test_a_bad_pixel_spoils_its_own_profile_and_no_other():
    images = noise(3, 16, 16)
    images[1, 4, 5] = torch.nan
    finite = torch.isfinite(profile(images))
    assert finite[[0, 2]].all()
    assert not finite[1].any()


def test_inference_mode_leaves_nothing_behind_that_breaks_training():
    size = 22  # a size that no other test uses, so that the cache is filled here
    with torch.inference_mode():
        profile(noise(1, size, size), length=7)
    images = noise(1, size, size).requires_grad_()
    profile(images, length=7).sum().backward()
    assert images.grad.abs().max() > 0


def test_the_device_is_kept():
    # The meta device computes nothing, but refuses to meet tensors of another device.
    images = torch.empty(2, 3, 32, 32, device="meta")
    result = profile(grey(images), length=9, normalise="minmax")
    assert result.device.type == log_spectrum(images[:, 0]).device.type == "meta"
    assert result.shape == (2, 9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("preset", PRESETS)
def test_cuda_agrees_with_the_cpu(preset):
    images = noise(4, 64, 64)
    found = profile(images.cuda(), preset=preset, length=20)
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), profile(images, preset=preset, length=20), rtol=1e-9, atol=0)


def test_transforms_over_a_batch():
    images = noise(3, 16, 16)
    each = torch.func.vmap(lambda image: profile(image[None])[0])(images)
    torch.testing.assert_close(each, profile(images))


def test_a_module_with_a_profile_can_be_exported():
    class Features(torch.nn.Module):
        def forward(self, images):
            return profile(images, length=9)

    images = noise(2, 16, 16)
    program = torch.export.export(Features(), (images,), strict=False)
    torch.testing.assert_close(program.module()(images), profile(images, length=9))


def test_other_types_are_refused():
    for dtype in (torch.uint8, torch.float16, torch.bfloat16):
        with pytest.raises(ImageError, match="expected float32 or float64"):
            profile(noise(1, 16, 16).to(dtype))
