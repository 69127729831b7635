"""Reads metrics.csv, and checks it, because a person may have edited it."""

from __future__ import annotations

import math
from pathlib import Path

from throughtime.reading import ReadError, entry, rows_of, shown

__all__ = ["PLACE", "read_metrics"]

PLACE = ("step", "epoch", "seconds", "split")
"""The columns that describe when a row was measured and on which split of the data."""


def read_metrics(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Reads the names of the columns, and the rows as strings; both are empty without a file.

    Raises:
        ReadError: if a column is missing or a cell is not a number; the message states line and
            column.
    """
    if not path.is_file():
        return [], []
    columns, rows = rows_of(path)
    missing = [name for name in PLACE if name not in columns]
    if missing and columns:
        raise ReadError(f"{path}, line 1", f'expected a column "{missing[0]}", got none.')
    for line, row in rows:
        for name, cell in row.items():
            if name != "split" and not _is_number(name, cell):
                raise ReadError(
                    entry(f"{path}, line {line}", name),
                    f"expected {'a whole number' if name == 'step' else 'a number'}, got "
                    f"{shown(cell)}. Put it right, or remove the line.",
                )
    return columns, [row for _, row in rows]


def _is_number(name: str, cell: str) -> bool:
    if name == "step":
        return cell.isascii() and cell.isdigit() and len(cell) < 16
    if not cell:
        return name not in PLACE
    try:
        value = float(cell)
    except ValueError:
        return False
    # A figure, such as a diverged loss, may be infinite; a time may not.
    return name not in PLACE or math.isfinite(value)
