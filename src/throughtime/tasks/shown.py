"""The kinds of output that a task displays.

Texts, tables, curves, pictures, drawings, sounds, scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

__all__ = [
    "Curves",
    "Drawing",
    "Picture",
    "Score",
    "Shown",
    "Sound",
    "Table",
    "Text",
    "as_text",
    "table_of",
]


@dataclass(frozen=True)
class Text:
    """Lines of text."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Args:
        columns: the names of the columns.
        rows: the rows, each with one cell per column.
        title: a caption.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    title: str = ""


@dataclass(frozen=True)
class Curves:
    """Curves over common points.

    Args:
        x: the points: numbers, or words that stand below the axis.
        y: the values of each curve at the points, by its name.
        title: a caption.
        x_name, y_name: what the axes measure.
    """

    x: Sequence[float] | Sequence[str]
    y: Mapping[str, Sequence[float]]
    title: str = ""
    x_name: str = ""
    y_name: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture.

    Args:
        pixels: (height, width) for grey, or (height, width, 3) for red, green and blue; values
            from 0 to 1.
        title: a caption.
    """

    pixels: Tensor
    title: str = ""


@dataclass(frozen=True)
class Drawing:
    """A drawing of lines.

    Args:
        svg: the SVG element, with lines in the colour of the text around it.
        title: a caption.
    """

    svg: str
    title: str = ""


@dataclass(frozen=True)
class Sound:
    """A sound.

    Args:
        samples: (N), one channel, values from -1 to 1.
        rate: the sampling rate in Hz.
        title: a caption.
    """

    samples: Tensor
    rate: int
    title: str = ""


@dataclass(frozen=True)
class Score:
    """A piece of music as a file.

    Args:
        content: the bytes of the file.
        suffix: the ending of its name, which says the format: ``mid``, ``abc``, ``musicxml``.
        title: a caption.
    """

    content: bytes
    suffix: str = "mid"
    title: str = ""


Shown = Text | Table | Curves | Picture | Drawing | Sound | Score


def table_of(curves: Curves) -> Table:
    """Curves as a table, with a row for each point."""
    rows = [
        [x, *(f"{y:.4f}" for y in values)]
        for x, *values in zip(curves.x, *curves.y.values(), strict=True)
    ]
    return Table([curves.x_name, *curves.y], rows, curves.title)


def as_text(item: Shown) -> str:
    """The item as lines for a terminal: a text unchanged, a table in columns, else the title.

    >>> print(as_text(Table(["n", "right"], [[1, "yes"], [10, "no"]])))
    n   right
    1   yes
    10  no
    """
    if isinstance(item, Text):
        return item.text
    if isinstance(item, Table):
        cells = [[str(cell) for cell in row] for row in (item.columns, *item.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in cells
        )
        return "\n".join([item.title, *lines] if item.title else lines)
    kind = type(item).__name__.lower()
    return f"[{kind}: {item.title}]" if item.title else f"[{kind}]"
