"""The edit distance between two sequences: insertions, deletions and replacements."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

__all__ = ["edit_distance"]


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """The smallest number of insertions, deletions and replacements that turn ``a`` into ``b``.

    Args:
        a, b: texts, compared by their characters; or lists of hashable items.

    The function computes the table of Wagner and Fischer row by row. Neighbouring entries of a row
    differ by -1, 0 or 1, so a row is stored as two integers, whose bit j says whether the distance
    rises, or falls, from column j to column j + 1. A row is then updated with a few operations on
    whole integers.

    Source: Wagner and Fischer, The string-to-string correction problem, J. ACM 21 (1974); Hyyrö,
    A bit-vector algorithm for computing Levenshtein and Damerau edit distances (2003), figure 3.

    >>> edit_distance("kitten", "sitting"), edit_distance(["AH", "T"], ["T"])
    (3, 1)
    """
    if not b:
        return len(a)
    # For each item of b, a bit for each column in which it occurs.
    columns: dict[Hashable, int] = {}
    for j, y in enumerate(b):
        columns[y] = columns.get(y, 0) | 1 << j
    all_columns, last_column = (1 << len(b)) - 1, 1 << (len(b) - 1)
    # The first row is 0, 1, 2 …: it rises in every column.
    rises, falls, distance = all_columns, 0, len(b)
    for x in a:
        match = columns.get(x, 0)
        # A match costs nothing, so the distance is the one diagonally above. The carry of this sum
        # extends that to the rises after the match.
        free = (((match & rises) + rises) ^ rises) | match
        # The columns in which the distance is one more, or one less, than in the row above.
        up, down = falls | (all_columns & ~(free | rises)), rises & free
        distance += bool(up & last_column) - bool(down & last_column)
        # Compare with the column before; the one before the first is always one more than above.
        up, down, free = up << 1 | 1, down << 1, match | falls
        rises, falls = all_columns & (down | ~(free | up)), all_columns & up & free
    return distance
