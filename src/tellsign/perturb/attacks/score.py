"""What an attack asks of a detector: the margin of each image, and its gradient.

A detector gives one score s, and calls an image fake from the threshold t on. As logits of two classes that
is [-(s - t) / 2, (s - t) / 2], whose cross-entropy for the true label is

    CE = ln(1 + exp(-margin)),  where margin = s - t for fakes and t - s for reals,

so that an image is decided rightly where its margin is positive, and CE falls strictly as the margin grows.
Attacks that follow signs of gradients and compare losses take the very same steps with -margin as with CE.
They are written on the margin, because far from the threshold exp(-margin), and with it the gradient of CE,
vanishes in floating point, which would pass for robustness.

Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.types import FAKE, REAL, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from tellsign.types import Detector, FloatArray

    TensorScore = Callable[[Tensor], Tensor]  # (B, 3, H, W) → (B,), differentiable
    ArrayScore = Callable[[FloatArray], FloatArray]  # (B, 3, H, W) → (B,)
    Labels = NDArray[np.integer[Any]]

INSTALL = "install it with: pip install 'tellsign[train]'"


def detector_score(detector: Detector) -> ArrayScore:
    """A detector as a score function of a batch of images.

    Args:    detector: what runs, from `tellsign.detectors.from_artifact`.
    Returns: (B, 3, H, W) in [0, 1] → (B,); raises TooSmallError as the detector does.
    """

    def score(images: FloatArray) -> FloatArray:
        inputs = [detector.preprocess(image) for image in images]
        return detector.score({name: np.stack([row[name] for row in inputs]) for name in inputs[0]})

    return score


def module_score(module: Any) -> ArrayScore:
    """A PyTorch module as a score function of arrays, without gradients.

    Args:    module: (B, 3, H, W) in [0, 1] → (B,), in evaluation mode.
    Returns: (B, 3, H, W) → (B,) float64.
    """
    import torch

    place = device_and_type(module)

    def score(images: FloatArray) -> FloatArray:
        with torch.no_grad():
            scores = module(torch.from_numpy(np.asarray(images)).to(**place))
        return np.asarray(scores.double().cpu().numpy())

    return score


def is_module(target: object) -> bool:
    """Whether a target is a PyTorch module; where PyTorch was never imported, none is."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(target, torch.nn.Module)


def device_and_type(module: Any) -> dict[str, Any]:
    """Where and in what type a module computes, for `Tensor.to`; without weights in float32 on the CPU."""
    import torch

    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            return {"device": tensor.device, "dtype": tensor.dtype}
    return {"device": torch.device("cpu"), "dtype": torch.float32}


def margins(scores: FloatArray, labels: Labels, threshold: float) -> FloatArray:
    """How far each image is on the right side of the threshold.

    Args:    scores: (B,) higher = more fake.
             labels: (B,) 0 real, 1 fake.
             threshold: score from which on an image is called fake.
    Returns: (B,) float64, positive where the decision is right and negative where it is wrong; 0 is the
             threshold itself, which is called fake.
    """
    return np.where(np.asarray(labels) == FAKE, 1.0, -1.0) * (
        np.asarray(scores, dtype=np.float64) - threshold
    )


def cross_entropy(margin: FloatArray) -> FloatArray:
    """(B,) margins → (B,) the loss that falls as they grow, ln(1 + exp(-margin))."""
    return np.logaddexp(0.0, -np.asarray(margin, dtype=np.float64))


def array_margins(score: ArrayScore, images: FloatArray, labels: Labels, threshold: float) -> FloatArray:
    """The margin of each image by a score function of arrays.

    Args:    score: (B, 3, H, W) → (B,).
             images: (B, 3, H, W) in [0, 1].
             labels, threshold: as for `margins`.
    Returns: (B,) float64.
    Raises:  ConfigError: the scores have another shape, or one is NaN.
    """
    scores = np.asarray(score(images))
    _check_scores(scores.shape, np.isnan(scores), len(images))
    return margins(scores, labels, threshold)


def margin_gradient(
    score: TensorScore, images: Tensor, labels: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """The margin of each image and its gradient by the pixels.

    Args:    score: (B, 3, H, W) → (B,), in which no image depends on another.
             images: (B, 3, H, W) in [0, 1].
             labels: (B,) 0 real, 1 fake.
             threshold: score from which on an image is called fake.
    Returns: (B,) and (B, 3, H, W), both detached.
    Raises:  ConfigError: the scores have another shape, don't depend on the pixels, or something is NaN.
    """
    import torch

    pixels = images.detach().requires_grad_()
    with torch.enable_grad():
        scores = score(pixels)
        _check_scores(tuple(scores.shape), torch.isnan(scores).cpu().numpy(), len(images))
        margin = torch.where(labels == FAKE, 1.0, -1.0).to(scores.dtype) * (scores - threshold)
        gradient = None
        if margin.requires_grad:
            (gradient,) = torch.autograd.grad(margin.sum(), pixels, allow_unused=True)
    if gradient is None:
        raise ConfigError(
            "the scores have no gradient: they don't depend on the pixels, or the module leaves PyTorch "
            "(.detach(), .numpy(), .item()) on the way; mend that, or use the attack square, which reads "
            "scores alone"
        )
    finite = torch.isfinite(gradient).flatten(1).all(dim=1).cpu().numpy()
    if not finite.all():
        rows = np.flatnonzero(~finite)
        raise ConfigError(
            f"the gradient is NaN or infinite for {len(rows)} of {len(finite)} images, the first in row "
            f"{rows[0]} (score {scores.detach()[rows[0]].item():g}): a root or logarithm at 0, 0/0 or an "
            "overflow in the module, often where an image is constant; an attack along it would measure "
            "nothing, so mend the module, compute in float64, or take the attack square, which needs none"
        )
    return margin.detach(), gradient


def streams(seed: int, keys: Sequence[str]) -> list[np.random.Generator]:
    """Random numbers for each image, which depend on its key and not on its neighbours.

    Args:    seed: of the run.
             keys: one an image.
    Returns: a generator an image.
    """
    digests = [hashlib.sha256(f"{seed}\0{key}".encode("utf-8", "surrogateescape")).digest() for key in keys]
    return [np.random.default_rng(np.frombuffer(digest, dtype=np.uint32)) for digest in digests]


def content_keys(images: FloatArray) -> list[str]:
    """A key for each image that has no name: the digest of its pixels."""
    return [hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() for image in images]


def check_batch(images: Any, labels: Any) -> None:
    """Refuse what is no batch of labelled images.

    Args:    images: (B, 3, H, W) floating point in [0, 1].
             labels: (B,) 0 real, 1 fake.
    Raises:  ConfigError: another shape, type or range, or a label that is neither.
    """
    if not isinstance(images, np.ndarray) or images.ndim != 4 or images.shape[1] != 3 or images.size == 0:
        found = getattr(images, "shape", type(images).__name__)
        raise ConfigError(f"an attack needs images of shape (B, 3, H, W), found {found}; stack them first")
    if not np.issubdtype(images.dtype, np.floating):
        raise ConfigError(
            f"an attack needs float images in [0, 1], found {images.dtype}; divide levels by 255"
        )
    if not (images.min() >= 0 and images.max() <= 1):  # NaN too
        raise ConfigError(
            f"an attack needs images in [0, 1], found {images.min():g} to {images.max():g}; divide levels "
            "by 255"
        )
    labels = np.asarray(labels)
    if labels.shape != images.shape[:1] or not np.isin(labels, (REAL, FAKE)).all():
        raise ConfigError(
            f"an attack needs one label an image, {REAL} (real) or {FAKE} (fake), found {labels.tolist()} "
            f"for {len(images)} images"
        )


def check_eps(eps: float) -> None:
    """Raises ConfigError unless eps lies in [0, 1]."""
    if not 0 <= eps <= 1:
        raise ConfigError(
            f"eps is the largest change of a pixel value in [0, 1], found {eps!r}; as text, 2 levels of "
            "8 bits are 2/255"
        )


def check_count(name: str, value: int) -> None:
    """Raises ConfigError unless the value is a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{name} must be a whole number of at least 1, found {value!r}")


def _check_scores(shape: tuple[int, ...], is_nan: NDArray[np.bool_], n_images: int) -> None:
    if shape != (n_images,):
        raise ConfigError(f"expected one score an image, shape ({n_images},), found {shape}")
    if is_nan.any():
        rows = np.flatnonzero(is_nan)
        raise ConfigError(
            f"the score is NaN for {len(rows)} of {n_images} images, the first in row {rows[0]}; mend the "
            "detector or leave those images out"
        )
