"""What a training has gone through: the journal, and what people read of it while it runs.

The journal is a part of every checkpoint, so that the record of a resumed run is that of one without a break.
`log.csv` and `log.json` hold its rows, and are replaced as the run goes on.
Epochs are counted from 0 inside, and from 1 in all that people read.
"""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tellsign.durable import write_file
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.data import Manifest
    from tellsign.engine.task import Best, Step

Row = dict[str, Any]

LOG, JSON_LOG = "log.csv", "log.json"
COLUMNS = (
    "event", "epoch", "step", "learning_rate", "loss", "valid_loss", "valid_auroc", "valid_accuracy", "n",
    "n_skipped", "seconds", "training_seconds", "images_per_second", "waiting", "weights", "note",
)  # fmt: skip
VALID = "valid_"  # before the names of what is measured
RATE = "learning_rate_"  # before the name of an optimiser, where there are several
SHOWN = {"auroc": "AUROC", "psnr": "PSNR", "ssim": "SSIM"}  # names of measures, for people
POINTS = 50  # of the training loss in the curves, an epoch
WORK_SHARE = 0.02  # of the time that may go into writing checkpoints, and into drawing


def require_finite(step: Step, training: Manifest, *, where: str) -> None:
    """Stop at a loss or a gradient that is not finite.

    Args:    step: that was made. training: its images. where: epoch and step, for the message.
    Raises:  ConfigError: it is not finite; the rows are named, unless it is all of them.
    """
    before = "The weights of the last checkpoint are from before"
    if not math.isfinite(step.gradient):
        raise ConfigError(
            f"the gradient is {step.gradient} at {where}, where the loss is finite: lower learning_rate, or "
            f'take precision = "float32" if it is not. {before}'
        )
    if math.isfinite(step.loss):
        return
    if len(step.rows) == step.n > 1:
        raise ConfigError(
            f"the loss is {step.loss} at {where}, for each of its {step.n} images, so that the network is to "
            f"blame and not one of them: lower learning_rate or set clip_norm. {before}"
        )
    rows = ", ".join(f"{row} ({str(training[row].path)!a})" for row in step.rows[:5])
    more = f" and {len(step.rows) - 5} more" if len(step.rows) > 5 else ""
    raise ConfigError(
        f"the loss is {step.loss} at {where}, for the rows {rows or 'together'}{more} of the training split: "
        f"lower learning_rate, set clip_norm, or look at these images. {before}"
    )


def require_finite_values(values: Mapping[str, float], *, where: str) -> None:
    """Stop where what an epoch came to is not finite.

    Args:    values: that were measured. where: epoch, for the message.
    Raises:  ConfigError: one is not finite.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise ConfigError(
                f"{SHOWN.get(name, name)} is {value} at {where}: lower learning_rate or set clip_norm, or "
                "look at how it is measured; the last checkpoint is from before"
            )


@dataclass(slots=True)
class Journal:
    """Where a training stands, and all that happened."""

    epoch: int = 0  # epochs that are done
    step: int = 0  # steps of the current one that are done
    steps: int = 0  # steps of all epochs that are done
    n: int = 0  # images of the current epoch
    loss: float = 0.0  # sum over them
    figures: dict[str, float] = field(default_factory=dict)  # sums over them
    seconds: float = 0.0  # in the current epoch
    training_seconds: float = 0.0  # of these, in its steps, without validation and checkpoints
    waited: float = 0.0  # of these, for images
    since: list[float] = field(default_factory=lambda: [0, 0.0])  # images and their loss since the last point
    points: list[list[float]] = field(default_factory=list)  # [steps, mean training loss up to it]
    since_figures: dict[str, float] = field(default_factory=dict)  # sums since the last point
    figure_points: dict[str, list[list[float]]] = field(default_factory=dict)  # of each figure, as `points`
    rows: list[Row] = field(default_factory=list)  # of the log: epochs, skipped images, what else happened
    best: Row | None = None  # the best epoch's row

    @property
    def history(self) -> list[Row]:
        """The rows of the epochs."""
        return [row for row in self.rows if row["event"] == "epoch"]

    @property
    def skipped(self) -> list[Row]:
        """The rows of the images that were left out."""
        return [row for row in self.rows if row["event"] == "skipped"]

    def count(self, step: Step, *, seconds: float, waited: float, n_steps: int) -> None:
        """Add a step.

        Args:    step: what it came to.
                 seconds: that it took. waited: seconds of the epoch so far in which there were no images.
                 n_steps: of an epoch.
        """
        self.step += 1
        self.steps += 1
        self.n += step.n
        self.loss += step.loss
        for name, value in step.figures.items():
            self.figures[name] = self.figures.get(name, 0.0) + value
            self.since_figures[name] = self.since_figures.get(name, 0.0) + value
        self.seconds += seconds
        self.training_seconds += seconds
        self.waited = waited
        self.since = [self.since[0] + step.n, self.since[1] + step.loss]
        if (self.step % math.ceil(n_steps / POINTS) == 0 or self.step == n_steps) and self.since[0]:
            n, loss = self.since
            self.points.append([self.steps, loss / n])
            for name, value in self.since_figures.items():
                self.figure_points.setdefault(name, []).append([self.steps, value / n])
            self.since, self.since_figures = [0, 0.0], {}

    def close_epoch(
        self, measured: Mapping[str, float], *, learning_rates: Mapping[str, float], weights: str, best: Best
    ) -> bool:
        """Add the row of an epoch and begin the next.

        Args:    measured: name → value, on the validation split.
                 learning_rates: of its last step, by name of the optimiser. weights: their digest.
                 best: which epoch is the best; without any measure the last one is.
        Returns: whether it is the best so far.
        """
        self.epoch += 1
        row: Row = {
            "event": "epoch",
            "epoch": self.epoch,
            "step": self.steps,
            "learning_rate": next(iter(learning_rates.values())),
            "loss": self.loss / self.n if self.n else math.nan,
            **{f"{VALID}{name}": value for name, value in measured.items()},
            "n": self.n,
            "n_skipped": len(self.skipped),
            "seconds": self.seconds,
            "training_seconds": self.training_seconds,
            "images_per_second": self.n / self.training_seconds if self.training_seconds else math.nan,
            "waiting": self.waited / self.training_seconds if self.training_seconds else 0.0,
            "weights": weights,
            **{name: value / self.n for name, value in self.figures.items() if self.n},
        }
        if len(learning_rates) > 1:
            row |= {f"{RATE}{name}": rate for name, rate in learning_rates.items()}
        self.rows.append(row)
        self.step, self.n, self.loss, self.figures = 0, 0, 0.0, {}
        self.seconds = self.training_seconds = self.waited = 0.0

        def rank(row: Row) -> list[float]:
            return [(-1 if which == "lowest" else 1) * row[f"{VALID}{name}"] for name, which in best.items()]

        is_best = self.best is None or not best or rank(row) > rank(self.best)
        if is_best:
            self.best = row
        return is_best

    def skip(self, split: str, bad: Mapping[int, tuple[str, str]]) -> list[Row]:
        """Add rows for images that were left out, each once.

        Args:    split: train or valid. bad: row of its manifest → path and reason.
        Returns: the new rows.
        """
        known = {(row["split"], row["row"]) for row in self.skipped}
        new = [
            self.note("skipped", f"{path}: {reason}", split=split, row=row, path=path, reason=reason)
            for row, (path, reason) in bad.items()
            if (split, row) not in known
        ]
        self.rows.extend(new)
        return new

    def note(self, event: str, text: str, **more: Any) -> Row:
        """A row of the log for something that happened now; the caller adds it to `rows`."""
        return {"event": event, "epoch": self.epoch + 1, "step": self.steps, "note": text, **more}

    def is_over(self, epochs: int, patience: int) -> bool:
        """Whether all epochs are done, or `patience` of them have brought nothing better."""
        best = self.best["epoch"] if self.best else self.epoch
        return self.epoch >= epochs or (patience > 0 and self.epoch - best >= patience)

    def total_seconds(self) -> float:
        """Of all epochs, as far as they are recorded."""
        return math.fsum(row["seconds"] for row in self.history) + self.seconds

    def waiting(self) -> float:
        """The share of the time of all steps in which the network had no images."""
        # Rows that a run wrote before there was this column have the whole time alone.
        name = "training_seconds"
        rows = [(row[name if name in row else "seconds"], row["waiting"]) for row in self.history]
        seconds = math.fsum(seconds for seconds, _ in rows) + self.training_seconds
        waited = math.fsum(seconds * share for seconds, share in rows) + self.waited
        return waited / seconds if seconds else 0.0


@dataclass(slots=True)
class Cadence:
    """When something that takes time is done again: no more than its share of the time goes into it."""

    seconds: float  # between two times, at least; 0: always
    last: float = field(default_factory=time.monotonic)  # when it was done
    cost: float = 0.0  # seconds that it took then

    def is_due(self) -> bool:
        """Whether it is time."""
        wait = max(self.seconds, self.cost / WORK_SHARE) if self.seconds else 0.0
        return time.monotonic() - self.last >= wait

    @contextmanager
    def done(self) -> Iterator[None]:
        """The block does it."""
        begun = time.monotonic()
        yield
        self.last = time.monotonic()
        self.cost = self.last - begun


def progress_line(journal: Journal, *, epochs: int, n_steps: int) -> str:
    """Where a training stands, in a line.

    Args:    journal: of the run. epochs: at most. n_steps: of an epoch.
    Returns: epoch, step, mean loss of the epoch so far, images a second, remaining time, share of waiting.
    """
    seconds, n = max(journal.training_seconds, 1e-9), max(journal.n, 1)
    left = journal.total_seconds() / max(journal.steps, 1) * (epochs * n_steps - journal.steps)
    return (
        f"epoch {journal.epoch + 1} of {epochs}, step {journal.step} of {n_steps}: "
        f"loss {journal.loss / n:.4f}, {journal.n / seconds:.1f} images/s, {clock(left)} left, "
        f"{journal.waited / seconds:.0%} waiting for images"
    )


def epoch_line(row: Row, *, epochs: int, is_best: bool) -> str:
    """What an epoch came to, in a line.

    Args:    row: of the log. epochs: at most. is_best: whether it is the best so far.
    Returns: losses, what was measured, time.
    """
    figures = "".join(f", {name} {row[name]:.4f}" for name in figure_names(row))
    found = ", ".join(f"{SHOWN.get(name, name)} {value:.4f}" for name, value in measures(row).items())
    return (
        f"epoch {row['epoch']} of {epochs}: loss {row['loss']:.4f}{figures}"
        f"{found and f'; validation: {found}'}"
        f"{', the best so far' if is_best else ''}; {clock(row['seconds'])}, "
        f"{row['images_per_second']:.1f} images/s, {row['waiting']:.0%} waiting for images"
    )


def measures(row: Row) -> dict[str, float]:
    """What was measured at the end of an epoch, by name: of a row of the log."""
    return {name.removeprefix(VALID): value for name, value in row.items() if name.startswith(VALID)}


def figure_names(row: Row) -> list[str]:
    """The names of the losses' figures in a row of the log."""
    return [name for name in row if name not in COLUMNS and not name.startswith((VALID, RATE))]


def clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds: 3725 → 1:02:05."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def write_logs(run: Path, journal: Journal) -> None:
    """Replace log.csv and log.json.

    Args:    run: the run folder. journal: what they tell.
    Raises:  OSError: they can't be written.
    """
    found = {name: None for row in journal.rows for name in row}
    columns = [name for name in COLUMNS if name in found or not name.startswith(VALID)]
    more = [name for name in found if name not in COLUMNS]
    text = io.StringIO()
    writer = csv.DictWriter(text, (*columns, *more), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(journal.rows)
    write_file(run / LOG, text.getvalue().encode("utf-8", "surrogateescape"), lasting=False)
    content = {
        "epochs": journal.history,
        "best": journal.best,
        "skipped": journal.skipped,
        "events": [row for row in journal.rows if row["event"] not in ("epoch", "skipped")],
        "points": journal.points,
        "figures": journal.figure_points,
        "seconds": journal.total_seconds(),
        "waiting": journal.waiting(),
    }
    write_file(run / JSON_LOG, (json.dumps(content, indent=1) + "\n").encode("ascii"), lasting=False)
