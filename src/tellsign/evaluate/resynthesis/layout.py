"""What the paper's tables hold: methods, columns, printed values, and averages worked out anew."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tellsign.evaluate.published import records, share_of
from tellsign.evaluate.reproduce import Row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tellsign.metrics import Estimate

KEY, PAPER = "resynthesis", "He, Yu, Keuper, Fritz, IJCAI 2021"
AVERAGE = "average"
ROUNDING = 0.001  # that explains a difference: half of the last digit, of the average and of its columns
AVERAGES = (
    "Averages are means of a row's columns. A printed one that is another number is marked with the mean of "
    "the columns that are printed beside it; a measured one is there when every column is."
)
# Method of the records → folder of its detector, which every way to re-synthesise has one more of.
DETECTORS = {
    "PRNU": "prnu",
    "Image": "image",
    "1D Spectrum": "spectrum",
    "FFT-2d": "fft2d",
    "DCT-2d": "dct2d",
    "GramNet": "gramnet",
}
PARTS = {"Ours (Pix)": "pixel", "Ours (Stage5)": "stage5", "Ours (Avg)": ""}  # "": the fused score
DEGRADATIONS = ("SR", "SR+C", "SR+D")


@dataclass(frozen=True, slots=True)
class Method:
    """A row of the tables."""

    title: str
    detector: str  # name of its folder
    part: str = ""  # of the detector's score; empty: the score itself


class Column(NamedTuple):
    """What a detector is trained and tested on."""

    train_set: str
    test_set: str
    variant: str  # Raw, +R, +E, +A or +P

    @property
    def title(self) -> str:
        """As a table shows it."""
        return f"{self.train_set} → {self.test_set}, {self.variant}"


Measured = dict[tuple[Method, Column], "Estimate | str"]  # or the reason why there is none


def method(title: str, degradation: str | None) -> Method:
    """The row of a record.

    Args:    title: the record's method. degradation: SR, SR+C or SR+D, of our methods.
    Returns: the row.
    """
    if degradation is None:
        return Method(title, DETECTORS[title])
    return Method(f"{title} {degradation}", f"resynthesis-{slug(degradation)}", PARTS[title])


def methods() -> tuple[Method, ...]:
    """All rows: the baselines, and each way to re-synthesise in pixels, in the fifth stage, and averaged."""
    own = (method(title, degradation) for degradation in DEGRADATIONS for title in PARTS)
    return (*(method(title, None) for title in DETECTORS), *own)


def slug(text: str) -> str:
    """A text as the name of a folder: lower-case letters and digits, dashes between them.

    Example:
        >>> slug("CelebA-HQ / ProGAN")
        'celeba-hq-progan'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def printed(table: str) -> dict[tuple[Method, Column], float]:
    """The accuracies that a table prints, row by row.

    Args:    table: as the records have it.
    Returns: (row, column) → share.
    """
    found = {}
    for record in records(KEY, table, metric="accuracy"):
        value = share_of(record)
        assert value is not None
        column = Column(str(record.train_set), str(record.test_set), str(record.variant))
        found[method(record.method, record.resynthesizer), column] = value
    return found


def printed_averages(table: str) -> dict[Method, float]:
    """The averages that a table prints, as shares."""
    found = {}
    for record in records(KEY, table, metric="accuracy_avg_printed"):
        value = share_of(record)
        assert value is not None
        found[method(record.method, record.resynthesizer)] = value
    return found


def table_rows(table: str, measured: Mapping[tuple[Method, Column], Estimate | str]) -> list[Row]:
    """A table, its measured values beside the printed ones.

    Args:    table: as the records have it.
             measured: value of a cell, or why it has none.
    Returns: a row of each cell, and behind those of a method its average.
    """
    values, averages = printed(table), printed_averages(table)
    rows: list[Row] = []
    for own in averages:
        columns = [column for method_, column in values if method_ == own]
        cells = [cell_row(own, one, values[own, one], measured) for one in columns]
        rows += [*cells, average_row(own, averages[own], cells)]
    return rows


def cell_row(
    own: Method,
    column: Column,
    published: float | None,
    measured: Mapping[tuple[Method, Column], Estimate | str],
    note: str = "",
) -> Row:
    """One cell.

    Args:    own: its row. column: its column. published: share, where it is printed.
             measured: as for `table_rows`. note: of the printed value.
    Returns: the cell; its note says why it has no measured value.
    """
    found = measured.get((own, column), "")
    if isinstance(found, str):
        return Row(own.title, column.title, published, note="; ".join(filter(None, (note, found))))
    ci = None if np.isnan(found.low) else (found.low, found.high)
    return Row(own.title, column.title, published, found.value, ci, note)


def average_row(own: Method, value: float, cells: Sequence[Row]) -> Row:
    """The average of a row's cells, and whether the printed one is theirs.

    Args:    own: the row. value: that is printed, a share. cells: the row's.
    Returns: the average of what was measured, where each cell was; a mark where the printed one is another.
    """
    mean = float(np.mean([cell.published for cell in cells if cell.published is not None]))
    agrees = abs(mean - value) < ROUNDING
    note = "" if agrees else f"printed {100 * value:.1f}, the mean of its columns is {100 * mean:.2f}"
    found = [cell.reproduced for cell in cells if cell.reproduced is not None]
    reproduced = float(np.mean(found)) if len(found) == len(cells) else None
    return Row(own.title, AVERAGE, value, reproduced, note=note)
