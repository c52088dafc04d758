"""The training of a network on real images alone, without classes: one that restores or draws them.

Shapes: B batch (of this process), M crops in all, S side of a crop, K measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.engine.classifier import new_loader
from tellsign.engine.config import TrainingConfig
from tellsign.engine.distributed import joined
from tellsign.engine.folder import cache_folder
from tellsign.engine.loop import train
from tellsign.engine.losses import order_rng
from tellsign.engine.step import new_optimiser, training_step
from tellsign.engine.task import Measured, Task
from tellsign.engine.validation import shared_values
from tellsign.types import FAKE, ConfigError, ManifestError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn
    from torch.optim import Optimizer

    from tellsign.data.augment import View
    from tellsign.data.manifest import Manifest
    from tellsign.engine.distributed import Process
    from tellsign.engine.folder import TrainingResult
    from tellsign.engine.scores import Values
    from tellsign.engine.step import Losses
    from tellsign.engine.task import Best
    from tellsign.image.network_input import NetworkInput

Say = Callable[[str], None]


def train_on_reals(
    model: nn.Module,
    training: Manifest,
    valid: Manifest,
    view: View,
    config: TrainingConfig,
    *,
    losses: Losses,
    values: Values,
    names: Sequence[str],
    best: Best,
    run: Path,
    seed: int,
    identity: Mapping[str, Any],
    times: int = 1,
    optimisers: Callable[[], Mapping[str, Optimizer]] | None = None,
    max_crops: int = 1,
    cache: Path | None = None,
    say: Say = lambda text: None,
) -> TrainingResult:
    """Train a network on real images, or go on where an earlier run of the same training came to an end.

    Args:    model: with its first weights; it gets the best.
             training, valid: real images. view: what is seen of them in training.
             config: all other options.
             losses: what is learnt from a batch; the network that it gets is the model, distributed where
             there are several processes, and its labels mean nothing.
             values: of validation crops, computed with the model. names: of these K values, whose means over
             the images are what an epoch came to.
             best: which of the names choose the epoch.
             run: a folder of this training alone. seed: of everything random, 0 or more.
             identity: plain values that say what else the weights depend on; only the same goes on.
             times: that an epoch shows each image, each time in another view.
             optimisers: makes them once the model is on its device, in place of the one that
             `config.optimiser` names for all of the model.
             max_crops: of a validation image, whose values are averaged.
             cache: folder of the decoded images that `config.cache` asks for; None: beside `run`.
             say: told of progress and of what happens, in one process of several.
    Returns: best epoch, history and time taken; at once where the run was done.
    Raises:  ConfigError: as `train` does. ManifestError: there are fakes or no images, or images can't be
             used.
    """
    require_no_classes(config)
    for name, part in (("training", training), ("validation", valid)):
        require_reals(part, f"the {name} split")
    cache = (cache or cache_folder(run)) if config.cache else None

    def new_task(at: Process) -> Task:
        trained_by = optimisers() if optimisers else {"network": new_optimiser(model, config)}
        network = joined(model, at)
        placed: Any = {"config": config, "at": at}
        look = view.network_input(max_crops)
        return Task(
            loader=new_loader(training, view, config, cache=cache, seed=seed),
            optimisers=trained_by,
            batch_size=config.batch_size,
            order=lambda epoch: image_order(len(training), times=times, seed=seed, epoch=epoch),
            step=lambda batch: training_step(network, losses, batch, trained_by.values(), **placed),
            measured=partial(
                mean_values, model, valid, look, values=values, names=names, cache=cache, **placed
            ),
            best=best,
        )

    return train(
        model,
        new_task,
        config,
        run=run,
        seed=seed,
        identity={**identity, "view": {**asdict(view), "max_crops": max_crops, "times": times}},
        data={"train": training, "valid": valid},
        say=say,
    )


def require_reals(manifest: Manifest, what: str) -> None:
    """Raises ManifestError where there is a fake, or there are no images.

    Args:    manifest: labelled images. what: they are, for the message.
    """
    n_fakes = manifest.labels.count(FAKE)
    if n_fakes or not len(manifest):
        found = f"{n_fakes} fakes among {len(manifest)} images" if n_fakes else "no image"
        raise ManifestError(
            f"{what} is of real images alone, found {found}; take the rows with label 0, whose traces are to "
            "be learnt"
        )


def require_no_classes(config: TrainingConfig) -> None:
    """Raises ConfigError where an option asks for what only a classifier has."""
    unused = TrainingConfig()
    for name in ("balance", "adversarial_eps", "attention_weight"):
        if (value := getattr(config, name)) != getattr(unused, name):
            raise ConfigError(
                f"{name} is of classifiers alone, and this network learns from real images without classes; "
                f"found {value!r}, leave it out"
            )


def image_order(n: int, *, times: int = 1, seed: int, epoch: int) -> NDArray[np.int64]:
    """Which images an epoch shows, and when, where there are no classes.

    Args:    n: images. times: that each is shown. seed: of the training. epoch: 0, 1, …
    Returns: (n · times,) rows, shuffled; the same for the same arguments.
    Raises:  ConfigError: seed or epoch is negative.
    """
    return order_rng(seed, epoch).permutation(np.repeat(np.arange(n), times)).astype(np.int64)


def mean_values(
    model: nn.Module,
    valid: Manifest,
    look: NetworkInput,
    where: str,
    *,
    values: Values,
    names: Sequence[str],
    config: TrainingConfig,
    at: Process,
    cache: Path | None,
) -> Measured:
    """Means over the images of a validation split, which the processes share among them.

    Args:    model: without what distributes it. valid: the split.
             look: how an image is looked at. where: the training stands, for messages.
             values: of crops (M, 3, S, S) → (M, K). names: of these K.
             config: of the training. at: this process. cache: folder of decoded images, or none.
    Returns: name → mean, and the images that can't be used.
    Raises:  ManifestError: images can't be used and may not be left out, or none is left. ConfigError: values
             are not finite.
    """
    options: Any = {"config": config, "at": at, "cache": cache, "where": where}
    found = shared_values(model, values, len(names), valid, look, **options)
    if not len(found.rows):
        raise ManifestError(f"none of {len(valid)} validation images could be used at {where}")
    return Measured(dict(zip(names, found.values.mean(axis=0).tolist(), strict=True)), found.bad)
