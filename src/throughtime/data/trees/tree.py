"""The type of a tree: labels and parents in prefix order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Tree", "TreeError", "equal_trees"]


class TreeError(ValueError):
    """A text, a sequence or a list is not a tree.

    Args:
        where: the file, line, or function, with which the message begins.
        place: the place in it, such as ``character 7``; empty if there is none.
        what: what was expected, what was there, and what to do.
    """

    def __init__(self, where: str, place: str, what: str) -> None:
        super().__init__(f"{where}{', ' if where and place else ''}{place}: {what}")
        self.where, self.place, self.what = where, place, what


@dataclass(frozen=True)
class Tree:
    """An ordered tree with a label at each node, as flat sequences in prefix order.

    A node comes before its children, and all nodes of a child come before those of the next child.
    Node 0 is the root. No method is recursive, so a tree may be of any depth.

    Args:
        labels: the label of each node.
        parents: the index of the parent of each node; -1 for the root.

    Raises:
        TreeError: if there is no node, the lengths differ, a label is empty, or the order is not
            the prefix order.

    >>> tree = Tree(("+", "a", "*", "b", "2"), (-1, 0, 0, 2, 2))
    >>> tree.depths, tree.positions, tree.arities
    ((0, 1, 1, 2, 2), (0, 0, 1, 0, 1), (2, 0, 2, 0, 0))
    """

    labels: tuple[str, ...]
    parents: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.parents) or not self.labels:
            raise TreeError(
                *("Tree", ""),
                "expected a label and a parent for each of at least one node, got "
                f"{len(self.labels)} labels and {len(self.parents)} parents.",
            )
        if "" in self.labels:
            raise TreeError(
                *("Tree", f"node {self.labels.index('')}"),
                "expected a label of at least one character, got an empty one.",
            )
        path: list[int] = []
        for node, parent in enumerate(self.parents):
            # The parent of a node is the previous node or one above it.
            while path and path[-1] != parent:
                path.pop()
            if not path and (node or parent != -1):
                raise TreeError(
                    *("Tree", f"node {node}"),
                    "expected -1 as the parent of the root, and as the parent of another node the "
                    f"node before it or one above that, got {parent}. Sort the nodes into prefix "
                    "order.",
                )
            path.append(node)

    @classmethod
    def from_arities(cls, labels: Sequence[str], arities: Sequence[int]) -> Tree:
        """The tree of the labels and the numbers of children of its nodes in prefix order.

        Raises:
            TreeError: if nodes are missing or left over.

        >>> Tree.from_arities(["+", "a", "*", "b", "2"], [2, 0, 2, 0, 0]).parents
        (-1, 0, 0, 2, 2)
        """
        if len(labels) != len(arities):
            raise TreeError(
                *("Tree.from_arities", ""),
                f"expected an arity for each label, got {len(labels)} labels and {len(arities)} "
                "arities.",
            )
        parents: list[int] = []
        # The nodes that lack children, and how many of them.
        waiting: list[list[int]] = []
        for node, arity in enumerate(arities):
            if arity < 0 or (node and not waiting):
                raise TreeError(
                    *("Tree.from_arities", f"node {node}"),
                    f"expected the tree to be complete with {node} nodes, got {len(labels)}."
                    if arity >= 0
                    else f"expected an arity of at least 0, got {arity}.",
                )
            parents.append(waiting[-1][0] if waiting else -1)
            if waiting:
                waiting[-1][1] -= 1
            if arity:
                waiting.append([node, arity])
            while waiting and not waiting[-1][1]:
                waiting.pop()
        if waiting:
            raise TreeError(
                *("Tree.from_arities", f"node {waiting[-1][0]}"),
                f"expected {arities[waiting[-1][0]]} children, got {waiting[-1][1]} fewer. Add the "
                "missing nodes.",
            )
        return cls(tuple(labels), tuple(parents))

    def __len__(self) -> int:
        """N, the number of nodes."""
        return len(self.labels)

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """The depth of each node; that of the root is 0."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(depths[parent] + 1 if parent >= 0 else 0)
        return tuple(depths)

    @cached_property
    def positions(self) -> tuple[int, ...]:
        """The position of each node among its siblings, from 0."""
        num_children = [0] * len(self)
        positions = [0]
        for parent in self.parents[1:]:
            positions.append(num_children[parent])
            num_children[parent] += 1
        return tuple(positions)

    @cached_property
    def arities(self) -> tuple[int, ...]:
        """The number of children of each node."""
        arities = [0] * len(self)
        for parent in self.parents[1:]:
            arities[parent] += 1
        return tuple(arities)

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """The indices of the children of each node, in their order."""
        children: list[list[int]] = [[] for _ in self.labels]
        for node, parent in enumerate(self.parents[1:], 1):
            children[parent].append(node)
        return tuple(map(tuple, children))

    @property
    def depth(self) -> int:
        """The depth of the deepest node."""
        return max(self.depths)

    def end(self, node: int) -> int:
        """The index after the last node of the subtree at ``node``."""
        depths = self.depths
        end = node + 1
        while end < len(depths) and depths[end] > depths[node]:
            end += 1
        return end

    def subtree(self, node: int) -> Tree:
        """The tree of a node and everything below it.

        >>> Tree(("+", "a", "*", "b", "2"), (-1, 0, 0, 2, 2)).subtree(2)
        Tree(labels=('*', 'b', '2'), parents=(-1, 0, 0))
        """
        end = self.end(node)
        parents = tuple(parent - node for parent in self.parents[node + 1 : end])
        return Tree(self.labels[node:end], (-1, *parents))

    def with_labels(self, labels: Sequence[str]) -> Tree:
        """The tree of the same form with other labels.

        >>> Tree(("+", "a", "2"), (-1, 0, 0)).with_labels(["+", "x", "y"]).labels
        ('+', 'x', 'y')
        """
        return Tree(tuple(labels), self.parents)


def equal_trees(one: Tree, other: Tree, commutative: Collection[str] = ()) -> bool:
    """Whether two trees are equal, up to the order of the children of some nodes.

    Args:
        one, other: the trees.
        commutative: the labels of the nodes whose children may be in any order.

    >>> one, other = Tree(("+", "a", "2"), (-1, 0, 0)), Tree(("+", "2", "a"), (-1, 0, 0))
    >>> equal_trees(one, other), equal_trees(one, other, {"+", "*"})
    (False, True)
    """
    if len(one) != len(other):
        return False
    if not commutative or one == other:
        return one == other
    # Equal subtrees get equal numbers, so that children can be sorted by their numbers.
    numbers: dict[tuple[str, tuple[int, ...]], int] = {}
    return _number(one, commutative, numbers) == _number(other, commutative, numbers)


def _number(
    tree: Tree, commutative: Collection[str], numbers: dict[tuple[str, tuple[int, ...]], int]
) -> int:
    """The number of a tree; equal trees have the same number in ``numbers``."""
    of_node = [0] * len(tree)
    children = tree.children
    for node in range(len(tree) - 1, -1, -1):
        label = tree.labels[node]
        below = [of_node[child] for child in children[node]]
        if label in commutative:
            below.sort()
        of_node[node] = numbers.setdefault((label, tuple(below)), len(numbers))
    return of_node[0]
