r"""Greedy and beam search of trees."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.layers.evaluation import evaluating
from throughtime.models.encoder_tree_decoder import EncoderTreeDecoder, Source
from throughtime.models.grammar import Grammar
from throughtime.models.memory import TreeMemory
from throughtime.models.search import at_least_one
from throughtime.models.slots import DOWN, NEXT
from throughtime.models.tree_decoder import TreeDecoder
from throughtime.models.tree_drafts import Draft, Pool, Slot, extended, written_nodes

__all__ = ["TreeHypothesis", "tree_search"]


@dataclass(frozen=True)
class TreeHypothesis:
    """A tree that a search has written, in prefix order.

    Args:
        labels: the label of each node.
        parents: the index of the parent of each node; -1 for the root.
        score: the log-probability of what was written, in nats; that of the whole tree if it is
            finished.
        is_finished: whether the model has ended the tree by itself. Otherwise a bound of the
            search has forbidden what the model would rather have written, or the grammar has left
            nothing to write.
        attention: (len(labels), S), the attention weights of each node over the S steps of its
            source; None if the model has no attention or the search did not keep the weights.
    """

    labels: list[int]
    parents: list[int]
    score: float
    is_finished: bool
    attention: Tensor | None = field(default=None, repr=False, compare=False)


def tree_search(
    model: EncoderTreeDecoder,
    source: Source,
    lengths: Tensor | list[int] | None = None,
    *,
    width: int = 1,
    n_best: int = 1,
    max_nodes: int = 200,
    max_depth: int = 50,
    grammar: Grammar | None = None,
    keep_attention: bool = True,
) -> list[list[TreeHypothesis]]:
    r"""Searches the likeliest trees of each source with a beam of ``width`` hypotheses.

    A hypothesis is a tree whose nodes are written in prefix order. At each step one node of each
    hypothesis, with the decisions on its children and next sibling, or the end of siblings, is
    written, and the ``width`` likeliest extensions are kept. A tree that is complete leaves the
    beam, which is narrower by one from then on. The search of a source stops when ``width`` trees
    are complete, or when none of the rest can become one of the ``n_best``. With ``width=1`` it is
    greedy.

    The bounds and the grammar exclude what they forbid; they do not change the log-probabilities
    of the rest. A search always ends: near ``max_nodes``, and at ``max_depth``, nothing is allowed
    but what ends the tree.

    Args:
        model, source, lengths: see :meth:`throughtime.models.EncoderTreeDecoder.encode`.
        width: K, the number of hypotheses in the beam.
        n_best: the number of trees to return, at most ``width``.
        max_nodes: the largest number of nodes of a tree.
        max_depth: the largest depth of a node; that of the root is 0.
        grammar: the trees that are allowed; None is all.
        keep_attention: whether the hypotheses hold their attention weights.

    Returns:
        For each source its ``n_best`` hypotheses, the likeliest first; fewer only if the search
        finds fewer. If it finds none, as the grammar leaves no way on within the bounds, the
        likeliest part of a tree, not finished.
    """
    at_least_one("tree_search", "width", width)
    at_least_one("tree_search", "n_best", n_best)
    at_least_one("tree_search", "max_nodes", max_nodes)
    if max_depth < 0:
        raise ValueError(f"tree_search: expected max_depth of 0 or more, got {max_depth}.")
    if n_best > width:
        raise ValueError(f"tree_search: expected n_best of at most width={width}, got {n_best}.")
    decoder = model.decoder
    if grammar is not None and grammar.num_labels != decoder.num_labels:
        raise ValueError(
            f"tree_search: expected a grammar of num_labels={decoder.num_labels} as the model has, "
            f"got {grammar.num_labels}."
        )
    bounds = _Bounds(max_nodes, max_depth, grammar)
    with evaluating(model):
        memory = model.encode(source, lengths)
        return _Beams(decoder, memory, width, n_best, bounds, keep_attention).search()


class _Bounds(NamedTuple):
    """What limits a search; see :func:`tree_search`."""

    max_nodes: int
    max_depth: int
    grammar: Grammar | None


class _Beams:
    """The beams of all sources whose search goes on, each of K consecutive rows.

    The states after each node that was read lie in a pool. A step appends one entry for each row,
    and the slots of a draft name entries, so that no state is copied when drafts change rows.
    """

    def __init__(
        self,
        decoder: TreeDecoder,
        memory: TreeMemory,
        K: int,
        n_best: int,
        bounds: _Bounds,
        keep_attention: bool,
    ) -> None:
        self.decoder, self.memory, self.K, self.n_best = decoder, memory, K, n_best
        self.bounds, self.keep_attention = bounds, keep_attention
        self.lengths = memory.lengths.tolist()
        B, V = len(self.lengths), decoder.num_labels
        device = decoder.scores.weight.device
        self.sources = list(range(B))
        start = torch.full((B,), V, device=device)
        self.pool = Pool(*decoder.read(start, torch.full_like(start, DOWN), memory.state.recurrent))
        # All rows of a source are equal at first; only one of them is a hypothesis.
        self.drafts: list[Draft | None] = [None] * (B * K)
        for b in range(B):
            root = Slot(-1, V, 0, 0, b, b)
            self.drafts[b * K] = Draft((root, None), 1, None, 0, False)
        self.total = torch.full((B, K), float("-inf"), device=device)
        self.total[:, 0] = 0.0
        self.ended: list[list[tuple[float, Draft]]] = [[] for _ in range(B)]
        self.weights: list[Tensor] = []

    def search(self) -> list[list[TreeHypothesis]]:
        step = 0
        while self.sources:
            self._advance(step)
            step += 1
        hypotheses = []
        for length, ended in zip(self.lengths, self.ended, strict=True):
            best = sorted(ended, key=lambda end: end[0], reverse=True)[: self.n_best]
            hypotheses.append([self._hypothesis(*end, length) for end in best])
        return hypotheses

    def _advance(self, step: int) -> None:
        """Fills the next slot of every draft; A sources are still active."""
        K, A, V = self.K, len(self.sources), self.decoder.num_labels
        has_ends = self.decoder.decisions is None
        slots = [self._slot(draft) for draft in self.drafts]
        logs, is_forced, weights = self._decide(slots)  # (R, D)
        if weights is not None and self.keep_attention:
            self.weights.append(weights)
        D = logs.shape[1]
        candidates = (self.total.view(-1, 1) + logs).view(A, K * D)
        best, index = candidates.topk(min(K, K * D), 1)  # (A, K)
        if index.shape[1] < K:
            missing = (0, K - index.shape[1])
            best = F.pad(best, missing, value=float("-inf"))
            index = F.pad(index, missing)
        scores, chosen, forced = best.tolist(), index.tolist(), is_forced.tolist()
        drafts: list[Draft | None] = [None] * (A * K)
        reads: list[tuple[int, int, int, int]] = [(0, DOWN, 0, 0)] * (A * K)
        next_entry = self.pool.size
        active: list[int] = []
        for a, source in enumerate(self.sources):
            num_ended = len(self.ended[source])
            for k in range(K - num_ended):
                score = scores[a][k]
                if score == float("-inf"):
                    break
                row, decision = a * K + chosen[a][k] // D, chosen[a][k] % D
                draft, slot = self.drafts[row], slots[row]
                assert draft is not None
                if forced[row]:
                    draft = draft._replace(is_forced=True)
                entry = next_entry + a * K + k
                new, label = extended(draft, decision, V, has_ends, step, row, entry)
                if new.open is None:
                    self.ended[source].append((score, new))
                    scores[a][k] = float("-inf")
                    continue
                drafts[a * K + k] = new
                move = NEXT if slot.position else DOWN
                reads[a * K + k] = (label, move, slot.parent_entry, slot.before)
            scores[a][K - num_ended :] = [float("-inf")] * num_ended
            likeliest = max(scores[a])
            if likeliest == float("-inf") and not self.ended[source]:
                # Nothing is allowed any more. The likeliest part of a tree is the result.
                parts = [
                    (float(self.total[a, k]), draft._replace(is_forced=True))
                    for k, draft in enumerate(self.drafts[a * K : (a + 1) * K])
                    if draft is not None
                ]
                self.ended[source].append(max(parts, key=lambda part: part[0]))
            elif likeliest > self._score_to_beat(source):
                active.append(a)
        self._read(reads)
        self.drafts = drafts
        self.total = torch.tensor(scores, dtype=best.dtype, device=best.device)
        if len(active) < A:
            beams = torch.tensor(active, dtype=torch.int64, device=best.device)
            self.memory = self.memory.rows(beams)
            self.sources = [self.sources[a] for a in active]
            self.total = self.total.index_select(0, beams)
            self.drafts = [draft for a in active for draft in drafts[a * K : (a + 1) * K]]

    def _slot(self, draft: Draft | None) -> Slot:
        """The slot that a draft fills next; any slot for a row that has no draft."""
        V = self.decoder.num_labels
        return Slot(-1, V, 0, 0, 0, 0) if draft is None or draft.open is None else draft.open[0]

    def _decide(self, slots: list[Slot]) -> tuple[Tensor, Tensor, Tensor | None]:
        """The log-probabilities of the decisions in each row, and whether they are forced.

        Returns:
            (R, D), -inf for what is not allowed; (R), whether a bound has forbidden the likeliest
            decision; and the attention weights (R, S), or None.
        """
        device = self.total.device
        columns = torch.tensor([slot[1:] for slot in slots], device=device).unbind(1)
        parent_labels, positions, depths, parents, before = columns
        outputs = {
            name: self.pool.outputs[name].index_select(0, at)
            for name, at in (("vertical", parents), ("horizontal", before))
            if name in self.pool.outputs
        }
        moves = torch.where(positions > 0, NEXT, DOWN)
        is_root = parent_labels == self.decoder.num_labels
        logs, weights = self.decoder.decide(outputs, moves, is_root, self.memory)
        # A model that gives NaN prefers nothing, and must not keep the search from ending.
        logs = logs.masked_fill(logs.isnan(), float("-inf"))
        logs = self._allowed(logs, parent_labels, positions)
        is_within = self._within(logs, depths)
        within = logs.masked_fill(~is_within, float("-inf")).flatten(1)
        return within, logs.flatten(1).amax(1) > within.amax(1), weights

    def _allowed(self, logs: Tensor, parents: Tensor, positions: Tensor) -> Tensor:
        """The log-probabilities (R, …) with -inf for what the grammar forbids."""
        grammar, V = self.bounds.grammar, self.decoder.num_labels
        if grammar is None:
            return logs
        is_root = parents == V
        known = parents.clamp(max=V - 1)
        labels = grammar.labels(parents, positions)  # (R, V)
        if self.decoder.decisions is None:
            labels = labels & (grammar.may_have_more(known, positions) | is_root).unsqueeze(1)
            end = grammar.may_have(known, positions) & ~is_root
            allowed = torch.cat([labels, end.unsqueeze(1)], 1)[:, None, None]
        else:
            every = torch.arange(V, device=parents.device)
            none = torch.zeros_like(every)
            has = [grammar.may_have(every, none), grammar.may_have_more(every, none)]
            is_last = grammar.may_have(known, positions + 1) | is_root
            has_next = [is_last, grammar.may_have_more(known, positions + 1) & ~is_root]
            allowed = (
                labels[:, None, None]
                & torch.stack(has)[None, :, None]
                & torch.stack(has_next, 1)[:, None, :, None]
            )
        return logs.masked_fill(~allowed, float("-inf"))

    def _within(self, logs: Tensor, depths: Tensor) -> Tensor:
        """Which decisions stay within the bounds, in a shape that fits that of ``logs``."""
        max_nodes, max_depth, _ = self.bounds
        counts = [(0, 0) if d is None else (d.num_nodes, d.num_open) for d in self.drafts]
        num_nodes, num_open = torch.tensor(counts, device=depths.device).unbind(1)
        if self.decoder.decisions is None:
            is_label = torch.arange(logs.shape[-1], device=logs.device) < logs.shape[-1] - 1
            has_room = (num_nodes < max_nodes) & (depths <= max_depth)
            return (has_room.unsqueeze(1) | ~is_label)[:, None, None]
        flags = torch.arange(2, device=logs.device)
        num_new = flags.unsqueeze(1) + flags  # (2, 2), by α and φ
        # The open slots, among them the one that is filled, become at least one node each.
        has_room = num_new + (num_nodes + num_open)[:, None, None] <= max_nodes
        is_deepest = (depths >= max_depth)[:, None, None]
        return (has_room & ~(is_deepest & (flags.unsqueeze(1) == 1))).unsqueeze(3)

    def _read(self, reads: list[tuple[int, int, int, int]]) -> None:
        """Reads the nodes of all rows: their label, their move, and the entries they follow."""
        table = torch.tensor(reads, device=self.total.device)
        labels, moves, parents, before = table.unbind(1)
        at = {"vertical": parents, "horizontal": before}
        states = {name: self.pool.states_of(name, at[name]) for name in self.pool.outputs}
        self.pool.append(*self.decoder.read(labels, moves, states))

    def _score_to_beat(self, source: int) -> float:
        """The score that an active draft must exceed to be able to enter the n best."""
        ended = self.ended[source]
        if len(ended) >= self.K:
            return float("inf")
        if len(ended) < self.n_best:
            return float("-inf")
        # A log-probability only falls with what is written further.
        return sorted((score for score, _ in ended), reverse=True)[self.n_best - 1]

    def _hypothesis(self, score: float, draft: Draft, length: int) -> TreeHypothesis:
        nodes = list(written_nodes(draft.written))[::-1]
        attention = None
        if self.weights:
            rows = [self.weights[node.step][node.row] for node in nodes]
            attention = torch.stack(rows)[:, :length] if rows else None
        labels, parents = [node.label for node in nodes], [node.parent for node in nodes]
        return TreeHypothesis(labels, parents, score, not draft.is_forced, attention)
