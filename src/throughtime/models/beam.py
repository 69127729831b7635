r"""Beam search, which extends several of the likeliest targets of a source in parallel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.layers.evaluation import evaluating
from throughtime.models.memory import Memory
from throughtime.models.repetition import Repetition
from throughtime.models.search import (
    Hypothesis,
    Lengths,
    at_least_one,
    attention_of,
    log_probabilities,
    read,
)
from throughtime.models.writer import Writer

__all__ = ["BeamStep", "beam_search"]


class BeamStep(NamedTuple):
    """The extensions that a beam search keeps at one step.

    Args:
        sources: the indices of the A sources whose search has not stopped before this step.
        parents: the rank of the hypothesis of the step before that each one extends, from 0; at
            the first step all extend the beginning.
        tokens: the token by which it is extended. A hypothesis ends with ``eos``, and is not
            extended any more.
        scores: the sum of the log-probabilities so far; -inf for ranks that the beam has no more.

    Shapes:
        parents, tokens, scores: (A, K), the extension of rank k in column k.
    """

    sources: list[int]
    parents: Tensor
    tokens: Tensor
    scores: Tensor


def beam_search(
    model: Writer,
    source: Tensor,
    source_lengths: Lengths = None,
    *,
    width: int = 5,
    n_best: int = 1,
    length_power: float = 1.0,
    max_length: int | None = None,
    max_repeats: Sequence[int] | None = None,
    keep_attention: bool = True,
    watch: Callable[[BeamStep], None] | None = None,
) -> list[list[Hypothesis]]:
    r"""Searches the best targets of each source with a beam of ``width`` hypotheses.

    At each step the ``width`` likeliest extensions of the hypotheses are kept. A hypothesis that
    ends with ``eos`` leaves the beam, which is narrower by one from then on. The search of a source
    stops when ``width`` hypotheses have ended, when none of those left can still become one of the
    ``n_best``, when the likeliest of those left only repeats itself (``max_repeats``), or at
    ``max_length``. Hypotheses are ranked by

        score(y_1 … y_n) / n ** length_power,    score = sum_t log P(y_t | y_1 … y_{t-1}, x)

    with n the number of tokens, including ``eos``. A ``length_power`` of 0 prefers short targets;
    1 compares the mean score per token. Hypotheses that were cut off are ranked after all that
    ended.

    Args:
        model, source, source_lengths, max_length, max_repeats, keep_attention: see
            :func:`greedy_search`.
        width: K, the number of hypotheses in the beam; 1 is greedy search.
        n_best: the number of hypotheses to return, at most ``width``.
        length_power: see above.
        watch: called at each step with the extensions that are kept.

    Returns:
        For each source its ``n_best`` hypotheses, the best first; fewer only if the search finds
        fewer.

    Source: Sutskever, Vinyals and Le, arXiv 1409.3215, section 3.2, who do not normalise scores by
    the length.
    """
    at_least_one("beam_search", "width", width)
    at_least_one("beam_search", "n_best", n_best)
    if not 0 <= length_power < float("inf"):
        raise ValueError(f"beam_search: expected length_power of 0 or more, got {length_power}.")
    if n_best > width:
        raise ValueError(f"beam_search: expected n_best of at most width={width}, got {n_best}.")
    with evaluating(model):
        memory, limits = read(model, source, source_lengths, max_length)
        beams = _Beams(
            model, memory, limits, width, n_best, length_power, max_repeats, keep_attention, watch
        )
        return beams.search()


class _Beams:
    """The beams of all sources whose search goes on, each of K consecutive rows.

    The tokens of the hypotheses are stored by step: ``tokens[t]`` holds the token that each row got
    at step t, and ``parents[t]`` the row of step t - 1 that it extends. So a step copies only the
    state of the rows, and the tokens of a hypothesis are collected once, backwards from its end.
    """

    def __init__(
        self,
        model: Writer,
        memory: Memory,
        limits: list[int],
        K: int,
        n_best: int,
        power: float,
        max_repeats: Sequence[int] | None,
        keep_attention: bool,
        watch: Callable[[BeamStep], None] | None,
    ) -> None:
        self.model, self.memory, self.limits, self.watch = model, memory, limits, watch
        self.K, self.n_best, self.power = K, n_best, power
        self.keep_attention = keep_attention
        self.lengths = memory.lengths.tolist()
        self.sources = list(range(len(limits)))
        rows = torch.arange(len(limits), device=memory.state.recurrent[0].device)
        rows = rows.repeat_interleave(K)
        self.state, self.token = memory.state.rows(rows), torch.full_like(rows, model.bos)
        # All rows of a source are equal at first; only one of them may be extended.
        self.total = torch.where(rows.new_ones(K).cumsum(0) == 1, 0.0, float("-inf"))
        self.total = self.total.expand(len(limits), K)
        self.repetition = None
        if max_repeats is not None:
            self.repetition = Repetition(max_repeats, len(rows), rows.device)
        self.parents: list[Tensor] = []
        self.tokens: list[Tensor] = []
        self.weights: list[Tensor | None] = []
        self.ended: list[list[_End]] = [[] for _ in limits]

    def search(self) -> list[list[Hypothesis]]:
        while self.sources:
            self._advance(len(self.tokens))
        parents, tokens = ([t.tolist() for t in steps] for steps in (self.parents, self.tokens))
        hypotheses = []
        for length, ended in zip(self.lengths, self.ended, strict=True):
            best = sorted(ended, key=self._rank, reverse=True)[: self.n_best]
            hypotheses.append([self._hypothesis(e, length, parents, tokens) for e in best])
        return hypotheses

    def _advance(self, step: int) -> None:
        """Extends all beams by one token; A beams are still active."""
        K, eos = self.K, self.model.eos
        scores, state = self.model.step(self.token, self.state, self.memory)
        if self.keep_attention:
            self.weights.append(state.weights)
        logs = log_probabilities(self.model, scores).unflatten(0, (-1, K))  # (A, K, V)
        A, _, V = logs.shape
        # The K best of the K * V extensions of each beam, the index of which is row * V + token.
        best, index = (self.total.unsqueeze(-1) + logs).flatten(1).topk(K)  # (A, K)
        row = index // V + K * torch.arange(A, device=index.device).unsqueeze(1)
        token = index % V
        # Each hypothesis that has ended makes the beam narrower by one. Rows that the beam no
        # longer has stay in the tensors, with a score of -inf.
        width = [K - len(self.ended[source]) for source in self.sources]
        rank = torch.arange(K, device=index.device)
        best = best.masked_fill(rank >= torch.tensor(width).to(rank).unsqueeze(1), float("-inf"))
        if self.watch is not None:
            self.watch(BeamStep(self.sources, index // V, token, best))
        ends = (token == eos) & best.isfinite()
        for a, k in ends.nonzero().tolist():
            end = _End(step, int(row[a, k]), None, float(best[a, k]))
            self.ended[self.sources[a]].append(end)
        total = best.masked_fill(ends, float("-inf"))
        likeliest, leader = total.max(1)
        likeliest, repeating = likeliest.tolist(), [False] * A
        if self.repetition is not None:
            is_repeating = self.repetition.advance(token.flatten(), row.flatten()).view(A, K)
            repeating = is_repeating.gather(1, leader.unsqueeze(1)).squeeze(1).tolist()
        active = []
        for a, source in enumerate(self.sources):
            if step + 1 == self.limits[source] or repeating[a]:
                cut_off = zip(row[a].tolist(), token[a].tolist(), total[a].tolist(), strict=True)
                self.ended[source] += [_End(step, *c) for c in cut_off if c[-1] > float("-inf")]
            elif likeliest[a] > self._score_to_beat(source):
                active.append(a)
        if len(active) < A:
            beams = torch.tensor(active, dtype=torch.int64, device=row.device)
            self.memory = self.memory.rows(beams)
            self.sources = [self.sources[a] for a in active]
            total, row, token = (t.index_select(0, beams) for t in (total, row, token))
            if self.repetition is not None:
                self.repetition.keep(
                    (beams.unsqueeze(1) * K + torch.arange(K, device=beams.device)).flatten()
                )
        self.total, self.token, self.state = total, token.flatten(), state.rows(row.flatten())
        self.parents.append(row.flatten())
        self.tokens.append(self.token)

    def _score_to_beat(self, source: int) -> float:
        """The score that an active hypothesis must exceed to be able to enter the n best."""
        if len(self.ended[source]) < self.n_best:
            return float("-inf")
        # A score, negative, only falls with further tokens, and its quotient is the greater the
        # longer the hypothesis is. So the current score at the largest length is the upper bound.
        ranks = sorted((self._rank(end)[1] for end in self.ended[source]), reverse=True)
        return ranks[self.n_best - 1] * self.limits[source] ** self.power

    def _rank(self, end: _End) -> tuple[bool, float]:
        return end.token is None, end.score / (end.step + 1) ** self.power

    def _hypothesis(
        self, end: _End, length: int, parents: list[list[int]], tokens: list[list[int]]
    ) -> Hypothesis:
        """Collects tokens and attention of a hypothesis, backwards from its end."""
        target, row = [] if end.token is None else [end.token], end.row
        # The attention of the token of step t lies in the row of step t - 1 that it extends.
        steps_and_rows = [] if end.token is None else [(end.step, row)]
        for step in range(end.step - 1, -1, -1):
            target.append(tokens[step][row])
            row = parents[step][row]
            steps_and_rows.append((step, row))
        attention = None
        if self.keep_attention:
            weights = [(self.weights[step], row) for step, row in reversed(steps_and_rows)]
            rows = [step_weights[row] for step_weights, row in weights if step_weights is not None]
            attention = attention_of(self.memory, rows, length)
        return Hypothesis(target[::-1], end.score, end.token is None, attention)


class _End(NamedTuple):
    """The end of a hypothesis.

    Args:
        step: its last step.
        row: the row of the step before that it extends.
        token: its last token; None if that is ``eos``.
        score: its score.
    """

    step: int
    row: int
    token: int | None
    score: float
