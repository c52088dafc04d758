"""A benchmark's cells as tables, in Markdown, CSV and LaTeX.

Every table is a view of the same cells: nothing is computed here but the mean over columns, and that only
where all of them have a value.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

Row = dict[str, Any]  # a cell of the benchmark
NO_PERTURBATION = "none"

# How metrics are called, whether they are shares that read best in percent, and in which order they come.
METRICS = {
    "auroc": "AUROC",
    "ap": "AP",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "eer": "EER",
    "tpr_at_fpr_0.05": "TPR at FPR 5 %",
    "fpr": "FPR",
    "ece": "ECE",
    "brier": "Brier score",
}


@dataclass(frozen=True, slots=True)
class Value:
    """One number of a table, or why there is none."""

    value: float | None = None
    ci: tuple[float, float] | None = None  # 95 %
    note: str = ""  # shown in its place where there is no value, behind it where there is one

    def text(self) -> str:
        """0.659 [0.594, 0.725], or the note."""
        if self.value is None:
            return self.note or "n/a"
        number = f"{self.value:.3f}".replace("-", "−")
        return " ".join(filter(None, (number, self.interval(), self.note)))

    def interval(self) -> str:
        """[0.594, 0.725], or nothing."""
        if self.ci is None:
            return ""
        return f"[{self.ci[0]:.3f}, {self.ci[1]:.3f}]".replace("-", "−")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows by columns."""

    name: str  # of its files
    title: str
    corner: str  # what the rows are
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Value, ...]], ...]
    caption: str = ""

    def markdown(self) -> str:
        """As a Markdown section."""
        lines = [
            f"### {self.title}",
            "",
            *([self.caption, ""] if self.caption else []),
            "| " + " | ".join(map(_cell, (self.corner, *self.columns))) + " |",
            "|---" + "|---:" * len(self.columns) + "|",
        ]
        for name, values in self.rows:
            lines.append("| " + " | ".join([_cell(name), *(_cell(v.text()) for v in values)]) + " |")
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """One line a value: row, column, value, low, high, note. Numbers are not rounded."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["row", "column", "value", "low", "high", "note"])
        for name, values in self.rows:
            for column, value in zip(self.columns, values, strict=True):
                low, high = value.ci or ("", "")
                number = "" if value.value is None else value.value
                writer.writerow([_inert(name), _inert(column), number, low, high, _inert(value.note)])
        return stream.getvalue()

    def latex(self) -> str:
        """A `table` with a `tabular` in it, for booktabs."""
        lines = [
            r"\begin{table}",
            rf"\caption{{{_latex(self.title + '. ' + self.caption if self.caption else self.title)}}}",
            rf"\label{{tab:{re.sub(r'[^A-Za-z0-9:-]', '-', self.name)}}}",
            rf"\begin{{tabular}}{{l{'r' * len(self.columns)}}}",
            r"\toprule",
            " & ".join(map(_latex, (self.corner, *self.columns))) + r" \\",
            r"\midrule",
        ]
        for name, values in self.rows:
            cells = [_latex(value.text()) for value in values]
            lines.append(" & ".join([_latex(name), *cells]) + r" \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def pivot(
    cells: Sequence[Row],
    *,
    name: str,
    title: str,
    rows: str,
    columns: str,
    means: Mapping[str, Sequence[str]] | None = None,
    caption: str = "",
    corner: str | None = None,
) -> Table:
    """Cells as a table of two of their keys.

    Args:    cells: of one metric, and one cell at most for each row and column.
             name, title, caption, corner: of the table.
             rows, columns: the keys, as strings; names appear in the order of the cells.
             means: name → columns over which a mean is added, for rows that have a value in all of them.
    Returns: the table; n/a stands where there is no cell.
    Raises:  ValueError: two cells want one place.
    """
    row_names = list(dict.fromkeys(cell[rows] for cell in cells))
    column_names = list(dict.fromkeys(cell[columns] for cell in cells))
    places: dict[tuple[str, str], Row] = {}
    for cell in cells:
        place = (cell[rows], cell[columns])
        if place in places:
            raise ValueError(f"two cells for row {place[0]!r} and column {place[1]!r} of {name}")
        places[place] = cell
    lines = []
    for row in row_names:
        values = [_value(places.get((row, column))) for column in column_names]
        by_column = dict(zip(column_names, (value.value for value in values), strict=True))
        values += [_mean([by_column[column] for column in over]) for over in (means or {}).values()]
        lines.append((row, tuple(values)))
    heads = [*column_names, *(means or {})]
    return Table(name, title, corner or rows, tuple(heads), tuple(lines), caption)


def _mean(values: Sequence[float | None]) -> Value:
    known = [value for value in values if value is not None]
    return Value(fmean(known) if known and len(known) == len(values) else None)


def _value(cell: Row | None) -> Value:
    if cell is None:
        return Value()
    if cell["value"] is None:
        return Value(note=cell.get("note") or "n/a")
    coverage = cell.get("coverage")
    partial = "" if coverage is None or coverage >= 1 else f"({coverage:.0%} scored)"
    return Value(cell["value"], tuple(cell["ci"]) if cell.get("ci") else None, partial)


def select(cells: Iterable[Row], **wanted: Any) -> list[Row]:
    """The cells whose keys have these values; None also stands for a key that is not there."""
    return [cell for cell in cells if all(cell.get(key) == value for key, value in wanted.items())]


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _inert(text: str) -> str:
    """No spreadsheet takes it for a formula."""
    return "'" + text if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{c: "\\" + c for c in "&%$#_{}"},
    "×": r"$\times$",
    "−": "$-$",
    "–": "--",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
