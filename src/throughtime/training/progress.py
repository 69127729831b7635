"""The output of a training: a progress bar in a terminal, and lines in a file or pipe."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from throughtime.tasks.shown import Shown, as_text

__all__ = ["Display"]

_log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 15.0


class _Console(Console):
    """A console that becomes silent if the reader of a pipe ends, as ``head`` does."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Display:
    """Prints the state of a training as one line: its progress, figures, speed and remaining time.

    Args:
        unit: the plural of what the speed counts.
        is_quiet: whether to print nothing, as in all processes but the first.
    """

    def __init__(self, unit: str, is_quiet: bool = False) -> None:
        self.console = _Console(quiet=is_quiet, highlight=False)
        self.unit = unit
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self.console,
            transient=True,
            auto_refresh=False,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=1.0, figures="")
        self._last_line = 0.0

    def start(self) -> None:
        """Displays the bar."""
        with self._told():
            self._bar.start()
        self._last_line = time.monotonic()

    def stop(self) -> None:
        """Removes the bar."""
        with self._told():
            self._bar.stop()

    def update(
        self,
        where: str,
        fraction: float,
        figures: Mapping[str, float],
        speed: float,
        seconds_left: float,
    ) -> None:
        """Prints the state.

        Args:
            where: the epoch or step, in words.
            fraction: the fraction of the training that is done, from 0 to 1.
            figures: the figures since the last row of metrics.csv.
            speed: the units per second.
            seconds_left: the seconds until the end.
        """
        names = {name: name.replace("_", " ") for name in figures}
        shown = [f"{names[name]} {value:.3f}" for name, value in figures.items()]
        left = timedelta(seconds=round(seconds_left))
        line = " · ".join([*shown, f"{speed:,.0f} {self.unit}/s", f"{left} left"])
        if self.console.is_terminal:
            self._bar.update(self._task, description=where, completed=fraction, figures=line)
            with self._told():
                self._bar.refresh()
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self.say(f"{where} · {fraction:4.0%} · {line}")
            self._last_line = time.monotonic()

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self._print(escape(text))

    def show(self, items: Sequence[Shown]) -> None:
        """Prints the items that a task displays, indented."""
        lines = (line for item in items for line in as_text(item).splitlines())
        body = "\n".join(f"    {line}" for line in lines)
        self._print(f"[dim]{escape(body)}[/dim]")

    def _print(self, markup: str) -> None:
        # Lone surrogates, and characters that the terminal cannot show, become escapes.
        encoding = self.console.encoding
        text = markup.encode(encoding, "backslashreplace").decode(encoding)
        with self._told():
            self.console.print(text, soft_wrap=True)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """A context in which the first error of printing is logged, and ends all printing."""
        try:
            yield
        except OSError as error:
            self.console.quiet = True
            _log.warning("The output cannot be written (%s). The training goes on.", error)
