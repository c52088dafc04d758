"""A training step of the engine against a bare loop, its wait for files, and its memory.

The engine's side is `train_network` as it is, but for its loader: in its place stands one whose batch lies in
memory. Time: before the engine is handed its batch, the bare loop makes a step on the same one, so that the
two take turns in one process; both start from the same weights and must come to the same loss. Checkpoints,
into which the engine puts 2 % of its time at most, are no part of a step. Memory: each side is a process of
its own, which counts everything, imports included, up to its last step. Waiting: as the engine itself tells
it, from files of 256 × 256 pixels, in the epochs after the one that starts the workers.

`python -m benchmarks.training` prints the rows.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import timm
import torch

from benchmarks import bare
from benchmarks.decoding import photographs
from tellsign.data import Manifest
from tellsign.data.augment import View
from tellsign.data.loading import Batch
from tellsign.engine import loop
from tellsign.engine.config import TrainingConfig
from tellsign.engine.folder import TrainingResult
from tellsign.systems.cae_net.config import CaeNetConfig
from tellsign.systems.cae_net.model import Branch, entry_side, new_branch
from tellsign.train_config import read_config
from tellsign.types import Sample

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
STEPS = {"cae-net-small": 30, "cae-net": 3}  # in turn, after one of each that doesn't count
PEAK_STEPS = 2  # the second has the optimiser's state
PEAK_REPEATS = {"cae-net-small": 3, "cae-net": 1}
FILES, EPOCHS, SIDE = 640, 4, 256  # of the wait: files, of their side; the first epoch starts the workers
NO_CHECKPOINTS = 1e9  # seconds


@lru_cache
def configuration(name: str) -> CaeNetConfig:
    """A configuration of configs/, from scratch."""
    return CaeNetConfig(**read_config(CONFIGS / f"{name}.toml", ['config.weights="scratch"']).config)


def new(config: CaeNetConfig, name: str) -> Branch:
    """A branch with its first weights, the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return new_branch(config, name)


def work(config: CaeNetConfig, name: str, branch: Branch) -> bare.Work:
    """What the bare loop does for a branch."""
    options = dict(config.branches[name].options)
    if timm.get_pretrained_cfg(config.branches[name].backbone).fixed_input_size:
        options["img_size"] = entry_side(config, name)
    training = config.training
    return bare.Work(
        backbone=config.branches[name].backbone,
        options=options,
        dwt=branch.dwt,
        mean=branch.get_buffer("mean").flatten().tolist(),
        std=branch.get_buffer("std").flatten().tolist(),
        size=config.size,
        batch_size=training.batch_size,
        optimiser=training.optimiser,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        channels_last=training.channels_last,
    )


class InMemory:
    """In place of the engine's loader: one batch again and again, and the seconds until the next was wanted."""

    waited = 0.0

    def __init__(
        self, manifest: Manifest, images: torch.Tensor, labels: torch.Tensor, before: Callable[[], None]
    ) -> None:
        self.manifest = manifest
        self.bad: dict[int, str] = {}
        self.batch = Batch(images, labels, torch.arange(len(labels)), len(labels))
        self.before = before  # called before each batch
        self.seconds: list[float] = []
        self.peak = 0.0  # when the last step was made

    def __enter__(self) -> InMemory:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def epoch(self, order: Any, *, batch_size: int, **_: Any) -> Iterator[Batch]:
        for _step in range(len(order) // batch_size):
            self.before()
            began = time.perf_counter()
            yield self.batch
            self.seconds.append(time.perf_counter() - began)
        self.peak = bare.peak()


def write_images(folder: Path, side: int, n: int) -> list[Path]:
    """JPEGs, each picture linked under many names."""
    n_pictures, paths = min(20, n), []
    for number, content in enumerate(photographs(side, side, n_pictures)):
        paths.append(folder / f"{number:05d}.jpg")
        paths[-1].write_bytes(content)
    for number in range(n_pictures, n):
        path = folder / f"{number:05d}.jpg"
        path.hardlink_to(paths[number % n_pictures])
        paths.append(path)
    return paths


def labelled(paths: list[Path]) -> Manifest:
    """Reals and fakes in turn."""
    return Manifest(tuple(Sample(path, number % 2) for number, path in enumerate(paths)))


def trained(
    branch: Branch, training: Manifest, valid: Manifest, config: CaeNetConfig, run: Path, **options: Any
) -> TrainingResult:
    """The engine's training of a branch, with a constant rate and without checkpoints."""
    settings: TrainingConfig = replace(
        config.training, schedule="constant", checkpoint_seconds=NO_CHECKPOINTS, **options
    )
    view = View(config.size, flip=True)
    identity = {"detector": "benchmark"}
    return loop.train_network(branch, training, valid, view, settings, run=run, seed=0, identity=identity)


def in_memory(
    branch: Branch, config: CaeNetConfig, steps: int, before: Callable[[], None]
) -> tuple[InMemory, float]:
    """The engine's steps on one batch that lies in memory: the loader, which timed them, and the mean loss."""
    n = config.training.batch_size
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(Path(folder), config.size, n)
        training, valid = labelled(paths * steps), labelled(paths[:2])
        loader = InMemory(training, *bare.batch(work(config, "", branch)), before) if False else None
        del loader
        raise NotImplementedError(training, valid)
