r"""The doubly recurrent decoder, which writes a tree from its root downwards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.cells.cell import Cell
from throughtime.checks import ShapeError, unknown, whole_number
from throughtime.layers import Attention, Recurrent
from throughtime.layers.dropout import Dropout
from throughtime.models.decoder import ATTENTIONS, joined
from throughtime.models.forest import run, schedule
from throughtime.models.memory import TreeDecoderState, TreeMemory
from throughtime.models.slots import Slots, reads_of, slots_of
from throughtime.models.trees import Trees, nodes_of

__all__ = ["RECURRENCES", "TOPOLOGIES", "NodeScores", "TreeDecoder"]

RECURRENCES = {"V": ("vertical",), "H": ("horizontal",), "VH": ("vertical", "horizontal")}
"""The recurrences of each choice: vertical, down the tree; horizontal, across siblings."""

TOPOLOGIES = ("predicted", "end")

States = tuple[Tensor, ...]


class NodeScores(NamedTuple):
    """The scores of what a decoder writes at each slot of known trees.

    Args:
        labels: the scores of the labels; in the last column that of the end of siblings, if the
            decoder writes ends.
        decisions: the log-odds that the node has children, and that it has a next sibling; None if
            the decoder writes ends instead. A root's second is meaningless.
        slots: the slots, with what is to be written.
        weights: the attention weights; None without attention.

    Shapes:
        labels: (P, V), or (P, V + 1) with ends. decisions: (P, 2). weights: (P, S).
    """

    labels: Tensor
    decisions: Tensor | None
    slots: Slots
    weights: Tensor | None


class TreeDecoder(nn.Module):
    r"""Writes a tree with two recurrences: V from parent to child, H from sibling to sibling.

    Node i has the label y_i. After reading it, the states of V and H, and their outputs, are

        a_i = V(E[y_i], a_p)             p the parent of i
        b_i = H(E[y_i] + D_i, b_q)       q the previous sibling of i; for a first child the parent

    where D_i is one of two learned vectors, one for first children and one for other nodes. Before
    node 0, V and H read the embedding of the beginning of a tree. What is written as node i depends
    on the outputs at p and q:

        m_i  = tanh(U_V a_p + U_H b_q + M_i)
        c_i  = attention(m_i, k);    m~_i = tanh(W_c [c_i; m_i] + b_c)

    where M_i is one of two learned vectors like D_i; without attention, m~_i = m_i.
    ``recurrence="V"`` leaves out b and M, and so cannot tell siblings apart; ``"H"`` leaves out a.

    With ``topology="predicted"`` each node has two binary decisions besides its label: α, whether
    it has children, and φ, whether it has a next sibling:

        P(α_i) = sigmoid(w_α · m~_i),    P(φ_i) = sigmoid(w_φ · m~_i)
        P(y_i) = softmax(W m~_i + b + α_i u_α + φ_i u_φ)

    A root has φ = 0 with probability 1. With ``"end"`` there are no decisions; instead, the
    children of every node, also of a leaf, are followed by an end symbol:

        P(y_i) = softmax(W m~_i + b)     over the labels and the end symbol

    A root is never the end symbol. The probability of a tree is the product over all its nodes and
    end symbols. That of a node depends on its ancestors, on their previous siblings, and on its
    own previous siblings, but not on what is below the siblings.

    If the trees are known, V and H run along all branches of all trees at once; see
    :func:`throughtime.models.forest.schedule`. Random numbers of the layers (``recurrent_dropout``,
    ``weight_drop``) are drawn anew in each of these calls.

    Args:
        num_labels: V, the number of labels.
        memory_size: the features of each value k_t that the decoder attends to.
        recurrence: ``V``, ``H`` or ``VH``.
        topology: ``predicted`` or ``end``.
        cell: the cell of V and H, or its name.
        sibling_cell: the cell of H, if it differs from that of V; only with ``VH``.
        hidden_size, num_layers: of each of V and H; m has H units as well.
        embedding_size: E, the width of the embedding of labels; None is H.
        attention: ``none``, ``dot``, ``general`` or ``additive``; see
            :class:`throughtime.layers.Attention`.
        dropout: the probability of dropping a unit of the embeddings, of the inputs of each
            recurrent layer but the first, and of m~.
        forget_bias, backend, options: of both recurrences; see :class:`throughtime.Recurrent`.

    Raises:
        ValueError: for an unknown name, or an option that would have no effect.

    Source: Alvarez-Melis and Jaakkola, Tree-structured decoding with doubly-recurrent neural
    networks, ICLR 2017, section 3. Differs: there H begins anew with each first child, so that
    equally labelled siblings get equal subtrees. Attention and the choice of V, H and VH: Bednarek,
    Piaskowski and Krawiec, arXiv 1810.09717.

    >>> decoder = TreeDecoder(7, memory_size=6, hidden_size=8)
    >>> state = (torch.zeros(1, 2, 8), torch.zeros(1, 2, 8))
    >>> memory = decoder.begin({"vertical": state, "horizontal": state}, torch.randn(2, 5, 6))
    >>> trees = Trees.of([([4, 5, 6], [-1, 0, 0]), ([5], [-1])])
    >>> decoder(trees, memory).labels.shape, decoder.log_likelihood(trees, memory).shape
    (torch.Size([4, 7]), torch.Size([2]))
    """

    def __init__(
        self,
        num_labels: int,
        memory_size: int,
        *,
        recurrence: Literal["V", "H", "VH"] = "VH",
        topology: Literal["predicted", "end"] = "predicted",
        cell: Cell | str = "lstm",
        sibling_cell: Cell | str | None = None,
        hidden_size: int = 256,
        num_layers: int = 1,
        embedding_size: int | None = None,
        attention: str = "none",
        dropout: float = 0.0,
        forget_bias: float | None = None,
        backend: str = "auto",
        **options: Any,
    ) -> None:
        super().__init__()
        _check_options(recurrence, topology, attention, sibling_cell, options)
        V = whole_number("TreeDecoder", "num_labels", num_labels)
        M = whole_number("TreeDecoder", "memory_size", memory_size)
        E = hidden_size if embedding_size is None else embedding_size
        E = whole_number("TreeDecoder", "embedding_size", E)
        self.num_labels, self.recurrence, self.topology = V, recurrence, topology
        cells = {"vertical": cell, "horizontal": cell if sibling_cell is None else sibling_cell}
        self.recurrences = nn.ModuleDict(
            {
                name: Recurrent(
                    cells[name],
                    E,
                    hidden_size,
                    num_layers,
                    batch_first=True,
                    dropout=dropout if num_layers > 1 else 0.0,
                    forget_bias=forget_bias,
                    backend=backend,
                    **options,
                )
                for name in RECURRENCES[recurrence]
            }
        )
        H = self.output_size = self.layers()[0][1].output_size
        # The bias of the first recurrence is that of their sum.
        self.merges = nn.ModuleDict(
            {name: nn.Linear(H, H, bias=i == 0) for i, name in enumerate(self.recurrences)}
        )
        has_siblings = "horizontal" in self.recurrences
        self.moves = nn.Embedding(2, H) if has_siblings else None
        self.read_moves = nn.Embedding(2, E) if has_siblings else None
        self.attention = Attention(attention, H, M) if attention != "none" else None
        self.combine = nn.Linear(M + H, H) if attention != "none" else None
        self.dropout = Dropout(dropout)
        # The last label is the beginning where it is read, and the end where it is written.
        self.embedding = nn.Embedding(V + 1, E)
        self.scores = nn.Linear(H, V + 1 if topology == "end" else V)
        is_predicted = topology == "predicted"
        # w and u of the two decisions, first that on children, then that on a next sibling.
        self.decisions = nn.Linear(H, 2) if is_predicted else None
        self.shifts = nn.Parameter(torch.zeros(2, V)) if is_predicted else None
        for table, width in ((self.embedding, E), (self.read_moves, E), (self.moves, H)):
            if table is not None:
                nn.init.uniform_(table.weight, -math.sqrt(3 / width), math.sqrt(3 / width))

    def begin(
        self,
        states: Mapping[str, States],
        values: Tensor,
        lengths: Tensor | list[int] | None = None,
    ) -> TreeMemory:
        """Prepares the memory with which decoding starts.

        Args:
            states: the initial states of each recurrence by its name, ``vertical`` or
                ``horizontal``, each (L, B, H).
            values: (B, S, M), the values to attend to.
            lengths: (B), how many steps of ``values`` are valid; None is all.
        """
        B, S, _ = values.shape
        attention = None if self.attention is None else self.attention.prepare(values, lengths)
        lengths = torch.full((B,), S) if lengths is None else torch.as_tensor(lengths)
        return TreeMemory(TreeDecoderState(states), lengths, attention)

    def forward(self, trees: Trees, memory: TreeMemory) -> NodeScores:
        """The scores of what is written at each slot of known trees."""
        nodes = nodes_of("TreeDecoder", trees, self.num_labels)
        B = nodes.num_trees
        if len(memory.lengths) != B:
            raise ShapeError(
                f"TreeDecoder: expected {len(memory.lengths)} tree(s), as many as the memory has "
                f"sources, got {B}."
            )
        slots = slots_of(nodes, self.num_labels, self.topology == "end")
        embedded = self.embedding(slots.entries)  # (B + M, E)
        terms: list[Tensor] = []
        for name, recurrent in self.layers():
            reads = reads_of(slots.parents if name == "vertical" else slots.before, B)
            x = embedded
            if name == "horizontal":
                x = x + self._move_of_entries(slots, B)
            x = self.dropout(x.index_select(0, reads.entries))  # (R, E)
            read = run(recurrent, x, schedule(reads.before), memory.state.recurrent[name])  # (R, H)
            terms.append(self.merges[name](read).index_select(0, reads.slots))  # (P, H)
        merged = self._merged(terms, slots.moves)
        merged, weights = self._attended_slots(merged, slots, memory)
        return self._scored(self.dropout(merged), slots, weights)

    def log_likelihood(self, trees: Trees, memory: TreeMemory) -> Tensor:
        """log P of each tree (B), in nats."""
        scores = self(trees, memory)
        logs = log_probabilities_of(scores)
        return logs.new_zeros(len(memory.lengths)).index_add(0, scores.slots.rows, logs)

    def read(
        self, labels: Tensor, moves: Tensor, states: Mapping[str, States]
    ) -> tuple[dict[str, Tensor], dict[str, States]]:
        """Reads one node in each of R rows.

        Args:
            labels: (R), the label of each; ``num_labels`` for the beginning of a tree.
            moves: (R), whether each is a first child or the beginning, or a next sibling.
            states: for each recurrence the states of the nodes that they follow, each (L, R, H).

        Returns:
            For each recurrence its output (R, H), and the next states.
        """
        outputs: dict[str, Tensor] = {}
        following: dict[str, States] = {}
        for name, recurrent in self.layers():
            x = self.embedding(labels)
            if name == "horizontal":
                assert self.read_moves is not None
                x = x + self.read_moves(moves)
            h, last = recurrent(self.dropout(x).unsqueeze(1), joined(states[name]))
            outputs[name] = h.squeeze(1)
            following[name] = (last,) if isinstance(last, Tensor) else tuple(last)
        return outputs, following

    def decide(
        self, outputs: Mapping[str, Tensor], moves: Tensor, is_root: Tensor, memory: TreeMemory
    ) -> tuple[Tensor, Tensor | None]:
        """The log-probabilities of all decisions at one slot of each of R rows.

        Args:
            outputs: for each recurrence what it gave after the node that each slot follows, (R, H).
            moves: (R), whether each slot is that of a first child or of a next sibling.
            is_root: (R), whether it is that of a root.
            memory: of B rows; the R/B rows of one source are consecutive.

        Returns:
            (R, 2, 2, V), by α, φ and the label; or with ends (R, 1, 1, V + 1). And the attention
            weights (R, S), or None.
        """
        terms = [self.merges[name](outputs[name]) for name in self.recurrences]
        merged = self._merged(terms, moves)
        weights = None
        if self.attention is not None:
            queries = merged.unflatten(0, (len(memory.lengths), -1))  # (B, R/B, H)
            merged, weights = self._attended(queries, memory)
            merged, weights = merged.flatten(0, 1), weights.flatten(0, 1)
        merged = self.dropout(merged)
        labels = self.scores(merged)
        wide = torch.promote_types(labels.dtype, torch.float32)
        if self.decisions is None or self.shifts is None:
            labels = _no_end_at_root(labels, is_root)
            return labels.log_softmax(-1, dtype=wide)[:, None, None], weights
        flags = labels.new_tensor([0, 1]).view(2, 1)
        shifts = (flags * self.shifts[0]).unsqueeze(1) + flags * self.shifts[1]  # (2, 2, V)
        labels = (labels[:, None, None] + shifts).log_softmax(-1, dtype=wide)
        odds = self.decisions(merged).to(wide)
        has_children, has_next = (F.logsigmoid(torch.stack([-o, o], 1)) for o in odds.unbind(1))
        root = has_next.new_tensor([0.0, -math.inf])
        has_next = torch.where(is_root.unsqueeze(1), root, has_next)
        topology = has_children.unsqueeze(2) + has_next.unsqueeze(1)  # (R, 2, 2)
        return labels + topology.unsqueeze(3), weights

    def layers(self) -> list[tuple[str, Recurrent]]:
        """The recurrences by name."""
        named = self.recurrences.items()
        return [(name, module) for name, module in named if isinstance(module, Recurrent)]

    def _move_of_entries(self, slots: Slots, num_trees: int) -> Tensor:
        """The vector D (B + M, E) of each entry; a beginning has that of a first child."""
        assert self.read_moves is not None
        num_nodes = len(slots.entries) - num_trees
        return self.read_moves(F.pad(slots.moves[:num_nodes], (num_trees, 0)))

    def _merged(self, terms: list[Tensor], moves: Tensor) -> Tensor:
        """m of each slot, from the terms U_V a and U_H b."""
        total = terms[0] + terms[1] if len(terms) == 2 else terms[0]
        return (total if self.moves is None else total + self.moves(moves)).tanh()

    def _attended_slots(
        self, merged: Tensor, slots: Slots, memory: TreeMemory
    ) -> tuple[Tensor, Tensor | None]:
        """m~ (P, H) and the attention weights (P, S) of the slots of all trees."""
        if self.attention is None:
            return merged, None
        shape = (len(memory.lengths), int(slots.ranks.max()) + 1, merged.shape[-1])
        places = (slots.rows, slots.ranks)
        queries = merged.new_zeros(shape).index_put(places, merged)
        attended, weights = self._attended(queries, memory)
        return attended[places], weights[places]

    def _attended(self, queries: Tensor, memory: TreeMemory) -> tuple[Tensor, Tensor]:
        """m~ (B, n, H) and the attention weights (B, n, S)."""
        assert self.attention is not None
        assert self.combine is not None
        assert memory.attention is not None
        context, weights = self.attention(queries, memory.attention)
        return self.combine(torch.cat([context, queries], -1)).tanh(), weights

    def _scored(self, merged: Tensor, slots: Slots, weights: Tensor | None) -> NodeScores:
        labels = self.scores(merged)
        if self.decisions is None or self.shifts is None:
            return NodeScores(_no_end_at_root(labels, slots.is_root), None, slots, weights)
        decided = torch.stack([slots.has_children, slots.has_next], 1)
        labels = labels + decided.to(labels.dtype) @ self.shifts
        return NodeScores(labels, self.decisions(merged), slots, weights)


def log_probabilities_of(scores: NodeScores) -> Tensor:
    """log P (P) of what is to be written at each slot, with its decisions on topology, in nats."""
    slots = scores.slots
    wide = torch.promote_types(scores.labels.dtype, torch.float32)
    logs = scores.labels.log_softmax(-1, dtype=wide)
    gains = logs.gather(1, slots.labels.unsqueeze(1)).squeeze(1)
    if scores.decisions is None:
        return gains
    decided = torch.stack([slots.has_children, slots.has_next], 1)
    odds = torch.where(decided, scores.decisions, -scores.decisions).to(wide)
    has_children, has_next = F.logsigmoid(odds).unbind(1)
    return gains + has_children + has_next.masked_fill(slots.is_root, 0.0)


def _no_end_at_root(labels: Tensor, is_root: Tensor) -> Tensor:
    """The scores (P, V + 1) of labels and end, with -inf for the end where a root is written."""
    is_end = torch.arange(labels.shape[1], device=labels.device) == labels.shape[1] - 1
    return labels.masked_fill(is_root.unsqueeze(1) & is_end, float("-inf"))


def _check_options(
    recurrence: str,
    topology: str,
    attention: str,
    sibling_cell: Cell | str | None,
    options: Mapping[str, Any],
) -> None:
    """Raises a ValueError for an unknown name, or an option without an effect."""
    for what, name, known in (
        ("recurrence", recurrence, RECURRENCES),
        ("topology", topology, TOPOLOGIES),
        ("attention", attention, ATTENTIONS),
    ):
        if name not in known:
            raise unknown(what, name, known)
    if sibling_cell is not None and recurrence != "VH":
        raise ValueError(
            f"TreeDecoder: sibling_cell is the cell of H if V has another one, and would have no "
            f'effect with recurrence="{recurrence}". Set cell alone.'
        )
    for name in ("bidirectional", "learned_state"):
        if options.get(name):
            why = "writes in one direction" if name == "bidirectional" else "is given its state"
            raise ValueError(f"TreeDecoder: {name}=True would have no effect, as it {why}.")
