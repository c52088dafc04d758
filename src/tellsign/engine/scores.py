"""What a network says of the images of a manifest, outside of training.

Shapes: N samples, B batch, n crops of an image, M crops in all, S side of a crop, D numbers of a descriptor,
K values of an image.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tellsign.data.loading import evaluation_batches
from tellsign.types import FAKE, REAL, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from tellsign.data import Manifest
    from tellsign.data.face_boxes import FaceBoxes
    from tellsign.engine.config import Precision
    from tellsign.image.network_input import NetworkInput

# Crops (M, 3, S, S) in [0, 1], and descriptors (M, D) where there are some → (M, K).
Values = Callable[..., "Tensor"]


def network_scores(
    model: nn.Module,
    manifest: Manifest,
    look: NetworkInput,
    *,
    batch_size: int = 32,
    workers: int = 0,
    cache: Path | None = None,
    precision: Precision = "float32",
    faces: FaceBoxes | None = None,
) -> tuple[NDArray[np.float64], dict[int, str]]:
    """The score of each image: the log-odds of fake, averaged over its crops.

    Args:    model: (B, 3, S, S) in [0, 1], and (B, D) where there is a descriptor → logits (B, 2), on any
             device; its mode is left as it was.
             manifest: the images, labelled or not. look: how they are looked at.
             batch_size: images at once. workers: processes that read them.
             cache: folder of decoded images, or none. precision: of the arithmetic.
             faces: of the images; a look at faces needs them.
    Returns: (N,) scores, NaN where an image can't be used; row → the reason why it can't.
    """
    options: Any = {"batch_size": batch_size, "workers": workers, "cache": cache, "precision": precision}
    found, bad = image_values(model, fake_log_odds(model), 1, manifest, look, faces=faces, **options)
    return found[:, 0], bad


def fake_log_odds(model: nn.Module) -> Values:
    """The score of each crop, as `image_values` takes it.

    Args:    model: (M, 3, S, S) in [0, 1], and (M, D) where there is a descriptor → logits (M, 2).
    Returns: crops, and descriptors where there are some → (M, 1).
    """
    return lambda crops, *beside: log_odds(model(crops, *beside))[:, None]


def image_values(
    model: nn.Module,
    values: Values,
    n_values: int,
    manifest: Manifest,
    look: NetworkInput,
    *,
    batch_size: int = 32,
    workers: int = 0,
    cache: Path | None = None,
    precision: Precision = "float32",
    faces: FaceBoxes | None = None,
) -> tuple[NDArray[np.float64], dict[int, str]]:
    """Values of each image, averaged over its crops.

    Args:    model: whatever `values` computes with, on any device; its mode is left as it was.
             values: of crops, called with the model in evaluation mode and without gradients. n_values: K.
             manifest, look, batch_size, workers, cache, precision, faces: as for `network_scores`.
    Returns: (N, K), NaN where an image can't be used; row → the reason why it can't.
    """
    table = np.full((len(manifest), n_values), np.nan)
    bad: dict[int, str] = {}
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    channels_last = any(tensor.ndim == 4 and not tensor.is_contiguous() for tensor in model.parameters())
    layout = torch.channels_last if channels_last else torch.contiguous_format
    with evaluating(model), torch.inference_mode():
        for batch in evaluation_batches(
            manifest, look, batch_size=batch_size, workers=workers, cache=cache, faces=faces
        ):
            bad.update(batch.bad)
            if not len(batch.rows):
                continue
            images = batch.crops.flatten(0, 1).to(device, non_blocking=True, memory_format=layout)
            beside = (each.to(device) for each in beside_crops(batch.descriptors, batch.crops.shape[1]))
            with arithmetic(device, precision):
                found = values(images, *beside)
            means = [column.reshape(batch.crops.shape[:2]).mean(dim=1) for column in found.unbind(dim=1)]
            table[np.asarray(batch.rows)] = torch.stack(means, dim=1).double().cpu().numpy()
    return table, bad


def beside_crops(descriptors: Tensor | None, n_crops: int = 1) -> tuple[Tensor, ...]:
    """What a network takes beside its crops: the descriptors (B, D) of their images, once a crop."""
    return () if descriptors is None else (descriptors.repeat_interleave(n_crops, dim=0),)


def log_odds(logits: Tensor) -> Tensor:
    """The score of logits: (B, 2) → (B,) float32, higher = more fake."""
    return logits[:, FAKE].float() - logits[:, REAL].float()


def arithmetic(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which a network is called: bf16 is mixed, float32 is plain.

    Args:    device: of the network. precision: of its arithmetic.
    Returns: a context manager.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def slow_arithmetic(device: torch.device, precision: Precision) -> str:
    """What to tell who has chosen an arithmetic that a device has no instructions for.

    Args:    device: of the network. precision: of its arithmetic.
    Returns: a sentence, or nothing.
    """
    if precision == "float32" or device.type != "cpu" or torch.backends.cpu.get_cpu_capability() != "AVX2":
        return ""
    # EfficientNet-B4 at 380 pixels on such a processor: 187 s for a step of two images, in float32 12 s.
    return (
        "this processor has no instructions for bf16, which takes some ten times as long on it as "
        'float32: set precision = "float32"'
    )


def require_logits(network: nn.Module, size: int, what: str) -> None:
    """See that a network takes crops of a size before any image is read for it.

    Args:    network: (B, 3, S, S) → (B, 2). size: S. what: it can't do otherwise, for the message.
    Raises:  ConfigError: it gives something else, or fails.
    """
    try:
        with evaluating(network), torch.inference_mode():
            shape = tuple(network(torch.zeros(1, 3, size, size)).shape)
    except (RuntimeError, AssertionError, ValueError) as error:
        shape = (str(error)[:300],)
    if shape != (1, 2):
        raise ConfigError(
            f"{what}: expected logits (1, 2), found {shape}; take another size or another backbone"
        )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode for as long as the block runs; each of its parts as it was afterwards."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
