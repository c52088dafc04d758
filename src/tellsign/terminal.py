"""What people read on a terminal. Nothing that comes from a file moves the cursor."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tellsign.scoring.names import printable

if TYPE_CHECKING:
    from tellsign.scoring.looks import Row
    from tellsign.scoring.scan import Summary

# People never read the bare word real: nothing found is no proof.
WORDS = {"real": "no sign found", "fake": "FAKE", "uncertain": "can't tell", None: "failed"}
HEADER = f"{'verdict':<14} {'P(fake)':>7}  file"


def verdict_line(row: Row) -> str:
    """One row as a line of the table, with the reason where there is no verdict."""
    # The reason of "can't tell" is among the warnings where the input is to blame: a figure would be a guess.
    is_guess = row["label"] == "uncertain" and row["reason"] in row["warnings"]
    unknown = is_guess or row["probability"] is None
    probability = "      –" if unknown else f"{row['probability']:7.2f}"
    name = printable(row["path"])
    reasons = [row["error"]] if row["error"] else row["warnings"]
    note = f"  ({'; '.join(printable(reason) for reason in reasons)})" if reasons else ""
    return f"{WORDS[row['label']]:<14} {probability}  {name}{note}"


def summary_line(summary: Summary, skipped: int) -> str:
    """What a scan came to, in one line."""
    parts = [
        f"{summary.n} scanned",
        f"{summary.fake} fake",
        f"{summary.real} without a sign",
        f"{summary.uncertain} can't tell",
        f"{summary.failed} failed",
    ]
    if summary.unchanged:
        parts.append(f"{summary.unchanged} of them taken over unchanged")
    if skipped:
        parts.append(f"{skipped} passed over as neither image nor video")
    return ", ".join(parts)


def complain(text: str) -> None:
    """A message on standard error; it may have several lines, but nothing in it moves the cursor."""
    print("\n".join(printable(line) for line in f"tellsign: {text}".split("\n")), file=sys.stderr)


def complain_of(row: Row) -> None:
    """A failed input with its reason, on standard error."""
    complain(printable(f"{row['path']}: {row['error']}"))


@contextmanager
def progress(title: str, total: int | None, *, wanted: bool) -> Iterator[Callable[[], None]]:
    """A bar with rate and remaining time on standard error, for as long as the block runs.

    Args:    title: what is being done.
             total: steps, or None when nobody knows.
             wanted: False gives no bar at all.
    Returns: a function to call after each step.
    """
    if not wanted or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(TextColumn):
        """Steps a second."""

        def __init__(self) -> None:
            super().__init__("")

        def render(self, task: Any) -> Text:
            return Text(f"{task.speed or 0:.1f}/s")

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)
