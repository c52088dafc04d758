"""FGSM against every branch and both ensembles: what is left of their accuracy.

Not rounded to levels of 8 bits, as published. The gradient of a vote is that of the branch that casts the
deciding one alone, so that an attack on it sees a third of what it is up against: how the vote fares against
images made for the weighted ensemble is shown as well.

Shapes: B images of one size, N images, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.evaluate.cae_net.looks import BY_VOTE, BY_WEIGHTS, Look, look_of
from tellsign.evaluate.cae_net.notes import chosen, described
from tellsign.evaluate.cae_net.study import study
from tellsign.evaluate.cae_net.tables import (
    COMPARISON,
    ENSEMBLE,
    METHODS,
    PAPER,
    SUMMARISED,
    published,
    published_versions,
)
from tellsign.evaluate.cells import kept
from tellsign.evaluate.comparisons import (
    DECISION,
    INTERVALS,
    NOT_IN_PAPER,
    difference_row,
    estimates,
    filled,
    labelled,
)
from tellsign.evaluate.notes import multiplicity
from tellsign.evaluate.published import records
from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.samples import content, evenly, pictures
from tellsign.evaluate.study import NEEDS, Study
from tellsign.systems.cae_net.config import BRANCHES
from tellsign.types import ManifestError

if TYPE_CHECKING:
    from tellsign.data import Manifest
    from tellsign.evaluate.cells import Finished
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.metrics import Estimate
    from tellsign.types import FloatArray

    Block = dict[str, Any]

EPS = (0.01, 0.02, 0.03)
STRENGTHS = (None, *EPS)  # of the attack; None: no attack
N_IMAGES = 200  # of the test part, half of each class
BATCH = 8
VOTE = (
    "The gradient of the vote is that of one branch at a time, which alone makes it look more robust. So the "
    "two ensembles are compared under an attack on each, and on the same images, made against the weights."
)
TRANSFER = f"{BY_VOTE}, images made against {BY_WEIGHTS}"


def fgsm(name: str, inputs: Inputs) -> Result:
    """Accuracy of branches and ensembles before and after FGSM at three strengths."""
    given = study(inputs)
    paper = f"{PAPER}, FGSM"
    if given is None:
        targets = (*BRANCHES, BY_WEIGHTS, BY_VOTE)
        rows = [_row(target, eps, NEEDS) for target in targets for eps in STRENGTHS]
        return Result(name, paper, tuple(rows), (COMPARISON,))
    cell = given.whole()
    sample = evenly(cell.cell.test, given.samples or N_IMAGES)
    look = look_of(cell)
    names = [*look.targets(), *([TRANSFER] if BY_VOTE in look.rules else [])]
    blocks = {target: attack_block(given, cell, look, target, sample) for target in names}
    rows = [_measured(target, eps, block, sample) for target, block in blocks.items() for eps in STRENGTHS]
    rows += vote_rows(blocks, sample)
    if BY_VOTE not in look.rules:
        rows += [_row(BY_VOTE, eps, f"{len(look.branches)} branches have no majority") for eps in STRENGTHS]
    notes = (
        f"{len(sample)} images of the test part. Below one half an attack has turned most decisions round.",
        VOTE,
        described(given, [cell]),
        chosen(inputs),
        COMPARISON,
        INTERVALS,
        *multiplicity(rows),
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

    from tellsign.perturb.attacks.score import margin_gradient

    targets = look.targets()
    source = targets[BY_WEIGHTS if target == TRANSFER else target]
    judge = targets[BY_VOTE if target == TRANSFER else target]
    rows: list[int] = []
    scores: dict[str, list[float]] = {key: [] for key in ("clean", *map(str, EPS))}
    for numbers, pixels in _batches(sample, look.size):
        x = torch.from_numpy(pixels).to(look.device)
        y = torch.tensor([sample[number].label for number in numbers], device=look.device)
        rows += numbers
        signs = margin_gradient(source, x, y, threshold=0.0)[1].sign()  # the same for all strengths
        images = {"clean": x} | {str(eps): (x - eps * signs).clamp(0, 1) for eps in EPS}
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
    table = labelled(sample, block["rows"])
    return estimates(table, attack_scores(block, eps), ranks=False)["accuracy"]


def vote_rows(blocks: Mapping[str, Block], sample: Manifest, where: str = "") -> list[Row]:
    """How much more of the images the vote calls right than the weights, before and after an attack.

    Args:    blocks: target → `attacked`; nothing is compared where there is no vote.
             sample: the images.
             where: the detector, where there are several.
    Returns: a row for each strength, under an attack on each and on the same images; its note is the verdict.
    """
    rows = []
    for vote in (BY_VOTE, TRANSFER):
        if vote not in blocks:
            continue
        table = labelled(sample, blocks[vote]["rows"])
        names = (f"{vote}{where}", f"{BY_WEIGHTS}{where}")
        rows += [
            difference_row(
                table,
                attack_scores(blocks[vote], eps),
                attack_scores(blocks[BY_WEIGHTS], eps),
                names,
                metric="accuracy",
                title=attack_column(eps),
            )
            for eps in (STRENGTHS if vote == BY_VOTE else EPS)  # before an attack they are the same
        ]
    return rows


def _batches(sample: Manifest, size: int) -> Iterator[tuple[list[int], Any]]:
    """Neighbours of one size, (B, 3, H, W) float32; images that can't be used are passed over."""
    numbers: list[int] = []
    stack: list[Any] = []
    for number, array in enumerate(pictures(sample)):
        if array is None or min(array.shape[1:]) < size:
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
    value, remark = _published(ENSEMBLE if target == BY_WEIGHTS else target, eps)
    return Row(target, attack_column(eps), value, note="; ".join(filter(None, (remark, note))))


def _published(method: str, eps: float | None) -> tuple[float | None, str]:
    """What the paper prints, and in which version; or that it prints nothing, or a range."""
    name = METHODS.get(method, {}).get(SUMMARISED, "")
    if eps is None:
        value = published_versions(method, "accuracy").get(SUMMARISED)
    else:
        value = published("FGSM", name, epsilon=eps) if name else None
    if value is not None:
        return value, f"published by {SUMMARISED}"
    if method != ENSEMBLE or eps is None:
        return None, NOT_IN_PAPER
    (record,) = records("cae-net", "FGSM", metric="accuracy_range")
    assert isinstance(record.value, tuple)
    assert isinstance(record.epsilon, tuple)
    shares, strengths = (
        " to ".join(f"{value:g}" for value in pair) for pair in (record.value, record.epsilon)
    )
    return None, f"published by {SUMMARISED}: about {shares} % at {strengths}"


def _measured(target: str, eps: float | None, block: Block, sample: Manifest) -> Row:
    return filled(_row(target, eps), attacked_accuracy(block, eps, sample))
