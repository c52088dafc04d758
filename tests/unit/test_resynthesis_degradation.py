"""What is done to small images in training: how often, how much, the same for the same seed."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
from tellsign.systems.resynthesis.degradation import degraded  # noqa: E402
from tellsign.types import ConfigError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

N = 200


def small(n=N, side=24):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def changed(images, kind, seeds=None):
    found = degraded(images, kind, range(len(images)) if seeds is None else seeds)
    return found, (found != images).flatten(1).any(dim=1)


@pytest.mark.parametrize("kind", ["colour", "noise"])
def test_half_of_the_images_are_changed_and_none_in_place(kind):
    images = small()
    before = images.clone()
    _, which = changed(images, kind)
    assert torch.equal(images, before)
    assert 0.37 < which.float().mean() < 0.63  # 3.7 standard errors


def test_a_tenth_to_a_quarter_of_the_pixels_turn_grey():
    images = small()
    found, which = changed(images, "colour")
    grey = (found != images).any(dim=1)
    shares = grey[which].flatten(1).float().mean(dim=1)
    assert 0.05 < shares.min() < 0.13
    assert 0.22 < shares.max() < 0.30
    means = images.mean(dim=1)[grey]
    for channel in range(3):
        assert torch.equal(found[:, channel][grey], means)


def test_noise_has_the_published_deviation_and_is_not_clipped():
    images = torch.ones(N, 3, 24, 24)
    found, which = changed(images, "noise")
    noise = (found - images)[which]
    assert float(noise.std()) == pytest.approx(4 / 255, rel=0.01)
    assert float(noise.mean()) == pytest.approx(0, abs=2e-4)
    assert found.max() > 1.03


@pytest.mark.parametrize("kind", ["colour", "noise"])
def test_an_image_depends_on_its_seed_and_not_on_its_batch(kind):
    images = small(20)
    whole = degraded(images, kind, range(20))
    order = torch.randperm(20)
    assert torch.equal(degraded(images[order], kind, order.tolist()), whole[order])
    assert torch.equal(degraded(images[7:8], kind, [7]), whole[7:8])
    assert not torch.equal(degraded(images, kind, range(50, 70)), whole)
    state = torch.get_rng_state()
    degraded(images, kind, range(20))
    assert torch.equal(torch.get_rng_state(), state)


def test_none_changes_nothing_and_gradients_pass():
    images = small(8).requires_grad_()
    assert degraded(images, "none", range(8)) is images
    for kind in ("colour", "noise"):
        (gradient,) = torch.autograd.grad(degraded(images, kind, range(8)).sum(), images)
        torch.testing.assert_close(gradient, torch.ones_like(gradient))


def test_what_it_refuses():
    with pytest.raises(ConfigError, match="one of none, colour, noise, found 'blur'"):
        degraded(small(2), "blur", [0, 1])
    with pytest.raises(ConfigError, match="one seed an image, found 3 for 2 images"):
        degraded(small(2), "noise", [0, 1, 2])
