"""Numbers of different sizes made comparable: each less its mean over the training data, over its deviation.

Shapes: B batch, n numbers; ... any further axes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tellsign.types import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterable

LEAST_STD = (
    1e-6  # of a number in the training set; what varies less is the same everywhere, and keeps its scale
)

Statistics = dict[str, tuple[float, ...]]  # mean and std, n numbers each


class Standardisation(nn.Module):
    """(B, n, ...) → (B, n, ...): less the mean, over the standard deviation."""

    def __init__(self, n: int, statistics: Statistics | None = None) -> None:
        """Keep the statistics, as part of the network's state.

        Args:    n: how many numbers.
                 statistics: of the training data; None: not known yet, 0 and 1.
        """
        super().__init__()
        found = statistics or {"mean": (0.0,) * n, "std": (1.0,) * n}
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(found[name], dtype=torch.float32).reshape(n))

    def standardise_with(self, statistics: Statistics) -> None:
        """Take mean and std of the n numbers in place of those until now."""
        for name in ("mean", "std"):
            self.get_buffer(name).copy_(torch.tensor(statistics[name], dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """(B, n, ...) → (B, n, ...)."""
        shape = (-1, *(1,) * (x.ndim - 2))
        return (x - self.get_buffer("mean").reshape(shape)) / self.get_buffer("std").reshape(shape)


def statistics(batches: Iterable[Tensor]) -> Statistics:
    """Mean and standard deviation of each number over training data, in one pass.

    Args:    batches: (B, n, ...) each; all other axes are averaged.
    Returns: mean and std, n numbers each; the deviation of a number that is the same everywhere is 1.
    Raises:  ManifestError: there are no batches.
    """
    total, squares, count = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64), 0
    for batch in batches:
        values = batch.detach().double().flatten(2) if batch.ndim > 2 else batch.detach().double()[..., None]
        total = total + values.sum(dim=(0, 2)).cpu()
        squares = squares + values.square().sum(dim=(0, 2)).cpu()
        count += values.shape[0] * values.shape[2]
    if not count:
        raise ManifestError("no image is left from which statistics could be taken")
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std < LEAST_STD, torch.ones_like(std), std)
    return {"mean": tuple(mean.tolist()), "std": tuple(std.tolist())}
