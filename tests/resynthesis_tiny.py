"""Re-synthesis in miniature: its own modules with few channels, weights random.

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
from tellsign.engine.export import network_arrays
from tellsign.systems.resynthesis.config import ResynthesisConfig
from tellsign.systems.resynthesis.model import Residuals, Resynthesis, new_classifier, new_residuals
from tellsign.systems.resynthesis.perceptual import Perceptual, Vgg19

SIZE = 48
NETWORK = {"features": 4, "growth": 3, "blocks": 2, "layers": 2}
CLASSIFIER = {"widths": (4, 4, 8, 8), "blocks": (1, 1, 1, 1)}
PIXELS = {"network": "none"}
TRAINING = {"epochs": 1, "batch_size": 8, "workers": 0, "device": "cpu"}


def config(**options: Any) -> ResynthesisConfig:
    """The small configuration, of pixels alone; the tables given are put on top of its own."""
    tables = {
        "network": NETWORK,
        "classifier": CLASSIFIER,
        "perceptual": PIXELS,
        "training": TRAINING,
        "reconstruction": {"patch": 32, "training": TRAINING},
    }
    given = {name: table | options.pop(name, {}) for name, table in tables.items()}
    return ResynthesisConfig(**{"size": SIZE, "stages": (0,), **given, **options})


def vgg(n_stages: int = 5, *, seed: int = 1) -> Perceptual:
    """VGG-19 with random weights, none so small that a stage says nothing."""
    torch.manual_seed(seed)
    stages = Vgg19(n_stages)
    for layer in stages.features:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
            torch.nn.init.uniform_(layer.bias, 0, 0.2)
    return Perceptual(stages)


def residuals(*, seed: int = 0, n_stages: int = 0, **options: Any) -> Residuals:
    """In evaluation mode; with as many stages of a VGG-19."""
    torch.manual_seed(seed)
    found = new_residuals(config(**options), n_stages=0)
    found.perceptual = vgg(n_stages) if n_stages else None
    return found.eval()


def network(stages: tuple[int, ...] = (0, 2), *, fusion: str = "weights", seed: int = 0) -> Resynthesis:
    """In evaluation mode, no statistic of a normalisation at its start."""
    own = config()
    made = residuals(seed=seed, n_stages=max(stages))
    torch.manual_seed(seed + 1)
    names = {("pixel" if not stage else f"stage{stage}"): stage for stage in stages}
    classifiers = {name: new_classifier(own, made, stage) for name, stage in names.items()}
    found = Resynthesis(
        made, classifiers, stages=stages, fusion=fusion, weights=[1 / len(stages)] * len(stages)
    )
    for norm in found.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = 1.0
    found.train()(images(6))
    return found.eval()


def images(n: int = 3, size: int = SIZE) -> torch.Tensor:
    """(B, 3, S, S) in [0, 1]."""
    return torch.from_numpy(np.stack([natural(seed, size, size) for seed in range(n)]))


def count(module: torch.nn.Module) -> int:
    """Its parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def write_detector(folder: Path, stages: tuple[int, ...] = (0,), *, seed: int = 0) -> Resynthesis:
    """Writes the network in miniature as a detector without a graph, which restores and shows residuals."""
    made = network(stages, seed=seed)
    perceptual = {"network": "vgg19"} if max(stages) else PIXELS
    own = config(stages=stages, perceptual=perceptual)
    spec = {"name": "tiny", "system": "resynthesis", "kind": "network", "config": asdict(own)}
    artifacts.save(folder, spec={**spec, "preprocessing": own.input.to_spec()}, arrays=network_arrays(made))
    return made
