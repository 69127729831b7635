"""Data sets that the project draws itself: lines of writing, and signatures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from throughtime.data.pen.trajectory import Trajectory
from throughtime.data.pen.writer import draw_hand, write
from throughtime.data.pen.written import Written

__all__ = ["Signature", "drawn_lines", "drawn_signatures"]

_SEED = 0
_BEGINS = (
    "b c d f g h j k l m n p qu r s t v w x y z bl br ch cl cr dr fl fr gl gr kn ph pl pr sc sh sk "
    "sl sm sn sp st str sw th tr tw wh"
).split()
_MIDDLES = "a e i o u a e i o u ai ea ee oo ou".split()
_ENDS = (
    "b d g k l m n p r s t x ck ft ld lk ll lt mp nd ng nk nt rd rk rm rn rt sh ss st th ve ze"
).split()
# The number of words, writers and lines of each split.
_LINES = {"train": (3000, 60, 1800), "valid": (300, 10, 150), "test": (300, 20, 300)}
# The number of writers, of names that each of them writes, and of times that he writes it.
_SIGNATURES = {"train": (40, 8, 5), "valid": (20, 4, 5), "test": (20, 4, 5)}


class Signature(NamedTuple):
    """A name as a writer has drawn it this time.

    Args:
        writer: the number of the writer.
        name: the name.
        trajectory: the way of the pen.
    """

    writer: str
    name: str
    trajectory: Trajectory


@cache
def drawn_lines() -> dict[str, list[Written]]:
    """Lines of two to four words, numbers and punctuation, drawn by writers at random.

    Neither a writer nor a word of one split is in another one. The words are made of syllables, so
    that no language model can guess them.

    Returns:
        The lines of "train", "valid" and "test"; the same in each call.
    """
    draw = np.random.default_rng(_SEED)
    words = _words(draw, sum(number for number, _, _ in _LINES.values()))
    splits: dict[str, list[Written]] = {}
    for split, (num_words, num_writers, num_lines) in _LINES.items():
        own, words = words[:num_words], words[num_words:]
        hands = [draw_hand(draw) for _ in range(num_writers)]
        texts = [_text(draw, own) for _ in range(num_lines)]
        splits[split] = [
            Written(text, write(text, hands[i % num_writers], draw)) for i, text in enumerate(texts)
        ]
    return splits


@cache
def drawn_signatures() -> dict[str, list[Signature]]:
    """Names that several writers draw several times each, in one stroke with a flourish.

    All writers of a split draw the same names, so that a drawing by one writer is a forgery of the
    others' signatures of this name. Neither a writer nor a name of one split is in another one.

    Returns:
        The signatures of "train", "valid" and "test"; the same in each call.
    """
    draw = np.random.default_rng(_SEED + 1)
    names = _words(draw, sum(number for _, number, _ in _SIGNATURES.values()), least=2)
    splits: dict[str, list[Signature]] = {}
    number = 0
    for split, (num_writers, num_names, times) in _SIGNATURES.items():
        own, names = names[:num_names], names[num_names:]
        splits[split] = []
        for _ in range(num_writers):
            number += 1
            hand = draw_hand(draw, is_joined=True)
            splits[split] += [
                Signature(f"writer {number}", name, write(name, hand, draw))
                for name in own
                for _ in range(times)
            ]
    return splits


def _one(draw: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(draw.integers(len(choices)))]


def _words(draw: np.random.Generator, number: int, least: int = 1) -> list[str]:
    """Words of ``least`` to three syllables, no two alike."""
    words: dict[str, None] = {}
    while len(words) < number:
        syllables = [
            _one(draw, _BEGINS) + _one(draw, _MIDDLES)
            for _ in range(int(draw.integers(least, 3 + (draw.random() < 0.2))))
        ]
        words["".join(syllables) + (_one(draw, _ENDS) if draw.random() < 0.6 else "")] = None
    return list(words)


def _text(draw: np.random.Generator, words: list[str]) -> str:
    """A line of two to four words, some of which are numbers, with punctuation."""
    parts = []
    for _ in range(int(draw.integers(2, 5))):
        kind = draw.random()
        if kind < 0.15:
            parts.append(str(draw.integers(10_000)))
        elif kind < 0.2:
            parts.append(f"{_one(draw, words)}-{_one(draw, words)}")
        elif kind < 0.25:
            parts.append(f"{_one(draw, words)}'s")
        else:
            parts.append(_one(draw, words) + ("," if draw.random() < 0.15 else ""))
    end = _one(draw, [".", "?", "!", "", "", ""])
    return " ".join(parts).removesuffix(",") + end
