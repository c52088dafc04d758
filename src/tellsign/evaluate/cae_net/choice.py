"""The images on which the small configuration was chosen, and what is left of a table without them.

A configuration that was chosen by the labels of test images flatters itself on these. They are known by
their checksums, in whatever fold of whatever manifest they are.

Shapes: N rows (test images).
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tellsign.evaluate.cae_net.study import configuration
from tellsign.evaluate.comparisons import NOT_IN_PAPER, difference_row, estimates, filled, rows_where
from tellsign.evaluate.reproduce import Row
from tellsign.evaluate.study import SPECTRUM
from tellsign.types import FAKE, REAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tellsign.evaluate.cells import Finished
    from tellsign.evaluate.comparisons import Pooled
    from tellsign.evaluate.study import Study
    from tellsign.types import FloatArray

FILE = Path(__file__).with_name("chosen_on.json")  # which says where they are from, too
N_DIGITS = 16  # of a checksum, in the file
REST = "AUROC, without the choosing images"


@lru_cache(maxsize=1)
def choosing_images() -> frozenset[str]:
    """The first digits of the SHA-256 of each image on which the small configuration was chosen."""
    found: list[str] = json.loads(FILE.read_text(encoding="utf-8"))["sha256"]
    return frozenset(found)


def unchosen(given: Study, cells: Sequence[Finished]) -> NDArray[np.bool_]:
    """Which test images the configuration was not chosen on.

    Args:    given: the study. cells: of its folds.
    Returns: (N,) one a row of the cells' scores; all of them of another configuration than the small one, of
             which nobody knows it.
    """
    is_small = given.config.decisive() == configuration(None).decisive()
    known = choosing_images() if is_small else frozenset()
    tested = (cell.cell.test[row] for cell in cells for row in cell.scores.rows.tolist())
    return np.array([sample.sha256[:N_DIGITS] not in known for sample in tested], dtype=bool)


def choice_note(kept: NDArray[np.bool_]) -> str:
    """How many test images the configuration was chosen on, to stand behind a sentence; empty for none.

    Args:    kept: (N,) of `unchosen`.
    Returns: a space and a sentence.
    """
    n = int((~kept).sum())
    return f" The configuration was chosen on {n} of these test images, where it flatters." if n else ""


def rest_rows(table: Pooled, spectrum: FloatArray | None, kept: NDArray[np.bool_]) -> list[Row]:
    """AUROC on what the configuration was not chosen on, and the difference to the spectrum detector there.

    Args:    table: the test rows. spectrum: (N,) scores of that detector; None: there are none.
             kept: (N,) of `unchosen`.
    Returns: rows of each column; none where every image is kept.
    """
    if kept.all():
        return []
    rest = rows_where(table, kept)
    if set(rest.labels.tolist()) != {REAL, FAKE}:
        return [Row(method, REST, note=f"{NOT_IN_PAPER}; a class is missing") for method in table.columns]
    beside = {} if spectrum is None else {SPECTRUM: spectrum}
    rows = [
        filled(Row(method, REST, note=NOT_IN_PAPER), estimates(rest, values[kept])["auroc"])
        for method, values in (table.columns | beside).items()
    ]
    if spectrum is not None:
        rows += [
            difference_row(rest, values[kept], spectrum[kept], (method, SPECTRUM), title=REST)
            for method, values in table.columns.items()
        ]
    return rows
