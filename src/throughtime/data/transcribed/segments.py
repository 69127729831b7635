"""Files that say in which part of a signal each symbol is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from throughtime.data.files import read_once
from throughtime.data.text import decoded
from throughtime.data.transcribed.signals import Segment

__all__ = ["labels_at", "read_segments", "rescaled"]


def read_segments(
    file: Path, length: int | None = None, *, may_overlap: bool = False
) -> tuple[Segment, ...]:
    """The segments of a file in the form of TIMIT: begin, end and symbol on each line.

    Args:
        file: on each line two places in the signal, counted in samples from 0, and the symbol that
            is between them, with spaces. The second place is not part of the segment.
        length: the length of the signal; a segment that ends later is refused. None is unknown.
        may_overlap: whether a segment may begin before the one before it ends.

    Raises:
        ValueError: for a malformed line, or segments that overlap or are not in order.
    """
    segments: list[Segment] = []
    before = 0
    for number, line in enumerate(decoded(read_once(file), "utf-8", file).splitlines(), 1):
        if not line.strip():
            continue
        columns = line.split(None, 2)
        where = f"{file}, line {number}"
        is_whole = [column.isascii() and column.isdigit() for column in columns[:2]]
        if len(columns) < 3 or not all(is_whole):
            raise ValueError(
                f"{where}: expected two whole numbers and a symbol, got {line[:60]!r}. The numbers "
                "count samples (of a pen, points) from 0."
            )
        begin, end = int(columns[0]), int(columns[1])
        if not before <= begin < end:
            raise ValueError(
                f"{where}: expected a segment that begins at {before} or later and ends after its "
                f"beginning, got {begin} to {end}. Put the lines in order."
            )
        if length is not None and end > length:
            raise ValueError(
                f"{where}: expected a segment that ends at {length}, the length of the signal, or "
                f"before, got {end}."
            )
        segments.append(Segment(begin, end, columns[2].strip()))
        before = begin if may_overlap else end
    return tuple(segments)


def rescaled(segments: Sequence[Segment], factor: float, length: int) -> tuple[Segment, ...]:
    """The segments of a signal whose length is multiplied by a factor.

    >>> rescaled([Segment(0, 10, "a"), Segment(10, 21, "b")], 0.5, 10)
    (Segment(begin=0, end=5, symbol='a'), Segment(begin=5, end=10, symbol='b'))
    """
    scaled = ((round(a * factor), min(length, round(b * factor)), k) for a, b, k in segments)
    return tuple(Segment(a, b, k) for a, b, k in scaled if a < b)


def labels_at(segments: Sequence[Segment], places: np.ndarray) -> list[str | None]:
    """The symbol of the segment in which each place lies, or None.

    >>> labels_at([Segment(0, 4, "a"), Segment(6, 9, "b")], np.array([1, 4, 6, 20]))
    ['a', None, 'b', None]
    """
    begins = np.array([segment.begin for segment in segments])
    indices = np.searchsorted(begins, places, "right") - 1
    labels = []
    for index, place in zip(indices.tolist(), places.tolist(), strict=True):
        is_inside = index >= 0 and place < segments[index].end
        labels.append(segments[index].symbol if is_inside else None)
    return labels
