r"""Beam search: the likeliest targets of a source, side by side."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.layers.evaluation import evaluating
from throughtime.models.memory import Memory
from throughtime.models.search import (
    Hypothesis,
    Lengths,
    at_least_one,
    attention_of,
    log_probabilities,
    read,
)
from throughtime.models.writer import Writer

__all__ = ["beam_search"]


def beam_search(
    model: Writer,
    source: Tensor,
    source_lengths: Lengths = None,
    *,
    width: int = 5,
    n_best: int = 1,
    length_power: float = 1.0,
    max_length: int | None = None,
    keep_attention: bool = True,
) -> list[list[Hypothesis]]:
    r"""Follows the ``width`` likeliest beginnings of each source side by side.

    At each step the ``width`` likeliest of all continuations are kept. One that ends leaves the
    beam, which is narrower by one from then on. A source is done when ``width`` have ended, when
    none that is left could still come among the ``n_best``, or at ``max_length``. Ranked by

        score(y_1 … y_n) / n ** length_power,    score = sum_t log P(y_t | y_1 … y_{t-1}, x)

    with n the number of tokens, ``eos`` among them; a power of 0 prefers short targets, 1 compares
    the means. A hypothesis that the limit cut off is ranked after all that ended.

    Args:
        model, source, source_lengths, max_length, keep_attention: see :func:`greedy_search`.
        width: K, how many are followed; 1 is greedy search.
        n_best: how many are given back, at most ``width``.
        length_power: see above.

    Returns:
        For each source ``n_best`` hypotheses, the best first; fewer only where there are fewer.

    Source: Sutskever, Vinyals and Le, arXiv 1409.3215, section 3.2, which do not normalise.
    """
    at_least_one("beam_search", "width", width)
    at_least_one("beam_search", "n_best", n_best)
    if not 0 <= length_power < float("inf"):
        raise ValueError(f"beam_search: expected length_power of 0 or more, got {length_power}.")
    if n_best > width:
        raise ValueError(f"beam_search: expected n_best of at most width={width}, got {n_best}.")
    with evaluating(model):
        memory, limits = read(model, source, source_lengths, max_length)
        beams = _Beams(model, memory, limits, width, n_best, length_power, keep_attention)
        return beams.search()


class _Beams:
    """The beams of all sources that are not done: K rows each, side by side.

    What was written stands in a list of steps, and each row knows its row of the step before: so
    nothing is copied but the state, and a hypothesis is read once, backwards, from its end.
    """

    def __init__(
        self,
        model: Writer,
        memory: Memory,
        limits: list[int],
        K: int,
        n_best: int,
        power: float,
        keep_attention: bool,
    ) -> None:
        self.model, self.memory, self.limits = model, memory, limits
        self.K, self.n_best, self.power = K, n_best, power
        self.keep_attention = keep_attention
        self.lengths = memory.lengths.tolist()
        self.sources = list(range(len(limits)))
        rows = torch.arange(len(limits), device=memory.state.recurrent[0].device)
        rows = rows.repeat_interleave(K)
        self.state, self.token = memory.state.rows(rows), torch.full_like(rows, model.bos)
        # All rows of a source are alike at first, and one of them counts.
        self.total = torch.where(rows.new_ones(K).cumsum(0) == 1, 0.0, float("-inf"))
        self.total = self.total.expand(len(limits), K)
        self.parents: list[Tensor] = []
        self.tokens: list[Tensor] = []
        self.weights: list[Tensor | None] = []
        self.ended: list[list[_End]] = [[] for _ in limits]

    def search(self) -> list[list[Hypothesis]]:
        while self.sources:
            self._advance(len(self.tokens))
        parents, tokens = ([t.tolist() for t in steps] for steps in (self.parents, self.tokens))
        found = []
        for length, ended in zip(self.lengths, self.ended, strict=True):
            best = sorted(ended, key=self._rank, reverse=True)[: self.n_best]
            found.append([self._hypothesis(e, length, parents, tokens) for e in best])
        return found

    def _advance(self, step: int) -> None:
        K, eos = self.K, self.model.eos
        scores, state = self.model.step(self.token, self.state, self.memory)
        if self.keep_attention:
            self.weights.append(state.weights)
        logs = log_probabilities(self.model, scores).unflatten(0, (-1, K))  # (A, K, V)
        A, _, V = logs.shape
        best, place = (self.total.unsqueeze(-1) + logs).flatten(1).topk(K)  # (A, K)
        row = place // V + K * torch.arange(A, device=place.device).unsqueeze(1)
        token = place % V
        # What has ended has left the beam, which is narrower by it from then on.
        width = [K - len(self.ended[source]) for source in self.sources]
        rank = torch.arange(K, device=place.device)
        best = best.masked_fill(rank >= torch.tensor(width).to(rank).unsqueeze(1), float("-inf"))
        ends = (token == eos) & best.isfinite()
        for a, k in ends.nonzero().tolist():
            end = _End(step, int(row[a, k]), None, float(best[a, k]))
            self.ended[self.sources[a]].append(end)
        total = best.masked_fill(ends, float("-inf"))
        likeliest = total.amax(1).tolist()
        going = []
        for a, source in enumerate(self.sources):
            if step + 1 == self.limits[source]:
                cut = zip(row[a].tolist(), token[a].tolist(), total[a].tolist(), strict=True)
                self.ended[source] += [_End(step, *c) for c in cut if c[-1] > float("-inf")]
            elif likeliest[a] > self._least(source):
                going.append(a)
        if len(going) < A:
            index = torch.tensor(going, dtype=torch.int64, device=row.device)
            self.memory = self.memory.rows(index)
            self.sources = [self.sources[a] for a in going]
            total, row, token = (t.index_select(0, index) for t in (total, row, token))
        self.total, self.token, self.state = total, token.flatten(), state.rows(row.flatten())
        self.parents.append(row.flatten())
        self.tokens.append(self.token)

    def _least(self, source: int) -> float:
        """What the score of a live hypothesis must be above, to be among the best one day."""
        if len(self.ended[source]) < self.n_best:
            return float("-inf")
        # A score only falls; what divides it is largest at the limit.
        ranks = sorted((self._rank(end)[1] for end in self.ended[source]), reverse=True)
        return ranks[self.n_best - 1] * self.limits[source] ** self.power

    def _rank(self, end: _End) -> tuple[bool, float]:
        return end.token is None, end.score / (end.step + 1) ** self.power

    def _hypothesis(
        self, end: _End, length: int, parents: list[list[int]], tokens: list[list[int]]
    ) -> Hypothesis:
        written, row = [] if end.token is None else [end.token], end.row
        looked = [] if end.token is None else [(end.step, row)]
        for step in range(end.step - 1, -1, -1):
            written.append(tokens[step][row])
            row = parents[step][row]
            looked.append((step, row))
        attention = None
        if self.keep_attention:
            weights = [self.weights[step] for step, _ in looked[::-1]]
            rows = [w[r] for w, (_, r) in zip(weights, looked[::-1], strict=True) if w is not None]
            attention = attention_of(self.memory, rows, length)
        return Hypothesis(written[::-1], end.score, end.token is None, attention)


class _End(NamedTuple):
    """Where a hypothesis ended: step, its row there, its last token (None: eos), its score."""

    step: int
    row: int
    token: int | None
    score: float
