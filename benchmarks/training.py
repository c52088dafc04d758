"""A training step of the engine against a bare loop, its wait for files, and its memory.

The engine's side is `train_network` as it is, but for its loader: in its place stands one whose batch lies in
memory. Time: before the engine is handed its batch, the bare loop makes a step on the same one, so that the
two take turns in one process; both start from the same weights and must come to the same loss. Checkpoints,
into which the engine puts 2 % of its time at most, are no part of a step. Memory: each side is a process of
its own, which counts everything, imports included, up to its last step. Waiting: as the engine itself tells
it, from files of 256 × 256 pixels, in the epochs after the one that starts the workers.

The full configurations' steps are longer, and wait the less for files; they are measured on smaller batches,
so that there are enough of them. SFCL-HCMF's bare loop is one over the very same modules, which timm does not
have. `python -m benchmarks.training` prints the rows.
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
from typing import TYPE_CHECKING, Any
from unittest import mock

import timm
import torch

from benchmarks import bare
from benchmarks.decoding import photographs
from tellsign.data import Manifest
from tellsign.data.augment import View
from tellsign.data.loading import Batch
from tellsign.engine import classifier
from tellsign.systems.cae_net.config import CaeNetConfig
from tellsign.systems.cae_net.model import Branch, entry_side, new_branch
from tellsign.systems.sfcl_hcmf.config import SfclHcmfConfig
from tellsign.systems.sfcl_hcmf.training import new_network
from tellsign.train_config import read_config
from tellsign.types import Sample

if TYPE_CHECKING:
    from torch import nn

    from tellsign.engine.config import TrainingConfig
    from tellsign.engine.folder import TrainingResult

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
STEPS = {"cae-net-small": 30, "cae-net": 9}  # in turn, after one of each that doesn't count
SFCL_STEPS = {"sfcl-hcmf-small": 30, "sfcl-hcmf": 7}
BATCHES = {"cae-net": 8, "sfcl-hcmf": 8}  # smaller than configured: a step takes minutes, and few tell little
PEAK_STEPS = 2  # the second has the optimiser's state
PEAK_REPEATS = {"cae-net-small": 5, "cae-net": 1}  # fragments of the heap make some 3 % of difference
FILES, EPOCHS, SIDE = 640, 4, 256  # of the wait: files, of their side; the first epoch starts the workers
NO_CHECKPOINTS = 1e9  # seconds


def read_given(name: str, changes: list[str]) -> dict[str, Any]:
    """What a file of configs/ says of a system, changed, and with the batches that are measured."""
    if name in BATCHES:
        changes = [*changes, f"config.training.batch_size={BATCHES[name]}"]
    return dict(read_config(CONFIGS / f"{name}.toml", changes).config)


@lru_cache
def configuration(name: str) -> CaeNetConfig:
    """A configuration of configs/, from scratch."""
    return CaeNetConfig(**read_given(name, ['config.weights="scratch"']))


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
    """In place of the engine's loader: one batch again and again, and the seconds until the next one."""

    waited = 0.0

    def __init__(self, manifest: Manifest, batch: Batch, before: Callable[[], None]) -> None:
        self.manifest = manifest
        self.bad: dict[int, str] = {}
        self.batch = batch
        self.before = before  # called before each batch
        self.seconds: list[float] = []
        self.memory = [0.0, 0.0]  # before the first step, and at most when the last was made

    def __enter__(self) -> InMemory:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def epoch(self, order: Any, *, batch_size: int, **_: Any) -> Iterator[Batch]:
        self.memory[0], _ = bare.memory()
        for _step in range(len(order) // batch_size):
            self.before()
            began = time.perf_counter()
            yield self.batch
            self.seconds.append(time.perf_counter() - began)
        _, self.memory[1] = bare.memory()


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
    network: nn.Module,
    training: Manifest,
    valid: Manifest,
    view: View,
    given: TrainingConfig,
    run: Path,
    **options: Any,
) -> TrainingResult:
    """The engine's training of a network, with a constant rate and without checkpoints."""
    settings = replace(given, schedule="constant", checkpoint_seconds=NO_CHECKPOINTS, **options)
    identity = {"detector": "benchmark"}
    return classifier.train_network(
        network, training, valid, view, settings, run=run, seed=0, identity=identity
    )


def in_memory(
    network: nn.Module,
    view: View,
    given: TrainingConfig,
    *,
    batch: Batch,
    steps: int,
    before: Callable[[], None] = lambda: None,
) -> tuple[InMemory, float]:
    """The engine's steps on one batch in memory → its loader, which timed them, and the mean loss."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(Path(folder), view.size, steps * given.batch_size)
        training, valid = labelled(paths), labelled(paths[:2])
        loader = InMemory(training, batch, before)
        with mock.patch.object(classifier, "new_loader", return_value=loader):
            result = trained(network, training, valid, view, given, Path(folder) / "run", epochs=1, workers=0)
    return loader, result.history[0]["loss"]


def batch_of(images: torch.Tensor, labels: torch.Tensor, descriptors: torch.Tensor | None = None) -> Batch:
    """A batch as the engine's loader gives it, of the first images of a manifest."""
    return Batch(images, labels, torch.arange(len(labels)), len(labels), descriptors=descriptors)


def step_row(config_name: str, name: str) -> dict[str, Any]:
    """The engine's rate over a bare loop's, of a branch of CAE-Net."""
    config = configuration(config_name)
    branch = new(config, name)
    task = work(config, name, branch)
    images, labels = bare.batch(task)
    bare_loop = bare.Loop(task, deepcopy(branch.network))
    return rate_row(
        f"{config_name}, {name}",
        branch,
        View(config.size, flip=True),
        config.training,
        batch_of(images, labels),
        lambda: bare_loop(images, labels),
        steps=STEPS[config_name],
    )


def sfcl_configuration(name: str) -> SfclHcmfConfig:
    """A configuration of configs/, from scratch, looking at images as they are."""
    scratch = [f'config.{stream}.weights="scratch"' for stream in ("spatial", "local")]
    # Where a processor emulates bf16, that is all that a step does.
    changes = [*scratch, 'config.region="image"', 'config.training.precision="float32"']
    return SfclHcmfConfig(**read_given(name, changes))


def sfcl_row(name: str, config: SfclHcmfConfig, *, steps: int) -> dict[str, Any]:
    """The engine's rate over a bare loop's, of SFCL-HCMF; both have the same modules and statistics."""
    network, options = new_network(config, seed=0), config.training
    random = torch.Generator().manual_seed(0)
    images = torch.rand(options.batch_size, 3, config.size, config.size, generator=random)
    descriptors = torch.rand(options.batch_size, config.input.look.n_descriptor, generator=random)
    labels = torch.arange(options.batch_size) % 2
    look = config.input.look
    return rate_row(
        name,
        network,
        View(config.size, flip=config.flip, fit=look.fit, descriptor=look.descriptor),
        options,
        batch_of(images, labels, descriptors),
        bare.modules_step(
            deepcopy(network),
            (images, descriptors),
            labels,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
            optimiser=options.optimiser,
            channels_last=options.channels_last,
        ),
        steps=steps,
    )


def rate_row(
    what: str,
    network: nn.Module,
    view: View,
    given: TrainingConfig,
    batch: Batch,
    bare_loop: Callable[[], torch.Tensor],
    *,
    steps: int,
) -> dict[str, Any]:
    """The time of a bare step over that of the engine's, as the median over pairs."""
    bare.keep_freed_memory()
    seconds: list[float] = []
    losses: list[float] = []

    def bare_step() -> None:
        began = time.perf_counter()
        losses.append(float(bare_loop()))
        seconds.append(time.perf_counter() - began)

    loader, loss = in_memory(network, view, given, batch=batch, steps=steps + 1, before=bare_step)
    # What is compared does the same work.
    assert abs(loss - statistics.mean(losses)) < 1e-3 * loss, (loss, losses)
    pairs = list(zip(seconds, loader.seconds, strict=True))[1:]
    each = statistics.median(ours for _, ours in pairs)
    return {
        "name": f"training step, {what} (batch {len(batch.labels)}, {each:.2f} s), rate over a bare loop",
        "value": statistics.median(theirs / ours for theirs, ours in pairs),
        "target": 0.97,
        "unit": "×",
    }


def engine_memory(config_name: str, name: str, steps: int) -> None:
    """The engine's steps in this process; prints its memory before the first, and at most."""
    config = configuration(config_name)
    branch = new(config, name)
    batch = batch_of(*bare.batch(work(config, name, branch)))
    view = View(config.size, flip=True)
    print(json.dumps(in_memory(branch, view, config.training, batch=batch, steps=steps)[0].memory))


def memory_of(*command: str) -> list[float]:
    """What a process of its own prints."""
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, *command], check=True, stdout=subprocess.PIPE, text=True, cwd=root)
    return list(json.loads(done.stdout.splitlines()[-1]))


def memory_row(config_name: str, name: str) -> dict[str, Any]:
    """The engine's peak over the bare loop's: medians over processes that take turns."""
    what = f"memory of a training step, {config_name}, {name}"
    row: dict[str, Any] = {"target": 1.05, "unit": "×", "at_most": True}
    if sys.platform != "linux":
        return {**row, "name": what, "value": None, "reason": "it is only read on Linux"}
    config = configuration(config_name)
    task = json.dumps(asdict(work(config, name, new(config, name))))
    code = "import sys; from benchmarks import training; "
    code += "training.engine_memory(sys.argv[1], sys.argv[2], int(sys.argv[3]))"
    pairs = [
        (
            memory_of("-m", "benchmarks.bare", task, str(PEAK_STEPS)),
            memory_of("-c", code, config_name, name, str(PEAK_STEPS)),
        )
        for _ in range(PEAK_REPEATS[config_name])
    ]
    bare_now, bare_most, own_now, own_most = (
        statistics.median(pair[side][when] for pair in pairs) for side in (0, 1) for when in (0, 1)
    )
    return {
        **row,
        "name": f"{what} ({own_most:.0f} MiB, {own_now:.0f} of them before the first step), over a bare loop "
        f"({bare_most:.0f}, {bare_now:.0f})",
        "value": own_most / bare_most,
    }


def waiting_row(config_name: str, name: str) -> dict[str, Any]:
    """The share of the steps' time in which the network had no images, with workers that read files."""
    config = configuration(config_name)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(Path(folder), max(SIDE, config.size), FILES)
        training, valid = labelled(paths), labelled(paths[:16])
        view, run = View(config.size, flip=True), Path(folder) / "run"
        result = trained(new(config, name), training, valid, view, config.training, run, epochs=EPOCHS)
    rate = statistics.median(row["images_per_second"] for row in result.history[1:])
    first = result.history[0]["waiting"]
    return {
        "name": f"waiting for files, {config_name}, {name} ({rate:.0f} images/s; {first:.1%} in the epoch "
        "that starts the workers)",
        "value": 100 * statistics.median(row["waiting"] for row in result.history[1:]),
        "target": 5,
        "unit": "%",
        "at_most": True,
    }


def rows() -> Iterator[dict[str, Any]]:
    """Time and memory of both CAE-Nets' branches, the wait of the small one's; time of both SFCL-HCMF."""
    for config_name in STEPS:
        names = list(configuration(config_name).branches)
        kinds = [step_row, memory_row, *([waiting_row] if config_name == "cae-net-small" else [])]
        yield from (row(config_name, name) for row in kinds for name in names)
    yield from (sfcl_row(name, sfcl_configuration(name), steps=n) for name, n in SFCL_STEPS.items())


if __name__ == "__main__":
    for row in rows():
        print(row)
