"""A trained network as what runs a detector: PyTorch's place beside ONNX Runtime, for GPUs.

Shapes: M crops, C channels, S side of a crop, D numbers of a descriptor, P parts.
"""

from __future__ import annotations

import ctypes
import sys
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

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT, LARGEST = (2 << 30) - 1, 1 << 30  # bytes


def keep_large_buffers() -> bool:
    """Have this whole process keep the memory of large arrays that are freed, for the next ones.

    glibc gives such memory back and has it faulted in again, page by page, at every layer of a network: up to
    half of a convolutional network's time. Resident memory stays higher. Only for processes that are
    Tellsign's own: it holds for all that runs in them, for good.

    Returns: whether it was done; elsewhere than on Linux with glibc there is nothing to do.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    return all([mallopt(M_MMAP_THRESHOLD, LARGEST), mallopt(M_TRIM_THRESHOLD, KEPT)])


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Convolutions and products on a GPU with all digits of float32, and not the fewer of TF32."""
    cudnn, matmul = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = cudnn, matmul


def network_run(network: nn.Module, *, n_parts: int, device: str | None = None) -> Run:
    """A network as an engine, in float32.

    Args:    network: crops (M, 3, S, S) in [0, 1], and descriptors (M, D) where it takes some → as
             `ScoredNetwork` takes it; it is moved to the device, on a processor with its channels last in
             memory, which is faster there.
             n_parts: P.
             device: of PyTorch; None takes a GPU where there is one.
    Returns: crops, and descriptors where it takes some → scores (M,) and parts (M, P), in batches.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    layout = torch.channels_last if place.type == "cpu" else torch.contiguous_format
    scored = ScoredNetwork(network, n_parts).to(place).float().eval().to(memory_format=layout)

    def run(crops: FloatArray, *beside: FloatArray) -> tuple[FloatArray, FloatArray]:
        rows: list[FloatArray] = []
        with torch.inference_mode(), torch.autocast(place.type, enabled=False), _whole_float32():
            for start in range(0, len(crops), BATCH):
                part = slice(start, start + BATCH)
                images, *more = (torch.tensor(array[part], device=place) for array in (crops, *beside))
                found = scored(images.contiguous(memory_format=layout), *more)
                outputs = [output.reshape(len(images), -1) for output in found]
                rows.append(torch.cat(outputs, dim=1).cpu().numpy())
        table = np.concatenate(rows)
        return table[:, 0], table[:, 1:]

    return run
