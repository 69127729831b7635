r"""Lines of a shell as trees of their commands, and back.

    find . -name '*.c' | xargs rm -f   is   (| (find . -name '*.c') (xargs rm -f))

A command is a node with its first word as the label and the other words as children. A redirection
is a node with its operator as the label, above its file. ``|``, ``&&``, ``||`` and ``;`` are nodes
above commands, ``&`` above what runs in the background, ``( )`` above what runs in a shell of its
own. Words stay as they are written, with their quotes and substitutions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from throughtime.data.trees.building import HEADLESS
from throughtime.data.trees.tree import Tree, TreeError

__all__ = ["read_shell", "write_shell"]

_REDIRECTION = re.compile(r"(?:\d*(?:<<<|<>|<&|>>|>&|>\||<(?![<(])|>(?!\())|&>>?)")
_OPERATOR = re.compile(r"&&|\|\||\|&|;|&|\||\(|\)")
# Parts of a word in which nothing has a meaning.
_LITERAL = re.compile(r"\\.|\$'(?:[^'\\]|\\.)*'|'[^']*'", re.S)
_OWN_SHELL = "( )"
# From the loosest to the tightest.
_LEVELS = {";": 0, "&": 1, "&&": 2, "||": 2, "|": 3, "|&": 3}
_LEVEL_OF_COMMAND = 4


class _Token(NamedTuple):
    kind: str
    text: str
    place: int


class _Node(NamedTuple):
    label: str
    children: list[_Node]


def read_shell(text: str, where: str = "") -> Tree:
    """Reads a line of a shell such as bash.

    Words of the language (``if``, ``for``, ``do``) and comments are read as words of a command, so
    that ``for x in *; do rm $x; done`` is three commands. There are no here-documents.

    Args:
        text: one line.
        where: what is read; an error begins with it.

    Raises:
        TreeError: for a quotation or bracket without an end, or an operator in a wrong place.

    >>> read_shell("ls | wc -l > n").labels
    ('|', 'ls', 'wc', '-l', '>', 'n')
    """
    return _Reader(text, where).tree()


class _Reader:
    """Reads a line by operator precedence, with a stack of operands and one of operators."""

    def __init__(self, text: str, where: str) -> None:
        self._text, self._where = text, where
        self._operands: list[_Node] = []
        self._operators: list[_Token] = []
        self._words: list[_Node] = []
        # Whether the operand is a closed bracket, after which only redirections may come.
        self._is_closed = False
        # A `;` joins two commands, or ends the last one.
        self._may_end = False

    def tree(self) -> Tree:
        """The tree of the line."""
        redirection: _Token | None = None
        for token in (*_tokens(self._text, self._where), _Token("end", "", len(self._text))):
            if redirection and token.kind != "word":
                raise self._error(token, f"a file after {redirection.text}")
            if token.kind == "redirection":
                redirection = token
            elif redirection:
                self._begin(token)
                self._words.append(_Node(redirection.text, [_Node(token.text, [])]))
                redirection = None
            elif token.kind == "word":
                if self._is_closed:
                    raise self._error(token, "an operator")
                self._begin(token)
                self._words.append(_Node(token.text, []))
            elif token.text == "(":
                if self._words or self._is_closed:
                    raise self._error(token, "a word")
                self._begin(token)
                self._operators.append(token)
            else:
                self._end_operand(token)
                self._operator(token)
        opened = [token for token in self._operators if token.text == "("]
        if opened:
            place = f"character {opened[-1].place + 1}"
            raise TreeError(self._where, place, "expected a closing bracket, got none. Add it.")
        return _flat(self._operands.pop())

    def _begin(self, token: _Token) -> None:
        """Begins an operand, after a `;` or `&` if there is one before it."""
        if self._may_end:
            self._join(_LEVELS[";"])
            self._operators.append(_Token("operator", ";", token.place))
            self._may_end = False

    def _end_operand(self, token: _Token) -> None:
        if self._is_closed:
            self._operands[-1].children.extend(self._words)
        elif self._words:
            first, *others = self._words
            is_named = not first.children
            self._operands.append(
                _Node(first.label, others) if is_named else _Node(HEADLESS, self._words)
            )
        elif not self._may_end or token.text not in ("", ")"):
            raise self._error(token, "a command")
        self._words, self._is_closed = [], False

    def _operator(self, token: _Token) -> None:
        self._join(_LEVELS.get(token.text, 0))
        if token.text == ")":
            if not self._operators:
                raise self._error(token, "an operator")
            self._operators.pop()
            self._operands.append(_Node(_OWN_SHELL, [self._operands.pop()]))
            self._is_closed, self._may_end = True, False
        elif token.text in (";", "&"):
            if token.text == "&":
                self._operands.append(_Node("&", [self._operands.pop()]))
            self._may_end = True
        elif token.kind != "end":
            self._operators.append(token)

    def _join(self, level: int) -> None:
        """Joins operands by the operators inside this bracket that are at least as tight."""
        operators, operands = self._operators, self._operands
        while operators and operators[-1].text != "(" and _LEVELS[operators[-1].text] >= level:
            label, right = operators.pop().text, operands.pop()
            if operands[-1].label == label:
                operands[-1].children.append(right)
            else:
                operands.append(_Node(label, [operands.pop(), right]))

    def _error(self, token: _Token, expected: str) -> TreeError:
        return TreeError(
            *(self._where, f"character {token.place + 1}"),
            f"expected {expected}, got {token.text or 'the end of the line'}.",
        )


def write_shell(tree: Tree) -> str:
    """Writes the line of a tree.

    Raises:
        TreeError: if the tree is not one of a line.

    >>> write_shell(read_shell("ls|wc  -l >n"))
    'ls | wc -l > n'
    """
    N = len(tree)
    roles = _roles(tree)
    texts, levels = list(tree.labels), [_LEVEL_OF_COMMAND] * N
    for node in range(N - 1, -1, -1):
        label, children = tree.labels[node], tree.children[node]
        parts = [texts[child] for child in children]
        if roles[node] != "operand":
            texts[node] = " ".join([label, *parts])
        elif label == _OWN_SHELL:
            texts[node] = " ".join([f"( {parts[0]} )", *parts[1:]])
        elif label not in _LEVELS:
            texts[node] = " ".join([label, *parts] if label != HEADLESS else parts)
        else:
            levels[node] = level = _LEVELS[label]
            for number, child in enumerate(children):
                # Operators of one level are joined from the left.
                if levels[child] < level + (number > 0 or label in ";&"):
                    raise _wrong(tree, child, f"{_OWN_SHELL!r} between {label} and it")
            if label == "&":
                texts[node] = f"{parts[0]} &"
            elif label == ";":
                texts[node] = _sequence(parts, [levels[child] for child in children])
            else:
                texts[node] = f" {label} ".join(parts)
    return texts[0]


def _sequence(parts: list[str], levels: list[int]) -> str:
    """Commands one after the other; `&` ends a command as `;` does."""
    ends = [" " if level == _LEVELS["&"] else "; " for level in levels[:-1]]
    return "".join(part + end for part, end in zip(parts, [*ends, ""], strict=True))


def _roles(tree: Tree) -> list[str]:
    """What each node is: an operand (a command, or an operator), a word of one, or a file."""
    roles = ["operand"] * len(tree)
    for node, label in enumerate(tree.labels):
        children, role = tree.children[node], roles[node]
        if role == "word" and _REDIRECTION.fullmatch(label):
            files = [tree.labels[child] for child in children if not tree.arities[child]]
            if len(files) != 1 or len(children) != 1 or not _is_word(files[0]):
                raise _wrong(tree, node, "one file below it")
            roles[children[0]] = "file"
        elif role == "word" and (children or not _is_word(label)):
            raise _wrong(tree, node, "a word without children")
        if role != "operand":
            continue
        least = {"&": 1, _OWN_SHELL: 1, HEADLESS: 1}.get(label, 2 if label in _LEVELS else 0)
        most = 1 if label == "&" else len(children)
        if not least <= len(children) <= most:
            raise _wrong(tree, node, f"{least} or more children")
        if label not in _LEVELS and label not in (_OWN_SHELL, HEADLESS) and not _is_word(label):
            raise _wrong(tree, node, "a command")
        num_operands = len(children) if label in _LEVELS else int(label == _OWN_SHELL)
        for child in children[num_operands:]:
            roles[child] = "word"
    return roles


def _is_word(text: str) -> bool:
    try:
        tokens = list(_tokens(text, ""))
    except TreeError:
        return False
    return [(token.kind, token.text) for token in tokens] == [("word", text)]


def _wrong(tree: Tree, node: int, expected: str) -> TreeError:
    return TreeError(
        "write_shell", f"node {node}", f"expected {expected}, got {tree.labels[node]!r}."
    )


def _flat(root: _Node) -> Tree:
    labels: list[str] = []
    parents: list[int] = []
    waiting = [(-1, root)]
    while waiting:
        parent, node = waiting.pop()
        labels.append(node.label)
        parents.append(parent)
        waiting += [(len(labels) - 1, child) for child in reversed(node.children)]
    return Tree(tuple(labels), tuple(parents))


def _tokens(text: str, where: str) -> Iterator[_Token]:
    index = 0
    while index < len(text):
        if text[index] in " \t\n\r\f\v":
            index += 1
            continue
        if match := _REDIRECTION.match(text, index):
            kind, end = "redirection", match.end()
        elif match := _OPERATOR.match(text, index):
            kind, end = "operator", match.end()
        else:
            kind, end = "word", _end_of_word(text, index, where)
        if end == index:
            raise TreeError(
                *(where, f"character {index + 1}"),
                f"expected a word or an operator, got {text[index : index + 2]}. Here-documents "
                "are not read.",
            )
        yield _Token(kind, text[index:end], index)
        index = end


def _end_of_word(text: str, start: int, where: str) -> int:
    """The index after the word that begins at ``start``."""
    # What has to come to end each open quotation and bracket, and where it was opened.
    closers: list[tuple[str, int]] = []
    index = start
    while index < len(text):
        closer = closers[-1][0] if closers else ""
        character, pair = text[index], text[index : index + 2]
        literal = _LITERAL.match(text, index)
        if literal and (closer != '"' or character == "\\"):
            index = literal.end()
        elif character == closer:
            closers.pop()
            index += 1
        elif pair in ("$(", "${") or (pair in ("<(", ">(") and closer != '"'):
            closers.append((")" if pair[1] == "(" else "}", index))
            index += 2
        elif character in '"`':
            closers.append((character, index))
            index += 1
        elif character == "'" and closer != '"':
            closers.append((character, index))
            break
        elif character == "(" and closer in (")", "}", "`"):
            closers.append((")", index))
            index += 1
        elif character == "(" and not closer and index > start and text[index - 1] in "=!@+*?":
            closers.append((")", index))
            index += 1
        elif not closer and character in " \t\n\r\f\v|&;<>()":
            break
        else:
            index += 1
    if closers:
        closer, opened = closers[-1]
        raise TreeError(
            where,
            f"character {opened + 1}",
            f"expected {closer} to end what begins here, got none.",
        )
    return index
