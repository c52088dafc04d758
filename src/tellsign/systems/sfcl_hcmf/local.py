"""The local stream: block DCT, SBCM along the frequencies, CNN-F across the blocks.

Qiao, Tian and Wang, arXiv:2504.17223, section 3.2.2. CNN-F is Xception (Chollet 2017) of timm from its second
block on, with timm's names, so that the weights of a pretrained Xception load.

Shapes: B batch, S side of a crop in pixels, h blocks along a side, S/8 rounded up.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from tellsign.features.colour import ycbcr
from tellsign.features.dct import SIDE, block_dct
from tellsign.nn.autocast import without_autocast
from tellsign.nn.backbones import SCRATCH, backbone
from tellsign.systems.sfcl_hcmf.standardisation import Standardisation, Statistics

if TYPE_CHECKING:
    from tellsign.systems.sfcl_hcmf.config import LocalConfig

CHANNELS = 3 * SIDE**2  # of the block DCT, and of what SBCM makes of it
BANDS = ((3, 16, 7, 3, 0), (16, 32, 5, 3, 0), (32, 64, 3, 2, 1))  # of SBCM: in, out, kernel, stride, padding
XCEPTION = (
    256,
    728,
    1024,
    1536,
    2048,
)  # channels of its second and third block, its last one, its last layers
ENTRY = ("block2.rep.1.", "block2.skip.")  # of CNN-F: what sees 192 channels, where Xception has 128


class LocalStream(nn.Module):
    """(B, 3, S, S) in [0, 1] → F (B, 2048, h/8, h/8), rounded up; 6 x 6 at 380 pixels."""

    def __init__(
        self, config: LocalConfig, *, sbcm: bool = True, statistics: Statistics | None = None
    ) -> None:
        """Build the networks.

        Args:    config: of the stream.
                 sbcm: whether there is an SBCM; without it CNN-F sees the coefficients.
                 statistics: of the 192 coefficients in the training data; None: not known yet.
        Raises:  ConfigError: the weights can't be had.
        """
        super().__init__()
        self.coefficients = Coefficients(statistics if config.coefficients == "zscore" else None)
        self.sbcm = Sbcm(repeats=config.repeats) if sbcm else None
        self.cnn_f = CnnF(width=config.width, middle=config.middle, weights=config.weights)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] → F."""
        return self.deep(self.shallow(images))

    def shallow(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] → X_f (B, 192, h, h): equation 9."""
        x: Tensor = self.coefficients(images)
        if self.sbcm is not None:
            x = self.sbcm(x)
        return x.flatten(1, 2)

    def deep(self, x_f: Tensor) -> Tensor:
        """(B, 192, h, h) → F."""
        found: Tensor = self.cnn_f(x_f)
        return found


class Coefficients(nn.Module):
    """(B, 3, S, S) in [0, 1] → (B, 3, 64, h, h): the block DCT of Y, Cb, Cr, frequencies in zigzag order.

    Deviates: a side that is no multiple of 8 is padded by reflection, and each of the 192 coefficients is
    standardised with statistics of the training data; the paper says neither what becomes of the half block
    that 380 pixels leave nor how coefficients are scaled.
    """

    def __init__(self, statistics: Statistics | None = None) -> None:
        """Keep the statistics.

        Args:    statistics: of the 192 coefficients; None: they stay as they are.
        """
        super().__init__()
        self.standardisation = Standardisation(CHANNELS, statistics)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) → (B, 3, 64, h, h), in float32 whatever autocast is set to."""
        # With 8 bits of mantissa the strong low frequencies would leave their rounding in all others.
        with without_autocast(images.device):
            x = block_dct(ycbcr(padded(images)))
            found: Tensor = self.standardisation(x.flatten(1, 2))
        return found.reshape(-1, 3, SIDE**2, *found.shape[2:])


class Sbcm(nn.Module):
    """Spectral band convolution: (B, 3, 64, h, h) → (B, 64, 3, h, h), neighbouring frequencies together.

    Kernels of (7, 1, 1), (5, 1, 1) and (3, 1, 1) slide along the frequencies, in strides that leave 20, 6 and
    3 of them; convolution, batch normalisation and ReLU each. Such a kernel sees one block of the picture at
    a time, so that the blocks may stand in a row: a two-dimensional convolution with the same numbers, whose
    weights can lie in memory with their channels last.

    Deviates: none; how 3 x 64 becomes 64 x 3 is not printed, and these strides are one way.
    """

    def __init__(self, *, repeats: int = 1) -> None:
        """Make the layers.

        Args:    repeats: layers of each kernel size; those behind the first keep the shape.
        """
        super().__init__()
        layers = []
        for channels, out, kernel, stride, padding in BANDS:
            layers.append(_band_layer(channels, out, kernel, stride, padding))
            layers += [_band_layer(out, out, kernel, 1, kernel // 2) for _ in range(repeats - 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, coefficients: Tensor) -> Tensor:
        """(B, 3, 64, h, h) → (B, 64, 3, h, h)."""
        found: Tensor = self.layers(coefficients.flatten(3))
        return found.reshape(*found.shape[:3], *coefficients.shape[3:])


class CnnF(nn.Sequential):
    """Xception behind its first two convolutions and its first block: (B, 192, h, h) → (B, 2048, h/8, h/8).

    Narrower and shallower ones are the same network with fewer channels and middle blocks.
    """

    def __init__(self, *, width: float = 1.0, middle: int = 8, weights: str = SCRATCH) -> None:
        """Make the blocks.

        Args:    width: channels as a multiple of Xception's, rounded to multiples of 8.
                 middle: blocks between the entry and the exit.
                 weights: "scratch", "pretrained" (timm's own of Xception, downloaded), or the path of a
                 .safetensors file with those of an Xception; all but what sees the 192 channels are taken.
        Raises:  ConfigError: the weights can't be had, or are for another network.
        """
        from timm.models.xception import Block, SeparableConv2d

        a, b, c, d, e = (8 * max(1, round(channels * width / 8)) for channels in XCEPTION)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["block2"] = Block(CHANNELS, a, 2, 2)
        layers["block3"] = Block(a, b, 2, 2)
        for number in range(4, 4 + middle):
            layers[f"block{number}"] = Block(b, b, 3, 1)
        layers["block12"] = Block(b, c, 2, 2, grow_first=False)
        for number, channels, out in ((3, c, d), (4, d, e)):
            layers[f"conv{number}"] = SeparableConv2d(channels, out, 3, 1, 1)
            layers[f"bn{number}"] = nn.BatchNorm2d(out)
            layers[f"act{number}"] = nn.ReLU(inplace=True)
        super().__init__(layers)
        self.channels = e
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # as timm starts an Xception
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if weights != SCRATCH:
            self._take_over(weights)

    def _take_over(self, weights: str) -> None:
        given = backbone("legacy_xception", weights=weights).state_dict()
        own = self.state_dict()
        state = {key: given[key] for key in own if not key.startswith(ENTRY)}
        self.load_state_dict({**own, **state})


def padded(images: Tensor) -> Tensor:
    """Images reflected beyond their borders until their sides are multiples of 8, the odd pixel at the end.

    Args:    images: (B, C, H, W).
    Returns: (B, C, 8 ⌈H/8⌉, 8 ⌈W/8⌉).
    """
    down, across = (-side % SIDE for side in images.shape[-2:])
    if not down and not across:
        return images
    borders = (across // 2, across - across // 2, down // 2, down - down // 2)
    return functional.pad(images, borders, mode="reflect")


def _band_layer(channels: int, out: int, kernel: int, stride: int, padding: int) -> nn.Sequential:
    """Along the second axis but one."""
    return nn.Sequential(
        nn.Conv2d(channels, out, (kernel, 1), stride=(stride, 1), padding=(padding, 0)),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
    )
