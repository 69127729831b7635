"""What happens between the steps: rows, validations, samples, checkpoints, and the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from throughtime.inspection.alignments import record_alignments
from throughtime.inspection.report import write_report
from throughtime.training import checkpoint
from throughtime.training.journal import Journal
from throughtime.training.progress import Display

if TYPE_CHECKING:
    from throughtime.training.gradient import GradientTraining

__all__ = ["Supervisor"]


class Supervisor:
    """Stands beside a training, and looks at it after every step.

    Of several processes each has one; they decide together, and the first one writes.

    Args:
        training: the training, about to start.
    """

    def __init__(self, training: GradientTraining) -> None:
        self.training, self.task = training, training.task
        self.settings, self.run = training.settings, training.run_folder
        self.is_first = training.trainer.is_global_zero
        self.outcome = "complete"
        now = time.monotonic()
        self.shown = self.saved = self.sampled = self.row_started = now
        self.seconds_before = training.position.seconds
        self.fraction_before = training.fraction
        # Since the last row: time that was no training, and units read.
        self.paused, self.units = 0.0, 0
        self.speed = 0.0

        unit = f"{self.task.unit}_per_second"
        figures = dict.fromkeys((*self.task.readable(0.0), *self.task.figures))
        columns = [*figures, "gradient_norm", "learning_rate", unit]
        step = training.position.step
        self.journal = Journal(self.run, columns, step) if self.is_first else None
        self.display = Display(self.task.unit, is_quiet=not self.is_first)
        self.display.start()

    def close(self) -> None:
        """Takes the bar away and closes the files."""
        self.display.stop()
        if self.journal is not None:
            self.journal.close()

    def after_step(self, loss: float, norm: float, count: int) -> bool:
        """Does what is due after a step; returns whether the training shall stop here.

        Args:
            loss, norm: of the step; the norm is that before clipping.
            count: the units that this process read in it.
        """
        training, p, s = self.training, self.training.position, self.settings
        p.since_row = [a + b for a, b in zip(p.since_row, (loss, norm, 1), strict=True)]
        p.seconds = self.seconds_before + training.seconds_of_call
        self.units += count * training.num_processes
        now = time.monotonic()

        is_last = p.step == training.total_steps
        if training.any_process(training.is_interrupted):
            self.outcome = "interrupted"
        elif not is_last and s.max_time is not None:
            if training.any_process(training.seconds_of_call >= 60 * s.max_time):
                self.outcome = "time"
        stops = self.outcome != "complete"

        if p.step % s.log_every == 0 or is_last:
            self._write_row()
        if now - self.shown >= 0.25:
            self._show(loss)
        if p.step % (s.validate_every or training.steps_per_epoch) == 0 or is_last or stops:
            self._validate()
        elif training.any_process(now - self.sampled >= 60 * s.sample_every):
            with self._pause():
                self._sample(f"epoch {self._epoch:.2f} · a sample")
        is_due = time.monotonic() - self.saved >= 60 * s.save_every
        if stops or is_last or training.any_process(is_due):
            self._save()
        return stops

    @property
    def _epoch(self) -> float:
        return self.training.position.step / self.training.steps_per_epoch

    @contextmanager
    def _pause(self) -> Iterator[None]:
        """What is done within does not count as training in the speed."""
        begun = time.monotonic()
        yield
        self.paused += time.monotonic() - begun

    def _write_row(self) -> None:
        p, now = self.training.position, time.monotonic()
        loss, norm, steps = p.since_row
        self.speed = self.units / max(1e-9, now - self.row_started - self.paused)
        figures = self.task.readable(self.training.mean_over_processes(loss / steps)) | {
            "gradient_norm": norm / steps,
            "learning_rate": self.training.optimizer.param_groups[0]["lr"],
            f"{self.task.unit}_per_second": self.speed,
        }
        if self.journal is not None:
            self.journal.record(p.step, self._epoch, p.seconds, "train", figures)
        p.since_row = [0.0, 0.0, 0.0]
        self.row_started, self.paused, self.units = now, 0.0, 0

    def _show(self, loss: float) -> None:
        self.shown = time.monotonic()
        fraction = self.training.fraction
        done_here = max(1e-9, fraction - self.fraction_before)
        left = self.training.seconds_of_call * (1 - fraction) / done_here
        if self.settings.max_time is not None:
            left = min(left, max(0, 60 * self.settings.max_time - self.training.seconds_of_call))
        loss_sum, _, steps = self.training.position.since_row
        figures = self.task.readable(loss_sum / steps if steps else loss)
        where = f"epoch {min(self.settings.epochs, int(self._epoch) + 1)}/{self.settings.epochs}"
        self.display.update(where, fraction, figures, self.speed, left)

    def _validate(self) -> None:
        p, model = self.training.position, self.training.model
        with self._pause():
            figures = self.task.metrics(model, "valid")
            is_best = figures[self.task.monitor] < p.best
            if is_best:
                p.best, p.best_figures = figures[self.task.monitor], figures
            shown = " · ".join(f"{k.replace('_', ' ')} {v:.4f}" for k, v in figures.items())
            if self.journal is not None:
                self.journal.record(p.step, self._epoch, p.seconds, "valid", figures)
            if self.is_first and is_best:
                self.run.save_model(model)
            self._sample(f"epoch {self._epoch:.2f} · validation {shown}{' *' if is_best else ''}")
            if self.is_first:
                record_alignments(self.run, self.task, model, p.step)
                write_report(self.run)

    def _sample(self, title: str) -> None:
        text = self.task.sample(self.training.model)
        self.display.say(title)
        self.display.show_sample(text)
        if self.journal is not None:
            self.journal.sample(self.training.position.step, text)
        self.sampled = time.monotonic()

    def _save(self) -> None:
        with self._pause():
            state = self.training.whole_state()
            if self.is_first:
                checkpoint.save(self.run.checkpoint_file, state)
        self.saved = time.monotonic()
