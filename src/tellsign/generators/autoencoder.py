"""The auto-encoder of Durall et al. (CVPR 2020), which isolates what one up-convolution does to a spectrum.

An image is halved and restored. No code was published and section 2.2 leaves most of it open; ours: 2 × 2
average pooling, one convolution of 3 × 3 with 32 filters and ReLU, one up-convolution, and the head.
Nothing bounds the output, so that no non-linearity at its end writes frequencies of its own.

Shapes: B batch, C channels, H W pixels, both even.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from torch import nn
from torch.nn import functional

from tellsign.configuration import check_whole
from tellsign.generators.head import RGB, Activation, check_head, check_kernel, head
from tellsign.types import ConfigError, ImageError

if TYPE_CHECKING:
    from torch import Tensor

UpConvolution = Literal["transposed", "nearest", "bilinear"]

KERNEL = 3  # of the encoder
SMALLEST = 16  # side of an image, of which a spectrum says something


@dataclass(frozen=True, slots=True)
class AutoEncoderConfig:
    """The table [network] of an auto-encoder."""

    size: int = 64  # side of the crops that it learns from, in pixels, even; it takes images of any
    up: UpConvolution = "transposed"  # zeros and a convolution; or interpolation and a convolution
    kernel: int = 3  # side of the up-convolution's filters: 3, 5, 7, 9 or 11
    filters: int = 32  # of the encoder, and of the up-convolution where a head follows
    head_layers: int = 0  # convolutions behind the up-convolution, 0 to 3
    head_kernel: int = 5  # side of their filters: 3, 5, 7, 9 or 11
    head_filters: int = 32  # of all of them but the last
    head_activation: Activation = "relu"  # between them; none: they are one linear filter

    def __post_init__(self) -> None:
        check_whole("size", self.size, SMALLEST)
        if self.size % 2:
            raise ConfigError(f"size is even, since images are halved; found {self.size}")
        if self.up not in get_args(UpConvolution):
            raise ConfigError(f"up is one of {', '.join(get_args(UpConvolution))}, found {self.up!r}")
        check_whole("filters", self.filters, 1)
        check_kernel("kernel", self.kernel)
        check_head(self.head_layers, self.head_kernel, self.head_filters, self.head_activation, least=0)


class AutoEncoder(nn.Module):
    """Images → images of the same size, through half of it."""

    def __init__(self, config: AutoEncoderConfig) -> None:
        """Make it, with PyTorch's random weights.

        Args:    config: its options.
        """
        super().__init__()
        self.config = config
        self.encoder = nn.Conv2d(RGB, config.filters, KERNEL, padding=KERNEL // 2)
        width = config.filters if config.head_layers else RGB
        self.up: nn.Module
        if config.up == "transposed":
            self.up = nn.ConvTranspose2d(
                config.filters, width, config.kernel, stride=2, padding=config.kernel // 2, output_padding=1
            )
        else:
            self.up = nn.Conv2d(config.filters, width, config.kernel, padding=config.kernel // 2)
        self.head = (
            head(
                width,
                layers=config.head_layers,
                kernel=config.head_kernel,
                filters=config.head_filters,
                activation=config.head_activation,
            )
            if config.head_layers
            else None
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] → (B, 3, H, W), about [0, 1].

        Args:    images: of even height and width.
        Returns: their restoration.
        Raises:  ImageError: a side is odd, or they are no colour images.
        """
        if images.ndim != 4 or images.shape[1] != RGB or images.shape[2] % 2 or images.shape[3] % 2:
            raise ImageError(
                f"an auto-encoder takes images (B, 3, H, W) of even sides, found {tuple(images.shape)}; crop "
                "them"
            )
        found = functional.relu(self.encoder(functional.avg_pool2d(images, 2)))
        if self.config.up != "transposed":
            found = functional.interpolate(found, scale_factor=2, mode=self.config.up)
        restored: Tensor = self.up(found)
        if self.head is not None:
            if self.config.head_activation == "relu":
                restored = functional.relu(restored)
            restored = self.head(restored)
        return restored
