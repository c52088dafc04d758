"""What attacks leave of a detector, whether they fool others too, and whether the gradient can be trusted.

An image is attacked as often as there are attacks and shown, changed, to the detector and to those that it
may transfer to. The NumPy detectors that run have the last word; their PyTorch form only gives gradients.

Shapes: H W pixels.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.data.picture import picture
from tellsign.evaluate.benchmark.worker import system_of, unfit
from tellsign.evaluate.robustness_result import Failure, Robustness, Row
from tellsign.groups import sources
from tellsign.metrics import summary
from tellsign.perturb.attacks import Attack, detector_score, parse
from tellsign.perturb.attacks.evaluation import masking_report, outcome
from tellsign.scoring.looks import Looker
from tellsign.scoring.names import escape
from tellsign.types import FAKE, REAL, ArtifactError, ConfigError, TellsignError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tellsign.data import Manifest
    from tellsign.perturb.attacks.evaluation import MaskingReport
    from tellsign.perturb.attacks.score import ArrayScore, Labels
    from tellsign.types import FloatArray, Sample

    Scores = dict[tuple[str, str], dict[int, float]]  # (attack, detector) → number of the image → score

# The eps of CAE-Net, an attack that steps, and one that reads scores alone.
DEFAULT_ATTACKS = ("fgsm:0.01", "fgsm:0.02", "fgsm:0.03", "pgd:0.01", "square:0.03,queries=200")
CLEAN = "none"
MASKING_EPS = 0.01
MASKING_IMAGES = 16  # a class; the checks take some 300 passes an image


@dataclass(frozen=True, slots=True)
class _Victim:
    """A loaded detector."""

    name: str
    score: ArrayScore
    threshold: float
    module: Any = None  # differentiable form, None where there is none or nobody asked
    no_module: str = ""  # why there is none


@dataclass(frozen=True, slots=True)
class _Tally:
    """What images came to, one after the other."""

    scores: Scores = field(default_factory=lambda: defaultdict(dict))
    failures: list[Failure] = field(default_factory=list)

    def judge(self, number: int, path: str, victim: _Victim, attack: str, pixels: FloatArray) -> bool:
        """Whether a detector gave an image a score, which is put down."""
        try:
            score = float(victim.score(pixels[None])[0])
            reason = "" if np.isfinite(score) else f"the score is {score}"
        except Exception as error:
            reason = _reason(error)
        if reason:
            self.failures.append(Failure(path, f"{victim.name}, attack {attack}: {reason}"))
            return False
        self.scores[attack, victim.name][number] = score
        return True


def robustness(
    detector: Path,
    manifest: Manifest,
    *,
    attacks: Sequence[str] = DEFAULT_ATTACKS,
    transfer: Sequence[Path] = (),
    masking: bool = True,
    seed: int = 0,
    n_resamples: int = 1000,
    on_image: Callable[[], None] = lambda: None,
) -> Robustness:
    """Attack a detector on a labelled set, one image at a time and in its own size.

    An image that can't be decoded, scored or attacked is left out of the rows it has no score for, and named.

    Args:    detector: its folder.
             manifest: labelled samples.
             attacks: as text, e.g. pgd:0.01. Those that need a gradient are left out where there is none.
             transfer: folders of detectors that judge the same adversarial images.
             masking: look for signs of gradient masking, where there is a gradient.
             seed: of the attacks and of the bootstrap.
             n_resamples: of the bootstrap over groups.
             on_image: called after each image.
    Returns: accuracies and AUROCs with intervals, success rates, checks, and what failed.
    Raises:  ConfigError: an attack can't be read, none can be run, two detectors are the same one, or a
                 detector looks at faces.
             ManifestError: a label is unknown. ArtifactError, NotFittedError: a detector doesn't do.
    """
    labels = np.array(manifest.labels)
    parsed = list({attack.name: attack for attack in map(parse, attacks) if attack.name != CLEAN}.values())
    source = _victim(detector, gradient=masking or any(attack.needs_gradient for attack in parsed))
    victims = [source, *(_victim(path, gradient=False) for path in transfer)]
    if len({victim.name for victim in victims}) < len(victims):
        raise ConfigError(
            f"a detector is attacked and judges in one row of its own: found {[v.name for v in victims]}; "
            "name each one once"
        )
    run = _possible(parsed, source)
    tally = _Tally()
    with _one_torch_thread(source.module):
        for number, sample in enumerate(manifest):
            _attack(number, sample, victims, run, tally, seed=seed)
            on_image()
        scored = sorted(tally.scores[CLEAN, source.name])
        report, note = None, "not asked for"
        if masking:
            report, note = _masking(source, manifest, scored, seed=seed)
    row = partial(
        _row,
        tally.scores,
        labels,
        sources(manifest),
        source=source.name,
        n_resamples=n_resamples,
        seed=seed,
    )
    return Robustness(
        detector=source.name,
        manifest=manifest.digest(),
        seed=seed,
        n=len(manifest),
        scored=len(scored),
        rows=tuple(row(victim=victim, attack=attack.name) for victim in victims for attack in run),
        left_out=tuple((attack.name, source.no_module) for attack in parsed if attack not in run),
        masking=report,
        masking_note=note,
        failures=tuple(tally.failures),
    )


@contextmanager
def _one_torch_thread(module: Any) -> Iterator[None]:
    """One image at a time gives threads too little to do; on busy cores they mostly wait for each other."""
    if module is None:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _possible(attacks: Sequence[Attack], source: _Victim) -> list[Attack]:
    """The attacks that a detector's form allows; raises ConfigError where that is none."""
    found = [attack for attack in attacks if source.module is not None or not attack.needs_gradient]
    if not found:
        raise ConfigError(
            f"none of the attacks {[attack.name for attack in attacks]} can be run on {source.name}: "
            f"{source.no_module or 'none was given'}; square:0.03,queries=200 reads scores alone"
        )
    return found


def _victim(path: Path, *, gradient: bool) -> _Victim:
    """A detector, with its differentiable form where that is asked for and to be had."""
    looker = Looker(path)
    spec = looker.artifact.spec
    if reason := unfit(spec, "square:0.03"):  # what refuses a black-box attack refuses all
        raise ConfigError(f"{looker.artifact.name} can't be attacked: {reason}")
    module, why = None, ""
    if gradient:
        why = unfit(spec, "fgsm:0.01") or ""
        try:
            module = None if why else system_of(spec).module(path)
        except (ArtifactError, ConfigError) as error:  # this kind has none, or PyTorch is missing
            why = f"no gradient: {error}"
    return _Victim(
        name=looker.artifact.name,
        score=detector_score(looker.detector),
        threshold=looker.decision.operating_point.high,
        module=module,
        no_module=why,
    )


def _attack(
    number: int,
    sample: Sample,
    victims: Sequence[_Victim],
    attacks: Sequence[Attack],
    tally: _Tally,
    *,
    seed: int,
) -> None:
    """Put down the scores of one image, unchanged and after each attack, by each detector."""
    source, path = victims[0], escape(sample.path)
    try:
        pixels, key = _pixels(sample)
    except Exception as error:
        tally.failures.append(Failure(path, _reason(error)))
        return
    able = [victim for victim in victims if tally.judge(number, path, victim, CLEAN, pixels)]
    if source not in able:
        return
    for attack in attacks:
        try:
            found = attack.run(
                source.module if attack.needs_gradient else source.score,
                pixels[None],
                np.array([sample.label]),
                threshold=source.threshold,
                seed=seed,
                keys=[key],
            )[0]
        except Exception as error:
            tally.failures.append(Failure(path, f"{attack.name}: {_reason(error)}"))
            continue
        for victim in able:
            tally.judge(number, path, victim, attack.name, found)


def _reason(error: Exception) -> str:
    """One image's failure, whatever it is, doesn't cost the others their hours."""
    return str(error) if isinstance(error, TellsignError) else f"{type(error).__name__}: {error}"


def _pixels(sample: Sample) -> tuple[FloatArray, str]:
    """(3, H, W) and the digest of the file; raises ImageError."""
    found = picture(sample)
    return found.array, found.meta.sha256


def _row(
    scores: Scores,
    labels: Labels,
    groups: Sequence[str],
    *,
    source: str,
    victim: _Victim,
    attack: str,
    n_resamples: int,
    seed: int,
) -> Row:
    clean, attacked = scores[CLEAN, victim.name], scores[attack, victim.name]
    rows = sorted(set(clean) & set(attacked))
    own = labels[rows]
    before, after = (np.array([found[row] for row in rows]) for found in (clean, attacked))
    estimates = partial(
        summary,
        threshold=victim.threshold,
        groups=[groups[row] for row in rows],
        n_resamples=n_resamples,
        seed=seed,
    )
    unchanged, changed = (estimates(own, found) for found in (before, after))
    success = None
    if rows:
        success = outcome(own, before, after, threshold=victim.threshold, attack=attack).success
    return Row(
        attack=attack,
        source=source,
        target=victim.name,
        n=len(rows),
        clean_accuracy=unchanged["accuracy"],
        accuracy=changed["accuracy"],
        clean_auroc=unchanged["auroc"],
        auroc=changed["auroc"],
        success=success,
    )


def _masking(
    source: _Victim, manifest: Manifest, scored: Sequence[int], *, seed: int
) -> tuple[MaskingReport | None, str]:
    """The checks on the first images of each class, and what they were made on."""
    if source.module is None or not scored:
        return None, source.no_module or "no image has a score"
    of_class = {label: [row for row in scored if manifest[row].label == label] for label in (REAL, FAKE)}
    rows = sorted(row for found in of_class.values() for row in found[:MASKING_IMAGES])
    size = f"{len(rows)} images"
    # Whatever goes wrong here, after all the attacks, doesn't cost the rows that they came to.
    try:
        found = [_pixels(manifest[row]) for row in rows]
        # Of several sizes: the middle of each that all have, its pixels as they are.
        height, width = np.array([pixels.shape[1:] for pixels, _ in found]).min(axis=0).tolist()
        images = np.stack([_middle(pixels, height, width) for pixels, _ in found])
        size = f"{size}, their middle {height} × {width} pixels, eps {MASKING_EPS:g}"
        report = masking_report(
            source.module,
            images,
            np.array([manifest[row].label for row in rows]),
            threshold=source.threshold,
            eps=MASKING_EPS,
            seed=seed,
            keys=[key for _, key in found],
            batch_size=1,
        )
    except Exception as error:
        return None, f"on {size}: {_reason(error)}"
    return report, size


def _middle(pixels: FloatArray, height: int, width: int) -> FloatArray:
    top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
    return pixels[:, top : top + height, left : left + width]
