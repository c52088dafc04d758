"""What a training has gone through: the journal, and what people read of it while it runs.

The journal is a part of every checkpoint, so that the record of a resumed run is that of one without a break.
`log.csv` and `log.json` hold its rows, `curves.png` draws them; all three are replaced as the run goes on.
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
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from tellsign.data import Manifest

Row = dict[str, Any]

LOG, JSON_LOG, CURVES = "log.csv", "log.json", "curves.png"
COLUMNS = (
    "event", "epoch", "step", "learning_rate", "loss", "valid_loss", "valid_auroc", "valid_accuracy", "n",
    "n_skipped", "seconds", "training_seconds", "images_per_second", "waiting", "weights", "note",
)  # fmt: skip
POINTS = 50  # of the training loss in the curves, an epoch
WORK_SHARE = 0.02  # of the time that may go into writing checkpoints, and into drawing
INK, MUTED, RULE, PAPER, BLUE, VERMILION = "#1c2127", "#59636e", "#d3d8dd", "#fffffe", "#0a5c99", "#b0440c"


@dataclass(frozen=True, slots=True)
class Step:
    """What one step came to, over all processes."""

    n: int  # images
    loss: float  # sum over them
    figures: dict[str, float] = field(default_factory=dict)  # of the loss function, sums over them
    rows: tuple[int, ...] = ()  # whose loss is not finite
    gradient: float = 0.0  # its norm where that is not finite


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
        self.seconds += seconds
        self.training_seconds += seconds
        self.waited = waited
        self.since = [self.since[0] + step.n, self.since[1] + step.loss]
        if (self.step % math.ceil(n_steps / POINTS) == 0 or self.step == n_steps) and self.since[0]:
            self.points.append([self.steps, self.since[1] / self.since[0]])
            self.since = [0, 0.0]

    def close_epoch(self, measured: Mapping[str, float], *, learning_rate: float, weights: str) -> bool:
        """Add the row of an epoch and begin the next.

        Args:    measured: on the validation split: auroc, accuracy, loss.
                 learning_rate: of its last step. weights: their digest.
        Returns: whether it is the best so far: by AUROC, and where that is the same, by loss.
        """
        self.epoch += 1
        row: Row = {
            "event": "epoch",
            "epoch": self.epoch,
            "step": self.steps,
            "learning_rate": learning_rate,
            "loss": self.loss / self.n if self.n else math.nan,
            **{f"valid_{name}": value for name, value in measured.items()},
            "n": self.n,
            "n_skipped": len(self.skipped),
            "seconds": self.seconds,
            "training_seconds": self.training_seconds,
            "images_per_second": self.n / self.training_seconds if self.training_seconds else math.nan,
            "waiting": self.waited / self.training_seconds if self.training_seconds else 0.0,
            "weights": weights,
            **{name: value / self.n for name, value in self.figures.items() if self.n},
        }
        self.rows.append(row)
        self.step, self.n, self.loss, self.figures = 0, 0, 0.0, {}
        self.seconds = self.training_seconds = self.waited = 0.0
        is_best = self.best is None or (row["valid_auroc"], -row["valid_loss"]) > (
            self.best["valid_auroc"],
            -self.best["valid_loss"],
        )
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
    Returns: losses, AUROC and accuracy on the validation split, time.
    """
    return (
        f"epoch {row['epoch']} of {epochs}: loss {row['loss']:.4f}; validation: "
        f"AUROC {row['valid_auroc']:.4f}, accuracy {row['valid_accuracy']:.3f}, loss {row['valid_loss']:.4f}"
        f"{', the best so far' if is_best else ''}; {clock(row['seconds'])}, "
        f"{row['images_per_second']:.1f} images/s, {row['waiting']:.0%} waiting for images"
    )


def clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds: 3725 → 1:02:05."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def write_logs(run: Path, journal: Journal) -> None:
    """Replace log.csv and log.json.

    Args:    run: the run folder. journal: what they tell.
    Raises:  OSError: they can't be written.
    """
    more = {name: None for row in journal.rows for name in row if name not in COLUMNS}
    text = io.StringIO()
    writer = csv.DictWriter(text, (*COLUMNS, *more), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(journal.rows)
    write_file(run / LOG, text.getvalue().encode("utf-8", "surrogateescape"), lasting=False)
    content = {
        "epochs": journal.history,
        "best": journal.best,
        "skipped": journal.skipped,
        "events": [row for row in journal.rows if row["event"] not in ("epoch", "skipped")],
        "points": journal.points,
        "seconds": journal.total_seconds(),
        "waiting": journal.waiting(),
    }
    write_file(run / JSON_LOG, (json.dumps(content, indent=1) + "\n").encode("ascii"), lasting=False)


def write_curves(run: Path, journal: Journal) -> None:
    """Replace curves.png: losses above, AUROC and accuracy on the validation split below.

    Args:    run: the run folder. journal: what is drawn.
    Raises:  OSError: it can't be written.
    """
    import matplotlib.style
    from matplotlib.figure import Figure

    style = {
        "axes.edgecolor": MUTED,
        "axes.grid": True,
        "axes.labelcolor": MUTED,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": MUTED,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "font.size": 11,
        "grid.color": RULE,
        "legend.frameon": False,
        "text.color": INK,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
    }
    with matplotlib.style.context(style, after_reset=True):
        figure = Figure(figsize=(7, 6), layout="constrained", facecolor=PAPER)
        losses, quality = figure.subplots(2, 1, sharex=True)
        per_epoch = _steps_of_an_epoch(journal)
        fine = [(steps / per_epoch, loss) for steps, loss in journal.points]
        if fine:
            losses.plot(*zip(*fine, strict=True), color=RULE, linewidth=1.2)
        _curves(losses, journal, {"loss": ("training", BLUE), "valid_loss": ("validation", VERMILION)})
        losses.set_title("mean loss")
        _curves(quality, journal, {"valid_auroc": ("AUROC", VERMILION), "valid_accuracy": ("accuracy", INK)})
        quality.set_title("on the validation split")
        quality.set_xlabel("epoch")
        if journal.best:
            quality.axvline(journal.best["epoch"], color=MUTED, linewidth=1, linestyle=(0, (3, 2)))
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=120, metadata={"Software": None})
    write_file(run / CURVES, picture.getvalue(), lasting=False)


def _steps_of_an_epoch(journal: Journal) -> float:
    last = journal.history[-1] if journal.history else None
    return last["step"] / last["epoch"] if last else max(journal.steps, 1)


def _curves(axes: Axes, journal: Journal, curves: Mapping[str, tuple[str, str]]) -> None:
    epochs: Sequence[int] = [row["epoch"] for row in journal.history]
    for name, (label, colour) in curves.items():
        axes.plot(
            epochs, [row[name] for row in journal.history], "o-", color=colour, label=label, markersize=3
        )
    if epochs:
        axes.legend(ncols=2)
