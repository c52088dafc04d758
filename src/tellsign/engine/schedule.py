"""How fast networks learn at each step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.optim import Optimizer

    from tellsign.engine.config import TrainingConfig

WARM_UP = 0.05  # share of the steps over which a cosine schedule rises
HIGHEST = "initial_lr"  # where PyTorch's own schedules keep a group's rate as it was made


def learning_rate(config: TrainingConfig, steps: int, n_steps: int, *, highest: float | None = None) -> float:
    """The learning rate of a step.

    Args:    config: of the training. steps: that are done, of all epochs. n_steps: of one epoch.
             highest: in place of the configuration's rate.
    Returns: constant; a tenth from half of the epochs on; or up in a line and then down to 0 along half a
             cosine.
    """
    highest = config.learning_rate if highest is None else highest
    total = config.epochs * n_steps
    if config.schedule == "constant":
        return highest
    if config.schedule == "step":
        return highest / 10 if 2 * (steps // n_steps) >= config.epochs else highest
    rising = math.ceil(WARM_UP * total)
    if steps < rising:
        return highest * (steps + 1) / rising
    return highest * 0.5 * (1 + math.cos(math.pi * (steps - rising) / max(total - rising, 1)))


def set_learning_rates(
    optimisers: Mapping[str, Optimizer], config: TrainingConfig, steps: int, n_steps: int
) -> dict[str, float]:
    """Have all parameters learn at the rate of a step: the one that they were given, along the schedule.

    Args:    optimisers: of the training. config, steps, n_steps: as for `learning_rate`.
    Returns: name of an optimiser → rate of its first group.
    """
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            highest = group.setdefault(HIGHEST, group["lr"])
            group["lr"] = learning_rate(config, steps, n_steps, highest=highest)
    return {name: float(optimiser.param_groups[0]["lr"]) for name, optimiser in optimisers.items()}
