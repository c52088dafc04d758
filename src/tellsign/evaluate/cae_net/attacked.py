"""FGSM against every branch and both ensembles: what is left of their accuracy.

Not rounded to levels of 8 bits, as published. The gradient of a vote is that of the branch that casts the
deciding one alone, so that an attack on it sees a third of what it is up against: how the vote fares against
images made for the weighted ensemble is shown as well.

Shapes: B images of one size, N images, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import image
from tellsign.evaluate.cae_net.cells import kept
from tellsign.evaluate.cae_net.looks import BY_VOTE, BY_WEIGHTS, Look, content, evenly, look_of
from tellsign.evaluate.cae_net.study import NEEDS, Study, study
from tellsign.evaluate.cae_net.tables import (
    COMPARISON,
    DECISION,
    INTERVALS,
    METHODS,
    NOT_IN_PAPER,
    PAPER,
    RESAMPLES,
    described,
    filled,
    published,
)
from tellsign.evaluate.reproduce import Result, Row
from tellsign.groups import sources
from tellsign.metrics import summary
from tellsign.systems.cae_net.config import BRANCHES
from tellsign.types import FAKE, ImageError, ManifestError

if TYPE_CHECKING:
    from tellsign.data import Manifest
    from tellsign.evaluate.cae_net.cells import Finished
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.metrics import Estimate
    from tellsign.types import FloatArray

    Block = dict[str, Any]

EPS = (0.01, 0.02, 0.03)
N_IMAGES = 200  # of the test part, half of each class
BATCH = 8
TRANSFER = f"{BY_VOTE}, images made against {BY_WEIGHTS}"
RANGE = "the paper: about 13 to 20 % at 0.01 to 0.03"


def fgsm(name: str, inputs: Inputs) -> Result:
    """Accuracy of branches and ensembles before and after FGSM at three strengths."""
    given = study(inputs)
    paper = f"{PAPER}, FGSM"
    if given is None:
        targets = (*BRANCHES, BY_WEIGHTS, BY_VOTE)
        rows = [_row(target, eps, NEEDS) for target in targets for eps in (None, *EPS)]
        return Result(name, paper, tuple(rows), (COMPARISON,))
    cell = given.ensemble()
    sample = evenly(cell.cell.test, given.samples or N_IMAGES)
    look = look_of(cell)
    names = [*look.targets(), *([TRANSFER] if BY_VOTE in look.rules else [])]
    rows = []
    for target in names:
        block = attack_block(given, cell, look, target, sample)
        rows += [_measured(target, eps, block, sample) for eps in (None, *EPS)]
    if BY_VOTE not in look.rules:
        rows += [
            _row(BY_VOTE, eps, f"{len(look.branches)} branches have no majority") for eps in (None, *EPS)
        ]
    notes = (
        f"{len(sample)} images of the test part. Below one half an attack has turned most decisions round.",
        "The gradient of the vote is that of one branch at a time, which alone makes it look more robust.",
        described(given, [cell]),
        COMPARISON,
        INTERVALS,
        DECISION,
    )
    return Result(name, paper, tuple(rows), notes)


def attack_block(given: Study, cell: Finished, look: Look, target: str, sample: Manifest) -> Block:
    """`attacked`, made once and kept beside a cell.

    Args:    given: the study. cell: of the detector. look: its networks.
             target, sample: as for `attacked`.
    Returns: as `attacked`.
    Raises:  ManifestError: no image can be used. ConfigError: the file can't be written.
    """

    def made() -> Block:
        given.say(f"FGSM: {target}, {len(sample)} images")
        return attacked(look, target, sample)

    identity = {
        "detector": cell.record["detector"],
        "images": content(sample),
        "eps": list(EPS),
        "target": target,
    }
    slug = f"fgsm-{target.replace(', ', '-').replace(' ', '-')}"
    found: Block = kept(cell.folder / "studies", slug, identity, made)
    return found


def attacked(look: Look, target: str, sample: Manifest) -> Block:
    """Scores of a target on images, and on what FGSM makes of them.

    Args:    look: the networks.
             target: a name of `Look.targets`, or the vote on images made against the weighted ensemble.
             sample: labelled images.
    Returns: {"rows": of the images that can be used, "clean": [scores], "0.01": [scores], …}.
    Raises:  ManifestError: none can be used.
    """
    import torch

    from tellsign.perturb.attacks.gradient import fgsm as step

    targets = look.targets()
    source = targets[BY_WEIGHTS if target == TRANSFER else target]
    judge = targets[BY_VOTE if target == TRANSFER else target]
    rows: list[int] = []
    scores: dict[str, list[float]] = {key: [] for key in ("clean", *map(str, EPS))}
    for numbers, pixels in _batches(sample, look.size):
        x = torch.from_numpy(pixels).to(look.device)
        y = torch.tensor([sample[number].label for number in numbers], device=look.device)
        rows += numbers
        images = {"clean": x}
        images |= {str(eps): step(source, x, y, eps=eps, threshold=0.0).images for eps in EPS}
        with torch.no_grad():
            for key, changed in images.items():
                scores[key] += judge(changed).double().cpu().tolist()
    if not rows:
        raise ManifestError(
            f"none of {len(sample)} images can be used: all are damaged or smaller than crops"
        )
    return {"rows": rows, **scores}


def attack_column(eps: float | None) -> str:
    """The column of the accuracy under an attack of a strength; None: under none."""
    return "accuracy, clean" if eps is None else f"accuracy, FGSM {eps:g}"


def attack_scores(block: Block, eps: float | None) -> FloatArray:
    """(N,) what a target says of the images after an attack of a strength; None: before."""
    return np.array(block["clean" if eps is None else str(eps)], dtype=np.float64)


def attacked_accuracy(block: Block, eps: float | None, sample: Manifest) -> Estimate | None:
    """The share of the images that are called right after an attack, with its interval.

    Args:    block: of `attacked`. eps: of the attack; None: before it.
             sample: the images.
    Returns: the share.
    """
    groups = sources(sample)
    return summary(
        [int(sample[row].label == FAKE) for row in block["rows"]],
        attack_scores(block, eps),
        threshold=0.0,
        groups=[groups[row] for row in block["rows"]],
        ranks=False,
        n_resamples=RESAMPLES,
    )["accuracy"]


def _batches(sample: Manifest, size: int) -> Iterator[tuple[list[int], Any]]:
    """Neighbours of one size, (B, 3, H, W) float32; images that can't be used are passed over."""
    numbers: list[int] = []
    stack: list[Any] = []
    for number, one in enumerate(sample):
        try:
            array = image.decode(one.path).array
        except ImageError:
            continue
        if min(array.shape[1:]) < size:
            continue
        if stack and (array.shape != stack[0].shape or len(stack) == BATCH):
            yield numbers, np.stack(stack)
            numbers, stack = [], []
        numbers.append(number)
        stack.append(array.astype(np.float32, copy=False))
    if stack:
        yield numbers, np.stack(stack)


def _row(target: str, eps: float | None, note: str = "") -> Row:
    """A row without a measured value."""
    method = METHODS.get(target, {}).get("v3", "")
    value = published("FGSM", method, "accuracy", epsilon=eps) if eps is not None and method else None
    remarks = [] if value is not None else [RANGE if target == BY_WEIGHTS and eps else NOT_IN_PAPER]
    return Row(target, attack_column(eps), value, note="; ".join(filter(None, (*remarks, note))))


def _measured(target: str, eps: float | None, block: Block, sample: Manifest) -> Row:
    return filled(_row(target, eps), attacked_accuracy(block, eps, sample))
