"""What the loop trains: images in an order, a step, and what is measured after an epoch.

Shapes: B batch (of this process), M samples of an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch.optim import Optimizer

    from tellsign.data.loading import Batch, Loader
    from tellsign.data.manifest import Manifest

Bad = Mapping[int, tuple[str, str]]  # row → path and reason
Best = Mapping[str, Literal["highest", "lowest"]]


@dataclass(frozen=True, slots=True)
class Step:
    """What one step came to, over all processes."""

    n: int  # images
    loss: float  # sum over them
    figures: dict[str, float] = field(default_factory=dict)  # of the losses, sums over them, in every step
    rows: tuple[int, ...] = ()  # whose loss is not finite
    gradient: float = 0.0  # its norm where that is not finite

    @property
    def is_finite(self) -> bool:
        """Whether the optimisers have made it."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient)


class Measured(NamedTuple):
    """What an epoch came to."""

    values: Mapping[str, float]  # by name, all of them finite; there may be none
    bad: Bad = {}  # noqa: RUF012 - validation images that were left out


def nothing_measured(where: str) -> Measured:  # noqa: ARG001
    """Of a training without validation."""
    return Measured({})


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What is trained, once its run folder is held and its networks are where they compute."""

    loader: Loader  # of the training images; it is closed when the training ends
    optimisers: Mapping[str, Optimizer]  # each of its own parameters, made with its own highest rate
    batch_size: int  # images of a step, over all processes
    order: Callable[[int], NDArray[np.int64]]  # epoch, from 0 → (M,) rows to show; M is the same for all
    step: Callable[[Batch], Step]  # forward, backward and optimisers; most are a `training_step`
    measured: Callable[[str], Measured] = nothing_measured  # after an epoch; takes the place for messages
    # What is measured → which is best, the first before the others; none: the last epoch is the result.
    best: Best = field(default_factory=dict)

    @property
    def n_steps(self) -> int:
        """The number of steps of an epoch."""
        return -(-len(self.order(0)) // self.batch_size)


def named(bad: Mapping[int, str], manifest: Manifest) -> dict[int, tuple[str, str]]:
    """Images that can't be used: row → path, safe to print, and reason."""
    return {row: (f"{str(manifest[row].path)!a}", reason) for row, reason in bad.items()}
