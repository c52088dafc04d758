"""Tables 3 and 4: what each part of the model is worth, on one split with one seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tellsign.evaluate.ablations import Variant, ablation_table, blank_rows
from tellsign.evaluate.comparisons import DECISION, INTERVALS, NOT_IN_PAPER
from tellsign.evaluate.notes import multiplicity
from tellsign.evaluate.published import share_of
from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.sfcl_hcmf.notes import COMPARISON, PAPER, ablated, chosen, claims, networks
from tellsign.evaluate.sfcl_hcmf.study import study
from tellsign.evaluate.study import NEEDS
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.evaluate.reproduce import Inputs
    from tellsign.evaluate.sfcl_hcmf.notes import Components
    from tellsign.systems.sfcl_hcmf.config import SfclHcmfConfig

TABLE3, TABLE4 = "Table 3", "Table 4"
FULL, OFF = "the full model", "everything off"
PARTS = {"sbcm": True, "sida": True, "fusion": "hcmf"}  # that the full model has


@dataclass(frozen=True, slots=True)
class Part:
    """A row of an ablation."""

    cell: str  # first part of its folder's name; empty: that of the full model
    options: Mapping[str, Any]  # in place of the full model's
    table: str  # that prints its value
    components: Components  # by which it is found there


def _hcmf(*, sbcm: bool = True, hcmf: bool = True, sida: bool = True) -> Components:
    return {"SBCM": sbcm, "HCMF": hcmf, "SIDA": sida}


def _fusion(*, faae: bool = True, hcma: bool = True) -> Components:
    return {"FAAE": faae, "HCMA": hcma}


_OFF = Part(
    "sfcl-off",
    {"fusion": "concat", "sbcm": False, "sida": False},
    TABLE3,
    _hcmf(sbcm=False, hcmf=False, sida=False),
)
CONCAT = {"fusion": "concat"}  # neither FAAE nor HCMA, and SBCM and SIDA as they are
ROWS = {
    TABLE3: {
        FULL: Part("", {}, TABLE3, _hcmf()),
        "without SBCM": Part("sfcl-no-sbcm", {"sbcm": False}, TABLE3, _hcmf(sbcm=False)),
        "without HCMF": Part("sfcl-concat", CONCAT, TABLE3, _hcmf(hcmf=False)),
        "without SIDA": Part("sfcl-no-sida", {"sida": False}, TABLE3, _hcmf(sida=False)),
        OFF: _OFF,
    },
    TABLE4: {
        FULL: Part("", {}, TABLE4, _fusion()),
        "FAAE alone": Part("sfcl-faae", {"fusion": "faae"}, TABLE4, _fusion(hcma=False)),
        "HCMA alone": Part("sfcl-hcma", {"fusion": "hcma"}, TABLE4, _fusion(faae=False)),
        "neither FAAE nor HCMA": Part("sfcl-concat", CONCAT, TABLE4, _fusion(faae=False, hcma=False)),
        OFF: _OFF,
    },
}


def table3(name: str, inputs: Inputs) -> Result:
    """The full model without SBCM, without HCMF, without SIDA, and without all three."""
    return _table(name, TABLE3, inputs)


def table4(name: str, inputs: Inputs) -> Result:
    """The full model with FAAE alone, with HCMA alone, with neither; and table 3's baseline beside it."""
    return _table(name, TABLE4, inputs)


def configurations(config: SfclHcmfConfig, table: str) -> dict[str, SfclHcmfConfig]:
    """What is trained for the rows of a table.

    Args:    config: of the full model. table: a key of `ROWS`.
    Returns: row → configuration.
    Raises:  ConfigError: the configuration lacks a part that is to be taken away.
    """
    for option, value in PARTS.items():
        found = getattr(config, option)
        if found != value:
            raise ConfigError(
                f"[config] {option} = {found!r}: this table takes the parts of the full model away one by "
                f"one, and needs {option} = {value!r}; leave it out of the configuration"
            )
    return {row: replace(config, **part.options) for row, part in ROWS[table].items()}


def _table(name: str, table: str, inputs: Inputs) -> Result:
    given, paper = study(inputs), f"{PAPER}, {table.lower()}"
    parts = ROWS[table]

    def blank(row: str, column: str) -> Row:
        return _row(table, row, parts[row], column)

    if given is None:
        rows = blank_rows(parts, blank, NEEDS)
        return Result(name, paper, tuple(rows), (COMPARISON, *contradictions(table)))
    whole = f"fold-1-of-{given.n_folds}"
    variants = {
        row: Variant(parts[row].cell or whole, config)
        for row, config in configurations(given.config, table).items()
    }
    found = ablation_table(given, variants, blank=blank, pairs=[(FULL, row) for row in parts if row != FULL])
    notes = (
        "One split and one seed: intervals tell of other test images, and not of another training.",
        found.described(given),
        networks(given.config),
        *contradictions(table),
        COMPARISON,
        INTERVALS,
        *multiplicity(found.rows),
        DECISION,
        chosen(inputs),
    )
    return Result(name, paper, tuple(found.rows), notes)


def contradictions(table: str) -> tuple[str, ...]:
    """Where tables 3 and 4 contradict each other or the text; each in a sentence.

    Args:    table: a key of `ROWS`.
    Returns: the sentences.
    """
    concat, off, neither = (
        f"{ablated(part.table, part.components).value:g}"
        for part in (ROWS[TABLE3]["without HCMF"], _OFF, ROWS[TABLE4]["neither FAAE nor HCMA"])
    )
    both = (
        f"The paper contradicts itself: the model without FAAE and HCMA has {concat} in table 3, where SBCM "
        f"and SIDA are kept, and {neither} in table 4, which is the {off} of table 3 with everything off. "
        "Both baselines are trained here, each as its name says."
    )
    return (both, *(claims("text 4.6") if table == TABLE3 else ()))


def _row(table: str, row: str, part: Part, column: str) -> Row:
    """A row without a measured value; the paper prints AUROC alone."""
    if column != "AUROC":
        return Row(row, column, note=NOT_IN_PAPER)
    elsewhere = f"printed in {part.table.lower()}" if part.table != table else ""
    return Row(row, column, share_of(ablated(part.table, part.components)), note=elsewhere)
