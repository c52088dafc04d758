"""Parameters and multiply-accumulates of the published networks and of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tellsign.evaluate.cae_net.study import configuration
from tellsign.evaluate.cae_net.tables import PAPER
from tellsign.evaluate.comparisons import NOT_IN_PAPER
from tellsign.evaluate.published import records
from tellsign.evaluate.reproduce import Result, Row
from tellsign.systems.cae_net.config import CaeNetConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.evaluate.reproduce import Inputs
    from tellsign.systems.cae_net.counts import Count

COLUMNS = {
    "parameters, all": ("parameters", 1e6, "M"),
    "parameters, convolutions and linear": ("conv_linear", 1e6, "M"),
    "multiply-accumulates": ("macs", 1e9, "G"),
}
# (row, column) → what the paper's table of costs calls it.
PRINTED = {
    ("total", "parameters, convolutions and linear"): "ensemble parameters (M)",
    ("efficientnet", "parameters, convolutions and linear"): "EfficientNet-B0 parameters (M)",
    ("total", "multiply-accumulates"): "ensemble GFLOPs",
    ("efficientnet", "multiply-accumulates"): "EfficientNet-B0 GFLOPs",
}


def cost(name: str, inputs: Inputs) -> Result:
    """The published networks and those of the configuration. Needs no images, and nothing is trained."""
    import torch

    full, own = CaeNetConfig(), configuration(inputs.config)
    rows = _rows("", full, PRINTED)
    if own.branches != full.branches or own.size != full.size or own.dwt != full.dwt:
        rows += _rows(f"{_title(inputs)}: ", own, {})
    notes = (
        (
            f"Counted by torch.utils.flop_counter of PyTorch {torch.__version__}: half of the operations "
            f"that it gives, for one crop: of {full.size} pixels for the published networks, of {own.size} "
            f"for {_title(inputs)}."
        ),
        (
            "The published 117.4 M and 3.96 M are convolutions and linear layers alone; the published 0.4 "
            "GFLOPs are multiply-accumulates. The published 24.8 are not reproduced, by no input size that "
            "was tried."
        ),
    )
    return Result(name, f"{PAPER}, cost", tuple(rows), notes)


def _title(inputs: Inputs) -> str:
    return inputs.config.stem if inputs.config else "cae-net-small"


def _rows(prefix: str, config: CaeNetConfig, printed: Mapping[tuple[str, str], str]) -> list[Row]:
    rows = []
    for branch, count in _counts(config).items():
        for column, (key, scale, unit) in COLUMNS.items():
            method = printed.get((branch, column))
            value = None
            if method is not None:
                (record,) = records("cae-net", "cost", method=method)
                value = record.value if isinstance(record.value, (int, float)) else None
            measured = getattr(count, key) / scale
            note = "" if method else NOT_IN_PAPER
            rows.append(Row(f"{prefix}{branch}", f"{column}, {unit}", value, measured, None, note, unit))
    return rows


def _counts(config: CaeNetConfig) -> dict[str, Count]:
    import torch

    from tellsign.nn.backbones import SCRATCH
    from tellsign.systems.cae_net.counts import counts
    from tellsign.systems.cae_net.model import new_branch

    with torch.device("meta"):  # no weights, no memory, nothing computed
        branches = {name: new_branch(config, name, weights=SCRATCH) for name in config.branches}
        return counts(branches, config.size)
