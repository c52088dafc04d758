"""+A: a discriminator that sees nothing but the spectrum's profile, beside the one that sees the picture.

Jung and Keuper, "Spectral Distribution Aware Image Generation", AAAI 2021. Both discriminators are trained
with the same adversarial loss, and the generator against both:

    spectral = SpectralDiscriminator(128, value_range=(-1, 1))
    loss = joint_loss(adversarial(image_logits), adversarial(spectral(fakes)))

In the published training the real images lie in [0, 1] and the generated ones in [-1, 1], which a profile
that keeps DC shows. Here images of both kinds have one range, and are mapped to [0, 1].

Shapes: B batch, C channels, S side in pixels, K rings.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from tellsign.generators.centred_profile import centred_profile, n_centred_rings
from tellsign.generators.luma import UNIT, Range, check_range, luma
from tellsign.generators.uncompiled import uncompiled
from tellsign.types import ConfigError, ImageError

if TYPE_CHECKING:
    from torch import Tensor

LEAK = 0.2  # of the activation between two layers
DEVIATION = 0.02  # of the first weights, as in DCGAN


class SpectralDiscriminator(nn.Module):
    """(B, C, S, S) images → (B,) logits by their profile, higher = more real, as discriminators have it.

    Implements Jung and Keuper (2021). Deviates: the profile, as `centred_profile` says; the width of the
    hidden layer is that of the profile, as none is published.
    """

    def __init__(self, size: int, *, layers: int = 1, value_range: Range | None = UNIT) -> None:
        """Make the layers, with weights from the current state of PyTorch's random numbers.

        Args:    size: S, of every image.
                 layers: 1, linear; or 2, with a leaky ReLU between them.
                 value_range: lowest and highest value of the images, real and generated; they are mapped to
                     [0, 1]. None: unbounded, taken as they are.
        Raises:  ConfigError: there is no such number of layers, or the range is none.
                 TooSmallError: the images are too small for a profile.
        """
        super().__init__()
        if layers not in (1, 2):
            raise ConfigError(f"a spectral discriminator has 1 or 2 layers, found {layers!r}")
        check_range(value_range)
        self.size = size
        self.value_range = value_range
        n_rings = n_centred_rings(size)
        hidden = [nn.Linear(n_rings, n_rings), nn.LeakyReLU(LEAK)] if layers == 2 else []
        self.layers = nn.Sequential(*hidden, nn.Linear(n_rings, 1))
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=DEVIATION)
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """The logit of each image.

        Args:    images: (B, C, S, S) floating point, C = 1 or 3.
        Returns: (B,), with a gradient to the images.
        Raises:  ImageError: the images are of another size, not finite, constant, or leave the range.
        """
        logits: Tensor = self.layers(self.profiles(images)).squeeze(1)
        return logits

    @uncompiled
    def profiles(self, images: Tensor) -> Tensor:
        """What the layers look at.

        Args:    images: as for `forward`.
        Returns: (B, K), of the type of the layers' weights.
        Raises:  ImageError: as for `forward`.
        """
        plane = luma(images, self.value_range)
        if len(plane[0]) != self.size:
            raise ImageError(
                f"images of shape {tuple(images.shape)}, expected (B, 3, {self.size}, {self.size}): the "
                "discriminator was made for that size"
            )
        with torch.autocast(plane.device.type, enabled=False):
            found = centred_profile(plane)
        return found.to(next(self.parameters()).dtype)


def joint_loss(
    image_loss: Tensor, spectral_loss: Tensor, *, image_weight: float = 1.0, spectral_weight: float = 1.0
) -> Tensor:
    """The loss of a generator that has two discriminators against it: (a L_img + b L_spec) / (a + b).

    Args:    image_loss: L_img, by the discriminator of pictures. spectral_loss: L_spec, by that of profiles.
             image_weight: a. spectral_weight: b.
    Returns: the weighted mean.
    Raises:  ConfigError: a weight is negative or not finite, or both are 0.

    Example:
        >>> joint_loss(torch.tensor(1.0), torch.tensor(4.0), spectral_weight=0.5)
        tensor(2.)
    """
    weights = (image_weight, spectral_weight)
    if not all(0 <= weight < math.inf for weight in weights) or sum(weights) == 0:
        raise ConfigError(f"the weights of two losses are 0 or more, not both 0, and finite; found {weights}")
    return (image_weight * image_loss + spectral_weight * spectral_loss) / sum(weights)
