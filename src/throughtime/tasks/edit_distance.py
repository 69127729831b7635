"""How far two sequences are from one another, in insertions, deletions and replacements."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

__all__ = ["edit_distance"]


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """The least number of insertions, deletions and replacements that make ``b`` of ``a``.

    Args:
        a, b: texts, whose characters are compared; or lists of anything.

    Source: Wagner and Fischer, The string-to-string correction problem, J. ACM 21 (1974).

    >>> edit_distance("kitten", "sitting"), edit_distance(["AH", "T"], ["T"])
    (3, 1)
    """
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above_left, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            above = row[j]
            row[j] = min(above + 1, row[j - 1] + 1, above_left + (x != y))
            above_left = above
    return row[-1]
