"""One option of a training after the other, on one split with one seed: what each of them is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tellsign.evaluate.comparisons import difference_rows, estimates, filled, noted, pooled
from tellsign.evaluate.notes import tested_on, trained
from tellsign.evaluate.reproduce import Row
from tellsign.evaluate.study import Study, attempted, first_error

if TYPE_CHECKING:
    from tellsign.evaluate.cells import Finished

COLUMNS = {"accuracy": "accuracy", "AUROC": "auroc"}  # column → key of `metrics.summary`

Blank = Callable[[str, str], Row]  # row, column → what is published there, and nothing measured


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """A training of an ablation."""

    cell: str  # first part of its folder's name
    config: Any  # of the system


@dataclass(frozen=True, slots=True, eq=False)
class Ablation:
    """What came out."""

    rows: list[Row]
    found: dict[str, Finished | str]  # row → its cell, or why there is none

    @property
    def cells(self) -> list[Finished]:
        """Those that could be made; one or more."""
        return [cell for cell in self.found.values() if not isinstance(cell, str)]

    def described(self, given: Study) -> str:
        """What was tested on and trained, in sentences."""
        return f"{tested_on(given, self.cells[:1])} {trained(given, self.cells)}"


def ablation_table(
    given: Study, variants: Mapping[str, Variant], *, blank: Blank, pairs: Sequence[tuple[str, str]]
) -> Ablation:
    """Trainings that differ in an option each, all on the first fold, and the differences of pairs.

    Args:    given: the study. variants: row → what is trained.
             blank: the rows without a measured value.
             pairs: of rows, whose AUROC is compared.
    Returns: rows and cells. A variant that can't be trained leaves the others, and its rows say why.
    Raises:  ConfigError: none can be trained. OutputError, ResourceError: the machine fails.
    """
    found = {row: attempted(partial(given.cell, one.cell, one.config)) for row, one in variants.items()}
    first_error(list(found.values()))
    rows = []
    for row, cell in found.items():
        if isinstance(cell, str):
            rows += blank_rows([row], blank, cell)
            continue
        table = pooled([cell.scores], whole=row)
        measured = estimates(table, table.columns[row])
        rows += [filled(blank(row, column), measured[metric]) for column, metric in COLUMNS.items()]
    return Ablation(rows + difference_rows(found, pairs), found)


def blank_rows(names: Iterable[str], blank: Blank, reason: str) -> list[Row]:
    """The rows of an ablation without measured values.

    Args:    names: of the rows. blank: the rows as published. reason: why nothing is measured.
    Returns: a row for each name and column.
    """
    return [noted(blank(name, column), reason) for name in names for column in COLUMNS]
