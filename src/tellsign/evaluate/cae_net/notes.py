"""What the tables of CAE-Net say of themselves beside what all such tables say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tellsign.evaluate.cae_net.choice import choice_note, unchosen
from tellsign.evaluate.cae_net.study import SMALL
from tellsign.evaluate.notes import head, tested_on, trained
from tellsign.nn.backbones import SCRATCH
from tellsign.systems.cae_net.config import MULTISTAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tellsign.evaluate.cells import Finished
    from tellsign.evaluate.reproduce import Inputs
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
        f"{choice_note(unchosen(given, tested))}"
    )


def scheduled(config: CaeNetConfig) -> str:
    """The strategy and how many epochs it has, in words."""
    epochs = {name: config.stage_training(name).epochs for name in config.branches}
    words = ", ".join(f"{n} of {name}" for name, n in epochs.items())
    is_shared = len(set(epochs.values())) == 1
    if is_shared:
        words = str(next(iter(epochs.values())))
    if config.strategy != MULTISTAGE:
        return f"strategy {config.strategy}, {f'{words} epochs' if is_shared else f'epochs: {words}'}"
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
    """What the head of the configuration says of it."""
    return head(inputs.config or SMALL, inputs.config.name if inputs.config else "configs/cae-net-small.toml")
