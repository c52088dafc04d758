"""SFCL-HCMF in miniature: its own modules around timm's smallest EfficientNet, weights random.

Shapes: B batch, S side of a crop.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pictures import natural
from tellsign import artifacts
from tellsign.calibration import Calibration, operating_point
from tellsign.detectors import NETWORK
from tellsign.detectors.preprocessing import profile
from tellsign.engine.export import network_arrays
from tellsign.systems.sfcl_hcmf.config import SfclHcmfConfig
from tellsign.systems.sfcl_hcmf.model import DESCRIPTOR, SfclHcmf

SIZE = 92  # padded to 96 as 380 is to 384: 12 x 12 blocks, deep maps of 3 x 3 and 2 x 2
SPATIAL = {"backbone": "test_efficientnet", "weights": "scratch"}
LOCAL = {"width": 0.02, "middle": 1, "weights": "scratch"}
HCMA = {"d": 16, "heads": 4}
N = 60  # scores a class, from which thresholds are made


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


def write_detector(folder: Path, **options: Any) -> Path:
    """Writes a calibrated detector without a graph, for the engine torch; its verdicts mean nothing."""
    chosen, made = config(**options), network(**options)
    profiles = np.stack([profile(natural(seed, 120, 120), chosen.input.domain) for seed in range(8)])
    spread = np.where(profiles.std(axis=0) > 1e-9, profiles.std(axis=0), 1.0)
    real, fake = np.linspace(-3, 1, N), np.linspace(-1, 3, N)
    artifacts.save(
        folder,
        spec={
            "name": "tiny",
            "kind": NETWORK,
            "system": "sfcl-hcmf",
            "config": asdict(chosen),
            "preprocessing": chosen.input.to_spec(),
            "graph": {"parts": []},
            "calibration": Calibration.fit(np.repeat([0, 1], N), np.concatenate([real, fake])).to_dict(),
            "operating_point": operating_point(real, fake, fpr=0.05, fnr=0.05).to_dict(),
            "domain": {"limit": 1e6, "quantile": 0.99},
        },
        arrays={
            **network_arrays(made),
            "domain.mean": profiles.mean(axis=0),
            "domain.std": spread,
            "domain.precision": np.eye(profiles.shape[1]),
            "domain.scales": np.ones(2),
            "scores.real": real,
            "scores.fake": fake,
        },
        graph=b"no graph",
    )
    return folder


def images(n: int = 3, size: int = SIZE) -> torch.Tensor:
    """(B, 3, S, S) in [0, 1]."""
    return torch.from_numpy(np.stack([natural(seed, size, size) for seed in range(n)]))


def descriptors(n: int = 3) -> torch.Tensor:
    """(B, 2304), of no picture."""
    return torch.randn(n, DESCRIPTOR, generator=torch.Generator().manual_seed(3))


def count(module: torch.nn.Module) -> int:
    """Its parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


CONFIG = """
system = "sfcl-hcmf"
name = "tiny"

[config]
region = "image"
fit = "crop"
size = 64

[config.spatial]
backbone = "test_efficientnet"
weights = "scratch"

[config.local]
width = 0.02
middle = 1
weights = "scratch"

[config.hcma]
d = 16
heads = 4

[config.training]
epochs = 1
batch_size = 16
workers = 0
device = "cpu"
"""


def write_config(folder: Path, changes: dict[str, str] | None = None) -> Path:
    """A small configuration as a file for `tellsign train`; changes: text → another."""
    text = CONFIG
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.toml").write_text(text)
    return folder / "tiny.toml"
