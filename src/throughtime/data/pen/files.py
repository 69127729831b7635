"""Reads what a pen has written from one file: CSV, the XML of IAM-OnDB, or UNIPEN."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from throughtime.data.csv_rows import csv_rows
from throughtime.data.files import read_once
from throughtime.data.line_ends import with_line_feeds
from throughtime.data.pen.iam import read_iam_strokes
from throughtime.data.pen.trajectory import Trajectory
from throughtime.data.pen.unipen import read_unipen
from throughtime.data.text import decoded

__all__ = ["PEN_SUFFIXES", "read_trajectory"]

PEN_SUFFIXES = (".csv", ".xml", ".unipen", ".upn", ".dat")
"""The endings of files with one trajectory: CSV, the XML of IAM-OnDB, and (the others) UNIPEN."""

_COLUMNS = ["x", "y", "pen_up"]


def read_trajectory(path: Path) -> Trajectory:
    """The trajectory of a file; of a UNIPEN file, all of its strokes must be one segment.

    A CSV file has the columns x, y and pen_up (1 where the pen is lifted after the point, else 0),
    and perhaps time, in seconds. y grows upwards.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for another ending, or a file that cannot be read, with its path and line.
    """
    suffix = path.suffix.lower()
    if suffix not in PEN_SUFFIXES:
        raise ValueError(
            f"{path}: expected a file of a pen, which ends with {', '.join(PEN_SUFFIXES)}, got "
            f"{path.suffix or 'no ending'!r}."
        )
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file.")
    if suffix == ".csv":
        return _csv_trajectory(path)
    if suffix == ".xml":
        return read_iam_strokes(path)
    segments = read_unipen(path)
    if len(segments) > 1:
        raise ValueError(
            f"{path}: expected one segment, got {len(segments)}. Write each into a file of its own."
        )
    return segments[0].trajectory


def _csv_trajectory(path: Path) -> Trajectory:
    text = with_line_feeds(decoded(read_once(path), "utf-8", path))
    if not text.strip():
        raise ValueError(f"{path}: expected the points of a pen, got an empty file.")
    rows = csv_rows(text, str(path))
    place, names = next(rows)
    header = [name.strip() for name in names]
    if sorted(header) not in (sorted(_COLUMNS), sorted([*_COLUMNS, "time"])):
        raise ValueError(
            f"{place}: expected the columns {', '.join(_COLUMNS)} and perhaps time, got "
            f"{', '.join(header)[:80]!r}."
        )
    points = []
    for where, row in rows:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise ValueError(f"{where}: expected {len(header)} columns, got {len(row)}.")
        try:
            values = dict(zip(header, map(float, row), strict=True))
        except ValueError:
            raise ValueError(f"{where}: expected numbers, got {','.join(row)[:60]!r}.") from None
        points.append(values)
    table = np.array([[point[name] for name in _COLUMNS] for point in points]).reshape(-1, 3)
    places, is_up = table[:, :2], table[:, 2:]
    ways = np.diff(places, axis=0, prepend=places[:1])
    times = np.array([point["time"] for point in points]) if "time" in header else None
    try:
        return Trajectory(np.column_stack([ways, is_up]), times)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
