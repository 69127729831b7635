"""The rows of a CSV text, with their places for messages."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

__all__ = ["csv_rows"]


def csv_rows(text: str, where: str) -> Iterator[tuple[str, list[str]]]:
    """The place and the cells of each row that is not empty, the header first.

    Args:
        text: the content of the file.
        where: the name of the file.

    Raises:
        ValueError: for a text that is no CSV, such as one with a quote that is never closed and
            very much text after it.

    >>> list(csv_rows("x,y\\n\\n1,2\\n", "a.csv"))
    [('a.csv, line 1', ['x', 'y']), ('a.csv, line 3', ['1', '2'])]
    """
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        for cells in rows:
            if cells:
                yield f"{where}, line {rows.line_num}", cells
    except csv.Error as error:
        raise ValueError(f"{where}, line {rows.line_num}: not CSV: {error}.") from error
