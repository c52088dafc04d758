"""The training of networks, from its first step to its last, over kills and on several devices.

What is trained is a `Task`. Whatever is random of a step follows from the seed, the epoch, the step and the
rank, and the order of the data from the seed and the epoch. So a run that is killed and started again ends
with the same weights, bit for bit on a CPU with as many threads; and the random state of the caller is as it
was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tellsign.engine.distributed import gathered, this_process
from tellsign.engine.folder import TrainingResult, opened, run_identity
from tellsign.engine.memory import training_memory_explained
from tellsign.engine.record import require_finite
from tellsign.engine.recorder import Recorder, restored_result
from tellsign.engine.schedule import set_learning_rates
from tellsign.engine.scores import slow_arithmetic
from tellsign.engine.step import layout
from tellsign.engine.task import Bad, named

if TYPE_CHECKING:
    from torch import nn

    from tellsign.data.manifest import Manifest
    from tellsign.engine.config import TrainingConfig
    from tellsign.engine.distributed import Process
    from tellsign.engine.task import Task

Say = Callable[[str], None]


def train(
    model: nn.Module,
    new_task: Callable[[Process], Task],
    config: TrainingConfig,
    *,
    run: Path,
    seed: int,
    identity: Mapping[str, Any],
    data: Mapping[str, Manifest],
    say: Say = lambda text: None,
) -> TrainingResult:
    """Train, or go on where an earlier run of the same training came to an end.

    Args:    model: all that is trained, with its first weights; several networks as an `nn.ModuleDict`. It
             gets the weights of the result.
             new_task: called once, with the model on its device, unless the run is done already.
             config: all options.
             run: a folder of this training alone. seed: of everything random, 0 or more.
             identity: plain values that say what else the weights depend on; only the same goes on.
             data: name of a split → its images.
             say: told of progress and of what happens, in one process of several.
    Returns: best epoch, history and time taken; at once where the run was done.
    Raises:  ConfigError: `run` is of another training or can't be written, a loss is not finite, memory does
             not suffice, an option can't be carried out. ManifestError: images can't be used. Whatever is
             raised, the last checkpoint is whole.
    """
    at = this_process(config.device)
    known = run_identity(identity, data, config, seed=seed)
    with (
        opened(run, known, config, at, say=say),
        own_random_state(at),
        training_memory_explained(run, config),
    ):
        model.to(at.device).to(memory_format=layout(config))
        if result := restored_result(run, model, at):
            return result
        task = new_task(at)
        recorder = Recorder(run, model, task, config, at, identity=known, say=say)
        if slow := slow_arithmetic(at.device, config.precision):
            recorder.say(slow)
        journal = recorder.journal
        with task.loader:
            while not journal.is_over(config.epochs, config.patience):
                train_epoch(task, recorder, seed=seed)
                set_random_state(step_seed(seed, journal.epoch, journal.step, at.rank), at)
                recorder.epoch_done(task.measured(recorder.where))
        return recorder.result()


def train_epoch(task: Task, recorder: Recorder, *, seed: int) -> None:
    """Make the steps of an epoch that are not made yet.

    Args:    task: what is trained. recorder: of the training. seed: of the training.
    Raises:  ConfigError: a loss is not finite, or a file can't be written. ManifestError: images can't be
             used.
    """
    at, journal, loader = recorder.at, recorder.journal, task.loader
    options = {"epoch": journal.epoch, "start": journal.step, "rank": at.rank, "world": at.world}
    recorder.model.train()
    recorder.begin_epoch()
    for batch in loader.epoch(task.order(journal.epoch), batch_size=task.batch_size, **options):
        set_random_state(step_seed(seed, journal.epoch, journal.step, at.rank), at)
        set_learning_rates(task.optimisers, recorder.config, journal.steps, recorder.n_steps)
        step = task.step(batch)
        require_finite(step, loader.manifest, where=recorder.where)
        # Every process sees that images are missing, so that a checkpoint knows those of all.
        is_whole = step.n == batch.n_global
        bad = {} if is_whole else of_all(named(loader.bad, loader.manifest), at)
        recorder.step_done(step, waited=loader.waited, bad=bad)


def step_seed(seed: int, epoch: int, step: int, rank: int) -> int:
    """The seed of whatever is random in the networks and their losses at one step.

    Args:    seed: of the training. epoch, step: from 0. rank: of this process.
    Returns: a number below 2**63.
    """
    # A stream apart from those of the order and of the augmentation.
    sequence = np.random.SeedSequence((seed, epoch, step), spawn_key=(1, rank))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def set_random_state(seed: int, at: Process) -> None:
    """Have PyTorch's random numbers on this process's devices follow from a seed."""
    # Not torch.manual_seed, which spends half a millisecond on devices that are not there.
    torch.default_generator.manual_seed(seed)
    if at.device.type == "cuda":
        torch.cuda.manual_seed(seed)


def of_all(bad: Bad, at: Process) -> Bad:
    """The images that any process has left out."""
    return {row: tuple(entry) for part in gathered(list(bad.items()), at) for row, entry in part}


@contextmanager
def own_random_state(at: Process) -> Iterator[None]:
    """Random numbers that are drawn in the block are none of the caller's."""
    devices = [at.device.index] if at.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield
