"""The convolutions behind an up-sampling, which can remove what it leaves in the spectrum.

Durall et al. (CVPR 2020), section 4.2 and supplement 7.3: three layers of 32 filters of 5 × 5. In their code
no activation stands between them, so that they are one linear filter of 13 × 13.

Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from tellsign.configuration import check_whole
from tellsign.types import ConfigError

Activation = Literal["relu", "none"]

KERNELS = (3, 5, 7, 9, 11)
MOST_LAYERS = 3
RGB = 3


def check_head(layers: object, kernel: object, filters: object, activation: object, *, least: int) -> None:
    """Refuse a head that nobody has studied.

    Args:    layers, kernel, filters, activation: as for `head`.
             least: number of layers.
    Raises:  ConfigError: an option is out of its range.
    """
    check_whole("head_layers", layers, least, MOST_LAYERS)
    check_whole("head_filters", filters, 1)
    check_kernel("head_kernel", kernel)
    if activation not in {"relu", "none"}:
        raise ConfigError(f"head_activation is relu or none, found {activation!r}")


def check_kernel(name: str, kernel: object) -> None:
    """Raises ConfigError where the side of a filter is none that was studied."""
    if not isinstance(kernel, int) or kernel not in KERNELS:
        raise ConfigError(f"{name} is one of {', '.join(map(str, KERNELS))}, found {kernel!r}")


def head(channels: int, *, layers: int, kernel: int, filters: int, activation: Activation) -> nn.Sequential:
    """Convolutions that keep height and width, from features to colours.

    Args:    channels: C, of the features.
             layers: 1 or more, the last of which gives the colours.
             kernel: side, odd.
             filters: of all layers but the last.
             activation: between the layers; there is none behind the last.
    Returns: (B, C, H, W) → (B, 3, H, W).
    """
    widths = [channels, *[filters] * (layers - 1), RGB]
    parts: list[nn.Module] = []
    for number in range(layers):
        parts.append(nn.Conv2d(widths[number], widths[number + 1], kernel, padding=kernel // 2))
        if activation == "relu" and number < layers - 1:
            parts.append(nn.ReLU())
    return nn.Sequential(*parts)
