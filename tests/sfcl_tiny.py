"""SFCL-HCMF in miniature: its own modules around timm's smallest EfficientNet, weights random.

Shapes: B batch, S side of a crop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pictures import natural
from tellsign.systems.sfcl_hcmf.config import SfclHcmfConfig
from tellsign.systems.sfcl_hcmf.model import DESCRIPTOR, SfclHcmf

SIZE = 92  # padded to 96 as 380 is to 384: 12 x 12 blocks, deep maps of 3 x 3 and 2 x 2
SPATIAL = {"backbone": "test_efficientnet", "weights": "scratch"}
LOCAL = {"width": 0.02, "middle": 1, "weights": "scratch"}
HCMA = {"d": 16, "heads": 4}


def config(**options: Any) -> SfclHcmfConfig:
    """The small configuration; the tables given are put on top of its own."""
    tables = {"spatial": SPATIAL, "local": LOCAL, "hcma": HCMA}
    given = {name: table | options.pop(name, {}) for name, table in tables.items()}
    return SfclHcmfConfig(**{"size": SIZE, "fit": "crop", **given, **options})


def network(*, seed: int = 0, **options: Any) -> SfclHcmf:
    """In evaluation mode, no weight and no statistic at a start value that hides a mistake."""
    torch.manual_seed(seed)
    found = SfclHcmf(config(**options))
    norms = [one for one in found.modules() if isinstance(one, torch.nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0  # the statistics of one batch, so that signals are not lost in deep layers
        found(images(6), *([descriptors(6)] if found.descriptor is not None else []))
        for norm in norms:
            norm.momentum = 0.1
        for tensor in found.state_dict().values():
            if tensor.is_floating_point() and tensor.ndim == 1:
                tensor.add_(0.2 * torch.rand_like(tensor))
    return found.eval()


def images(n: int = 3, size: int = SIZE) -> torch.Tensor:
    """(B, 3, S, S) in [0, 1]."""
    return torch.from_numpy(np.stack([natural(seed, size, size) for seed in range(n)]))


def descriptors(n: int = 3) -> torch.Tensor:
    """(B, 2304), of no picture."""
    return torch.randn(n, DESCRIPTOR, generator=torch.Generator().manual_seed(3))


def count(module: torch.nn.Module) -> int:
    """Its parameters."""
    return sum(parameter.numel() for parameter in module.parameters())
