r"""The recursive encoder, which reads a tree from its leaves upwards."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from throughtime.checks import unknown, whole_number
from throughtime.layers.dropout import Dropout
from throughtime.models.trees import Nodes, Trees, nodes_of

__all__ = ["TREE_CELLS", "TreeEncoder"]

TREE_CELLS = ("child-sum", "n-ary")


class TreeEncoder(nn.Module):
    r"""A Tree-LSTM. Node j with label y_j and children k has x_j = E[y_j] and

        h~_j = sum_k h_k
        i_j  = sigmoid(W_i x_j + U_i h~_j + b_i)          o_j and u_j likewise, u_j with tanh
        f_jk = sigmoid(W_f x_j + U_f h_k + b_f)
        c_j  = i_j * u_j + sum_k f_jk * c_k
        h_j  = o_j * tanh(c_j)

    That is ``child-sum``, for any number of children, whose order does not matter. ``n-ary`` has a
    matrix of its own for each position n of a child, up to N:

        i_j  = sigmoid(W_i x_j + sum_n U_in h_n + b_i)    o_j and u_j likewise
        f_jn = sigmoid(W_f x_j + sum_m U_fnm h_m + b_f)

    The nodes of one height, of all trees, are computed at once.

    Args:
        num_labels: V, the number of labels.
        cell: ``child-sum`` or ``n-ary``.
        hidden_size: H.
        embedding_size: the width of E; None is H.
        max_children: N, for ``n-ary`` only.
        dropout: the probability of dropping a unit of the embeddings.

    Shapes:
        trees: see :class:`~throughtime.models.trees.Trees`. The outputs are h (B, N, H), zero after
        the last node of a tree, and the states h and c of the roots, each (1, B, H).

    Raises:
        ValueError: for an unknown cell, ``max_children`` without ``n-ary`` or the reverse, or a
            node with more children.

    Source: Tai, Socher and Manning, arXiv 1503.00075, equations 2 to 14.

    >>> encoder = TreeEncoder(7, hidden_size=8)
    >>> h, (root, _) = encoder(Trees.of([([4, 5, 6], [-1, 0, 0]), ([5], [-1])]))
    >>> h.shape, root.shape
    (torch.Size([2, 3, 8]), torch.Size([1, 2, 8]))
    """

    def __init__(
        self,
        num_labels: int,
        *,
        cell: Literal["child-sum", "n-ary"] = "child-sum",
        hidden_size: int = 256,
        embedding_size: int | None = None,
        max_children: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if cell not in TREE_CELLS:
            raise unknown("cell of a tree encoder", cell, TREE_CELLS)
        if (cell == "n-ary") != (max_children is not None):
            raise ValueError(
                f'TreeEncoder: expected max_children with cell="n-ary", and only there, got '
                f"max_children={max_children} with cell={cell!r}."
            )
        H = whole_number("TreeEncoder", "hidden_size", hidden_size)
        E = H if embedding_size is None else embedding_size
        E = whole_number("TreeEncoder", "embedding_size", E)
        N = 1 if max_children is None else whole_number("TreeEncoder", "max_children", max_children)
        self.num_labels = whole_number("TreeEncoder", "num_labels", num_labels)
        self.hidden_size, self.output_size, self.max_children = H, H, max_children
        self.embedding = nn.Embedding(num_labels, E)
        self.dropout = Dropout(dropout)
        self.inputs = nn.Linear(E, 4 * H)
        # The blocks i, o, u of the sum of the children, and f of each child. An n-ary node
        # concatenates its children, so that each has columns of its own.
        self.gates = nn.Linear(N * H, 3 * H, bias=False)
        self.forget = nn.Linear(N * H, N * H, bias=False)
        bound = 1 / math.sqrt(H)
        for weight in (*self.inputs.parameters(), self.gates.weight, self.forget.weight):
            nn.init.uniform_(weight, -bound, bound)
        nn.init.uniform_(self.embedding.weight, -math.sqrt(3 / E), math.sqrt(3 / E))

    # A bridge reads these of an encoder.
    num_layers = num_directions = 1

    @property
    def state_sizes(self) -> dict[str, int]:
        """The number of units of each state by name."""
        return {"h": self.hidden_size, "c": self.hidden_size}

    def forward(self, trees: Trees) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The h of all nodes, and the states of the roots."""
        nodes = nodes_of("TreeEncoder", trees, self.num_labels)
        plan = _levels(nodes, self.max_children)
        x = self.inputs(self.dropout(self.embedding(nodes.labels)))  # (M, 4 H)
        levels = x.index_select(0, plan.order).split(plan.sizes)
        waiting: list[list[tuple[Tensor, Tensor]]] = [[] for _ in levels]
        outputs: list[tuple[Tensor, Tensor]] = []
        for level, x_level in enumerate(levels):
            h, c = self._level(x_level, waiting[level], plan.children[level])
            outputs.append((h, c))
            waiting[level].clear()
            # The nodes are in the order of the levels of their parents, which are all higher.
            pieces = zip(h.split(plan.pieces[level]), c.split(plan.pieces[level]), strict=True)
            for target, piece in zip(plan.targets[level], pieces, strict=True):
                if target < len(levels):
                    waiting[target].append(piece)
        h, c = (torch.cat(parts) for parts in zip(*outputs, strict=True))
        h, c = (value.index_select(0, plan.places) for value in (h, c))  # (M, H)
        shape = (nodes.num_trees, trees.labels.shape[1], self.hidden_size)
        padded = h.new_zeros(shape).index_put((nodes.rows, nodes.ranks), h)
        is_root = nodes.parents < 0
        return padded, (h[is_root].unsqueeze(0), c[is_root].unsqueeze(0))

    def _level(
        self, x: Tensor, children: list[tuple[Tensor, Tensor]], places: Tensor
    ) -> tuple[Tensor, Tensor]:
        """h and c (n, H) of the nodes of one height.

        Args:
            x: (n, 4 H), the products W x + b of the nodes.
            children: h and c of their children, in pieces.
            places: for each child n N, the node times N plus its position; N is 1 for child-sum.
        """
        H = self.hidden_size
        x_iou, x_f = x.split([3 * H, H], 1)
        c = None
        if children:
            h_k, c_k = (torch.cat(parts) for parts in zip(*children, strict=True))
            N = self.max_children or 1
            summed = h_k.new_zeros(len(x) * N, H).index_add(0, places, h_k)
            summed = summed.view(len(x), N * H)
            x_iou = x_iou + self.gates(summed)
            # For child-sum, f depends on the child alone; for n-ary, on all children of the node.
            own = self.forget(h_k) if self.max_children is None else self.forget(summed)
            own = own if self.max_children is None else own.view(-1, H).index_select(0, places)
            parents = places // N
            kept = (x_f.index_select(0, parents) + own).sigmoid() * c_k
            c = x_f.new_zeros(x_f.shape).index_add(0, parents, kept)
        i, o, u = x_iou.chunk(3, 1)
        new = i.sigmoid() * u.tanh()
        c = new if c is None else new + c
        return o.sigmoid() * c.tanh(), c


class _Levels(NamedTuple):
    """The nodes of a batch by their height, the leaves first.

    Args:
        order: the nodes, level after level; within a level by the level of their parents.
        places: the index in ``order`` of each node.
        sizes: the number of nodes of each level.
        targets, pieces: for each level, the levels of the parents of its nodes, and how many nodes
            have them; the number of levels stands for the roots, which have none.
        children: for each level, the places of the children that its nodes wait for, in the order
            in which they come; see :meth:`TreeEncoder._level`.
    """

    order: Tensor
    places: Tensor
    sizes: list[int]
    targets: list[list[int]]
    pieces: list[list[int]]
    children: list[Tensor]


def _levels(nodes: Nodes, max_children: int | None) -> _Levels:
    """The levels of the nodes of a batch.

    Raises:
        ValueError: if a node has more than ``max_children`` children.
    """
    parents, M, device = nodes.parents.tolist(), len(nodes.labels), nodes.labels.device
    heights, num_children, positions = [0] * M, [0] * M, [0] * M
    for node in range(M - 1, -1, -1):
        if (parent := parents[node]) >= 0:
            heights[parent] = max(heights[parent], heights[node] + 1)
    for node, parent in enumerate(parents):
        if parent >= 0:
            positions[node] = num_children[parent]
            num_children[parent] += 1
            if max_children is not None and num_children[parent] > max_children:
                where = f"tree {int(nodes.rows[parent])}, node {int(nodes.ranks[parent])}"
                raise ValueError(
                    f"TreeEncoder: {where}: expected at most max_children={max_children} children, "
                    f"got more."
                )
    num_levels = max(heights) + 1
    above = [heights[parent] if parent >= 0 else num_levels for parent in parents]
    order = sorted(range(M), key=lambda node: (heights[node], above[node]))
    sizes = [0] * num_levels
    targets: list[list[int]] = [[] for _ in sizes]
    pieces: list[list[int]] = [[] for _ in sizes]
    places, ranks = [0] * M, [0] * M
    for place, node in enumerate(order):
        level = heights[node]
        places[node], ranks[node] = place, sizes[level]
        sizes[level] += 1
        if not targets[level] or targets[level][-1] != above[node]:
            targets[level].append(above[node])
            pieces[level].append(0)
        pieces[level][-1] += 1
    children: list[list[int]] = [[] for _ in sizes]
    for node in order:
        if (parent := parents[node]) >= 0:
            place = ranks[parent] * (max_children or 1) + positions[node]
            children[above[node]].append(place if max_children else ranks[parent])
    return _Levels(
        torch.tensor(order, device=device),
        torch.tensor(places, device=device),
        *(sizes, targets, pieces),
        [torch.tensor(of_level, dtype=torch.int64, device=device) for of_level in children],
    )
