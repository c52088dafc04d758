"""What every branch keeps of the subsets that it was trained on, and of the reals, stage by stage."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from tellsign.evaluate.cae_net.notes import backbones, chosen, scheduled, started
from tellsign.evaluate.cae_net.strategies import DISJOINT, REPEAT, strategy_cell
from tellsign.evaluate.cae_net.study import study
from tellsign.evaluate.cae_net.tables import PAPER
from tellsign.evaluate.comparisons import DECISION, NOT_IN_PAPER
from tellsign.evaluate.notes import trained
from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.study import NEEDS, attempted, first_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tellsign.evaluate.cells import Finished
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.systems.cae_net.stages import Retention

    Tables = Mapping[str, Mapping[str, Sequence[Retention]]]  # schedule → branch → a row a stage

SEEN, TO_COME = "trained on", "to come"


def retention(name: str, inputs: Inputs) -> Result:
    """The retention tables of the multistage schedule with repeated and with disjoint reals."""
    given = study(inputs)
    paper = f"{PAPER}, multistage training; its assumption of retained knowledge has no numbers there"
    if given is None:
        note = f"{NOT_IN_PAPER}; {NEEDS}"
        columns = tuple(f"{what} {known}" for what in ("subsets", "reals") for known in (SEEN, TO_COME))
        return Result(name, paper, tuple(Row(s, c, note=note) for s in (REPEAT, DISJOINT) for c in columns))
    found = {schedule: attempted(partial(strategy_cell, given, schedule)) for schedule in (REPEAT, DISJOINT)}
    first_error(list(found.values()))
    rows: list[Row] = []
    tables: dict[str, dict[str, list[Retention]]] = {}
    for schedule, cell in found.items():
        if isinstance(cell, str):
            rows.append(Row(schedule, f"reals {SEEN}", note=f"{NOT_IN_PAPER}; {cell}"))
            continue
        tables[schedule] = branch_tables(cell)
        for branch, stages in tables[schedule].items():
            title, disjoint = f"{schedule}, {branch}", schedule == DISJOINT
            rows += [row for stage in stages for row in stage_rows(title, stage, disjoint=disjoint)]
    cells = [cell for cell in found.values() if not isinstance(cell, str)]
    notes = (
        (
            "Shares of images called right after a stage: fakes of each subset of the training part, its "
            "reals, where stages part them those of each stage, and reals and fakes of the half of the "
            "validation part that chooses epochs. What was not trained on yet is to come."
        ),
        (
            "Between the schedules only validation reals compare: of the training's own all were trained on "
            "after the first stage where they repeat, and a part where they are disjoint. They are shares "
            "without an interval; what both schedules do to reals that chose nothing is in the table "
            "cae-net-balancing, whose trainings these are."
        ),
        f"{trained(given, cells)} Branches: {backbones(given.config)}; weights {started(given.config)}.",
        f"Schedules: {'; '.join(scheduled(cell.cell.config) for cell in cells)}.",
        chosen(inputs),
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


def stage_rows(row: str, stage: Retention, *, disjoint: bool) -> list[Row]:
    """One stage of a branch as rows.

    Args:    row: schedule and branch. stage: what was measured.
             disjoint: whether each stage has reals of its own.
    Returns: a row for each subset of the fakes, the reals, and the validation part.
    """
    title = f"{row}, stage {stage.stage}"
    shares = [
        (f"subset {number}, {known}", share, images)
        for number, known, share, images in _labelled(stage, stage.subsets, stage.n_subsets)
    ]
    shares += [
        (f"reals {number}, {known}", share, images)
        for number, known, share, images in _labelled(stage, stage.real_parts, stage.n_real_parts)
    ]
    if not disjoint:
        shares.append((f"reals, {SEEN}", stage.reals, f"{stage.n_reals} images"))
    elif not stage.real_parts:  # of a table that was written before they were told apart
        shares.append((f"reals, {SEEN} and {TO_COME} together", stage.reals, f"{stage.n_reals} images"))
    both = f"{stage.n_valid} images of both classes"
    n_reals = stage.n_valid_reals
    reals, fakes = (f"{n} images" if n_reals else both for n in (n_reals, stage.n_valid - n_reals))
    shares += [
        ("validation reals", stage.valid_reals, reals),
        ("validation fakes", stage.valid_fakes, fakes),
        ("validation AUROC", stage.valid_auroc, both),
    ]
    return [
        Row(title, column, reproduced=value, note=f"{NOT_IN_PAPER}; {images}")
        for column, value, images in shares
    ]


def _labelled(
    stage: Retention, shares: Sequence[float], numbers: Sequence[int]
) -> Iterator[tuple[int, str, float, str]]:
    """Number, whether it was trained on, share and images of each part; none where there are no parts."""
    for number, (share, n, seen) in enumerate(zip(shares, numbers, stage.seen, strict=False), start=1):
        yield number, SEEN if seen else TO_COME, share, f"{n} images"


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
    # The schedules have other curves of the reals.
    curves = {
        label: curve
        for axes in panels[:, 0]
        for curve, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    drawn.legend(
        list(curves.values()), list(curves), loc="outside right center", fontsize="small", frameon=False
    )
    return drawn


def _curves(axes: Any, stages: Sequence[Retention]) -> None:
    from tellsign.systems.cae_net.stages import real_curves

    numbers = [stage.stage for stage in stages]
    for index in range(len(stages[0].subsets) if stages else 0):
        values = [stage.subsets[index] for stage in stages]
        (curve,) = axes.plot(numbers, values, linewidth=1, label=f"fakes {index + 1}")
        colour = curve.get_color()
        fill = [colour if stage.seen[index] else "white" for stage in stages]
        axes.scatter(numbers, values, s=22, c=fill, edgecolors=colour, zorder=3)
    for label, style, values in real_curves(stages):
        axes.plot(numbers, values, style, label=label)
    axes.plot(numbers, [stage.valid_reals for stage in stages], "k:", label="validation reals")
    axes.set_xticks(numbers)
    axes.set_ylim(-0.03, 1.03)
