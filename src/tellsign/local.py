"""A detector on a user's own images: which of them may calibrate it, and its thresholds on real images alone.

Shapes: N images.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import artifacts
from tellsign.calibration import (
    CalibrationConfig,
    OperatingPoint,
    check_support,
    chosen_point,
    cross_fitted,
    domain_limit,
    wilson,
)
from tellsign.data import Manifest
from tellsign.data.index import FOLDER_LABELS
from tellsign.data.left_out import LeftOut
from tellsign.groups import effective_groups, sources
from tellsign.scoring.decision import Decision, score_groups
from tellsign.scoring.inputs import files
from tellsign.train import counts, save_refitted, splits, thresholds, usable_scores, validation_halves
from tellsign.types import REAL, ConfigError, ManifestError, Sample
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


def calibration_part(manifest: Manifest, artifact: Artifact | None = None) -> Manifest:
    """The rows on which a detector may be calibrated where nobody names a split.

    Args:    manifest: with or without splits.
             artifact: the detector. None: any, of which it isn't known what it was trained on.
    Returns: the split valid where there is one, else the rows without a split. Of a detector's own manifest
             the half of valid that it was calibrated on when it was trained. The split train is left out
             because a detector scores what it was trained on too well, as is the half of valid that it was
             chosen on; the split test because a threshold that has seen it makes every later number on it
             worthless.
    Raises:  ManifestError: there are no such rows.
    """
    for split in ("valid", ""):
        if part := manifest.filter(split=split):
            if artifact is None or not split or not is_own(manifest, artifact):
                return part
            return validation_halves(part, seed=artifact.spec["train"]["seed"])["calibrate"]
    found = ", ".join(f"{name} ({n} rows)" for name, n in sorted(Counter(s.split for s in manifest).items()))
    raise ManifestError(
        f"there are no rows to calibrate on: expected the split valid or rows without a split, found "
        f"{found}; name a split with --split, but not the one that you will report numbers on"
    )


def is_own(manifest: Manifest, artifact: Artifact) -> bool:
    """Whether a detector was trained on this very manifest, by `tellsign train`, and its halves are known.

    The digest of a manifest is not all that decides who is in which half: data sets, generators and videos
    do, too, and may have been named since.
    """
    data = artifact.spec.get("data", {})
    if "train" not in artifact.spec or data.get("manifest") != manifest.digest():
        return False
    try:
        halves = validation_halves(manifest.filter(split="valid"), seed=artifact.spec["train"]["seed"])
    except ManifestError:
        return False
    # Those that trained before halves were recorded have counts alone.
    found = {"train": counts(manifest.filter(split="train")), "calibrate": counts(halves["calibrate"])}
    found["halves"] = {name: half.digest() for name, half in halves.items()}
    return all(data[name] == value for name, value in found.items() if name in data)


def calibrate_on_reals(
    artifact: Artifact,
    manifest: Manifest,
    config: CalibrationConfig | None = None,
    out: Path | None = None,
    *,
    refit_domain: bool = False,
    left_out: LeftOut | None = None,
) -> LocalFit:
    """Set a detector's thresholds for a user's own real images, and keep its probability.

    The rule is met on these reals and on the fakes that the detector was calibrated with. A curve of
    probabilities needs both classes of one kind of pictures, and so it stays.

    Args:    artifact: a calibrated detector.
             manifest: real images, of independent sources.
             config: rule, rates and domain quantile; None keeps the detector's. Its method is not used.
             out: where to write; None replaces the detector's own folder.
             refit_domain: also let the domain check through the share `domain_quantile` of these images.
             left_out: takes images that show no face to a detector of faces.
    Returns: the detector as it is now, and false alarms before and after.
    Raises:  NotFittedError: the detector was never calibrated. ArtifactError: it is incomplete, or `out`
             can't be written.
             ConfigError: there are too few groups for the rule; the message says how many it needs.
             ManifestError: an image is fake or can't be used.
    """
    if any(label != REAL for label in manifest.labels):
        raise ManifestError(
            "only real images are expected here: found fakes; calibrate with both classes instead"
        )
    old = Decision.of(artifact)  # what is broken is not carried on
    artifacts.check_target(out or artifact.path)
    config = config or stored_rule(artifact) or CalibrationConfig()
    fake, groups = artifact.arrays["scores.fake"], _groups(manifest, artifact)
    check_support((len(manifest), len(fake)), groups, config)  # before hours of decoding
    if refit_domain:
        domain_limit(np.zeros(len(manifest)), quantile=config.domain_quantile)
    used, scores, distances = usable_scores(artifact, manifest, left_out or LeftOut())
    groups, n_left_out = _groups(used, artifact), len(manifest) - len(used)
    if n_left_out:
        check_support((len(used), len(fake)), groups, config)
    domain = dict(artifact.spec["domain"])
    if refit_domain:
        limit = domain_limit(distances, quantile=config.domain_quantile)
        domain = {"limit": float(limit), "quantile": config.domain_quantile}
    fit = LocalFit(
        artifact,
        before=_share(scores >= old.operating_point.high, used),
        after=_after(scores, used, fake, config),
        outside=_share(~(distances <= domain["limit"]), used),
    )
    real = np.sort(scores)
    spec = {
        # Measured with the reals that are replaced.
        **{key: value for key, value in artifact.spec.items() if key != "cross_fitted"},
        **thresholds(real, fake, config, groups),
        "domain": domain,
        "local_reals": {
            "manifest": manifest.digest(),
            **counts(used),
            "splits": splits(used),
            **fit.to_dict(),
        },
    }
    if n_left_out:
        spec["local_reals"]["left_out"] = n_left_out
    saved = save_refitted(artifact, spec, {**artifact.arrays, "scores.real": real}, out)
    return replace(fit, artifact=saved)


def _groups(manifest: Manifest, artifact: Artifact) -> tuple[int, int]:
    """In how many groups the new reals and the detector's own fakes lie."""
    return effective_groups(sources(manifest), len(manifest)), score_groups(artifact)[1]


def stored_rule(artifact: Artifact) -> CalibrationConfig | None:
    """A detector's rule and domain quantile as the options that ask for them; None before a calibration."""
    point = artifact.spec.get("operating_point")
    if point is None:
        return None
    config = CalibrationConfig.of(OperatingPoint.from_dict(point))
    quantile = artifact.spec.get("domain", {}).get("quantile", config.domain_quantile)
    return replace(config, domain_quantile=quantile)


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


def _after(
    scores: FloatArray, manifest: Manifest, fake: FloatArray, config: CalibrationConfig
) -> Share | None:
    """Share of images called fake, each at thresholds set without it."""

    def point(real: FloatArray, _: FloatArray) -> OperatingPoint:
        return chosen_point(real, fake, config, supported=False)

    try:
        return cross_fitted(manifest.labels, scores, point, groups=sources(manifest)).fpr
    except ConfigError:  # a conformal point of nine images has no ninth to spare
        return None


def _share(of: NDArray[np.bool_], manifest: Manifest) -> Share:
    """A share of images, with an interval in which each of as many equal groups is one trial."""
    return wilson(float(np.mean(of)), effective_groups(sources(manifest), len(manifest)))
