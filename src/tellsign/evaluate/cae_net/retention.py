"""What every branch keeps of the subsets that it was trained on, and of the reals, stage by stage."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from tellsign.evaluate.cae_net.strategies import DISJOINT, REPEAT, strategy_cell
from tellsign.evaluate.cae_net.study import NEEDS, attempted, first_error, study
from tellsign.evaluate.cae_net.tables import DECISION, NOT_IN_PAPER, PAPER, described
from tellsign.evaluate.reproduce import Result, Row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tellsign.evaluate.cae_net.cells import Finished
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.systems.cae_net.stages import Retention

    Tables = Mapping[str, Mapping[str, Sequence[Retention]]]  # schedule → branch → a row a stage


def retention(name: str, inputs: Inputs) -> Result:
    """The retention tables of the multistage schedule with repeated and with disjoint reals."""
    given = study(inputs)
    paper = f"{PAPER}, multistage training; its assumption of retained knowledge has no numbers there"
    if given is None:
        note = f"{NOT_IN_PAPER}; {NEEDS}"
        columns = ("subsets trained on", "subsets to come", "reals")
        return Result(name, paper, tuple(Row(s, c, note=note) for s in (REPEAT, DISJOINT) for c in columns))
    found = {schedule: attempted(partial(strategy_cell, given, schedule)) for schedule in (REPEAT, DISJOINT)}
    first_error(list(found.values()))
    rows: list[Row] = []
    tables: dict[str, dict[str, list[Retention]]] = {}
    for schedule, cell in found.items():
        if isinstance(cell, str):
            rows.append(Row(schedule, "reals", note=f"{NOT_IN_PAPER}; {cell}"))
            continue
        tables[schedule] = branch_tables(cell)
        for branch, stages in tables[schedule].items():
            rows += [row for stage in stages for row in stage_rows(f"{schedule}, {branch}", stage)]
    cells = [cell for cell in found.values() if not isinstance(cell, str)]
    notes = (
        (
            "Shares of images called right after a stage: fakes of each subset of the training part, its "
            "reals, and reals and fakes of the half of the validation part that chooses epochs. Subsets that "
            "were not trained on yet are to come. The training is that of the table cae-net-balancing."
        ),
        described(given, cells, compared=True),
        DECISION,
    )
    return Result(name, paper, tuple(rows), notes, figure=figure(tables))


def branch_tables(cell: Finished) -> dict[str, list[Retention]]:
    """The tables that a multistage training has left.

    Args:    cell: that is done.
    Returns: branch → a row a stage.
    Raises:  ManifestError: a table is damaged.
    """
    from tellsign.systems.cae_net.stages import TABLE, read_retention

    return {name: read_retention(cell.run / name / TABLE) for name in cell.cell.config.branches}


def stage_rows(row: str, stage: Retention) -> list[Row]:
    """One stage of a branch as rows.

    Args:    row: schedule and branch. stage: what was measured.
    Returns: a row for each subset, the reals, and the validation part.
    """
    title = f"{row}, stage {stage.stage}"
    shares: list[tuple[str, float, int]] = [
        (f"subset {number}, {'trained on' if seen else 'to come'}", share, n)
        for number, (share, n, seen) in enumerate(
            zip(stage.subsets, stage.n_subsets, stage.seen, strict=True), start=1
        )
    ]
    shares += [
        ("reals", stage.reals, stage.n_reals),
        ("validation reals", stage.valid_reals, 0),
        ("validation fakes", stage.valid_fakes, 0),
        ("validation AUROC", stage.valid_auroc, 0),
    ]
    return [
        Row(title, column, reproduced=value, note=f"{NOT_IN_PAPER}; {n} images" if n else NOT_IN_PAPER)
        for column, value, n in shares
    ]


def figure(tables: Tables) -> Any:
    """The tables as curves, a panel for each schedule and branch.

    Args:    tables: of `branch_tables`, by schedule.
    Returns: matplotlib.figure.Figure; filled marks are subsets that were trained on.
    """
    from matplotlib.figure import Figure

    n_columns = max(len(branches) for branches in tables.values())
    size = (3.6 * n_columns + 1.5, 3 * len(tables) + 0.5)
    drawn = Figure(figsize=size, layout="constrained")
    panels = drawn.subplots(len(tables), n_columns, squeeze=False, sharex=True, sharey=True)
    for line, (schedule, branches) in zip(panels, tables.items(), strict=True):
        for axes, (branch, stages) in zip(line, branches.items(), strict=True):
            _curves(axes, stages)
            axes.set_title(f"{schedule.removeprefix('multistage, ')}: {branch}", fontsize="medium")
    for axes in panels[-1]:
        axes.set_xlabel("after stage")
    for axes in panels[:, 0]:
        axes.set_ylabel("share called right")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside right center", fontsize="small", frameon=False)
    return drawn


def _curves(axes: Any, stages: Sequence[Retention]) -> None:
    numbers = [stage.stage for stage in stages]
    for index in range(len(stages[0].subsets) if stages else 0):
        values = [stage.subsets[index] for stage in stages]
        (curve,) = axes.plot(numbers, values, linewidth=1, label=f"fakes {index + 1}")
        colour = curve.get_color()
        fill = [colour if stage.seen[index] else "white" for stage in stages]
        axes.scatter(numbers, values, s=22, c=fill, edgecolors=colour, zorder=3)
    axes.plot(numbers, [stage.reals for stage in stages], "k--", label="reals")
    axes.plot(numbers, [stage.valid_reals for stage in stages], "k:", label="validation reals")
    axes.set_xticks(numbers)
    axes.set_ylim(-0.03, 1.03)
