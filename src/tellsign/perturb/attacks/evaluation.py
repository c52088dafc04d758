"""What attacks do to a detector, and whether their numbers can be believed.

An attack that finds nothing proves robustness only if it can be trusted: a rounded or saturated score hides
its gradient and looks robust. `masking_report` looks for the signs that Athalye, Carlini and Wagner (2018),
section 3.1, name.

Shapes: B batch, H W pixels, T steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import metrics
from tellsign.perturb.attacks.attack import Attack
from tellsign.perturb.attacks.score import (
    array_margins,
    check_batch,
    check_eps,
    content_keys,
    cross_entropy,
    device_and_type,
    is_module,
    module_score,
    streams,
)
from tellsign.types import FAKE, REAL, ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tellsign.perturb.attacks.score import ArrayScore, Labels
    from tellsign.types import FloatArray

N_NOISE = 20  # draws of noise an image, whose best must not beat an attack of as many steps
STEPS = (1, 5, 20)  # of PGD, each with its own step size
GROWTH = (1.0, 2.0, 4.0)  # of eps
RISEN = 0.95  # share of images whose loss must rise along the attack
SLACK = 0.01  # of an accuracy, or one image where that is more


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attack on one detector."""

    attack: str  # its name
    n: int  # images
    clean_accuracy: float
    attacked_accuracy: float
    clean_auroc: float | None  # None where a class is missing
    attacked_auroc: float | None
    success: float | None  # share of the rightly decided images that flip; None where none was right


@dataclass(frozen=True, slots=True)
class Check:
    """One sign of gradient masking, looked for."""

    name: str
    passed: bool
    expected: str  # what an honest gradient does, in words
    numbers: dict[str, float]  # what was found


@dataclass(frozen=True, slots=True)
class MaskingReport:
    """All checks of one detector at one eps."""

    eps: float
    n: int  # images
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether no sign of gradient masking was found."""
        return all(check.passed for check in self.checks)


def outcome(
    labels: Labels, clean: FloatArray, attacked: FloatArray, *, threshold: float, attack: str
) -> Outcome:
    """What an attack did, from scores alone.

    Args:    labels: (B,) 0 real, 1 fake.
             clean, attacked: (B,) scores of the same images before and after.
             threshold: score from which on an image is called fake.
             attack: name of the attack.
    Returns: accuracies, AUROCs and the success rate.
    Raises:  ConfigError: NaN, no rows, or lengths differ.
    """
    labels, clean, attacked = np.asarray(labels), np.asarray(clean), np.asarray(attacked)
    before = metrics.accuracy(labels, clean, threshold=threshold)
    after = metrics.accuracy(labels, attacked, threshold=threshold)
    both = {REAL, FAKE} <= set(labels.tolist())
    is_fake = labels == FAKE
    right = (clean >= threshold) == is_fake
    flipped = right & ((attacked >= threshold) != is_fake)
    return Outcome(
        attack=attack,
        n=len(labels),
        clean_accuracy=before,
        attacked_accuracy=after,
        clean_auroc=metrics.auroc(labels, clean) if both else None,
        attacked_auroc=metrics.auroc(labels, attacked) if both else None,
        success=float(flipped.sum() / right.sum()) if right.any() else None,
    )


def masking_report(
    module: Any,
    images: FloatArray,
    labels: Labels,
    *,
    threshold: float,
    eps: float,
    seed: int,
    keys: Sequence[str] | None = None,
    queries: int = 200,
    batch_size: int = 16,
) -> MaskingReport:
    """Whether a module's gradient leads attacks astray, so that it only looks robust.

    Not rounded to 8 bits, so that what is seen comes from the module. A report that passes is no proof.

    Args:    module: nn.Module, (B, 3, H, W) in [0, 1] → (B,), in evaluation mode.
             images: (B, 3, H, W) float32 in [0, 1]; some dozens.
             labels: (B,) 0 real, 1 fake.
             threshold: score from which on an image is called fake.
             eps: largest change of a pixel value, above 0.
             seed: of the run.
             queries: of the black-box attack.
             keys, batch_size: as for `Attack.run`.
    Returns: five checks with their numbers.
    Raises:  ConfigError: as for `Attack.run`, or the target is no module.
    """
    check_batch(images, labels)
    check_eps(eps)
    if not is_module(module) or eps == 0:
        raise ConfigError(
            f"gradient masking is looked for in a PyTorch module and at an eps above 0, found "
            f"{type(module).__name__} and {eps!r}"
        )
    images = np.asarray(images, dtype=np.float32)
    keys = keys or content_keys(images)
    score = module_score(module)
    options: dict[str, Any] = {"threshold": threshold, "seed": seed, "keys": keys, "batch_size": batch_size}

    def margin_after(attack: Attack) -> FloatArray:
        found = attack.run(module, images, labels, **options)
        return array_margins(score, found, labels, threshold)

    more = [margin_after(Attack("pgd", eps=eps, steps=steps, quantise=False)) for steps in STEPS]
    larger = [
        margin_after(Attack("pgd", eps=min(1.0, growth * eps), steps=STEPS[-1], quantise=False))
        for growth in GROWTH[1:]
    ]
    white = more[-1]
    noise = _noise_margin(score, images, labels, threshold=threshold, eps=eps, rngs=streams(seed, keys))
    black = margin_after(Attack("square", eps=eps, queries=queries, quantise=False))
    checks = (
        _no_rise(
            "more steps",
            "accuracy doesn't rise with the steps of PGD",
            dict(zip(STEPS, more, strict=True)),
            labels,
        ),
        _no_rise(
            "larger eps",
            "accuracy doesn't rise with eps",
            dict(zip((growth * eps for growth in GROWTH), [white, *larger], strict=True)),
            labels,
        ),
        _rising_loss(_trace(module, images, labels, threshold, eps=eps, batch_size=batch_size)),
        _not_better(
            "random noise", f"the best of {N_NOISE} draws of noise doesn't beat PGD", noise, white, labels
        ),
        _not_better("black box", f"Square with {queries} queries doesn't beat PGD", black, white, labels),
    )
    return MaskingReport(eps, len(images), checks)


def _accuracy(margin: FloatArray, labels: Labels) -> float:
    """Share decided rightly; at the threshold itself an image is called fake."""
    return float(np.mean((margin > 0) | ((margin == 0) & (np.asarray(labels) == FAKE))))


def _slack(n: int) -> float:
    return max(SLACK, 1 / n)


def _no_rise(name: str, expected: str, found: Mapping[float, FloatArray], labels: Labels) -> Check:
    accuracies = [_accuracy(margin, labels) for margin in found.values()]
    rise = max(later - min(accuracies[: i + 1]) for i, later in enumerate(accuracies))
    numbers = {f"accuracy at {setting:g}": value for setting, value in zip(found, accuracies, strict=True)}
    return Check(name, rise <= _slack(len(labels)) + 1e-12, expected, numbers | {"largest rise": rise})


def _not_better(name: str, expected: str, other: FloatArray, white: FloatArray, labels: Labels) -> Check:
    """Whether another way beats PGD: in accuracy, or in the mean margin by more than rounding."""
    theirs, ours = _accuracy(other, labels), _accuracy(white, labels)
    deeper = float(white.mean() - other.mean())
    passed = ours - theirs <= _slack(len(labels)) + 1e-12 and deeper <= 1e-6 * float(np.abs(white).mean())
    numbers = {
        f"accuracy, {name}": theirs,
        "accuracy, PGD": ours,
        f"mean margin, {name}": float(other.mean()),
        "mean margin, PGD": float(white.mean()),
    }
    return Check(name, passed, expected, numbers)


def _rising_loss(trace: FloatArray) -> Check:
    """Whether the loss rises from the image on: for each image, and on average from quarter to quarter."""
    loss = cross_entropy(trace)
    risen = float(np.mean(trace.min(axis=0) < trace[0]))
    falling = float(np.mean(np.diff(trace, axis=0) > 0))
    at = np.linspace(0, len(trace) - 1, 5).round().astype(int)
    mean = trace.mean(axis=1)
    passed = risen >= RISEN and bool(mean[-1] < mean[0]) and falling <= 0.5
    numbers = {f"mean loss after {k} steps": float(loss[k].mean()) for k in at}
    numbers |= {"share of images whose loss rose": risen, "share of steps that lowered it": falling}
    expected = f"from the image itself, the loss of {RISEN:.0%} of the images rises, and most steps raise it"
    return Check("rising loss", passed, expected, numbers)


def _trace(
    module: Any, images: FloatArray, labels: Labels, threshold: float, *, eps: float, batch_size: int
) -> FloatArray:
    """(T + 1, B) margins along PGD from the images themselves."""
    import torch

    from tellsign.perturb.attacks.gradient import pgd

    place = device_and_type(module)
    x, y = torch.from_numpy(images).to(**place), torch.from_numpy(np.asarray(labels)).to(place["device"])
    # Steps so small that they don't jump over what they climb.
    options: dict[str, Any] = {
        "eps": eps,
        "threshold": threshold,
        "steps": STEPS[-1],
        "step": eps / STEPS[-1],
    }
    parts = [
        pgd(module, x[start : start + batch_size], y[start : start + batch_size], **options).trace
        for start in range(0, len(x), batch_size)
    ]
    return np.concatenate(parts, axis=1)


def _noise_margin(
    score: ArrayScore,
    images: FloatArray,
    labels: Labels,
    *,
    threshold: float,
    eps: float,
    rngs: Sequence[np.random.Generator],
) -> FloatArray:
    """(B,) lowest margin over draws of noise that is eps up or down in every pixel value."""
    change = images.dtype.type(eps)
    lowest = np.full(len(images), np.inf)
    for _ in range(N_NOISE):
        signs = np.stack([rng.integers(2, size=images.shape[1:]) for rng in rngs]).astype(np.bool_)
        noisy = np.clip(np.where(signs, images + change, images - change), 0, 1)
        lowest = np.minimum(lowest, array_margins(score, noisy, labels, threshold))
    return lowest
