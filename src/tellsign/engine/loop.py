"""The training of a network, from its first step to its last, over kills and on several devices.

Whatever is random of a step follows from the seed, the epoch, the step and the rank, and the order of the
data from the seed and the epoch. So a run that is killed and started again ends with the same weights, bit
for bit on a CPU with as many threads; and the random state of the caller is as it was.

Shapes: B batch (of this process), N samples, S side of a crop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tellsign.data.face_boxes import FaceBoxes
from tellsign.data.loading import Loader
from tellsign.data.manifest import Manifest, require_both_classes
from tellsign.engine.distributed import gathered, joined, share_buffers, this_process, totals
from tellsign.engine.faces import found_faces, with_faces
from tellsign.engine.folder import TrainingResult, cache_folder, opened, run_identity
from tellsign.engine.losses import balanced_loss, epoch_length, epoch_order, training_loss
from tellsign.engine.memory import training_memory_explained
from tellsign.engine.record import Step, require_finite
from tellsign.engine.recorder import Recorder, restored_result
from tellsign.engine.schedule import learning_rate, set_learning_rate
from tellsign.engine.scores import arithmetic, evaluating, network_scores
from tellsign.metrics import accuracy, auroc
from tellsign.types import FAKE, ConfigError, ManifestError

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from tellsign.data.augment import View
    from tellsign.data.loading import Batch
    from tellsign.engine.config import TrainingConfig
    from tellsign.engine.distributed import Process
    from tellsign.engine.losses import Loss
    from tellsign.image.network_input import NetworkInput

Say = Callable[[str], None]
Bad = dict[int, tuple[str, str]]  # row → path and reason


def train_network(
    model: nn.Module,
    training: Manifest,
    valid: Manifest,
    view: View,
    config: TrainingConfig,
    *,
    run: Path,
    seed: int,
    identity: Mapping[str, Any],
    loss: Loss | None = None,
    max_crops: int = 1,
    faces: Path | None = None,
    cache: Path | None = None,
    say: Say = lambda text: None,
) -> TrainingResult:
    """Train a network, or go on where an earlier run of the same training came to an end.

    Args:    model: images (B, 3, S, S) in [0, 1], and descriptors (B, D) where the view has one → logits
             (B, 2), with its first weights; it gets the best.
             training, valid: labelled images; the best epoch is chosen on `valid`.
             view: how an image becomes what the network sees in training.
             config: all other options.
             run: a folder of this training alone. seed: of everything random, 0 or more.
             identity: plain values that say what else the weights depend on; only the same goes on.
             loss: in place of the one that `config.balance` names.
             max_crops: of a validation image, whose scores are averaged.
             faces, cache: file of the faces that a view of faces or `attention_weight` needs, and folder of
             the decoded images that `config.cache` asks for; several trainings may share them. None: one in
             `run` or beside it.
             say: told of progress and of what happens, in one process of several.
    Returns: best epoch, history and time taken; at once where the run was done.
    Raises:  ConfigError: `run` is of another training or can't be written, a loss is not finite, memory does
             not suffice, an option can't be carried out. ManifestError: a class is missing, or images can't
             be used. Whatever is raised, the last checkpoint is whole.
    """
    at = this_process(config.device)
    for name, part in (("training", training), ("validation", valid)):
        require_both_classes(part, f"the {name} split")
    known = run_identity(identity, training, valid, view, config, max_crops=max_crops, seed=seed)
    cache = (cache or cache_folder(run)) if config.cache else None
    with (
        opened(run, known, config, at, say=say),
        own_random_state(at),
        training_memory_explained(run, config),
    ):
        model.to(at.device).to(memory_format=layout(config))
        if result := restored_result(run, model, at):
            return result
        boxes = valid_boxes = None
        options: Any = {"file": faces, "cache": cache, "say": say}
        if view.region == "face":
            training, boxes = with_faces(training, "training", run, config, at, **options)
            valid, valid_boxes = with_faces(valid, "validation", run, config, at, **options)
        elif config.attention_weight:
            boxes = found_faces(training, run, config, at, **options)
        labels = training.labels
        n_steps = -(-epoch_length(labels, config.balance) // config.batch_size)
        loss = training_loss(loss or balanced_loss(config.balance, labels), model, config)
        optimiser = new_optimiser(model, config)
        recorder = Recorder(run, model, optimiser, config, at, identity=known, n_steps=n_steps, say=say)
        journal = recorder.journal
        network = joined(model, at)
        with new_loader(training, view, config, cache=cache, seed=seed, faces=boxes) as loader:
            while not journal.is_over(config.epochs, config.patience):
                order = epoch_order(labels, config.balance, seed=seed, epoch=journal.epoch)
                train_epoch(network, loss, loader, order, recorder, seed=seed)
                measured, bad = validated(
                    model,
                    valid,
                    view.network_input(max_crops),
                    config=config,
                    at=at,
                    cache=cache,
                    faces=valid_boxes,
                    where=recorder.where,
                )
                recorder.leave_out("valid", bad)
                recorder.epoch_done(measured, learning_rate=learning_rate(config, journal.steps - 1, n_steps))
        return recorder.result()


def train_epoch(
    network: nn.Module,
    loss: Loss,
    loader: Loader,
    order: np.ndarray[Any, Any],
    recorder: Recorder,
    *,
    seed: int,
) -> None:
    """Make the steps of an epoch that are not made yet.

    Args:    network: of `recorder.model`, distributed where there are several processes.
             loss: of it. loader: of its images.
             order: (M,) of them, in this epoch.
             recorder: of the training, with its optimiser. seed: of the training.
    Raises:  ConfigError: a loss is not finite, or a file can't be written. ManifestError: images can't be
             used.
    """
    at, config, journal, optimiser = recorder.at, recorder.config, recorder.journal, recorder.optimiser
    options = {"epoch": journal.epoch, "start": journal.step, "rank": at.rank, "world": at.world}
    network.train()
    recorder.begin_epoch()
    for batch in loader.epoch(order, batch_size=config.batch_size, **options):
        set_random_state(step_seed(seed, journal.epoch, journal.step, at.rank), at)
        set_learning_rate(optimiser, learning_rate(config, journal.steps, recorder.n_steps))
        step = training_step(network, loss, batch, optimiser, config=config, at=at)
        require_finite(step, loader.manifest, where=recorder.where)
        # Every process sees that images are missing, so that a checkpoint knows those of all.
        is_whole = step.n == batch.n_global
        bad = {} if is_whole else of_all(named(loader.bad, loader.manifest), at)
        recorder.step_done(step, waited=loader.waited, bad=bad)


def layout(config: TrainingConfig) -> torch.memory_format:
    """The order of an image's numbers in memory."""
    return torch.channels_last if config.channels_last else torch.contiguous_format


def new_optimiser(model: nn.Module, config: TrainingConfig) -> Optimizer:
    """Adam or AdamW of the parameters that are trained; one fused step for all of them.

    Args:    model: on its device. config: of the training.
    Returns: an optimiser without state.
    Raises:  ConfigError: there is nothing to train.
    """
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ConfigError("the network has no parameter that is trained: found none with requires_grad")
    kind: type[torch.optim.Adam] = kinds[config.optimiser]
    return kind(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


def new_loader(
    training: Manifest,
    view: View,
    config: TrainingConfig,
    *,
    cache: Path | None,
    seed: int,
    faces: FaceBoxes | None = None,
) -> Loader:
    """The loader of a training.

    Args:    training: the images. view: what is seen of them. config: of the training.
             cache: folder of decoded images, or none. seed: of the augmentation.
             faces: of the images, where the view or the loss needs them.
    Returns: a loader, whose workers start with its first epoch.
    """
    return Loader(
        training,
        view,
        seed=seed,
        workers=config.workers,
        cache=cache,
        on_bad=config.on_bad,
        max_bad=config.max_bad,
        faces=faces,
        shown=config.attention_weight > 0,
    )


def step_seed(seed: int, epoch: int, step: int, rank: int) -> int:
    """The seed of whatever is random in the network and its loss at one step.

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


def training_step(
    network: nn.Module,
    loss: Loss,
    batch: Batch,
    optimiser: Optimizer,
    *,
    config: TrainingConfig,
    at: Process,
) -> Step:
    """Forward, backward, and a step of the optimiser unless the loss or its gradient is not finite.

    The losses are added over all processes and divided by the planned size of the global batch, so that the
    gradient is that of one process with the whole batch.

    Args:    network: in training mode, distributed where there are several processes.
             loss: of it. batch: this process's share, which may be empty.
             optimiser: of its parameters. config: of the training. at: this process.
    Returns: images and losses over all processes.
    """
    n = len(batch.rows)
    optimiser.zero_grad(set_to_none=True)
    if n:
        images = batch.images.to(at.device, non_blocking=True, memory_format=layout(config))
        labels = batch.labels.to(at.device, non_blocking=True)
        more = {name: tensor.to(at.device, non_blocking=True) for name, tensor in _besides(batch).items()}
        with arithmetic(at.device, config.precision):
            losses, figures = loss(network, images, labels, **more)
    else:
        losses, figures = _nothing(network, loss, batch, config, at)
    names = sorted(figures)
    sums = totals([n, losses.sum(), *(n * figures[name] for name in names)], at)
    step = Step(round(sums[0]), sums[1], dict(zip(names, sums[2:], strict=True)))
    if not math.isfinite(step.loss):
        wrong = batch.rows[~torch.isfinite(losses.detach()).cpu()].tolist() if n else []
        return Step(step.n, step.loss, rows=tuple(row for rows in gathered(wrong, at) for row in rows))
    if step.n:
        # Several processes take the mean of their gradients.
        torch.autograd.backward(losses.sum() * (at.world / batch.n_global))
        norm = _gradient_norm(network, config)
        if not math.isfinite(norm):
            return replace(step, gradient=norm)
        optimiser.step()
    return step


def _gradient_norm(network: nn.Module, config: TrainingConfig) -> float:
    """Of all parameters together, before it is clipped where that is asked for."""
    if config.clip_norm:
        return float(torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm))
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients))


def _besides(batch: Batch) -> dict[str, torch.Tensor]:
    """What a loss is given of a batch besides images and labels."""
    named = {"boxes": batch.boxes, "descriptors": batch.descriptors}
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def _nothing(
    network: nn.Module, loss: Loss, batch: Batch, config: TrainingConfig, at: Process
) -> tuple[torch.Tensor, dict[str, float]]:
    """The zero that a process without images adds, since the others wait for its gradients."""
    images = torch.zeros(1, *batch.images.shape[1:], device=at.device)
    labels = torch.zeros(1, dtype=torch.int64, device=at.device)
    more = {name: torch.zeros(1, *of.shape[1:], device=at.device) for name, of in _besides(batch).items()}
    # In evaluation mode, in which no statistics are taken from it.
    with evaluating(network), arithmetic(at.device, config.precision):
        losses, figures = loss(network, images, labels, **more)
    return 0 * losses, figures


def validated(
    model: nn.Module,
    valid: Manifest,
    look: NetworkInput,
    *,
    config: TrainingConfig,
    at: Process,
    cache: Path | None,
    where: str,
    faces: FaceBoxes | None = None,
) -> tuple[dict[str, float], Bad]:
    """How good the network is on the validation split, whose images the processes share among them.

    Args:    model: without what distributes it. valid: the split.
             look: how an image is looked at.
             config: of the training. at: this process.
             cache: folder of decoded images, or none. where: the training stands, for messages.
             faces: of the images; a look at faces needs them.
    Returns: auroc, accuracy (fake from a score of 0 on) and mean cross-entropy of the scores; the images that
             can't be used, row → path and reason.
    Raises:  ManifestError: images can't be used and may not be left out. ConfigError: scores are not finite.
    """
    share_buffers(model, at)
    share = slice(at.rank, None, at.world)
    found, bad = network_scores(
        model,
        Manifest(valid.samples[share]),
        look,
        batch_size=max(1, config.batch_size // at.world),
        workers=config.workers,
        cache=cache,
        precision=config.precision,
        faces=None if faces is None else FaceBoxes(faces.boxes[share], faces.sizes[share]),
    )
    scores = np.full(len(valid), np.nan)
    unusable: dict[int, str] = {}
    for rank, (part, reasons) in enumerate(gathered((found.tolist(), list(bad.items())), at)):
        scores[rank :: at.world] = part
        unusable |= {rank + at.world * row: reason for row, reason in reasons}
    if unusable and config.on_bad == "stop":
        path, reason = next(iter(named(unusable, valid).values()))
        raise ManifestError(
            f"{len(unusable)} validation images can't be used, the first is {path}: {reason}; mend it or "
            'take it out of the manifest, or set on_bad = "skip" and max_bad'
        )
    usable = np.array([row for row in range(len(valid)) if row not in unusable], dtype=np.int64)
    if wrong := usable[~np.isfinite(scores[usable])].tolist():
        raise ConfigError(
            f"the scores of {len(wrong)} validation images are not finite at {where}, the first is row "
            f"{wrong[0]} ({str(valid[wrong[0]].path)!a}): lower learning_rate or set clip_norm"
        )
    return measures(np.array(valid.labels)[usable], scores[usable]), named(unusable, valid)


def measures(labels: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> dict[str, float]:
    """What is said of log-odds.

    Args:    labels: (N,) 0 or 1. scores: (N,).
    Returns: auroc, accuracy and loss, the mean cross-entropy.
    Raises:  ConfigError: a class is missing.
    """
    losses = np.logaddexp(0, np.where(labels == FAKE, -scores, scores))
    return {
        "auroc": auroc(labels, scores),
        "accuracy": accuracy(labels, scores, threshold=0.0),
        "loss": float(losses.mean()),
    }


def named(bad: Mapping[int, str], manifest: Manifest) -> Bad:
    """Images that can't be used: row → path, safe to print, and reason."""
    return {row: (f"{str(manifest[row].path)!a}", reason) for row, reason in bad.items()}


def of_all(bad: Bad, at: Process) -> Bad:
    """The images that any process has left out."""
    return {row: tuple(entry) for part in gathered(list(bad.items()), at) for row, entry in part}


@contextmanager
def own_random_state(at: Process) -> Iterator[None]:
    """Random numbers that are drawn in the block are none of the caller's."""
    devices = [at.device.index] if at.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield
