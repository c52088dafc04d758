"""Configuration → system fitted, chosen on one half of the validation split, calibrated on the other, saved.

The two halves share no group. The test split is never read here.
"""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import __version__, artifacts, detectors, hub, image
from tellsign.calibration import (
    Calibration,
    CalibrationConfig,
    check_support,
    chosen_point,
    cross_fitted,
    domain_limit,
    points_by_rule,
)
from tellsign.configuration import only_known, toml_tree
from tellsign.data.manifest import LABEL_NAMES
from tellsign.groups import effective_groups, sources
from tellsign.metrics import auroc
from tellsign.run_folder import is_first, run_folder
from tellsign.scoring.decision import domain_distance, domain_level, domain_shape
from tellsign.types import FAKE, REAL, ConfigError, ImageError, ManifestError

if TYPE_CHECKING:
    from tellsign.artifacts import Artifact
    from tellsign.calibration import OperatingPoint
    from tellsign.data import Manifest
    from tellsign.types import FloatArray

Say = Callable[[str], None]
DOMAIN_EDGE = 0.99  # share of the training images inside a distance of 1


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One TOML file: which system, with which options, chosen from which grid."""

    system: str  # what is trained; see `tellsign.hub`
    name: str  # of the detector
    summary: str = ""  # of training data and limits, in a sentence or two; shown beside the evidence
    seed: int = 0  # of everything random
    config: Mapping[str, Any] = field(default_factory=dict)  # of the system
    grid: Mapping[str, list[Any]] = field(default_factory=dict)  # option → values to choose from
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)  # see below

    def __post_init__(self) -> None:
        for key in ("system", "name"):
            value = getattr(self, key)
            if not isinstance(value, str) or not value or not value.isprintable():
                raise ConfigError(f"{key} is a name, found {value!r}")
        if not isinstance(self.summary, str):
            raise ConfigError(f"summary is a text, found {self.summary!r}")
        # scikit-learn takes no larger seed.
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed is a whole number from 0 to 2**32 - 1, found {self.seed!r}")
        for key in ("config", "grid"):
            if not isinstance(getattr(self, key), Mapping):
                raise ConfigError(f"[{key}] is a table of options, found {getattr(self, key)!r}")
        for name, values in self.grid.items():
            if not isinstance(values, list) or not values:
                raise ConfigError(f"[grid] {name} is a list of values to choose from, found {values!r}")


def read_config(path: Path, overrides: Iterable[str] = ()) -> TrainConfig:
    """A configuration from TOML with `key=value` overrides.

    Args:    path: of the TOML file.
             overrides: e.g. `seed=1` or `config.crop=256`; values are TOML.
    Returns: the configuration, checked.
    Raises:  ConfigError: the file can't be read, a key is unknown, or a value is not allowed.
    """
    return config_from(toml_tree(path, overrides), where=str(path))


def config_from(options: Mapping[str, Any], *, where: str) -> TrainConfig:
    """A configuration from a tree of options.

    Args:    options: as a TOML file gives them.
             where: they stand, for messages.
    Returns: the configuration, checked.
    Raises:  ConfigError: a key is unknown or missing, or a value is not allowed.
    """
    only_known(options, TrainConfig, where)
    for key in ("system", "name"):
        if key not in options:
            raise ConfigError(f"{where} lacks {key!r}")
    calibration = options.get("calibration", {})
    if not isinstance(calibration, Mapping):
        raise ConfigError(f"{where}: [calibration] is a table of options, found {calibration!r}")
    only_known(calibration, CalibrationConfig, f"{where} [calibration]")
    return TrainConfig(**{**options, "calibration": CalibrationConfig(**calibration)})


def train(
    config: TrainConfig,
    manifest: Manifest,
    out: Path,
    *,
    resume: bool = False,
    say: Say = lambda text: None,
) -> Artifact:
    """Train, choose, calibrate and save a detector.

    Where several processes train a network together (torchrun), each calls this, and the first one writes.

    Args:    config: system, options, grid.
             manifest: with splits train and valid; samples of the split test are left alone.
             out: the detector's folder; a training is kept in `out` with ".run" behind its name meanwhile.
             resume: go on with a training that was stopped there.
             say: told what happens.
    Returns: the calibrated artifact; in the other processes of several, the one that was chosen.
    Raises:  ConfigError, ManifestError: configuration or data don't do.
    """
    artifacts.check_target(out)
    system = hub.system(config.system)
    candidates = list(_candidates(system.config_class, config))
    training, valid = manifest.filter(split="train"), manifest.filter(split="valid")
    for name, part in (("train", training), ("valid", valid)):
        if set(part.labels) != {REAL, FAKE}:
            raise ManifestError(
                f"the split {name!r} needs both labels, found {len(part)} rows with "
                f"{sorted({LABEL_NAMES[label] for label in part.labels})}; see `tellsign data split`"
            )
    _no_shared_groups(training, valid)
    halves = validation_halves(valid, seed=config.seed)
    _check_support(halves["calibrate"], config.calibration)
    with run_folder(out, resume=resume) as folder:
        trials = []
        for number, options in enumerate(candidates):
            path = folder / str(number)
            system(options).fit(training, halves["select"], out=path, seed=config.seed, say=say)
            scores, _ = raw_scores(artifacts.load(path), halves["select"])
            area = auroc(np.array(halves["select"].labels), scores)
            trials.append((area, path))
            say(
                f"candidate {number + 1} of {len(candidates)}: AUROC {area:.3f} on the selection half"
                f"  {_short(options, config)}"
            )
        area, best = max(trials, key=lambda trial: trial[0])
        draft = artifacts.load(best)
        if not is_first():
            return draft
        spec = {
            **draft.spec,
            "name": config.name,
            "summary": config.summary,
            "train": asdict(config),
            "versions": versions(),
            "data": {
                "manifest": manifest.digest(),
                "train": counts(training),
                "select": counts(halves["select"]),
                "calibrate": counts(halves["calibrate"]),
            },
            "metrics": {"auroc_select": area, "n_candidates": len(candidates)},
        }
        domain = _domain_statistics(draft, training)
        chosen = artifacts.save(
            folder / "chosen", spec=spec, arrays={**draft.arrays, **domain}, graph=draft.graph
        )
        # Only a calibrated detector takes the place of the one that may be there.
        found = calibrate(chosen, halves["calibrate"], config.calibration, out)
        for path in (chosen.path, *(trial for _, trial in trials)):
            shutil.rmtree(path)
        return found


def validation_halves(valid: Manifest, *, seed: int) -> dict[str, Manifest]:
    """The validation split in two: `select`, on which a detector is chosen, and `calibrate`.

    Args:    valid: the split. seed: of the training.
    Returns: name → half; no group is in both.
    Raises:  ManifestError: there are too few groups for two halves.
    """
    return valid.split({"select": 0.5, "calibrate": 0.5}, seed=seed)


def calibrate(
    artifact: Artifact, manifest: Manifest, config: CalibrationConfig, out: Path | None = None
) -> Artifact:
    """Fit probability, operating point and domain limit of a detector on labelled images.

    Args:    artifact: a fitted detector.
             manifest: images that it was neither trained nor chosen on.
             config: method, rates and the quantile of the domain check.
             out: where to write; None replaces the detector's own folder.
    Returns: the calibrated artifact.
    Raises:  ConfigError: there are too few groups of images for the rates asked for.
             ManifestError: an image can't be used. ArtifactError: `out` can't be written.
    """
    artifacts.check_target(out or artifact.path)
    labels = np.array(manifest.labels)
    _check_support(manifest, config)  # before hours of decoding
    groups = class_groups(manifest)
    scores, distances = raw_scores(artifact, manifest)
    real, fake = np.sort(scores[labels == REAL]), np.sort(scores[labels == FAKE])
    calibration = Calibration.fit(labels, scores, method=config.method)
    limit = domain_limit(distances, quantile=config.domain_quantile)
    spec = {
        # What is known of a user's own images was measured at other thresholds.
        **{key: value for key, value in artifact.spec.items() if key != "local_reals"},
        "calibration": calibration.to_dict(),
        **thresholds(real, fake, config, groups),
        "cross_fitted": _cross_fitted(manifest, scores, config),
        "domain": {"limit": float(limit), "quantile": config.domain_quantile},
        "calibration_data": {"manifest": manifest.digest(), **counts(manifest)},
    }
    spec["metrics"] = {**spec.get("metrics", {}), "auroc_calibrate": auroc(labels, scores)}
    arrays = {**artifact.arrays, "scores.real": real, "scores.fake": fake}
    return save_refitted(artifact, spec, arrays, out)


def thresholds(
    real: FloatArray, fake: FloatArray, config: CalibrationConfig, groups: tuple[int, int]
) -> dict[str, Any]:
    """What a detector says of its thresholds and of what stands behind them.

    Args:    real, fake: (N,) ascending scores. config: the rule and its rates.
             groups: how many groups the reals and the fakes lie in; see `class_groups`.
    Returns: keys of detector.json.
    Raises:  ConfigError: the groups are too few for the rule.
    """
    return {
        "operating_point": chosen_point(real, fake, config, groups=groups).to_dict(),
        "operating_points": points_by_rule(real, fake, config, groups=groups),
        "calibration_groups": {"real": groups[0], "fake": groups[1]},
    }


def save_refitted(
    artifact: Artifact, spec: Mapping[str, Any], arrays: Mapping[str, FloatArray], out: Path | None
) -> Artifact:
    """Write a detector with other numbers, and with its graph, card and licence.

    Args:    artifact: the detector as it was.
             spec, arrays: what it holds now.
             out: where to write; None replaces the detector's own folder.
    Returns: the artifact as it is now.
    Raises:  ArtifactError: it can't be written.
    """
    card, licence = (_text(artifact.path / name) for name in (artifacts.CARD_FILE, artifacts.LICENCE_FILE))
    return artifacts.save(
        out or artifact.path, spec=spec, arrays=arrays, graph=artifact.graph, card=card, licence=licence
    )


def _cross_fitted(manifest: Manifest, scores: FloatArray, config: CalibrationConfig) -> dict[str, Any]:
    """Coverage and risk of the chosen point; {"refused": why} where the images are too few to say."""

    def point(real: FloatArray, fake: FloatArray) -> OperatingPoint:
        return chosen_point(real, fake, config, supported=False)

    try:
        return cross_fitted(manifest.labels, scores, point, groups=sources(manifest)).to_dict()
    except ConfigError as error:
        return {"refused": str(error)}


def raw_scores(artifact: Artifact, manifest: Manifest) -> tuple[FloatArray, FloatArray]:
    """Uncalibrated scores and domain distances of whole images.

    Args:    artifact: a fitted detector.
             manifest: the images.
    Returns: scores (B,) and distances (B,); NaN distances where the artifact has no domain yet.
    Raises:  ManifestError: an image can't be used.
    """
    detector = detectors.from_artifact(artifact)
    scores, distances = np.empty(len(manifest)), np.full(len(manifest), np.nan)
    for row, sample in enumerate(manifest):
        try:
            inputs = detector.preprocess(image.decode(sample.path).array)
        except ImageError as error:
            raise ManifestError(f"{str(sample.path)!a} cannot be used: {error}") from error
        batch = {name: array[None] for name, array in inputs.items()}
        scores[row] = detector.score(batch)[0]
        if "domain.mean" in artifact.arrays:
            distances[row] = domain_distance(batch["profile"], artifact.arrays)[0]
    return scores, distances


def _domain_statistics(artifact: Artifact, training: Manifest) -> dict[str, FloatArray]:
    """What `domain_distance` compares with, from the training images' profiles."""
    from sklearn.covariance import LedoitWolf

    detector = detectors.from_artifact(artifact)
    profiles = np.stack(
        [detector.preprocess(image.decode(sample.path).array)["profile"] for sample in training]
    )
    mean, deviation = profiles.mean(axis=0), profiles.std(axis=0)
    # The first bin of a profile that is divided by it is always 1: it can't tell anything.
    deviation = np.where(deviation > 1e-12 * np.abs(mean), deviation, 1.0)
    z = (profiles - mean) / deviation
    # Shrunk, because neighbouring bins say nearly the same.
    precision = LedoitWolf(assume_centered=True).fit(z).precision_
    distances = domain_level(z), domain_shape(z, precision)
    scales = [np.quantile(distance, DOMAIN_EDGE) for distance in distances]
    return {
        "domain.mean": mean,
        "domain.std": deviation,
        "domain.precision": precision,
        "domain.scales": np.array(scales),
    }


def _candidates(config_class: Any, config: TrainConfig) -> Iterable[Any]:
    only_known(config.config, config_class, "[config]")
    only_known(config.grid, config_class, "[grid]")
    start = config_class(**config.config)
    for values in itertools.product(*config.grid.values()):
        yield replace(start, **dict(zip(config.grid, values, strict=True)))


def _short(options: Any, config: TrainConfig) -> str:
    return " ".join(f"{name}={getattr(options, name)}" for name in config.grid)


def _no_shared_groups(training: Manifest, valid: Manifest) -> None:
    shared = {*sources(training)} & {*sources(valid)} - {""}
    if shared:
        raise ManifestError(
            f"{len(shared)} groups are in train and in valid, e.g. {min(shared)!a}; "
            "a group, or a video without one, stays in one split (`tellsign data split`)"
        )


def _check_support(part: Manifest, config: CalibrationConfig) -> None:
    """Raises before a training what the calibration would raise after it: too few groups for the rates."""
    labels = np.array(part.labels)
    n_real, n_fake = int(np.sum(labels == REAL)), int(np.sum(labels == FAKE))
    check_support((n_real, n_fake), class_groups(part), config)
    domain_limit(np.zeros(len(part)), quantile=config.domain_quantile)


def class_groups(manifest: Manifest) -> tuple[int, int]:
    """In how many groups the reals and the fakes lie, groups of unequal size as fewer equal ones.

    Without a group the frames of a video are one, and any other image is one of its own.
    """
    names = [sources(s for s in manifest if s.label == label) for label in (REAL, FAKE)]
    real, fake = (effective_groups(of_class, len(of_class)) for of_class in names)
    return real, fake


def counts(manifest: Manifest) -> dict[str, Any]:
    """How many images there are: {"n", "by_dataset": {"DATASET/LABEL": n}}."""
    found = Counter((s.dataset or "unnamed", LABEL_NAMES[s.label]) for s in manifest)
    return {
        "n": len(manifest),
        "by_dataset": {f"{name}/{label}": n for (name, label), n in sorted(found.items())},
    }


def versions() -> dict[str, str]:
    """Of this package and of what a detector is fitted with: what a trained detector records."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"tellsign": __version__}
    for package in ("numpy", "scikit-learn", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
