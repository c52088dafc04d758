"""How CAE-Net's branches are trained and their fusion is chosen.

Each branch, and of the multistage schedule each stage, is one call of the engine with a run folder of its
own: a training that was killed finds the finished ones done, and goes on in the one that was at work.

Shapes: B batch, N crops of an image, M crops in all, n branches, S side of a crop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tellsign.data.augment import View
from tellsign.data.left_out import LeftOut
from tellsign.data.loading import usable_batches
from tellsign.engine.checkpoint import weights_digest
from tellsign.engine.classifier import train_network
from tellsign.engine.distributed import this_process
from tellsign.engine.faces import FACES, known_faces, with_faces
from tellsign.engine.folder import cache_of
from tellsign.engine.fusion import judged_fusion
from tellsign.engine.scores import evaluating, require_logits
from tellsign.nn.fusion import CropScores
from tellsign.nn.spectra import LogSpectrum
from tellsign.systems.cae_net.config import MULTISTAGE
from tellsign.systems.cae_net.model import Branch, CaeNet, band_statistics, channel_statistics, new_branch
from tellsign.systems.cae_net.stages import (
    TABLE,
    Stage,
    fake_subsets,
    read_retention,
    retention,
    stage_manifests,
    write_retention,
)
from tellsign.types import FAKE, REAL, ManifestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from torch import nn

    from tellsign.data.manifest import Manifest
    from tellsign.systems.cae_net.config import CaeNetConfig
    from tellsign.systems.cae_net.model import Statistics
    from tellsign.types import FloatArray

    Say = Callable[[str], None]

STATISTICS_IMAGES = 512  # of the training set, from which the sub-bands' statistics are taken
EXAMPLES = 16  # crops on which graph and PyTorch must agree


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What is the same for all branches."""

    config: CaeNetConfig
    stages: tuple[Stage, ...]  # one, where there is no schedule
    subsets: tuple[Manifest, ...]  # of the fakes; none, where there is no schedule
    reals: tuple[Manifest, ...]  # of the training: of each stage, where the schedule parts them
    valid: Manifest  # on which the best epoch of a training is chosen
    run: Path  # folder of all trainings
    seed: int  # of everything random
    say: Say  # told of progress


def trained_branches(
    config: CaeNetConfig, training: Manifest, valid: Manifest, *, run: Path, seed: int, say: Say
) -> dict[str, Branch]:
    """Every branch of a configuration, trained.

    Args:    config: of the system.
             training: labelled images. valid: on which the best epoch of a training is chosen.
             run: folder of all trainings. seed: of everything random.
             say: told of progress.
    Returns: name → branch on the CPU, in the configuration's order.
    Raises:  ManifestError, ConfigError: data, options or the run folder don't do; nothing that was learnt is
             lost.
    """
    n_reals, n_fakes = (training.labels.count(label) for label in (REAL, FAKE))
    subsets: tuple[Manifest, ...] = ()
    stages: tuple[Stage, ...] = (Stage(1, training, n_reals, n_fakes),)
    if config.strategy == MULTISTAGE:
        subsets = fake_subsets(training, stages=config.stages, by=config.subsets, seed=seed)
        stages = stage_manifests(training, subsets, reals=config.reals, seed=seed)
    shown = stages if config.reals == "disjoint" else stages[:1]  # a repetition is measured once
    reals = tuple(stage.training.filter(label=REAL) for stage in shown)
    plan = Plan(config, stages, subsets, reals, valid, run, seed, say)
    left_out = LeftOut.of(config.training, say=say)
    # All of them first: what can't be built is known before an image is read.
    branches = {name: _begun(name, config, seed=seed) for name in config.branches}
    cache = cache_of(run, config.training)
    statistics = _input_statistics(config, training, left_out, cache=cache, faces=run / FACES)
    for name, branch in branches.items():
        if known := statistics.get(config.branches[name].input):
            branch.standardise_with(known)
    return {name: _trained(branch, name, plan) for name, branch in branches.items()}


def looked_at(manifest: Manifest, name: str, config: CaeNetConfig, *, run: Path, say: Say) -> Manifest:
    """The images of a split that the branches can look at.

    Args:    manifest: the split. name: of it, for messages.
             config: of the system. run: folder of all trainings. say: told of what is left out.
    Returns: all of them, or those that show a face, which is then known in the file `FACES` of the folder.
    Raises:  ConfigError: dlib is missing, or found faces can't be kept. ManifestError: a class has no face.
    """
    if config.region == "image":
        return manifest
    options = config.training
    at, cache = this_process(options.device), cache_of(run, options)
    return with_faces(manifest, name, run, options, at, file=run / FACES, cache=cache, say=say)[0]


def chosen_fusion(
    branches: Mapping[str, nn.Module],
    valid: Manifest,
    config: CaeNetConfig,
    *,
    left_out: LeftOut | None = None,
    cache: Path | None = None,
    faces: Path | None = None,
) -> tuple[tuple[float, ...], dict[str, Any]]:
    """The weights of the fusion, and how branches and fused score do on the images that chose no checkpoint.

    Args:    branches: trained.
             valid: that half of the validation images.
             config: of the system.
             left_out, cache, faces: as for `crop_scores`.
    Returns: weights and plain values, as `judged_fusion` gives them.
    Raises:  ManifestError: a class is missing, or an image can't be used and may not be skipped.
    """
    crops = crop_scores(branches, valid, config, left_out=left_out, cache=cache, faces=faces)
    return judged_fusion(crops, tuple(config.branches), valid, config.fusion, config.fusion_weights)


def crop_scores(
    branches: Mapping[str, nn.Module],
    manifest: Manifest,
    config: CaeNetConfig,
    *,
    left_out: LeftOut | None = None,
    cache: Path | None = None,
    faces: Path | None = None,
) -> CropScores:
    """The branches' log-odds of every crop that the detector looks at.

    Args:    branches: trained, in the configuration's order.
             manifest: the images.
             config: size, number of crops, and what happens at a bad image.
             left_out: takes those that can't be used, of several calls; None: of this one.
             cache: folder of decoded images, or none. faces: file of the faces in the images, where faces
             are looked at.
    Returns: the scores, and which image each belongs to.
    Raises:  ManifestError: an image can't be used and may not be skipped, or none is left.
    """
    left_out = left_out or LeftOut.of(config.training)
    device = this_process(config.training.device).device
    network = CaeNet(branches, fusion="vote", weights=[1.0] * len(branches)).to(device)
    parts: list[FloatArray] = []
    rows: list[int] = []
    images: list[int] = []
    with evaluating(network), torch.inference_mode():
        for own, crops in _usable(manifest, config, config.max_crops, left_out, cache=cache, faces=faces):
            found = network(crops.flatten(0, 1).to(device))["parts"]
            parts.append(found.double().cpu().numpy())
            images += np.repeat(np.arange(len(own)) + len(rows), crops.shape[1]).tolist()
            rows += own
    network.cpu()
    if not rows:
        raise ManifestError(f"none of {len(manifest)} images can be used")
    return CropScores(np.concatenate(parts), np.array(images), np.array(rows))


def example_crops(
    manifest: Manifest,
    config: CaeNetConfig,
    *,
    left_out: LeftOut,
    cache: Path | None,
    faces: Path | None = None,
) -> FloatArray:
    """Real crops on which a graph is compared with PyTorch.

    Args:    manifest: the images. config: size of a crop.
             left_out, cache, faces: as for `crop_scores`.
    Returns: (M, 3, S, S) in [0, 1], evenly over the manifest.
    Raises:  ManifestError: an image can't be used and may not be skipped.
    """
    batches = _usable(manifest.evenly(EXAMPLES), config, 1, left_out, cache=cache, faces=faces)
    return np.concatenate([crops[:, 0].numpy() for _, crops in batches])


def _begun(name: str, config: CaeNetConfig, *, seed: int) -> Branch:
    """A branch before its training; raises ConfigError where its network can't take crops of this size."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_branch_seed(seed, name, stage=0))
        branch = new_branch(config, name)
    own, size = config.branches[name], config.size
    what = f"{own.backbone} of the branch {name!r} can't take crops of {size} pixels as {own.input}"
    require_logits(branch, size, f"{what} (dwt {config.dwt!r})")
    return branch


def _trained(branch: Branch, name: str, plan: Plan) -> Branch:
    """A branch after all stages."""
    for stage in plan.stages:
        _train(branch, name, stage, plan, seed=_branch_seed(plan.seed, name, stage=stage.number))
        _keep_retention(branch, name, stage, plan)
    # One layout, whatever that of the training: what is saved has it too.
    return branch.cpu().to(memory_format=torch.contiguous_format).eval()


def _branch_seed(seed: int, name: str, *, stage: int) -> int:
    """The seed of one training: another for each branch and stage, whatever branches there are beside it."""
    return int(np.random.SeedSequence((seed, stage, *name.encode())).generate_state(1)[0])


def _train(branch: Branch, name: str, stage: Stage, plan: Plan, *, seed: int) -> None:
    """One training of a branch, which then has the weights of its best epoch."""
    config, options = plan.config, plan.config.branches[name]
    several = bool(plan.subsets)
    title = f"{name}, stage {stage.number} of {len(plan.stages)}" if several else name
    plan.say(f"{title}: {stage.n_real} reals, {stage.n_fake} fakes")
    train_network(
        branch,
        stage.training,
        plan.valid,
        View(
            config.size,
            flip=options.flip,
            rotation=options.rotation,
            jitter=options.jitter,
            region=config.region,
        ),
        config.stage_training(name),
        run=plan.run / name / (f"stage-{stage.number}" if several else "training"),
        seed=seed,
        identity={
            "detector": "cae-net",
            "classes": 2,
            "branch": {"name": name, "backbone": options.backbone, "options": dict(options.options)},
            "input": {"kind": options.input, "dwt": config.dwt, "size": config.size},
            "stages": {"strategy": config.strategy, "number": stage.number, "of": len(plan.stages)},
            # Architecture, pretrained weights, statistics, and all that earlier stages have learnt.
            "start": weights_digest(branch),
        },
        max_crops=config.max_crops,
        faces=plan.run / FACES,
        cache=cache_of(plan.run, config.training),
        say=lambda text: plan.say(f"{title}: {text}"),
    )


def _keep_retention(branch: Branch, name: str, stage: Stage, plan: Plan) -> None:
    """Add a stage to a branch's table, unless a run that was ended had done so for the same weights."""
    if not plan.subsets or not this_process(plan.config.training.device).is_first:
        return
    table = plan.run / name / TABLE
    rows, digest = read_retention(table), weights_digest(branch)
    if len(rows) >= stage.number and rows[stage.number - 1].weights == digest:
        return
    # What another training has left there is none of this one's from its first row that differs on.
    rows[stage.number - 1 :] = [
        retention(
            branch,
            stage.number,
            subsets=plan.subsets,
            reals=plan.reals,
            valid=plan.valid,
            config=plan.config,
            weights=digest,
            cache=cache_of(plan.run, plan.config.training),
            faces=plan.run / FACES,
        )
    ]
    write_retention(table, rows, title=f"{name}: what is kept after each stage")


def _input_statistics(
    config: CaeNetConfig, training: Manifest, left_out: LeftOut, *, cache: Path | None, faces: Path
) -> dict[str, Statistics]:
    """The statistics of the training images' sub-bands and spectra, as far as branches look at them."""
    sample = training.evenly(STATISTICS_IMAGES)
    found: dict[str, Statistics] = {}
    for kind in sorted({branch.input for branch in config.branches.values()} - {"rgb"}):
        crops = (crops[:, 0] for _, crops in _usable(sample, config, 1, left_out, cache=cache, faces=faces))
        if kind == "dwt":
            found[kind] = band_statistics(crops, config.dwt)
        else:
            found[kind] = channel_statistics(crops, LogSpectrum(kind, config.size))
    return found


def _usable(
    manifest: Manifest,
    config: CaeNetConfig,
    max_crops: int,
    left_out: LeftOut,
    *,
    cache: Path | None,
    faces: Path | None,
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Rows and crops (B, N, 3, S, S) of the images that can be used; ManifestError where more must be."""
    options = config.training
    look = replace(config.input.look, max_crops=max_crops)
    for batch in usable_batches(
        manifest,
        look,
        left_out=left_out,
        batch_size=options.batch_size,
        workers=options.workers,
        cache=cache,
        faces=known_faces(manifest, look, options, file=faces, cache=cache),
    ):
        yield batch.rows.tolist(), batch.crops
