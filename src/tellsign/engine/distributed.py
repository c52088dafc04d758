"""One process among those that train a network together, as torchrun started them.

torchrun sets RANK, LOCAL_RANK and WORLD_SIZE; without them a process is alone. All must see one run folder.
BatchNorm takes its statistics from each process's own share of a batch, and those of the first process are
kept: a network with BatchNorm is not trained quite as by one process, every other is.
"""

from __future__ import annotations

import atexit
import json
import os
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed, nn

from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tellsign.engine.config import Device

# How long a process waits for the others. The first alone measures, fuses and exports after a training, while
# they wait; and of a process that died torchrun knows at once.
PATIENCE = timedelta(days=7)
# A thread of gloo says that a result is there before it lets go of the tensors, and DistributedDataParallel
# keeps these threads beyond the end of the group. One that is still at it when the interpreter ends aborts
# the process: https://github.com/pytorch/pytorch/pull/179291
LETTING_GO = 0.5  # seconds


@dataclass(frozen=True, slots=True)
class Process:
    """One of the processes that train together, and where it computes."""

    device: torch.device
    rank: int = 0  # of this process
    world: int = 1  # processes in all

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run folder and says what happens."""
        return self.rank == 0


def this_process(device: Device) -> Process:
    """The process that runs this, among those of the training; where there are several, they are joined.

    Args:    device: asked for.
    Returns: device, rank and number of processes.
    Raises:  ConfigError: there is no such device, or the environment of torchrun is incomplete.
    """
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise ConfigError(
            'device = "cuda", but PyTorch finds no GPU: install its build for CUDA and the driver, or set '
            'device = "cpu"'
        )
    on_gpu = has_gpu and device != "cpu"
    try:
        world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        local = int(os.environ.get("LOCAL_RANK", rank))
        if not 0 <= rank < world:
            raise ValueError(f"RANK is from 0 to {world - 1}")
        if world > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
            # Kept for further trainings of this process: a closed group can't be opened again everywhere.
            atexit.register(_leave)
    except (ValueError, RuntimeError) as error:
        found = {name: os.environ.get(name) for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")}
        raise ConfigError(
            f"the processes of this training can't be joined ({error}), found {found}; start them with "
            "torchrun"
        ) from error
    if not on_gpu:
        return Process(torch.device("cpu"), rank, world)
    if local >= torch.cuda.device_count():
        raise ConfigError(
            f"process {local} of this machine finds {torch.cuda.device_count()} GPUs; start one process a GPU"
        )
    torch.cuda.set_device(local)
    return Process(torch.device("cuda", local), rank, world)


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
        time.sleep(LETTING_GO)


def require_alone(at: Process, what: str) -> None:
    """Raises ConfigError where several processes would train what one alone can.

    Args:    at: this process. what: is trained, for the message.
    """
    if at.world > 1:
        raise ConfigError(
            f"{what} is trained by one process, found {at.world} of torchrun: run the command without it"
        )


def joined(model: nn.Module, at: Process) -> nn.Module:
    """The model whose gradients are the mean over all processes; itself where there is one.

    Args:    model: on its device. at: this process.
    Returns: a module that is called as the model is.
    """
    if at.world == 1:
        return model
    devices = [at.device.index] if at.device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=devices)


def share_buffers(model: nn.Module, at: Process) -> None:
    """Give the buffers of the first process to all, so that all evaluate the same network.

    Args:    model: without what distributes it. at: this process.
    """
    if at.world > 1:
        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)


def totals(values: Sequence[torch.Tensor | float], at: Process) -> list[float]:
    """Sums over all processes, of each value.

    Args:    values: single numbers. at: this process.
    Returns: the sums, in float64, the same in every process.
    """
    numbers = [torch.as_tensor(value, dtype=torch.float64, device=at.device) for value in values]
    row = torch.stack([number.detach() for number in numbers])
    if at.world > 1:
        distributed.all_reduce(row)
    return [float(value) for value in row.tolist()]


def gathered(value: Any, at: Process) -> list[Any]:
    """What every process has to say, in the order of their ranks.

    Args:    value: anything that JSON holds. at: this process.
    Returns: the values, the same list in every process; all have reached this point.
    """
    text = json.dumps(value).encode("ascii")
    if at.world == 1:
        return [json.loads(text)]
    own = torch.tensor([len(text)], device=at.device)
    lengths = [torch.zeros_like(own) for _ in range(at.world)]
    distributed.all_gather(lengths, own)
    longest = max(int(length) for length in lengths)
    row = torch.zeros(longest, dtype=torch.uint8, device=at.device)
    row[: len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8).to(at.device)
    rows = [torch.zeros_like(row) for _ in range(at.world)]
    distributed.all_gather(rows, row)
    return [
        json.loads(bytes(other[: int(length)].cpu().numpy()))
        for other, length in zip(rows, lengths, strict=True)
    ]
