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
            f"### {markdown_text(self.title)}",
            "",
            *([markdown_text(self.caption), ""] if self.caption else []),
            "| " + " | ".join(map(markdown_text, (self.corner, *self.columns))) + " |",
            "|---" + "|---:" * len(self.columns) + "|",
        ]
        for name, values in self.rows:
            shown = (name, *(value.text() for value in values))
            lines.append("| " + " | ".join(map(markdown_text, shown)) + " |")
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
    means: Mapping[str, Sequence[str] | None] | None = None,
    caption: str = "",
    corner: str | None = None,
) -> Table:
    """Cells as a table of two of their keys.

    Args:    cells: of one metric, and one cell at most for each row and column.
             name, title, caption, corner: of the table.
             rows, columns: the keys, as strings; names appear in the order of the cells.
             means: name → domains of the cells over which a row's mean is added, None for all; there is no
             mean where one of them has no value, and no column where no row has a mean.
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
    own = {row: [places.get((row, column)) for column in column_names] for row in row_names}
    added = {head: [_mean(own[row], over) for row in row_names] for head, over in (means or {}).items()}
    added = {head: found for head, found in added.items() if any(v.value is not None for v in found)}
    lines = tuple(
        (row, (*map(_value, own[row]), *(found[place] for found in added.values())))
        for place, row in enumerate(row_names)
    )
    return Table(name, title, corner or rows, (*column_names, *added), lines, caption)


def _mean(cells: Sequence[Row | None], domains: Sequence[str] | None) -> Value:
    over = [cell for cell in cells if domains is None or (cell and cell.get("domain") in domains)]
    known = [cell["value"] for cell in over if cell and cell["value"] is not None]
    return Value(fmean(known) if known and len(known) == len(over) else None)


def _value(cell: Row | None) -> Value:
    if cell is None:
        return Value()
    if cell["value"] is None:
        return Value(note=cell.get("note") or "n/a")
    coverage = cell.get("coverage")
    notes = [cell["mark"]] if cell.get("mark") else []
    if coverage is not None and coverage < 1:
        notes.append(f"{coverage:.0%} scored")
    note = f"({', '.join(notes)})" if notes else ""
    return Value(cell["value"], tuple(cell["ci"]) if cell.get("ci") else None, note)


def select(cells: Iterable[Row], **wanted: Any) -> list[Row]:
    """The cells whose keys have these values; None also stands for a key that is not there."""
    return [cell for cell in cells if all(cell.get(key) == value for key, value in wanted.items())]


def markdown_text(text: str) -> str:
    """A text that is neither markup nor the end of a table's cell, in one line."""
    for character, safe in (("\\", "\\\\"), ("|", "\\|"), ("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, safe)
    return " ".join(text.split())


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
    "ε": r"$\varepsilon$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
