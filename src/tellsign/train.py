"""Configuration → system fitted, chosen on one half of the validation split, calibrated on the other, saved.

The two halves share no group. The test split is never read here.
"""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import __version__, artifacts, detectors, hub
from tellsign.calibration import (
    Calibration,
    CalibrationConfig,
    check_support,
    chosen_point,
    cross_fitted,
    domain_limit,
    points_by_rule,
)
from tellsign.card import refitted_card, trained_card
from tellsign.configuration import config_of, known_options, only_known
from tellsign.data.left_out import LeftOut
from tellsign.data.manifest import LABEL_NAMES, Manifest, require_both_classes
from tellsign.data.picture import looked_at
from tellsign.groups import effective_groups, sources
from tellsign.metrics import auroc
from tellsign.run_folder import CHOSEN, is_first, n_processes, run_folder
from tellsign.scoring.decision import domain_distance, domain_level, domain_shape, require_domain
from tellsign.types import FAKE, REAL, ConfigError, ImageError, ManifestError, NoFaceError
from tellsign.versions import package_versions

if TYPE_CHECKING:
    from tellsign.artifacts import Artifact
    from tellsign.calibration import OperatingPoint
    from tellsign.train_config import TrainConfig
    from tellsign.types import Detector, FloatArray, Sample

Say = Callable[[str], None]
DOMAIN_EDGE = 0.99  # share of the training images inside a distance of 1
DOMAIN_IMAGES = 4096  # of the training, at most, from whose profiles the domain is taken


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """A candidate after its training."""

    area: float  # AUROC on the selection half
    path: Path  # of its folder
    used: Manifest  # of the selection half, what could be used
    left_out: LeftOut  # what could not


def train(
    config: TrainConfig,
    manifest: Manifest,
    out: Path,
    *,
    resume: bool = False,
    say: Say = lambda text: None,
) -> Artifact | None:
    """Train, choose, calibrate and save a detector.

    Where several processes train a network together (torchrun), each calls this, and the first one chooses,
    calibrates and writes.

    Args:    config: system, options, grid.
             manifest: with splits train and valid; samples of the split test are left alone.
             out: the detector's folder; a training is kept in `out` with ".run" behind its name meanwhile.
             resume: go on with a training that was stopped there.
             say: told what happens, in the first process.
    Returns: the calibrated artifact; None in the other processes of several.
    Raises:  ConfigError, ManifestError: configuration or data don't do.
    """
    artifacts.check_target(out)
    say = say if is_first() else lambda text: None
    system = hub.system(config.system)
    if n_processes() > 1 and not getattr(system, "trains_together", False):
        raise ConfigError(
            f"the system {config.system!r} is fitted by one process, and {n_processes()} were started "
            "(WORLD_SIZE): run the command without torchrun"
        )
    candidates = list(_candidates(system.config_class, config))
    training, halves = _parts(manifest, config)
    with run_folder(out, resume=resume) as folder:
        trials = []
        for number, options in enumerate(candidates):
            path = folder / str(number)
            system(options).fit(training, halves["select"], out=path, seed=config.seed, say=say)
            if not is_first():
                continue
            trials.append(
                _trial(path, halves["select"], LeftOut.of(getattr(options, "training", None), say=say))
            )
            say(
                f"candidate {number + 1} of {len(candidates)}: AUROC {trials[-1].area:.3f} on the selection "
                f"half  {_short(options, config)}"
            )
        if not is_first():
            return None
        best = max(trials, key=lambda trial: trial.area)
        draft = artifacts.load(best.path)
        spec = {
            **draft.spec,
            "name": config.name,
            "summary": config.summary,
            "train": asdict(config),
            "versions": versions(),
            "data": {"manifest": manifest.digest(), "train": counts(training), **_judged(halves, best)},
            "metrics": {"auroc_select": best.area, "n_candidates": len(candidates)},
        }
        arrays = {**draft.arrays, **_domain_statistics(draft, training, best.left_out)}
        card = _text(draft.path / artifacts.CARD_FILE)  # a system's own, where it writes one
        card = card or trained_card(spec, {"train": class_groups(training), **_groups(halves, best)})
        chosen = artifacts.save(folder / CHOSEN, spec=spec, arrays=arrays, graph=draft.graph, card=card)
        # Only a calibrated detector takes the place of the one that may be there.
        found = calibrate(chosen, halves["calibrate"], config.calibration, out, left_out=best.left_out)
        for path in (chosen.path, *(trial.path for trial in trials)):
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
    artifact: Artifact,
    manifest: Manifest,
    config: CalibrationConfig,
    out: Path | None = None,
    *,
    left_out: LeftOut | None = None,
) -> Artifact:
    """Fit probability, operating point and domain limit of a detector on labelled images.

    Args:    artifact: a fitted detector.
             manifest: images that it was neither trained nor chosen on.
             config: method, rates and the quantile of the domain check.
             out: where to write; None replaces the detector's own folder.
             left_out: which images that can't be used may be left out; None: not one.
    Returns: the calibrated artifact.
    Raises:  NotFittedError: as `require_domain` does. ConfigError: there are too few groups of images for the
             rates asked for. ManifestError: an image can't be used. ArtifactError: `out` can't be written.
    """
    require_domain(artifact)
    artifacts.check_target(out or artifact.path)
    _check_support(manifest, config)  # before hours of decoding
    used, scores, distances = usable_scores(artifact, manifest, left_out or LeftOut())
    labels, groups = np.array(used.labels), class_groups(used)
    real, fake = np.sort(scores[labels == REAL]), np.sort(scores[labels == FAKE])
    calibration = Calibration.fit(labels, scores, method=config.method)
    limit = domain_limit(distances, quantile=config.domain_quantile)
    spec = {
        # What is known of a user's own images was measured at other thresholds.
        **{key: value for key, value in artifact.spec.items() if key != "local_reals"},
        "calibration": calibration.to_dict(),
        **thresholds(real, fake, config, groups),
        "cross_fitted": _cross_fitted(used, scores, config),
        "domain": {"limit": float(limit), "quantile": config.domain_quantile},
        "calibration_data": {"manifest": manifest.digest(), **counts(used), "splits": splits(used)},
    }
    if len(used) < len(manifest):
        spec["calibration_data"]["left_out"] = len(manifest) - len(used)
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
    """Write a detector with other numbers, and with its graph, licence and card, which tells of them.

    Args:    artifact: the detector as it was.
             spec, arrays: what it holds now.
             out: where to write; None replaces the detector's own folder.
    Returns: the artifact as it is now.
    Raises:  ArtifactError: it can't be written.
    """
    card, licence = (_text(artifact.path / name) for name in (artifacts.CARD_FILE, artifacts.LICENCE_FILE))
    card = refitted_card(card, spec)
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
    """Uncalibrated scores and domain distances of images.

    Args:    artifact: a fitted detector.
             manifest: the images.
    Returns: scores (B,) and distances (B,); NaN distances where the artifact has no domain yet.
    Raises:  ManifestError: an image can't be used, or shows no face to a detector of faces.
    """
    left_out = LeftOut()
    _, scores, distances = usable_scores(artifact, manifest, left_out)
    for path, reason in left_out.faceless.items():
        raise ManifestError(f"{str(path)!a} has no score: {reason}; take it out of the manifest")
    return scores, distances


def usable_scores(
    artifact: Artifact, manifest: Manifest, left_out: LeftOut
) -> tuple[Manifest, FloatArray, FloatArray]:
    """`raw_scores` of the images that can be used, and which these are.

    A detector of faces looks at the faces, and the most suspicious one decides, as in a scan.

    Args:    artifact: a fitted detector.
             manifest: the images.
             left_out: takes those that can't be used, and those that show no face to a detector of faces.
    Returns: the images (B,), scores (B,) and distances (B,).
    Raises:  ManifestError: an image can't be used and may not be left out.
    """
    detector = detectors.from_artifact(artifact)
    used, scores, distances = [], [], []
    is_known = "domain.mean" in artifact.arrays
    for sample, regions in _inputs(artifact, detector, manifest, left_out):
        batches = [{name: array[None] for name, array in inputs.items()} for inputs in regions]
        found = [float(detector.score(batch)[0]) for batch in batches]
        best = int(np.argmax([-np.inf if np.isnan(score) else score for score in found]))
        used.append(sample)
        scores.append(found[best])
        profile = batches[best]["profile"]
        distances.append(float(domain_distance(profile, artifact.arrays)[0]) if is_known else np.nan)
    return Manifest(tuple(used)), np.array(scores), np.array(distances)


def _inputs(
    artifact: Artifact, detector: Detector, manifest: Manifest, left_out: LeftOut
) -> Iterator[tuple[Sample, list[dict[str, FloatArray]]]]:
    """The images that can be used, and what the detector takes of each: of all of it, or of its faces."""
    region = artifact.spec["preprocessing"].get("region", "image")
    for sample in manifest:
        try:
            inputs = looked_at(sample, region, detector.preprocess)
        except NoFaceError as error:
            left_out.pass_over(sample.path, str(error))
        except ImageError as error:
            left_out.add(sample.path, str(error))
        else:
            yield sample, inputs


def _domain_statistics(artifact: Artifact, training: Manifest, left_out: LeftOut) -> dict[str, FloatArray]:
    """What `domain_distance` compares with, from the training images' profiles."""
    from sklearn.covariance import LedoitWolf

    inputs = _inputs(artifact, detectors.from_artifact(artifact), training.evenly(DOMAIN_IMAGES), left_out)
    profiles = np.stack([one["profile"] for _, regions in inputs for one in regions])
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
    only_known(config.grid, config_class, "[grid]")
    start = config_of(config_class, config.config, "[config]")
    for values in itertools.product(*config.grid.values()):
        one = dict(zip(config.grid, values, strict=True))
        yield replace(start, **known_options(one, config_class, "[grid]"))


def _parts(manifest: Manifest, config: TrainConfig) -> tuple[Manifest, dict[str, Manifest]]:
    """The training split and the halves of the validation split, once both are known to do."""
    training, valid = manifest.filter(split="train"), manifest.filter(split="valid")
    for name, part in (("train", training), ("valid", valid)):
        require_both_classes(part, f"the split {name!r}")
    _no_shared_groups(training, valid)
    halves = validation_halves(valid, seed=config.seed)
    _check_support(halves["calibrate"], config.calibration)
    return training, halves


def _trial(path: Path, select: Manifest, left_out: LeftOut) -> _Trial:
    """A candidate, judged on the selection half."""
    used, scores, _ = usable_scores(artifacts.load(path), select, left_out)
    require_both_classes(used, "what can be used of the selection half")
    return _Trial(auroc(np.array(used.labels), scores), path, used, left_out)


def _judged(halves: Mapping[str, Manifest], best: _Trial) -> dict[str, Any]:
    """What a detector says of the validation images: how many, and which half was for what."""
    return {
        "select": counts(best.used),
        "calibrate": counts(halves["calibrate"]),
        "halves": {name: half.digest() for name, half in halves.items()},
    }


def _groups(halves: Mapping[str, Manifest], best: _Trial) -> dict[str, tuple[int, int]]:
    return {"select": class_groups(best.used), "calibrate": class_groups(halves["calibrate"])}


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


def splits(manifest: Manifest) -> list[str]:
    """The splits that images are of; "" stands for those of none."""
    return sorted({sample.split for sample in manifest})


def versions() -> dict[str, str]:
    """Of this package and of what a detector is fitted with: what a trained detector records."""
    return {"tellsign": __version__, **package_versions(("numpy", "scikit-learn", "torch"))}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
