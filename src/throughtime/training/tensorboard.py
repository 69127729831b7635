"""The TensorBoard log of a run.

A log that cannot be written causes one warning and never ends a training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from throughtime.tasks.run import Run
from throughtime.tasks.shown import Picture, Shown, Sound

__all__ = ["Board"]


class Board:
    """Writes figures, texts, pictures and sounds for TensorBoard.

    Args:
        run: the run folder that holds the log.
        step: the step from which the training starts; TensorBoard hides later entries of earlier
            calls.
        warn: is called with a sentence if the log cannot be written; the log then stays as it is.
    """

    def __init__(self, run: Run, step: int, warn: Callable[[str], object]) -> None:
        self._warn = warn
        self._writer: Any = None
        self._do(lambda: self._open(run, step))

    def _open(self, run: Run, step: int) -> None:
        # Imported here because the import takes seconds, and only trainings need it.
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(run.tensorboard_folder), purge_step=step + 1)

    def figures(self, step: int, split: str, figures: Mapping[str, float]) -> None:
        """Adds a point to the curve of each figure."""
        for name, value in figures.items():
            self._write(lambda w, n=name, v=value: w.add_scalar(_utf8(f"{n}/{split}"), v, step))

    def text(self, step: int, text: str) -> None:
        """Adds a text as a sample."""
        self._write(lambda w: w.add_text("sample", _utf8(f"<pre>{text}</pre>"), step))

    def show(self, step: int, item: Shown) -> None:
        """Adds a picture or a sound; the text of the step covers all other items."""
        match item:
            case Picture(pixels, title):
                layout = "HW" if pixels.dim() == 2 else "HWC"
                title = _utf8(title or "picture")
                self._write(lambda w: w.add_image(title, pixels, step, dataformats=layout))
            case Sound(samples, rate, title):
                title = _utf8(title or "sound")
                self._write(lambda w: w.add_audio(title, samples, step, sample_rate=rate))
            case _:
                pass

    def close(self) -> None:
        """Writes all entries that are still in memory, and closes the log."""
        self._write(lambda w: w.close())

    def _write(self, write: Callable[[Any], object]) -> None:
        if self._writer is not None:
            self._do(lambda: write(self._writer))

    def _do(self, action: Callable[[], object]) -> None:
        try:
            action()
        # The library writes in a thread, whose errors appear in any later call.
        except Exception as error:
            self._writer = None
            self._warn(
                f"Warning: the TensorBoard log cannot be written ({type(error).__name__}: "
                f"{error}). The training goes on without it."
            )


def _utf8(text: str) -> str:
    """The text with escapes for lone surrogates, which UTF-8 cannot encode."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
