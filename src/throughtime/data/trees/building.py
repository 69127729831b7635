"""Builds a tree from the opening brackets, symbols and closing brackets of a nested list."""

from __future__ import annotations

from throughtime.data.trees.tree import Tree

__all__ = ["HEADLESS", "TreeBuilder", "has_explicit_head"]

HEADLESS = "()"
"""The label of a list that has no symbol as its first item, such as ``((a b) c)``."""


class TreeBuilder:
    """Builds the tree of nested lists, item by item.

    The first item of a list is the label of its node if it is a symbol; the other items are the
    children. A list whose first item is a list has the label ``()``; so has an empty list, and a
    list whose first item is an empty list, which is then no child. ``(a)`` is the same tree as
    ``a``.
    """

    def __init__(self) -> None:
        self._labels: list[str] = []
        self._parents: list[int] = []
        self._open: list[int] = []
        # Whether each open list has its label, from a symbol or from an empty list.
        self._has_label: list[bool] = []

    @property
    def depth(self) -> int:
        """The number of open lists."""
        return len(self._open)

    @property
    def is_empty(self) -> bool:
        """Whether there is no node yet."""
        return not self._labels

    def open(self) -> None:
        """Begins a list inside the open one."""
        self._append(HEADLESS)
        self._open.append(len(self._labels) - 1)
        self._has_label.append(False)

    def symbol(self, label: str) -> None:
        """Adds a symbol to the open list."""
        if self._open and self._open[-1] == len(self._labels) - 1 and not self._has_label[-1]:
            self._labels[self._open[-1]] = label
            self._has_label[-1] = True
        else:
            self._append(label)

    def close(self) -> None:
        """Ends the open list."""
        node = self._open.pop()
        is_empty = not self._has_label.pop() and node == len(self._labels) - 1
        is_first = bool(self._open) and self._open[-1] == node - 1
        if is_empty and is_first and not self._has_label[-1]:
            self._labels.pop()
            self._parents.pop()
            self._has_label[-1] = True

    def tree(self) -> Tree:
        """The tree of all items so far; afterwards the builder is empty again."""
        tree = Tree(tuple(self._labels), tuple(self._parents))
        self.__init__()
        return tree

    def _append(self, label: str) -> None:
        self._labels.append(label)
        self._parents.append(self._open[-1] if self._open else -1)


def has_explicit_head(tree: Tree, node: int) -> bool:
    """Whether the list of an inner node begins with its label.

    The label ``()`` is left out before a list, because no other label can be meant there.
    """
    return tree.labels[node] != HEADLESS or not tree.arities[node + 1]
