"""A trained network as what runs a detector: PyTorch's place beside ONNX Runtime, for GPUs.

Shapes: M crops, C channels, S side of a crop, P parts.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from tellsign.detectors.engines import BATCH
from tellsign.engine.export import ScoredNetwork

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from tellsign.detectors.engines import Run
    from tellsign.types import FloatArray


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Convolutions and products on a GPU with all digits of float32, and not the fewer of TF32."""
    kinds = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [kind.allow_tf32 for kind in kinds]
    try:
        for kind in kinds:
            kind.allow_tf32 = False
        yield
    finally:
        for kind, value in zip(kinds, before, strict=True):
            kind.allow_tf32 = value


def network_run(network: nn.Module, *, n_parts: int, device: str | None = None) -> Run:
    """A network as an engine, in float32.

    Args:    network: crops (M, 3, S, S) in [0, 1] → as `ScoredNetwork` takes it; it is moved to the device.
             n_parts: P.
             device: of PyTorch; None takes a GPU where there is one.
    Returns: crops → scores (M,) and parts (M, P), in batches.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    scored = ScoredNetwork(network, n_parts).to(place).float().eval()

    def run(crops: FloatArray) -> tuple[FloatArray, FloatArray]:
        rows: list[FloatArray] = []
        with torch.inference_mode(), torch.autocast(place.type, enabled=False), _whole_float32():
            for start in range(0, len(crops), BATCH):
                images = torch.tensor(crops[start : start + BATCH], device=place)
                outputs = [output.reshape(len(images), -1) for output in scored(images)]
                rows.append(torch.cat(outputs, dim=1).cpu().numpy())
        found = np.concatenate(rows)
        return found[:, 0], found[:, 1:]

    return run
