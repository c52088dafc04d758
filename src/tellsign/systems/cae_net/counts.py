"""How large and how costly CAE-Net is: parameters and multiply-accumulates, beside the published numbers.

Parameters are counted twice, because the published 117.4 M are those of convolutions and linear layers alone:
all parameters of the three networks are 117.6 M. Multiply-accumulates (MACs) are those that PyTorch's own
counter sees, half of the floating-point operations it gives: convolutions and products of matrices, attention
included. The published 0.4 G of EfficientNet-B0 are MACs too, though called FLOPs. The published 24.8 G of
the ensemble are not reproduced by any input size or counter that was tried.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tellsign.engine.scores import evaluating

if TYPE_CHECKING:
    from collections.abc import Mapping

TOTAL = "total"
PUBLISHED = {"parameters": 117.4e6, "macs": 24.8e9}  # of the ensemble; of EfficientNet-B0 3.96 M and 0.4 G


@dataclass(frozen=True, slots=True)
class Count:
    """The size and cost of one network."""

    parameters: int  # all that are trained
    conv_linear: int  # of convolutions and linear layers, biases included
    macs: int  # multiply-accumulates of one crop


def count(network: nn.Module, size: int) -> Count:
    """The size and cost of a network.

    Args:    network: images (B, 3, size, size) → anything. It may lie on the device "meta", where nothing is
             computed and no memory is used.
             size: side of a crop in pixels.
    Returns: parameters, and multiply-accumulates of one crop.
    """
    counted = (nn.modules.conv._ConvNd, nn.Linear)  # the class of all convolutions
    conv_linear = sum(
        parameter.numel()
        for layer in network.modules()
        if isinstance(layer, counted)
        for parameter in layer.parameters(recurse=False)
    )
    device = next(network.parameters()).device
    with evaluating(network), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, size, size, device=device))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Count(parameters, conv_linear, int(counter.get_total_flops()) // 2)


def counts(branches: Mapping[str, nn.Module], size: int) -> dict[str, Count]:
    """The size and cost of each branch and of all.

    Args:    branches: name → network.
             size: side of a crop in pixels.
    Returns: name → count, with the sum under "total".
    """
    found = {name: count(branch, size) for name, branch in branches.items()}
    sums = {key: sum(asdict(one)[key] for one in found.values()) for key in Count.__slots__}
    return {**found, TOTAL: Count(**sums)}


def cost_table(branches: Mapping[str, nn.Module], size: int) -> dict[str, Any]:
    """What `counts` finds, with the tool that counted and the published numbers.

    Args:    branches: name → network. size: side of a crop in pixels.
    Returns: plain values: tool, size, branches, published, note.
    """
    return {
        "tool": f"torch.utils.flop_counter of PyTorch {torch.__version__}, two operations a MAC",
        "size": size,
        "branches": {name: asdict(one) for name, one in counts(branches, size).items()},
        "published": PUBLISHED,
        "note": (
            "the published parameters are those of convolutions and linear layers alone; the published 24.8 "
            "G are not reproduced: MACs of the published networks at 224 pixels are 22.4 G by this counter"
        ),
    }
