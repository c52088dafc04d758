"""How fast a network learns at each step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from tellsign.engine.config import TrainingConfig

WARM_UP = 0.05  # share of the steps over which a cosine schedule rises


def learning_rate(config: TrainingConfig, steps: int, n_steps: int) -> float:
    """The learning rate of a step.

    Args:    config: of the training. steps: that are done, of all epochs. n_steps: of one epoch.
    Returns: constant, or up in a line and then down to 0 along half a cosine.
    """
    total = config.epochs * n_steps
    if config.schedule == "constant":
        return config.learning_rate
    rising = math.ceil(WARM_UP * total)
    if steps < rising:
        return config.learning_rate * (steps + 1) / rising
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (steps - rising) / max(total - rising, 1)))


def set_learning_rate(optimiser: Optimizer, rate: float) -> None:
    """Have all parameters learn at a rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate
