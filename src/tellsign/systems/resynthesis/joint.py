"""The third phase: re-synthesiser and classifiers learn together, each by an optimiser of its own.

He et al. (IJCAI 2021), section 3, train both end to end. Their code builds the re-synthesiser without
gradients, so that it never changes (`frozen = true` here), and its degradations, made in place, would end the
backward pass otherwise: here a copy is degraded.

Shapes: B batch, n stages that are classified, H W pixels, h w of the small image.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tellsign.data.augment import View
from tellsign.engine.checkpoint import weights_digest
from tellsign.engine.classifier import train_network
from tellsign.engine.folder import cache_of
from tellsign.engine.step import new_optimiser
from tellsign.features.residual import downsampled, whole_cells
from tellsign.systems.resynthesis.config import MULTIPLE
from tellsign.systems.resynthesis.degradation import degraded
from tellsign.systems.resynthesis.reconstruction import (
    at_rest,
    drawn_seeds,
    loss_network,
    real_quality,
    reconstruction_losses,
    restoring,
)
from tellsign.types import REAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tellsign.data.manifest import Manifest
    from tellsign.engine.losses import Loss
    from tellsign.systems.resynthesis.config import ResynthesisConfig
    from tellsign.systems.resynthesis.model import Resynthesis
    from tellsign.systems.resynthesis.perceptual import Perceptual

    Say = Callable[[str], None]


class Joint(nn.Module):
    """A detector as the engine trains it: images → logits (B, 2), and what a loss needs besides."""

    def __init__(self, network: Resynthesis, *, restores: bool = True) -> None:
        """Wrap a detector, whose parts are trained as their `requires_grad` says.

        Args:    network: the detector.
                 restores: whether a loss needs what is restored; of a frozen re-synthesiser none does.
        """
        super().__init__()
        self.network = network
        self.restores = restores

    def forward(self, images: Tensor, small: Tensor | None = None) -> Any:
        """Logits of the fused score, or what the loss is made of.

        Args:    images: (B, 3, H, W) in [0, 1].
                 small: (B, 3, h, w) that are restored besides, for the loss.
        Returns: (B, 2); with `small` the logits (B, 2) of each stage, and what was restored (B, 3, 4h, 4w) or
                 None.
        """
        if small is None:
            score = self.network(images)["score"]
            return torch.stack((torch.zeros_like(score), score), dim=1)
        # One call of the whole, as a network that is distributed over processes wants it.
        return self.network.logits(images), self.network.resynthesiser(small) if self.restores else None


def joint_loss(config: ResynthesisConfig, perceptual: Perceptual | None) -> Loss:
    """The cross-entropies of the stages, and on reals the loss of the first phase.

    What is classified is never degraded; what is restored for the second term is, as in the first phase.

    Args:    config: of the system.
             perceptual: of the second term; not used where the re-synthesiser is frozen.
    Returns: a loss of a `Joint` network.
    """
    own = config.joint

    def loss(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, float]]:
        images = whole_cells(images, MULTIPLE)
        small = downsampled(images, config.downsampling)
        small = degraded(small, config.degradation, drawn_seeds(len(small)))
        logits, restored = model(images, small)
        losses = torch.stack(
            [functional.cross_entropy(one.float(), labels, reduction="none") for one in logits]
        ).sum(dim=0)
        figures = {"classes": float(losses.detach().mean())}
        if restored is None:
            return losses, figures
        apart, _ = reconstruction_losses(restored, images, perceptual, config.loss_weights)
        of_reals = torch.where(labels == REAL, apart, 0.0)
        figures["reconstruction"] = float(of_reals.detach().mean())
        return losses + own.reconstruction_weight * of_reals, figures

    return loss


def trained_together(
    network: Resynthesis,
    training: Manifest,
    valid: Manifest,
    config: ResynthesisConfig,
    *,
    run: Path,
    seed: int,
    say: Say,
) -> dict[str, Any]:
    """Train all of a detector, or go on.

    Args:    network: trained by the phases before; it gets the weights of the epoch with the best AUROC.
             training, valid: labelled images; the best epoch is chosen on `valid`.
             config: of the system. run: folder of all trainings. seed: of everything random.
             say: told of progress.
    Returns: what the best epoch came to, and how reals of `valid` are restored before and after.
    Raises:  ConfigError, ManifestError: as `train_network` does.
    """
    own, options = config.joint, config.joint_training
    reals = valid.filter(label=REAL)
    before = real_quality(network.resynthesiser, reals, config, run=run)
    start = weights_digest(network)
    network.resynthesiser.requires_grad_(not own.frozen)
    network.classifiers.requires_grad_(True)

    def optimisers() -> dict[str, torch.optim.Optimizer]:
        found = {"classifiers": new_optimiser(network.classifiers, options)}
        if not own.frozen:
            rate = own.resynthesiser_rate
            by_adam = replace(options, optimiser="adam", learning_rate=rate, weight_decay=0.0)
            found["resynthesiser"] = new_optimiser(network.resynthesiser, by_adam)
        return found

    result = train_network(
        Joint(network, restores=not own.frozen),
        training,
        valid,
        View(config.size, flip=config.flip),
        options,
        run=run / "joint",
        seed=seed,
        identity={"detector": "resynthesis", "phase": 3, "classes": 2, "joint": asdict(own)}
        | {"stages": list(config.stages), "fusion": config.fusion, **restoring(config), "start": start},
        loss=joint_loss(config, None if own.frozen else loss_network(config)),
        optimisers=optimisers,
        max_crops=config.max_crops,
        cache=cache_of(run, config.training),
        say=lambda text: say(f"together: {text}"),
    )
    at_rest(network)
    after = real_quality(network.resynthesiser, reals, config, run=run)
    decibels = " and ".join(f"{found['psnr']:.2f}" for found in (before, after))
    say(f"together: PSNR of the validation reals before and after: {decibels} dB")
    return {"best": dict(result.best), "reals_before": before, "reals_after": after}
