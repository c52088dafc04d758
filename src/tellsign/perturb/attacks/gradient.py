"""Attacks along the gradient: FGSM, PGD and Auto-PGD, all in the maximum norm.

Pure functions of a score function on tensors. PyTorch is imported when one is called. Every attack keeps
|adversarial - image| ≤ eps and pixels in [0, 1], to the rounding of the images' type. All of an image's state
(step, best, random numbers) is its own: its neighbours touch it through the rounding of `score` alone.

Shapes: B batch, C channels, H W pixels, T steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tellsign.perturb.attacks.score import check_count, check_eps, margin_gradient
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from tellsign.perturb.attacks.score import TensorScore
    from tellsign.types import FloatArray

MOMENTUM = 0.75  # α of Auto-PGD: share of the gradient step, the rest is the last move
RISING = 0.75  # ρ of Auto-PGD: share of steps since the last checkpoint that must have raised the loss


@dataclass(frozen=True, slots=True, eq=False)
class Adversarial:
    """What an attack along the gradient found."""

    images: Tensor  # (B, 3, H, W), the best visited
    margin: Tensor  # (B,) of these; negative where the decision is wrong
    trace: FloatArray  # (T + 1, B) margin after each step, the start first, not the best so far; last restart


def fgsm(score: TensorScore, images: Tensor, labels: Tensor, *, eps: float, threshold: float) -> Adversarial:
    """One step of eps along the sign of the gradient.

    Implements Goodfellow, Shlens and Szegedy (2015), eq. in section 4. Deviates: none.

    Args:    score: (B, 3, H, W) → (B,), differentiable.
             images: (B, 3, H, W) in [0, 1].
             labels: (B,) 0 real, 1 fake.
             eps: largest change of a pixel value.
             threshold: score from which on an image is called fake.
    Returns: the stepped images, better or not.
    Raises:  ConfigError: eps is out of range, or `score` gives no gradient.
    """
    check_eps(eps)
    before, gradient = margin_gradient(score, images, labels, threshold)
    stepped = _Box(images, eps).nearest(images - eps * gradient.sign())
    after = margin_gradient(score, stepped, labels, threshold)[0]
    return Adversarial(stepped, after, np.stack([_array(before), _array(after)]))


def pgd(
    score: TensorScore,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    threshold: float,
    steps: int = 40,
    step: float | None = None,
    restarts: int = 1,
    rngs: Sequence[np.random.Generator] | None = None,
) -> Adversarial:
    """Steps along the sign of the gradient, each projected back to where the attack may go.

    Implements Madry et al. (2018), section 2.1, with the step of their experiments, 2.5 eps / steps.
    Deviates: returns the best image visited, the given one included, where theirs is the last.

    Args:    score, images, labels, eps, threshold: as for `fgsm`.
             steps: of each restart.
             step: size of a step in pixel values; None is 2.5 eps / steps.
             restarts: starts from random points within eps of the image.
             rngs: one an image, for these points; None starts from the image itself, once.
    Returns: the best images of all restarts.
    Raises:  ConfigError: an option is out of range, or `score` gives no gradient.
    """
    import torch

    check_eps(eps)
    check_count("steps", steps)
    check_count("restarts", restarts)
    if step is not None and not 0 < step <= 1:
        raise ConfigError(f"step is a change of pixel values in [0, 1], above 0, found {step!r}")
    size = 2.5 * eps / steps if step is None else step
    box, best = _Box(images, eps), _Best(images, margin_gradient(score, images, labels, threshold)[0])
    trace: list[FloatArray] = []
    for _ in range(1 if rngs is None else restarts):
        x = images if rngs is None else box.random(rngs)
        trace = []
        for k in range(steps + 1):
            margin, gradient = margin_gradient(score, x, labels, threshold)
            best.update(x, margin)
            trace.append(_array(margin))
            if k < steps:
                x = box.nearest(torch.sub(x, gradient.sign(), alpha=size))
    return Adversarial(best.images, best.margin, np.stack(trace))


def apgd_ce(
    score: TensorScore,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    threshold: float,
    rngs: Sequence[np.random.Generator],
    steps: int = 100,
    restarts: int = 1,
) -> Adversarial:
    """Auto-PGD on the cross-entropy: momentum, and steps that are halved where the loss no longer rises.

    Implements Croce and Hein (2020), algorithm 1, with their α, ρ and checkpoints. Deviates: the given image
    counts among those visited; the loss is -margin, which takes the same steps (head of `score`).

    Args:    score, images, labels, eps, threshold: as for `fgsm`.
             rngs: one an image, for the random starts.
             steps: of each restart.
             restarts: starts from random points within eps of the image.
    Returns: the best images of all restarts.
    Raises:  ConfigError: an option is out of range, or `score` gives no gradient.
    """
    check_eps(eps)
    check_count("steps", steps)
    check_count("restarts", restarts)
    box, best = _Box(images, eps), _Best(images, margin_gradient(score, images, labels, threshold)[0])
    trace: list[FloatArray] = []
    for _ in range(restarts):
        found, trace = _one_auto_pgd(
            score, box, labels, threshold=threshold, start=box.random(rngs), steps=steps
        )
        best.update(found.images, found.margin)
    return Adversarial(best.images, best.margin, np.stack(trace))


def checkpoints(steps: int) -> list[int]:
    """The steps after which Auto-PGD looks back: at shares 0.22, 0.41, 0.57, ... of all, ever closer.

    Args:    steps: of the attack.
    Returns: ascending, without 0; the last is at most `steps`.

    Example:
        >>> checkpoints(100)
        [22, 41, 57, 70, 80, 87, 93, 99]
    """
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        # Rounded, since 0.87 + 0.06 + 0.06 must not end above 0.99.
        shares.append(round(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06), 9))
    found = {math.ceil(round(share * steps, 6)) for share in shares[1:-1]}
    return sorted(found)


def _one_auto_pgd(
    score: TensorScore, box: _Box, labels: Tensor, *, threshold: float, start: Tensor, steps: int
) -> tuple[_Best, list[FloatArray]]:
    import torch

    x = previous = start
    margin, gradient = margin_gradient(score, x, labels, threshold)
    best = _Best(x, margin, gradient)
    trace = [_array(margin)]
    size = torch.full_like(margin, 2 * box.eps)
    rises, halved, looked, margin_then = torch.zeros_like(margin), torch.zeros_like(margin) > 0, 0, margin
    marks = set(checkpoints(steps))
    for k in range(1, steps + 1):
        stepped = box.nearest(x - _each(size) * gradient.sign())
        share = 1.0 if k == 1 else MOMENTUM
        moved = box.nearest(x + share * (stepped - x) + (1 - share) * (x - previous))
        previous, x, before = x, moved, margin
        margin, gradient = margin_gradient(score, x, labels, threshold)
        trace.append(_array(margin))
        best.update(x, margin, gradient)
        rises += margin < before
        if k in marks:
            stuck = ~halved & (best.margin == margin_then)
            halved = (rises < RISING * (k - looked)) | stuck
            size = torch.where(halved, size / 2, size)
            x = torch.where(_each(halved), best.images, x)
            margin = torch.where(halved, best.margin, margin)
            assert best.gradient is not None
            gradient = torch.where(_each(halved), best.gradient, gradient)
            rises, looked, margin_then = torch.zeros_like(rises), k, best.margin
    return best, trace


def _array(margin: Tensor) -> FloatArray:
    """(B,) tensor → (B,) float64."""
    return np.asarray(margin.double().cpu().numpy())


def _each(values: Tensor) -> Tensor:
    """(B,) → (B, 1, 1, 1)."""
    return values[:, None, None, None]


class _Box:
    """Where an attack may go: within eps of the images, and in [0, 1]."""

    def __init__(self, images: Tensor, eps: float) -> None:
        self.images, self.eps = images, eps
        self.low, self.high = (images - eps).clamp(0, 1), (images + eps).clamp(0, 1)

    def nearest(self, points: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, 3, H, W) within."""
        return points.clamp(self.low, self.high)

    def random(self, rngs: Sequence[np.random.Generator]) -> Tensor:
        """(B, 3, H, W) points drawn evenly within eps of each image, moved into [0, 1]."""
        noise = np.stack([rng.uniform(-1, 1, self.images.shape[1:]) for rng in rngs])
        return self.nearest(self.images + self.eps * self.images.new_tensor(noise))


class _Best:
    """The images with the lowest margins so far."""

    def __init__(self, images: Tensor, margin: Tensor, gradient: Tensor | None = None) -> None:
        self.images, self.margin, self.gradient = images, margin, gradient

    def update(self, images: Tensor, margin: Tensor, gradient: Tensor | None = None) -> None:
        """Take over each image that is better."""
        import torch

        better = margin < self.margin
        self.images = torch.where(_each(better), images, self.images)
        self.margin = torch.where(better, margin, self.margin)
        if self.gradient is not None and gradient is not None:
            self.gradient = torch.where(_each(better), gradient, self.gradient)
