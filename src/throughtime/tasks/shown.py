"""What a task shows a person along the way: texts, tables, pictures, sounds and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Picture", "Score", "Shown", "Sound", "Table", "Text"]


@dataclass(frozen=True)
class Text:
    """Lines of text."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Args:
        columns: the names of the columns.
        rows: as many cells each as there are columns.
        title: a caption.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    title: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture.

    Args:
        pixels: (height, width) grey, or (height, width, 3) colours, from 0 to 1.
        title: a caption.
    """

    pixels: Tensor
    title: str = ""


@dataclass(frozen=True)
class Sound:
    """A sound.

    Args:
        samples: (N) of one channel, from -1 to 1.
        rate: samples a second, in Hz.
        title: a caption.
    """

    samples: Tensor
    rate: int
    title: str = ""


@dataclass(frozen=True)
class Score:
    """A piece of music as a file.

    Args:
        content: of the file.
        suffix: of its name, which says the format: ``mid``, ``abc``, ``musicxml``.
        title: a caption.
    """

    content: bytes
    suffix: str = "mid"
    title: str = ""


Shown = Text | Table | Picture | Sound | Score
