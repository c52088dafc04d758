"""One step of a training: the losses of a batch, their gradient, and what the optimisers make of it.

Shapes: B batch (of this process), S side of a crop, D numbers of a descriptor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from tellsign.engine.distributed import gathered, totals
from tellsign.engine.scores import arithmetic, evaluating
from tellsign.engine.task import Step
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from tellsign.data.loading import Batch
    from tellsign.engine.config import TrainingConfig
    from tellsign.engine.distributed import Process

# network, batch on its device → losses (B,), and named figures for the record, means over B.
Losses = Callable[["nn.Module", "Batch"], tuple["Tensor", dict[str, float]]]


def layout(config: TrainingConfig) -> torch.memory_format:
    """The order of an image's numbers in memory."""
    return torch.channels_last if config.channels_last else torch.contiguous_format


def new_optimiser(model: nn.Module, config: TrainingConfig) -> Optimizer:
    """Adam, AdamW or SGD of the parameters that are trained; one fused step for all of them.

    Args:    model: on its device. config: of the training.
    Returns: an optimiser without state.
    Raises:  ConfigError: there is nothing to train.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ConfigError("the network has no parameter that is trained: found none with requires_grad")
    common: Any = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "fused": True}
    if config.optimiser == "sgd":
        return torch.optim.SGD(parameters, momentum=config.momentum, **common)
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    return kind(parameters, **common)


def training_step(
    network: nn.Module,
    losses: Losses,
    batch: Batch,
    optimisers: Collection[Optimizer],
    *,
    config: TrainingConfig,
    at: Process,
) -> Step:
    """Forward, backward, and a step of the optimisers unless a loss or the gradient is not finite.

    The losses are added over all processes and divided by the planned size of the global batch, so that the
    gradient is that of one process with the whole batch. Only the optimisers' parameters get one.

    Args:    network: in training mode, distributed where there are several processes.
             losses: of it. batch: this process's share, which may be empty.
             optimisers: of its parameters. config: of the training. at: this process.
    Returns: images and losses over all processes.
    """
    n = len(batch.rows)
    if n:
        with arithmetic(at.device, config.precision):
            found, figures = losses(network, _placed(batch, config, at))
    else:
        # The zero that a process without images adds, since the others wait for its gradients; in evaluation
        # mode, in which no statistics are taken from it.
        with evaluating(network), arithmetic(at.device, config.precision):
            found, figures = losses(network, _placed(_stand_in(batch), config, at))
        found = 0 * found
    names = sorted(figures)
    sums = totals([n, found.sum(), *(n * figures[name] for name in names)], at)
    step = Step(round(sums[0]), sums[1], dict(zip(names, sums[2:], strict=True)))
    if not math.isfinite(step.loss):
        wrong = batch.rows[~torch.isfinite(found.detach()).cpu()].tolist() if n else []
        return Step(step.n, step.loss, rows=tuple(row for rows in gathered(wrong, at) for row in rows))
    if step.n:
        # Several processes take the mean of their gradients.
        norm = descend(found.sum() * (at.world / batch.n_global), optimisers, clip_norm=config.clip_norm)
        if not math.isfinite(norm):
            return replace(step, gradient=norm)
    return step


def descend(loss: Tensor, optimisers: Collection[Optimizer], *, clip_norm: float = 0.0) -> float:
    """Backward, and a step of the optimisers unless the gradient is not finite.

    Args:    loss: () finite. optimisers: whose parameters get a gradient, and no others.
             clip_norm: largest norm of the gradient; 0: not clipped.
    Returns: the norm of the gradient of all of them together, before it is clipped.
    """
    groups = (group for optimiser in optimisers for group in optimiser.param_groups)
    parameters = [parameter for group in groups for parameter in group["params"] if parameter.requires_grad]
    torch.autograd.backward(loss, inputs=parameters)
    if clip_norm:
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, clip_norm))
    else:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
    if math.isfinite(norm):
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)  # the next forward pass has their room
    return norm


def _placed(batch: Batch, config: TrainingConfig, at: Process) -> Batch:
    """A batch on the device of the network."""

    def moved(tensor: Tensor | None) -> Tensor | None:
        return tensor if tensor is None else tensor.to(at.device, non_blocking=True)

    return replace(
        batch,
        images=batch.images.to(at.device, non_blocking=True, memory_format=layout(config)),
        labels=batch.labels.to(at.device, non_blocking=True),
        boxes=moved(batch.boxes),
        descriptors=moved(batch.descriptors),
    )


def _stand_in(batch: Batch) -> Batch:
    """A batch of one black image in place of one without any."""

    def one(tensor: Tensor | None) -> Tensor | None:
        return tensor if tensor is None else torch.zeros(1, *tensor.shape[1:], dtype=tensor.dtype)

    return replace(
        batch,
        images=torch.zeros(1, *batch.images.shape[1:]),
        labels=torch.zeros(1, dtype=torch.int64),
        boxes=one(batch.boxes),
        descriptors=one(batch.descriptors),
    )
