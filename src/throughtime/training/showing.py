"""The samples, attention maps and report that a training draws for a person.

An error in one of them causes a warning and never ends the training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from throughtime.inspection.alignments import record_alignments
from throughtime.inspection.report import write_report
from throughtime.tasks.run import Run
from throughtime.tasks.task import Task
from throughtime.training import checkpoint
from throughtime.training.clock import Clock
from throughtime.training.journal import Journal
from throughtime.training.progress import Display
from throughtime.training.signals import Interrupted, Stop

__all__ = ["Showing", "drawing_aside"]

# The time for the report of the last validation, even if the time of the call is over.
_LEAST_SECONDS = 5.0


class Showing:
    """Draws the samples, attention maps and the report of a run.

    Args:
        run, task, model: the run folder, its task and the model that is trained.
        display: prints the samples and the warnings.
        journal: records the samples; None in all processes but the first, which draw nothing.
        stop, clock: end a drawing on a signal, or at the end of the time.

    Attributes:
        shown: the time of the last samples, by ``time.monotonic``.
    """

    def __init__(
        self,
        run: Run,
        task: Task,
        model: nn.Module,
        display: Display,
        journal: Journal | None,
        stop: Stop,
        clock: Clock,
    ) -> None:
        self.run, self.task, self.model = run, task, model
        self.display, self.journal, self.stop, self.clock = display, journal, stop, clock
        self.shown = time.monotonic()

    def is_due(self, minutes: float) -> bool:
        """Whether the last samples were shown so many minutes ago; 0 shows none."""
        return minutes > 0 and time.monotonic() - self.shown >= 60 * minutes

    def samples(self, step: int, title: str, minutes: float) -> None:
        """Prints a title and samples of what the model produces, and records the samples.

        Args:
            step: the current step.
            title: the line before the samples.
            minutes: the setting ``sample_every``; 0 shows no samples.
        """
        self.display.say(title)
        self.shown = time.monotonic()
        journal = self.journal
        if journal is None or not minutes:
            return

        def show() -> None:
            items = self.task.show(self.model)
            self.display.show(items)
            journal.show(step, items)

        self._draw(show)

    def report(self, step: int) -> None:
        """Records the attention maps and writes the report."""
        if self.journal is not None:
            self._draw(lambda: record_alignments(self.run, self.task, self.model, step))
            self._draw(lambda: write_report(self.run))

    def _draw(self, draw: Callable[[], object]) -> None:
        left = self.clock.left
        try:
            with (
                drawing_aside(),
                self.stop.leaving(None if left is None else max(_LEAST_SECONDS, left)),
            ):
                draw()
        except Interrupted:
            # The training ends, and its end does not wait for what is drawn.
            return
        except Exception as error:
            self.display.say(
                f"Warning: the samples or the report could not be drawn "
                f"({type(error).__name__}: {error}). The training goes on."
            )


@contextmanager
def drawing_aside() -> Iterator[None]:
    """A context after which the random number generators have the same states as before.

    Samples are drawn at times of the clock. Without this, a training that is resumed, and so draws
    them at other steps, would compute other numbers.
    """
    before = checkpoint.random_state()
    try:
        yield
    finally:
        checkpoint.set_random_state(before)
