"""The generators and discriminators of DCGAN, LSGAN, WGAN-GP and DRAGAN, in the sizes that were studied.

Those of Durall et al. (CVPR 2020) and of the code that they built on: transposed convolutions of 4 × 4 that
double, and a last up-sampling with or without a head. Widths of the stages: `base` at full size, doubled at
every halving up to `cap`. Parameters, as they were counted in the published code:

    network                                           size   base   generator   discriminator
    transposed to the end, as Durall et al. began     128    32     3,837,379   2,796,961
    nearest and three 5 × 5 layers, as they ended     128    32     3,889,507   2,796,961
    what they built on                                64     64     3,806,083   2,765,633
    the same, widened to 128                          128    64     8,001,411   6,960,961

The paper does not say how an inner layer of 32 filters (figure 22, v1 and v3) goes with a stage of another
width; here the next stage takes the 32 in place of its own input.

Shapes: B batch, Z latents, S side of an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import nn

from tellsign.configuration import check_whole
from tellsign.generators.head import RGB, Activation, check_head, head
from tellsign.types import ConfigError, ImageError

if TYPE_CHECKING:
    from torch import Tensor

LastUp = Literal["transposed", "nearest"]
Inner = Literal["none", "last", "all"]

SMALLEST = 16  # side of an image, of which a spectrum says something
DEVIATION = 0.02  # of all weights at the beginning
SLOPE = 0.2  # of a discriminator's activation below 0
# Figure 22: layers of the head, and inner stages with a layer; the paper chose v4.
TOPOLOGIES: dict[str, tuple[int, Inner]] = {
    "v1": (1, "last"),
    "v2": (2, "none"),
    "v3": (1, "all"),
    "v4": (3, "none"),
}


@dataclass(frozen=True, slots=True)
class GanConfig:
    """The table [network] of a GAN."""

    size: int = 64  # side of an image in pixels, a power of two; 64 and 128 were studied
    latents: int = 128  # numbers that an image is made from
    base: int = 32  # filters at full size; each halving has twice as many
    cap: int = 512  # but no more than these
    last_up: LastUp = "transposed"  # a convolution of 4 × 4; or nearest neighbours and the head
    head_layers: int = 0  # convolutions behind the last up-sampling, 0 to 3; nearest needs one
    head_kernel: int = 5  # side of their filters: 3, 5, 7, 9 or 11
    head_filters: int = 32  # of all of them but the last, and of inner layers
    head_activation: Activation = "relu"  # between them; none, as published: they are one linear filter
    inner: Inner = "none"  # one such layer behind the last inner up-sampling too, or behind all of them

    def __post_init__(self) -> None:
        check_whole("size", self.size, SMALLEST)
        if self.size & (self.size - 1):
            raise ConfigError(
                f"size is a power of two from {SMALLEST}, found {self.size}; crop or resize to one"
            )
        for name in ("latents", "base", "cap"):
            check_whole(name, getattr(self, name), 1)
        for name, choices in (("last_up", LastUp), ("inner", Inner)):
            if getattr(self, name) not in get_args(choices):
                raise ConfigError(
                    f"{name} is one of {', '.join(get_args(choices))}, found {getattr(self, name)!r}"
                )
        least = 1 if self.last_up == "nearest" else 0
        check_head(self.head_layers, self.head_kernel, self.head_filters, self.head_activation, least=least)

    @property
    def widths(self) -> list[int]:
        """Filters of the stages, from full size down."""
        n_stages = (self.size // 4).bit_length() - 1
        return [min(self.cap, self.base << stage) for stage in range(n_stages)]


class Generator(nn.Module):
    """Latents → images; two methods of which are all that is asked of a generator."""

    def __init__(self, config: GanConfig) -> None:
        """Make it, with normal weights.

        Args:    config: its options.
        """
        super().__init__()
        self.config = config
        widths = config.widths[::-1]
        parts: list[nn.Module] = [*_up(config.latents, widths[0], stride=1, padding=0)]
        channels = widths[0]
        for number, width in enumerate(widths[1:], start=2):
            parts += _up(channels, width)
            channels = width
            if config.inner == "all" or (config.inner == "last" and number == len(widths)):
                parts += _inner(channels, config)
                channels = config.head_filters
        self.body = nn.Sequential(*parts, *_last(channels, config), nn.Tanh())
        self.apply(_normal)

    def latents(self, n: int, rng: torch.Generator) -> Tensor:
        """What n images are made from.

        Args:    n: number of images. rng: on the CPU, the source of all that is random.
        Returns: (n, Z), standard normal.
        """
        return torch.randn(n, self.config.latents, generator=rng)

    def images(self, latents: Tensor) -> Tensor:
        """Images of latents, differentiable.

        Args:    latents: (B, Z).
        Returns: (B, 3, S, S) in [0, 1].
        """
        found: Tensor = (self(latents) + 1) / 2
        return found

    def forward(self, latents: Tensor) -> Tensor:
        """(B, Z) → (B, 3, S, S) in [-1, 1]."""
        found: Tensor = self.body(latents[:, :, None, None])
        return found


class Discriminator(nn.Module):
    """Images → how real they look."""

    def __init__(self, config: GanConfig, *, batch_norm: bool) -> None:
        """Make it, with normal weights.

        Args:    config: of the GAN.
                 batch_norm: take the statistics of batches; else those of each image ("layer norm"), as a
                 penalty of one image's gradient needs it.
        """
        super().__init__()
        self.size = config.size
        widths = config.widths
        parts: list[nn.Module] = [nn.Conv2d(RGB, widths[0], 4, 2, 1), nn.LeakyReLU(SLOPE)]
        for narrow, wide in pairwise(widths):
            norm = nn.BatchNorm2d(wide) if batch_norm else nn.GroupNorm(1, wide)
            parts += [nn.Conv2d(narrow, wide, 4, 2, 1, bias=False), norm, nn.LeakyReLU(SLOPE)]
        self.body = nn.Sequential(*parts, nn.Conv2d(widths[-1], 1, 4))
        self.apply(_normal)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] → (B,) logits.

        Args:    images: of the size that it was made for.
        Returns: higher = more real.
        Raises:  ImageError: they have another size.
        """
        if tuple(images.shape[1:]) != (RGB, self.size, self.size):
            raise ImageError(
                f"this discriminator takes images (B, 3, {self.size}, {self.size}), found "
                f"{tuple(images.shape)}"
            )
        return self.signed(2 * images - 1)

    def signed(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] → (B,) logits: the range in which penalties of its gradient are stated."""
        found: Tensor = self.body(images).flatten()
        return found


def n_parameters(network: nn.Module) -> int:
    """How many numbers of a network are learnt."""
    return sum(parameter.numel() for parameter in network.parameters())


def _up(narrow: int, wide: int, *, stride: int = 2, padding: int = 1) -> list[nn.Module]:
    convolution = nn.ConvTranspose2d(narrow, wide, 4, stride, padding, bias=False)
    return [convolution, nn.BatchNorm2d(wide), nn.ReLU()]


def _inner(channels: int, config: GanConfig) -> list[nn.Module]:
    kernel = config.head_kernel
    layer = nn.Conv2d(channels, config.head_filters, kernel, padding=kernel // 2)
    return [layer, nn.ReLU()] if config.head_activation == "relu" else [layer]


def _last(channels: int, config: GanConfig) -> list[nn.Module]:
    if not config.head_layers:
        return [nn.ConvTranspose2d(channels, RGB, 4, 2, 1)]
    up = [nn.Upsample(scale_factor=2)] if config.last_up == "nearest" else _up(channels, config.head_filters)
    return [
        *up,
        head(
            channels if config.last_up == "nearest" else config.head_filters,
            layers=config.head_layers,
            kernel=config.head_kernel,
            filters=config.head_filters,
            activation=config.head_activation,
        ),
    ]


def _normal(part: nn.Module) -> None:
    """Weights as Radford et al. (2016) draw them."""
    if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(part.weight, 0.0, DEVIATION)
        if part.bias is not None:
            nn.init.zeros_(part.bias)
    elif isinstance(part, nn.BatchNorm2d | nn.GroupNorm):
        nn.init.normal_(part.weight, 1.0, DEVIATION)
        nn.init.zeros_(part.bias)
