"""The networks of CAE-Net: pixels → sub-bands → logits of a branch → fused score.

Bhattacharjee et al., "CAE-Net", arXiv:2502.10682. EfficientNet-B0 and DeiT-B see the pixels, ConvNeXt-Tiny
the Haar sub-bands; all three come from timm and are unchanged but for the first kernels of the last. Every
step from the pixels on is in the modules, so that it is exported and attacked with them.

Shapes: B batch, N crops, n branches, H W pixels, S side of a crop, C channels of a branch's input: 3 or 12.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tellsign.engine.scores import log_odds
from tellsign.features.wavelet import haar
from tellsign.nn.backbones import SCRATCH, backbone
from tellsign.nn.fusion import fused
from tellsign.nn.spectra import KINDS, LogSpectrum
from tellsign.types import ConfigError, ManifestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tellsign.systems.cae_net.config import CaeNetConfig

BAND_CHANNELS = 12  # four sub-bands of three colours
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # where timm names no others
LEAST_STD = 1e-6  # of a sub-band in the training set: that of images without it is not divided by

Statistics = dict[str, tuple[float, ...]]  # mean and std of each channel, which a branch standardises with


class Branch(nn.Module):
    """(B, 3, S, S) in [0, 1] → (B, 2) logits of real and fake: input, standardisation, network."""

    def __init__(
        self,
        network: nn.Module,
        *,
        dwt: str | None,
        statistics: Statistics,
        spectrum: LogSpectrum | None = None,
    ) -> None:
        """Put the steps together.

        Args:    network: (B, C, ·, ·) → (B, 2).
                 dwt: None for pixels, or "dwt_resize" or "native" for sub-bands.
                 statistics: mean and std of the C channels.
                 spectrum: what takes the place of pixels, where it is no sub-bands.
        """
        super().__init__()
        self.network = network
        self.dwt = dwt
        self.spectrum = spectrum
        for name in ("mean", "std"):
            self.register_buffer(name, _per_channel(statistics[name]))

    def standardise_with(self, statistics: Statistics) -> None:
        """Take mean and std of the C channels in place of those until now."""
        for name in ("mean", "std"):
            self.get_buffer(name).copy_(_per_channel(statistics[name]))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] → (B, 2)."""
        logits: Tensor = self.network(self.entry(images))
        return logits

    def entry(self, images: Tensor) -> Tensor:
        """What the network sees. (B, 3, S, S) in [0, 1] → (B, C, ·, ·), standardised."""
        x = images if self.dwt is None else sub_bands(images, self.dwt)
        if self.spectrum is not None:
            x = self.spectrum(images)
        return (x - self.get_buffer("mean")) / self.get_buffer("std")


class CaeNet(nn.Module):
    """(B, 3, S, S) in [0, 1] → {"score": (B,) log-odds of fake, "parts": (B, n) those of each branch}."""

    def __init__(self, branches: Mapping[str, nn.Module], *, fusion: str, weights: Sequence[float]) -> None:
        """Put trained branches together.

        Args:    branches: name → images to logits (B, 2), in the order of `weights`.
                 fusion: "weights", "vote" or "fit".
                 weights: of the branches' probabilities, adding up to 1; not used by a vote.
        Raises:  ConfigError: a branch has a name that PyTorch has taken.
        """
        super().__init__()
        try:
            self.branches = nn.ModuleDict(dict(branches))
        except KeyError as error:
            raise ConfigError(f"a branch can't have this name ({error.args[0]}); choose another") from error
        self.fusion = fusion
        self.register_buffer("weights", torch.tensor(list(weights), dtype=torch.float32))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, S, S) in [0, 1] → score (B,) and parts (B, n)."""
        parts = torch.stack([log_odds(branch(images)) for branch in self.branches.values()], dim=1)
        return {"score": fused(parts, self.fusion, self.get_buffer("weights")), "parts": parts}


def sub_bands(images: Tensor, dwt: str) -> Tensor:
    """Haar sub-bands as the channels of an image: cA of the three colours, then cH, cV, cD.

    cA is halved, which gives it the range of the image. With "dwt_resize" the bands are enlarged bilinearly
    to the size of the image; "native" leaves them at half of it.

    Args:    images: (B, 3, H, W).
             dwt: "dwt_resize" or "native".
    Returns: (B, 12, H, W) or (B, 12, H/2, W/2), rounded up.
    """
    bands = haar(images)
    bands = torch.cat((bands[:, :1] / 2, bands[:, 1:]), dim=1).flatten(1, 2)
    if dwt == "native":
        return bands
    return functional.interpolate(bands, size=images.shape[-2:], mode="bilinear", align_corners=False)


def band_statistics(crops: Iterable[Tensor], dwt: str) -> Statistics:
    """Mean and standard deviation of the sub-bands' channels over training images.

    Args:    crops: batches (B, 3, S, S).
             dwt: as for `sub_bands`; the enlarged bands vary less.
    Returns: mean and std, 12 numbers each.
    Raises:  ManifestError: there are no crops.
    """
    return channel_statistics(crops, partial(sub_bands, dwt=dwt))


def channel_statistics(crops: Iterable[Tensor], entry: Callable[[Tensor], Tensor]) -> Statistics:
    """Mean and standard deviation of each channel of what a network sees.

    Args:    crops: batches (B, 3, S, S).
             entry: of the network, (B, 3, S, S) → (B, C, ·, ·).
    Returns: mean and std, C numbers each.
    Raises:  ManifestError: there are no crops.
    """
    total, squares, count = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64), 0
    for batch in crops:
        values = entry(batch).double()
        total = total + values.sum(dim=(0, 2, 3))
        squares = squares + values.square().sum(dim=(0, 2, 3))
        count += values.numel() // values.shape[1]
    if not count:
        raise ManifestError("no image is left from which the statistics of channels could be taken")
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    # A channel that is the same everywhere, as in flat images, tells nothing and keeps its scale.
    std = torch.where(std < LEAST_STD, torch.ones_like(std), std)
    return {"mean": tuple(mean.tolist()), "std": tuple(std.tolist())}


def new_branch(config: CaeNetConfig, name: str, *, weights: str | None = None) -> Branch:
    """A branch before its training.

    Args:    config: of the system.
             name: of the branch.
             weights: to start from; None: what the configuration says.
    Returns: the branch, its new layers from the current state of PyTorch's random numbers. Where it looks at
             sub-bands or a spectrum, it leaves them as they are until it is told to `standardise_with` more.
    Raises:  ConfigError: the backbone or its weights can't be had.
    """
    branch = config.branches[name]
    dwt = config.dwt if branch.input == "dwt" else None
    channels = 3 if dwt is None else BAND_CHANNELS
    network = backbone(
        branch.backbone,
        channels=channels,
        weights=weights or config.branch_weights(name),
        size=entry_side(config, name),
        options=branch.options,
    )
    if branch.input == "rgb":
        known: Any = network.pretrained_cfg
        statistics = {key: tuple(known.get(key) or default) for key, default in IMAGENET.items()}
    else:
        statistics = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
    spectrum = LogSpectrum(branch.input, config.size) if branch.input in KINDS else None
    return Branch(network, dwt=dwt, statistics=statistics, spectrum=spectrum)


def empty_ensemble(config: CaeNetConfig) -> CaeNet:
    """The ensemble of a configuration with weights that mean nothing, to load a detector's into."""
    branches = {name: new_branch(config, name, weights=SCRATCH) for name in config.branches}
    return CaeNet(branches, fusion=config.fusion, weights=config.fusion_weights)


def entry_side(config: CaeNetConfig, name: str) -> int:
    """Side in pixels of what the network of a branch sees: that of the crops, or of native sub-bands."""
    native = config.branches[name].input == "dwt" and config.dwt == "native"
    return (config.size + 1) // 2 if native else config.size


def _per_channel(numbers: Sequence[float]) -> Tensor:
    """(C,) → (1, C, 1, 1)."""
    return torch.tensor(numbers, dtype=torch.float32).view(1, -1, 1, 1)
