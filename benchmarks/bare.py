"""What the engine is held against: a training loop as one writes it with PyTorch and timm alone.

As fast as such a loop gets without effort: a fused optimiser, the memory layout that the engine uses, no look
at the loss, no log. It imports nothing of Tellsign, so that its memory is its own.

Shapes: B batch, S side of a crop, C channels of the network's input: 3, or 12 sub-bands.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch.nn import functional


@dataclass(frozen=True)
class Work:
    """One network and how it is trained, in plain values."""

    backbone: str  # timm's name
    options: dict[str, Any]  # of its constructor
    dwt: str | None  # None: pixels; "native": sub-bands; "dwt_resize": sub-bands enlarged to S
    mean: list[float]  # of the C channels, which the input is standardised with
    std: list[float]
    size: int  # S
    batch_size: int
    optimiser: str  # adam or adamw
    learning_rate: float
    weight_decay: float
    channels_last: bool

    @property
    def layout(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


def new_network(work: Work) -> torch.nn.Module:
    """timm's network for the input."""
    return timm.create_model(work.backbone, in_chans=len(work.mean), num_classes=2, **work.options)


def batch(work: Work) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (B, 3, S, S) in [0, 1] and labels (B,), the same every time."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(work.batch_size, 3, work.size, work.size, generator=generator)
    return images, torch.arange(work.batch_size) % 2


def sub_bands(images: torch.Tensor, *, enlarged: bool) -> torch.Tensor:
    """(B, 3, S, S) → (B, 12, ·, ·)."""
    a, b = images[..., 0::2, 0::2], images[..., 0::2, 1::2]
    c, d = images[..., 1::2, 0::2], images[..., 1::2, 1::2]
    bands = ((a + b + c + d) / 4, (a + b - c - d) / 2, (a - b + c - d) / 2, (a - b - c + d) / 2)
    x = torch.cat(bands, dim=1)
    if not enlarged:
        return x
    return functional.interpolate(x, size=images.shape[-2:], mode="bilinear", align_corners=False)


class Loop:
    """The loop; call it for a step."""

    def __init__(self, work: Work, network: torch.nn.Module) -> None:
        self.work = work
        self.network = network.to(memory_format=work.layout).train()
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[work.optimiser]
        self.mean, self.std = (torch.tensor(values).view(1, -1, 1, 1) for values in (work.mean, work.std))
        self.optimiser = kind(
            self.network.parameters(), lr=work.learning_rate, weight_decay=work.weight_decay, fused=True
        )

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """One step on a batch → its loss."""
        self.optimiser.zero_grad(set_to_none=True)
        x = images.contiguous(memory_format=self.work.layout)
        if self.work.dwt is not None:
            x = sub_bands(x, enlarged=self.work.dwt == "dwt_resize")
        loss = functional.cross_entropy(self.network((x - self.mean) / self.std), labels)
        loss.backward()
        self.optimiser.step()
        return loss.detach()


def modules_step(
    network: torch.nn.Module,
    inputs: tuple[torch.Tensor, ...],
    labels: torch.Tensor,
    *,
    optimiser: str,
    learning_rate: float,
    weight_decay: float,
    channels_last: bool,
) -> Callable[[], torch.Tensor]:
    """The same loop over modules that timm does not have: a call makes a step → its loss.

    The first of the inputs are images.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(memory_format=layout).train()
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimiser]
    steps = kind(network.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)

    def step() -> torch.Tensor:
        steps.zero_grad(set_to_none=True)
        images, *beside = inputs
        loss = functional.cross_entropy(network(images.contiguous(memory_format=layout), *beside), labels)
        loss.backward()
        steps.step()
        return loss.detach()

    return step


def keep_freed_memory() -> None:
    """Have malloc hand nothing back to the system from here on, where it is glibc's.

    Otherwise it hangs on what was allocated before whether a large array costs page faults, and time with it.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        trim_threshold, mmap_max = -1, -4  # as malloc.h numbers them
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_max, 0)


def memory() -> tuple[float, float]:
    """What this program holds now, and the most it ever did, in MiB; on Linux alone.

    Not from getrusage, whose figure holds the memory of the process that started this one, too.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    now, most = (next(line for line in lines if line.startswith(key)) for key in ("VmRSS", "VmHWM"))
    return int(now.split()[1]) / 2**10, int(most.split()[1]) / 2**10


def main(work: Work, steps: int) -> None:
    """Steps in a process of their own; prints its memory before the first, and at most."""
    torch.manual_seed(0)
    loop, (images, labels) = Loop(work, new_network(work)), batch(work)
    before, _ = memory()
    for _ in range(steps):
        loop(images, labels)
    print(json.dumps([before, memory()[1]]))


if __name__ == "__main__":
    main(Work(**json.loads(sys.argv[1])), int(sys.argv[2]))
