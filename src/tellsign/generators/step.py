"""One step of a GAN: what its discriminators and its generator learn from a batch of real images.

A step has as many batches as the discriminator has turns for one of the generator (5 of WGAN-GP, else 1), so
that every step is whole, whatever a run is resumed at. What is random is drawn on the CPU, so that it is the
same on every device.

Shapes: B images of a batch, Z latents, S side of an image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tellsign.engine.scores import arithmetic
from tellsign.engine.step import descend
from tellsign.engine.task import Step
from tellsign.generators.losses import (
    ADVERSARIAL,
    PENALTY_WEIGHT,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
)
from tellsign.generators.luma import varied
from tellsign.generators.spectral_discriminator import joint_loss
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from tellsign.data.loading import Batch
    from tellsign.generators.config import GeneratorConfig
    from tellsign.generators.gan import Discriminator, Generator
    from tellsign.generators.spectral_discriminator import SpectralDiscriminator
    from tellsign.generators.spectral_loss import SpectralLoss


@dataclass(frozen=True, slots=True, eq=False)
class Gan:
    """What takes part in the training of a GAN, on its device."""

    config: GeneratorConfig
    generator: Generator
    discriminator: Discriminator
    spectral: SpectralDiscriminator | None  # which looks at profiles alone
    term: SpectralLoss | None  # with λ as its weight
    optimisers: dict[str, Optimizer]  # by the names of the networks
    device: torch.device

    def step(self, batch: Batch) -> Step:
        """Learn from real images.

        Args:    batch: one batch for each turn of the discriminator, together.
        Returns: images, losses and figures, sums over the images.
        Raises:  ConfigError: a loss is not finite. ImageError: the generator's images have no spectrum.
        """
        n = len(batch.rows)
        if not n:
            return Step(0, 0.0)
        figures: dict[str, float] = {}
        parts = torch.split(batch.images, self.config.training.batch_size)
        for part in parts:
            real = part.to(self.device, non_blocking=True)
            share = len(part) / n
            for name, value in self._turn_of_discriminators(real).items():
                figures[name] = figures.get(name, 0.0) + share * value
        figures |= self._turn_of_generator(len(parts[0]))
        total = figures["generator"] + figures["discriminator"]
        return Step(n, n * total, {name: n * value for name, value in figures.items()})

    def _turn_of_discriminators(self, real: Tensor) -> dict[str, float]:
        with torch.no_grad(), self._arithmetic():
            fake = self.generator.images(self._latents(len(real)))
        found = {}
        where = ADVERSARIAL[self.config.loss].penalty
        with self._arithmetic():
            loss = discriminator_loss(self.config.loss, self.discriminator(real), self.discriminator(fake))
            found["discriminator"] = loss.detach()
            if where != "none":
                # Norms are those of the published code, whose images lie in [-1, 1].
                signed = 2 * real - 1, 2 * fake - 1
                penalty = gradient_penalty(self.discriminator.signed, *signed, where=where)
                found["penalty"] = penalty.detach()
                loss = loss + PENALTY_WEIGHT * penalty
        self._learn("discriminator", self.discriminator, loss)
        # A crop of a clear sky or a black border has no spectrum; a fake of one colour is an error.
        real = real[varied(real)] if self.spectral is not None else real
        if self.spectral is not None and len(real):
            with self._arithmetic():
                profiles = self.spectral.profiles(real), self.spectral.profiles(fake[: len(real)])
                logits = [self._of_profiles(rows) for rows in profiles]
                loss = discriminator_loss(self.config.loss, logits[0], logits[1])
                found["spectral_discriminator"] = loss.detach()
                if where != "none":
                    loss = loss + PENALTY_WEIGHT * gradient_penalty(self._of_profiles, *profiles, where=where)
            self._learn("spectral", self.spectral, loss)
        return {name: float(value) for name, value in found.items()}

    def _turn_of_generator(self, n: int) -> dict[str, float]:
        found = {}
        with self._arithmetic():
            fake = self.generator.images(self._latents(n))
            loss = generator_loss(self.config.loss, self.discriminator(fake))
            if self.spectral is not None:
                loss = joint_loss(loss, generator_loss(self.config.loss, self.spectral(fake)))
            found["generator"] = loss.detach()
            if self.term is not None:
                terms = self.term.terms(fake)
                loss = loss + self.term.weight * terms.bce
                found |= {"spectral_bce": terms.bce.detach(), "spectral_kl": terms.kl.detach()}
        self._learn("generator", self.generator, loss)
        return {name: float(value) for name, value in found.items()}

    def _of_profiles(self, profiles: Tensor) -> Tensor:
        assert self.spectral is not None
        logits: Tensor = self.spectral.layers(profiles).squeeze(1)
        return logits

    def _learn(self, name: str, network: nn.Module, loss: Tensor) -> None:
        learn(network, loss, self.optimisers[name], clip_norm=self.config.training.clip_norm)

    def _latents(self, n: int) -> Tensor:
        return torch.randn(n, self.generator.config.latents).to(self.device)

    def _arithmetic(self) -> torch.autocast:
        return arithmetic(self.device, self.config.training.precision)


def learn(network: nn.Module, loss: Tensor, optimiser: Optimizer, *, clip_norm: float = 0.0) -> None:
    """A step of one network's optimiser; no other network gets a gradient.

    Args:    network: that learns. loss: () of it.
             optimiser: of its parameters. clip_norm: largest norm of the gradient; 0: not clipped.
    Raises:  ConfigError: the loss or its gradient is not finite; nothing is learnt.
    """
    if not math.isfinite(value := float(loss.detach())):
        raise ConfigError(
            f"the loss of a {type(network).__name__} is {value}: the training has diverged. Lower "
            "learning_rate or set clip_norm; the weights of the last checkpoint are from before"
        )
    norm = descend(loss, [optimiser], clip_norm=clip_norm)
    if not math.isfinite(norm):
        raise ConfigError(
            f"the gradient of a {type(network).__name__} is {norm}, where its loss is finite: lower "
            'learning_rate, or take precision = "float32" if it is not; nothing was learnt from it'
        )
