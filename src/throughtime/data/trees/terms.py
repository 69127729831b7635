"""Terms of Prolog as trees: ``_loc ( A , _stateid ( texas ) )``."""

from __future__ import annotations

import re

from throughtime.data.trees.brackets import place_in
from throughtime.data.trees.building import HEADLESS
from throughtime.data.trees.tree import Tree, TreeError

__all__ = ["read_term"]

_MARK = re.compile(r"[(),]")


def read_term(text: str, where: str = "") -> Tree:
    """Reads a term: a name, or a name and its arguments in brackets, separated by commas.

    Brackets without a name before them are a node with the label ``()``. A name may have spaces.

    Args:
        text: one term.
        where: what is read; an error begins with it.

    Raises:
        TreeError: if the brackets are not balanced, or a name or a comma is missing.

    >>> read_term("( A , ( _capital ( A ) , _loc ( A , new york ) ) )").labels
    ('()', 'A', '()', '_capital', 'A', '_loc', 'A', 'new york')
    """
    labels: list[str] = []
    parents: list[int] = []
    opened: list[tuple[int, int]] = []
    index, is_complete = 0, False

    def error(place: int, what: str) -> TreeError:
        return TreeError(where, place_in(text, place), what)

    def add(label: str) -> None:
        labels.append(label)
        parents.append(opened[-1][0] if opened else -1)

    while True:
        mark = _MARK.search(text, index)
        end = mark.start() if mark else len(text)
        name = " ".join(text[index:end].split())
        token = mark[0] if mark else ""
        if name and is_complete:
            raise error(index, f"expected a comma or a closing bracket, got {name!r}.")
        if name or token == "(":
            if is_complete:
                raise error(end, "expected a comma before the bracket, got none.")
            add(name or HEADLESS)
            is_complete = token != "("
        elif not is_complete:
            raise error(end, f"expected a term, got {token or 'the end of the text'}.")
        if token == "(":
            opened.append((len(labels) - 1, end))
        elif token and not opened:
            raise error(end, f"expected the end of the text, got {token}.")
        elif token == ",":
            is_complete = False
        elif token == ")":
            opened.pop()
        else:
            break
        index = end + 1
    if opened:
        raise error(opened[-1][1], "expected a closing bracket for the one here, got none. Add it.")
    return Tree(tuple(labels), tuple(parents))
