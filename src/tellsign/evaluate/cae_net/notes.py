"""What the tables of CAE-Net say of themselves: what was trained and where, and how far to believe them."""

from __future__ import annotations

import json
from itertools import takewhile
from typing import TYPE_CHECKING

from tellsign.evaluate.cae_net.study import SMALL
from tellsign.nn.backbones import SCRATCH
from tellsign.systems.cae_net.config import MULTISTAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tellsign.evaluate.cells import Finished
    from tellsign.evaluate.reproduce import Inputs, Row
    from tellsign.evaluate.study import Study
    from tellsign.systems.cae_net.config import CaeNetConfig

TRANSFORMERS = ("vit", "deit", "swin", "beit")  # in the names that timm gives them


def described(given: Study, cells: Sequence[Finished], *, compared: bool = False) -> str:
    """What the rows were measured on, and what was trained for them.

    Args:    given: the study. cells: of its folds.
             compared: whether they are of other strategies instead, all on the first fold.
    Returns: a few sentences; the seconds are those of all cells.
    """
    tested = cells[:1] if compared else cells
    schedule = "" if compared else f"{scheduled(given.config)}; "
    return (
        f"{tested_on(given, tested)} {trained(given, cells)} Branches: {backbones(given.config)}; weights "
        f"{started(given.config)}; {schedule}fusion {given.config.fusion}."
    )


def tested_on(given: Study, cells: Sequence[Finished]) -> str:
    """Which images the rows are of, in a sentence.

    Args:    given: the study. cells: of its folds.
    Returns: the sentence.
    """
    n = sum(len(cell.scores.rows) for cell in cells)
    lost = sum(cell.record["left_out"] for cell in cells)
    left_out = f"; {lost} images could not be used" if lost else ""
    ways = f"all {len(cells)} folds" if len(cells) > 1 else f"fold 1 of {given.n_folds}"
    return f"Test images: {n} of {ways}, no group in training and test{left_out}."


def trained(given: Study, cells: Sequence[Finished]) -> str:
    """How long all trainings took, and on which machine, in a sentence."""
    seconds = sum(cell.record["seconds"]["trainings"] for cell in cells)
    detectors = f"{len(cells)} detectors" if len(cells) > 1 else "1 detector"
    return f"Seed {given.seed}; {detectors} trained in {seconds:.0f} s on {machines(cells)}."


def machines(cells: Iterable[Finished]) -> str:
    """What the trainings ran on, as their run folders say.

    Args:    cells: that are done.
    Returns: device and threads, of several machines one after the other.
    """
    from tellsign.engine.folder import RUN

    found = set()
    for file in (file for cell in cells for file in cell.run.rglob(RUN)):
        try:
            at = json.loads(file.read_bytes())["versions"]
            processes = f" in each of {at['processes']} processes" if at["processes"] > 1 else ""
            found.add(f"{at['device']} with {at['threads']} threads{processes}")
        except (OSError, ValueError, KeyError, TypeError):  # the scores are none the worse for it
            continue
    return ", ".join(sorted(found)) or "a machine of which there is no record"


def scheduled(config: CaeNetConfig) -> str:
    """The strategy and how many epochs it has, in words."""
    if config.strategy != MULTISTAGE:
        return f"strategy {config.strategy}, {config.training.epochs} epochs"
    epochs = {name: branch.stage_epochs for name, branch in config.branches.items()}
    words = ", ".join(f"{n} of {name}" for name, n in epochs.items())
    if len(set(epochs.values())) == 1:
        words = str(next(iter(epochs.values())))
    return (
        f"strategy {config.strategy}, reals {config.reals}, epochs in each of {config.stages} stages: {words}"
    )


def started(config: CaeNetConfig) -> str:
    """What the trainings of the branches start from, in words."""
    weights = {name: config.branch_weights(name) for name in config.branches}
    if len(set(weights.values())) == 1:
        return next(iter(weights.values()))
    return ", ".join(f"{one} ({name})" for name, one in weights.items())


def backbones(config: CaeNetConfig) -> str:
    """The branches with their networks, in words."""
    return ", ".join(f"{name} ({one.backbone}, {one.input})" for name, one in config.branches.items())


def starved(config: CaeNetConfig, n: int) -> tuple[str, ...]:
    """A warning where a transformer was trained from scratch.

    Args:    config: of the ensemble. n: images of a training.
    Returns: one sentence, or none.
    """
    names = [
        name
        for name, branch in config.branches.items()
        if config.branch_weights(name) == SCRATCH and any(word in branch.backbone for word in TRANSFORMERS)
    ]
    if not names:
        return ()
    return (
        (
            f"Without pretrained weights and with {n} images a transformer learns little: what "
            f"{' and '.join(names)} reached here says nothing of such a network as published."
        ),
    )


def chosen(inputs: Inputs) -> str:
    """What the head of the configuration file says of it, such as on which images it was chosen.

    Args:    inputs: of the reproduction.
    Returns: a sentence with its first lines, as far as they are comments.
    """
    name = inputs.config.name if inputs.config else "configs/cae-net-small.toml"
    lines = (inputs.config or SMALL).read_text(encoding="utf-8").splitlines()
    text = " ".join(line.removeprefix("#").strip() for line in takewhile(lambda one: one[:1] == "#", lines))
    if not text:
        return f"The configuration, {name}, does not say on which images it was chosen."
    return f"The configuration, {name}, says of itself: {text}"


def multiplicity(rows: Iterable[Row]) -> tuple[str, ...]:
    """How many of a table's verdicts chance alone would give.

    Args:    rows: of the table.
    Returns: one sentence, or none where nothing or one thing is judged.
    """
    n = sum(row.column.endswith("difference") and row.ci is not None for row in rows)
    if n < 2:
        return ()
    return (
        (
            f"{n} differences, each judged at 95 %: of differences that are none in truth about one in "
            "twenty would look decided by chance alone."
        ),
    )
