"""The re-synthesiser: a residual dense network that restores an image from a quarter of its sides.

Zhang, Tian, Kong, Zhong and Fu, "Residual Dense Network for Image Super-Resolution", CVPR 2018, with the
numbers of He et al. (IJCAI 2021): 64 features, growth 64, 16 blocks of 8 layers, 22,271,107 parameters. The
output is neither activated nor clipped.

Shapes: B batch, h w pixels of the small image, F features, G growth, L layers of a block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tellsign.features.residual import FACTOR
from tellsign.nn.weights import read_tensors
from tellsign.systems.resynthesis.tiles import SIDE, tiled
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from tellsign.systems.resynthesis.config import NetworkConfig

# Pixels of the small image that a result sees beyond those of the blocks: 2 before, 1 in the fusion, and 2 in
# the enlargement.
AROUND, ENLARGEMENT = 5, 2


class DenseBlock(nn.Module):
    """(B, F, h, w) → (B, F, h, w): layers that each see all before them, fused, and added to the input."""

    def __init__(self, features: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_conv3(features + growth * n, growth) for n in range(layers))
        self.fusion = nn.Conv2d(features + growth * layers, features, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, h, w) → (B, F, h, w)."""
        seen = x
        for layer in self.layers:
            seen = torch.cat((seen, layer(seen).relu()), dim=1)
        fused: Tensor = self.fusion(seen)
        return x + fused


class ResidualDenseNetwork(nn.Module):
    """(B, 3, h, w) in [0, 1] → (B, 3, 4h, 4w)."""

    def __init__(self, config: NetworkConfig) -> None:
        """Build it, its weights from the current state of PyTorch's random numbers."""
        super().__init__()
        F = config.features
        self.config = config
        self.first = _conv3(3, F)
        self.second = _conv3(F, F)
        self.blocks = nn.ModuleList(DenseBlock(F, config.growth, config.layers) for _ in range(config.blocks))
        self.fusion = nn.Sequential(nn.Conv2d(F * config.blocks, F, kernel_size=1), _conv3(F, F))
        shuffles = [part for _ in range(2) for part in (_conv3(F, 4 * F), nn.PixelShuffle(2))]
        self.enlarge = nn.Sequential(*shuffles, _conv3(F, 3))

    @property
    def margin(self) -> int:
        """How far a result sees, in pixels of the small image to either side of its own cell.

        Each convolution of 3 x 3 sees one pixel further: two before the blocks, one in each layer, one behind
        the fusion, and two in the enlargement, whose later steps are finer.
        """
        return self.config.blocks * self.config.layers + AROUND

    @property
    def receptive_field(self) -> int:
        """Side in pixels of the square of the image that 4 x 4 pixels of the result depend on."""
        return FACTOR * (2 * self.margin + 1)

    def forward(self, small: Tensor) -> Tensor:
        """(B, 3, h, w) → (B, 3, 4h, 4w)."""
        found: Tensor = self.enlarge(self.features(small))
        return found

    def features(self, small: Tensor) -> Tensor:
        """(B, 3, h, w) → (B, F, h, w), all that is done before the enlargement."""
        shallow = self.first(small)
        x = self.second(shallow)
        seen = []
        for block in self.blocks:
            x = block(x)
            seen.append(x)
        found: Tensor = self.fusion(torch.cat(seen, dim=1)) + shallow
        return found


def restored_by_tiles(network: ResidualDenseNetwork, small: Tensor, *, side: int = SIDE) -> Tensor:
    """What a network makes of a small image of any size, so that memory is that of a tile, and of the result.

    The enlargement, which sees little, is done apart: its many numbers are not computed of the margins that
    the blocks need.

    Args:    network: in evaluation mode.
             small: (B, 3, h, w) in [0, 1].
             side: of a tile in pixels of the result, a multiple of 4.
    Returns: (B, 3, 4h, 4w), that of the whole but for the rounding of sums.
    Raises:  ConfigError: the side doesn't do.
    """
    if side < FACTOR or side % FACTOR:
        raise ConfigError(f"a tile has a side of a multiple of {FACTOR} pixels, found {side}")
    own = side // FACTOR
    images = small.contiguous(memory_format=torch.channels_last)
    margin = network.margin - ENLARGEMENT
    (features,) = tiled(
        lambda part: (network.features(part),), (images,), side=own, margin=margin, scales=((1, 1),)
    )
    (found,) = tiled(
        lambda part: (network.enlarge(part),),
        (features,),
        side=own,
        margin=ENLARGEMENT,
        scales=((FACTOR, 1),),
    )
    return found


def take_weights(network: nn.Module, path: Path) -> None:
    """Load the weights of a re-synthesiser that was trained before.

    Args:    network: of the same sizes.
             path: of a .safetensors file with the names of its state, as the first phase of a training leaves
             it, or a detector's `weights.safetensors`, whose other arrays are passed over.
    Raises:  ConfigError: the file can't be read, is for other sizes, or holds what is no finite number.
    """
    own, given = network.state_dict(), read_tensors(path)
    inside = "network.resynthesiser."
    state = {name.removeprefix(inside): tensor for name, tensor in given.items() if name.startswith(inside)}
    state = state or given
    missing, foreign = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    unequal = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
    if missing or foreign or unequal:
        faults = [f"it lacks {missing[0]!r}"] if missing else []
        faults += [f"{foreign[0]!r} is no part of the network"] if foreign else []
        faults += [
            f"{name!r} has the shape {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
            for name in sorted(unequal)[:1]
        ]
        raise ConfigError(
            f"{path} holds no weights of the re-synthesiser as configured: {'; '.join(faults)}; say the "
            "features, growth, blocks and layers that it was trained with in [config.network]"
        )
    if wrong := [name for name, tensor in sorted(state.items()) if not torch.isfinite(tensor).all()]:
        raise ConfigError(f"{path}: {wrong[0]!r} holds what is no finite number; train the network again")
    network.load_state_dict(state)


def _conv3(channels: int, features: int) -> nn.Conv2d:
    return nn.Conv2d(channels, features, kernel_size=3, padding=1)
