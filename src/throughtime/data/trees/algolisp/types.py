"""The types of AlgoLisp: their names, and the unification of types with variables."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["BOOL", "INT", "STRING", "Type", "Types", "array", "func", "read_type", "type_name"]

Type = str | int | tuple[Any, ...]
"""A basic type or the letter of a variable in a signature (str), a variable (int), or a tuple:
``("array", item)``, ``("func", (argument, …), result)``, ``("type", described)``."""

INT, STRING, BOOL = "int", "string", "bool"
_BASIC = (INT, STRING, BOOL)
_MOST_SHOWN = 6


def array(item: Type) -> Type:
    """The type of arrays of items of a type."""
    return ("array", item)


def func(*types: Type) -> Type:
    """The type of functions; the last type is that of the result."""
    return ("func", types[:-1], types[-1])


def read_type(name: str) -> Type:
    """The type of a name such as ``int``, ``string[]`` or ``int[][]``.

    Numbers of all kinds are ``int``.

    Raises:
        ValueError: for an unknown name.

    >>> read_type("int[][]")
    ('array', ('array', 'int'))
    """
    match = re.fullmatch(r"(\w+)((?:\[\])*)", name)
    if match is None or match[1] not in _BASIC:
        raise ValueError(
            f'read_type: expected {", ".join(_BASIC)}, or these with [] after them, got "{name}".'
        )
    kind: Type = match[1]
    for _ in range(len(match[2]) // 2):
        kind = array(kind)
    return kind


def type_name(kind: Type, depth: int = 0) -> str:
    """The name of a type, for messages; an unknown part is ``?``.

    >>> type_name(func(INT, array(STRING), BOOL))
    '(int, string[]) -> bool'
    """
    if isinstance(kind, int):
        return "?"
    if isinstance(kind, str):
        return kind
    if depth > _MOST_SHOWN:
        return "…"
    if kind[0] == "func":
        arguments = ", ".join(type_name(argument, depth + 1) for argument in kind[1])
        return f"({arguments}) -> {type_name(kind[2], depth + 1)}"
    inner = type_name(kind[1], depth + 1)
    return (
        f"type {inner}" if kind[0] == "type" else f"({inner})[]" if " " in inner else f"{inner}[]"
    )


class Types:
    """Type variables and what they stand for. Nothing here is recursive.

    >>> types = Types()
    >>> item = types.variable()
    >>> types.unify(array(item), array(INT)), types.unify(item, STRING), types.resolved(item)
    (True, False, 'int')
    """

    def __init__(self) -> None:
        self._bound: list[Type | None] = []

    def variable(self) -> int:
        """A new variable."""
        self._bound.append(None)
        return len(self._bound) - 1

    def instance(self, kinds: tuple[Type, ...]) -> tuple[Type, ...]:
        """Types of a signature, with a new variable for each letter."""
        variables: dict[str, int] = {}

        def renewed(kind: Type) -> Type:
            # Signatures are written by hand and nested a few levels.
            if isinstance(kind, str):
                if len(kind) > 1:
                    return kind
                if kind not in variables:
                    variables[kind] = self.variable()
                return variables[kind]
            if isinstance(kind, int):
                return kind
            if kind[0] == "func":
                return ("func", tuple(map(renewed, kind[1])), renewed(kind[2]))
            return (kind[0], renewed(kind[1]))

        return tuple(map(renewed, kinds))

    def head(self, kind: Type) -> Type:
        """What a type stands for, without looking into arrays and functions."""
        while isinstance(kind, int):
            bound = self._bound[kind]
            if bound is None:
                return kind
            kind = bound
        return kind

    def unify(self, one: Type, other: Type) -> bool:
        """Makes two types equal if possible; says whether it was."""
        pairs = [(one, other)]
        while pairs:
            one, other = (self.head(kind) for kind in pairs.pop())
            # A comparison of nested tuples is recursive, so only their parts are compared.
            if one is other or (not isinstance(one, tuple) and one == other):
                continue
            if isinstance(other, int):
                one, other = other, one
            if isinstance(one, int):
                if self._contains(other, one):
                    return False
                self._bound[one] = other
            elif not isinstance(one, tuple) or not isinstance(other, tuple) or one[0] != other[0]:
                return False
            elif one[0] != "func":
                pairs.append((one[1], other[1]))
            elif len(one[1]) != len(other[1]):
                return False
            else:
                pairs += [*zip(one[1], other[1], strict=True), (one[2], other[2])]
        return True

    def resolved(self, kind: Type) -> Type:
        """A type with all known variables replaced, to a depth that suits messages."""
        return self._resolved(kind, 0)

    def _resolved(self, kind: Type, depth: int) -> Type:
        kind = self.head(kind)
        if not isinstance(kind, tuple) or depth > _MOST_SHOWN:
            return kind
        if kind[0] == "func":
            arguments = tuple(self._resolved(argument, depth + 1) for argument in kind[1])
            return ("func", arguments, self._resolved(kind[2], depth + 1))
        return (kind[0], self._resolved(kind[1], depth + 1))

    def _contains(self, kind: Type, variable: int) -> bool:
        waiting = [kind]
        while waiting:
            kind = self.head(waiting.pop())
            if kind == variable:
                return True
            if isinstance(kind, tuple):
                waiting += [*kind[1], kind[2]] if kind[0] == "func" else [kind[1]]
        return False
