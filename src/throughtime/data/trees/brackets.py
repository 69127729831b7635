r"""Trees as text in brackets: s-expressions, and the bracketed trees of treebanks."""

from __future__ import annotations

import re

from throughtime.data.trees.building import HEADLESS, TreeBuilder, has_explicit_head
from throughtime.data.trees.tree import Tree, TreeError

__all__ = ["place_in", "read_sexpr", "read_treebank", "write_sexpr", "write_treebank"]

_STRING = r'"(?:[^"\\]|\\.)*"'
# White space is that of ASCII: the Stanford sentiment treebank has words with U+00A0 in them.
# A backslash takes away the meaning of the character after it, except in `\n`, `\r` and `\t`.
_ATOM = r"(?:[^\s()\"\\]|\\.)(?:[^\s()\\]|\\.)*"
_SEXPR = re.compile(
    rf"\s+|(?P<open>\()|(?P<close>\))|(?P<string>{_STRING})|(?P<atom>{_ATOM})", re.S | re.A
)
_TREEBANK = re.compile(r"\s+|(?P<open>\()|(?P<close>\))|(?P<atom>[^\s()]+)", re.A)
_ESCAPED = re.compile(r"\\(.)", re.S)
_SPECIAL = re.compile(r"[\s()\\]", re.A)
_LETTERS = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_CHARACTERS = {"n": "\n", "r": "\r", "t": "\t"}


def read_sexpr(text: str, where: str = "", *, closes: bool = False) -> Tree:
    r"""Reads the tree of an s-expression: ``(label child child …)``, or a label alone.

    A label in double quotes may hold spaces, and keeps its quotes. In another label a backslash
    stands before a space, a bracket or a backslash; a line feed is ``\n``. A list without a label
    has the label ``()``.

    Args:
        text: one s-expression.
        where: what is read, such as a file and a line; an error begins with it.
        closes: whether brackets that are open at the end of the text are closed there.

    Raises:
        TreeError: if the brackets are not balanced, a string does not end, or the text holds no
            tree or several ones.

    >>> read_sexpr('(+ a (len "x y"))').labels
    ('+', 'a', 'len', '"x y"')
    """
    trees = _read(text, where, _SEXPR, closes)
    if len(trees) != 1:
        place, what = (
            ("", "no text") if not trees else (place_in(text, trees[1][0]), "a second one")
        )
        raise TreeError(where, place, f"expected one s-expression, got {what}.")
    return trees[0][1]


def write_sexpr(tree: Tree) -> str:
    """Writes the s-expression of a tree, which :func:`read_sexpr` reads as the same tree.

    >>> write_sexpr(Tree(("+", "a", "len", "x y"), (-1, 0, 0, 2)))
    '(+ a (len x\\\\ y))'
    """
    return _write(tree, [_atom(label) for label in tree.labels])


def read_treebank(text: str, where: str = "") -> list[Tree]:
    """Reads bracketed trees, such as those of the Penn Treebank or the Stanford sentiment treebank.

    A tree may extend over several lines. No character but brackets and white space has a meaning.
    The nameless outer brackets of the Penn Treebank are a node with the label ``()``.

    Args:
        text: any number of trees.
        where: what is read, such as a file; an error begins with it.

    Raises:
        TreeError: if the brackets are not balanced.

    >>> [tree.labels for tree in read_treebank("(3 (2 It) (4 works))  ( (S (NP you)))")]
    [('3', '2', 'It', '4', 'works'), ('()', 'S', 'NP', 'you')]
    """
    return [tree for _, tree in _read(text, where, _TREEBANK, closes=False)]


def write_treebank(tree: Tree) -> str:
    """Writes a tree in brackets, which :func:`read_treebank` reads as the same tree.

    Raises:
        TreeError: if a label has white space or a bracket in it, for which there is no notation.

    >>> write_treebank(Tree(("3", "2", "It"), (-1, 0, 1)))
    '(3 (2 It))'
    """
    for node, label in enumerate(tree.labels):
        if label != HEADLESS and re.search(r"[\s()]", label, re.A):
            raise TreeError(
                *("write_treebank", f"node {node}"),
                f"expected a label without brackets and white space, got {label!r}. Replace these "
                "characters, as -LRB- and -RRB- do in the Penn Treebank.",
            )
    return _write(tree, list(tree.labels))


def place_in(text: str, index: int) -> str:
    """The place of a character in a text, for a message; lines and characters count from 1.

    >>> place_in("a b", 2), place_in("a\\nb", 2)
    ('character 3', 'line 2, character 1')
    """
    line = text.count("\n", 0, index)
    character = index - text.rfind("\n", 0, index)
    return f"line {line + 1}, character {character}" if "\n" in text else f"character {character}"


def _read(text: str, where: str, pattern: re.Pattern[str], closes: bool) -> list[tuple[int, Tree]]:
    """The trees of a text, each with the index of its first character."""
    trees: list[tuple[int, Tree]] = []
    builder = TreeBuilder()
    opened: list[int] = []
    index = first = 0
    while index < len(text):
        match = pattern.match(text, index)
        if match is None:
            raise TreeError(
                *(where, place_in(text, index)),
                "expected a closing quotation mark for the one here, got none."
                if text[index] == '"'
                else "expected a character after the backslash, got the end of the text.",
            )
        if match.lastgroup is not None:
            if builder.is_empty:
                first = index
            if match.lastgroup == "open":
                builder.open()
                opened.append(index)
            elif match.lastgroup == "close":
                if not opened:
                    raise TreeError(
                        *(where, place_in(text, index)),
                        "expected balanced brackets, got a closing one without an opening one. "
                        "Remove it, or add the opening one.",
                    )
                builder.close()
                opened.pop()
            elif match.lastgroup == "string" or pattern is _TREEBANK:
                builder.symbol(match[0])
            else:
                builder.symbol(_ESCAPED.sub(_unescaped, match[0]))
            if not opened:
                trees.append((first, builder.tree()))
        index = match.end()
    if opened and not closes:
        raise TreeError(
            *(where, place_in(text, opened[-1])),
            "expected balanced brackets, got no closing one for the one here "
            f"({len(opened)} {'is' if len(opened) == 1 else 'are'} open at the end). Add it.",
        )
    if opened:
        for _ in opened:
            builder.close()
        trees.append((first, builder.tree()))
    return trees


def _write(tree: Tree, atoms: list[str]) -> str:
    parts: list[str] = []
    depths, arities = tree.depths, tree.arities
    depth, separator = 0, ""
    for node, atom in enumerate(atoms):
        parts.append(")" * (depth - depths[node]) + separator)
        depth, separator = depths[node], " "
        if not arities[node]:
            parts.append(atom)
        elif has_explicit_head(tree, node):
            parts.append(f"({atom}")
            depth += 1
        else:
            parts.append("(")
            depth, separator = depth + 1, ""
    parts.append(")" * depth)
    return "".join(parts)


def _atom(label: str) -> str:
    """A label as it is written in an s-expression."""
    if label == HEADLESS or (re.fullmatch(_STRING, label, re.S) and "\n" not in label):
        return label
    escaped = _SPECIAL.sub(lambda match: _LETTERS.get(match[0], f"\\{match[0]}"), label)
    return f"\\{escaped}" if escaped.startswith('"') else escaped


def _unescaped(match: re.Match[str]) -> str:
    return _CHARACTERS.get(match[1], match[1])
