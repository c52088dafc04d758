"""What a training leaves in its folder while it runs: checkpoints, the log, the best weights, the result."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tellsign.engine import checkpoint
from tellsign.engine.curves import write_curves
from tellsign.engine.distributed import gathered
from tellsign.engine.folder import RESULT, TrainingResult, read_result, write_result
from tellsign.engine.record import (
    LOG,
    Cadence,
    Journal,
    epoch_line,
    measures,
    progress_line,
    require_finite_values,
    write_logs,
)
from tellsign.engine.schedule import set_learning_rates
from tellsign.nn.weights import read_tensors
from tellsign.types import ConfigError, ManifestError, OutputError

if TYPE_CHECKING:
    from torch import nn

    from tellsign.engine.config import TrainingConfig
    from tellsign.engine.distributed import Process
    from tellsign.engine.task import Bad, Measured, Step, Task

Say = Callable[[str], None]

SAY_SECONDS = 10.0  # between two lines of progress
CURVES_SECONDS = 15.0  # between two drawings


class Recorder:
    """Keeps the journal in every process, and writes the run folder in the first."""

    def __init__(
        self,
        run: Path,
        model: nn.Module,
        task: Task,
        config: TrainingConfig,
        at: Process,
        *,
        identity: Mapping[str, Any],
        say: Say,
    ) -> None:
        """Take up the newest checkpoint, or make the first.

        Args:    run: the run folder.
                 model: all that is trained, without what distributes it. task: of it.
                 config: of the training. at: this process.
                 identity: of the training, as run.json has it.
                 say: told what happens, in the first process.
        Raises:  ConfigError: the checkpoint is of another training or network, nothing can be written, or
                 nothing says which epoch is better than another, and `patience` asks for it.
        """
        if config.patience and not task.best:
            raise ConfigError(
                f"patience is {config.patience}, and nothing is measured here that tells a better epoch: "
                "leave it out"
            )
        self.run, self.model, self.config, self.at = run, model, config, at
        self.optimisers, self.best = task.optimisers, task.best
        self.identity = checkpoint.plain_digest(identity)
        self.n_steps = task.n_steps
        self.say: Say = say if at.is_first else lambda text: None
        self.journal = self._resumed()
        self._waited = self.journal.waited  # in the current epoch, before this session
        self._lap = time.perf_counter()
        self._checkpoints = Cadence(config.checkpoint_seconds)
        self._curves, self._lines = Cadence(CURVES_SECONDS), Cadence(SAY_SECONDS)

    @property
    def where(self) -> str:
        """The step that is being made, or the end of an epoch, for messages."""
        if self.journal.step >= self.n_steps:
            return f"the end of epoch {self.journal.epoch + 1}"
        return f"epoch {self.journal.epoch + 1}, step {self.journal.step + 1} of {self.n_steps}"

    def _resumed(self) -> Journal:
        """The journal of the newest checkpoint, whose tensors are put in place; a new one without any."""
        found = None
        if self.at.is_first:
            found = checkpoint.newest(self.run, identity=self.identity, say=self.say)
        name = gathered(found and found.path.name, self.at)[0]
        if name is not None and found is None:
            found = checkpoint.read(self.run, name, identity=self.identity)
        if self.at.is_first:
            checkpoint.restore_best(self.run, found)
        if found is None:
            self.journal = Journal()
            if self.at.is_first:
                self._save()
            return self.journal
        checkpoint.restore(found, self.model, self.optimisers.values())
        journal = Journal(**found.state)
        text = f"goes on at epoch {journal.epoch + 1}, after step {journal.step} of {self.n_steps}"
        self.say(f"{self.run}: {text}")
        journal.rows.append(journal.note("resumed", text))
        return journal

    def begin_epoch(self) -> None:
        """What was done since the last step is none of the next one's time."""
        self.journal.seconds += self._since()

    def step_done(self, step: Step, *, waited: float, bad: Bad) -> None:
        """Count a step, and write and tell what is due.

        Args:    step: what it came to.
                 waited: seconds of this epoch and session without images.
                 bad: training images that this process has left out.
        Raises:  ConfigError: a checkpoint can't be written, or the weights are not finite.
                 ManifestError: too many images are left out.
        """
        self.journal.count(step, seconds=self._since(), waited=self._waited + waited, n_steps=self.n_steps)
        self.leave_out("train", bad)
        if self._lines.is_due():
            with self._lines.done():
                line = progress_line(self.journal, epochs=self.config.epochs, n_steps=self.n_steps)
                self.say(line)
        self._write_what_is_due()
        self.journal.seconds += self._since()

    def epoch_done(self, measured: Measured) -> None:
        """Close an epoch, keep its weights where they are the best, and write and tell what is due.

        Args:    measured: after its last step.
        Raises:  ConfigError: a file can't be written, or what was measured is not finite. ManifestError: no
                 image of the epoch could be used, or too many are left out.
        """
        self.leave_out("valid", measured.bad)
        if not self.journal.n:
            raise ManifestError(
                f"no training image could be used in epoch {self.journal.epoch + 1}, see {self.run / LOG}"
            )
        require_finite_values(measured.values, where=self.where)
        self.journal.seconds += self._since()
        self._waited = 0.0
        is_best = self.journal.close_epoch(
            measured.values,
            # Set anew: this may be another session than that of the last step.
            learning_rates=set_learning_rates(
                self.optimisers, self.config, self.journal.steps - 1, self.n_steps
            ),
            weights=checkpoint.weights_digest(self.model) if self.at.is_first else "",
            best=self.best,
        )
        is_chosen = is_best and bool(self.best)
        self.say(epoch_line(self.journal.history[-1], epochs=self.config.epochs, is_best=is_chosen))
        if self.at.is_first:
            with self._disk():
                if is_best:
                    checkpoint.write_tensors(self.run / checkpoint.BEST, self.model.state_dict())
                write_logs(self.run, self.journal)
        self._write_what_is_due()

    def leave_out(self, split: str, bad: Bad) -> None:
        """Note images that were left out, each once.

        Args:    split: train or valid. bad: row → path and reason.
        Raises:  ManifestError: they are more than allowed.
        """
        if len(bad) == 0:
            return
        for row in self.journal.skip(split, bad):
            self.say(f"left out at {self.where}: {row['note']}")
        skipped = self.journal.skipped
        if len(skipped) > self.config.max_bad:
            raise ManifestError(
                f"{len(skipped)} images can't be used, and max_bad is {self.config.max_bad}; the last one is "
                f"{skipped[-1]['note']}"
            )

    def result(self) -> TrainingResult:
        """End the run: its files are complete, its checkpoints go, the model gets the best weights.

        Returns: what came out.
        Raises:  ConfigError: a file can't be written.
        """
        journal = self.journal
        assert journal.best is not None
        if journal.epoch < self.config.epochs:
            best_epoch, patience = journal.best["epoch"], self.config.patience
            text = f"stopped: {patience} epochs brought nothing better than epoch {best_epoch}"
            journal.rows.append(journal.note("stopped", text))
            self.say(text)
        if self.at.is_first:
            with self._disk():
                write_logs(self.run, journal)
                write_curves(self.run, journal)
                write_result(
                    TrainingResult(
                        run=self.run,
                        best={"epoch": journal.best["epoch"], **measures(journal.best)},
                        history=tuple(journal.history),
                        skipped=tuple(journal.skipped),
                        seconds=journal.total_seconds(),
                        waiting=journal.waiting(),
                    )
                )
        gathered(None, self.at)  # all wait for the files
        found = restored_result(self.run, self.model, self.at)
        assert found is not None
        return found

    def _write_what_is_due(self) -> None:
        if not self.at.is_first:
            return
        if self._checkpoints.is_due():
            with self._checkpoints.done():
                self._save()
                with self._disk():
                    write_logs(self.run, self.journal)
        if self._curves.is_due():
            with self._curves.done(), self._disk():
                write_curves(self.run, self.journal)

    def _save(self) -> None:
        journal = self.journal
        tensors = checkpoint.training_tensors(self.model, self.optimisers.values())
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise ConfigError(
                    f"{name} is not finite after epoch {journal.epoch + 1}, step {journal.step}: lower "
                    f"learning_rate or set clip_norm; the checkpoints in {self.run} are from before"
                )
        checkpoint.save(
            self.run,
            f"{journal.epoch:05d}-{journal.steps:08d}",
            identity=self.identity,
            state=asdict(journal),
            tensors=tensors,
        )

    def _since(self) -> float:
        """Seconds since the last call."""
        before, self._lap = self._lap, time.perf_counter()
        return self._lap - before

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(checkpoint.cannot_write(self.run, error)) from error


def restored_result(run: Path, model: nn.Module, at: Process) -> TrainingResult | None:
    """The result of a run that is done, whose best weights the model gets; or None.

    Args:    run: the run folder. model: to fill. at: this process.
    Returns: the result.
    Raises:  ConfigError: the files are damaged, or of another network.
    """
    if not gathered((run / RESULT).exists(), at)[0]:
        return None
    result = read_result(run)
    checkpoint.load_weights(model, read_tensors(run / checkpoint.BEST), where=run / checkpoint.BEST)
    if at.is_first:
        shutil.rmtree(run / checkpoint.FOLDER, ignore_errors=True)
    return result
