"""Trees as sequences of symbols in prefix order, for models that write one symbol after another."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote

from throughtime.data.trees.building import HEADLESS, TreeBuilder, has_explicit_head
from throughtime.data.trees.tree import Tree, TreeError

__all__ = [
    "from_prefix",
    "from_symbols",
    "read_symbols",
    "to_prefix",
    "to_symbols",
    "write_symbols",
]

_OPEN, _CLOSE = "(", ")"
# What would end a symbol, or be a bracket. The percent sign begins an escape.
_SPECIAL = re.compile(r"[\s%]|^[()]$")


def to_symbols(tree: Tree) -> list[str]:
    """The symbols of a tree with brackets: an inner node is ``(``, its label, its children, ``)``.

    Raises:
        TreeError: if a label is one of the two brackets.

    >>> to_symbols(Tree(("+", "a", "len", "b"), (-1, 0, 0, 2)))
    ['(', '+', 'a', '(', 'len', 'b', ')', ')']
    """
    symbols: list[str] = []
    depth = 0
    for node, label in enumerate(tree.labels):
        if label in (_OPEN, _CLOSE):
            raise TreeError(
                *("to_symbols", f"node {node}"),
                f"expected a label that is no bracket, got {label}.",
            )
        symbols += [_CLOSE] * (depth - tree.depths[node])
        depth = tree.depths[node]
        if tree.arities[node]:
            depth += 1
            symbols.append(_OPEN)
        if not tree.arities[node] or has_explicit_head(tree, node):
            symbols.append(label)
    return symbols + [_CLOSE] * depth


def from_symbols(symbols: Sequence[str]) -> Tree:
    """The tree of symbols with brackets; the inverse of :func:`to_symbols`.

    Raises:
        TreeError: if the brackets are not balanced, or there is no tree or several ones.

    >>> from_symbols("( + a ( len b ) )".split()).parents
    (-1, 0, 0, 2)
    """
    builder = TreeBuilder()
    where = "from_symbols"
    for number, symbol in enumerate(symbols, 1):
        place = f"symbol {number}"
        if number > 1 and not builder.depth:
            raise TreeError(where, place, f"expected the end of the tree before it, got {symbol}.")
        if symbol == _OPEN:
            builder.open()
        elif symbol != _CLOSE:
            builder.symbol(symbol)
        elif builder.depth:
            builder.close()
        else:
            raise TreeError(where, place, "expected an opening bracket before it, got none.")
    if builder.depth or builder.is_empty:
        raise TreeError(
            *(where, "at the end"),
            f"expected {builder.depth} more closing brackets, got none."
            if builder.depth
            else "expected a tree, got no symbol.",
        )
    return builder.tree()


def write_symbols(tree: Tree) -> str:
    """The symbols of :func:`to_symbols` as a text, separated by spaces.

    White space and percent signs in labels, and labels that are a bracket, are percent-encoded.

    >>> write_symbols(Tree(("f", "new york", ")"), (-1, 0, 0)))
    '( f new%20york %29 )'
    """
    labels = [
        label if label == HEADLESS else _SPECIAL.sub(lambda match: quote(match[0], safe=""), label)
        for label in tree.labels
    ]
    return " ".join(to_symbols(tree.with_labels(labels)))


def read_symbols(text: str) -> Tree:
    """The tree of a text of symbols; the inverse of :func:`write_symbols`.

    Raises:
        TreeError: if the symbols are no tree.

    >>> read_symbols("( f new%20york %29 )").labels
    ('f', 'new york', ')')
    """
    tree = from_symbols(text.split())
    return tree.with_labels([unquote(label) for label in tree.labels])


def to_prefix(tree: Tree) -> list[str]:
    """The labels in prefix order; without brackets, so that arities must be known to read them.

    >>> to_prefix(Tree(("+", "a", "len", "b"), (-1, 0, 0, 2)))
    ['+', 'a', 'len', 'b']
    """
    return list(tree.labels)


def from_prefix(symbols: Sequence[str], arities: Mapping[str, int]) -> Tree:
    """The tree of labels in prefix order, each of which always has the same number of children.

    Args:
        symbols: the labels.
        arities: the number of children by label; a label that is not in it is a leaf.

    Raises:
        TreeError: if nodes are missing or left over.

    >>> from_prefix(["+", "a", "len", "b"], {"+": 2, "len": 1}).parents
    (-1, 0, 0, 2)
    """
    return Tree.from_arities(symbols, [arities.get(symbol, 0) for symbol in symbols])
