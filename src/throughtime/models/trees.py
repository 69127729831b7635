"""Batches of trees as the models read them, and their nodes one after the other."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.checks import ShapeError, bounds, integer_lengths, shape_is

__all__ = ["Nodes", "Trees", "nodes_of"]


class Trees(NamedTuple):
    """A batch of ordered trees, each with a label at every node.

    A node has a greater index than its parent and than its previous siblings, as in prefix order;
    node 0 is the root.

    Args:
        labels: the label of each node; any valid label after the last node of a tree.
        parents: the index of the parent of each node; -1 for the root. Indices after the last node
            are ignored.
        sizes: the number of nodes of each tree, at least 1.

    Shapes:
        labels, parents: (B, N) int64. sizes: (B) int64.
    """

    labels: Tensor
    parents: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, trees: list[tuple[list[int], list[int]]]) -> Trees:
        """The batch of trees that are given as pairs of labels and parents.

        >>> Trees.of([([4, 5, 6], [-1, 0, 0]), ([5], [-1])]).sizes
        tensor([3, 1])
        """
        sizes = torch.tensor([len(labels) for labels, _ in trees])
        N = int(sizes.max())
        padded = [
            torch.tensor([list(row) + [fill] * (N - len(row)) for row in rows])
            for rows, fill in (([t[0] for t in trees], 0), ([t[1] for t in trees], -1))
        ]
        return cls(padded[0], padded[1], sizes)


class Nodes(NamedTuple):
    """The nodes of all trees of a batch, tree after tree.

    Args:
        labels: the label of each node.
        parents: the index of the parent among all nodes; -1 for a root.
        rows: the tree of each node.
        ranks: the index of each node in its tree.
        num_trees: B.

    Shapes:
        labels, parents, rows, ranks: (M) int64, with M the sum of the sizes.
    """

    labels: Tensor
    parents: Tensor
    rows: Tensor
    ranks: Tensor
    num_trees: int


def nodes_of(who: str, trees: Trees, num_labels: int) -> Nodes:
    """The nodes of a batch of trees.

    Args:
        who: the name of the model, with which error messages begin.
        trees: the batch; any tuple with the fields of :class:`Trees`.
        num_labels: the number of labels that the model knows.

    Raises:
        ValueError: for a tree without nodes, a label that is out of range, or a node whose parent
            does not come before it.
    """
    labels, parents, sizes = trees.labels, trees.parents, trees.sizes
    shape_is(who, "the labels of the trees", labels, ["B", "N"])
    B, N = labels.shape
    shape_is(who, "the parents of the trees", parents, (B, N), "labels has this shape")
    for name, value in (("labels", labels), ("parents", parents)):
        if value.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                f"{who}: expected the {name} of trees as torch.int64, got {value.dtype}."
            )
    sizes = integer_lengths(who, sizes, B, N).to(labels.device)
    low, _ = bounds(sizes) or (1, 1)
    if low < 1:
        raise ShapeError(
            f"{who}: tree {int(sizes.argmin())}: expected at least one node, got none."
        )
    ranks = torch.arange(N, device=labels.device).expand(B, N)
    is_node = ranks < sizes.unsqueeze(1)
    # The root has the parent -1, and any other node one that comes before it.
    is_wrong = torch.where(ranks == 0, parents != -1, (parents < 0) | (parents >= ranks)) & is_node
    if bool(is_wrong.any()):
        b, i = is_wrong.nonzero()[0].tolist()
        before = f"an index from 0 to {i - 1}" if i else "-1"
        raise ValueError(
            f"{who}: tree {b}, node {i}: expected {before} as the parent, got "
            f"{int(parents[b, i])}. Sort the nodes into prefix order."
        )
    flat = labels[is_node]
    low, high = bounds(flat) or (0, 0)
    if low < 0 or high >= num_labels:
        is_unknown = ((labels < 0) | (labels >= num_labels)) & is_node
        b, i = is_unknown.nonzero()[0].tolist()
        raise ValueError(
            f"{who}: tree {b}, node {i}: expected a label from 0 to {num_labels - 1}, got "
            f"{int(labels[b, i])}."
        )
    offsets = (sizes.cumsum(0) - sizes).unsqueeze(1)
    placed = torch.where(parents < 0, -1, parents + offsets)[is_node]
    rows = torch.arange(B, device=labels.device).repeat_interleave(sizes)
    return Nodes(flat, placed, rows, ranks[is_node], B)
