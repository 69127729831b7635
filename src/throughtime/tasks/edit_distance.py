"""How far two sequences are from one another, in insertions, deletions and replacements."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

__all__ = ["edit_distance"]


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """The least number of insertions, deletions and replacements that make ``b`` of ``a``.

    Args:
        a, b: texts, whose characters are compared; or lists of anything.

    The table of Wagner and Fischer, of which a whole row is one number: neighbours differ by one
    at most, and the bits say which ones are greater and which are less.

    Source: Wagner and Fischer, The string-to-string correction problem, J. ACM 21 (1974); Hyyrö,
    A bit-vector algorithm for computing Levenshtein and Damerau edit distances (2003), figure 3.

    >>> edit_distance("kitten", "sitting"), edit_distance(["AH", "T"], ["T"])
    (3, 1)
    """
    if not b:
        return len(a)
    places: dict[Hashable, int] = {}
    for j, y in enumerate(b):
        places[y] = places.get(y, 0) | 1 << j
    every, last = (1 << len(b)) - 1, 1 << (len(b) - 1)
    # Of a row: where it rises from place to place of b, and where it falls.
    rises, falls, distance = every, 0, len(b)
    for x in a:
        same = places.get(x, 0)
        down = (((same & rises) + rises) ^ rises) | same
        # From the row before to this one, place by place.
        more, less = falls | (every & ~(down | rises)), rises & down
        distance += bool(more & last) - bool(less & last)
        more, less, across = more << 1 | 1, less << 1, same | falls
        rises, falls = every & (less | ~(across | more)), every & more & across
    return distance
