"""The network of SFCL-HCMF: pixels and statistics → logits.

Qiao, Tian and Wang, arXiv:2504.17223. Three streams: an EfficientNet on the pixels, SBCM and CNN-F on the
block DCT, and the statistics of SIDA, which come from the crop at its native size and are an input of their
own. FAAE fuses the shallow maps, HCMA the deep ones, and the statistics are a gate on what HCMA gives. Every
step from the pixels on is in the modules, so that it is exported and attacked with them.

What a configuration leaves out is not built. Two baselines are of the paper: fusion = "concat" is the row
without HCMF of its table 3; with sbcm and sida off it is the row with everything off, whose figure table 4
repeats for neither FAAE nor HCMA.

Shapes: B batch, S side of a crop in pixels, C E channels of the deep maps, h w their grids, d length of a
token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tellsign.systems.sfcl_hcmf.fusion import Faae, Hcma, SidaGate
from tellsign.systems.sfcl_hcmf.local import CHANNELS, LocalStream
from tellsign.systems.sfcl_hcmf.spatial import SpatialStream, spatial_maps
from tellsign.systems.sfcl_hcmf.standardisation import Standardisation
from tellsign.types import ConfigError, ImageError

if TYPE_CHECKING:
    from tellsign.systems.sfcl_hcmf.config import SfclHcmfConfig
    from tellsign.systems.sfcl_hcmf.standardisation import Statistics

DESCRIPTOR = 2304  # numbers of SIDA: 4 statistics of 3 derivatives of 3 channels of 64 frequencies


class SfclHcmf(nn.Module):
    """(B, 3, S, S) in [0, 1] and (B, 2304) statistics → (B, 2) logits of real and fake."""

    def __init__(
        self,
        config: SfclHcmfConfig,
        *,
        coefficients: Statistics | None = None,
        descriptors: Statistics | None = None,
    ) -> None:
        """Build what is asked for, new layers from the current state of PyTorch's random numbers.

        Args:    config: of the system.
                 coefficients: of the 192 coefficients of the block DCT in the training data; None: not known
                 yet, 0 and 1.
                 descriptors: of the 2304 statistics, likewise.
        Raises:  ConfigError: the backbone or its weights can't be had, or its map behind the configured stage
                 has not the grid of the blocks.
        """
        super().__init__()
        maps = spatial_maps(config.spatial, config.size)
        if config.has_faae:
            _check_grid(config, maps[:-1])
        self.spatial = SpatialStream(config.spatial)
        self.local = None
        deep = {"spatial": maps[-1][0]}
        if config.has_local:
            self.local = LocalStream(config.local, sbcm=config.sbcm, statistics=coefficients)
            deep["spectral"] = self.local.cnn_f.channels
        self.faae = Faae(maps[config.spatial.stage - 1][0], CHANNELS) if config.has_faae else None
        self.descriptor = _scaling(config.scaling, descriptors) if config.sida else None
        self.hcma, self.gate = None, None
        features = sum(deep.values()) + (DESCRIPTOR if config.sida else 0)
        if config.has_hcma:
            features = config.hcma.d
            self.hcma = Hcma(**deep, d=features, heads=config.hcma.heads, tokens=config.hcma.tokens)
            self.gate = SidaGate(DESCRIPTOR, features) if config.sida else None
        self.classifier = nn.Linear(features, 2)

    def forward(self, images: Tensor, descriptor: Tensor | None = None) -> Tensor:
        """Logits of real and fake.

        Args:    images: (B, 3, S, S) in [0, 1].
                 descriptor: (B, 2304) statistics of SIDA as they are; None for a network without SIDA.
        Returns: (B, 2).
        Raises:  ImageError: statistics are missing, or given to a network that has no use for them.
        """
        return self.logits(*self.deep(*self.shallow(images)), descriptor)

    def shallow(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """The maps that FAAE takes.

        Args:    images: (B, 3, S, S) in [0, 1].
        Returns: X_S (B, ·, H, H), and X_f (B, 192, H, H) where there is a local stream.
        """
        return self.spatial.shallow(images), None if self.local is None else self.local.shallow(images)

    def deep(self, x_s: Tensor, x_f: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The maps that HCMA takes.

        Args:    x_s, x_f: from `shallow`.
        Returns: S (B, C, h, w), and F (B, E, h', w') where there is a local stream.
        """
        if self.local is None or x_f is None:
            return self.spatial.deep(x_s), None
        if self.faae is not None:
            x_s = self.faae(x_s, x_f)
        return self.spatial.deep(x_s), self.local.deep(x_f)

    def logits(self, s: Tensor, f: Tensor | None, descriptor: Tensor | None) -> Tensor:
        """What the classifier says of the deep maps: of the mean of the gated tokens, equation 17.

        Without HCMA it sees the means of the maps, and the scaled statistics, side by side.

        Args:    s, f: from `deep`.
                 descriptor: (B, 2304), where the network has SIDA.
        Returns: (B, 2).
        Raises:  ImageError: statistics are missing, or given to a network that has no use for them.
        """
        statistics = self._scaled(descriptor)
        if self.hcma is None:
            means = [one.mean(dim=(2, 3)) for one in (s, f) if one is not None]
            fused = torch.cat(means if statistics is None else [*means, statistics], dim=1)
        else:
            tokens: Tensor = self.hcma(s, f)
            if self.gate is not None:
                tokens = tokens * self.gate(statistics)[:, None]
            fused = tokens.mean(dim=1)
        found: Tensor = self.classifier(fused)
        return found

    def _scaled(self, descriptor: Tensor | None) -> Tensor | None:
        if self.descriptor is None:
            if descriptor is not None:
                raise ImageError("this network is without SIDA (sida = false): give it the images alone")
            return None
        if descriptor is None or descriptor.ndim != 2 or descriptor.shape[1] != DESCRIPTOR:
            raise ImageError(
                f"expected statistics of shape (B, {DESCRIPTOR}) beside the images, as features.sida gives "
                f"them, found {None if descriptor is None else tuple(descriptor.shape)}"
            )
        found: Tensor = self.descriptor(descriptor)
        return found


def _scaling(kind: str, statistics: Statistics | None) -> nn.Module:
    """(B, 2304) → (B, 2304)."""
    if kind == "zscore":
        return Standardisation(DESCRIPTOR, statistics)
    # Without parameters of its own, which those of the gate would repeat.
    return nn.Identity() if kind == "none" else nn.LayerNorm(DESCRIPTOR, elementwise_affine=False)


def _check_grid(config: SfclHcmfConfig, maps: list[tuple[int, int, int]]) -> None:
    """Raises ConfigError where FAAE would be given maps of two grids."""
    stage, grid = config.spatial.stage, config.grid
    fit = [number for number, (_, *sides) in enumerate(maps, 1) if sides == [grid, grid]]
    if stage not in fit:
        raise ConfigError(
            f"[config.spatial] stage = {stage}: a crop of {config.size} pixels has {grid} x {grid} blocks, "
            f"and FAAE needs a map with as many positions; behind the stages of {config.spatial.backbone} "
            f"the maps have the sides {', '.join(str(one[1]) for one in maps)}. The stages that fit are "
            f"{', '.join(map(str, fit)) or 'none'}; take one of them, another size or backbone, or "
            'fusion = "hcma"'
        )
