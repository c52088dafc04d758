"""The four adversarial losses and the gradient penalties, by hand."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from tellsign.generators.gan import Discriminator, GanConfig  # noqa: E402
from tellsign.generators.losses import (  # noqa: E402
    ADVERSARIAL,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
)
from tellsign.types import ConfigError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

REAL, FAKE = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 3.0])


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


@pytest.mark.parametrize("kind", ["dcgan", "dragan"])
def test_cross_entropy(kind):
    expected = (softplus(-2) + softplus(0)) / 2 + (softplus(-1) + softplus(3)) / 2
    assert float(discriminator_loss(kind, REAL, FAKE)) == pytest.approx(expected, rel=1e-6)
    assert float(generator_loss(kind, FAKE)) == pytest.approx((softplus(1) + softplus(-3)) / 2, rel=1e-6)


def test_squared_error():
    assert float(discriminator_loss("lsgan", REAL, FAKE)) == pytest.approx((1 + 1) / 2 + (1 + 9) / 2)
    assert float(generator_loss("lsgan", FAKE)) == pytest.approx((4 + 4) / 2)


def test_wasserstein():
    assert float(discriminator_loss("wgan-gp", REAL, FAKE)) == pytest.approx(1 - 1)
    assert float(generator_loss("wgan-gp", FAKE)) == pytest.approx(-1)


@pytest.mark.parametrize("kind", ["dcgan", "lsgan", "wgan-gp"])
def test_logits_of_eight_bits_are_taken_as_single(kind):
    real, fake = (torch.tensor([1.0078125, 3.03125]).bfloat16() for _ in range(2))
    found = discriminator_loss(kind, real, fake), generator_loss(kind, fake)
    assert {one.dtype for one in found} == {torch.float32}
    expected = discriminator_loss(kind, real.double(), fake.double()), generator_loss(kind, fake.double())
    for one, other in zip(found, expected, strict=True):
        assert float(one) == pytest.approx(float(other), rel=1e-5, abs=1e-6)


def test_what_goes_with_each():
    found = {
        name: (one.penalty, one.discriminator_steps, one.batch_norm) for name, one in ADVERSARIAL.items()
    }
    assert found == {
        "dcgan": ("none", 1, True),
        "lsgan": ("none", 1, True),
        "wgan-gp": ("line", 5, False),
        "dragan": ("around", 1, False),
    }


@pytest.mark.parametrize("where", ["line", "around"])
def test_the_penalty_of_a_linear_function_is_known(where):
    """Its gradient is its weights, wherever it is taken."""
    weights = torch.full((3, 4, 4), 0.5, dtype=torch.float64)
    real, fake = torch.rand(2, 5, 3, 4, 4, dtype=torch.float64)
    found = gradient_penalty(lambda x: (x * weights).sum(dim=(1, 2, 3)), real, fake, where=where)
    assert float(found) == pytest.approx((math.sqrt(48 * 0.25) - 1) ** 2)


def test_points_lie_between_real_and_fake_or_around_the_reals():
    seen = {}

    def recorded(where):
        def discriminator(x):
            seen[where] = x.detach()
            return x.flatten(1).sum(dim=1)

        return discriminator

    real, fake = torch.zeros(64, 1, 2, 2), torch.ones(64, 1, 2, 2)
    gradient_penalty(recorded("line"), real, fake, where="line")
    assert (seen["line"].flatten(1).std(dim=1) < 1e-6).all()  # one share an image
    assert 0 <= float(seen["line"].min()) < 0.2 < 0.8 < float(seen["line"].max()) <= 1
    real = torch.randn(64, 1, 2, 2)
    gradient_penalty(recorded("around"), real, fake, where="around")
    step = seen["around"] - real
    assert 0 <= float(step.min()) < float(step.max()) <= 0.5 * float(real.std())


def test_the_penalty_reaches_the_weights_and_not_the_generator():
    discriminator = Discriminator(GanConfig(size=16, base=2), batch_norm=False).double()
    real = torch.rand(3, 3, 16, 16, dtype=torch.float64)
    fake = torch.rand(3, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    gradient_penalty(discriminator, real, fake, where="line").backward()
    assert fake.grad is None
    weights = discriminator.body[0].weight
    assert float(weights.grad.abs().max()) > 0


def test_the_gradient_of_the_penalty_is_that_of_small_differences():
    torch.manual_seed(0)
    discriminator = Discriminator(GanConfig(size=16, base=2), batch_norm=False).double()
    real, fake = torch.rand(2, 2, 3, 16, 16, dtype=torch.float64)

    def penalty():
        return gradient_penalty(discriminator, real, fake, where="line", rng=torch.Generator().manual_seed(1))

    penalty().backward()
    weights = discriminator.body[0].weight
    found, step = float(weights.grad[0, 0, 1, 1]), 1e-6
    with torch.no_grad():
        weights[0, 0, 1, 1] += step
        up = float(penalty_value(penalty))
        weights[0, 0, 1, 1] -= 2 * step
        down = float(penalty_value(penalty))
    assert found == pytest.approx((up - down) / (2 * step), rel=1e-4)


def penalty_value(penalty):
    with torch.enable_grad():
        return penalty().detach()


def test_no_penalty_is_none_and_unlike_shapes_are_refused():
    real = torch.rand(2, 3, 8, 8)
    assert float(gradient_penalty(lambda x: x, real, real, where="none")) == 0
    with pytest.raises(ConfigError, match="as many real as generated"):
        gradient_penalty(lambda x: x, real, real[:1], where="line")
