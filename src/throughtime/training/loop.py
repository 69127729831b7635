"""The loop around every learner: clock, signals, rows, validation, checkpoints, resuming, report.

It knows nothing of gradients. With several processes each runs it; they decide together, and the
first one writes.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from throughtime.inspection.alignments import record_alignments
from throughtime.inspection.report import write_report
from throughtime.tasks.run import Run, RunError
from throughtime.tasks.task import Evaluation, Task
from throughtime.training import checkpoint
from throughtime.training.config import LoopConfig
from throughtime.training.journal import Journal
from throughtime.training.learner import Diverged, Learner, StepReport
from throughtime.training.progress import Display
from throughtime.training.signals import Interrupted, Stop

__all__ = ["Loop", "Outcome"]

_SECONDS_BETWEEN_UPDATES = 0.25
# Of --max_time, kept for the last validation until one has been timed.
_SHARE_FOR_VALIDATION = 0.1


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Args:
        reason: ``complete``, ``time``, or the name of the signal that interrupted it.
        step: how many steps were made in all.
        figures: of the validation of the best model.
    """

    reason: str
    step: int
    figures: dict[str, float]


@dataclass
class Position:
    """Where a training stands; a checkpoint holds it.

    Args:
        step: steps made so far.
        seconds: spent so far, over all calls.
        validated: the step of the last validation.
        validation_seconds: how long the longest validation took.
        best: the best validation yet by the figure that is monitored; None before the first.
        best_figures: all figures of that validation.
        since_row: sums of the figures over the steps since the last row, and ``steps``.
    """

    step: int = 0
    seconds: float = 0.0
    validated: int = 0
    validation_seconds: float = 0.0
    best: float | None = None
    best_figures: dict[str, float] = field(default_factory=dict)
    since_row: dict[str, float] = field(default_factory=dict)


class Loop:
    """Trains a model to its end, or until it is stopped.

    Args:
        task: what is learned.
        learner: how, one step at a time.
        config: the settings of the loop.
        run: the folder.
        saved: the checkpoint to go on from, or None.
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
        self.processes, self.position, self.stop = learner.processes, Position(), Stop()
        self.latest: Mapping[str, float] = {}
        self.started = self.shown = self.saved = self.sampled = time.monotonic()
        self.saved_step = -1
        if saved is not None:
            self._restore(saved)
        self.seconds_before, self.progress_before = self.position.seconds, self.progress
        self.row_started, self.paused, self.units, self.speed = self.started, 0.0, 0, 0.0
        self.reason = "complete"
        is_first = self.processes.is_first
        columns = [*task.figures, *learner.columns, f"{task.unit}_per_second"]
        self.journal = Journal(run, columns, self.position.step) if is_first else None
        self.display = Display(task.unit, is_quiet=not is_first)

    def _restore(self, saved: dict[str, Any]) -> None:
        processes = saved["processes"]
        if len(processes) != self.processes.size:
            raise RunError(
                f"{self.run.checkpoint_file}: was written by {len(processes)} process(es), each "
                f"with the state of its rows; resume with --devices {len(processes)}, got "
                f"{self.processes.size}."
            )
        own = processes[self.processes.rank]
        try:
            position = Position(**saved["position"])
            self.learner.load_state_dict(saved, own, position.step)
            checkpoint.set_random_state(own["random"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(
                f"{self.run.checkpoint_file}: the checkpoint does not fit this run ({error}), so "
                f"it cannot be resumed. The best model beside it can still be used."
            ) from error
        self.position = position
        self.position.since_row = own["since_row"]

    # How far it is.

    @property
    def seconds_of_call(self) -> float:
        """How long this call trains already."""
        return time.monotonic() - self.started

    @property
    def seconds_left(self) -> float | None:
        """Until the time of this call is over; None without a limit."""
        if self.config.max_time is None:
            return None
        return 60 * self.config.max_time - self.seconds_of_call

    @property
    def seconds_for_training(self) -> float:
        """Of this call: the time less what the last validation may take."""
        assert self.config.max_time is not None
        total = 60 * self.config.max_time
        reserve = self.position.validation_seconds or _SHARE_FOR_VALIDATION * total
        return max(0.5 * total, total - reserve)

    @property
    def progress(self) -> float:
        """How much of the training is done, by steps or by time, whichever is further."""
        total, done = self.learner.total_steps, 0.0
        if total is not None:
            done = self.position.step / total
        if self.config.max_time is not None:
            done = max(done, self.seconds_of_call / self.seconds_for_training)
        return min(1.0, done)

    @property
    def epoch(self) -> float:
        """The epochs that were read."""
        return self.position.step / self.learner.steps_per_epoch

    # The loop.

    def train(self) -> Outcome:
        """Makes the steps that are left, and everything that is due between them."""
        with self.stop.installed():
            self.display.start()
            try:
                self._train()
            finally:
                self.display.stop()
                if self.journal is not None:
                    self.journal.close()
        return Outcome(self.reason, self.position.step, self.position.best_figures)

    def _train(self) -> None:
        total, p = self.learner.total_steps, self.position
        # A validation that was interrupted is made up for.
        is_open = p.step > 0 and self._is_due(p.step) and p.validated != p.step
        if is_open and not self._validate():
            self._save()
            return
        while total is None or p.step < total:
            progress = self.progress
            if self.processes.size > 1 and self.config.max_time is not None:
                # The clocks of the processes differ; their weights must not.
                progress = self.processes.largest(progress)
            try:
                report = self.learner.step(progress)
            except Diverged as error:
                raise Diverged(self._last_words(error)) from error
            if self._after_step(report):
                return

    def _after_step(self, report: StepReport) -> bool:
        """Does what is due after a step; returns whether the training stops here."""
        p, c = self.position, self.config
        p.step += 1
        p.seconds = self.seconds_before + self.seconds_of_call
        for name, value in {**report.means, "steps": 1.0}.items():
            p.since_row[name] = p.since_row.get(name, 0.0) + value
        self.latest = report.latest
        self.units += report.units * self.processes.size
        is_last = p.step == self.learner.total_steps
        self._decide(is_last)
        if p.step % c.log_every == 0 or is_last:
            self._write_row()
        now = time.monotonic()
        if now - self.shown >= _SECONDS_BETWEEN_UPDATES:
            self._show_progress(report)
        is_ended = self.reason != "complete"
        is_interrupted = is_ended and self.reason != "time"
        if not is_interrupted and (self._is_due(p.step) or self.reason == "time"):
            is_ended = not self._validate() or is_ended
        elif not is_interrupted and self._any(now - self.sampled >= 60 * c.sample_every):
            with self._pause():
                self._show_samples(f"epoch {self.epoch:.2f} · a sample")
        is_old = time.monotonic() - self.saved >= 60 * c.save_every
        if (is_ended or is_last or self._any(is_old)) and self.saved_step != p.step:
            self._save()
        return is_ended

    def _is_due(self, step: int) -> bool:
        """Whether a validation belongs to this step."""
        every = self.config.validate_every or self.learner.steps_per_epoch
        return step % every == 0 or step == self.learner.total_steps

    def _decide(self, is_last: bool) -> None:
        """Sets the reason to stop, together with the other processes."""
        number = int(self.processes.largest(float(self.stop.signal or 0)))
        if number:
            self.reason = signal.Signals(number).name
        elif not is_last and self.config.max_time is not None:
            if self._any(self.seconds_of_call >= self.seconds_for_training):
                self.reason = "time"

    def _any(self, mine: bool) -> bool:
        return bool(self.processes.largest(float(mine)))

    @contextmanager
    def _pause(self) -> Iterator[None]:
        """What is done within does not count as training in the speed."""
        begun = time.monotonic()
        yield
        self.paused += time.monotonic() - begun

    # What is written and shown.

    def _write_row(self) -> None:
        p, now = self.position, time.monotonic()
        sums = dict(p.since_row)
        steps = sums.pop("steps")
        self.speed = self.units / max(1e-9, now - self.row_started - self.paused)
        figures = self.learner.figures({name: value / steps for name, value in sums.items()})
        figures = {**figures, **self.latest, f"{self.task.unit}_per_second": self.speed}
        p.since_row.clear()
        self.row_started, self.paused, self.units = now, 0.0, 0
        self._record("train", figures)

    def _record(self, split: str, figures: Mapping[str, float]) -> None:
        if self.journal is None:
            return
        try:
            self.journal.record(
                self.position.step, self.epoch, self.position.seconds, split, figures
            )
        except OSError:
            # A row that cannot be written does not cost what was learned.
            if self.processes.size == 1:
                self._save()
            raise

    def _show_progress(self, report: StepReport) -> None:
        self.shown = time.monotonic()
        p, progress = self.position, self.progress
        done_here = max(1e-9, progress - self.progress_before)
        left = self.seconds_of_call * (1 - progress) / done_here
        if self.seconds_left is not None:
            left = min(left, max(0, self.seconds_left))
        sums = {**p.since_row} or {**report.means, "steps": 1.0}
        steps = sums.pop("steps")
        means = {name: value / steps for name, value in sums.items()}
        figures = {k: v for k, v in self._own_figures(means).items() if k in self.task.figures}
        if self.learner.total_steps is None:
            where = f"step {p.step}"
        else:
            epochs = math.ceil(self.learner.total_steps / self.learner.steps_per_epoch)
            where = f"epoch {min(epochs, int(self.epoch) + 1)}/{epochs}"
        self.display.update(where, progress, figures or means, self.speed, left)

    def _own_figures(self, means: Mapping[str, float]) -> dict[str, float]:
        """The figures of this process alone, without a meeting."""
        describe = getattr(self.task, "figures_of_loss", None)
        return describe(means["loss"]) if describe and "loss" in means else dict(means)

    # Validation.

    def _validate(self) -> bool:
        """Judges the model and keeps it if it is the best; returns False if it was left."""
        p, begun = self.position, time.monotonic()
        evaluation: Evaluation | None = None
        with self._pause():
            try:
                with _drawing_aside(), self.stop.leaving(self.seconds_left):
                    evaluation = self.task.evaluate(self.learner.model, "valid")
            except Interrupted:
                self._say_left("the validation")
            is_left = self._any(evaluation is None)
            self._decide(False)
            if is_left or evaluation is None:
                if self.reason == "complete":
                    self.reason = "time"
                self._keep_unjudged()
                return False
            figures = evaluation.figures
            p.validated = p.step
            p.validation_seconds = max(
                p.validation_seconds, self.processes.largest(time.monotonic() - begun)
            )
            is_best = self._keep_best(figures)
            self._record("valid", figures)
            # What was learned is safe before anything is drawn for a person.
            self._save()
            shown = " · ".join(f"{k.replace('_', ' ')} {v:.4f}" for k, v in figures.items())
            self._show_samples(
                f"epoch {self.epoch:.2f} · validation {shown}{' *' if is_best else ''}"
            )
            if self.processes.is_first:
                self._draw(
                    lambda: record_alignments(self.run, self.task, self.learner.model, p.step)
                )
                self._draw(lambda: write_report(self.run))
        return True

    def _keep_best(self, figures: dict[str, float]) -> bool:
        p, monitor = self.position, self.task.monitor
        figure = self.task.figures[monitor]
        if p.best is not None and not figure.is_improved(figures[monitor], p.best):
            return False
        p.best, p.best_figures = figures[monitor], figures
        if self.processes.is_first:
            self.run.save_model(self.learner.model)
        return True

    def _keep_unjudged(self) -> None:
        """A run whose time was too short for any validation keeps its model all the same."""
        if self.reason == "time" and self.position.best is None and self.processes.is_first:
            self.run.save_model(self.learner.model)
            self.display.say("No validation was finished; the model is kept as it is.")

    def _say_left(self, what: str) -> None:
        why = self.stop.signal.name if self.stop.signal else "--max_time"
        self.display.say(f"{why}: {what} is left.")

    # For a person to look at: never a reason to lose what was learned.

    def _show_samples(self, title: str) -> None:
        self.display.say(title)
        self.sampled = time.monotonic()

        def show() -> None:
            shown = self.task.show(self.learner.model)
            self.display.show(shown)
            if self.journal is not None:
                self.journal.show(self.position.step, shown)

        if self.processes.is_first:
            self._draw(show)

    def _draw(self, draw: Callable[[], object]) -> None:
        try:
            with _drawing_aside(), self.stop.leaving(self.seconds_left):
                draw()
        except Interrupted:
            return
        except Exception as error:
            self.display.say(
                f"Warning: what is only for looking at could not be made "
                f"({type(error).__name__}: {error}). The training goes on."
            )

    # Checkpoints.

    def _save(self) -> None:
        with self._pause():
            own = {
                "random": checkpoint.random_state(),
                "since_row": self.position.since_row,
                **self.learner.own_state(),
            }
            state = {
                "step": self.position.step,
                "position": asdict(self.position),
                "processes": self.processes.gather(own),
                **self.learner.state_dict(),
            }
            if self.processes.is_first:
                checkpoint.save(self.run.checkpoint_file, state)
        self.saved, self.saved_step = time.monotonic(), self.position.step

    def _last_words(self, error: Diverged) -> str:
        kept = "keeps the last good checkpoint"
        if not self.run.checkpoint_file.is_file():
            kept = "has no checkpoint yet"
        return (
            f"step {self.position.step + 1}: {error}: the training has diverged and stops. "
            f"{self.run.folder} {kept}. Go on with --resume and {self.learner.advice}."
        )


@contextmanager
def _drawing_aside() -> Iterator[None]:
    """What is drawn at random inside does not change what is drawn after it.

    Samples are shown by the clock, so a resumed training shows them at other steps.
    """
    before = checkpoint.random_state()
    try:
        yield
    finally:
        checkpoint.set_random_state(before)
