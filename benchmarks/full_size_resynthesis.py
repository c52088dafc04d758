"""Detection by re-synthesis at full size: a step of each phase, a kill and a resume; prints a page.

As `benchmarks.full_size`, whose trainings these are. Steps are of made images, each phase in a process of its
own. Weights are from scratch, those of VGG-19 as well: nothing is learnt in so few steps.

    python -m benchmarks.full_size_resynthesis > docs/results/resynthesis/full-size.md
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.full_size import (
    BATCH,
    FLOAT32,
    ROOT,
    N,
    Subject,
    found_images,
    overrides,
    say,
    schedule_page,
    staged,
)
from tellsign.data import write
from tellsign.systems.resynthesis.config import ResynthesisConfig
from tellsign.train_config import read_config

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = ROOT / "configs" / "resynthesis.toml"
STEPS = 2  # of each phase, after one that doesn't count
# Phase → side in pixels and images of a step: what 24 GiB hold where the configuration's own would need more.
SIZES = {"1": (96, 12), "2": (1024, 1), "3": (256, 2)}
WHAT = {
    "1": "re-synthesiser, L1 and five stages of VGG-19, Adam",
    "2": "classifier of stage 5, the re-synthesiser frozen, SGD",
    "3": "re-synthesiser and both classifiers, Adam and SGD",
}
PAGE_SUBJECT = Subject(
    name="Re-synthesis",
    networks=(),
    settings={
        "config.perceptual.weights": '"scratch"',
        "config.size": "128",
        "config.reconstruction.training.precision": '"float32"',
        **FLOAT32,
    },
    short={
        # From scratch, and with as few steps, the configured rate ends in numbers that are none.
        "config.training.learning_rate": "1e-3",
        "config.reconstruction.training.epochs": "1",
        "config.reconstruction.training.checkpoint_seconds": "0",
        "config.training.epochs": "2",
        "config.joint.epochs": "1",
    },
    title="Three phases",
    schedule="in one epoch of the re-synthesiser, two of each classifier and one of all together",
    killed=f"pixel/checkpoints/00001-{sum(N['train']) // BATCH + 2:08d}",  # its second step
    where="the second epoch of the classifier of pixels",
)


def configured() -> ResynthesisConfig:
    """The full size, VGG-19 without its weights."""
    settings = {**PAGE_SUBJECT.settings, "config.size": "1024", "config.joint.epochs": "1"}
    given = read_config(CONFIG, overrides(settings))
    return ResynthesisConfig(**given.config)


def phase_steps(phase: str) -> None:
    """Steps of a phase in this process; prints what they took."""
    import torch

    from benchmarks import bare
    from tellsign.engine.scores import arithmetic
    from tellsign.engine.step import descend

    config, (side, batch) = configured(), SIZES[phase]
    images = torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=torch.channels_last)
    losses, optimisers = task(config, phase)
    seconds = []
    for _ in range(STEPS + 1):
        began = time.perf_counter()
        with arithmetic(torch.device("cpu"), config.training.precision):
            loss = losses(images)
        descend(loss, optimisers)
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"seconds": seconds, "peak": bare.memory()[1]}))


def task(config: ResynthesisConfig, phase: str) -> tuple[Any, list[Any]]:
    """A phase's loss of images (B, 3, S, S), and its optimisers."""
    import torch

    from tellsign.engine.step import new_optimiser
    from tellsign.features.residual import downsampled
    from tellsign.systems.resynthesis import training
    from tellsign.systems.resynthesis.config import part_name
    from tellsign.systems.resynthesis.joint import Joint, joint_loss
    from tellsign.systems.resynthesis.model import Resynthesis, StageClassifier, new_classifier
    from tellsign.systems.resynthesis.reconstruction import loss_network, reconstruction_losses

    residuals = training.begun(config, seed=0)
    layout = torch.channels_last
    if phase == "1":
        network, perceptual = residuals.resynthesiser.to(memory_format=layout).train(), loss_network(config)

        def restored(images: Tensor) -> Tensor:
            found = network(downsampled(images))
            return reconstruction_losses(found, images, perceptual, config.loss_weights)[0].mean()

        return restored, [new_optimiser(network, config.reconstruction.training)]
    classifiers = {part_name(stage): new_classifier(config, residuals, stage) for stage in config.stages}
    if phase == "2":
        own = StageClassifier(residuals, classifiers["stage5"], 5).to(memory_format=layout).train()
        return (
            lambda images: torch.nn.functional.cross_entropy(
                own(images).float(), torch.ones(len(images)).long()
            ),
            [new_optimiser(own, config.training)],
        )
    whole = Resynthesis(
        residuals, classifiers, stages=config.stages, fusion="weights", weights=config.fusion_weights
    )
    whole.to(memory_format=layout).train()
    whole.perceptual.requires_grad_(False)
    loss, labels = joint_loss(config, loss_network(config)), torch.arange(SIZES["3"][1]) % 2
    by_adam = replace(config.joint_training, optimiser="adam", learning_rate=config.joint.resynthesiser_rate)
    optimisers = [
        new_optimiser(whole.classifiers, config.joint_training),
        new_optimiser(whole.resynthesiser, by_adam),
    ]
    return lambda images: loss(Joint(whole), images, labels)[0].mean(), optimisers


def step_table() -> str:
    """A row for each phase."""
    lines = [
        "| phase | what learns | side, px | batch | a step, s | the first, s | most memory, MiB |",
        "|---:|---|---:|---:|---:|---:|---:|",
    ]
    code = "import sys; from benchmarks.full_size_resynthesis import phase_steps; phase_steps(sys.argv[1])"
    for phase, (side, batch) in SIZES.items():
        say(f"phase {phase}: {STEPS + 1} steps")
        done = subprocess.run(
            [sys.executable, "-c", code, phase], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        found = json.loads(done.stdout.splitlines()[-1])
        first, *others = found["seconds"]
        numbers = f"{side} | {batch} | {min(others):.1f} | {first:.1f} | {found['peak']:.0f}"
        lines.append(f"| {phase} | {WHAT[phase]} | {numbers} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the page."""
    packages = ("torch", "timm", "onnxruntime", "numpy")
    versions = ", ".join(
        [f"Python {platform.python_version()}", *(f"{one} {version(one)}" for one in packages)]
    )
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        reals, fakes, what = found_images(work)
        write(staged(reals, fakes), work / "stages.csv")
        steps = step_table()
        schedule = "\n".join(schedule_page(CONFIG, PAGE_SUBJECT, work / "stages.csv", work))
    (n_real, n_fake), _ = N["train"], N["valid"]
    print(f"""\
# Re-synthesis at full size: {CONFIG.name}

Written by `python -m benchmarks.full_size_resynthesis`, on a processor alone: {os.cpu_count()} cores of
{platform.machine()}, OMP_NUM_THREADS {threads}, {versions}. {what}; weights from scratch, those of VGG-19 as
well. Nothing is learnt in so few steps: this is about what runs, and what it takes.

## A step of each phase

Forward, backward and optimisers, the faster of {STEPS} after the first, of made images.

{steps}

## {PAGE_SUBJECT.title}, a kill, an evaluation

{n_real} reals and {n_fake} fakes at 128 pixels {PAGE_SUBJECT.schedule}, batch {BATCH}.

{schedule}""")


if __name__ == "__main__":
    main()
