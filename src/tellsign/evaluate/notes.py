"""What the tables of a system that trains say of themselves: where, for how long, how far to believe them."""

from __future__ import annotations

import json
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tellsign.data import Manifest
    from tellsign.evaluate.cells import Finished
    from tellsign.evaluate.reproduce import Row
    from tellsign.evaluate.study import Study


def tested_on(given: Study, cells: Sequence[Finished]) -> str:
    """Which images the rows are of, in a sentence.

    Args:    given: the study. cells: of its folds.
    Returns: the sentence.
    """
    n = sum(len(cell.scores.rows) for cell in cells)
    lost = sum(cell.record["left_out"] for cell in cells)
    left_out = f"; {lost} images could not be used" if lost else ""
    ways = f"all {len(cells)} folds" if len(cells) > 1 else f"fold 1 of {given.n_folds}"
    return f"Test images: {n} of {ways}, no group in training and test{left_out}."


def trained(given: Study, cells: Sequence[Finished]) -> str:
    """How long all trainings took, and on which machine, in a sentence."""
    seconds = sum(cell.record["seconds"]["trainings"] for cell in cells)
    detectors = f"{len(cells)} detectors" if len(cells) > 1 else "1 detector"
    return f"Seed {given.seed}; {detectors} trained in {seconds:.0f} s on {machines(cells)}."


def machines(cells: Iterable[Finished]) -> str:
    """What the trainings ran on, as their run folders say.

    Args:    cells: that are done.
    Returns: device and threads, of several machines one after the other.
    """
    from tellsign.engine.folder import RUN

    found = set()
    for file in (file for cell in cells for file in cell.run.rglob(RUN)):
        try:
            at = json.loads(file.read_bytes())["versions"]
            processes = f" in each of {at['processes']} processes" if at["processes"] > 1 else ""
            found.add(f"{at['device']} with {at['threads']} threads{processes}")
        except (OSError, ValueError, KeyError, TypeError):  # the scores are none the worse for it
            continue
    return ", ".join(sorted(found)) or "a machine of which there is no record"


def head(file: Path, name: str) -> str:
    """What the head of a configuration file says of it, such as on which images it was chosen.

    Args:    file: TOML. name: that a reader knows it by.
    Returns: a sentence with its first lines, as far as they are comments.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    text = " ".join(line.removeprefix("#").strip() for line in takewhile(lambda one: one[:1] == "#", lines))
    if not text:
        return f"The configuration, {name}, does not say on which images it was chosen."
    return f"The configuration, {name}, says of itself: {text}"


def seen_before(manifest: Manifest, others: Manifest | None) -> tuple[str, ...]:
    """A warning where images of other sources are among those that are trained and tested on.

    Args:    manifest: the latter. others: of other sources; both with checksums.
    Returns: one sentence, or none.
    """
    known = {sample.sha256 for sample in manifest}
    n = sum(sample.sha256 in known for sample in others or ())
    if not n:
        return ()
    return (
        (
            f"{n} images of the other sources are in the manifest too, where detectors may have learnt "
            "them: their rows flatter. Take them out of --others."
        ),
    )


def multiplicity(rows: Iterable[Row]) -> tuple[str, ...]:
    """How many of a table's verdicts chance alone would give.

    Args:    rows: of the table.
    Returns: one sentence, or none where nothing or one thing is judged.
    """
    n = sum(row.column.endswith("difference") and row.ci is not None for row in rows)
    if n < 2:
        return ()
    return (
        (
            f"{n} differences, each judged at 95 %: of differences that are none in truth about one in "
            "twenty would look decided by chance alone."
        ),
    )
