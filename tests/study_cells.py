"""Cells of a study that were never trained: images without files, and scores that a test knows."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.data import Manifest
from tellsign.evaluate.study import Study
from tellsign.types import FAKE, REAL, Sample

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tellsign.evaluate.cells import Finished
    from tellsign.evaluate.reproduce import Result


def made(n: int = 60, dataset: str = "set") -> Manifest:
    """n reals and n fakes, two a group, without files, whose checksums are therefore given."""
    return Manifest(
        tuple(
            Sample(
                Path(f"{dataset}/{name}/{i}.png"),
                label,
                dataset,
                "gan" if label else "",
                f"{dataset}{name}{i // 2}",
                sha256=sha256(f"{dataset}{name}{i}".encode()).hexdigest(),
            )
            for label, name in ((REAL, "r"), (FAKE, "f"))
            for i in range(n)
        )
    )


def stand_in(monkeypatch: pytest.MonkeyPatch, finished: Callable[[Any], Finished]) -> list[Any]:
    """Have cells finished in place of trained, and the spectrum detector be right now and then.

    Args:    monkeypatch: of the test. finished: a cell → what it came to.
    Returns: the cells that are asked for, as they come.
    """
    asked = []

    def finished_cell(cell: Any, root: Path, *, say: Any) -> Finished:
        asked.append(cell)
        return finished(cell)

    def spectrum(self: Study, fold: int) -> Any:
        labels = np.array(self.folds[fold - 1].test.labels)
        return labels + np.random.default_rng(fold).normal(scale=0.9, size=len(labels))

    monkeypatch.setattr("tellsign.evaluate.study.finished_cell", finished_cell)
    monkeypatch.setattr(Study, "spectrum_scores", spectrum)
    return asked


def rows_of(result: Result) -> dict[tuple[str, str], Any]:
    """The rows of a table by their names and columns."""
    return {(row.row, row.column): row for row in result.rows}
