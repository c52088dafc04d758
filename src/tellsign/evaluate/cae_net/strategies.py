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
from tellsign.evaluate.cae_net.folds import thinned
from tellsign.evaluate.cae_net.study import NEEDS, Study, attempted, first_error, study
from tellsign.evaluate.cae_net.tables import (
    COMPARISON,
    DECISION,
    ENSEMBLE,
    INTERVALS,
    NOT_IN_PAPER,
    PAPER,
    Pooled,
    complement,
    described,
    difference_row,
    estimates,
    filled,
    pooled,
)
from tellsign.evaluate.reproduce import Result, Row
from tellsign.systems.cae_net.config import MULTISTAGE, CaeNetConfig
from tellsign.types import FAKE, REAL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.data import Manifest
    from tellsign.evaluate.cae_net.cells import Finished
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
COLUMNS = ("real accuracy", "fake accuracy", "balanced accuracy", "AUROC")


@dataclass(frozen=True, slots=True)
class Views:
    """How many images an epoch of a strategy shows, and how many epochs that makes."""

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
    tables = {s: pooled([cell.scores]) for s, cell in found.items() if not isinstance(cell, str)}
    tested = {s: cell.scores.rows.tolist() for s, cell in found.items() if not isinstance(cell, str)}
    shown = {strategy: strategy_views(given.config, training, strategy) for strategy in STRATEGIES}
    rows: list[Row] = []
    for strategy, cell in found.items():
        views = shown[strategy]
        if isinstance(cell, str):
            rows += [Row(strategy, column, note=f"{NOT_IN_PAPER}; {cell}") for column in COLUMNS]
        else:
            staged = STRATEGIES[strategy]["strategy"] == MULTISTAGE
            over = f"{views.epoch} images" + (" in all stages together" if staged else "")
            note = f"{NOT_IN_PAPER}; epochs {views.epochs}, of {over}"
            rows += class_rows(strategy, tables[strategy], note)
    if REPEAT in tables:
        rows += [
            difference_row(
                table,
                tables[REPEAT].columns[ENSEMBLE],
                table.columns[ENSEMBLE],
                (REPEAT, strategy),
                metric=metric,
                title=title,
            )
            for strategy, table in tables.items()
            # Images that one of them could not use leave nothing to pair.
            if strategy != REPEAT and tested[strategy] == tested[REPEAT]
            for metric, title in (("auroc", "AUROC"), ("balanced_accuracy", "balanced accuracy"))
        ]
    cells = [cell for cell in found.values() if not isinstance(cell, str)]
    n_real, n_fake = (training.labels.count(label) for label in (REAL, FAKE))
    notes = (
        (
            f"Training: {n_real} reals and {n_fake} fakes, the reals of fold 1 thinned; validation and "
            "test as they are. One split, one seed: intervals tell of other test images, and not of another "
            "training."
        ),
        (
            "Every strategy shows about as many images as the configuration's own; the multistage schedule "
            f"divides them among {given.config.stages} stages."
        ),
        choices_note(shown, given.config.stages),
        described(given, cells, compared=True),
        COMPARISON,
        INTERVALS,
        DECISION,
    )
    return Result(name, paper, tuple(rows), notes)


def choices_note(shown: Mapping[str, Views], stages: int) -> str:
    """From how many epochs each strategy takes the best one, in a sentence.

    Args:    shown: strategy → what it shows. stages: of a multistage schedule.
    Returns: the sentence; strategies with as many epochs stand together.
    """
    by_epochs: dict[tuple[int, bool], list[str]] = {}
    for strategy, views in shown.items():
        staged = STRATEGIES[strategy]["strategy"] == MULTISTAGE
        by_epochs.setdefault((views.epochs, staged), []).append(strategy)
    choices = [
        f"{epochs}{f' in each of {stages} stages' if staged else ''} ({'; '.join(names)})"
        for (epochs, staged), names in sorted(by_epochs.items(), reverse=True)
    ]
    return (
        "As many images are not as many epochs: a training keeps the best of its epochs on validation "
        f"images, and of more there is more to choose from: {', '.join(choices)}."
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
    epochs = strategy_views(config, training, strategy).epochs
    if options["strategy"] == MULTISTAGE:
        branches = {name: replace(one, stage_epochs=epochs) for name, one in config.branches.items()}
        # Of all stages together there are none: the configuration refuses what it would ignore.
        own = replace(config.training, epochs=TrainingConfig().epochs)
        return replace(config, branches=branches, training=own, **options)
    return replace(config, training=replace(config.training, epochs=epochs), **options)


def strategy_views(config: CaeNetConfig, training: Manifest, strategy: str) -> Views:
    """What an epoch of a strategy shows, and the epochs that come nearest to what the configuration shows.

    Args:    config: the given one, whose own strategy and epochs say how many images are shown.
             training: the part that is trained on. strategy: a key of `STRATEGIES`.
    Returns: images of an epoch, of the multistage schedule one in every stage; and epochs, at least 1.
    """
    own = {"strategy": config.strategy, "reals": config.reals}
    if config.strategy == MULTISTAGE:
        epochs = max(branch.stage_epochs for branch in config.branches.values())
    else:
        epochs = config.training.epochs
    shown = _epoch_views(config, training, own) * epochs
    epoch = _epoch_views(config, training, STRATEGIES[strategy])
    return Views(epoch, max(1, round(shown / epoch)))


def _epoch_views(config: CaeNetConfig, training: Manifest, options: dict[str, Any]) -> int:
    labels = training.labels
    if options["strategy"] != MULTISTAGE:
        return epoch_length(labels, options["strategy"])
    n_real, n_fake = labels.count(REAL), labels.count(FAKE)
    return n_fake + (n_real if options["reals"] == "disjoint" else config.stages * n_real)


def class_rows(row: str, table: Pooled, note: str) -> list[Row]:
    """What the fused score does to either class, as a table's columns."""
    found = estimates(table, table.columns[ENSEMBLE])
    values = {
        "real accuracy": complement(found["fpr"]),
        "fake accuracy": complement(found["fnr"]),
        "balanced accuracy": found["balanced_accuracy"],
        "AUROC": found["auroc"],
    }
    return [filled(Row(row, column, note=note), values[column]) for column in COLUMNS]
