"""What discriminators and generators lower: four adversarial losses, two gradient penalties.

    name       discriminator                         generator            penalty
    dcgan      cross-entropy of real 1, fake 0       of fake 1            none
    lsgan      squared error to real 1, fake 0       to fake 1            none
    wgan-gp    mean of fake - mean of real           - mean of fake       between real and fake
    dragan     cross-entropy                         cross-entropy        around the reals

Goodfellow et al. (2014) in the form of Radford et al. (2016), Mao et al. (2017), Gulrajani et al. (2017) and
Kodali et al. (2017). The discriminator's loss is the sum of both halves, as in the code that
Durall et al. used.

Shapes: B batch, C channels, H W pixels; logits (B,).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional

from tellsign.types import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

Gan = Literal["dcgan", "lsgan", "wgan-gp", "dragan"]
Penalty = Literal["none", "line", "around"]

PENALTY_WEIGHT = 10.0  # of the gradient penalty
NORM = 1.0  # of the gradient that it asks for
SPREAD = 0.5  # of the reals' standard deviation, of which DRAGAN takes up to this share


@dataclass(frozen=True, slots=True)
class Adversarial:
    """One of the four, as functions of logits."""

    real: Callable[[Tensor], Tensor]  # (B,) of real images → the discriminator's loss
    fake: Callable[[Tensor], Tensor]  # (B,) of generated ones → the discriminator's loss
    generator: Callable[[Tensor], Tensor]  # (B,) of generated ones → the generator's loss
    penalty: Penalty  # of the discriminator's gradient: none, on lines from real to fake, around the reals
    discriminator_steps: int  # for each step of the generator

    @property
    def batch_norm(self) -> bool:
        """Whether a discriminator may use the statistics of a batch; a penalty is one image's alone."""
        return self.penalty == "none"


def _towards(target: float) -> Callable[[Tensor], Tensor]:
    return lambda logits: functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def _near(target: float) -> Callable[[Tensor], Tensor]:
    return lambda logits: (logits - target).square().mean()


def _lower(logits: Tensor) -> Tensor:
    return logits.mean()


def _higher(logits: Tensor) -> Tensor:
    return -logits.mean()


ADVERSARIAL: dict[Gan, Adversarial] = {
    "dcgan": Adversarial(_towards(1), _towards(0), _towards(1), "none", 1),
    "lsgan": Adversarial(_near(1), _near(0), _near(1), "none", 1),
    "wgan-gp": Adversarial(_higher, _lower, _higher, "line", 5),
    "dragan": Adversarial(_towards(1), _towards(0), _towards(1), "around", 1),
}


def discriminator_loss(kind: Gan, real: Tensor, fake: Tensor) -> Tensor:
    """What a discriminator lowers, without a penalty.

    Args:    kind: of GAN.
             real, fake: (B,) logits of real and of generated images.
    Returns: a scalar, in float32 at least.
    """
    losses = ADVERSARIAL[kind]
    return losses.real(_precise(real)) + losses.fake(_precise(fake))


def generator_loss(kind: Gan, fake: Tensor) -> Tensor:
    """What a generator lowers, without a spectral term.

    Args:    kind: of GAN.
             fake: (B,) logits of its images; their gradient reaches it.
    Returns: a scalar, in float32 at least.
    """
    return ADVERSARIAL[kind].generator(_precise(fake))


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    *,
    where: Penalty,
    rng: torch.Generator | None = None,
) -> Tensor:
    """How far the norm of a discriminator's gradient by its input is from 1: mean of the squared differences.

    Implements Gulrajani et al. (2017), eq. 3, and Kodali et al. (2017), algorithm 1, in the form of the code
    that Durall et al. used: points around the reals lie on lines to real + 0.5 std(real) U[0, 1].

    Args:    discriminator: (B, ...) → logits (B,), without statistics of the batch.
             real, fake: (B, C, H, W) of one shape, or their profiles; nothing of the gradient reaches them.
             where: "line" between real and fake, "around" the reals, or "none", which is 0.
             rng: of the random points, on the CPU; None: PyTorch's own state there.
    Returns: a scalar whose gradient reaches the discriminator's parameters (double backward).
    Raises:  ConfigError: real and fake differ in shape.
    """
    if where == "none":
        return real.new_zeros(())
    if real.shape != fake.shape:
        raise ConfigError(
            f"a gradient penalty takes as many real as generated images of one size, found "
            f"{tuple(real.shape)} and {tuple(fake.shape)}"
        )
    real, other = real.detach(), fake.detach()
    if where == "around":
        other = real + SPREAD * real.std() * _uniform(real, real.shape, rng)
    share = _uniform(real, (len(real), *[1] * (real.ndim - 1)), rng)
    points = (real + share * (other - real)).requires_grad_()
    logits = discriminator(points)
    (gradient,) = torch.autograd.grad(logits.sum(), points, create_graph=True)
    norms: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return (norms - NORM).square().mean()


def _precise(logits: Tensor) -> Tensor:
    """Mixed precision gives logits of eight bits, whose squares and means would have no more."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _uniform(like: Tensor, shape: tuple[int, ...], rng: torch.Generator | None) -> Tensor:
    # On the CPU, so that a training draws the same on every device.
    return torch.rand(shape, generator=rng, dtype=like.dtype).to(like.device)
