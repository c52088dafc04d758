"""The multistage schedule against five other answers to unequal classes, on five fakes to one real.

Every strategy shows as many images as the configuration's own would, so that none wins by having looked
longer. The reals are thinned in the training part alone: the epochs are chosen, the fusion is fitted and the
scores are judged on validation and test parts as balanced as the data, as the published ones are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tellsign.engine.config import TrainingConfig
from tellsign.engine.losses import epoch_length
from tellsign.evaluate.cae_net.notes import chosen, described
from tellsign.evaluate.cae_net.study import study
from tellsign.evaluate.cae_net.tables import COMPARISON, ENSEMBLE, PAPER, pooled
from tellsign.evaluate.comparisons import (
    DECISION,
    INTERVALS,
    NOT_IN_PAPER,
    Pooled,
    class_estimates,
    difference_rows,
    estimates,
    filled,
)
from tellsign.evaluate.folds import thinned
from tellsign.evaluate.notes import multiplicity
from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.study import NEEDS, Study, attempted, first_error
from tellsign.systems.cae_net.config import MULTISTAGE, CaeNetConfig
from tellsign.types import FAKE, REAL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.data import Manifest
    from tellsign.evaluate.cells import Finished
    from tellsign.evaluate.reproduce import Inputs

RATIO = 5.0  # fakes to one real; 5.14 in the published training set
REPEAT, DISJOINT = "multistage, reals repeat", "multistage, reals disjoint"
STRATEGIES: dict[str, dict[str, Any]] = {
    REPEAT: {"strategy": MULTISTAGE, "reals": "repeat"},
    DISJOINT: {"strategy": MULTISTAGE, "reals": "disjoint"},
    "plain": {"strategy": "plain"},
    "weighted": {"strategy": "weighted"},
    "over": {"strategy": "over"},
    "under": {"strategy": "under"},
    "focal": {"strategy": "focal"},
}
TOLERANCE = 0.05  # of the number of images that a strategy shows
COLUMNS = ("real accuracy", "fake accuracy", "balanced accuracy", "AUROC")


@dataclass(frozen=True, slots=True)
class Views:
    """How many images an epoch of a strategy shows, and how many epochs that makes for a branch."""

    epoch: int
    epochs: int

    @property
    def total(self) -> int:
        """Images that a branch sees in its training, repetitions counted."""
        return self.epoch * self.epochs


def balancing(name: str, inputs: Inputs) -> Result:
    """Accuracy of either class and AUROC of each strategy, and its difference to the multistage schedule."""
    given = study(inputs)
    paper = f"{PAPER}, which names the strategies and gives no numbers"
    if given is None:
        note = f"{NOT_IN_PAPER}; {NEEDS}"
        return Result(name, paper, tuple(Row(s, c, note=note) for s in STRATEGIES for c in COLUMNS))
    training = thinned(given.folds[0].train, ratio=RATIO, seed=given.seed)
    found = {strategy: attempted(partial(strategy_cell, given, strategy)) for strategy in STRATEGIES}
    first_error(list(found.values()))
    shown = {strategy: strategy_views(given.config, training, strategy) for strategy in STRATEGIES}
    rows: list[Row] = []
    for strategy, cell in found.items():
        if isinstance(cell, str):
            rows += [Row(strategy, column, note=f"{NOT_IN_PAPER}; {cell}") for column in COLUMNS]
        else:
            note = f"{NOT_IN_PAPER}; {epochs_words(strategy, shown[strategy])}"
            rows += class_rows(strategy, pooled([cell.scores]), note)
    pairs = [(REPEAT, strategy) for strategy in STRATEGIES if strategy != REPEAT]
    metrics = (("auroc", "AUROC"), ("balanced_accuracy", "balanced accuracy"))
    rows += difference_rows(found, pairs, metrics)
    cells = [cell for cell in found.values() if not isinstance(cell, str)]
    n_real, n_fake = (training.labels.count(label) for label in (REAL, FAKE))
    notes = (
        (
            f"Training: {n_real} reals and {n_fake} fakes, the reals of fold 1 thinned; validation and "
            "test as they are. One split, one seed: intervals tell of other test images, and not of another "
            "training."
        ),
        views_note(own_views(given.config, training), shown, given.config.stages),
        choices_note(shown, given.config.stages),
        described(given, cells, compared=True),
        chosen(inputs),
        COMPARISON,
        INTERVALS,
        *multiplicity(rows),
        DECISION,
    )
    return Result(name, paper, tuple(rows), notes)


def epochs_words(strategy: str, shown: Mapping[str, Views]) -> str:
    """How many epochs a strategy has, and how many images are in one.

    Args:    strategy: a key of `STRATEGIES`. shown: branch → what it shows.
    Returns: the words; one number where all branches have the same.
    """
    views = next(iter(shown.values()))
    over = " in all stages together" if STRATEGIES[strategy]["strategy"] == MULTISTAGE else ""
    return f"epochs {_by_branch(shown)}, of {views.epoch} images{over}"


def choices_note(shown: Mapping[str, Mapping[str, Views]], stages: int) -> str:
    """From how many epochs each strategy takes the best one, in a sentence.

    Args:    shown: strategy → branch → what it shows. stages: of a multistage schedule.
    Returns: the sentence; strategies with as many epochs stand together.
    """
    by_epochs: dict[tuple[int, str], list[str]] = {}
    for strategy, branches in shown.items():
        staged = STRATEGIES[strategy]["strategy"] == MULTISTAGE
        words = f"{_by_branch(branches)}{f' in each of {stages} stages' if staged else ''}"
        most = max(views.epochs for views in branches.values())
        by_epochs.setdefault((most, words), []).append(strategy)
    choices = [
        f"{words} ({'; '.join(names)})" for (_, words), names in sorted(by_epochs.items(), reverse=True)
    ]
    return (
        "As many images are not as many epochs: a training keeps the best of its epochs on validation "
        f"images, and of more there is more to choose from: {', '.join(choices)}."
    )


def views_note(own: Mapping[str, Views], shown: Mapping[str, Mapping[str, Views]], stages: int) -> str:
    """How nearly every strategy shows as many images as the configuration's own, in sentences.

    Args:    own: branch → what the configuration itself shows it.
             shown: strategy → branch → what it shows. stages: of a multistage schedule.
    Returns: the sentences, which name what is off by more than a twentieth.
    """
    off = []
    for strategy, branches in shown.items():
        for name, views in branches.items():
            wanted = own[name].total
            if abs(views.total - wanted) > TOLERANCE * wanted:
                off.append(f"{strategy} to {name} {views.total / wanted:.2f} times")
    exceptions = f" But these show, of the configuration's own: {'; '.join(off)}." if off else ""
    return (
        "Every strategy shows about as many images as the configuration's own; the multistage schedule "
        f"divides them among {stages} stages.{exceptions}"
    )


def strategy_cell(given: Study, strategy: str) -> Finished:
    """The cell of a strategy, trained unless it was before.

    Args:    given: the study. strategy: a key of `STRATEGIES`.
    Returns: detector, scores, and for the multistage schedule the retention tables in its run folder.
    Raises:  ManifestError, ConfigError: data or options don't do.
    """
    training = thinned(given.folds[0].train, ratio=RATIO, seed=given.seed)
    config = strategy_config(given.config, training, strategy)
    return given.cell(f"5-to-1-{strategy.replace(', reals ', '-')}", config, training=training)


def strategy_config(config: CaeNetConfig, training: Manifest, strategy: str) -> CaeNetConfig:
    """A configuration with another strategy that shows as many images.

    Args:    config: the given one. training: the part that is trained on.
             strategy: a key of `STRATEGIES`.
    Returns: the configuration; its own schedule, stage by stage, where it is multistage as well.
    """
    options = STRATEGIES[strategy]
    if options["strategy"] == config.strategy == MULTISTAGE and options["reals"] == config.reals:
        return replace(config, **options)
    shown = strategy_views(config, training, strategy)
    if options["strategy"] == MULTISTAGE:
        branches = {
            name: replace(one, stage_epochs=shown[name].epochs, epochs=0)
            for name, one in config.branches.items()
        }
        # Of all stages together there are none: the configuration refuses what it would ignore.
        own = replace(config.training, epochs=TrainingConfig().epochs)
        return replace(config, branches=branches, training=own, **options)
    branches = {name: replace(one, epochs=shown[name].epochs) for name, one in config.branches.items()}
    return replace(config, branches=branches, **options)


def own_views(config: CaeNetConfig, training: Manifest) -> dict[str, Views]:
    """What the configuration itself shows each branch.

    Args:    config: the given one. training: the part that is trained on.
    Returns: branch → images of an epoch, of the multistage schedule one in every stage; and epochs.
    """
    epoch = _epoch_views(config, training, {"strategy": config.strategy, "reals": config.reals})
    return {name: Views(epoch, config.stage_training(name).epochs) for name in config.branches}


def strategy_views(config: CaeNetConfig, training: Manifest, strategy: str) -> dict[str, Views]:
    """What an epoch of a strategy shows, and the epochs that come nearest to what the configuration shows.

    Args:    config: the given one, whose own strategy and epochs say how many images are shown.
             training: the part that is trained on. strategy: a key of `STRATEGIES`.
    Returns: branch → images of an epoch, of the multistage schedule one in every stage; and epochs.
    """
    epoch = _epoch_views(config, training, STRATEGIES[strategy])
    own = own_views(config, training)
    return {name: Views(epoch, max(1, round(views.total / epoch))) for name, views in own.items()}


def _by_branch(shown: Mapping[str, Views]) -> str:
    """The epochs, of each branch where they differ."""
    epochs = {name: views.epochs for name, views in shown.items()}
    if len(set(epochs.values())) == 1:
        return str(next(iter(epochs.values())))
    return " and ".join(f"{n} of {name}" for name, n in epochs.items())


def _epoch_views(config: CaeNetConfig, training: Manifest, options: dict[str, Any]) -> int:
    labels = training.labels
    if options["strategy"] != MULTISTAGE:
        return epoch_length(labels, options["strategy"])
    n_real, n_fake = labels.count(REAL), labels.count(FAKE)
    return n_fake + (n_real if options["reals"] == "disjoint" else config.stages * n_real)


def class_rows(row: str, table: Pooled, note: str) -> list[Row]:
    """What the fused score does to either class, as a table's columns."""
    values = class_estimates(estimates(table, table.columns[ENSEMBLE]))
    return [filled(Row(row, column, note=note), values[column]) for column in COLUMNS]
