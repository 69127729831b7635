"""Arithmetic expressions and their values as trees."""

from __future__ import annotations

from throughtime.data.pairs import PairSet
from throughtime.data.trees.brackets import read_sexpr
from throughtime.data.trees.examples import TreeExample, TreeSet
from throughtime.data.trees.tree import Tree

__all__ = ["NUMBER", "expression_trees", "spelled"]

NUMBER = "#"
"""The label of a number, whose children are its digits."""


def expression_trees(pairs: PairSet) -> TreeSet:
    """Pairs of :func:`throughtime.data.prefix_expressions` with both sides as trees.

    The source is the tree of its brackets. The target, which may hold numbers of any size, is
    :func:`spelled`, so that a model can write numbers that no target of the training has.
    """
    splits = {
        split: [
            TreeExample(
                pair.source, spelled(read_sexpr(pair.target)), source_tree=read_sexpr(pair.source)
            )
            for pair in examples
        ]
        for split, examples in pairs.splits.items()
    }
    return TreeSet(pairs.name, splits, "s-expression")


def spelled(tree: Tree) -> Tree:
    """The tree in which each whole number is a node ``#`` with its sign and digits as children.

    >>> from throughtime.data.trees.brackets import write_sexpr
    >>> write_sexpr(spelled(read_sexpr("(+ -14 x)")))
    '(+ (# - 1 4) x)'
    """
    labels: list[str] = []
    parents: list[int] = []
    places: list[int] = []
    for label, parent in zip(tree.labels, tree.parents, strict=True):
        places.append(len(labels))
        parents.append(places[parent] if parent >= 0 else -1)
        if not label.removeprefix("-").isdecimal():
            labels.append(label)
            continue
        labels += [NUMBER, *label]
        parents += [places[-1]] * len(label)
    return Tree(tuple(labels), tuple(parents))
