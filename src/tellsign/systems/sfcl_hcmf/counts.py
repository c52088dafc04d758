"""How many parameters each part of SFCL-HCMF has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def parameter_counts(network: nn.Module) -> dict[str, int]:
    """The parameters of each part of a network, and of all.

    Args:    network: an `SfclHcmf`.
    Returns: name of the part → number, those without parameters left out; "total" last.
    """
    found = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    return {name: n for name, n in found.items() if n} | {"total": sum(found.values())}
