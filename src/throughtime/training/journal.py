"""What is written down along the way: metrics.csv, samples.txt, the TensorBoard log."""

from __future__ import annotations

import csv
import errno
import io
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from throughtime.inspection.metrics import PLACE, read_metrics
from throughtime.inspection.shown_files import drop_shown, write_shown
from throughtime.reading import text_of
from throughtime.tasks.run import Run, written_whole
from throughtime.tasks.shown import Shown, as_text
from throughtime.training.board import Board

__all__ = ["Journal"]

_log = logging.getLogger(__name__)


class Journal:
    """The written record of a run.

    A run that is resumed goes back to the step of its checkpoint: what the journal holds beyond
    it is dropped, for it will be written again.

    Args:
        run: where it is written.
        columns: of metrics.csv, after step, epoch, seconds and split.
        step: the step that the run starts from; 0 begins a new journal.
        warn: takes a sentence if the TensorBoard log cannot be written.

    Raises:
        ReadError: if what an earlier call wrote is damaged.
    """

    def __init__(
        self,
        run: Run,
        columns: list[str],
        step: int,
        warn: Callable[[str], object] = _log.warning,
    ) -> None:
        self.run = run
        # Another run, of which nothing is read, may have left files in the folder.
        before, rows = read_metrics(run.metrics_file) if step > 0 else ([], [])
        # A figure that was not declared has widened the table before.
        self.columns = list(dict.fromkeys([*PLACE, *columns, *before]))
        _write_rows(run.metrics_file, self.columns, rows, step)
        _keep_samples(run.samples_file, step)
        drop_shown(run, step)
        self._board = Board(run, step, warn)

    def record(
        self, step: int, epoch: float, seconds: float, split: str, figures: Mapping[str, float]
    ) -> None:
        """Writes one row; a figure that no row had before becomes a column.

        Raises:
            OSError: if the row cannot be written; then the file is as it was.
        """
        new = [name for name in figures if name not in self.columns]
        if new:
            rows = read_metrics(self.run.metrics_file)[1]
            _write_rows(self.run.metrics_file, [*self.columns, *new], rows, step)
            self.columns += new
        row: dict[str, Any] = {name: f"{value:.6g}" for name, value in figures.items()}
        row |= {"step": step, "epoch": f"{epoch:.4f}", "seconds": f"{seconds:.1f}", "split": split}
        line = io.StringIO(newline="")
        csv.DictWriter(line, self.columns).writerow(row)
        _append(self.run.metrics_file, line.getvalue().encode("utf-8", "backslashreplace"))
        self._board.figures(step, split, figures)

    def show(self, step: int, items: Sequence[Shown]) -> None:
        """Writes what the task shows at this step: texts into samples.txt, the rest as files."""
        text = "\n".join(as_text(item) for item in items)
        with self.run.samples_file.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"=== step {step} ===\n{text}\n\n")
        self._board.text(step, text)
        for number, item in enumerate(items):
            self._board.show(step, item)
            write_shown(self.run, step, number, item)

    def close(self) -> None:
        """Closes the files."""
        self._board.close()


def _append(path: Path, line: bytes) -> None:
    """Adds a line to a file, or leaves the file as it was."""
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        if file.write(line) != len(line):
            file.truncate(size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _write_rows(path: Path, columns: list[str], rows: list[dict[str, str]], step: int) -> None:
    """Leaves the header, and the rows up to a step."""

    def write(partial: Path) -> None:
        with partial.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, columns)
            table.writeheader()
            table.writerows(row for row in rows if int(row["step"]) <= step)

    written_whole(path, write)


def _keep_samples(path: Path, step: int) -> None:
    """Leaves the samples up to a step."""
    text = ""
    if step > 0 and path.is_file():
        # Bytes that are no text stay as they are.
        text = text_of(path, errors="surrogateescape")
    parts = re.split(r"(?m)^(?==== step [0-9]{1,15} ===$)", text)
    kept = "".join(part for part in parts if _STEP.match(part) and int(part.split()[2]) <= step)
    written_whole(
        path,
        lambda partial: partial.write_text(kept, encoding="utf-8", errors="surrogateescape"),
    )


_STEP = re.compile(r"=== step [0-9]{1,15} ===\n")
