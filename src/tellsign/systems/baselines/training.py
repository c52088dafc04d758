"""How a network of the baselines is trained: one call of the engine, and before it what it standardises with.

Shapes: B batch, n crops, S side of a crop.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import torch

from tellsign.data.augment import View
from tellsign.data.loading import usable_batches
from tellsign.engine.checkpoint import weights_digest
from tellsign.engine.classifier import require_statistics, train_network
from tellsign.engine.folder import cache_of
from tellsign.engine.scores import require_logits
from tellsign.features.dct import log_dct
from tellsign.systems.baselines.model import CosineNetwork, new_network
from tellsign.systems.baselines.statistics import coefficient_statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import nn

    from tellsign.data.left_out import LeftOut
    from tellsign.data.manifest import Manifest
    from tellsign.engine.folder import TrainingResult
    from tellsign.systems.baselines.config import NetworkConfig
    from tellsign.types import FloatArray

    Say = Callable[[str], None]

EXAMPLES = 16  # images on which graph and PyTorch must agree


def begun(config: NetworkConfig, *, seed: int) -> nn.Module:
    """The network before its training, its new layers from the seed, in training mode.

    Args:    config: of a system. seed: of the training.
    Returns: (B, 3, S, S) in [0, 1] → (B, 2).
    Raises:  ConfigError: it can't be built, or can't take crops of the configured size.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = new_network(config)
    require_logits(network, config.size, f"the network can't take crops of {config.size} pixels")
    return network


def standardised(
    network: nn.Module, training: Manifest, config: NetworkConfig, *, left_out: LeftOut, run: Path
) -> None:
    """Have a network that standardises do so with all training images; the others are left as they are.

    Args:    network: before its training. training: labelled images. config: of the system.
             left_out: takes those that can't be used. run: folder of the training.
    Raises:  ManifestError: an image can't be used and may not be skipped, or none is left.
    """
    if isinstance(network, CosineNetwork):
        crops = usable_crops(training, config, left_out=left_out, run=run)
        network.standardise_with(*coefficient_statistics(log_dct(one.astype(np.float64)) for one in crops))


def trained(
    network: nn.Module,
    training: Manifest,
    valid: Manifest,
    config: NetworkConfig,
    *,
    name: str,
    run: Path,
    seed: int,
    say: Say,
) -> TrainingResult:
    """Train a network, or go on.

    Args:    network: standardised; it gets the weights of its best epoch.
             training, valid: labelled images; the best epoch is chosen on `valid`.
             config: of the system. name: of the system.
             run: folder of the training. seed: of everything random. say: told of progress.
    Returns: best epoch, history, time taken.
    Raises:  ConfigError, ManifestError: as `train_network` does.
    """
    options = {key: value for key, value in asdict(config).items() if key != "training"}
    shape, what = (3, config.size, config.size), f"the network at size = {config.size}"
    require_statistics(network, shape, training.labels, config.training, what)
    result = train_network(
        network,
        training,
        valid,
        # A mirrored picture has the same magnitudes of its cosine transform.
        View(config.size, flip=options.get("flip", False), fit=options.get("fit", "crop")),
        config.training,
        run=run / "training",
        seed=seed,
        identity={
            "detector": name,
            "classes": 2,
            "network": options,
            # Pretrained weights, and the statistics of the training images.
            "start": weights_digest(network),
        },
        max_crops=config.max_crops,
        cache=cache_of(run, config.training),
        say=say,
    )
    network.cpu().to(memory_format=torch.contiguous_format).eval()
    return result


def example_crops(manifest: Manifest, config: NetworkConfig, *, left_out: LeftOut, run: Path) -> FloatArray:
    """Real crops on which a graph is compared with PyTorch.

    Args:    manifest, config, left_out, run: as for `standardised`.
    Returns: (n, 3, S, S) in [0, 1], evenly over the manifest.
    Raises:  ManifestError: an image can't be used and may not be skipped.
    """
    sample = manifest.evenly(EXAMPLES)
    return np.concatenate(list(usable_crops(sample, config, left_out=left_out, run=run)))[:EXAMPLES]


def usable_crops(
    manifest: Manifest, config: NetworkConfig, *, left_out: LeftOut, run: Path
) -> Iterator[FloatArray]:
    """(n, 3, S, S) of the images that can be used, batch after batch; ManifestError where more must be."""
    options = config.training
    for batch in usable_batches(
        manifest,
        config.look,
        left_out=left_out,
        batch_size=options.batch_size,
        workers=options.workers,
        cache=cache_of(run, options),
    ):
        yield batch.crops.flatten(0, 1).numpy()
