"""`tellsign`, each time in a process of its own, which is killed when a test says so.

Detectors have no graph, whose export takes most of the time of a tiny training; or, where a folder for graphs
is given, each graph is made once. Intervals have few resamples, and there are three perturbations.
Says "ready", then reads pairs of lines. The first is JSON: arguments, and the files that take what is printed
and what is said. The second is "kill", which takes effect when it comes, or "wait". The answer is the signal
that ended the process, or minus its exit status.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import sklearn.manifold
import sklearn.svm
import timm
import torch

from cae_net_tiny import without_graph
from tellsign.cli import main
from tellsign.engine.checkpoint import weights_digest
from tellsign.engine.export import ScoredNetwork, graph_bytes
from tellsign.evaluate import comparisons
from tellsign.evaluate.cae_net import ablations, figures, perturbed, retention, strategies
from tellsign.evaluate.sfcl_hcmf import ablations as sfcl_ablations
from tellsign.evaluate.sfcl_hcmf import sida, tables

# What is imported when it is first used, so that no process has to.
IMPORTED = (
    sklearn.manifold,
    sklearn.svm,
    timm,
    ablations,
    figures,
    retention,
    strategies,
    sfcl_ablations,
    tables,
)


class Patch:
    """For a process's life."""

    def setattr(self, target: str, value: Any) -> None:
        module, name = target.rsplit(".", 1)
        setattr(importlib.import_module(module), name, value)


def with_remembered_graphs(patch: Patch, folder: Path) -> None:
    """Networks with the same weights share a graph; and trainings have no pictures."""
    made = graph_bytes

    def remembered(network: ScoredNetwork, size: int, *, n_descriptor: int = 0) -> bytes:
        assert not n_descriptor
        file = folder / f"{weights_digest(network)}-{size}.onnx"
        if not file.exists():
            file.write_bytes(made(network, size))
        return file.read_bytes()

    patch.setattr("tellsign.engine.export.graph_bytes", remembered)
    patch.setattr("tellsign.engine.recorder.write_curves", lambda *_: None)
    patch.setattr("tellsign.systems.cae_net.stages._draw", lambda file, *_: file.write_bytes(b""))


def run(arguments: list[str], printed: str, said: str) -> int:
    """The exit status of the command."""
    for number, path in ((1, printed), (2, said)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = ["tellsign", *arguments]
    try:
        main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def serve() -> None:
    torch.set_num_threads(1)
    os.fsync = os.fstat  # nobody cuts the power
    if len(sys.argv) > 1:
        with_remembered_graphs(Patch(), Path(sys.argv[1]))
    else:
        without_graph(Patch())
    comparisons.RESAMPLES = 50
    for module in (perturbed, sida):
        module.suite = lambda: ("none", "jpeg:50", "blur:9")
    print("ready", flush=True)
    while line := sys.stdin.readline():
        number = os.fork()
        if not number:
            code = 99
            try:
                code = run(*json.loads(line))
            finally:
                os._exit(code)
        if sys.stdin.readline() == "kill\n":
            os.kill(number, signal.SIGKILL)  # not waited for yet, so that the number is still its own
        status = os.waitpid(number, 0)[1]
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status), flush=True)


if __name__ == "__main__":
    serve()
