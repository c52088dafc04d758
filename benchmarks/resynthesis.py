"""Speed and memory of residuals against the same modules put together plainly, as ratios in one run.

The plain side takes each residual by itself, as one writes it down, without gradients: an image is restored
for the pixels and again for the fifth stage, and tensors lie as they come. `python -m benchmarks.resynthesis`
prints the rows.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.features import fastest
from tellsign.features.residual import downsampled
from tellsign.systems.resynthesis.config import NetworkConfig
from tellsign.systems.resynthesis.model import Residuals
from tellsign.systems.resynthesis.perceptual import Perceptual, Vgg19
from tellsign.systems.resynthesis.rdn import ResidualDenseNetwork

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 1024
NETWORKS = {  # title → sizes, rounds
    "published": (NetworkConfig(), 1),
    "small": (NetworkConfig(features=16, growth=16, blocks=4, layers=3), 3),
}
TARGET, MEMORY_TARGET = 1.3, 1024.0  # MiB
MEMORY_SIDE = 4096
STAGES = (0, 5)
# Prints the memory in MiB that residuals of a large image add to the process, at most, besides the image.
MEMORY = """
import json, sys, torch
from benchmarks.bare import memory
from benchmarks.resynthesis import STAGES, residuals
from tellsign.systems.resynthesis.model import residual_maps

torch.set_num_threads(1)
made = residuals(sys.argv[1])
image = torch.rand(3, int(sys.argv[2]), int(sys.argv[2]))
residual_maps(made, image[:, :64, :64], STAGES)  # what the first call loads is not counted
before, _ = memory()
residual_maps(made, image, STAGES)
print(json.dumps(memory()[1] - before))
"""


def residuals(title: str) -> Residuals:
    """With weights from scratch, which cost what trained ones do."""
    torch.manual_seed(0)
    return Residuals(ResidualDenseNetwork(NETWORKS[title][0]), Perceptual(Vgg19())).eval()


@torch.inference_mode()
def own(made: Residuals, image: Tensor) -> dict[int, Tensor]:
    """Both residuals of (1, 3, H, W), as a detector takes them."""
    return made(image.contiguous(memory_format=torch.channels_last), STAGES)


@torch.no_grad()
def plain(made: Residuals, image: Tensor) -> list[Tensor]:
    """Both residuals of (1, 3, H, W), each by itself."""
    assert made.perceptual is not None
    pixels = (made.resynthesiser(downsampled(image)) - image).abs()
    ours = made.perceptual.stages.features(made.resynthesiser(downsampled(image)))
    return [pixels, (ours - made.perceptual.stages.features(image)).abs()]


def speed_row(title: str, side: int = SIDE) -> dict[str, Any]:
    """How many times faster both residuals of an image are."""
    made = residuals(title)
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    found = own(made, image)
    for stage, expected in zip(STAGES, plain(made, image), strict=True):
        torch.testing.assert_close(found[stage], expected, atol=1e-3, rtol=1e-3)
    seconds = fastest(
        NETWORKS[title][1],
        plain=lambda: plain(made, image),
        own=lambda: own(made, image),
    )
    return {
        "name": f"residuals of pixels and stage 5, {side} px, {title} re-synthesiser, speed-up over the "
        f"plain composition, {torch.get_num_threads()} threads",
        "value": seconds["plain"] / seconds["own"],
        "target": TARGET,
        "unit": "×",
    }


def memory_row(title: str, side: int = MEMORY_SIDE) -> dict[str, Any]:
    """What residuals of a large image take besides it, tile by tile."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, title, str(side)], check=True, stdout=subprocess.PIPE, text=True
    )
    return {
        "name": f"residuals of {side} × {side} px by tiles, {title} re-synthesiser, memory besides the image",
        "value": float(json.loads(done.stdout)),
        "target": MEMORY_TARGET,
        "unit": "MiB",
        "at_most": True,
    }


def rows() -> list[dict[str, Any]]:
    """The speed with both networks, the memory with the small one: the published one would take an hour."""
    return [*(speed_row(title) for title in NETWORKS), memory_row("small")]


if __name__ == "__main__":
    for row in rows():
        print(row)
