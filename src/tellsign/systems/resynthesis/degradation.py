"""What is done to a small image before it is restored: the re-synthesiser learns more than to enlarge.

He et al. (IJCAI 2021), section 4.2: half of the images are degraded; "colour" turns 10 to 25 percent of the
pixels grey (SR+C), "noise" adds Gaussian noise of deviation 4 / 255 (SR+D). Only in training: what is asked
about is never degraded.

Shapes: B batch, h w pixels of the small image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = ("none", "colour", "noise")
PROBABILITY = 0.5  # that an image is degraded
LEAST_GREY, MOST_GREY = 0.10, 0.25  # of its pixels
DEVIATION = 4 / 255  # of the noise


def degraded(small: Tensor, kind: str, seeds: Sequence[int]) -> Tensor:
    """Images of which about half are degraded.

    Args:    small: (B, 3, h, w) in [0, 1]; it is left as it is.
             kind: "none", "colour" or "noise".
             seeds: (B,) of all that is random of each image: the same ones give the same result, whatever
             batch it is in.
    Returns: (B, 3, h, w), with the gradient of `small`. Grey is the mean of R, G and B; noise is not clipped.
    Raises:  ConfigError: there is no such kind, or not one seed an image.
    """
    if kind not in KINDS:
        raise ConfigError(f"a degradation is one of {', '.join(KINDS)}, found {kind!r}")
    if len(seeds) != len(small):
        raise ConfigError(f"there is one seed an image, found {len(seeds)} for {len(small)} images")
    if kind == "none":
        return small
    # Drawn on the CPU, so that a GPU gets the same.
    drawn = torch.stack([_drawn(kind, small.shape[-2:], seed) for seed in seeds])
    drawn = drawn.to(small.device, small.dtype)
    if kind == "noise":
        return small + DEVIATION * drawn
    return torch.where(drawn > 0, small.mean(dim=1, keepdim=True), small)


def _drawn(kind: str, shape: torch.Size, seed: int) -> Tensor:
    """Noise of deviation 1 (3, h, w), or 1 where a pixel turns grey (1, h, w); 0 for an image left alone."""
    generator = torch.Generator().manual_seed(seed)
    chosen, share = torch.rand(2, generator=generator).tolist()
    if chosen >= PROBABILITY:
        return torch.zeros(3 if kind == "noise" else 1, *shape)
    if kind == "noise":
        return torch.randn(3, *shape, generator=generator)
    share = LEAST_GREY + (MOST_GREY - LEAST_GREY) * share
    grey: Tensor = torch.rand(1, *shape, generator=generator) < share
    return grey.float()
