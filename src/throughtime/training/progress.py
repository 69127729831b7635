"""The progress of a training: a bar on a terminal, lines in a log file."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

from throughtime.counted import listening
from throughtime.tasks.shown import Shown, as_text

__all__ = ["SECONDS_BETWEEN_UPDATES", "Display", "place"]

_log = logging.getLogger(__name__)

SECONDS_BETWEEN_UPDATES = 0.25
"""The time between two updates of a bar."""

_SECONDS_BETWEEN_LINES = 15.0
_WIDTH_OF_LINES = 80
_WIDTH_OF_BAR = 24
# Lines of a sample in a log file.
_LINES_OF_SAMPLE = 3


def place(step: int, total: int | None, steps_per_epoch: int, time_share: float) -> str:
    """Where a training is: "epoch 4/10", or "step 70" if only the time ends it.

    A training that its limit of time ends before the last epoch is in "epoch 4".

    Args:
        step: the number of steps done.
        total: the number of steps of the whole training; None if only the time ends it.
        steps_per_epoch: the steps of an epoch.
        time_share: the fraction of the limit of time that is over; 0 without a limit.

    >>> place(70, 200, 20, 0.0), place(70, 200, 20, 0.99), place(70, None, 20, 0.5)
    ('epoch 4/10', 'epoch 4', 'step 70')
    """
    if total is None:
        return f"step {step}"
    epochs = math.ceil(total / steps_per_epoch)
    epoch = min(epochs, step // steps_per_epoch + 1)
    return f"epoch {epoch}" if time_share > step / total else f"epoch {epoch}/{epochs}"


def _fitted(parts: Sequence[str], width: int) -> str:
    """The parts of a line that fit into a width, in their order.

    Those that matter most are chosen first: the percentage (the second), the time left (the last),
    the place (the first), and then the others as they stand.
    """
    last = len(parts) - 1
    chosen: set[int] = set()
    for index in dict.fromkeys([1, last, 0, *range(2, last)]):
        more = sorted(chosen | {index})
        if parts[index] and len(" · ".join(parts[i] for i in more)) <= width:
            chosen.add(index)
    return " · ".join(parts[i] for i in sorted(chosen))


class _Fitted(ProgressColumn):
    """The whole line of the progress, with a bar before it where the terminal is wide enough."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def render(self, task: Task) -> Text:
        width = self.console.width
        line = _fitted(task.fields["parts"] or ("", ""), width)
        if len(line) + 1 + _WIDTH_OF_BAR <= width:
            num = round(_WIDTH_OF_BAR * task.completed)
            return Text.assemble(
                ("━" * num, "bar.complete"), ("━" * (_WIDTH_OF_BAR - num), "bar.back"), " ", line
            )
        return Text(line, no_wrap=True)


def _cut(lines: Sequence[str]) -> list[str]:
    """The first lines, each cut to the width of a line in a log file."""
    width = _WIDTH_OF_LINES - 4
    first = [line if len(line) <= width else line[: width - 1] + "…" for line in lines]
    num_more = len(lines) - _LINES_OF_SAMPLE
    return first[:_LINES_OF_SAMPLE] + ([f"… {num_more} more lines"] if num_more > 0 else [])


class _Console(Console):
    """A console that becomes silent if the reader of a pipe ends, as ``head`` does."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Display:
    """The progress of a training or an evaluation: a bar on a terminal, lines in a log file.

    Args:
        unit: the plural of what the speed counts.
        is_quiet: whether to print nothing, as in all processes but the first.
        is_stderr: whether to write to the standard error and not to the standard output.
    """

    def __init__(self, unit: str, is_quiet: bool = False, is_stderr: bool = False) -> None:
        self.console = _Console(quiet=is_quiet, highlight=False, stderr=is_stderr)
        self.unit = unit
        self._bar = Progress(
            _Fitted(self.console),
            console=self.console,
            transient=True,
            auto_refresh=False,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=1.0, parts=())
        self._last_line = 0.0

    def start(self) -> None:
        """Displays the bar."""
        with self._silenced_by_errors():
            self._bar.start()
        self._last_line = time.monotonic()

    def stop(self) -> None:
        """Removes the bar."""
        with self._silenced_by_errors():
            self._bar.stop()

    def update(
        self,
        where: str,
        fraction: float,
        figures: Mapping[str, float],
        speed: float | None,
        seconds_left: float,
    ) -> None:
        """Shows the progress; in a log file every 15 seconds.

        Args:
            where: the epoch or the activity, in words.
            fraction: how much is done, from 0 to 1.
            figures: the loss and what follows from it.
            speed: units per second; None if none has been measured yet.
            seconds_left: the expected time to the end.
        """
        named = [f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items()]
        parts = [
            where,
            # 100 % is for the end alone.
            f"{math.floor(100 * fraction)}%",
            *named,
            f"{speed:,.0f} {self.unit}/s" if speed else "",
            f"{timedelta(seconds=round(seconds_left))} left",
        ]
        if self.console.is_terminal:
            self._bar.update(self._task, completed=fraction, parts=parts)
            with self._silenced_by_errors():
                self._bar.refresh()
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self.say(_fitted(parts, _WIDTH_OF_LINES))
            self._last_line = time.monotonic()

    @contextmanager
    def counting(self, title: str) -> Iterator[None]:
        """Shows the progress of the loops inside the context that count their items.

        See :mod:`throughtime.counted`.

        Args:
            title: what the loops are for ("validation").
        """
        start = updated = time.monotonic()

        def listener(what: str, done: int, total: int) -> None:
            nonlocal start, updated
            now = time.monotonic()
            # A loop reports 0 items when it starts, so the time of each loop counts from there.
            if done == 0:
                start = now
            elif now - updated >= SECONDS_BETWEEN_UPDATES:
                updated = now
                left = (now - start) * (total - done) / done
                self.update(f"{title}: {what}", done / total, {}, None, left)

        with listening(listener):
            yield

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self._print(escape(text))

    def show(self, items: Sequence[Shown]) -> None:
        """Prints the items that a task shows, indented; in a log file only the first lines."""
        lines = [line for item in items for line in as_text(item).splitlines()]
        if not self.console.is_terminal:
            lines = _cut([line for line in lines if line.strip()])
        body = "\n".join(f"    {line}" for line in lines)
        self._print(f"[dim]{escape(body)}[/dim]")

    def _print(self, markup: str) -> None:
        # Lone surrogates, and characters that the terminal cannot show, become escapes.
        encoding = self.console.encoding
        text = markup.encode(encoding, "backslashreplace").decode(encoding)
        with self._silenced_by_errors():
            self.console.print(text, soft_wrap=True)

    @contextmanager
    def _silenced_by_errors(self) -> Iterator[None]:
        """A context for printing, in which the first OSError is logged and ends all printing."""
        try:
            yield
        except OSError as error:
            self.console.quiet = True
            _log.warning("The output cannot be written (%s). The training goes on.", error)
