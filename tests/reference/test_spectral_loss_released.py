"""The released spectral term changes nothing but the length of the gradient; the paper's does."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

from released_spectral_loss import released_loss, scaled  # noqa: E402

from pictures import natural  # noqa: E402
from tellsign.features.spectrum import grey, profile  # noqa: E402
from tellsign.generators.spectral_loss import SpectralLoss  # noqa: E402

SIZE = 24


@pytest.fixture(scope="module")
def reals():
    return torch.from_numpy(np.stack([natural(seed, SIZE, SIZE) for seed in range(100)])).double()


class Trained:
    """A small generator and a discriminator, and the generator's gradient under a loss."""

    def __init__(self):
        torch.manual_seed(0)
        layers = (torch.nn.ConvTranspose2d(4, 3, 4, 2, 1), torch.nn.Sigmoid())
        self.generator = torch.nn.Sequential(*layers).double()
        self.discriminator = torch.nn.Sequential(torch.nn.Conv2d(3, 1, SIZE)).double()
        self.noise = torch.randn(4, 4, SIZE // 2, SIZE // 2, dtype=torch.float64)

    def gradient(self, loss):
        """loss: (adversarial, fakes) → scalar."""
        fakes = self.generator(self.noise)
        adversarial = torch.nn.functional.softplus(-self.discriminator(fakes)).mean()
        gradients = torch.autograd.grad(loss(adversarial, fakes), self.generator.parameters())
        return torch.cat([gradient.flatten() for gradient in gradients])


def cosine(a, b):
    return float(a @ b / (a.norm() * b.norm()))


def test_the_profiles_are_ours(reals):
    ours = profile(grey(reals[:4]), normalise="minmax")
    torch.testing.assert_close(scaled(reals[:4]), ours, rtol=0, atol=1e-9)


@pytest.mark.parametrize("weight", [1e-5, 0.5, 2.0])
def test_the_released_term_only_lengthens_the_gradient(reals, weight):
    trained = Trained()
    plain = trained.gradient(lambda adversarial, _: adversarial)
    released = trained.gradient(
        lambda adversarial, fakes: released_loss(adversarial, fakes, reals[:4], weight=weight)
    )
    term = float(
        torch.nn.functional.binary_cross_entropy(scaled(reals[:4]), scaled(trained.generator(trained.noise)))
    )
    assert cosine(plain, released) == pytest.approx(1, abs=1e-12)
    assert float(released.norm() / plain.norm()) == pytest.approx(1 + weight * term, rel=1e-9)


def test_the_released_term_is_nothing_without_an_adversarial_loss(reals):
    trained = Trained()
    released = trained.gradient(
        lambda adversarial, fakes: released_loss(0 * adversarial, fakes, reals[:4], weight=2.0)
    )
    assert released.abs().max() == 0


def test_ours_turns_the_gradient_and_stands_alone(reals):
    trained, spectral = Trained(), SpectralLoss.from_images(reals, weight=2.0)
    plain = trained.gradient(lambda adversarial, _: adversarial)
    ours = trained.gradient(lambda adversarial, fakes: adversarial + spectral(fakes))
    alone = trained.gradient(lambda adversarial, fakes: 0 * adversarial + spectral(fakes))
    assert cosine(plain, ours) < 0.99
    assert alone.norm() > 1e-3
