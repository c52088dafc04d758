"""Predictions → the cells of a benchmark's tables, each metric with its interval.

A cell is one metric of one detector on one test set under one perturbation or attack, over all samples, over
the fakes of one generator in one data set with its reals, or over one of its data sets; by frames (whatever
has a row) and by videos (`tellsign.evaluate.videos`) apart. Rows of one source (group, or video) are drawn
together in the bootstrap.

Shapes: N rows (predictions).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.evaluate.videos import videos
from tellsign.groups import sources
from tellsign.metrics import summary, with_missing
from tellsign.scoring.predictions import Predictions, read
from tellsign.types import FAKE, REAL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.evaluate.benchmark.contestants import Contestant
    from tellsign.evaluate.benchmark.sets import DataSet
    from tellsign.metrics import Missing

    Block = dict[str, Any]
    Selection = Callable[[Predictions], NDArray[np.bool_]]  # a table → (N,) which of its rows

FRAME, VIDEO = "frame", "video"
IN, CROSS, MIXED = "in", "cross", "mixed"  # whether a test set's data sets are those of the training


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """What the cells of one table of predictions are made from."""

    file: Path  # of the predictions
    head: Block  # keys that all cells share: detector, test, perturbation, attack, domain
    known: NDArray[np.bool_]  # (N,) rows that the detector learnt from, which no metric reads
    missing: Missing  # what becomes of rows without a score
    resamples: int
    seed: int
    clean: Path | None = None  # predictions of the same detector without the attack
    places: NDArray[np.int64] | None = None  # (N,) row of each in `clean`; a kept table's paths may be old
    is_detailed: bool = True  # whether generators and data sets are measured apart as well


def known_rows(test: DataSet, contestant: Contestant) -> NDArray[np.bool_]:
    """Rows that say nothing, since the detector learnt from their source.

    Args:    test: the samples, N of them.
             contestant: the detector; where it does not say what it learnt from, no row is known.
    Returns: (N,) True where the group (without one, the video), the file, or the file that it was harmonised
             from was in its training or validation split.
    """
    learnt, contents = contestant.groups or frozenset(), contestant.contents or frozenset()
    return np.array(
        [
            source in learnt or not contents.isdisjoint(test.contents(sample))
            for source, sample in zip(sources(test.manifest), test.manifest, strict=True)
        ],
        dtype=np.bool_,
    )


def domain(contestant: Contestant, datasets: Iterable[str]) -> str | None:
    """Whether a test set comes from the data sets that a detector learnt from.

    Args:    contestant: the detector.
             datasets: of the test set.
    Returns: in, cross, mixed where some do, or None where the detector does not say.
    """
    if contestant.datasets is None:
        return None
    shared = [(name or "unnamed") in contestant.datasets for name in set(datasets)]
    return IN if all(shared) else MIXED if any(shared) else CROSS


def measured(task: Measurement) -> list[Block]:
    """All cells of one table.

    Args:    task: what is measured.
    Returns: JSON-ready cells.
    Raises:  ConfigError: the table can't be read, or lacks scores although that is an error.
    """
    table = read(task.file)
    rows = table.take(~task.known)
    shared = {**task.head, "excluded": int(task.known.sum())}
    cells = []
    for level, part in levels(rows, task.missing):
        done: dict[bytes, list[Block]] = {}
        for names, chosen in _selections(part, is_detailed=task.is_detailed):
            mask = chosen(part)
            key = mask.tobytes()
            if key not in done:  # one generator alone is the whole, and is not measured twice
                share = _frame_share(rows, chosen) if level == VIDEO else {}
                done[key] = [{**cell, **share} for cell in _block(part.take(mask), task)]
            cells += [{**shared, "level": level, **names, **cell} for cell in done[key]]
    if task.clean is not None and task.places is not None:
        names = {"level": FRAME, "generator": None, "dataset": None}
        before = read(task.clean).take(task.places[~task.known])
        cells += [{**shared, **names, **cell} for cell in _attack_cells(rows, before, task)]
    return cells


def levels(rows: Predictions, missing: Missing) -> Iterator[tuple[str, Predictions]]:
    """The rows themselves, and where some are frames of videos, one row a video.

    Args:    rows: predictions.
             missing: what becomes of frames without a score.
    Returns: pairs of "frame" or "video" and a table.
    """
    yield FRAME, rows
    frames = rows.take(rows.video != "")
    if len(frames):
        yield VIDEO, videos(frames, missing).table


def averages(cells: Sequence[Block]) -> list[Block]:
    """The means over test sets, from the cells themselves.

    Args:    cells: of `measured`, of all tables.
    Returns: for each detector, perturbation, attack, level and metric the mean over all test sets, over those
             of its own data sets, and over the others; None where one of the values is.
    """
    columns: dict[tuple[str, ...], dict[str, list[Block]]] = {}
    for cell in cells:
        if cell["generator"] is None and cell["dataset"] is None:
            key = tuple(cell[name] for name in ("detector", "perturbation", "attack", "level", "metric"))
            for over in ("all", *([cell["domain"]] if cell["domain"] in (IN, CROSS) else [])):
                columns.setdefault(key, {}).setdefault(over, []).append(cell)
    found = []
    for (detector, perturbation, attack, level, metric), parts in columns.items():
        for over in [name for name in ("all", IN, CROSS) if name in parts]:
            values = [cell["value"] for cell in parts[over]]
            found.append(
                {
                    "detector": detector,
                    "perturbation": perturbation,
                    "attack": attack,
                    "level": level,
                    "metric": metric,
                    "over": over,
                    "tests": [cell["test"] for cell in parts[over]],
                    "value": None if None in values else fmean(values),
                }
            )
    return found


def _selections(rows: Predictions, *, is_detailed: bool) -> Iterator[tuple[Block, Selection]]:
    """All rows; the fakes of each generator with their reals; each data set that has both classes.

    A generator that several data sets have is measured in each of them apart, as `report` does: fakes of one
    against reals of another tell the data sets apart.
    """
    yield {"generator": None, "dataset": None}, lambda table: np.ones(len(table), dtype=np.bool_)
    if not is_detailed:
        return
    fake = rows.label == FAKE
    pairs = set(zip(rows.generator[fake].tolist(), rows.dataset[fake].tolist(), strict=True))
    uses = Counter(generator for generator, _ in pairs)
    for generator, name in sorted(pair for pair in pairs if pair[0]):
        names = {"generator": generator, "dataset": name if uses[generator] > 1 else None}
        yield names, partial(_with_reals, generator=generator, dataset=name)
    whole = [
        name for name in sorted(set(rows.dataset.tolist())) if len(set(rows.label[rows.dataset == name])) == 2
    ]
    if len(set(rows.dataset.tolist())) > 1:
        for name in whole:
            yield {"generator": None, "dataset": name}, partial(_of_dataset, dataset=name)


def _of_dataset(rows: Predictions, dataset: str) -> NDArray[np.bool_]:
    return np.asarray(rows.dataset == dataset)


def _with_reals(rows: Predictions, generator: str, dataset: str) -> NDArray[np.bool_]:
    """A generator's fakes of a data set with its reals, or with all where it has none."""
    real, inside = rows.label == REAL, rows.dataset == dataset
    own = real & inside
    return np.asarray((~real & inside & (rows.generator == generator)) | (own if own.any() else real))


def _frame_share(rows: Predictions, chosen: Selection) -> Block:
    """The share of the frames of a selection's videos that have a score."""
    frames = rows.take(rows.video != "")
    return {"frame_coverage": float((~np.isnan(frames.score[chosen(frames)])).mean())}


def _block(rows: Predictions, task: Measurement) -> list[Block]:
    """Every metric of some rows."""
    kept = with_missing(rows.label, rows.score, task.missing, probabilities=rows.probability, names=rows.path)
    known = kept.probabilities is not None and len(kept.rows) and not np.isnan(kept.probabilities).any()
    found = summary(
        kept.labels,
        kept.scores,
        threshold=rows.threshold,
        probabilities=kept.probabilities if known else None,
        groups=rows.source[kept.rows],
        n_resamples=task.resamples,
        seed=task.seed,
    )
    counts = _counts(rows, kept.n_missing)
    note = _lacking(kept.labels)
    return [
        {
            "metric": name,
            **({"value": None, "ci": None} if estimate is None else estimate.to_dict()),
            **counts,
            "note": (note or "undefined without probabilities") if estimate is None else "",
        }
        for name, estimate in found.items()
    ]


def _attack_cells(rows: Predictions, before: Predictions, task: Measurement) -> list[Block]:
    """Figures of the same samples before the attack, and the share of right decisions that flipped."""
    from tellsign.perturb.attacks.evaluation import outcome

    # With `worst` each table gets its own; without, both must have a score.
    one, other = (with_missing(part.label, part.score, task.missing) for part in (before, rows))
    shared, first, second = np.intersect1d(one.rows, other.rows, return_indices=True)
    # Without a row there is no value either, and a mean over test sets must know.
    values: dict[str, float | None] = dict.fromkeys(("clean_accuracy", "clean_auroc", "attack_success"))
    if len(shared):
        found = outcome(
            rows.label[shared],
            one.scores[first],
            other.scores[second],
            threshold=rows.threshold,
            attack=task.head["attack"],
        )
        values = {
            "clean_accuracy": found.clean_accuracy,
            "clean_auroc": found.clean_auroc,
            "attack_success": found.success,
        }
    counts = _counts(rows, len(rows) - len(shared))
    note = _lacking(rows.label[shared]) or "none was right before"
    return [
        {"metric": name, "value": value, "ci": None, **counts, "note": note if value is None else ""}
        for name, value in values.items()
    ]


def _counts(rows: Predictions, n_missing: int) -> Block:
    n = len(rows)
    return {
        "n": n,
        "n_real": int((rows.label == REAL).sum()),
        "n_fake": int((rows.label == FAKE).sum()),
        "scored": n - n_missing,
        "coverage": (n - n_missing) / n if n else None,
    }


def _lacking(labels: NDArray[np.int64]) -> str:
    """Which class nothing is left of."""
    lacks = [name for label, name in ((REAL, "real"), (FAKE, "fake")) if label not in labels]
    return f"no {' and no '.join(lacks)} sample is left" if lacks else ""


def blank(head: Block, reason: str) -> Block:
    """The cell of what can't be measured.

    Args:    head: detector, test, perturbation, attack, domain.
             reason: why there is no value.
    Returns: a cell of AUROC without a value.
    """
    names = {"level": FRAME, "generator": None, "dataset": None, "metric": "auroc", "value": None, "ci": None}
    counts = {"n": 0, "n_real": 0, "n_fake": 0, "scored": 0, "coverage": None}
    return {**head, "excluded": 0, **names, **counts, "note": reason}
