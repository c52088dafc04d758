"""The training of a classifier: labelled images, the classes' losses, the best epoch by validation AUROC.

Shapes: B batch (of this process), N samples, S side of a crop, D numbers of a descriptor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tellsign.data.loading import Loader
from tellsign.data.manifest import require_both_classes
from tellsign.engine.distributed import joined
from tellsign.engine.faces import found_faces, with_faces
from tellsign.engine.folder import cache_folder
from tellsign.engine.loop import train
from tellsign.engine.losses import balanced_loss, epoch_order, training_loss
from tellsign.engine.scores import fake_log_odds
from tellsign.engine.step import new_optimiser, training_step
from tellsign.engine.task import Measured, Task
from tellsign.engine.validation import shared_values
from tellsign.metrics import accuracy, auroc
from tellsign.types import FAKE, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor, nn
    from torch.optim import Optimizer

    from tellsign.data.augment import View
    from tellsign.data.face_boxes import FaceBoxes
    from tellsign.data.loading import Batch
    from tellsign.data.manifest import Manifest
    from tellsign.engine.config import TrainingConfig
    from tellsign.engine.distributed import Process
    from tellsign.engine.folder import TrainingResult
    from tellsign.engine.losses import Loss
    from tellsign.engine.step import Losses
    from tellsign.image.network_input import NetworkInput

Say = Callable[[str], None]


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
    optimisers: Callable[[], Mapping[str, Optimizer]] | None = None,
    max_crops: int = 1,
    faces: Path | None = None,
    cache: Path | None = None,
    say: Say = lambda text: None,
) -> TrainingResult:
    """Train a classifier, or go on where an earlier run of the same training came to an end.

    Args:    model: images (B, 3, S, S) in [0, 1], and descriptors (B, D) where the view has one → logits
             (B, 2), with its first weights; it gets the best.
             training, valid: labelled images; the best epoch is chosen on `valid`.
             view: how an image becomes what the network sees in training.
             config: all other options.
             run: a folder of this training alone. seed: of everything random, 0 or more.
             identity: plain values that say what else the weights depend on; only the same goes on.
             loss: in place of the one that `config.balance` names.
             optimisers: makes them once the model is on its device, in place of the one that
             `config.optimiser` names for all of the model.
             max_crops: of a validation image, whose scores are averaged.
             faces, cache: file of the faces that a view of faces or `attention_weight` needs, and folder of
             the decoded images that `config.cache` asks for; several trainings may share them. None: one in
             `run` or beside it.
             say: told of progress and of what happens, in one process of several.
    Returns: best epoch, history and time taken; at once where the run was done.
    Raises:  ConfigError: as `train` does. ManifestError: a class is missing, or images can't be used.
             Whatever is raised, the last checkpoint is whole.
    """
    for name, part in (("training", training), ("validation", valid)):
        require_both_classes(part, f"the {name} split")
    cache = (cache or cache_folder(run)) if config.cache else None

    def new_task(at: Process) -> Task:
        images, checked, boxes, valid_boxes = training, valid, None, None
        options: Any = {"file": faces, "cache": cache, "say": say}
        if view.region == "face":
            images, boxes = with_faces(training, "training", run, config, at, **options)
            checked, valid_boxes = with_faces(valid, "validation", run, config, at, **options)
        elif config.attention_weight:
            boxes = found_faces(training, run, config, at, **options)
        labels = images.labels
        losses = of_batches(training_loss(loss or balanced_loss(config.balance, labels), model, config))
        trained_by = optimisers() if optimisers else {"network": new_optimiser(model, config)}
        network = joined(model, at)
        placed: Any = {"config": config, "at": at}
        return Task(
            loader=new_loader(images, view, config, cache=cache, seed=seed, faces=boxes),
            optimisers=trained_by,
            batch_size=config.batch_size,
            order=lambda epoch: epoch_order(labels, config.balance, seed=seed, epoch=epoch),
            step=lambda batch: training_step(network, losses, batch, trained_by.values(), **placed),
            measured=partial(
                validated,
                model,
                checked,
                view.network_input(max_crops),
                cache=cache,
                faces=valid_boxes,
                **placed,
            ),
            best={"auroc": "highest", "loss": "lowest"},
        )

    return train(
        model,
        new_task,
        config,
        run=run,
        seed=seed,
        identity={**identity, "view": {**asdict(view), "max_crops": max_crops}},
        data={"train": training, "valid": valid},
        say=say,
    )


def require_statistics(
    network: nn.Module, shape: tuple[int, int, int], labels: Sequence[int], config: TrainingConfig, what: str
) -> None:
    """See that the last batch of an epoch is no single image of which a normalisation sees one number.

    Args:    network: before its training; it is left as it is. shape: (C, H, W) of what it sees of an image.
             labels: of the training set, with both classes. config: of the training.
             what: it is, for the message.
    Raises:  ConfigError: it is.
    """
    n = len(epoch_order(labels, config.balance, seed=0, epoch=0))
    if n % config.batch_size != 1 % config.batch_size:
        return
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            deepcopy(network).train()(torch.zeros(1, *shape))
    except ValueError as error:
        raise ConfigError(
            f"the last of the batches of {config.batch_size} that {n} images make is one image, of which "
            f"{what} has one number a channel to normalise by; take another batch_size, a larger size, or "
            "leave an image out"
        ) from error


def of_batches(loss: Loss) -> Losses:
    """A loss of images and labels, as a step takes it."""

    def losses(network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        besides = {"boxes": batch.boxes, "descriptors": batch.descriptors}
        more = {name: tensor for name, tensor in besides.items() if tensor is not None}
        return loss(network, batch.images, batch.labels, **more)

    return losses


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


def validated(
    model: nn.Module,
    valid: Manifest,
    look: NetworkInput,
    where: str,
    *,
    config: TrainingConfig,
    at: Process,
    cache: Path | None,
    faces: FaceBoxes | None = None,
) -> Measured:
    """How good the network is on the validation split, whose images the processes share among them.

    Args:    model: without what distributes it. valid: the split.
             look: how an image is looked at. where: the training stands, for messages.
             config: of the training. at: this process.
             cache: folder of decoded images, or none.
             faces: of the images; a look at faces needs them.
    Returns: auroc, accuracy (fake from a score of 0 on) and mean cross-entropy of the scores; the images that
             can't be used.
    Raises:  ManifestError: images can't be used and may not be left out. ConfigError: scores are not finite.
    """
    options: Any = {"config": config, "at": at, "cache": cache, "where": where, "faces": faces}
    found = shared_values(model, fake_log_odds(model), 1, valid, look, **options)
    return Measured(measures(np.array(valid.labels)[found.rows], found.values[:, 0]), found.bad)


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
