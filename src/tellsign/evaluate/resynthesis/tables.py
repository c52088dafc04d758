"""Tables 1 to 3 and figure 6: accuracy of all detectors, within and across generators, raw and disguised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tellsign.evaluate.comparisons import INTERVALS
from tellsign.evaluate.reproduce import Result
from tellsign.evaluate.resynthesis.layout import (
    AVERAGES,
    PAPER,
    Column,
    cell_row,
    methods,
    printed,
    table_rows,
)
from tellsign.evaluate.resynthesis.measure import new_bench

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tellsign.evaluate.reproduce import Inputs
    from tellsign.evaluate.resynthesis.layout import Measured, Method

NEEDS = "needs images and trained detectors: --data MANIFEST -o FOLDER"
BALANCED = (
    "Measured is the mean of the shares of reals and of fakes that are called right, which is the accuracy "
    "on test sets with as many of both, as the paper's are."
)
DECISION = "A score from 0 on is called fake: of log-odds, of a margin, and of a lead of correlations."
TESTED = (
    "Tested on the split test of --data and on all of --others. +P changes reals and fakes, +E fakes alone, "
    "with gains from the split train; +R and +A are generators of their own, named as the raw one with +R or "
    "+A behind."
)
TRAINED = (
    "The detectors are those in the folder, as `tellsign train` wrote them. That none was trained on what it "
    "is tested on is not checked here."
)
CLAIM = "the text says that all have more than 85 %, and prints no numbers"
STARGAN2 = "CelebA-HQ / StarGAN2"


def table1(name: str, inputs: Inputs) -> Result:
    """CelebA-HQ: trained on one generator, tested on both."""
    return _table(name, inputs, "Table 1", by_dataset=False)


def table2(name: str, inputs: Inputs) -> Result:
    """The same detectors on images of FFHQ."""
    return _table(name, inputs, "Table 2", by_dataset=True)


def table3(name: str, inputs: Inputs) -> Result:
    """Rooms and churches."""
    return _table(name, inputs, "Table 3", by_dataset=True)


def fig6(name: str, inputs: Inputs) -> Result:
    """The bars of figure 6: a generator that nothing was trained on."""
    sets = dict.fromkeys(column.train_set for _, column in printed("Table 1"))
    cells = [(row, Column(train_set, STARGAN2, "Raw")) for train_set in sets for row in methods()]
    found = _measured(inputs, cells, by_dataset=False)
    rows = [
        cell_row(row, column, None, found, CLAIM if row.detector.startswith("resynthesis") else "")
        for row, column in cells
    ]
    return Result(name, f"{PAPER}, figure 6", tuple(rows), _notes(inputs))


def _table(name: str, inputs: Inputs, table: str, *, by_dataset: bool) -> Result:
    found = _measured(inputs, printed(table), by_dataset=by_dataset)
    rows = tuple(table_rows(table, found))
    return Result(name, f"{PAPER}, {table.lower()}", rows, (AVERAGES, *_notes(inputs)))


def _measured(inputs: Inputs, cells: Iterable[tuple[Method, Column]], *, by_dataset: bool) -> Measured:
    bench = new_bench(inputs, by_dataset=by_dataset)
    return dict.fromkeys(cells, NEEDS) if bench is None else bench.measured(cells)


def _notes(inputs: Inputs) -> tuple[str, ...]:
    return () if inputs.manifest is None else (TESTED, TRAINED, BALANCED, DECISION, INTERVALS)
