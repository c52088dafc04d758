"""What a network is trained to lower, and which images an epoch shows it: the answers to unequal classes.

Shapes: B batch, N samples, M samples of an epoch, S side of a crop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from tellsign.types import FAKE, REAL, ConfigError, ManifestError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.engine.config import Balance

# model, images (B, 3, S, S), labels (B,) → losses (B,), and named figures for the record, means over B.
Loss = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, dict[str, float]]]

FOCUS = 2.0  # γ of the focal loss, the published value


def cross_entropy(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, float]]:
    """The cross-entropy of each image.

    Args:    model: images → logits (B, 2). images: (B, 3, S, S). labels: (B,) 0 or 1.
    Returns: losses (B,) float32, and no other figure.
    """
    return functional.cross_entropy(model(images).float(), labels, reduction="none"), {}


def focal(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, float]]:
    """The focal loss of each image, which counts little where the network is sure and right.

    Implements Lin et al. (2017), eq. 4, with γ = 2. Deviates: without the class weight α of eq. 5, since
    weights are a strategy of their own here.

    Args:    model, images, labels: as for `cross_entropy`.
    Returns: losses (B,) float32, and no other figure.
    """
    losses, figures = cross_entropy(model, images, labels)
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

    def loss(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, float]]:
        losses, figures = cross_entropy(model, images, labels)
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
    if seed < 0 or epoch < 0:
        raise ConfigError(f"seed and epoch are not negative, found {seed} and {epoch}")
    # A stream apart from those of the samples' augmentation, which begin with the same two numbers.
    rng = np.random.default_rng(np.random.SeedSequence((seed, epoch), spawn_key=(0,)))
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


def epoch_length(labels: Sequence[int], balance: Balance) -> int:
    """M, the number of samples that an epoch of `epoch_order` shows."""
    counts = np.bincount(np.asarray(labels), minlength=2)
    return int({"over": 2 * counts.max(), "under": 2 * counts.min()}.get(balance, len(labels)))
