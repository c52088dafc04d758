"""One training of a generator with what its images come to, in a folder of its own; done once.

As `tellsign.evaluate.cells` does for detectors: a queue of cells that was killed is started again by the
same command, finished cells are read, the one that was at work goes on, the others begin. What a cell is, is
in the name of its folder, and figures that draw the same cell share it.

Shapes: N images, S side in pixels, K rings.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import artifacts
from tellsign.data.manifest import require_images
from tellsign.evaluate.cells import Say, write_json
from tellsign.evaluate.samples import content, known
from tellsign.image.network_input import NetworkInput
from tellsign.lock import locked
from tellsign.types import REAL, ConfigError, ManifestError, OutputError

if TYPE_CHECKING:
    from tellsign.artifacts import Artifact
    from tellsign.data import Manifest
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.generators.config import GeneratorConfig
    from tellsign.generators.frechet import FeatureNetwork
    from tellsign.generators.task import Factor
    from tellsign.types import FloatArray

# What figures vary is theirs to say: a network of theirs without one of these has it as it is by default.
VARIED = ("up", "last_up", "head_layers", "inner")
FORMAT = 2  # of cells; 2: gradient penalties are of images in [-1, 1]
GENERATOR, RECORD = "generator", "record.json"
N_DIGITS = 12  # of the digest, in a folder's name
SHARES = {"train": 0.8, "valid": 0.2}  # of a manifest without splits
N_SEEDS = 3
N_TRAIN = 1000  # images that are learnt from, where nothing else is asked for
NEEDS = "needs real images and a folder for what is trained: --data MANIFEST -o FOLDER"
# Small enough for a processor; the paper says little of its auto-encoder, and trains its GANs at 128 pixels.
SMALL: dict[str, dict[str, Any]] = {
    "autoencoder": {
        "network": {"size": 64},
        # With larger batches it is still far from its end, and seeds differ by how far.
        "training": {"epochs": 5, "batch_size": 4, "schedule": "cosine"},
    },
    "gan": {
        "network": {"size": 64, "base": 16, "cap": 128, "latents": 64},
        "training": {"epochs": 10, "batch_size": 32},
    },
}


@dataclass(frozen=True, eq=False)
class Finished:
    """A cell that is done."""

    name: str
    folder: Path
    record: dict[str, Any]

    @property
    def history(self) -> list[dict[str, Any]]:
        """One row an epoch, as the training's log has it."""
        found: list[dict[str, Any]] = self.record["history"]
        return found

    @property
    def size(self) -> int:
        """S of its images."""
        found: int = self.record["identity"]["config"]["network"]["size"]
        return found

    @property
    def generator(self) -> Artifact:
        """What was trained."""
        return artifacts.load(self.folder / GENERATOR)

    def pictures(self) -> list[Path]:
        """The pictures of samples, one an epoch."""
        return sorted((self.folder / f"{GENERATOR}{artifacts.RUN_SUFFIX}" / "samples").glob("*.png"))


@dataclass(frozen=True, eq=False)
class Study:
    """One data set, one configuration of each kind, one seed, and the folder of all cells."""

    manifest: Manifest  # reals with the splits train and valid
    config: GeneratorConfig
    folder: Path
    say: Say
    features: FeatureNetwork | None = None  # of a Fréchet distance

    def cell(
        self,
        name: str,
        network: Mapping[str, Any] | None = None,
        *,
        factor: Factor | None = None,
        **options: Any,
    ) -> Finished:
        """A generator of this study, trained unless it was before.

        Args:    name: of its folder. network: options of the network, in place of the study's.
                 factor: of an auto-encoder's loss, or None. options: other ones, in place of the study's.
        Returns: the cell.
        Raises:  ConfigError, ManifestError: it can't be trained. OutputError: its folder can't be written, or
                 another run holds it.
        """
        found: Any = replace(self.config.network, **(network or {}))  # type: ignore[type-var]
        config = replace(self.config, name=name, network=found, **options)
        return finished_cell(
            config, self.manifest, self.folder, factor=factor, features=self.features, say=self.say
        )

    @property
    def seeds(self) -> range:
        """Of a cell that is trained several times, as it does not take long."""
        return range(self.config.seed, self.config.seed + N_SEEDS)

    @cached_property
    def reals(self) -> FloatArray:
        """(N, 3, S, S) that generated images are compared with; nothing is learnt from them."""
        return _valid_reals(self.config, self.manifest)[0]


def study(inputs: Inputs, kind: str) -> Study | None:
    """What is to be trained.

    Args:    inputs: of a reproduction. kind: of generator, where no configuration is given.
    Returns: None where no manifest is given.
    Raises:  ConfigError: there is no folder, the configuration is of another kind, or a package is missing.
             ManifestError: there are too few reals, or rows are videos.
    """
    if inputs.manifest is None:
        return None
    if inputs.folder is None:
        raise ConfigError(f"a training takes long and is kept: {NEEDS}")
    require_images(inputs.manifest)
    return Study(
        manifest=_split(inputs.manifest, max(inputs.samples) if inputs.samples else N_TRAIN, inputs.seed),
        config=configuration(inputs.config, kind, seed=inputs.seed),
        folder=inputs.folder,
        say=inputs.say,
        features=None if inputs.features is None else _network(str(inputs.features)),
    )


def _network(name: str) -> FeatureNetwork:
    from tellsign.generators.frechet import feature_network

    return feature_network(name)


def configuration(file: Path | None, kind: str, *, seed: int) -> GeneratorConfig:
    """The options that all cells of a study share.

    Args:    file: TOML for `tellsign generators train`, or None for a small network.
             kind: that it must be of. seed: of everything random.
    Returns: the configuration of a plain generator: without spectral terms and without a head, which each
             figure adds to its own cells.
    Raises:  ConfigError: it can't be read, or is of another kind.
    """
    from tellsign.generators.config import config_from, read_config

    if file is None:
        return config_from(
            {"kind": kind, "name": kind, "seed": seed, **SMALL[kind]}, where="the small network"
        )
    found = read_config(file)
    if found.kind != kind:
        raise ConfigError(f"{file} trains the kind {found.kind!r}; expected {kind!r}")
    network: Any = found.network
    plain = {name: getattr(type(network)(), name) for name in VARIED if hasattr(network, name)}
    return replace(found, seed=seed, spectral=0.0, spectral_layers=0, network=replace(network, **plain))


def finished_cell(
    config: GeneratorConfig,
    manifest: Manifest,
    root: Path,
    *,
    factor: Factor | None = None,
    features: FeatureNetwork | None = None,
    say: Say,
) -> Finished:
    """A cell's result, at once where it is there already.

    Args:    config: what is trained. manifest: reals of the splits train and valid.
             root: the folder of cells. factor: of an auto-encoder's loss, or None.
             features: network of a Fréchet distance, or None. say: told what happens.
    Returns: the cell.
    Raises:  ConfigError, ManifestError: it can't be trained; what was learnt is kept for the next call.
             OutputError: its folder can't be written, or another run holds it.
    """
    identity = _identity(config, manifest, factor, features)
    digits = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:N_DIGITS]
    others = sorted(path for path in root.glob(f"*-{digits}") if path.is_dir())
    folder = others[0] if others else root / f"{config.name}-{digits}"
    with locked(folder):
        if (record := _stored(folder / RECORD, say)) is not None:
            return Finished(config.name, folder, record)
        from tellsign.generators.training import train_generator

        say(f"{folder.name}: {config.kind}, {config.training.epochs} epochs")
        out = folder / GENERATOR
        train_generator(
            config,
            manifest,
            out,
            resume=True,
            features=features,
            factor=factor,
            say=lambda text: say(f"  {text}") if text else None,
        )
        run = out.with_name(out.name + artifacts.RUN_SUFFIX)
        history = json.loads((run / "log.json").read_bytes())["epochs"]
        measured = _measured(artifacts.load(out), config, manifest, features)
        record = {"name": config.name, "identity": identity, "history": history, **measured}
        try:
            write_json(folder / RECORD, record)
            for path in run.rglob("*.safetensors"):  # the generator's folder holds its own
                path.unlink()
        except OSError as error:
            raise OutputError(f"cannot write {folder}: {error.strerror or error}") from error
    return Finished(config.name, folder, record)


def images_of(artifact: Artifact, n: int, reals: FloatArray) -> FloatArray:
    """Images of a generator as its files hold them, without any files.

    Args:    artifact: of a GAN, or of an auto-encoder.
             n: number of images of the GAN, of the seeds from 0 on.
             reals: (N, 3, S, S) that the auto-encoder restores.
    Returns: (N, 3, S, S) in [0, 1], in steps of 1 / 255.
    """
    from tellsign.generators import sampling

    if artifact.spec["input"] == sampling.IMAGES:
        run = sampling.artifact_run(artifact, sampling.IMAGES)
        made = np.concatenate([run(part) for part in np.array_split(reals, -(-len(reals) // sampling.BLOCK))])
    else:
        run = sampling.artifact_run(artifact)
        size = artifact.spec["latents"]
        latents = [
            sampling.latents_of(seed, size) for seed in range(-(-n // sampling.BLOCK) * sampling.BLOCK)
        ]
        blocks = [np.stack(latents[at : at + sampling.BLOCK]) for at in range(0, n, sampling.BLOCK)]
        made = np.concatenate([run(block) for block in blocks])[:n]
    levels: FloatArray = np.rint(np.clip(made, 0, 1) * 255) / 255
    return levels


def _measured(
    artifact: Artifact,
    config: GeneratorConfig,
    manifest: Manifest,
    features: FeatureNetwork | None,
) -> dict[str, Any]:
    from tellsign.generators.progress import frechet_to, measured, reference
    from tellsign.generators.reals import decibels

    reals, groups = _valid_reals(config, manifest)
    images = images_of(artifact, config.samples, reals)
    real = reference(reals, groups, len(images), None if features is None else frechet_to(features)(reals))
    rows = {"real": decibels(reals), "fake": decibels(images)}
    found: dict[str, Any] = {
        "generator": artifact.name,
        "n": {"real": len(reals), "fake": len(images)},
        "profile": {name: values.mean(axis=0).tolist() for name, values in rows.items()},
        "deviation": {name: values.std(axis=0).tolist() for name, values in rows.items()},
        "measured": measured(images, real),
        "noise": real.noise,
        "real_pair_distance": real.diversity.mean,
        "real_near_duplicates": real.diversity.duplicates,
    }
    if len(images) == len(reals) and config.kind == "autoencoder":
        found["measured"]["mse"] = float(np.square(images - reals).mean())
    return found


def _valid_reals(config: GeneratorConfig, manifest: Manifest) -> tuple[FloatArray, list[str]]:
    from tellsign.generators.image_sets import reals_of
    from tellsign.generators.reals import real_images

    network: Any = config.network
    _, valid = reals_of(manifest)
    training = config.training
    left_out: Any = (lambda text: None) if training.on_bad == "skip" else None
    look = NetworkInput(network.size, fit=config.fit)
    return real_images(valid, look, config.samples, workers=training.workers, left_out=left_out)


def _split(manifest: Manifest, n: int, seed: int) -> Manifest:
    """Reals with the splits train and valid, at most n to learn from."""
    from tellsign.data import Manifest as Rows

    reals = manifest.filter(label=REAL)
    if not any(sample.split for sample in manifest):
        parts = reals.split(SHARES, seed=seed)
    else:
        parts = {name: reals.filter(split=name) for name in SHARES}
    for name, part in parts.items():
        if not part:
            raise ManifestError(
                f"a study learns from real images of the split train and compares with those of valid, and "
                f"the manifest has none of the split {name}: `tellsign data split` makes them"
            )
    return known(Rows((*parts["train"].evenly(n), *parts["valid"])))


def _identity(
    config: GeneratorConfig, manifest: Manifest, factor: Factor | None, features: FeatureNetwork | None
) -> dict[str, Any]:
    rows = [f"{line} {sample.split}" for line, sample in zip(content(manifest), manifest, strict=True)]
    own = {
        "format": FORMAT,
        "config": config.decisive(),
        "samples": config.samples,
        "data": hashlib.sha256("\n".join(rows).encode()).hexdigest(),
    }
    if factor is not None:
        own["factor"] = factor.name
    if features is not None:
        own["features"] = features.digest
    found: dict[str, Any] = json.loads(json.dumps(own, sort_keys=True))
    return found


def _stored(file: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The record of a cell; None where there is none, or it is damaged and its folder was removed."""
    try:
        record: dict[str, Any] = json.loads(file.read_bytes())
        record["history"], record["profile"], record["measured"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise OutputError(f"cannot read {file}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        say(f"{file} is damaged ({error!r}): the cell is made anew")
        shutil.rmtree(file.parent)
        return None
    return record
