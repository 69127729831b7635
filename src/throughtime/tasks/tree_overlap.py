"""How much a written tree has in common with the true one: nodes and edges, by their labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from throughtime.data.trees import Tree

__all__ = ["overlap_figures"]


def overlap_figures(true: Sequence[Tree], written: Sequence[Tree | None]) -> dict[str, float]:
    r"""The F1 of the nodes and of the edges of written trees.

    A node is matched by its label, and an edge by the label of the parent and that of the child; a
    node or edge that occurs n times in one tree and m times in the other has min(n, m) matches.
    Where it stands in the tree does not matter. For K trees,

        P = 1/K sum of matches / (number in the written tree)
        R = 1/K sum of matches / (number in the true tree)
        F1 = 2 P R / (P + R)

    If only one of two trees has edges, the fraction without a denominator is 1 and the other one 0;
    if neither has, both are 1. A tree of None, which was not written, has no node.

    Args:
        true: the trees of the examples.
        written: the trees that were written for them.

    Returns:
        ``node_f1`` and ``edge_f1``.

    Source: the public code of Alvarez-Melis and Jaakkola, ICLR 2017 (github.com/dmelis/drnn,
        utils/evaluation.lua). Differs: there an edge is matched by the label of its parent alone,
        which is a weaker condition.

    >>> true = Tree(("+", "a", "b"), (-1, 0, 0))
    >>> overlap_figures([true], [Tree(("+", "a", "a", "b"), (-1, 0, 0, 2))])["node_f1"]
    0.8571428571428571
    """
    pairs = list(zip(true, written, strict=True))
    return {
        "node_f1": _f1([(_nodes(one), _nodes(other)) for one, other in pairs]),
        "edge_f1": _f1([(_edges(one), _edges(other)) for one, other in pairs]),
    }


def _nodes(tree: Tree | None) -> Counter[Any]:
    return Counter() if tree is None else Counter(tree.labels)


def _edges(tree: Tree | None) -> Counter[Any]:
    if tree is None:
        return Counter()
    parents = (tree.labels[parent] for parent in tree.parents[1:])
    return Counter(zip(parents, tree.labels[1:], strict=True))


def _f1(pairs: Sequence[tuple[Counter[Any], Counter[Any]]]) -> float:
    """F1 of the means over pairs of what is true and what is written."""
    precision = recall = 0.0
    for true, written in pairs:
        matches = (true & written).total()
        precision += matches / written.total() if written else 1.0
        recall += matches / true.total() if true else 1.0
    precision, recall = precision / len(pairs), recall / len(pairs)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
