"""The spectral loss: what it adds to a training step of a DCGAN, and its speed against NumPy image by image.

A step is one of the discriminator and one of the generator, at 128 pixels and 64 images, with the widths of
the paper's code; with and without the loss, in turns, on the same networks. The other side of the second
ratio is tests/reference/released_spectral_loss.py: the form that was released with the paper, which takes
profiles of real and of generated images one by one, and gives no gradient. Ours takes those of the reals
once, before the training; a row of its own compares the generated images alone.
`python -m benchmarks.spectral_loss` prints the rows.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.features import fastest
from tellsign.generators.spectral_loss import MIN_REALS, SpectralLoss

if TYPE_CHECKING:
    from collections.abc import Iterator

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "reference"))
from released_spectral_loss import released_loss, scaled

BATCH, SIDE, NOISE = 64, 128, 128
WIDTHS = (512, 256, 128, 64, 32)  # of the generator; the discriminator has them the other way round
ROUNDS = 5


def generator() -> nn.Sequential:
    """(B, 128, 1, 1) → (B, 3, 128, 128) in [-1, 1]."""
    layers: list[nn.Module] = [nn.ConvTranspose2d(NOISE, WIDTHS[0], 4, bias=False)]
    for width, following in pairwise(WIDTHS):
        layers += [
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, following, 4, 2, 1, bias=False),
        ]
    return nn.Sequential(
        *layers, nn.BatchNorm2d(WIDTHS[-1]), nn.ReLU(), nn.ConvTranspose2d(WIDTHS[-1], 3, 4, 2, 1), nn.Tanh()
    )


def discriminator() -> nn.Sequential:
    """(B, 3, 128, 128) → (B, 1, 1, 1) logits."""
    widths = WIDTHS[::-1]
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
    for width, following in pairwise(widths):
        layers += [
            nn.Conv2d(width, following, 4, 2, 1, bias=False),
            nn.BatchNorm2d(following),
            nn.LeakyReLU(0.2),
        ]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4))


class Game:
    """The two networks and their optimisers; `step` plays one round."""

    def __init__(self, reals: torch.Tensor) -> None:
        torch.manual_seed(0)
        self.reals = reals
        self.generator, self.discriminator = generator(), discriminator()
        self.optimisers = [
            torch.optim.Adam(network.parameters(), 2e-4, betas=(0.5, 0.999))
            for network in (self.generator, self.discriminator)
        ]

    def step(self, spectral: SpectralLoss | None = None) -> None:
        """One of the discriminator, and one of the generator with the spectral loss where there is one."""
        fakes = self.generator(torch.randn(BATCH, NOISE, 1, 1))
        found = [self.discriminator(images) for images in (self.reals, fakes.detach())]
        self._descend(1, functional.softplus(-found[0]).mean() + functional.softplus(found[1]).mean())
        loss = functional.softplus(-self.discriminator(fakes)).mean()
        self._descend(0, loss if spectral is None else loss + spectral(fakes))

    def _descend(self, player: int, loss: torch.Tensor) -> None:
        self.optimisers[player].zero_grad(set_to_none=True)
        loss.backward()
        self.optimisers[player].step()


def rows() -> Iterator[dict[str, Any]]:
    """Every measurement of this module."""
    threads = torch.get_num_threads()
    images = torch.rand(MIN_REALS, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    spectral = SpectralLoss.from_images(2 * images - 1, value_range=(-1, 1))
    reals, fakes = 2 * images[:BATCH] - 1, 1 - 2 * images[-BATCH:]
    game = Game(reals)
    step = fastest(4 * ROUNDS, bare=game.step, with_loss=lambda: game.step(spectral))
    yield {
        "name": f"DCGAN step {SIDE} px, batch {BATCH}, added by the spectral loss",
        "value": 100 * (step["with_loss"] / step["bare"] - 1),
        "target": 10,
        "unit": "%",
        "at_most": True,
    }
    free = fakes.clone().requires_grad_()

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return spectral(fakes)

    try:
        torch.set_num_threads(2)
        seconds = fastest(
            ROUNDS,
            released=lambda: released_loss(torch.ones(()), fakes, reals, weight=1.0),
            generated=lambda: scaled(fakes),
            forward=forward,
            gradient=lambda: torch.autograd.grad(spectral(free), free),
        )
    finally:
        torch.set_num_threads(threads)
    for name, key, other, target in (
        ("value", "forward", "released", 20),
        ("value and gradient", "gradient", "released", None),
        ("value, generated images alone", "forward", "generated", None),
    ):
        yield {
            "name": f"spectral loss {SIDE} px, batch {BATCH}, {name}, 2 threads, over NumPy image by image",
            "value": seconds[other] / seconds[key],
            "target": target,
            "unit": "×",
        }


if __name__ == "__main__":
    for row in rows():
        print(row)
