"""The training loop of all learners: steps, rows of metrics.csv, validations and checkpoints.

The loop is independent of the way of learning. Each of several processes runs it. They decide
together, and the first process writes the files.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from throughtime.tasks.run import Run
from throughtime.tasks.task import Task
from throughtime.training import checkpoint
from throughtime.training.checkpoint_content import restored, state_of
from throughtime.training.clock import Clock, Speed
from throughtime.training.companions import companions
from throughtime.training.config import LoopConfig
from throughtime.training.journal import Journal
from throughtime.training.learner import Diverged, Learner, StepReport
from throughtime.training.position import Position, Row
from throughtime.training.progress import SECONDS_BETWEEN_UPDATES, Display, place
from throughtime.training.showing import Showing
from throughtime.training.signals import Stop
from throughtime.training.validation import Validation

__all__ = ["Loop", "Outcome"]

# What a process reports to the others; smaller numbers are those of signals.
_JOURNAL_FAILED = 1000


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Args:
        reason: ``complete``, ``patience``, ``time``, ``journal`` (metrics.csv cannot be written),
            or the name of the signal that interrupted it.
        step: the number of steps of the whole training so far.
        figures: the figures of the best validation.
    """

    reason: str
    step: int
    figures: dict[str, float]


class Loop:
    """Trains until the training is complete, or until it is stopped.

    Args:
        task: the task to learn.
        learner: the learner.
        config: the settings.
        run: the run folder.
        saved: the checkpoint to continue from, or None.

    Raises:
        RunError: if the checkpoint belongs to another training, or a file of the run is damaged.
    """

    def __init__(
        self,
        task: Task,
        learner: Learner,
        config: LoopConfig,
        run: Run,
        saved: dict[str, Any] | None = None,
    ) -> None:
        self.task, self.learner, self.config, self.run = task, learner, config, run
        self.processes, self.position = learner.processes, Position()
        self.stop = Stop(companions().tell)
        self.display = Display(task.unit, is_quiet=not self.processes.is_first)
        self.journal: Journal | None = None
        with self.processes.together():
            if saved is not None:
                self.position = restored(run, saved, learner, task.monitor)
            if self.processes.is_first:
                columns = [*task.figures, *learner.columns, f"{task.unit}_per_second"]
                self.journal = Journal(run, columns, self.position.step, self.display.say)
        self.clock = Clock(config.max_time, self.position.seconds)
        self.speed = Speed()
        self.showing = Showing(
            run, task, learner.model, self.display, self.journal, self.stop, self.clock
        )
        self.validation = Validation(
            run, task, learner, config.keep_best, self.position, self.display, self.stop, self.clock
        )
        self.latest: Mapping[str, float] = {}
        self.failure: OSError | None = None
        self.reason = "complete"
        self.progress_before = self.progress
        self.updated = self.saved = time.monotonic()
        self.saved_step = -1

    # Progress.

    @property
    def progress(self) -> float:
        """The fraction of the training that is done, by steps or by time, whichever is larger."""
        total = self.learner.total_steps
        done = 0.0 if total is None else self.position.step / total
        return min(1.0, max(done, self.clock.share(self.position.validation_seconds)))

    @property
    def epoch(self) -> float:
        """The number of epochs that have been read, with a fraction."""
        return self.position.step / self.learner.steps_per_epoch

    # The loop.

    def train(self) -> Outcome:
        """Runs the remaining steps, with the validations and checkpoints between them.

        Raises:
            Diverged: if the loss is no longer finite.
            CheckpointError: if a checkpoint cannot be written.
            OSError: if metrics.csv cannot be written; the checkpoint then holds the missing rows.
        """
        with self.stop.installed():
            companions().ready()
            self.display.start()
            try:
                self._train()
                # A signal during the last drawing ends the training like any other signal.
                self._decide(True)
            finally:
                self.display.stop()
                if self.journal is not None:
                    self.journal.close()
        if self.failure is not None:
            raise self.failure
        return Outcome(self.reason, self.position.step, self.position.best_figures)

    def _train(self) -> None:
        total, p = self.learner.total_steps, self.position
        self._write_unwritten()
        if p.step > 0 and self._is_due(p.step) and p.validated != p.step:
            # The validation of this step was interrupted, so it is done now.
            if not self._validate():
                self._save()
                return
        elif p.step == total or self._is_patience_over():
            # A run that was killed after its last checkpoint may lack its report.
            self.showing.report(p.step)
        if self._is_patience_over():
            self.reason = "patience"
            return
        while total is None or p.step < total:
            progress = self.progress
            if self.processes.size > 1 and self.config.max_time is not None:
                # The clocks of the processes differ, but their learning rates must not.
                progress = self.processes.largest(progress)
            try:
                report = self.learner.step(progress)
            except Diverged as error:
                raise Diverged(self._divergence_message(error)) from error
            if self._after_step(report):
                return

    def _after_step(self, report: StepReport) -> bool:
        """Writes and validates what is due after a step; returns whether the training stops."""
        p, c = self.position, self.config
        p.count(report.means)
        p.seconds = self.clock.total
        self.latest = report.latest
        self.speed.add(report.units * self.processes.size)
        is_last = p.step == self.learner.total_steps
        self._decide(is_last)
        if p.step % c.log_every == 0 or is_last:
            self._write_row()
        if time.monotonic() - self.updated >= SECONDS_BETWEEN_UPDATES:
            self._show_progress(report)
        is_ended = self.reason != "complete"
        is_interrupted = is_ended and self.reason != "time"
        if not is_interrupted and (self._is_due(p.step) or self.reason == "time"):
            is_ended = not self._validate() or is_ended
            if not is_ended and not is_last and self._is_patience_over():
                self.reason, is_ended = "patience", True
        elif not is_interrupted and self.processes.any(self.showing.is_due(c.sample_every)):
            with self.speed.pause():
                self.showing.samples(p.step, f"epoch {self.epoch:.2f} · a sample", c.sample_every)
        is_old = time.monotonic() - self.saved >= 60 * c.save_every
        if (is_ended or is_last or self.processes.any(is_old)) and self.saved_step != p.step:
            self._save()
        return is_ended

    def _is_due(self, step: int) -> bool:
        """Whether a validation belongs to this step."""
        every = self.config.validate_every or self.learner.steps_per_epoch
        return step % every == 0 or step == self.learner.total_steps

    def _is_patience_over(self) -> bool:
        """Whether the last ``patience`` validations brought no new best one."""
        patience = self.config.patience
        return patience is not None and self.processes.any(
            self.position.num_without_best >= patience
        )

    def _decide(self, is_last: bool) -> None:
        """Sets the reason to stop, which is the same in all processes."""
        mine = _JOURNAL_FAILED if self.failure is not None else int(self.stop.signal or 0)
        number = int(self.processes.largest(float(mine)))
        if number == _JOURNAL_FAILED:
            self.reason = "journal"
        elif number:
            self.reason = signal.Signals(number).name
        elif not is_last and self.config.max_time is not None:
            if self.processes.any(self.clock.share(self.position.validation_seconds) >= 1):
                self.reason = "time"

    # Rows of metrics.csv.

    def _write_row(self) -> None:
        """Records the figures of the steps since the last row."""
        p = self.position
        figures = self.learner.figures(p.means())
        figures |= {**self.latest, f"{self.task.unit}_per_second": self.speed.measure()}
        p.since_row.clear()
        self._record("train", figures)

    def _record(self, split: str, figures: Mapping[str, float]) -> None:
        """Adds a row to metrics.csv; only the first process does."""
        p = self.position
        if self.journal is not None:
            p.unwritten.append(Row(p.step, self.epoch, p.seconds, split, dict(figures)))
            self._write_unwritten()

    def _write_unwritten(self) -> None:
        """Writes the rows that are not in metrics.csv yet."""
        try:
            if self.journal is not None:
                self.journal.write(self.position.unwritten)
        except OSError as error:
            # The training will end with a checkpoint that holds the missing rows.
            self.failure = error

    def _show_progress(self, report: StepReport) -> None:
        self.updated = time.monotonic()
        p, progress = self.position, self.progress
        done_here = max(1e-9, progress - self.progress_before)
        left = self.clock.seconds * (1 - progress) / done_here
        if self.clock.left is not None:
            left = min(left, max(0, self.clock.left))
        means = p.means() or dict(report.means)
        figures = {k: v for k, v in self._own_figures(means).items() if k in self.task.figures}
        share = self.clock.share(p.validation_seconds)
        where = place(p.step, self.learner.total_steps, self.learner.steps_per_epoch, share)
        self.display.update(where, progress, figures or means, self.speed.value, left)

    def _own_figures(self, means: Mapping[str, float]) -> dict[str, float]:
        """The figures of this process alone, without communication."""
        describe = getattr(self.task, "figures_of_loss", None)
        return describe(means["loss"]) if describe and "loss" in means else dict(means)

    # Validation.

    def _validate(self) -> bool:
        """Evaluates the model and writes it if it is the best; returns False if interrupted."""
        p = self.position
        with self.speed.pause():
            figures = self.validation.figures()
            self._decide(False)
            if figures is None:
                if self.reason == "complete":
                    self.reason = "time"
                if self.reason == "time":
                    self.validation.keep_without_validation()
                return False
            is_best = self.validation.keep(figures)
            self._record("valid", figures)
            # The checkpoint comes before the samples and the report, which may fail.
            self._save()
            shown = " · ".join(f"{k.replace('_', ' ')} {v:.4f}" for k, v in figures.items())
            title = f"epoch {self.epoch:.2f} · validation {shown}{' *' if is_best else ''}"
            self.showing.samples(p.step, title, self.config.sample_every)
            self.showing.report(p.step)
        return True

    # Checkpoints.

    def _save(self) -> None:
        with self.speed.pause():
            state = state_of(self.learner, self.position)
            if self.processes.is_first:
                checkpoint.save(self.run.checkpoint_file, state)
        self.saved, self.saved_step = time.monotonic(), self.position.step

    def _divergence_message(self, error: Diverged) -> str:
        has_checkpoint = self.run.checkpoint_file.is_file()
        kept = "keeps the last good checkpoint" if has_checkpoint else "has no checkpoint yet"
        return (
            f"step {self.position.step + 1}: {error}: the training has diverged and stops. "
            f"{self.run.folder} {kept}. Go on with --resume and {self.learner.advice}."
        )
