"""The cells of a benchmark in the order in which they are read: what was run, the tables, what they show.

Nothing is measured here. Shapes: n samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.calibration import reliability
from tellsign.evaluate.benchmark.config import NONE
from tellsign.evaluate.benchmark.page import Section
from tellsign.evaluate.benchmark.plots import matrix_plot, robustness_plot, roc, roc_plot, slug
from tellsign.evaluate.benchmark.tables import METRICS, Table, Value, pivot, select
from tellsign.explain.reliability import reliability_plot

if TYPE_CHECKING:
    from tellsign.evaluate.published import Published
    from tellsign.explain.figures import Plot
    from tellsign.scoring.predictions import Predictions

    Block = dict[str, Any]

WHOLE: Block = {"generator": None, "dataset": None}
PLAIN: Block = {"perturbation": NONE, "attack": NONE}
FRAME = "frame"
LEVELS = {FRAME: "images and frames", "video": "videos"}
PUBLISHED = "Published values"
MEANS = {"mean": None, "mean (in)": ["in"], "mean (cross)": ["cross"]}
IN_TABLES = ("auroc", "ap", "accuracy", "balanced_accuracy", "tpr_at_fpr_0.05", "eer", "ece", "brier")
ATTACK_METRICS = {
    "clean_accuracy": "Accuracy before the attack",
    "accuracy": "Accuracy under attack",
    "clean_auroc": "AUROC before the attack",
    "attack_success": "Share of right answers that flipped",
}


def sections(
    cells: Sequence[Block],
    comparisons: Sequence[Block],
    *,
    facts: Sequence[tuple[str, str]],
    plain: Mapping[tuple[str, str], Predictions],
    published: Sequence[Published] = (),
) -> list[Section]:
    """The page of a benchmark.

    Args:    cells, comparisons: as in benchmark.json.
             facts: what was run, as names and values.
             plain: (detector, test) → the predictions on images as they are, without samples that the
             detector learnt from, and with the scores that metrics read.
             published: values that stand beside, marked as published.
    Returns: its sections; those that nothing was run for are left out.
    """
    made = [
        Section("What was run", facts=tuple(facts)),
        replace(_by_test(cells, plain), see=PUBLISHED if published else ""),
        _by_generator(cells),
        _perturbed(cells),
        replace(_attacked(cells), see=PUBLISHED if any(r.epsilon is not None for r in published) else ""),
        _differences(comparisons),
        _correlations(comparisons),
        _calibration(plain),
        _published(published),
    ]
    return [section for section in made if section.tables or section.plots or section.facts]


def _by_test(cells: Sequence[Block], plain: Mapping[tuple[str, str], Predictions]) -> Section:
    tables = []
    for level, noun in LEVELS.items():
        for metric in IN_TABLES:
            found = select(cells, **WHOLE, **PLAIN, level=level, metric=metric)
            if any(cell["value"] is not None for cell in found):
                tables.append(
                    pivot(
                        [{**cell, "mark": cell["domain"] or ""} for cell in found],
                        name=f"tests-{level}-{slug(metric)}",
                        title=f"{METRICS[metric]}, {noun}",
                        rows="detector",
                        columns="test",
                        means=MEANS,
                    )
                )
    curves: dict[str, dict[str, Any]] = {}
    for (detector, test), rows in plain.items():
        if len(set(rows.label.tolist())) == 2:
            curves.setdefault(test, {})[detector] = roc(rows.label, rows.score)
    drawn = [
        matrix_plot(replace(_without_mean(table), name=f"{table.name}-matrix"))
        for table in tables
        if table.name.endswith("-auroc")
    ]
    return Section(
        "Detectors on test sets",
        "Images as they are in the test sets. “in” stands beside a test set of the data that a detector "
        "learnt from (other images of it), “cross” beside any other, “mixed” where it holds both. Means are "
        "over test sets, each counted once.",
        tables=tuple(tables),
        plots=(*drawn, *(roc_plot(test, found) for test, found in curves.items())),
    )


def _without_mean(table: Table) -> Table:
    keep = [place for place, column in enumerate(table.columns) if not column.startswith("mean")]
    return replace(
        table,
        columns=tuple(table.columns[place] for place in keep),
        rows=tuple((name, tuple(values[place] for place in keep)) for name, values in table.rows),
    )


def _by_generator(cells: Sequence[Block]) -> Section:
    found = [
        # The data set stands there where several have the generator.
        {
            **cell,
            "generator": f"{cell['test']}: {'/'.join(filter(None, (cell['dataset'], cell['generator'])))}",
        }
        for cell in select(cells, **PLAIN, level=FRAME, metric="auroc")
        if cell["generator"] is not None
    ]
    if not found:
        return Section("Generators")
    table = pivot(found, name="generators", title="AUROC by generator", rows="generator", columns="detector")
    return Section(
        "Generators",
        "The fakes of one generator against the reals of their data set, or of the test set where it has "
        "none.",
        tables=(table,),
        plots=(matrix_plot(replace(table, name="generators-matrix")),),
    )


def _perturbed(cells: Sequence[Block]) -> Section:
    tables, drawn = _graded(select(cells, **WHOLE, attack=NONE, metric="auroc"), by="perturbation")
    return Section(
        "Perturbations",
        "Every detector sees the same pixels. Both classes are perturbed, unless the name says fake@ or "
        "real@.",
        tables=tuple(tables),
        plots=tuple(drawn),
    )


def _attacked(cells: Sequence[Block]) -> Section:
    attacked = [cell for cell in select(cells, **WHOLE) if cell["attack"] != NONE]
    tables, drawn = _graded(select(attacked, metric="auroc"), by="attack")
    for metric, title in ATTACK_METRICS.items():
        for test, level, found in _parts(select(attacked, metric=metric)):
            tables.append(
                pivot(
                    found,
                    name=f"attacks-{level}-{slug(test)}-{slug(metric)}",
                    title=f"{title}, {LEVELS[level]}: {test}",
                    rows="attack",
                    columns="detector",
                )
            )
    return Section(
        "Attacks",
        "Pixels changed to turn the detector's answer, within the size that stands behind the attack's name "
        "(a share of the pixel range). Whether an attack only failed for want of a gradient is what "
        "`tellsign attack --masking` tests.",
        tables=tuple(tables),
        plots=tuple(drawn),
    )


def _graded(cells: Sequence[Block], *, by: str) -> tuple[list[Table], list[Plot]]:
    """AUROC by what was done to the images, and a curve for each operation of several strengths."""
    tables, drawn = [], []
    for test, level, part in _parts(cells):
        own = sorted(part, key=lambda cell: cell[by] != NONE)
        names = list(dict.fromkeys(cell[by] for cell in own))
        if names == [NONE]:
            continue
        tables.append(
            pivot(
                own,
                name=f"{by}s-{level}-{slug(test)}",
                title=f"AUROC by {by}, {LEVELS[level]}: {test}",
                rows=by,
                columns="detector",
            )
        )
        for operation in dict.fromkeys(name.partition(":")[0] for name in names if ":" in name):
            graded = [name for name in names if name == NONE or name.partition(":")[0] == operation]
            if len(graded) > 2:
                kept = [cell for cell in own if cell[by] in graded]
                table = pivot(kept, name="", title="", rows=by, columns="detector")
                where = test if level == FRAME else f"{test}, {LEVELS[level]}"
                drawn.append(robustness_plot(where, operation, table))
    return tables, drawn


def _parts(cells: Sequence[Block]) -> list[tuple[str, str, list[Block]]]:
    """The cells of each test set and level."""
    keys = dict.fromkeys((cell["test"], cell["level"]) for cell in cells)
    return [(test, level, select(cells, test=test, level=level)) for test, level in keys]


def _differences(comparisons: Sequence[Block]) -> Section:
    tables = []
    for level, noun in LEVELS.items():
        rows: dict[str, dict[str, Value]] = {}
        plain = [pair for pair in comparisons if pair["level"] == level and _is_plain(pair)]
        tests = list(dict.fromkeys(pair["test"] for pair in plain))
        for pair in plain:
            found = pair["differences"].get("auroc")
            name = f"{pair['first']} − {pair['second']}"
            rows.setdefault(name, {})[pair["test"]] = _difference(found, pair["delong"])
        if rows:
            lines = [(name, tuple(v.get(test, Value()) for test in tests)) for name, v in rows.items()]
            tables.append(
                Table(
                    f"differences-{level}",
                    f"Difference of AUROC, {noun}",
                    "pair",
                    tuple(tests),
                    tuple(lines),
                    "Paired bootstrap over groups, 95 %. Undecided: the interval holds zero. DeLong's test "
                    "stands beside where samples are independent. Each of these "
                    f"{sum(map(len, rows.values()))} verdicts is taken alone: between equal detectors, one "
                    "in twenty would name a better one.",
                )
            )
    return Section("Differences between detectors", tables=tuple(tables))


def _is_plain(pair: Block) -> bool:
    return bool(pair["perturbation"] == NONE and pair["attack"] == NONE)


def _difference(found: Block | None, delong: Block | None) -> Value:
    if found is None:
        return Value()
    note = found["verdict"] if delong is None else f"{found['verdict']}; DeLong p = {delong['p']:.3f}"
    return Value(found["value"], tuple(found["ci"]) if found["ci"] else None, note)


def _correlations(comparisons: Sequence[Block]) -> Section:
    plain = [pair for pair in comparisons if pair["level"] == "frame" and _is_plain(pair)]
    if not plain:
        return Section("Do the detectors agree?")
    pairs = [f"{pair['first']}, {pair['second']}" for pair in plain]
    tests = list(dict.fromkeys(pair["test"] for pair in plain))
    values = {(name, pair["test"]): _correlation(pair) for name, pair in zip(pairs, plain, strict=True)}
    table = Table(
        "correlation",
        "Rank correlation of scores",
        "pair",
        tuple(tests),
        tuple(
            (name, tuple(values.get((name, test), Value()) for test in tests))
            for name in dict.fromkeys(pairs)
        ),
        "Spearman, both classes together, and in brackets within the reals and within the fakes. Two good "
        "detectors correlate because both part the classes; those that correlate within a class fail "
        "together.",
    )
    return Section("Do the detectors agree?", tables=(table,))


def _correlation(pair: Block) -> Value:
    found = {part: (entry["spearman"] or {}).get("value") for part, entry in pair["correlations"].items()}
    within = ", ".join("n/a" if found[part] is None else f"{found[part]:.2f}" for part in ("real", "fake"))
    return Value(found["pooled"], note=f"({within})")


def _calibration(plain: Mapping[tuple[str, str], Predictions]) -> Section:
    drawn: list[Plot] = []
    for (detector, test), rows in plain.items():
        known = rows.take(np.isfinite(rows.probability))
        if len(known) >= 100 and len(set(known.label.tolist())) == 2:
            plot = reliability_plot(reliability(known.label, known.probability, groups=known.source.tolist()))
            drawn.append(
                replace(
                    plot, name=f"reliability-{slug(detector)}-{slug(test)}", title=f"{detector} on {test}"
                )
            )
    return Section(
        "Are the probabilities frequencies?",
        "Test sets of 100 images and more with both classes, images as they are.",
        plots=tuple(drawn),
    )


def _published(published: Sequence[Published]) -> Section:
    tables = []
    for paper, table in dict.fromkeys((record.paper, record.table) for record in published):
        found = [record for record in published if (record.paper, record.table) == (paper, table)]
        columns = list(dict.fromkeys(_column(record) for record in found))
        rows: dict[str, dict[str, Value]] = {}
        for record in found:
            rows.setdefault(_line(record), {})[_column(record)] = _printed(record)
        lines = [(name, tuple(values.get(c, Value()) for c in columns)) for name, values in rows.items()]
        tables.append(
            Table(
                f"published-{slug(paper)}-{slug(table)}",
                f"{paper}, {table}",
                "method",
                tuple(columns),
                tuple(lines),
            )
        )
    return Section(
        PUBLISHED,
        "As printed in the papers, on their data and in their units. They were not measured here and cannot "
        "be compared number by number with the tables above.",
        tables=tuple(tables),
    )


def _printed(record: Published) -> Value:
    if record.value is None:
        return Value(note="– (published)")
    if isinstance(record.value, tuple):
        return Value(note=f"{' to '.join(map(str, record.value))} (published)")
    return Value(record.value, note="published")


def _line(record: Published) -> str:
    """What tells a row of a paper's table from the others."""
    parts = (record.variant, record.resynthesizer, record.mode, record.version, record.source, record.year)
    counts = [f"{record.n_samples} samples"] if record.n_samples is not None else []
    more = [f"ε {record.epsilon}"] if record.epsilon is not None else []
    more += [name for name, used in (record.components or {}).items() if used]
    return ", ".join([record.method, *(str(part) for part in parts if part), *counts, *more])


def _column(record: Published) -> str:
    return " / ".join(filter(None, (record.train_set, record.test_set, record.metric, record.unit)))
