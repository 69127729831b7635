"""Cuts long pieces into excerpts that are trained apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Excerpt", "excerpts_of"]


class Excerpt(NamedTuple):
    """The steps from ``start`` to before ``end`` of a piece, given by its index."""

    piece: int
    start: int
    end: int


def excerpts_of(lengths: Sequence[int], longest: int | None) -> list[Excerpt]:
    """The excerpts of pieces, which cover each step once.

    Args:
        lengths: the number of steps of each piece.
        longest: the largest number of steps of an excerpt; None leaves the pieces whole.

    >>> [tuple(excerpt) for excerpt in excerpts_of([5, 2], 3)]
    [(0, 0, 3), (0, 3, 5), (1, 0, 2)]
    """
    return [
        Excerpt(piece, start, min(length, start + (longest or length)))
        for piece, length in enumerate(lengths)
        for start in range(0, length, longest or max(1, length))
    ]
