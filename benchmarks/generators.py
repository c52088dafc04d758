"""Generators: a GAN's step by the engine against a bare loop, and sampling against encoding alone.

The engine's side is `tellsign.engine.loop.train` with the task of `tellsign generators train`, and a batch in
memory in the place of its loader. It takes turns with the bare loop, which has the same weights, the same
latents and the same losses, and takes no gradient that it does not use. Sampling is `tellsign generators
sample` as a function: graph, PNG files, manifest; the other side encodes the very same images and writes
nothing. `python -m benchmarks.generators` prints the rows.
"""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import torch
from torch.nn import functional

from benchmarks.features import fastest
from benchmarks.training import NO_CHECKPOINTS, InMemory, write_images
from tellsign.data import Manifest
from tellsign.data.augment import View
from tellsign.data.loading import Batch
from tellsign.engine.loop import step_seed, train
from tellsign.generators import task
from tellsign.generators.artifact import save_generator
from tellsign.generators.config import config_from, read_config
from tellsign.generators.sampling import artifact_run, file_name, latents_of, write_samples
from tellsign.generators.training import networks
from tellsign.image.jpeg import eight_bit_picture
from tellsign.types import REAL, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from tellsign.generators.config import GeneratorConfig

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "gan.toml"
STEPS = 12  # in turn, after one of each that doesn't count
N_REALS = 8  # which are measured beside the training
N_SAMPLES = 10_000
ROUNDS = 1  # after one to warm up
# As small as those that are made on a processor.
SMALL = {"size": 64, "base": 16, "cap": 128, "latents": 64}


class BareLoop:
    """Steps of a DCGAN, one after the other."""

    def __init__(self, parts: nn.ModuleDict, config: GeneratorConfig, images: torch.Tensor) -> None:
        self.parts, self.config, self.images = parts.train(), config, images
        self.optimisers = {
            name: torch.optim.Adam(
                part.parameters(),
                lr=config.training.learning_rate,
                betas=(config.beta1, config.beta2),  # type: ignore[arg-type]
                fused=True,
            )
            for name, part in parts.items()
        }
        self.losses: list[float] = []

    def step(self) -> None:
        """One of the discriminator, one of the generator."""
        generator, discriminator = self.parts["generator"], self.parts["discriminator"]
        torch.manual_seed(step_seed(0, 0, len(self.losses), 0))
        n = len(self.images)
        with torch.no_grad():
            fake = generator.images(torch.randn(n, generator.config.latents))
        real_logits, fake_logits = discriminator(self.images), discriminator(fake)
        own = functional.softplus(-real_logits).mean() + functional.softplus(fake_logits).mean()
        self._descend("discriminator", own)
        fake_logits = discriminator(generator.images(torch.randn(n, generator.config.latents)))
        loss = functional.softplus(-fake_logits).mean()
        self._descend("generator", loss)
        self.losses.append(float(own.detach()) + float(loss.detach()))

    def _descend(self, name: str, loss: torch.Tensor) -> None:
        self.optimisers[name].zero_grad(set_to_none=True)
        torch.autograd.backward(loss, inputs=list(self.parts[name].parameters()))
        self.optimisers[name].step()


def step_row() -> dict[str, Any]:
    """The bare loop's time of a step over the engine's, as the median over pairs."""
    given = read_config(CONFIG)
    training = replace(
        given.training,
        epochs=1,
        workers=0,
        schedule="constant",
        checkpoint_seconds=NO_CHECKPOINTS,
        device="cpu",
    )
    config = replace(given, samples=N_REALS, reals=N_REALS, training=training)
    n = training.batch_size
    size: int = config.network.size  # type: ignore[union-attr]
    images = torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))
    parts = networks(config)
    bare = BareLoop(deepcopy(parts), config, images)
    seconds: list[float] = []

    def bare_step() -> None:
        state = torch.get_rng_state()
        began = time.perf_counter()
        bare.step()
        seconds.append(time.perf_counter() - began)
        torch.set_rng_state(state)

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        paths = write_images(folder, size, (STEPS + 1) * n)
        reals = Manifest(tuple(Sample(path, REAL) for path in paths))
        batch = Batch(images, torch.zeros(n, dtype=torch.int64), torch.arange(n), n)
        loader = InMemory(reals, batch, bare_step)
        setting = task.Setting(
            config=config,
            networks=parts,
            frozen=None,
            view=View(size=size, flip=True),
            train=reals,
            valid=reals[:N_REALS],
            cache=None,
            pictures=folder / "run",
            frechet=None,
            factor=None,
            say=lambda text: None,
        )
        with mock.patch.object(task, "new_loader", return_value=loader):
            result = train(
                parts,
                lambda at: task.new_task(setting, at),
                training,
                run=folder / "run",
                seed=0,
                identity={"generator": "benchmark"},
                data={"train": reals, "valid": setting.valid},
            )
    # What is compared does the same work.
    loss, expected = result.history[0]["loss"], statistics.mean(bare.losses)
    assert abs(loss - expected) < 1e-3 * abs(expected), (loss, expected)
    pairs = list(zip(seconds, loader.seconds, strict=True))[1:]
    each = statistics.median(ours for _, ours in pairs)
    return {
        "name": f"training step of a DCGAN, {size} px, batch {n} ({each:.2f} s), rate over a bare loop",
        "value": statistics.median(theirs / ours for theirs, ours in pairs),
        "target": 0.97,
        "unit": "×",
    }


def sampling_row() -> dict[str, Any]:
    """The time of encoding alone over that of sampling."""
    config = config_from({"kind": "gan", "name": "small", "network": SMALL}, where="the benchmark")
    network = networks(config)["generator"]
    with torch.no_grad():
        network.body[-2].weight.mul_(20)  # as of a trained one, whose images are not all grey
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        spec = {"name": "small", "config": config.plain()}
        artifact = save_generator(folder / "g", network, size=SMALL["size"], spec=spec)
        run = artifact_run(artifact)
        blocks = [range(at, at + 100) for at in range(0, N_SAMPLES, 100)]
        calls: list[int] = []

        def encoded() -> float:
            """Seconds of encoding alone; the clock stands while images are made."""
            spent = 0.0
            for block in blocks:
                images = run(np.stack([latents_of(seed, SMALL["latents"]) for seed in block])).clip(0, 1)
                began = time.perf_counter()
                for image in images:
                    eight_bit_picture(image).save(io.BytesIO(), "PNG")
                spent += time.perf_counter() - began
            return spent

        def sampled() -> None:
            calls.append(len(calls))
            write_samples(artifact, folder / f"fakes-{calls[-1]}", N_SAMPLES)

        encoding = min(encoded() for _ in range(ROUNDS + 1))
        seconds = fastest(ROUNDS, sampled=sampled)["sampled"]
        assert (folder / "fakes-0" / file_name(N_SAMPLES - 1)).is_file()
    return {
        "name": f"sampling {N_SAMPLES} images, {SMALL['size']} px ({N_SAMPLES / seconds:.0f} a second), rate "
        "over encoding alone",
        "value": encoding / seconds,
        "target": 0.5,
        "unit": "×",
    }


def rows() -> Iterator[dict[str, Any]]:
    """Every measurement of this module."""
    yield step_row()
    yield sampling_row()


if __name__ == "__main__":
    for row in rows():
        print(row)
