"""The notations in which trees are written as one line of text."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from throughtime.data.trees.brackets import (
    read_sexpr,
    read_treebank,
    write_sexpr,
    write_treebank,
)
from throughtime.data.trees.lists import read_json, write_json
from throughtime.data.trees.python import read_python, write_python
from throughtime.data.trees.shell import read_shell, write_shell
from throughtime.data.trees.tree import Tree, TreeError

__all__ = ["NOTATIONS", "Notation"]


class Notation(NamedTuple):
    """How trees are read and written.

    Args:
        read: reads the tree of a text; a second argument says what is read, for errors.
        write: writes a tree on one line.
    """

    read: Callable[[str, str], Tree]
    write: Callable[[Tree], str]


def _bracketed(text: str, where: str) -> Tree:
    trees = read_treebank(text, where)
    if len(trees) != 1:
        raise TreeError(where, "", f"expected one tree in brackets, got {len(trees)}.")
    return trees[0]


NOTATIONS: dict[str, Notation] = {
    "s-expression": Notation(read_sexpr, write_sexpr),
    "json": Notation(read_json, write_json),
    "treebank": Notation(_bracketed, write_treebank),
    "python": Notation(read_python, write_python),
    "shell": Notation(read_shell, write_shell),
}
"""The notations by name."""
