"""Where arithmetic keeps the type of what it is given, in whatever precision a network is trained."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """The context in which products keep the type of what is multiplied; none where they do anyway.

    Args:    device: of the tensors.
    Returns: a context manager.
    """
    # Asked first: the device "meta" knows no autocast, and an export would write the switch into its graph.
    known = torch.amp.is_autocast_available(device.type)
    if known and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
