r"""Trees as nested lists, in Python and as JSON: ``["+", "a", ["len", "b"]]``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from throughtime.data.trees.brackets import place_in
from throughtime.data.trees.building import HEADLESS, TreeBuilder, has_explicit_head
from throughtime.data.trees.tree import Tree, TreeError

__all__ = ["from_lists", "read_json", "to_lists", "write_json"]

_TOKEN = re.compile(
    r'\s*(?:(?P<mark>[\[\],])|(?P<string>"(?:[^"\\]|\\.)*")|(?P<number>-?\d[\d.eE+-]*))',
    re.A | re.S,
)


def from_lists(value: Any, where: str = "from_lists") -> Tree:
    """The tree of a nested list, whose first item is the label and whose others are the children.

    An item is a string, a number (whose label is its text), or a list or tuple. See
    :class:`throughtime.data.trees.building.TreeBuilder` for lists without a label.

    Args:
        value: the list, or a label alone.
        where: what is read; an error begins with it.

    Raises:
        TreeError: for an item of another type or an empty string.

    >>> from_lists(["+", "a", ["len", "b"]]).parents
    (-1, 0, 0, 2)
    """
    builder = TreeBuilder()
    items: list[Iterator[Any]] = [iter([value])]
    while items:
        for item in items[-1]:
            if isinstance(item, list | tuple):
                builder.open()
                items.append(iter(item))
                break
            if isinstance(item, bool) or not isinstance(item, str | int | float) or item == "":
                raise TreeError(
                    *(where, ""),
                    "expected lists of text and numbers, got "
                    f"{'an empty text' if item == '' else type(item).__name__} in them.",
                )
            builder.symbol(str(item))
        else:
            items.pop()
            if items:
                builder.close()
    return builder.tree()


def to_lists(tree: Tree) -> Any:
    """The nested list of a tree; a tree of one node is its label.

    >>> to_lists(Tree(("+", "a", "len", "b"), (-1, 0, 0, 2)))
    ['+', 'a', ['len', 'b']]
    """
    items: list[Any] = list(tree.labels)
    for node, arity in enumerate(tree.arities):
        if arity:
            label = tree.labels[node]
            # An empty list before a first child that is no list stands for the label `()`.
            items[node] = [label] if label != HEADLESS else []
            if label == HEADLESS and has_explicit_head(tree, node):
                items[node] = [[]]
        elif tree.labels[node] == HEADLESS:
            items[node] = []
    for node, parent in enumerate(tree.parents[1:], 1):
        items[parent].append(items[node])
    return items[0]


def read_json(text: str, where: str = "") -> Tree:
    """Reads the tree of a nested JSON list, at any depth; see :func:`from_lists`.

    Raises:
        TreeError: if the text is no JSON list of strings, numbers and such lists.

    >>> read_json('["+", "a", ["len", "b"]]').labels
    ('+', 'a', 'len', 'b')
    """
    builder = TreeBuilder()
    index, end = 0, len(text.rstrip())
    # Before the first item of a list, after an item, or where an item has to follow.
    state = "item"
    while index < end:
        match = _TOKEN.match(text, index)
        kind, token = (match.lastgroup, match[match.lastgroup or 0]) if match else (None, "")
        is_item = kind in ("string", "number") or token == "["
        if (
            kind is None
            or (is_item and state == "after")
            or (token == "," and (state != "after" or not builder.depth))
            or (token == "]" and (state == "item" or not builder.depth))
        ):
            expected = {"first": "an item or ]", "item": "an item"}.get(state)
            expected = expected or ("a comma or ]" if builder.depth else "the end of the text")
            start = index + len(text[index:]) - len(text[index:].lstrip())
            raise TreeError(
                *(where, place_in(text, start)),
                f"expected {expected}, got {text[start : start + 20]!r}.",
            )
        assert match is not None
        if token == "[":
            builder.open()
            state = "first"
        elif token == "]":
            builder.close()
            state = "after"
        elif token == ",":
            state = "item"
        else:
            builder.symbol(_label(token, kind == "string", where, place_in(text, match.start())))
            state = "after"
        index = match.end()
    if builder.depth or builder.is_empty:
        raise TreeError(
            *(where, ""),
            f"expected a JSON list, got a text in which {builder.depth} lists do not end."
            if builder.depth
            else "expected a JSON list, got no text.",
        )
    return builder.tree()


def write_json(tree: Tree) -> str:
    """Writes the nested JSON list of a tree, which :func:`read_json` reads as the same tree.

    >>> write_json(Tree(("+", "a", "len", "b"), (-1, 0, 0, 2)))
    '["+", "a", ["len", "b"]]'
    """
    parts: list[str] = []
    depth = 0
    for node, label in enumerate(tree.labels):
        parts.append("]" * (depth - tree.depths[node]))
        depth = tree.depths[node]
        # A comma stands before each item but the first, which is a label or an inner list.
        is_first = not node or (
            tree.positions[node] == 0 and not has_explicit_head(tree, tree.parents[node])
        )
        parts.append("" if is_first else ", ")
        written = "[]" if label == HEADLESS else json.dumps(label, ensure_ascii=False)
        if tree.arities[node]:
            depth += 1
            parts.append(f"[{written}" if has_explicit_head(tree, node) else "[")
        else:
            parts.append(written)
    parts.append("]" * depth)
    return "".join(parts)


def _label(token: str, is_string: bool, where: str, place: str) -> str:
    try:
        value = json.loads(token)
    except ValueError as error:
        raise TreeError(
            where,
            place,
            f"expected a {'string' if is_string else 'number'}, got {token[:20]} ({error}).",
        ) from error
    if value == "":
        raise TreeError(where, place, "expected a label of at least one character, got none.")
    return value if is_string else token
