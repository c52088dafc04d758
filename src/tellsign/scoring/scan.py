"""Scores any number of files: paths in, rows out, in order, each input once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tellsign.scoring.names import escape
from tellsign.scoring.workers import Job, Limits, Pool

if TYPE_CHECKING:
    from pathlib import Path

    from tellsign.scoring.looks import Row
    from tellsign.scoring.scorer import Scorer
    from tellsign.scoring.store import Store


@dataclass(slots=True)
class Summary:
    """What a scan came to."""

    n: int = 0
    real: int = 0
    fake: int = 0
    uncertain: int = 0
    failed: int = 0
    unchanged: int = 0  # of n: taken over from an earlier run

    def count(self, row: Row) -> None:
        """Add one row."""
        self.n += 1
        name = row["label"] or "failed"
        setattr(self, name, getattr(self, name) + 1)


def scan(
    paths: Iterable[Path],
    scorer: Scorer,
    *,
    limits: Limits | None = None,
    store: Store | None = None,
    on_row: Callable[[Row], None] = lambda row: None,
) -> Summary:
    """Score files with worker processes.

    Args:    paths: files, taken lazily; with a store, one that comes twice is scored once.
             scorer: the detector; each worker loads its own copy from the same folder.
             limits: workers, batch size, time and memory.
             store: where rows are kept, and where those of an earlier run are taken from.
             on_row: called with every row, in the order of the paths.
    Returns: counts.
    Raises:  TellsignError: the detector can't be loaded by a worker.
    """
    summary = Summary()
    under_way: dict[str, Row | None] = {}  # path → its row of an earlier run, until its new one is there

    def jobs() -> Iterator[Job]:
        for path in paths:
            name = escape(path)
            if store is None:
                yield Job(path)
            elif name not in under_way and not store.seen(name):
                before = store.known(name)
                under_way[name] = before
                # What failed is tried again: with more memory or time, it may do.
                yield Job(path, before["sha256"] if before and before["error"] is None else None)

    with Pool(scorer.again, limits or Limits()) as pool:
        for job, result in pool.rows(jobs()):
            before = under_way.get(escape(job.path))
            if result is None:
                assert before is not None
                row = before
                summary.unchanged += 1
            else:
                row = scorer.empty_row(job.path, result) if isinstance(result, str) else result
            if store:
                store.put(row)
                del under_way[row["path"]]
            summary.count(row)
            on_row(row)
    return summary
