"""The discriminator of profiles: its shapes, that it learns and teaches, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

from torch.nn import functional  # noqa: E402

from pictures import natural, upsampled  # noqa: E402
from tellsign.features.spectrum import grey  # noqa: E402
from tellsign.generators.centred_profile import centred_profile  # noqa: E402
from tellsign.generators.spectral_discriminator import SpectralDiscriminator, joint_loss  # noqa: E402
from tellsign.types import ConfigError, ImageError, TooSmallError  # noqa: E402


def pictures(make, n, size=32):
    return torch.from_numpy(np.stack([make(seed, size, size) for seed in range(n)]))


@pytest.mark.parametrize("layers", [1, 2])
def test_it_is_as_small_as_it_says(layers):
    found = SpectralDiscriminator(128, layers=layers)
    expected = 91 + 1 + (91 * 91 + 91 if layers == 2 else 0)
    assert sum(parameter.numel() for parameter in found.parameters()) == expected
    assert found(pictures(natural, 3, 128)).shape == (3,)


def test_it_looks_at_the_profile_and_at_nothing_else():
    fakes = pictures(upsampled, 2)
    discriminator = SpectralDiscriminator(32)
    rows = centred_profile(grey(fakes))
    torch.testing.assert_close(discriminator.profiles(fakes), rows)
    torch.testing.assert_close(discriminator(fakes), discriminator.layers(rows)[:, 0])
    torch.testing.assert_close(discriminator(fakes.flip(-1)), discriminator(fakes), rtol=1e-3, atol=1e-3)


def test_images_of_two_ranges_give_one_profile():
    fakes = pictures(upsampled, 2)
    found = SpectralDiscriminator(32, value_range=(-1, 1)).profiles(2 * fakes - 1)
    torch.testing.assert_close(found, SpectralDiscriminator(32).profiles(fakes), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("layers", [1, 2])
def test_it_learns_to_tell_repeated_pixels_and_teaches_how(layers):
    torch.manual_seed(0)
    discriminator = SpectralDiscriminator(32, layers=layers)
    images = torch.cat((pictures(natural, 16), pictures(upsampled, 16)))
    labels = torch.tensor([1.0] * 16 + [0.0] * 16)
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=0.05)
    for _ in range(40):
        optimiser.zero_grad()
        functional.binary_cross_entropy_with_logits(discriminator(images), labels).backward()
        optimiser.step()
    logits = discriminator(images).detach()
    assert logits[:16].min() > logits[16:].max()

    # A generator that follows its gradient is taken for more real.
    pixels = images[16:].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(pixels).sum(), pixels)
    assert gradient.abs().max() > 0
    with torch.no_grad():
        moved = (pixels + 1e-3 * gradient.sign()).clamp(0, 1)
        assert discriminator(moved).mean() > logits[16:].mean() + 0.1


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    discriminator = SpectralDiscriminator(5, layers=2).double()
    images = torch.rand(2, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(discriminator, (images,))


def test_it_works_in_mixed_precision():
    discriminator = SpectralDiscriminator(32)
    fakes = pictures(upsampled, 2).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = discriminator(fakes)
    logits.sum().backward()
    assert torch.isfinite(fakes.grad).all()
    torch.testing.assert_close(logits.float(), discriminator(fakes.detach().float()), rtol=0.02, atol=0.02)


def test_the_joint_loss_is_a_weighted_mean():
    one, four = torch.tensor(1.0), torch.tensor(4.0)
    assert joint_loss(one, four) == 2.5
    assert joint_loss(one, four, image_weight=3) == 1.75
    assert joint_loss(one, four, spectral_weight=0) == 1
    for weights in ((-1, 1), (0, 0), (float("inf"), 1), (float("nan"), 1)):
        with pytest.raises(ConfigError, match="weights"):
            joint_loss(one, four, image_weight=weights[0], spectral_weight=weights[1])


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"size": 3}, TooSmallError, "4 x 4"),
        ({"size": 32, "layers": 3}, ConfigError, "1 or 2 layers"),
        ({"size": 32, "value_range": (1, -1)}, ConfigError, "value_range"),
    ],
)
def test_what_can_not_be_made_is_refused(options, error, match):
    with pytest.raises(error, match=match):
        SpectralDiscriminator(**options)


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (torch.rand(2, 3, 64, 64), "32, 32"),
        (torch.rand(2, 3, 32, 30), "not square"),
        (torch.rand(2, 2, 32, 32), "colour"),
        (torch.full((2, 3, 32, 32), 0.5), "constant"),
        (torch.rand(2, 3, 32, 32) - 1, "outside"),
    ],
)
def test_images_that_are_none_are_refused(images, match):
    with pytest.raises(ImageError, match=match):
        SpectralDiscriminator(32)(images)
