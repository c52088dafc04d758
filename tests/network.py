"""A network that tells up-sampled pictures, small enough to read, and its detector, made on the spot.

Shapes: B batch, S side of a crop, N images.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pictures import natural, upsampled
from tellsign import artifacts
from tellsign.calibration import Calibration, operating_point
from tellsign.detectors import NETWORK
from tellsign.detectors.graph import GraphDetector, GraphInput
from tellsign.detectors.preprocessing import profile
from tellsign.engine.export import network_state, save_network
from tellsign.scoring.decision import domain_level, domain_shape

SIZE = 32  # side of a crop
N = 60  # images a class, from which thresholds are made
PARTS = ("across", "down")
LOOK = GraphInput(size=SIZE, max_crops=4)


class Pairs(nn.Module):
    """How much the pixels of a pair differ: not at all where each was made from one.

    (B, 3, S, S) → {"score": (B,), "parts": (B, 2)}; the score is the mean of pairs across and down.
    """

    def __init__(self) -> None:
        super().__init__()
        self.across = nn.Conv2d(3, 4, (1, 2), stride=(1, 2), bias=False)
        self.down = nn.Conv2d(3, 4, (2, 1), stride=(2, 1), bias=False)
        generator = torch.Generator().manual_seed(1)
        for conv in (self.across, self.down):
            weight = torch.rand(4, 3, generator=generator)
            with torch.no_grad():
                conv.weight.copy_(torch.stack([weight, -weight], dim=-1).reshape(conv.weight.shape))
        self.register_buffer("level", torch.tensor(3.0))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        found = [100 * conv(images).abs().mean(dim=(1, 2, 3)) for conv in (self.across, self.down)]
        parts = self.get_buffer("level") - torch.stack(found, dim=1)
        return {"score": parts.mean(dim=1), "parts": parts}


class PairsSystem:
    """What `tellsign.hub` needs of a system to run its network in PyTorch."""

    config_class = SimpleNamespace
    requires = ("torch",)

    def __init__(self, config: Any) -> None:
        self.config = config

    def network(self, folder: Path) -> nn.Module:
        network = Pairs()
        network.load_state_dict(network_state(artifacts.load(folder)))
        return network


def crops(n: int = 4, *, seed: int = 0) -> np.ndarray:
    """(2n, 3, S, S): natural ones and up-sampled ones in turn."""
    return np.stack([make(seed + i, SIZE, SIZE) for i in range(n) for make in (natural, upsampled)])


def write_network(folder: Path, *, name: str = "pairs", **spec: Any) -> Path:
    """Writes a calibrated detector of `Pairs`. spec: other keys of detector.json."""
    made = artifacts.load(_made())
    artifacts.save(
        folder,
        spec={**made.spec, "name": name, **spec},
        arrays=made.arrays,
        graph=made.graph,
        card="# Pairs\n",
    )
    return folder


@lru_cache(maxsize=1)
def _made() -> Path:
    """Exported once a session, which takes seconds."""
    folder = Path(tempfile.mkdtemp(prefix="tellsign-test-"))
    spec = {"name": "pairs", "system": "pairs", "config": {}, "preprocessing": LOOK.to_spec()}
    save_network(folder / "draft", Pairs(), spec=spec, examples=crops(), parts=PARTS)
    draft = artifacts.load(folder / "draft")
    detector = GraphDetector(draft)
    images = [make(90_000 + i) for make in (natural, upsampled) for i in range(N)]
    scores = np.concatenate(
        [detector.score({"crops": detector.preprocess(image)["crops"][None]}) for image in images]
    )
    profiles = np.stack([profile(image, LOOK.domain) for image in images])
    spread = np.where(profiles.std(axis=0) > 1e-9, profiles.std(axis=0), 1.0)
    z, precision = (profiles - profiles.mean(axis=0)) / spread, np.eye(profiles.shape[1])
    real, fake = np.sort(scores[:N]), np.sort(scores[N:])
    artifacts.save(
        folder / "made",
        spec=draft.spec
        | {
            "kind": NETWORK,
            "calibration": Calibration.fit(np.repeat([0, 1], N), scores).to_dict(),
            "operating_point": operating_point(real, fake, fpr=0.05, fnr=0.05).to_dict(),
            "domain": {"limit": 1.5, "quantile": 0.99},
        },
        arrays={
            **draft.arrays,
            "domain.mean": profiles.mean(axis=0),
            "domain.std": spread,
            "domain.precision": precision,
            "domain.scales": np.array([domain_level(z).max(), domain_shape(z, precision).max()]),
            "scores.real": real,
            "scores.fake": fake,
        },
        graph=draft.graph,
    )
    return folder / "made"


BRANCHES = {
    "pixels": {"backbone": "test_resnet", "input": "rgb"},
    "bands": {"backbone": "test_convnext", "input": "dwt"},
    "waves": {"backbone": "test_resnet", "input": "fft"},
}
CAE_SIZE = 64


def write_cae_net(folder: Path, *, max_crops: int = 1) -> Path:
    """Writes a CAE-Net with random weights, whose verdicts mean nothing."""
    made = artifacts.load(_made_cae_net())
    spec = {
        **made.spec,
        "config": made.spec["config"] | {"max_crops": max_crops},
        "preprocessing": made.spec["preprocessing"] | {"max_crops": max_crops},
    }
    artifacts.save(folder, spec=spec, arrays=made.arrays, graph=made.graph, card="# CAE-Net\n")
    return folder


@lru_cache(maxsize=1)
def _made_cae_net() -> Path:
    """Exported once a session, which takes seconds."""
    from looking_networks import tiny
    from tellsign.systems.cae_net.config import CaeNetConfig
    from tellsign.systems.cae_net.model import CaeNet, new_branch

    config = CaeNetConfig(branches=BRANCHES, size=CAE_SIZE, weights="scratch", fusion="vote")
    branches = {}
    for name, one in config.branches.items():
        branches[name] = new_branch(config, name)
        branches[name].network = tiny(one.backbone, channels=12 if one.input == "dwt" else 3)
    made = artifacts.load(_made())
    return save_network(
        Path(tempfile.mkdtemp(prefix="tellsign-test-")) / "cae-net",
        CaeNet(branches, fusion=config.fusion, weights=config.fusion_weights),
        spec={
            **made.spec,
            "name": "cae-net",
            "system": "cae-net",
            "config": asdict(config),
            "preprocessing": config.input.to_spec() | {"profile": LOOK.domain.to_spec()},
        },
        examples=np.stack([natural(seed, config.size, config.size) for seed in range(2)]),
        parts=tuple(branches),
        arrays={name: array for name, array in made.arrays.items() if not name.startswith("network.")},
    )
