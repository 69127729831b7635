"""Connectionist temporal classification: decoding, and the alignment of a known transcript."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from throughtime.checks import whole_number

__all__ = [
    "BLANK",
    "CTCHypothesis",
    "SymbolScorer",
    "aligned",
    "best_path",
    "num_steps_needed",
    "prefix_search",
]

BLANK = 0
"""The class that stands for no symbol."""


class CTCHypothesis(NamedTuple):
    """A transcript and its score.

    Args:
        symbols: the classes, without blanks.
        log_probability: the logarithm of the sum over all of its alignments that were followed.
        score: by which transcripts are ranked: the logarithm, with what a :class:`SymbolScorer`
            adds to it.
    """

    symbols: tuple[int, ...]
    log_probability: float
    score: float


class SymbolScorer(Protocol):
    """Scores transcripts symbol by symbol, such as a language model."""

    def scores(self, symbols: tuple[int, ...]) -> Sequence[float]:
        """What each class adds to the score if it follows these symbols, (C); not of class 0."""
        ...

    def end(self, symbols: tuple[int, ...]) -> float:
        """What it adds to the score if the transcript ends after these symbols."""
        ...


def num_steps_needed(symbols: Sequence[int]) -> int:
    """The least number of steps in which a transcript can be written.

    Two equal neighbours need a blank between them.

    >>> num_steps_needed([3, 3, 4])
    4
    """
    repeats = sum(a == b for a, b in pairwise(symbols))
    return len(symbols) + repeats


def best_path(log_probs: Tensor) -> tuple[list[int], list[int]]:
    """The transcript of the likeliest class of each step, and the step at which each symbol begins.

    Args:
        log_probs: (T, C) the logarithms of the probabilities of the classes; class 0 is the blank.

    >>> best_path(torch.tensor([[0.1, 0.9], [0.1, 0.9], [0.9, 0.1], [0.2, 0.8]]).log())
    ([1, 1], [0, 3])
    """
    symbols, steps, before = [], [], BLANK
    for t, symbol in enumerate(log_probs.argmax(-1).tolist()):
        if symbol not in (BLANK, before):
            symbols.append(symbol)
            steps.append(t)
        before = symbol
    return symbols, steps


def prefix_search(
    log_probs: Tensor, width: int, scorer: SymbolScorer | None = None
) -> list[CTCHypothesis]:
    r"""The likeliest transcripts, by a beam search over their beginnings.

    Each beginning l has the probability b_t(l) of all alignments up to step t that end with a
    blank, and n_t(l) of those that end with its last symbol:

        b_t(l)   = p_t(blank) (b_{t-1}(l) + n_{t-1}(l))
        n_t(l)   = p_t(l_end) (n_{t-1}(l) + b_{t-1}(l'))                    l = l' l_end, as well
        n_t(l k) = p_t(k) (b_{t-1}(l) + [k != l_end] n_{t-1}(l))

    With a scorer, which gives r(k | l) for the symbol k after the beginning l and e(l) for its end,
    beginnings are ranked by log(b_t(l) + n_t(l)) + sum_u r(l_u | l_1 … l_{u-1}), and transcripts by
    that sum and e(l). If the beam is as wide as the number of all beginnings, the result is exact.

    Args:
        log_probs: (T, C) the logarithms of the probabilities of the classes; class 0 is the blank.
        width: the number of beginnings that are kept after each step.
        scorer: scores the symbols of a transcript in addition; None adds nothing.

    Returns:
        At most ``width`` transcripts, the best first.

    Source: Graves et al. (2006), section 3.2; Hannun et al., arXiv 1408.2873, algorithm 1, where
    the scorer is a language model of words.

    >>> prefix_search(torch.tensor([[0.6, 0.4], [0.6, 0.4]]).log(), 2)[0].symbols
    (1,)
    """
    whole_number("prefix_search", "width", width)
    rows = log_probs.double().cpu()
    # Only the likeliest classes, besides the blank and the last symbol, can enter a beam that is
    # ranked by the probabilities alone.
    num_kept = rows.shape[1] if scorer else min(width + 2, rows.shape[1])
    # For each beginning the logarithms of b and n.
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    # What the scorer has added to each beginning.
    added: dict[tuple[int, ...], float] = {(): 0.0}
    for row in rows:
        values = row.tolist()
        classes = [k for k in row.topk(num_kept).indices.tolist() if k != BLANK]
        after: dict[tuple[int, ...], list[float]] = {}
        added_after: dict[tuple[int, ...], float] = {}

        def add(
            symbols: tuple[int, ...],
            place: int,
            value: float,
            after: dict[tuple[int, ...], list[float]] = after,
        ) -> None:
            scores = after.setdefault(symbols, [-math.inf, -math.inf])
            scores[place] = _sum(scores[place], value)

        for symbols, (blank, no_blank) in beams.items():
            both = _sum(blank, no_blank)
            add(symbols, 0, values[BLANK] + both)
            added_after[symbols] = added[symbols]
            if symbols:
                add(symbols, 1, values[symbols[-1]] + no_blank)
            further = scorer.scores(symbols) if scorer else None
            for k in classes:
                begin = blank if symbols and k == symbols[-1] else both
                add((*symbols, k), 1, values[k] + begin)
                added_after[*symbols, k] = added[symbols] + (further[k] if further else 0.0)
        ranked = sorted(
            after.items(), key=lambda item: (-_sum(*item[1]) - added_after[item[0]], item[0])
        )
        beams = {symbols: (scores[0], scores[1]) for symbols, scores in ranked[:width]}
        added = {symbols: added_after[symbols] for symbols in beams}
    hypotheses = []
    for symbols, scores in beams.items():
        total = _sum(*scores)
        if total > -math.inf:
            end = scorer.end(symbols) if scorer else 0.0
            hypotheses.append(CTCHypothesis(symbols, total, total + added[symbols] + end))
    return sorted(hypotheses, key=lambda one: (-one.score, one.symbols))


def aligned(log_probs: Tensor, symbols: Sequence[int]) -> list[int]:
    """The class of each step in the likeliest alignment of a known transcript.

    Args:
        log_probs: (T, C); class 0 is the blank.
        symbols: the classes of the transcript.

    Raises:
        ValueError: if there are fewer steps than the transcript needs.

    >>> aligned(torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.6, 0.4]]).log(), [1])
    [1, 1, 0]
    """
    T, needed = len(log_probs), num_steps_needed(symbols)
    if needed > T:
        raise ValueError(
            f"aligned: expected at least {needed} steps for {len(symbols)} symbols, got {T}."
        )
    # A blank before, between and after the symbols; each place has the class path[s].
    path = [BLANK]
    for symbol in symbols:
        path += [symbol, BLANK]
    S = len(path)
    # From which places s - 2, s - 1 and s a step may come.
    may_skip = torch.tensor(
        [s > 1 and path[s] != BLANK and path[s] != path[s - 2] for s in range(S)]
    )
    rows = log_probs.double().cpu()[:, path]  # (T, S)
    scores = torch.full((S,), -math.inf, dtype=torch.float64)
    scores[:2] = rows[0, :2]
    moves = torch.zeros(T, S, dtype=torch.int64)
    none = torch.tensor([-math.inf], dtype=torch.float64)
    for t in range(1, T):
        one = torch.cat([none, scores[:-1]])
        two = torch.cat([none, none, scores[:-2]])[:S].masked_fill(~may_skip, -math.inf)
        best, moves[t] = torch.stack([scores, one, two]).max(0)
        scores = best + rows[t]
    s = S - 1 if S == 1 or scores[S - 1] >= scores[S - 2] else S - 2
    places = []
    for t in range(T - 1, -1, -1):
        places.append(path[s])
        s -= int(moves[t, s])
    return places[::-1]


def _sum(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))
