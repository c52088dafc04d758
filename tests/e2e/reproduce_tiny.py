"""`tellsign`, with detectors that have no graph: its export takes most of the time of a tiny training."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import torch

from cae_net_tiny import without_graph
from tellsign.cli import main


class Patch:
    """For a process's life."""

    def setattr(self, target: str, value: Any) -> None:
        module, name = target.rsplit(".", 1)
        setattr(importlib.import_module(module), name, value)


if __name__ == "__main__":
    torch.set_num_threads(1)
    without_graph(Patch())
    sys.argv[0] = "tellsign"
    main()
