"""What the engine's loop is given to train a generator: images, a step, and what is measured after an epoch.

Shapes: B images of a batch, N images, S side in pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tellsign.engine.classifier import new_loader
from tellsign.engine.scores import arithmetic, evaluating
from tellsign.engine.task import Measured, Step, Task
from tellsign.generators.foreign import image_generator
from tellsign.generators.losses import ADVERSARIAL, discriminator_loss, generator_loss
from tellsign.generators.luma import varied
from tellsign.generators.nearest import neighbours, summary
from tellsign.generators.progress import FOLDER, measured, reference, write_grid
from tellsign.generators.reals import real_images
from tellsign.generators.spectral_loss import SpectralLoss
from tellsign.generators.step import Gan, learn
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from tellsign.data import Manifest
    from tellsign.data.augment import View
    from tellsign.data.loading import Batch
    from tellsign.engine.distributed import Process
    from tellsign.generators.config import GeneratorConfig
    from tellsign.generators.progress import Frechet, Reference
    from tellsign.types import FloatArray

N_COMPARED = 512  # images that are compared with all that were learnt from
AT_ONCE = 64  # images that are made or restored together when they are measured
ORDER, MEASURED = 0, 7  # streams of random numbers, apart from those of augmentation and steps


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """What an auto-encoder's loss is multiplied by, as the spectral term that was released with the paper."""

    name: str  # what it is, for the run's identity: another name is another training
    of: Callable[[Tensor, Tensor], Tensor]  # restored and real images (B, 3, S, S) → ()


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """All that a training of a generator is given."""

    config: GeneratorConfig
    networks: nn.ModuleDict  # "generator", and its opponents by name
    frozen: nn.Module | None  # the generator as it was, where it is tuned
    view: View  # of the images that are learnt from
    train: Manifest  # reals to learn from
    valid: Manifest  # reals to compare with
    cache: Path | None  # folder of decoded images
    pictures: Path  # the run folder, for pictures of samples
    frechet: Callable[[FloatArray], Frechet] | None  # reals → distance from them
    factor: Factor | None  # of an auto-encoder's loss
    say: Callable[[str], None]


@dataclass(slots=True, eq=False)
class Epochs:
    """The order of the images in each epoch, and which epoch it is."""

    n: int  # images
    batch_size: int  # of a step
    seed: int
    epoch: int = field(default=0)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """(M,) rows of an epoch: each image once, but for those of a last step that is not whole.

        Args:    epoch: from 0.
        Returns: the rows, shuffled, the same for the same seed and epoch.
        """
        self.epoch = epoch
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, epoch), spawn_key=(ORDER,)))
        whole = self.n - self.n % self.batch_size if self.n >= self.batch_size else self.n
        return rng.permutation(self.n)[:whole].astype(np.int64)


def new_task(setting: Setting, at: Process) -> Task:
    """What the loop trains.

    Args:    setting: of the training. at: this process; the networks are on its device.
    Returns: the task.
    Raises:  ManifestError: real images can't be used. ConfigError: there are too few for their spectrum.
    """
    config = setting.config
    turns = ADVERSARIAL[config.loss].discriminator_steps if config.kind == "gan" else 1
    batch_size = config.training.batch_size * turns
    loader = new_loader(setting.train, setting.view, config.training, cache=setting.cache, seed=config.seed)
    reals, groups = compared(setting)
    term = _term(setting, at.device)
    real = reference(reals, groups, config.samples, setting.frechet(reals) if setting.frechet else None)
    setting.say(
        f"compared with {len(reals)} real images, two halves of which are {real.noise:.2f} dB apart and "
        f"{real.diversity.duplicates:.1%} of {real.diversity.n} near duplicates; "
        + ("the Fréchet distance is not computed, as no network was given" if real.frechet is None else "")
    )
    optimisers = {name: _optimiser(network, config) for name, network in setting.networks.items()}
    epochs = Epochs(len(setting.train), batch_size, config.seed)
    step: Callable[[Batch], Step]
    if config.kind == "gan":
        parts: dict[str, Any] = dict(setting.networks.items())
        step = Gan(
            config,
            parts["generator"],
            parts["discriminator"],
            parts.get("spectral"),
            term,
            optimisers,
            at.device,
        ).step
    elif config.kind == "autoencoder":
        step = _Restoring(
            config,
            setting.networks["generator"],
            term,
            setting.factor,
            optimisers["generator"],
            at.device,
        ).step
    else:
        step = _tuning(setting, term, optimisers, at.device).step
    return Task(
        loader=loader,
        optimisers=optimisers,
        batch_size=batch_size,
        order=epochs.order,
        step=step,
        measured=lambda where: Measured(_measured(setting, reals, real, epochs.epoch, at)),
    )


def _optimiser(network: nn.Module, config: GeneratorConfig) -> torch.optim.Optimizer:
    training = config.training
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not parameters:
        raise ConfigError("the generator has no parameter that is trained: found none with requires_grad")
    betas: Any = (config.beta1, config.beta2)
    rate, decay = training.learning_rate, training.weight_decay
    return torch.optim.Adam(parameters, lr=rate, betas=betas, weight_decay=decay, fused=True)


def _reals(setting: Setting, manifest: Manifest, n: int) -> tuple[FloatArray, list[str]]:
    training = setting.config.training
    return real_images(
        manifest,
        setting.view.network_input(),
        n,
        workers=training.workers,
        cache=setting.cache,
        left_out=setting.say if training.on_bad == "skip" else None,
    )


def compared(setting: Setting) -> tuple[FloatArray, list[str]]:
    """The real images that a generator is compared with.

    Args:    setting: of the training.
    Returns: (N, 3, S, S) in [0, 1], and the source of each; of an auto-encoder those that it restores.
    Raises:  ManifestError: an image can't be used.
    """
    config = setting.config
    most = config.samples if config.kind == "autoencoder" else max(config.reals, config.samples)
    return _reals(setting, setting.valid, most)


def _term(setting: Setting, device: torch.device) -> SpectralLoss | None:
    """The spectral loss towards the reals that are learnt from; None where it is off."""
    if not setting.config.spectral:
        return None
    reals = torch.from_numpy(_reals(setting, setting.train, setting.config.reals)[0])
    bounded = setting.config.kind != "autoencoder"
    term = SpectralLoss.from_images(torch.split(reals, AT_ONCE), weight=setting.config.spectral)
    if not bounded:  # nothing bounds what an auto-encoder gives
        term = SpectralLoss(term.target, weight=term.weight, value_range=None, side=term.side)
    return term.to(device)


def _measured(
    setting: Setting, reals: FloatArray, real: Reference, epoch: int, at: Process
) -> dict[str, float]:
    """What the generator has come to; a picture of its images is written."""
    config, network = setting.config, setting.networks["generator"]
    found: dict[str, float] = {}
    with evaluating(network), torch.inference_mode():
        if config.kind == "autoencoder":
            given = torch.from_numpy(reals)
            parts = [network(part.to(at.device)).float().cpu() for part in torch.split(given, AT_ONCE)]
            images = torch.cat(parts)
            found["mse"] = float(functional.mse_loss(images, given))
            images = images.clamp(0, 1)
            shown = torch.cat([given[:32], images[:32]])
        else:
            images = shown = fixed_images(network, config.samples, config.seed, at.device)
    write_grid(setting.pictures / FOLDER / f"epoch-{epoch + 1:05d}.png", shown.numpy())
    return {**measured(images.numpy(), real), **found}


def fixed_images(network: nn.Module, n: int, seed: int, device: torch.device) -> Tensor:
    """The same images after each epoch.

    Args:    network: with the two methods, in evaluation mode. n: number of images.
             seed: of their latents. device: of the network.
    Returns: (n, 3, S, S) on the CPU.
    """
    own = image_generator(network)
    latents = own.latents(n, torch.Generator().manual_seed(seed + MEASURED))
    parts = [own.images(part.to(device)).float().cpu() for part in torch.split(latents, AT_ONCE)]
    return torch.cat(parts)


def memory(setting: Setting) -> dict[str, float]:
    """How near a generator's images come to those that it learnt from: as near as other reals, or nearer.

    Args:    setting: of a training that is done.
    Returns: generated: median distance of its images from the nearest image that it learnt from, and
             generated_least the least of them; real, real_least: those of real images that it did not learn
             from, where there are some.
    """
    config, network = setting.config, setting.networks["generator"]
    n, device = min(config.samples, N_COMPARED), next(network.parameters()).device
    with evaluating(network), torch.inference_mode():
        sets = {"generated": fixed_images(network, n, config.seed, device).numpy()}
    if setting.valid != setting.train:
        sets["real"] = _reals(setting, setting.valid, n)[0]
    say: Any = (lambda text: None) if config.training.on_bad == "skip" else None  # they were named before
    rows = neighbours(
        np.concatenate([*sets.values()]), setting.train, fit=config.fit, flip=config.flip, left_out=say
    )
    found: dict[str, float] = {}
    for name, images in sets.items():
        own, rows = rows[: len(images)], rows[len(images) :]
        median, least = summary(own).values()
        found |= {name: median, f"{name}_least": least}
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Restoring:
    """The training of an auto-encoder."""

    config: GeneratorConfig
    network: nn.Module
    term: SpectralLoss | None
    factor: Factor | None
    optimiser: torch.optim.Optimizer
    device: torch.device

    def step(self, batch: Batch) -> Step:
        """Restore real images."""
        n, training = len(batch.rows), self.config.training
        if not n:
            return Step(0, 0.0)
        images = batch.images.to(self.device, non_blocking=True)
        with arithmetic(self.device, training.precision):
            restored = self.network(images)
            loss = functional.mse_loss(restored.float(), images)
            figures = {"mse": loss.detach()}
            if self.factor is not None:
                loss = loss * self.factor.of(restored, images)
            if self.term is not None:
                terms = self.term.terms(restored)
                loss = loss + self.term.weight * terms.bce
                figures |= {"spectral_bce": terms.bce.detach(), "spectral_kl": terms.kl.detach()}
        learn(self.network, loss, self.optimiser, clip_norm=training.clip_norm)
        return Step(n, n * float(loss.detach()), {name: n * float(value) for name, value in figures.items()})


def _tuning(
    setting: Setting,
    term: SpectralLoss | None,
    optimisers: dict[str, torch.optim.Optimizer],
    device: torch.device,
) -> _Tuning:
    frozen = copy.deepcopy(setting.frozen).to(device).eval().requires_grad_(False)  # type: ignore[union-attr]
    parts: dict[str, Any] = dict(setting.networks.items())
    return _Tuning(
        setting.config, parts["generator"], frozen, parts.get("spectral"), term, optimisers, device
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Tuning:
    """The training of a generator that there is, whose images should stay what they show."""

    config: GeneratorConfig
    network: nn.Module
    frozen: nn.Module  # as it was
    spectral: nn.Module | None
    term: SpectralLoss | None
    optimisers: dict[str, torch.optim.Optimizer]
    device: torch.device

    def step(self, batch: Batch) -> Step:
        """Give images of random latents another spectrum."""
        n, config = len(batch.rows), self.config
        if not n:
            return Step(0, 0.0)
        # As it will be sampled: statistics of batches are those that it came with.
        self.network.eval()
        rng = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        latents = image_generator(self.network).latents(n, rng).to(self.device)
        figures: dict[str, Tensor] = {}
        with arithmetic(self.device, config.training.precision):
            images = image_generator(self.network).images(latents)
            with torch.no_grad():
                before = image_generator(self.frozen).images(latents)
        # A crop of one colour has no spectrum to show; generated images of one colour are an error.
        if self.spectral is not None and len(real := batch.images[varied(batch.images)]):
            shown = real.to(self.device, non_blocking=True), images.detach()[: len(real)]
            opposed = discriminator_loss(config.loss, *map(self.spectral, shown))
            self._learn("spectral", self.spectral, opposed)
            figures["spectral_discriminator"] = opposed.detach()
        change = functional.mse_loss(images.float(), before.float())
        figures["change"] = change.detach()
        loss = config.keep * change
        if self.spectral is not None:
            loss = loss + generator_loss(config.loss, self.spectral(images))
        if self.term is not None:
            terms = self.term.terms(images)
            loss = loss + self.term.weight * terms.bce
            figures |= {"spectral_bce": terms.bce.detach(), "spectral_kl": terms.kl.detach()}
        self._learn("generator", self.network, loss)
        return Step(n, n * float(loss.detach()), {name: n * float(value) for name, value in figures.items()})

    def _learn(self, name: str, network: nn.Module, loss: Tensor) -> None:
        learn(network, loss, self.optimisers[name], clip_norm=self.config.training.clip_norm)
