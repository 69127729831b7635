"""Validates the model during a training, and keeps the models of the best validations."""

from __future__ import annotations

import time

from throughtime.tasks.run import Run
from throughtime.tasks.task import Evaluation, Figure, Task
from throughtime.training.clock import Clock
from throughtime.training.learner import Learner
from throughtime.training.position import Kept, Position
from throughtime.training.progress import Display
from throughtime.training.showing import drawing_aside
from throughtime.training.signals import Interrupted, Stop

__all__ = ["Validation"]


class Validation:
    """Evaluates the model that a learner trains, and keeps the best models in the run folder.

    Args:
        run, task, learner: the run folder, its task, and the learner of the model.
        keep_best: the number of models that are kept.
        position: records what the validations have shown so far.
        display: shows the progress of an evaluation.
        stop, clock: end an evaluation on a signal, or at the end of the time.
    """

    def __init__(
        self,
        run: Run,
        task: Task,
        learner: Learner,
        keep_best: int,
        position: Position,
        display: Display,
        stop: Stop,
        clock: Clock,
    ) -> None:
        self.run, self.task, self.learner, self.keep_best = run, task, learner, keep_best
        self.position, self.display, self.stop, self.clock = position, display, stop, clock

    def figures(self) -> dict[str, float] | None:
        """The figures of the validation split; None if a signal or the time ended the evaluation.

        All processes return None if one of them does.
        """
        p, start = self.position, time.monotonic()
        evaluation = self._evaluate()
        if self.learner.processes.any(evaluation is None) or evaluation is None:
            return None
        p.validated = p.step
        seconds = self.learner.processes.largest(time.monotonic() - start)
        p.validation_seconds = max(p.validation_seconds, seconds)
        return evaluation.figures

    def _evaluate(self) -> Evaluation | None:
        try:
            with (
                drawing_aside(),
                self.stop.leaving(self.clock.left),
                self.display.counting("validation"),
            ):
                return self.task.evaluate(self.learner.model, "valid")
        except Interrupted:
            why = self.stop.signal.name if self.stop.signal else "--max_time"
            self.display.say(f"{why}: the validation is left.")
            return None

    def keep(self, figures: dict[str, float]) -> bool:
        """Writes the model if it is one of the best; returns whether it is the best so far.

        Args:
            figures: the figures of the model, as :meth:`figures` returns them.
        """
        p, monitor = self.position, self.task.monitor
        figure = self.task.figures[monitor]
        self._keep_several(figures[monitor], figure)
        if p.best is not None and not figure.is_improved(figures[monitor], p.best):
            p.num_without_best += 1
            return False
        p.best, p.best_figures, p.num_without_best = figures[monitor], figures, 0
        if self.learner.processes.is_first:
            self.run.save_model(self.learner.model)
        return True

    def _keep_several(self, value: float, figure: Figure) -> None:
        """Writes the model under its step number if it is among the ``keep_best`` best ones."""
        p, most = self.position, self.keep_best
        # A validation that is repeated after an interruption may be in the list already.
        before = [kept for kept in p.kept if kept.step != p.step]
        rank = next(
            (r for r, kept in enumerate(before) if figure.is_improved(value, kept.value)),
            len(before),
        )
        ranked = [*before[:rank], Kept(p.step, value), *before[rank:]]
        p.kept = ranked[:most] if most > 1 else []
        if self.learner.processes.is_first:
            if any(kept.step == p.step for kept in p.kept):
                self.run.save_model(self.learner.model, p.step)
            self.run.drop_models(kept.step for kept in p.kept)

    def keep_without_validation(self) -> None:
        """Writes the model of a run whose time was too short for any validation."""
        if self.position.best is None and self.learner.processes.is_first:
            self.run.save_model(self.learner.model)
            self.display.say("No validation was finished; the model is kept as it is.")
