"""The first phase: the re-synthesiser learns to restore real images that were shrunk, and is judged by PSNR.

He et al. (IJCAI 2021), equations 1 and 3. The published sums of absolute differences are means here, so that
the weights of the stages mean the same for patches of any size.

Shapes: B batch, M crops, H W pixels, h w of the small image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tellsign.data.augment import View
from tellsign.engine.checkpoint import weights_digest
from tellsign.engine.distributed import this_process
from tellsign.engine.folder import cache_of
from tellsign.engine.reals import require_reals, train_on_reals
from tellsign.engine.scores import image_values
from tellsign.features.residual import downsampled
from tellsign.systems.resynthesis.degradation import degraded
from tellsign.systems.resynthesis.perceptual import Perceptual, perceptual_network
from tellsign.systems.resynthesis.quality import enlarged, quality
from tellsign.systems.resynthesis.restoring import restorer
from tellsign.types import ManifestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tellsign.data.loading import Batch
    from tellsign.data.manifest import Manifest
    from tellsign.engine.folder import TrainingResult
    from tellsign.systems.resynthesis.config import ResynthesisConfig
    from tellsign.systems.resynthesis.model import Residuals
    from tellsign.systems.resynthesis.rdn import ResidualDenseNetwork

    Say = Callable[[str], None]

RIVALS = ("bicubic", "bilinear")  # what a re-synthesiser is compared with
# Of restored reals: by the re-synthesiser, and by interpolation.
QUALITY = ("psnr", "ssim", *(f"{name}_{rival}" for rival in RIVALS for name in ("psnr", "ssim")))
SEEDS = 2**62  # of degradations


def trained_resynthesiser(
    network: ResidualDenseNetwork,
    reals: Manifest,
    valid: Manifest,
    config: ResynthesisConfig,
    *,
    run: Path,
    seed: int,
    say: Say = lambda text: None,
) -> TrainingResult:
    """Train a re-synthesiser on real images, or go on.

    What is random of a degradation follows from the seed, the epoch and the step, as all that is random does.

    Args:    network: it gets the weights of the epoch with the best PSNR.
             reals: real images. valid: real images, on which the best epoch is chosen.
             config: of the system. run: folder of all trainings. seed: of everything random.
             say: told of progress.
    Returns: best epoch, with PSNR and SSIM beside those of interpolation.
    Raises:  ManifestError: there is a fake among them, or images can't be used. ConfigError: the perceptual
             network can't be had, or as `train_on_reals`.
    """
    own = config.reconstruction
    perceptual = loss_network(config)

    def losses(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        images = turned(batch.images) if own.turns else batch.images
        small = downsampled(images, config.downsampling)
        restored = model(degraded(small, config.degradation, drawn_seeds(len(small))))
        return reconstruction_losses(restored, images, perceptual, config.loss_weights)

    result = train_on_reals(
        network.requires_grad_(True).train(),
        reals,
        valid,
        View(own.patch, flip=config.flip),
        own.training,
        losses=losses,
        values=lambda crops: restored_quality(network, crops, config.downsampling),
        names=QUALITY,
        best={"psnr": "highest"},
        times=own.views,
        run=run / "reconstruction",
        seed=seed,
        identity={"detector": "resynthesis", "phase": 1, "turns": own.turns}
        | restoring(config)
        | {"start": weights_digest(network)},
        cache=cache_of(run, own.training),
        say=lambda text: say(f"re-synthesiser: {text}"),
    )
    at_rest(network)
    return result


def loss_network(config: ResynthesisConfig) -> Perceptual | None:
    """The perceptual network that restored images are compared by; None where they are by pixels alone."""
    if not config.loss_stages:
        return None
    # Weights "scratch" are random: a training that is resumed must look through the same ones.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return perceptual_network(config.perceptual, config.loss_stages)


def reconstruction_losses(
    restored: Tensor, images: Tensor, perceptual: Perceptual | None, weights: Sequence[float]
) -> tuple[Tensor, dict[str, float]]:
    """How far restored images are from what they were, in pixels and in stages of the perceptual network.

    Implements He et al. (2021), eq. 3. Deviates: means in place of sums, see above.

    Args:    restored, images: (B, 3, H, W).
             perceptual: of as many stages as have a weight; None: pixels alone. It is moved to their device.
             weights: of the pixels and of the stages, the first one first.
    Returns: losses (B,) float32, and the means over B of the part of the pixels and of that of the stages.
    """
    pixels = (restored - images).abs().float().mean(dim=(1, 2, 3))
    losses = weights[0] * pixels
    figures = {"pixels": float(pixels.detach().mean())}
    last = max((stage for stage, weight in enumerate(weights) if weight), default=0)
    if perceptual is None or not last:
        return losses, figures
    network = perceptual.to(images.device)
    with torch.no_grad():
        targets = network(images, last)
    stages = torch.zeros_like(losses)
    for weight, ours, target in zip(weights[1:], network(restored, last), targets, strict=False):
        if weight:
            stages = stages + weight * (ours - target).abs().float().mean(dim=(1, 2, 3))
    return losses + stages, figures | {"stages": float(stages.detach().mean())}


def turned(images: Tensor) -> Tensor:
    """Square images turned by 90 degrees and upside down, each in half of all cases.

    Args:    images: (B, C, H, H).
    Returns: (B, C, H, H); what is random comes from PyTorch's state.
    """
    quarter, upside = (torch.rand(2, len(images), 1, 1, 1) < 0.5).to(images.device)
    images = torch.where(quarter, images.rot90(1, dims=(2, 3)), images)
    return torch.where(upside, images.flip(2), images)


def drawn_seeds(n: int) -> list[int]:
    """As many seeds from PyTorch's state, which the engine sets at each step."""
    return [int(seed) for seed in torch.randint(SEEDS, (n,)).tolist()]


def restored_quality(network: nn.Module, crops: Tensor, downsampling: str) -> Tensor:
    """PSNR and SSIM of crops that were shrunk and restored, by a network and by interpolation.

    Args:    network: (M, 3, h, w) → (M, 3, 4h, 4w). crops: (M, 3, H, W) in [0, 1], whole cells.
             downsampling: how they are shrunk.
    Returns: (M, 6), the values of `QUALITY`.
    """
    small = downsampled(crops, downsampling)
    restored = (network(small).float(), *(enlarged(small, rival) for rival in RIVALS))
    return torch.stack([value for one in restored for value in quality(one, crops)], dim=1)


def image_quality(residuals: Residuals, image: Tensor) -> dict[str, float]:
    """How well an image of any size is restored, tile by tile, and how well interpolation does it.

    Args:    residuals: with a `ResidualDenseNetwork`, in evaluation mode.
             image: (3, H, W) in [0, 1], whole cells.
    Returns: the values of `QUALITY`.
    Raises:  TooSmallError: it is smaller than 19 x 19 pixels.
    """
    small, whole = downsampled(image[None], residuals.downsampling), image[None]
    restored = torch.from_numpy(restorer(residuals)(image.numpy()))[None]
    found = (restored, *(enlarged(small, rival) for rival in RIVALS))
    values = [float(value) for one in found for value in quality(one, whole)]
    return dict(zip(QUALITY, values, strict=True))


def real_quality(
    network: nn.Module, reals: Manifest, config: ResynthesisConfig, *, run: Path | None = None
) -> dict[str, float]:
    """How well a re-synthesiser restores real images, in a patch in the middle of each.

    Args:    network: the re-synthesiser; left on the CPU. reals: real images. config: of the system.
             run: folder of all trainings, where decoded images may lie.
    Returns: the values of `QUALITY`, means over the images that can be used.
    Raises:  ManifestError: there is a fake among them, or no image can be used.
    """
    require_reals(reals, "what a re-synthesiser is judged on")
    options = config.reconstruction.training
    found, _ = image_values(
        network.to(this_process(options.device).device),
        lambda crops: restored_quality(network, crops, config.downsampling),
        len(QUALITY),
        reals,
        View(config.reconstruction.patch).network_input(),
        batch_size=options.batch_size,
        workers=options.workers,
        cache=None if run is None else cache_of(run, options),
    )
    at_rest(network)
    usable = np.isfinite(found).all(axis=1)
    if not usable.any():
        raise ManifestError(
            f"none of {len(reals)} real images could be restored: they can't be read, or are smaller than a "
            f"patch of {config.reconstruction.patch} pixels"
        )
    return dict(zip(QUALITY, found[usable].mean(axis=0).tolist(), strict=True))


def restoring(config: ResynthesisConfig) -> dict[str, Any]:
    """The options that a trained re-synthesiser depends on, as plain values, without its training's."""
    own = config.network
    return {
        "sizes": [own.features, own.growth, own.blocks, own.layers],
        "downsampling": config.downsampling,
        "degradation": config.degradation,
        "loss_weights": list(config.loss_weights),
        "perceptual": config.perceptual_identity() if config.loss_stages else "none",
    }


def at_rest(network: nn.Module) -> None:
    """A trained network as it is saved and begun with: on the CPU, in one layout, in evaluation mode."""
    network.cpu().to(memory_format=torch.contiguous_format).eval()
