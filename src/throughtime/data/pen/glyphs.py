"""A font of strokes: the points through which a pen draws letters, digits and punctuation."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

__all__ = ["FORMS", "Glyph", "glyph", "smooth"]

# The numbers are tenths of the height of an x: the baseline is at y = 0, small letters reach 10,
# tall ones 20, and tails -10. A semicolon lifts the pen, and a slash is a corner: the line goes on
# from the point before it. The line is smooth between corners. Some have several forms.
FORMS: dict[str, tuple[str, ...]] = {
    "a": (
        "8,8 5,10 1,8 0,4 2,0 5,1 8,8/8,2 10,0",
        "1,9 4,10 7,8 7,2 9,0;7,6 2,5 0,2 3,0 7,3",
    ),
    "b": ("0,20 0,0/0,6 3,10 7,8 7,3 4,0 0,2", "1,20 0,5 2,0 6,1 7,6 4,9 0,6"),
    "c": ("7,8 4,10 1,8 0,4 2,0 5,0 7,2",),
    "d": ("8,8 5,10 1,8 0,4 2,0 5,1 8,8/8,20/8,2 10,0", "8,20 8,0;8,8 4,10 0,6 1,1 5,0 8,3"),
    "e": ("0,5 7,5/7,8 4,10 1,8 0,4 2,0 5,0 8,2",),
    "f": ("7,18 5,20 3,18 3,10 3,0;0,10 6,10", "7,18 5,20 3,17 3,0 2,-8 0,-9;0,9 6,9"),
    "g": ("8,8 5,10 1,8 0,4 2,1 5,1 8,8/8,-4 6,-9 3,-10 0,-7",),
    "h": ("0,20 0,0/0,5 3,10 6,9 7,6 7,0",),
    "i": ("0,10 0,2 2,0;0,14",),
    "j": ("3,10 3,-6 1,-10 -2,-8;3,14",),
    "k": ("0,20 0,0;6,10 0,4/7,0", "0,20 0,0/0,5 4,9 5,6 1,5/7,0"),
    "l": ("0,20 0,2 2,0 3,1", "0,8 4,17 2,20 0,16 1,2 3,0"),
    "m": ("0,10 0,0/0,6 3,10 5,8 5,0/5,6 8,10 10,8 10,0",),
    "n": ("0,10 0,0/0,6 3,10 6,8 6,0",),
    "o": ("4,10 1,8 0,4 2,0 5,0 8,4 7,8 4,10",),
    "p": ("0,10 0,-10/0,6 3,10 7,8 7,3 4,0 0,2",),
    "q": ("8,8 5,10 1,8 0,4 2,0 5,1 8,8/8,-10/10,-7",),
    "r": ("0,10 0,0/0,6 3,10 5,9",),
    "s": ("6,8 3,10 0,8 2,5 5,4 6,2 3,0 0,2",),
    "t": ("3,17 3,3 5,0 7,1;0,10 6,10", "0,10 6,10;3,17 3,0"),
    "u": ("0,10 0,3 3,0 6,3 6,10/6,2 8,0",),
    "v": ("0,10 4,0/8,10",),
    "w": ("0,10 3,0/5,8/8,0/11,10", "0,10 1,2 3,0 5,3 5,8/6,1 8,0 10,4 10,10"),
    "x": ("0,10 7,0;7,10 0,0",),
    "y": ("0,10 0,5 3,2 6,5 7,10/7,-5 4,-10 1,-8", "0,10 4,1;8,10 1,-10"),
    "z": ("0,10 7,10/0,0/7,0", "0,10 7,10/0,0/7,0;1,5 6,5"),
    "0": ("5,20 1,17 0,10 2,1 5,0 9,3 10,10 8,18 5,20",),
    "1": ("0,15 4,20/4,0",),
    "2": ("0,16 3,20 8,19 9,14 5,7 0,0/9,0",),
    "3": ("0,18 4,20 8,17 7,12 3,10/8,9 9,4 5,0 0,2",),
    "4": ("5,20 0,7/10,7;7,12 7,0",),
    "5": ("8,20 1,20/0,11/5,12 9,8 8,2 4,0 0,2", "0,20 0,11/5,12 9,8 8,2 4,0 0,2;0,20 8,20"),
    "6": ("7,19 2,14 0,6 2,0 6,0 8,4 6,9 1,6",),
    "7": ("0,20 9,20/3,0", "0,20 9,20/3,0;2,10 8,10"),
    "8": ("7,17 4,20 1,17 3,12 7,7 7,2 3,0 0,3 2,8 6,13 7,17",),
    "9": ("8,16 5,20 1,18 0,14 3,11 8,16/7,6 4,0",),
    ".": ("0,1",),
    ",": ("1,1 0,-3",),
    "'": ("1,20 0,16",),
    "-": ("0,6 5,6",),
    "!": ("0,20 0,5;0,1",),
    "?": ("0,17 3,20 7,18 6,13 3,9 3,5;3,1",),
}
"""The forms of each character."""

_PER_PIECE = 6


class Glyph(NamedTuple):
    """A form of a character; its line is a linear map of the points through which it goes.

    Args:
        places: (K, 2), these points, in heights of an x.
        strokes: for each stroke (n, K); times the places they are the points of its line (n, 2).
    """

    places: np.ndarray
    strokes: tuple[np.ndarray, ...]


@cache
def glyph(character: str, form: int = 0) -> Glyph:
    """A form of a character of `FORMS`."""
    places: list[list[float]] = []
    maps: list[list[tuple[list[int], np.ndarray]]] = []
    for stroke in FORMS[character][form].split(";"):
        pieces, before = [], list[int]()
        for piece in stroke.split("/"):
            new = [[float(number) / 10 for number in word.split(",")] for word in piece.split()]
            indices = [*before, *range(len(places), len(places) + len(new))]
            places += new
            pieces.append((indices, smooth(len(indices))))
            before = indices[-1:]
        maps.append(pieces)
    strokes = []
    for pieces in maps:
        rows = []
        for k, (indices, weights) in enumerate(pieces):
            row = np.zeros((len(weights), len(places)))
            row[:, indices] = weights
            # A piece begins where the one before it ends.
            rows.append(row[1:] if k else row)
        strokes.append(np.concatenate(rows))
    return Glyph(np.array(places), tuple(strokes))


def smooth(number: int) -> np.ndarray:
    r"""The weights with which a Catmull-Rom spline goes through points, (n, number).

    Between the points p_1 and p_2, with the neighbours p_0 and p_3 and u from 0 to 1:

        p(u) = p_1 + u/2 (p_2 - p_0) + u^2/2 (2 p_0 - 5 p_1 + 4 p_2 - p_3)
                   + u^3/2 (3 p_1 - p_0 - 3 p_2 + p_3)

    A neighbour that is missing at an end is the reflection of the inner one: p_0 = 2 p_1 - p_2.
    """
    if number == 1:
        return np.ones((1, 1))
    inner = np.eye(number)
    whole = np.vstack([2 * inner[0] - inner[1], inner, 2 * inner[-1] - inner[-2]])
    u = (np.arange(_PER_PIECE) / _PER_PIECE)[:, None]
    rows = []
    for k in range(number - 1):
        p0, p1, p2, p3 = whole[k : k + 4]
        rows.append(
            p1
            + u / 2 * (p2 - p0)
            + u**2 / 2 * (2 * p0 - 5 * p1 + 4 * p2 - p3)
            + u**3 / 2 * (3 * p1 - p0 - 3 * p2 + p3)
        )
    return np.concatenate([*rows, inner[-1:]])
