"""A trained detector's networks, looking at images that were changed: branches, and both ways to fuse them.

Shapes: B images, M crops, n branches, S side of a crop, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import artifacts, image
from tellsign.image.network_input import NetworkInput
from tellsign.systems.cae_net.system import CaeNetSystem
from tellsign.types import ImageError

if TYPE_CHECKING:
    from torch import nn

    from tellsign.evaluate.cells import Finished
    from tellsign.types import FloatArray

BY_WEIGHTS, BY_VOTE = "ensemble by weights", "ensemble by vote"
CROPS = 32  # at once


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """The networks of a detector on their device, and how it looks at images."""

    network: Any  # CaeNet
    weights: tuple[float, ...]  # of the fusion
    size: int
    max_crops: int
    device: Any  # torch.device

    @property
    def branches(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.network.branches)

    @property
    def rules(self) -> dict[str, str]:
        """Name → fusion of the ways that can be taken: an even number of branches has no majority."""
        return {BY_WEIGHTS: "weights"} | ({BY_VOTE: "vote"} if len(self.branches) % 2 else {})

    def targets(self) -> dict[str, nn.Module]:
        """Every branch and every ensemble from the pixels on: (B, 3, H, W) in [0, 1] → (B,) log-odds."""
        from tellsign.nn.region import RegionScore
        from tellsign.systems.cae_net.model import CaeNet

        networks = dict(self.network.branches.items())
        ensembles = {
            name: CaeNet(self.network.branches, fusion=rule, weights=self.weights)
            for name, rule in self.rules.items()
        }
        return {
            name: RegionScore(network, NetworkInput(self.size, self.max_crops)).to(self.device).eval()
            for name, network in {**networks, **ensembles}.items()
        }

    def columns(self, images: Iterator[FloatArray | None]) -> dict[str, list[float | None]]:
        """What branches and ensembles say of images.

        Args:    images: (3, H, W) in [0, 1], or None for one that can't be used.
        Returns: name → (B,) log-odds; None where there is no image, or it is too small.
        """
        import torch

        found: dict[str, list[float | None]] = {name: [] for name in (*self.branches, *self.rules)}
        waiting: list[FloatArray | None] = []

        def score() -> None:
            stacks = [crops for crops in waiting if crops is not None]
            means: Iterator[FloatArray] = iter(())
            if stacks:
                with torch.inference_mode():
                    given = torch.from_numpy(np.concatenate(stacks)).float().to(self.device)
                    parts = self.network(given)["parts"].double().cpu().numpy()
                means = iter(self._means(parts, [len(stack) for stack in stacks]))
            for crops in waiting:
                row = None if crops is None else next(means)
                for column, name in enumerate(found):
                    found[name].append(None if row is None else float(row[column]))
            waiting.clear()

        for picture in images:
            waiting.append(self._crops(picture))
            if sum(len(crops) for crops in waiting if crops is not None) >= CROPS:
                score()
        score()
        return found

    def _means(self, parts: FloatArray, n_crops: list[int]) -> FloatArray:
        """(M, n) of crops → (B, n and the ensembles) of images."""
        from tellsign.nn.fusion import fused_scores

        ensembles = [fused_scores(parts, rule, self.weights) for rule in self.rules.values()]
        table = np.column_stack([parts, *ensembles])
        return np.array([block.mean(axis=0) for block in np.split(table, np.cumsum(n_crops)[:-1])])

    def _crops(self, picture: FloatArray | None) -> FloatArray | None:
        try:
            return None if picture is None else image.square_crops(picture, self.size, self.max_crops)
        except ImageError:
            return None


def look_of(cell: Finished) -> Look:
    """The networks of a cell's detector.

    Args:    cell: that is done.
    Returns: in evaluation mode, on the device of its training.
    Raises:  ArtifactError: the detector can't be read.
    """
    from tellsign.engine.distributed import this_process

    config = cell.cell.config
    weights = tuple(artifacts.load(cell.detector).spec["config"]["fusion_weights"])
    device = this_process(config.training.device).device
    network = CaeNetSystem().network(cell.detector).to(device)
    return Look(network, weights, config.size, config.max_crops, device)
