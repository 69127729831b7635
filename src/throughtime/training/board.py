"""The TensorBoard log of a run, which is only for looking at: what fails in it is told once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from throughtime.tasks.run import Run
from throughtime.tasks.shown import Picture, Shown, Sound

__all__ = ["Board"]


class Board:
    """Writes figures, texts, pictures and sounds for TensorBoard.

    Args:
        run: where the log lies.
        step: the step that the training starts from; later entries of an earlier call are hidden.
        warn: takes a sentence if the log cannot be written; nothing more is written then.
    """

    def __init__(self, run: Run, step: int, warn: Callable[[str], object]) -> None:
        self._warn = warn
        self._writer: Any = None
        self._do(lambda: self._open(run, step))

    def _open(self, run: Run, step: int) -> None:
        # It needs a while to import, and only trainings need it.
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(run.tensorboard_folder), purge_step=step + 1)

    def figures(self, step: int, split: str, figures: Mapping[str, float]) -> None:
        """Adds a point to the curve of each figure."""
        for name, value in figures.items():
            self._write(lambda w, n=name, v=value: w.add_scalar(_utf8(f"{n}/{split}"), v, step))

    def text(self, step: int, text: str) -> None:
        """Adds a sample."""
        self._write(lambda w: w.add_text("sample", _utf8(f"<pre>{text}</pre>"), step))

    def show(self, step: int, item: Shown) -> None:
        """Adds a picture or a sound; other items are in the text."""
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
        """Writes what is left, and closes the log."""
        self._write(lambda w: w.close())

    def _write(self, write: Callable[[Any], object]) -> None:
        if self._writer is not None:
            self._do(lambda: write(self._writer))

    def _do(self, action: Callable[[], object]) -> None:
        try:
            action()
        # Its writer is a thread of its own, whose errors come with any later call.
        except Exception as error:
            self._writer = None
            self._warn(
                f"Warning: the TensorBoard log cannot be written ({type(error).__name__}: "
                f"{error}). The training goes on without it."
            )


def _utf8(text: str) -> str:
    """The text as UTF-8 can hold it: half a surrogate pair becomes an escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
