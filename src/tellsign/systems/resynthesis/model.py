"""The networks of detection by re-synthesis: pixels → restored pixels → residuals → logits → fused score.

He, Yu, Keuper and Fritz, "Beyond the Spectrum: Detecting Deepfakes via Re-Synthesis", IJCAI 2021. An image is
shrunk to a quarter of its sides and restored by a network that has learnt from reals alone; what it gets
wrong, in pixels and in the stages of a perceptual network, is what classifiers see. Every step from the
pixels on is in the modules, so that it is exported and attacked with them.

Shapes: B batch, n stages that are classified, H W pixels, S side of a crop, C channels of a stage, h w of its
map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tellsign.engine.scores import log_odds
from tellsign.features.residual import downsampled, residual, whole_cells
from tellsign.nn.autocast import without_autocast
from tellsign.nn.backbones import SCRATCH
from tellsign.nn.fusion import fused
from tellsign.nn.resnet import residual_network
from tellsign.systems.resynthesis.config import MULTIPLE, part_name
from tellsign.systems.resynthesis.perceptual import Perceptual, perceptual_network
from tellsign.systems.resynthesis.rdn import ResidualDenseNetwork, restored_by_tiles
from tellsign.systems.resynthesis.tiles import SIDE, tiled
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tellsign.systems.resynthesis.config import ResynthesisConfig


class Residuals(nn.Module):
    """(B, 3, H, W) in [0, 1] → stage → its residual: pixels (B, 3, H, W), other stages (B, C, h, w)."""

    def __init__(
        self, resynthesiser: nn.Module, perceptual: Perceptual | None, *, downsampling: str = "avgpool"
    ) -> None:
        """Put the steps together.

        Args:    resynthesiser: (B, 3, h, w) → (B, 3, 4h, 4w).
                 perceptual: of as many stages as will be asked for; None: pixels alone.
                 downsampling: "avgpool" or "bicubic".
        """
        super().__init__()
        self.resynthesiser = resynthesiser
        self.perceptual = perceptual
        self.downsampling = downsampling

    def restored(self, images: Tensor) -> Tensor:
        """What the re-synthesiser makes of images that were shrunk.

        Args:    images: (B, 3, H, W) in [0, 1], whole cells.
        Returns: (B, 3, H, W), not clipped.
        """
        found: Tensor = self.resynthesiser(downsampled(images, self.downsampling))
        return found

    def forward(self, images: Tensor, stages: Sequence[int]) -> dict[int, Tensor]:
        """Residuals of stages, of the largest part in the middle whose sides are multiples of 16 pixels.

        In float32, whatever autocast is set to.

        Args:    images: (B, 3, H, W) in [0, 1].
                 stages: 0 for pixels, 1 to 5.
        Returns: stage → (B, C, h, w).
        Raises:  TooSmallError: a side is shorter than 16 pixels. ConfigError: there is no such stage.
        """
        images = whole_cells(images, MULTIPLE)
        wanted = [stage for stage in stages if stage]
        _check_stages(self.perceptual, wanted)
        found = {}
        # With 8 bits of mantissa a residual would be that of rounding.
        with without_autocast(images.device):
            restored = self.restored(images)
            if 0 in stages:
                found[0] = residual(restored, images)
            if wanted and self.perceptual is not None:
                pairs = zip(*(self.perceptual(one, max(wanted)) for one in (restored, images)), strict=True)
                for stage, (ours, theirs) in enumerate(pairs, 1):
                    if stage in wanted:
                        found[stage] = residual(ours, theirs)
        return {stage: found[stage] for stage in stages}


class StageClassifier(nn.Module):
    """(B, 3, H, W) in [0, 1] → (B, 2) logits of real and fake, from the residual of one stage."""

    def __init__(
        self,
        residuals: Residuals,
        classifier: nn.Module,
        stage: int,
        *,
        kept: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Put a classifier behind the residual of a stage; the residual itself is not trained.

        Args:    residuals: of all stages.
                 classifier: (B, C, h, w) → (B, 2). stage: its own.
                 kept: gives the residuals of the stage in place of computing them; without gradient.
        """
        super().__init__()
        self.residuals = residuals.requires_grad_(False).eval()
        self.classifier = classifier
        self.stage = stage
        self.kept = kept

    def train(self, mode: bool = True) -> StageClassifier:
        """Of the classifier alone."""
        super().train(mode)
        self.residuals.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] → (B, 2)."""
        found = self.kept(images) if self.kept else self.residuals(images, (self.stage,))[self.stage]
        logits: Tensor = self.classifier(found)
        return logits


class Resynthesis(nn.Module):
    """(B, 3, H, W) in [0, 1] → {"score": (B,) log-odds of fake, "parts": (B, n) those of each stage}."""

    def __init__(
        self,
        residuals: Residuals,
        classifiers: Mapping[str, nn.Module],
        *,
        stages: Sequence[int],
        fusion: str,
        weights: Sequence[float],
    ) -> None:
        """Put trained parts together.

        Args:    residuals: of all stages.
                 classifiers: name of a stage → residual (B, C, h, w) to logits (B, 2).
                 stages: that are classified, in their order.
                 fusion: "weights", "logits" or "fit".
                 weights: of the stages, adding up to 1.
        """
        super().__init__()
        self.resynthesiser = residuals.resynthesiser
        self.perceptual = residuals.perceptual
        self.downsampling = residuals.downsampling
        self.classifiers = nn.ModuleDict(dict(classifiers))
        self.stages = tuple(stages)
        self.fusion = fusion
        self.register_buffer("weights", torch.tensor(list(weights), dtype=torch.float32))

    def residuals(self) -> Residuals:
        """The way to the residuals, with these weights."""
        return Residuals(self.resynthesiser, self.perceptual, downsampling=self.downsampling)

    def logits(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] → (B, 2) of each stage."""
        found = self.residuals()(images, self.stages)
        return [self.classifiers[part_name(stage)](found[stage]) for stage in self.stages]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) in [0, 1] → score (B,) and parts (B, n)."""
        parts = torch.stack([log_odds(logits) for logits in self.logits(images)], dim=1)
        return {"score": fused(parts, self.fusion, self.get_buffer("weights")), "parts": parts}


def new_residuals(config: ResynthesisConfig, *, n_stages: int, weights: str | None = None) -> Residuals:
    """The way to the residuals, the re-synthesiser's weights from PyTorch's random numbers.

    Args:    config: of the system.
             n_stages: of the perceptual network that are needed, from the first on.
             weights: of the perceptual network, in place of the configuration's.
    Returns: the module.
    Raises:  ConfigError: the perceptual network's weights can't be had.
    """
    perceptual = perceptual_network(config.perceptual, n_stages, weights=weights) if n_stages else None
    return Residuals(ResidualDenseNetwork(config.network), perceptual, downsampling=config.downsampling)


def new_classifier(config: ResynthesisConfig, residuals: Residuals, stage: int) -> nn.Module:
    """A classifier before its training, from the current state of PyTorch's random numbers."""
    channels = 3 if not stage or residuals.perceptual is None else residuals.perceptual.channels[stage - 1]
    own = config.classifier
    return residual_network(channels, widths=own.widths, blocks=own.blocks, stem=own.stem)


def empty_network(config: ResynthesisConfig) -> Resynthesis:
    """The network of a configuration with weights that mean nothing, to load a detector's into."""
    residuals = new_residuals(config, n_stages=max(config.stages), weights=SCRATCH)
    return Resynthesis(
        residuals,
        {part_name(stage): new_classifier(config, residuals, stage) for stage in config.stages},
        stages=config.stages,
        fusion=config.fusion,
        weights=config.fusion_weights,
    )


@torch.inference_mode()
def residual_maps(
    residuals: Residuals, image: Tensor, stages: Sequence[int], *, side: int = SIDE
) -> dict[int, Tensor]:
    """Residuals of an image of any size, tile by tile: memory is that of a tile, and of the results.

    Equal to the residuals of the whole, but for the rounding of sums: tiles overlap by all that a result
    sees. The stages of a detector, of which nobody knows how far they see, are computed of the whole.

    Args:    residuals: with a `ResidualDenseNetwork`, in evaluation mode.
             image: (3, H, W) in [0, 1].
             stages: 0 for pixels, 1 to 5. side: of a tile in pixels, a multiple of 16.
    Returns: stage → (C, h, w), without a gradient.
    Raises:  TooSmallError: the image is smaller than 16 × 16 pixels. ConfigError: there is no such stage, the
             side doesn't do, or a residual is no finite number.
    """
    images = whole_cells(image[None], MULTIPLE)
    network = residuals.resynthesiser
    assert isinstance(network, ResidualDenseNetwork)
    if side < MULTIPLE or side % MULTIPLE:
        raise ConfigError(f"a tile has a side of a multiple of {MULTIPLE} pixels, found {side}")
    restored = restored_by_tiles(network, downsampled(images, residuals.downsampling), side=side)
    wanted = [stage for stage in stages if stage]
    _check_stages(residuals.perceptual, wanted)
    found = dict(zip(wanted, _stage_maps(residuals.perceptual, restored, images, wanted, side), strict=True))
    if 0 in stages:
        found[0] = residual(restored, images)
    for stage, values in found.items():
        if not torch.isfinite(values).all():
            raise ConfigError(
                f"the residual of {part_name(stage)} holds what is no finite number: the re-synthesiser or "
                "the perceptual network is broken; train it again"
            )
    return {stage: found[stage][0] for stage in stages}


def _stage_maps(
    perceptual: Perceptual | None, restored: Tensor, images: Tensor, stages: Sequence[int], side: int
) -> list[Tensor]:
    """(B, C, h, w) of each stage, none of which is 0, in one pass over the tiles."""
    if perceptual is None or not stages:
        return []
    own: Perceptual = perceptual

    def differences(*pair: Tensor) -> list[Tensor]:
        layout = torch.channels_last
        ours, theirs = (own(one.contiguous(memory_format=layout), max(stages)) for one in pair)
        return [residual(ours[stage - 1], theirs[stage - 1]) for stage in stages]

    margin = own.margin(max(stages))
    if margin is None:
        return differences(restored, images)
    scales = [(1, own.strides[stage - 1]) for stage in stages]
    return tiled(differences, (restored, images), side=side, margin=margin, scales=scales)


def _check_stages(perceptual: Perceptual | None, wanted: Sequence[int]) -> None:
    have = 0 if perceptual is None else perceptual.n_stages
    if wanted and max(wanted) > have:
        raise ConfigError(
            f"the residual of stage {max(wanted)} was asked for, and {have} stages of the perceptual "
            "network are here"
        )
