"""Trains a generator from a manifest and writes it: GANs, auto-encoders, and generators that are tuned.

The loop, its checkpoints and its record are the engine's (`tellsign.engine.loop`). Beside a generator OUT
lies `OUT.run`, with the log, the curves and a picture of samples after each epoch.

Shapes: B images of a batch, N images, S side in pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tellsign import artifacts
from tellsign.artifacts import RUN_SUFFIX
from tellsign.data.augment import View
from tellsign.engine.distributed import require_alone, this_process
from tellsign.engine.folder import cache_folder
from tellsign.engine.loop import train
from tellsign.generators.artifact import save_generator
from tellsign.generators.autoencoder import AutoEncoder
from tellsign.generators.card import generator_card
from tellsign.generators.foreign import require_gradient
from tellsign.generators.gan import Discriminator, Generator
from tellsign.generators.image_sets import reals_of
from tellsign.generators.losses import ADVERSARIAL
from tellsign.generators.progress import frechet_to, reference
from tellsign.generators.spectral_discriminator import SpectralDiscriminator
from tellsign.generators.task import Factor, Setting, compared, memory, new_task
from tellsign.types import ConfigError
from tellsign.versions import package_versions

if TYPE_CHECKING:
    from pathlib import Path

    from tellsign.artifacts import Artifact
    from tellsign.data import Manifest
    from tellsign.engine.folder import TrainingResult
    from tellsign.generators.config import GeneratorConfig
    from tellsign.generators.frechet import FeatureNetwork
    from tellsign.generators.sources import Source

Say = Callable[[str], None]


def train_generator(
    config: GeneratorConfig,
    manifest: Manifest,
    out: Path,
    *,
    resume: bool = False,
    source: Source | None = None,
    features: FeatureNetwork | None = None,
    factor: Factor | None = None,
    licence: str = "",
    say: Say = lambda text: None,
) -> Artifact:
    """Train a generator and write it, or go on where an earlier run came to an end.

    Args:    config: what is trained, and how.
             manifest: images, of whose reals it learns those of the split train and is compared with those of
             valid; without splits with all.
             out: the generator's folder; the training is kept in OUT.run beside it.
             resume: go on with what an earlier run has left there.
             source: the generator that is tuned, for the kind tune alone.
             features: network of the Fréchet distance; None: it is not computed.
             factor: of an auto-encoder's loss, for studies of what such a factor does.
             licence: of the weights, which is written beside them.
             say: told of progress.
    Returns: the generator's artifact.
    Raises:  ConfigError: an option can't be carried out, or the training diverges. ManifestError: images
             can't be used. OutputError: a folder holds something else. Whatever is raised, the last
             checkpoint is whole.
    """
    run = _checked(config, out, source, resume=resume)
    if factor is not None and config.kind != "autoencoder":
        raise ConfigError(f"a factor is one of an auto-encoder's loss, and the kind is {config.kind}")
    if source is not None:
        require_gradient(source.network, name=source.name)
    train_reals, valid_reals = reals_of(manifest)
    model = networks(config, source)
    setting = Setting(
        config=config,
        networks=model,
        frozen=source.network if source else None,
        view=View(size=image_size(config, source), flip=config.flip, fit=config.fit),
        train=train_reals,
        valid=valid_reals,
        cache=cache_folder(run) if config.training.cache else None,
        pictures=run,
        frechet=None if features is None else frechet_to(features),
        factor=factor,
        say=say,
    )
    result = train(
        model,
        lambda process: new_task(setting, process),
        config.training,
        run=run,
        seed=config.seed,
        identity=_identity(config, setting.view, source, factor, features),
        data={"train": train_reals, "valid": valid_reals},
        say=say,
    )
    spec = _spec(setting, source, result)
    if features is not None:
        spec["frechet"] = {"network": features.name, "digest": features.digest}
    return _written(out, setting, spec, licence)


def networks(config: GeneratorConfig, source: Source | None = None) -> nn.ModuleDict:
    """All that is trained, with its first weights.

    Args:    config: of the training. source: the generator that is tuned.
    Returns: "generator" and, where there are some, "discriminator" and "spectral".
    """
    network: Any = config.network
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        found: dict[str, nn.Module] = {}
        if source is not None:
            found["generator"] = copy.deepcopy(source.network)
        elif config.kind == "autoencoder":
            found["generator"] = AutoEncoder(network)
        else:
            found["generator"] = Generator(network)
            batch_norm = ADVERSARIAL[config.loss].batch_norm
            found["discriminator"] = Discriminator(network, batch_norm=batch_norm)
        if config.spectral_layers:
            found["spectral"] = SpectralDiscriminator(
                image_size(config, source), layers=config.spectral_layers
            )
    return nn.ModuleDict(found)


def image_size(config: GeneratorConfig, source: Source | None = None) -> int:
    """The side of the images of a generator.

    Args:    config: of the training. source: the generator that is tuned.
    Returns: S.
    """
    network: Any = config.network
    return int(network.size) if source is None else source.size


def _checked(config: GeneratorConfig, out: Path, source: Source | None, *, resume: bool) -> Path:
    """The run folder, once it is known that the training can begin or go on there."""
    artifacts.check_target(out)
    if (source is None) == (config.kind == "tune"):
        what = "tunes a generator, and none is given" if source is None else "begins anew: leave --from out"
        raise ConfigError(f"the kind {config.kind} {what}; see `tellsign generators train --help`")
    require_alone(this_process(config.training.device), "a generator")
    run = out.with_name(out.name + RUN_SUFFIX)
    if run.exists() and any(run.iterdir()) and not resume:
        raise ConfigError(
            f"{run} holds a training: go on with it by --resume, or remove the folder to begin anew"
        )
    return run


def _identity(
    config: GeneratorConfig,
    view: View,
    source: Source | None,
    factor: Factor | None,
    features: FeatureNetwork | None,
) -> dict[str, Any]:
    found = {
        "generator": config.decisive(),
        "view": asdict(view),
        "source": None if source is None else source.digest,
    }
    if factor is not None:
        found["factor"] = factor.name
    if features is not None:  # distances of two networks don't belong into one log
        found["features"] = features.digest
    return found


def _of_reals(setting: Setting) -> dict[str, float]:
    """What the measures come to for the real images themselves, by the names of `metrics`."""
    reals, groups = compared(setting)
    real = reference(reals, groups, setting.config.samples)
    return {
        "n": len(reals),
        "spectral_distance": real.noise,
        "pair_distance": real.diversity.mean,
        "near_duplicates": real.diversity.duplicates,
    }


def _spec(setting: Setting, source: Source | None, result: TrainingResult) -> dict[str, Any]:
    config, data = setting.config, {"train": setting.train, "valid": setting.valid}
    options = config.plain()
    kind: str | None = config.kind
    if source is not None:
        own = source.network
        kind, options["network"] = ("gan", asdict(own.config)) if isinstance(own, Generator) else (None, None)
    last = result.history[-1]
    spec = {
        "name": config.name,
        "summary": config.summary,
        "network": kind,
        "config": options,
        "source": None if source is None else {"name": source.name, "digest": source.digest},
        "data": {name: {"n": len(part), "manifest": part.digest()} for name, part in data.items()},
        "metrics": {
            name.removeprefix("valid_"): value
            for name, value in last.items()
            if name.startswith("valid_") and isinstance(value, float)
        },
        "reals": _of_reals(setting),
        "epochs": len(result.history),
        "versions": package_versions(("torch", "numpy", "pillow")),
    }
    if config.kind != "autoencoder":
        spec["memory"] = memory(setting)
    return spec


def _written(out: Path, setting: Setting, spec: dict[str, Any], licence: str) -> Artifact:
    size = setting.view.size
    card = generator_card({**spec, "size": size}, licence=bool(licence))
    network = setting.networks["generator"]
    artifact = save_generator(out, network, size=size, spec=spec, card=card, licence=licence)
    setting.say(f"wrote {artifact.name} to {out}")
    return artifact
