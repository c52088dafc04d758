"""What a network is trained to lower, and which images an epoch shows it: the answers to unequal classes.

Two wrappers take any loss: one has half of the images attacked, one adds the attention outside the face.

Shapes: B batch, N samples, M samples of an epoch, S side of a crop, D numbers of a descriptor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tellsign.engine.scores import beside_crops, evaluating
from tellsign.nn.attention import attention_outside, box_masks, cam_layer, observed
from tellsign.types import FAKE, REAL, ConfigError, ManifestError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.engine.config import Balance, TrainingConfig
    from tellsign.nn.attention import CamLayer

# model, images (B, 3, S, S), labels (B,), and by name what the training has besides: boxes (B, 4) of faces,
# and descriptors (B, D) of the images → losses (B,), and named figures for the record, means over B.
Loss = Callable[..., tuple[Tensor, dict[str, float]]]

FOCUS = 2.0  # γ of the focal loss, the published value


def cross_entropy(
    model: nn.Module, images: Tensor, labels: Tensor, *, descriptors: Tensor | None = None
) -> tuple[Tensor, dict[str, float]]:
    """The cross-entropy of each image.

    Args:    model: images, and descriptors where there are some → logits (B, 2).
             images: (B, 3, S, S). labels: (B,) 0 or 1. descriptors: (B, D), or none.
    Returns: losses (B,) float32, and no other figure.
    """
    logits = model(images, *beside_crops(descriptors))
    return functional.cross_entropy(logits.float(), labels, reduction="none"), {}


def focal(
    model: nn.Module, images: Tensor, labels: Tensor, **more: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """The focal loss of each image, which counts little where the network is sure and right.

    Implements Lin et al. (2017), eq. 4, with γ = 2. Deviates: without the class weight α of eq. 5, since
    weights are a strategy of their own here.

    Args:    model, images, labels, more: as for `cross_entropy`.
    Returns: losses (B,) float32, and no other figure.
    """
    losses, figures = cross_entropy(model, images, labels, **more)
    # 1 - p by expm1, which keeps its digits where p is nearly 1.
    return (-(-losses).expm1()).pow(FOCUS) * losses, figures


def weighted(labels: Sequence[int]) -> Loss:
    """Cross-entropy in which both classes weigh the same in total.

    A sample's weight is N / (2 · samples of its class), so that the mean weight over an epoch is 1. The
    losses of a batch are divided by its size, and not by its weights, whose sum is another in every batch.

    Args:    labels: of the training set, (N,).
    Returns: a loss.
    """
    counts = np.bincount(np.asarray(labels), minlength=2)
    real, fake = (len(labels) / (2 * int(count)) for count in counts)

    def loss(
        model: nn.Module, images: Tensor, labels: Tensor, **more: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        losses, figures = cross_entropy(model, images, labels, **more)
        return losses * losses.new_tensor([real, fake])[labels], figures

    return loss


def balanced_loss(balance: Balance, labels: Sequence[int]) -> Loss:
    """The loss of a strategy against unequal classes.

    Args:    balance: weighted and focal change the loss; the others take plain cross-entropy.
             labels: of the training set, (N,) with both classes.
    Returns: a loss.
    """
    if balance == "weighted":
        return weighted(labels)
    return focal if balance == "focal" else cross_entropy


def training_loss(plain: Loss, model: nn.Module, config: TrainingConfig) -> Loss:
    """A loss with what the options of a training add to it.

    Args:    plain: of the classes. model: it is of. config: of the training.
    Returns: the loss itself where nothing is asked for; else it takes boxes where attention has a weight.
    Raises:  ConfigError: nobody knows from which layer the attention of such a network is read.
    """
    if config.attention_weight:
        plain = attentive(plain, config.attention_weight, cam_layer(model))
    return adversarial(plain, config.adversarial_eps) if config.adversarial_eps else plain


def adversarial(plain: Loss, eps: float) -> Loss:
    """A loss of which half of the images are attacked before the network learns from them.

    Implements Kurakin, Goodfellow and Bengio, "Adversarial Machine Learning at Scale" (ICLR 2017), algorithm
    1: in every batch half of the images, drawn at random, give way to what one step along the sign of the
    cross-entropy's gradient makes of them (Goodfellow, Shlens and Szegedy, 2015), each with an ε of its own
    from their truncated normal distribution, |N(0, eps / 2)| up to eps, so that no single ε is learnt by
    heart. Deviates: attacked images weigh as much as others (theirs 0.3), as the cost of two equal halves in
    Goodfellow et al.; the gradient is that of the true label, which the attack in the evaluation uses as
    well; and it is taken in evaluation mode, so that the statistics of a batch normalisation are those of the
    images that are learnt from.

    Args:    plain: the loss of the images then.
             eps: largest change of a pixel value in [0, 1], above 0.
    Returns: a loss. All that is random comes from PyTorch's state on the CPU, the same for every device.
    """

    def loss(
        model: nn.Module, images: Tensor, labels: Tensor, **more: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        n, descriptors = len(images), more.get("descriptors")
        # Of an odd batch one more or one less, so that it is half of the images on average.
        count = (n + int(torch.randint(2, ()))) // 2
        chosen = torch.randperm(n)[:count].to(images.device)
        sizes = eps * torch.nn.init.trunc_normal_(torch.empty(count, 1, 1, 1), std=0.5, a=-1, b=1).abs()
        if count:
            part = images[chosen]
            beside = None if descriptors is None else descriptors[chosen]
            step = _ascent(model, part, labels[chosen], beside)
            images = images.clone()
            images[chosen] = (part + sizes.to(part) * step).clamp(0, 1)
        return plain(model, images, labels, **more)

    return loss


def _ascent(model: nn.Module, images: Tensor, labels: Tensor, descriptors: Tensor | None) -> Tensor:
    """(B, 3, S, S) signs of the gradient of the cross-entropy; nothing of it reaches the parameters."""
    # Without what distributes a model, whose processes may have other numbers of images to attack.
    network = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    x = images.detach().requires_grad_()
    with evaluating(network), torch.enable_grad():
        losses, _ = cross_entropy(network, x, labels, descriptors=descriptors)
        (gradient,) = torch.autograd.grad(losses.sum(), x)
    return gradient.sign()


def attentive(plain: Loss, weight: float, layer: CamLayer) -> Loss:
    """A loss with the share of a network's attention outside the face added.

    The share is that of the mass of Grad-CAM at the output for fake, of the same forward pass; an image
    without a face, whose box has no area, adds nothing.

    Args:    plain: the loss without it.
             weight: of the share, above 0.
             layer: of the network, whose map it is.
    Returns: a loss that takes boxes (B, 4); its figure `attention_outside` is the mean
             share, over all images.
    """

    def loss(
        model: nn.Module, images: Tensor, labels: Tensor, *, boxes: Tensor, **more: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        with observed(model, layer) as seen:
            losses, figures = plain(model, images, labels, **more)
        shares = attention_outside(seen.maps(create_graph=True), box_masks(boxes, *images.shape[2:]))
        return losses + weight * shares, {**figures, "attention_outside": float(shares.detach().mean())}

    return loss


def epoch_order(labels: Sequence[int], balance: Balance, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Which samples an epoch shows, and when.

    plain, weighted, focal: each sample once. over: each sample of the larger class once, those of the smaller
    as often, each of them equally often but for one. under: each sample of the smaller class once, as many of
    the larger, drawn anew for every epoch.

    Args:    labels: of the training set, (N,) with both classes.
             balance: the strategy.
             seed: of the training. epoch: 0, 1, …
    Returns: (M,) positions in `labels`, shuffled; the same for the same arguments.
    Raises:  ManifestError: a class is missing. ConfigError: seed or epoch is negative.
    """
    rng = order_rng(seed, epoch)
    rows = np.asarray(labels)
    smaller, larger = sorted((np.flatnonzero(rows == label) for label in (REAL, FAKE)), key=len)
    if not len(smaller):
        raise ManifestError(f"training needs both classes, found {len(larger)} samples of one alone")
    if balance == "over":
        whole, rest = divmod(len(larger), len(smaller))
        repeated = [np.tile(smaller, whole), rng.choice(smaller, rest, replace=False)]
        rows = np.concatenate([larger, *repeated])
    elif balance == "under":
        rows = np.concatenate([smaller, rng.choice(larger, len(smaller), replace=False)])
    else:
        rows = np.arange(len(rows))
    return rng.permutation(rows).astype(np.int64)


def order_rng(seed: int, epoch: int) -> np.random.Generator:
    """The source of all that is random in the order of an epoch; ConfigError where a number is negative."""
    if seed < 0 or epoch < 0:
        raise ConfigError(f"seed and epoch are not negative, found {seed} and {epoch}")
    # A stream apart from those of the samples' augmentation, which begin with the same two numbers.
    return np.random.default_rng(np.random.SeedSequence((seed, epoch), spawn_key=(0,)))


def epoch_length(labels: Sequence[int], balance: Balance) -> int:
    """M, the number of samples that an epoch of `epoch_order` shows."""
    counts = np.bincount(np.asarray(labels), minlength=2)
    return int({"over": 2 * counts.max(), "under": 2 * counts.min()}.get(balance, len(labels)))
