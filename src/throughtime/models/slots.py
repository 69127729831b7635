"""The places of trees at which a decoder writes a label, in the order in which it decides."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.models.trees import Nodes

__all__ = ["DOWN", "NEXT", "Reads", "Slots", "reads_of", "slots_of"]

DOWN, NEXT = 0, 1
"""How a slot is reached: from the parent of a first child, or from the previous sibling."""


class Slots(NamedTuple):
    """The slots of a batch of trees: one for each node, and then one for each end of siblings.

    The state of a slot depends on what was read before it. The beginning of tree b is entry b, and
    node i of all trees is entry B + i.

    Args:
        labels: the label to write; the number of labels stands for the end of siblings.
        rows: the tree of each slot.
        ranks: the index of each slot among those of its tree.
        parents: the entry of the parent.
        before: the entry of the previous sibling; of the parent if the slot is a first child.
        moves: NEXT if there is a previous sibling, else DOWN.
        has_children, has_next: whether the node has children, and a next sibling.
        is_root: whether the node is a root.
        entries: the label of each entry; the number of labels stands for the beginning of a tree.

    Shapes:
        entries: (B + M). all others: (P), with P = M, or 2 M if the ends of siblings are written.
    """

    labels: Tensor
    rows: Tensor
    ranks: Tensor
    parents: Tensor
    before: Tensor
    moves: Tensor
    has_children: Tensor
    has_next: Tensor
    is_root: Tensor
    entries: Tensor


def slots_of(nodes: Nodes, num_labels: int, has_ends: bool) -> Slots:
    """The slots of the nodes of a batch.

    Args:
        nodes: the nodes.
        num_labels: V.
        has_ends: whether the siblings end with a slot of their own; else there are no slots but
            those of the nodes.
    """
    B, M, device = nodes.num_trees, len(nodes.labels), nodes.labels.device
    own = torch.arange(B, B + M, device=device)
    parents = torch.where(nodes.parents < 0, nodes.rows, nodes.parents + B)
    # Siblings are neighbours in the order of their parents, which is stable.
    order = parents.argsort(stable=True)
    in_order = parents[order]
    is_first = torch.ones_like(in_order, dtype=torch.bool)
    is_first[1:] = in_order[1:] != in_order[:-1]
    earlier = own[order].roll(1)
    before = torch.empty_like(parents)
    before[order] = torch.where(is_first, in_order, earlier)
    moves = torch.empty_like(parents)
    moves[order] = torch.where(is_first, DOWN, NEXT)
    has_children = torch.zeros(B + M, dtype=torch.bool, device=device)
    has_children[parents] = True
    has_next = torch.zeros_like(has_children)
    has_next[before[moves == NEXT]] = True
    entries = torch.cat([torch.full((B,), num_labels, device=device), nodes.labels])
    slots = Slots(
        *(nodes.labels, nodes.rows, nodes.ranks, parents, before, moves),
        *(has_children[B:], has_next[B:], nodes.parents < 0, entries),
    )
    if not has_ends:
        return slots
    # The last child of each node; the node itself if it has none.
    last = torch.arange(B + M, device=device)
    is_last = ~has_next[B:]
    last[parents[is_last]] = own[is_last]
    sizes = torch.bincount(nodes.rows, minlength=B)
    none = torch.zeros_like(nodes.parents, dtype=torch.bool)
    ends = Slots(
        torch.full_like(nodes.labels, num_labels),
        *(nodes.rows, nodes.ranks + sizes[nodes.rows], own, last[B:]),
        torch.where(has_children[B:], NEXT, DOWN),
        *(none, none, none, entries),
    )
    joined = [torch.cat(pair) for pair in zip(slots[:-1], ends[:-1], strict=True)]
    return Slots(*joined, entries=entries)


class Reads(NamedTuple):
    """The entries that one recurrence reads: all on which some slot depends.

    Args:
        entries: the entries in ascending order.
        before: for each of them, the index in ``entries`` of the entry that is read before it; -1
            for the beginning of a tree.
        slots: for each slot, the index in ``entries`` of the entry whose output it depends on.

    Shapes:
        entries, before: (R). slots: (P).
    """

    entries: Tensor
    before: Tensor
    slots: Tensor


def reads_of(sources: Tensor, num_trees: int) -> Reads:
    """What a recurrence reads, given the entry whose output each slot depends on.

    Args:
        sources: (P), that entry: ``Slots.parents`` for the vertical recurrence, ``Slots.before``
            for the horizontal one.
        num_trees: B.
    """
    entries, slots = sources.unique(return_inverse=True)
    # The beginnings are all read, because each tree has a root, and they come first. The other
    # entries are nodes; slot i is that of node i, and the node is read after the slot's source.
    nodes = entries[num_trees:] - num_trees
    start = torch.full((num_trees,), -1, device=sources.device)
    return Reads(entries, torch.cat([start, slots[nodes]]), slots)
