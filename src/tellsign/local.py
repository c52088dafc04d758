"""A detector on a user's own images: which of them may calibrate it, and its thresholds on real images alone.

Shapes: N images.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import artifacts
from tellsign.calibration import (
    Calibration,
    CalibrationConfig,
    OperatingPoint,
    chosen_point,
    cross_fitted,
    domain_limit,
    points_by_rule,
    wilson,
)
from tellsign.data import Manifest
from tellsign.data.index import FOLDER_LABELS
from tellsign.scoring.inputs import files
from tellsign.train import counts, raw_scores, save_refitted
from tellsign.types import REAL, ConfigError, ManifestError, NotFittedError, Sample
from tellsign.video import VIDEO_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tellsign.artifacts import Artifact
    from tellsign.calibration import Share
    from tellsign.types import FloatArray


@dataclass(frozen=True, slots=True)
class LocalFit:
    """What a refit on real images changed, as shares of these images."""

    artifact: Artifact
    before: Share  # called fake at the thresholds that the detector came with
    after: Share | None  # called fake at the new ones, set on the others; None: too few to leave some out
    outside: Share  # further from the training images than the domain limit that is stored now

    def to_dict(self) -> dict[str, Any]:
        """Its shares, ready for JSON."""
        shares = {"fpr_before": self.before, "fpr_after": self.after, "outside_domain": self.outside}
        return {name: None if share is None else share.to_dict() for name, share in shares.items()}


def real_images(folder: Path, *, on_skip: Callable[[Path], None] = lambda path: None) -> Manifest:
    """A manifest of every image below a folder, all of them real.

    Args:    folder: of a user's own photographs.
             on_skip: called with each file that is no image.
    Returns: samples in the order of their paths; each is a group of its own.
    Raises:  ManifestError: there is no image, or a folder's name says that its images have labels.
    """
    samples = []
    for path in files([folder], on_skip=on_skip):
        labelled = [part for part in path.relative_to(folder).parts[:-1] if part.lower() in FOLDER_LABELS]
        if labelled:
            raise ManifestError(
                f"{str(folder)!a} has a folder named {labelled[0]!a}, and all images of a folder are taken "
                "as real; make a manifest of it with `tellsign data index`, or give the folder of reals alone"
            )
        if path.suffix.lower() in VIDEO_SUFFIXES:
            on_skip(path)
            continue
        samples.append(Sample(path=path, label=REAL, dataset=folder.resolve().name))
    if not samples:
        raise ManifestError(f"found no images in {str(folder)!a}; give a folder of real photographs")
    return Manifest(tuple(samples))


def calibration_part(manifest: Manifest) -> Manifest:
    """The rows on which a detector may be calibrated where nobody names a split.

    Args:    manifest: with or without splits.
    Returns: the split valid where there is one, else the rows without a split. The split train is left out
             because a detector scores what it was trained on too well, the split test because a threshold
             that has seen it makes every later number on it worthless.
    Raises:  ManifestError: there are no such rows.
    """
    for split in ("valid", ""):
        if part := manifest.filter(split=split):
            return part
    found = ", ".join(f"{name} ({n} rows)" for name, n in sorted(Counter(s.split for s in manifest).items()))
    raise ManifestError(
        f"there are no rows to calibrate on: expected the split valid or rows without a split, found "
        f"{found}; name a split with --split, but not the one that you will report numbers on"
    )


def calibrate_on_reals(
    artifact: Artifact,
    manifest: Manifest,
    config: CalibrationConfig | None = None,
    out: Path | None = None,
    *,
    refit_domain: bool = False,
) -> LocalFit:
    """Set a detector's thresholds for a user's own real images, and keep its probability.

    The rule is met on these reals and on the fakes that the detector was calibrated with. A curve of
    probabilities needs both classes of one kind of pictures, and so it stays.

    Args:    artifact: a calibrated detector.
             manifest: real images, of independent sources.
             config: the rule and its rates; None keeps those of the detector. Its method is not used.
             out: where to write; None replaces the detector's own folder.
             refit_domain: also let the domain check through the share `domain_quantile` of these images.
    Returns: the detector as it is now, and false alarms before and after.
    Raises:  NotFittedError: the detector was never calibrated.
             ConfigError: there are too few images for the rule; the message says how many it needs.
             ManifestError: an image is fake or can't be used. ArtifactError: `out` can't be written.
    """
    if any(label != REAL for label in manifest.labels):
        raise ManifestError(
            "only real images are expected here: found fakes; calibrate with both classes instead"
        )
    if "calibration" not in artifact.spec:
        raise NotFittedError(
            f"{artifact.name} has no probability to keep; calibrate it with reals and fakes first: "
            f"tellsign calibrate {artifact.path} --data MANIFEST"
        )
    artifacts.check_target(out or artifact.path)
    old = OperatingPoint.from_dict(artifact.spec["operating_point"])
    Calibration.from_dict(artifact.spec["calibration"])  # a broken one is not carried on
    config = config or CalibrationConfig.of(old)
    fake = artifact.arrays["scores.fake"]
    _check_support(manifest, fake, config)  # before hours of decoding
    if refit_domain:
        domain_limit(np.zeros(len(manifest)), quantile=config.domain_quantile)
    scores, distances = raw_scores(artifact, manifest)
    real = np.sort(scores)
    domain = dict(artifact.spec["domain"])
    if refit_domain:
        limit = domain_limit(distances, quantile=config.domain_quantile)
        domain = {"limit": float(limit), "quantile": config.domain_quantile}
    fit = LocalFit(
        artifact,
        before=_share(scores >= old.high, manifest),
        after=_after(scores, manifest, fake, config),
        outside=_share(~(distances <= domain["limit"]), manifest),
    )
    spec = {
        # Measured with the reals that are replaced.
        **{key: value for key, value in artifact.spec.items() if key != "cross_fitted"},
        "operating_point": chosen_point(real, fake, config).to_dict(),
        "operating_points": points_by_rule(real, fake, config),
        "domain": domain,
        "local_reals": {"manifest": manifest.digest(), **counts(manifest), **fit.to_dict()},
    }
    saved = save_refitted(artifact, spec, {**artifact.arrays, "scores.real": real}, out)
    return LocalFit(saved, fit.before, fit.after, fit.outside)


def stored_rule(artifact: Artifact) -> CalibrationConfig | None:
    """The rule of a detector's thresholds as the options that ask for it; None before a calibration."""
    point = artifact.spec.get("operating_point")
    return None if point is None else CalibrationConfig.of(OperatingPoint.from_dict(point))


def text(fit: LocalFit) -> list[str]:
    """What a refit on real images changed, in lines for the terminal."""
    n = fit.artifact.spec["local_reals"]["n"]
    after = "unknown, too few images" if fit.after is None else _shown(fit.after)
    rates = (
        f"false alarms among your {n} real images: {_shown(fit.before)} before, {after} now (each image at "
        "thresholds set on the others)"
    )
    if not fit.outside.value:
        return [rates]
    outside = (
        f"{_shown(fit.outside)} of them are unlike the images the detector was trained on, and are answered "
        'with "can\'t tell" whatever their score; --refit-domain trusts such images'
    )
    return [rates, outside]


def cross_fitted_text(artifact: Artifact) -> str:
    """How often a calibrated detector answers and how often it is wrong, in a line for the terminal."""
    found = artifact.spec["cross_fitted"]
    if "refused" in found:
        return f"coverage and risk are unknown: {found['refused']}"
    shown = {
        name: "–"
        if found[name] is None
        else "{:.1%} [{:.1%}, {:.1%}]".format(found[name]["value"], *found[name]["ci"])
        for name in ("coverage", "risk", "fpr", "fnr")
    }
    return (
        f"{shown['coverage']} of the images get a verdict, {shown['risk']} of these verdicts are wrong; "
        f"{shown['fpr']} of the reals are called fake, {shown['fnr']} of the fakes real (by cross-fitting, "
        "the domain check left out)"
    )


def _shown(share: Share) -> str:
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"


def _check_support(manifest: Manifest, fake: FloatArray, config: CalibrationConfig) -> None:
    """Raises ConfigError where the images' sources are too few for the rule."""
    n_groups = _n_groups(manifest)
    try:
        chosen_point(np.zeros(n_groups), fake, config)
    except ConfigError as error:
        if n_groups == len(manifest):
            raise
        raise ConfigError(
            f"{len(manifest)} images lie in {n_groups} groups, and a group counts once, because its images "
            f"stand for each other: {error}"
        ) from error


def _after(
    scores: FloatArray, manifest: Manifest, fake: FloatArray, config: CalibrationConfig
) -> Share | None:
    """Share of images called fake, each at thresholds set without it."""

    def point(real: FloatArray, _: FloatArray) -> OperatingPoint:
        return chosen_point(real, fake, config, supported=False)

    groups = [sample.group for sample in manifest]
    try:
        return cross_fitted(manifest.labels, scores, point, groups=groups).fpr
    except ConfigError:  # a conformal point of nine images has no ninth to spare
        return None


def _n_groups(manifest: Manifest) -> int:
    return len({sample.group or (row,) for row, sample in enumerate(manifest)})


def _share(of: NDArray[np.bool_], manifest: Manifest) -> Share:
    """A share of images, with an interval in which each group is one trial."""
    return wilson(float(np.mean(of)), _n_groups(manifest))
