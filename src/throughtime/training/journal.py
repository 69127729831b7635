"""The record of a training: metrics.csv, samples.txt, the folder shown/ and the TensorBoard log."""

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
from throughtime.training.position import Row
from throughtime.training.tensorboard import Board

__all__ = ["Journal"]

_log = logging.getLogger(__name__)


class Journal:
    """The record of a run.

    A resumed run starts at the step of its checkpoint. The journal deletes its entries after that
    step, because the run writes them again.

    Args:
        run: the run folder.
        columns: the columns of metrics.csv after step, epoch, seconds and split.
        step: the step from which the run starts; 0 starts a new journal.
        warn: is called with a sentence if the TensorBoard log cannot be written.

    Raises:
        ReadError: if a file of an earlier call is damaged.
    """

    def __init__(
        self,
        run: Run,
        columns: list[str],
        step: int,
        warn: Callable[[str], object] = _log.warning,
    ) -> None:
        self.run = run
        # At step 0 any files are those of another run, and are not read.
        before, rows = read_metrics(run.metrics_file) if step > 0 else ([], [])
        # An earlier call may have added a column for a figure that was not declared.
        self.columns = list(dict.fromkeys([*PLACE, *columns, *before]))
        _write_rows(run.metrics_file, self.columns, rows, step)
        _keep_samples(run.samples_file, step)
        drop_shown(run, step)
        self._board = Board(run, step, warn)

    def write(self, rows: list[Row]) -> None:
        """Writes rows, and removes each from the list as soon as it is written.

        Raises:
            OSError: if a row cannot be written; the file is then as it was before this row.
        """
        while rows:
            row = rows[0]
            self.record(row.step, row.epoch, row.seconds, row.split, row.figures)
            del rows[0]

    def record(
        self, step: int, epoch: float, seconds: float, split: str, figures: Mapping[str, float]
    ) -> None:
        """Writes a row; a figure that no earlier row had becomes a new column.

        Raises:
            OSError: if the row cannot be written; the file is then unchanged.
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
        """Writes the items of a step: texts into samples.txt, all others into the folder shown/."""
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
    """Appends a line to a file; if that fails, the file is unchanged."""
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        if file.write(line) != len(line):
            file.truncate(size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _write_rows(path: Path, columns: list[str], rows: list[dict[str, str]], step: int) -> None:
    """Writes the header and the rows up to a step."""

    def write(partial: Path) -> None:
        with partial.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, columns)
            table.writeheader()
            table.writerows(row for row in rows if int(row["step"]) <= step)

    written_whole(path, write)


def _keep_samples(path: Path, step: int) -> None:
    """Deletes the samples after a step."""
    text = ""
    if step > 0 and path.is_file():
        # Bytes that are not UTF-8 are kept.
        text = text_of(path, errors="surrogateescape")
    parts = re.split(r"(?m)^(?==== step [0-9]{1,15} ===$)", text)
    kept = "".join(part for part in parts if _STEP.match(part) and int(part.split()[2]) <= step)
    written_whole(
        path,
        lambda partial: partial.write_text(kept, encoding="utf-8", errors="surrogateescape"),
    )


_STEP = re.compile(r"=== step [0-9]{1,15} ===\n")
