"""What is written down along the way: metrics.csv, samples.txt, the TensorBoard log."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from throughtime.inspection.shown_files import drop_shown, write_shown
from throughtime.tasks.run import Run, written_whole
from throughtime.tasks.shown import Picture, Shown, Sound, as_text

__all__ = ["Journal"]


class Journal:
    """The written record of a run.

    A run that is resumed goes back to the step of its checkpoint: what the journal holds beyond
    it is dropped, for it will be written again.

    Args:
        run: where it is written.
        columns: of metrics.csv, after step, epoch, seconds and split.
        step: the step that the run starts from; 0 begins a new journal.
    """

    def __init__(self, run: Run, columns: list[str], step: int) -> None:
        # SummaryWriter needs a while to import, and only trainings need it.
        from torch.utils.tensorboard.writer import SummaryWriter

        self.run = run
        columns = ["step", "epoch", "seconds", "split", *columns]
        # A figure that was not declared has widened the table before.
        self.columns = list(dict.fromkeys([*columns, *_columns(run.metrics_file, step)]))
        _keep_rows(run.metrics_file, self.columns, step)
        _keep_samples(run.samples_file, step)
        drop_shown(run, step)
        self._open()
        self._board = SummaryWriter(str(run.tensorboard_folder), purge_step=step + 1)

    def record(
        self, step: int, epoch: float, seconds: float, split: str, figures: Mapping[str, float]
    ) -> None:
        """Writes one row; a figure that no row had before becomes a column."""
        new = [name for name in figures if name not in self.columns]
        if new:
            self.columns += new
            self._csv.close()
            _keep_rows(self.run.metrics_file, self.columns, step)
            self._open()
        row: dict[str, Any] = {name: f"{value:.6g}" for name, value in figures.items()}
        row |= {"step": step, "epoch": f"{epoch:.4f}", "seconds": f"{seconds:.1f}", "split": split}
        self._rows.writerow(row)
        self._csv.flush()
        for name, value in figures.items():
            self._board.add_scalar(f"{name}/{split}", value, step)

    def _open(self) -> None:
        self._csv = self.run.metrics_file.open("a", newline="", encoding="utf-8")
        self._rows = csv.DictWriter(self._csv, self.columns)

    def show(self, step: int, items: Sequence[Shown]) -> None:
        """Writes what the task shows at this step: texts into samples.txt, the rest as files."""
        text = "\n".join(as_text(item) for item in items)
        with self.run.samples_file.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"=== step {step} ===\n{text}\n\n")
        self._board.add_text("sample", f"<pre>{text}</pre>", step)
        for number, item in enumerate(items):
            match item:
                case Picture(pixels, title):
                    layout = "HW" if pixels.dim() == 2 else "HWC"
                    self._board.add_image(title or "picture", pixels, step, dataformats=layout)
                case Sound(samples, rate, title):
                    self._board.add_audio(title or "sound", samples, step, sample_rate=rate)
            write_shown(self.run, step, number, item)

    def close(self) -> None:
        """Closes the files."""
        self._csv.close()
        self._board.close()


def _columns(path: Path, step: int) -> list[str]:
    """The columns of the table of a run that goes on."""
    if step == 0 or not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file).fieldnames or [])


def _keep_rows(path: Path, columns: list[str], step: int) -> None:
    """Leaves the rows up to a step, and the header."""
    kept: list[dict[str, str]] = []
    if step > 0 and path.is_file():
        # A row that a kill has cut short lacks values.
        with path.open(newline="", encoding="utf-8") as file:
            kept = [
                row
                for row in csv.DictReader(file)
                if set(row) <= set(columns)
                and None not in row.values()
                and int(row["step"]) <= step
            ]

    def write(partial: Path) -> None:
        with partial.open("w", newline="", encoding="utf-8") as file:
            rows = csv.DictWriter(file, columns)
            rows.writeheader()
            rows.writerows(kept)

    written_whole(path, write)


def _keep_samples(path: Path, step: int) -> None:
    """Leaves the samples up to a step."""
    text = path.read_text(encoding="utf-8") if step > 0 and path.is_file() else ""
    parts = re.split(r"(?m)^(?==== step \d+ ===$)", text)
    kept = [p for p in parts if p and int(p.split()[2]) <= step]
    written_whole(path, lambda partial: partial.write_text("".join(kept), encoding="utf-8"))
