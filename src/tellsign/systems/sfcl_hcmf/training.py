"""How SFCL-HCMF's network is trained: statistics of the training images, one call of the engine, a report.

Shapes: B batch, n images, S side of a crop, D numbers of the descriptor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tellsign.data.augment import View
from tellsign.data.loading import usable_batches
from tellsign.data.manifest import Manifest
from tellsign.engine.checkpoint import weights_digest
from tellsign.engine.classifier import train_network
from tellsign.engine.distributed import this_process
from tellsign.engine.faces import FACES, with_faces
from tellsign.engine.folder import cache_of
from tellsign.engine.scores import evaluating
from tellsign.features.colour import ycbcr
from tellsign.features.dct import block_dct
from tellsign.systems.sfcl_hcmf.local import padded
from tellsign.systems.sfcl_hcmf.model import SfclHcmf
from tellsign.systems.sfcl_hcmf.standardisation import Standardisation, statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Tensor

    from tellsign.data.face_boxes import FaceBoxes
    from tellsign.data.left_out import LeftOut
    from tellsign.data.loading import EvaluationBatch
    from tellsign.engine.folder import TrainingResult
    from tellsign.systems.sfcl_hcmf.config import SfclHcmfConfig
    from tellsign.types import FloatArray

    Say = Callable[[str], None]

STATISTICS_IMAGES = 512  # of the training set, from which coefficients and descriptors are standardised
EXAMPLES = 16  # images on which graph and PyTorch must agree


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """The images of a split that the network can look at."""

    manifest: Manifest  # those that show a face, where faces are looked at
    faces: FaceBoxes | None

    def evenly(self, n: int) -> Looked:
        """At most n of them, evenly over the split, the same every time."""
        rows = np.unique(np.linspace(0, len(self.manifest) - 1, min(len(self.manifest), n)).astype(int))
        faces = self.faces and self.faces.of(rows)
        return Looked(Manifest(tuple(self.manifest[row] for row in rows.tolist())), faces)


def looked_at(manifest: Manifest, name: str, config: SfclHcmfConfig, *, run: Path, say: Say) -> Looked:
    """The images of a split that the network can look at.

    Args:    manifest: the split. name: of it, for messages.
             config: of the system. run: folder of the training. say: told of what is left out.
    Returns: all of them, or those that show a face.
    Raises:  ConfigError: dlib is missing, or found faces can't be kept. ManifestError: a class has no face.
    """
    if config.region == "image":
        return Looked(manifest, None)
    options = config.training
    places: Any = {"file": run / FACES, "cache": cache_of(run, options), "say": say}
    return Looked(*with_faces(manifest, name, run, options, this_process(options.device), **places))


def new_network(config: SfclHcmfConfig, *, seed: int) -> SfclHcmf:
    """The network before its training, its new layers from the seed.

    Args:    config: of the system. seed: of the training.
    Returns: the network; what it standardises with is not known yet.
    Raises:  ConfigError: backbones or weights can't be had, or don't fit the size.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SfclHcmf(config)
    descriptor = torch.zeros(1, config.input.look.n_descriptor)
    with evaluating(network), torch.inference_mode():
        network(torch.zeros(1, 3, config.size, config.size), descriptor if config.sida else None)
    return network


def standardised(
    network: SfclHcmf, training: Looked, config: SfclHcmfConfig, *, left_out: LeftOut, run: Path
) -> None:
    """Have a network standardise with what training images look like.

    Args:    network: before its training. training: the images. config: of the system.
             left_out: takes those that can't be used. run: folder of the training.
    Raises:  ManifestError: an image can't be used and may not be skipped, or none is left.
    """
    descriptors = []

    def coefficients() -> Iterator[Tensor]:
        """One batch after the other: together, 512 images of 380 pixels have a gigabyte of them."""
        for batch in usable(training.evenly(STATISTICS_IMAGES), config, left_out=left_out, run=run):
            if batch.descriptors is not None:
                descriptors.append(batch.descriptors)
            yield block_dct(ycbcr(padded(batch.crops[:, 0]))).flatten(1, 2)

    found = statistics(coefficients())
    if network.local is not None and config.local.coefficients == "zscore":
        network.local.coefficients.standardisation.standardise_with(found)
    if isinstance(network.descriptor, Standardisation):
        network.descriptor.standardise_with(statistics(descriptors))


def trained(
    network: SfclHcmf,
    training: Manifest,
    valid: Manifest,
    config: SfclHcmfConfig,
    *,
    run: Path,
    seed: int,
    say: Say,
) -> TrainingResult:
    """Train a network, or go on.

    Args:    network: standardised; it gets the weights of its best epoch.
             training, valid: labelled images; the best epoch is chosen on `valid`.
             config: of the system. run: folder of the training. seed: of everything random.
             say: told of progress.
    Returns: best epoch, history, time taken.
    Raises:  ConfigError, ManifestError: as `train_network` does.
    """
    look = config.input.look
    result = train_network(
        network,
        training,
        valid,
        View(config.size, flip=config.flip, fit=look.fit, descriptor=look.descriptor, region=look.region),
        config.training,
        run=run / "training",
        seed=seed,
        identity={
            "detector": "sfcl-hcmf",
            "classes": 2,
            "network": {key: value for key, value in config.decisive().items() if key != "training"},
            # Pretrained weights, and the statistics of the training images.
            "start": weights_digest(network),
        },
        faces=run / FACES,
        cache=cache_of(run, config.training),
        say=say,
    )
    network.cpu().to(memory_format=torch.contiguous_format).eval()
    return result


def examples(
    images: Looked, config: SfclHcmfConfig, *, left_out: LeftOut, run: Path
) -> tuple[FloatArray, FloatArray | None]:
    """Real crops on which a graph is compared with PyTorch, and their descriptors.

    Args:    images, config, left_out, run: as for `standardised`.
    Returns: (n, 3, S, S) in [0, 1]; (n, D), or None without a descriptor.
    Raises:  ManifestError: an image can't be used and may not be skipped.
    """
    batches = list(usable(images.evenly(EXAMPLES), config, left_out=left_out, run=run))
    crops = np.concatenate([batch.crops[:, 0].numpy() for batch in batches])
    found = [batch.descriptors.numpy() for batch in batches if batch.descriptors is not None]
    return crops, np.concatenate(found) if found else None


def usable(
    images: Looked, config: SfclHcmfConfig, *, left_out: LeftOut, run: Path
) -> Iterator[EvaluationBatch]:
    """Batches of the images that can be used; ManifestError where more must be."""
    options = config.training
    return usable_batches(
        images.manifest,
        config.input.look,
        left_out=left_out,
        batch_size=options.batch_size,
        workers=options.workers,
        cache=cache_of(run, options),
        faces=images.faces,
    )
