"""From trained residuals to a detector: a classifier for each stage, and how their scores become one.

Shapes: B batch, M crops, n stages that are classified, S side of a crop.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tellsign.data.augment import View
from tellsign.data.loading import usable_batches
from tellsign.engine.checkpoint import weights_digest
from tellsign.engine.classifier import require_statistics, train_network
from tellsign.engine.distributed import this_process
from tellsign.engine.folder import cache_of
from tellsign.engine.fusion import judged_fusion, validation_halves
from tellsign.engine.scores import evaluating, image_values
from tellsign.nn.backbones import SCRATCH
from tellsign.nn.fusion import CropScores
from tellsign.systems.resynthesis.cached import FOLDER, KeptResiduals, forget, require_whole_images
from tellsign.systems.resynthesis.config import MULTIPLE, part_name
from tellsign.systems.resynthesis.model import (
    Residuals,
    Resynthesis,
    StageClassifier,
    new_classifier,
    new_residuals,
)
from tellsign.systems.resynthesis.rdn import take_weights
from tellsign.systems.resynthesis.reconstruction import at_rest
from tellsign.types import ConfigError, ManifestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import nn

    from tellsign.data.left_out import LeftOut
    from tellsign.data.manifest import Manifest
    from tellsign.systems.resynthesis.config import ResynthesisConfig
    from tellsign.types import FloatArray

    Say = Callable[[str], None]

EXAMPLES = 16  # crops on which graph and PyTorch must agree, and residuals must be finite


def validation_parts(valid: Manifest, config: ResynthesisConfig, *, seed: int) -> dict[str, Manifest]:
    """The validation images that choose epochs, and those that weights of the fusion are fitted on.

    Args:    valid: labelled images. config: of the system. seed: of the training.
    Returns: `checkpoints` and `weights`: two halves without a common group where weights are fitted, else all
             of them twice.
    Raises:  ManifestError: there are too few groups, or a half lacks a class. ConfigError: residuals are to
             be kept of images that are cut at another place each time.
    """
    if config.cached:  # known before hours of training
        require_whole_images(valid, config)
    if config.fusion != "fit":
        return {"checkpoints": valid, "weights": valid}
    return validation_halves(valid, seed=seed)


def begun(config: ResynthesisConfig, *, seed: int) -> Residuals:
    """The way to the residuals before any training; what can't be built is known before an image is read.

    Args:    config: of the system. seed: of the training.
    Returns: the re-synthesiser's weights from the seed, or from the file that is named.
    Raises:  ConfigError: weights can't be had.
    """
    with own_random_numbers(seed, "resynthesiser"):
        residuals = new_residuals(config, n_stages=max(config.stages)).eval()
    if config.network.weights != SCRATCH:
        take_weights(residuals.resynthesiser, Path(config.network.weights))
    return residuals


def trained_classifiers(
    residuals: Residuals,
    training: Manifest,
    valid: Manifest,
    config: ResynthesisConfig,
    *,
    run: Path,
    seed: int,
    say: Say,
) -> tuple[dict[str, nn.Module], dict[str, Any]]:
    """The second phase: a classifier for the residuals of each stage.

    Args:    residuals: trained; they stay as they are.
             training, valid: labelled images; the best epoch is chosen on `valid`.
             config: of the system. run: folder of all trainings. seed: of everything random.
             say: told of progress.
    Returns: name of a stage → classifier on the CPU, and name → what its best epoch came to.
    Raises:  ConfigError, ManifestError: as `train_network` does.
    """
    classifiers, best = {}, {}
    for stage in config.stages:
        name = part_name(stage)
        with own_random_numbers(seed, name):
            classifier = new_classifier(config, residuals, stage)
        require_stage_statistics(classifier, residuals, stage, config, labels=training.labels)
        kept = KeptResiduals(residuals, stage, run / FOLDER) if config.cached else None
        network = StageClassifier(residuals, classifier, stage, kept=kept)
        result = train_network(
            network,
            training,
            valid,
            View(config.size, flip=config.flip),
            config.training,
            run=run / name,
            seed=seed,
            identity={
                "detector": "resynthesis",
                "phase": 2,
                "classes": 2,
                "stage": stage,
                "perceptual": config.perceptual_identity() if stage else "none",
                "classifier": asdict(config.classifier),
                "downsampling": config.downsampling,
                "start": weights_digest(network),  # what the first phase has learnt is in it
            }
            | ({"residuals": "cached"} if config.cached else {}),  # rounded as those of an image alone
            max_crops=config.max_crops,
            cache=cache_of(run, config.training),
            say=_titled(say, name),
        )
        if config.cached:
            forget(run / FOLDER, config)
        at_rest(network)
        classifiers[name], best[name] = network.classifier, dict(result.best)
    return classifiers, best


def _titled(say: Say, title: str) -> Say:
    return lambda text: say(f"{title}: {text}")


def require_stage_statistics(
    classifier: nn.Module,
    residuals: Residuals,
    stage: int,
    config: ResynthesisConfig,
    *,
    labels: Sequence[int],
) -> None:
    """`require_statistics` of the classifier of a stage.

    Args:    classifier: it is left as it is. residuals: what it sees. stage: 0 to 5. config: of the system.
             labels: of the training set.
    Raises:  ConfigError: its last batch can't be normalised.
    """
    channels, stride = 3, 1
    if stage and residuals.perceptual is not None:
        own = residuals.perceptual
        channels, stride = own.channels[stage - 1], own.strides[stage - 1]
    side = -(-(config.size - config.size % MULTIPLE) // stride)
    what = f"the classifier of {part_name(stage)} at size = {config.size}"
    require_statistics(classifier, (channels, side, side), labels, config.training, what)


def chosen_fusion(
    network: Resynthesis, valid: Manifest, config: ResynthesisConfig, *, left_out: LeftOut, run: Path
) -> tuple[tuple[float, ...], dict[str, Any]]:
    """The weights of the fusion, and how stages and fused score do on validation images.

    Weights are fitted to the mean log-odds of each image's crops.

    Args:    network: trained; left on the CPU.
             valid: labelled images. config: of the system.
             left_out: takes those that can't be used. run: folder of all trainings.
    Returns: weights and plain values, as `judged_fusion` gives them.
    Raises:  ManifestError: a class is missing, or an image can't be used and may not be skipped.
    """
    options = config.training
    found, bad = image_values(
        network.to(this_process(options.device).device),
        lambda crops: network(crops)["parts"],
        len(config.stages),
        valid,
        config.input.look,
        batch_size=options.batch_size,
        workers=options.workers,
        cache=cache_of(run, options),
    )
    at_rest(network)
    for row, reason in bad.items():
        left_out.add(valid[row].path, reason)
    rows = np.flatnonzero(np.isfinite(found).all(axis=1))
    if not len(rows):
        raise ManifestError(f"none of {len(valid)} validation images can be used")
    means = CropScores(found[rows], np.arange(len(rows)), rows)
    return judged_fusion(means, config.parts, valid, config.fusion, config.fusion_weights)


def example_crops(
    manifest: Manifest, config: ResynthesisConfig, *, left_out: LeftOut, run: Path
) -> FloatArray:
    """Real crops, on which a graph is compared with PyTorch.

    Args:    manifest: the images. config: size of a crop.
             left_out: takes those that can't be used. run: folder of all trainings.
    Returns: (M, 3, S, S) in [0, 1], evenly over the manifest.
    Raises:  ManifestError: an image can't be used and may not be skipped, or none is left.
    """
    options, sample = config.training, manifest.evenly(EXAMPLES)
    look, cache = replace(config.input.look, max_crops=1), cache_of(run, options)
    batches = usable_batches(sample, look, left_out=left_out, batch_size=EXAMPLES, cache=cache)
    found = [batch.crops[:, 0].numpy() for batch in batches]
    if not found:
        raise ManifestError(f"none of {len(sample)} images can be used")
    return np.concatenate(found)


def require_finite_residuals(residuals: Residuals, crops: FloatArray, stages: Sequence[int]) -> None:
    """See that residuals are numbers before classifiers learn from them.

    Args:    residuals: trained. crops: (M, 3, S, S) in [0, 1]. stages: that will be classified.
    Raises:  ConfigError: one is no finite number.
    """
    with evaluating(residuals), torch.inference_mode():
        for crop in torch.from_numpy(crops):
            for stage, values in residuals(crop[None], stages).items():
                if not torch.isfinite(values).all():
                    raise ConfigError(
                        f"the residual of {part_name(stage)} is no finite number on images of the training: "
                        "the re-synthesiser or the perceptual network is broken; give other weights, or "
                        "train the re-synthesiser again at a lower learning_rate"
                    )


@contextmanager
def own_random_numbers(seed: int, name: str) -> Iterator[None]:
    """PyTorch's random numbers follow from a seed and a name in the block; the caller's stay as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence((seed, *name.encode())).generate_state(1)[0]))
        yield
