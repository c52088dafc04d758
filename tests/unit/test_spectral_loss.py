"""The spectral loss: its value, its gradient, and what it refuses."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

from pictures import natural, upsampled  # noqa: E402
from tellsign.features.spectrum import grey, n_rings, profile  # noqa: E402
from tellsign.generators.spectral_loss import MARGIN, MIN_REALS, SpectralLoss, log_profiles  # noqa: E402
from tellsign.types import ConfigError, ImageError, TooSmallError  # noqa: E402


def pictures(make, n, size=32, first=0):
    return torch.from_numpy(np.stack([make(first + seed, size, size) for seed in range(n)]))


def coarse(seed, height, width):
    """Repeated pixels with a little noise, so that no frequency is empty."""
    noise = np.random.default_rng(seed).normal(0, 0.005, (3, height, width))
    return np.clip(upsampled(seed, height, width) + noise, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def reals():
    return pictures(natural, MIN_REALS)


@pytest.fixture(scope="module")
def loss(reals):
    return SpectralLoss.from_images(reals, weight=0.5)


def decibels(images):
    """(B, 3, S, S) → (B, K); NumPy transforms in float64."""
    return profile(grey(images.numpy().astype(np.float64)), normalise="none") / np.log(10)


def test_the_real_profile_is_the_mean_of_profiles_in_decibels(reals, loss):
    np.testing.assert_allclose(loss.target.numpy(), decibels(reals).mean(axis=0), atol=1e-3)
    batches = SpectralLoss.from_images(iter(reals.split(30)))
    torch.testing.assert_close(batches.target, loss.target)


def test_the_value_is_that_of_the_formula(loss):
    fakes = pictures(coarse, 3)
    found = loss.terms(fakes)
    low, high = loss.target.min().item() - MARGIN, loss.target.max().item() + MARGIN
    output, real = (
        (rows - low) / (high - low)
        for rows in (decibels(fakes).mean(axis=0), loss.target.numpy().astype(np.float64))
    )
    assert 0 < output.min() < output.max() < 1
    bce = -(real * np.log(output) + (1 - real) * np.log(1 - output)).mean()
    entropy = -(real * np.log(real) + (1 - real) * np.log(1 - real)).mean()
    assert found.bce.item() == pytest.approx(bce, rel=1e-5)
    assert loss(fakes).item() == pytest.approx(0.5 * bce, rel=1e-5)
    assert found.kl.item() == pytest.approx(bce - entropy, abs=1e-5)


def test_the_mean_over_the_batch_is_compared_and_not_each_image(loss):
    """Two images as far above the real profile as below it are no fault of a generator."""
    image = pictures(natural, 1)
    own = SpectralLoss(log_profiles(image, (0, 1))[0])
    middle = image.mean(dim=(2, 3), keepdim=True)
    both = torch.cat([middle + factor * (image - middle) for factor in (0.5, 2.0)])
    unbounded = SpectralLoss(own.target, value_range=None)
    assert unbounded.terms(both).kl < 1e-5
    assert all(unbounded.terms(one[None]).kl > 1e-4 for one in both)


def test_what_can_be_gained_is_nothing_for_the_real_profile_alone():
    image = pictures(natural, 1)
    own = SpectralLoss(log_profiles(image, (0, 1))[0])
    assert abs(own.terms(image).kl.item()) < 1e-6
    assert own.terms(image).bce.item() == pytest.approx(own.entropy.item(), abs=1e-6)
    assert own.entropy.item() > 0.1  # so that the cross-entropy alone would not say that all is well
    assert own.terms(pictures(coarse, 1)).kl.item() > 1e-3


def test_noise_and_blur_are_further_from_real_images_than_other_real_images(loss):
    held_out = loss.terms(pictures(natural, 20, first=1000)).kl
    assert 0 < held_out < 0.06
    assert loss.terms(pictures(noisy, 20)).kl > 10 * held_out
    assert loss.terms(pictures(blurred, 20)).kl > 1.2 * held_out


def test_gradients_are_those_of_finite_differences():
    generator = torch.Generator().manual_seed(3)
    target = torch.linspace(0.9, 0.1, n_rings(7, 7))
    for shape in ((2, 1, 7, 7), (1, 3, 7, 7)):
        images = torch.rand(*shape, dtype=torch.float64, generator=generator, requires_grad=True)
        assert torch.autograd.gradcheck(SpectralLoss(target, weight=2), (images,))


def test_a_generator_learns_from_the_loss_alone(loss):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.ConvTranspose2d(4, 3, 4, 2, 1), torch.nn.Sigmoid())
    adversarial = network(torch.rand(2, 4, 16, 16)).mean() * 0  # switched off
    (adversarial + loss(network(torch.rand(2, 4, 16, 16)))).backward()
    assert all(parameter.grad.abs().max() > 1e-6 for parameter in network.parameters() if parameter.ndim > 1)


def noisy(seed, height, width):
    return np.random.default_rng(seed).random((3, height, width), np.float32)


def blurred(seed, height, width):
    """Without an empty frequency."""
    image = natural(seed, height, width)
    for axis in (1, 2):
        image = (4 * image + np.roll(image, 1, axis) + np.roll(image, -1, axis)) / np.float32(6)
    return image


@pytest.mark.parametrize(
    ("make", "rate", "steps", "factor"), [(noisy, 0.1, 150, 3), (blurred, 0.01, 120, 10)]
)
def test_free_pixels_take_on_the_real_profile(loss, make, rate, steps, factor):
    start = pictures(make, 2)
    pixels = torch.logit(start.clamp(0.02, 0.98)).requires_grad_()
    optimiser = torch.optim.Adam([pixels], lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(pixels.sigmoid()).backward()
        optimiser.step()
    end = pixels.detach().sigmoid()
    first, last = (log_profiles(images, (0, 1)).mean(dim=0) for images in (start, end))
    assert (last - loss.target).abs().mean() < (first - loss.target).abs().mean() / factor
    assert loss(end) < loss(start)


@pytest.mark.parametrize("size", [7, 8, 15, 32, 65])
def test_any_square_size(size):
    images = pictures(natural, 2, size).requires_grad_()
    target = torch.linspace(1, 0, n_rings(size, size))
    SpectralLoss(target)(images).backward()
    assert torch.isfinite(images.grad).all()
    assert images.grad.abs().max() > 0


def test_contrast_matters_and_brightness_and_the_unit_of_the_range_do_not(loss):
    fakes = pictures(coarse, 2)
    wide = SpectralLoss(loss.target, weight=0.5, value_range=(-1, 1))
    expected = loss.terms(fakes).kl.item()
    assert wide.terms(2 * fakes - 1).kl.item() == pytest.approx(expected, rel=1e-3)
    assert loss.terms(0.8 * fakes).kl.item() != pytest.approx(expected, rel=0.05)
    same = loss.terms(0.5 * fakes).kl.item()
    assert loss.terms(0.5 * fakes + 0.3).kl.item() == pytest.approx(same, rel=0.05)


def test_a_straight_line_in_decibels_is_seen(loss):
    """Scaled by its own smallest and largest ring, a profile of twice the slope would be the real one."""
    steeper = 2 * loss.target - loss.target.max()
    assert loss.terms_of(steeper).kl > 100 * loss.terms_of(loss.target + 1).kl > 0


def gradient_of(loss, images):
    images = images.clone().requires_grad_()
    loss(images).backward()
    return images.grad


def ramp(size=32):
    """A shade from left to right: all that is no horizontal frequency is empty."""
    return torch.linspace(0, 1, size).expand(1, 3, size, size)


def halves(size=32):
    return (ramp(size) > 0.5).float()


@pytest.mark.parametrize("odd", [ramp, halves, lambda: pictures(upsampled, 1)])
def test_an_image_with_empty_frequencies_does_not_take_the_batch_over(loss, odd):
    """With the constant of the published code its gradient is a hundred million times as long, or more."""
    others = pictures(natural, 15, first=200)
    usual = gradient_of(loss, others).flatten(1).norm(dim=1)
    found = gradient_of(loss, torch.cat([odd(), others])).flatten(1).norm(dim=1)
    assert torch.isfinite(found).all()
    assert found[0] < 30 * usual.max()


def test_the_gradient_behind_repeated_pixels_is_no_rounding_error(loss):
    small = pictures(natural, 4, size=16)

    def behind(images):
        images = images.clone().requires_grad_()
        loss(torch.nn.functional.interpolate(images, scale_factor=2, mode="nearest")).backward()
        return images.grad.double().flatten()

    single, double = behind(small), behind(small.double())
    assert torch.cosine_similarity(single, double, dim=0) > 0.99
    assert single.norm() == pytest.approx(double.norm().item(), rel=0.05)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(loss, dtype):
    fakes = pictures(coarse, 2).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(fakes)
    value.backward()
    assert value.dtype == torch.float32
    assert fakes.grad.dtype == dtype
    assert torch.isfinite(fakes.grad).all()
    assert value.item() == pytest.approx(loss(fakes.detach().float()).item(), rel=1e-6)


def test_mixed_precision_trains_a_network(loss):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.Sigmoid())
    images = pictures(natural, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fakes = network(images)
        assert fakes.dtype == torch.bfloat16
        value = loss(fakes)
    value.backward()
    assert network[0].weight.grad.abs().max() > 1e-6


@pytest.mark.slow
def test_a_compiled_network_trains_as_a_plain_one(loss):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.Sigmoid())
    images = pictures(natural, 2)

    def step(images):
        return loss(network(images)) + 0.1

    expected = step(images)
    expected.backward()
    gradient = network[0].weight.grad.clone()
    network.zero_grad()
    # Without the last stage, which calls a C++ compiler: what matters here is where the graph breaks.
    value = torch.compile(step, backend="aot_eager")(images)
    value.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(network[0].weight.grad, gradient, rtol=1e-4, atol=1e-7)


def test_the_real_profile_is_saved_and_copied_and_is_no_parameter(loss):
    other = SpectralLoss(torch.zeros(len(loss.target)))
    other.load_state_dict(loss.state_dict())
    torch.testing.assert_close(other.target, loss.target)
    assert not list(loss.parameters())
    fakes = pictures(coarse, 1)
    assert copy.deepcopy(loss)(fakes) == loss(fakes)


def test_the_profile_that_is_given_is_not_changed_afterwards():
    given = torch.linspace(0, 1, n_rings(32, 32))
    taken = SpectralLoss(given)
    given.zero_()
    assert taken.target.max() == 1


@pytest.mark.parametrize("weight", [-0.1, float("inf"), float("nan"), True, "1"])
def test_a_weight_that_is_none_is_refused(reals, weight):
    for make in (SpectralLoss.from_images, SpectralLoss):
        with pytest.raises(ConfigError, match="weight"):
            make(reals, weight=weight)


def test_no_weight_switches_the_loss_off(loss):
    fakes = pictures(coarse, 1).requires_grad_()
    SpectralLoss(loss.target, weight=0)(fakes).backward()
    assert fakes.grad.abs().max() == 0


@pytest.mark.parametrize("value_range", [(1, 0), (0, 0), (0, float("inf")), (0, 1, 2), 1, ("a", "b")])
def test_a_range_that_is_none_is_refused(reals, value_range):
    with pytest.raises(ConfigError, match="value_range"):
        SpectralLoss.from_images(reals, value_range=value_range)


@pytest.mark.parametrize(
    ("target", "match"),
    [
        (torch.zeros(2), "at least 3"),
        (torch.zeros(4, 4), "shape"),
        (torch.linspace(0, torch.inf, 20), "finite"),
        (torch.full((20,), torch.nan), "nan"),
    ],
)
def test_a_profile_that_is_none_is_refused(target, match):
    with pytest.raises(ConfigError, match=match):
        SpectralLoss(target)


def test_few_real_images_are_refused(reals):
    with pytest.raises(ConfigError, match=f"at least {MIN_REALS} images, found {MIN_REALS - 1}"):
        SpectralLoss.from_images(reals[1:])
    with pytest.raises(ConfigError, match="found 0"):
        SpectralLoss.from_images(iter(()))


def test_real_images_of_several_sizes_are_refused(reals):
    with pytest.raises(ImageError, match="one size"):
        SpectralLoss.from_images([reals, pictures(natural, 2, 64)])
    with pytest.raises(ImageError, match="have 31 pixels a side, those before 32"):
        SpectralLoss.from_images([reals, pictures(natural, 2, 31)])


def test_a_profile_alone_tells_sizes_by_their_rings():
    loss = SpectralLoss(torch.linspace(1, 0, n_rings(32, 32)))
    with pytest.raises(ImageError, match="rings"):
        loss(torch.rand(2, 3, 64, 64))


@pytest.mark.parametrize(
    ("images", "error", "match"),
    [
        (np.zeros((2, 3, 32, 32)), ImageError, "from_numpy"),
        ([torch.rand(2, 3, 32, 32), torch.zeros(2)], ImageError, "found list"),
        (torch.rand(2, 3, 32, 30), ImageError, "not square"),
        (torch.rand(2, 3, 6, 6), TooSmallError, "7 x 7"),
        (torch.rand(2, 3, 2, 2), TooSmallError, "7 x 7"),
        (torch.rand(3, 32, 32), ImageError, "batch axis"),
        (torch.rand(0, 3, 32, 32), ImageError, "found"),
        (torch.rand(2, 4, 32, 32), ImageError, "colour"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), ImageError, "255"),
        (torch.rand(2, 3, 64, 64), ImageError, "one size"),
        (torch.rand(2, 3, 31, 31), ImageError, "one size"),
        (torch.cat((torch.rand(1, 3, 32, 32), torch.full((1, 3, 32, 32), 0.5))), ImageError, "number 1"),
        (torch.rand(2, 3, 32, 32) * torch.nan, ImageError, "not finite"),
        (torch.rand(2, 3, 32, 32) / 0, ImageError, "not finite"),
    ],
)
def test_images_that_are_none_are_refused(loss, images, error, match):
    with pytest.raises(error, match=match):
        loss(images)


def test_a_wrong_range_is_measured_and_reported(loss, reals):
    fakes = pictures(coarse, 2)
    with pytest.raises(ImageError, match=r"from -[\d.]+ to 0\.\d+, outside of the stated range 0 to 1"):
        loss(2 * fakes - 1)
    with pytest.raises(ImageError, match="outside"):
        loss(255 * fakes)
    with pytest.raises(ImageError, match="outside"):
        SpectralLoss.from_images(255 * reals)
    loss(fakes + 0.005)  # rounding is no other range
