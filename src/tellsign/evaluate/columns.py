"""Aligned columns of plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tellsign.scoring.names import printable

if TYPE_CHECKING:
    from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], *, n_left: int) -> list[str]:
    """Rows of cells as lines of equal columns.

    Args:    rows: cells, as many in each row; what cannot be printed is escaped.
             n_left: columns that are flush left; the others are flush right.
    Returns: one line a row.

    Example:
        >>> aligned([("a", "10"), ("bb", "9")], n_left=1)
        ['a   10', 'bb   9']
    """
    printed = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*printed, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column < n_left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in printed
    ]
