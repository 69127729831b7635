"""Infers the type of a program of AlgoLisp."""

from __future__ import annotations

from collections.abc import Mapping

from throughtime.data.trees.algolisp.compiling import ARG1, ARG2, SELF, ProgramError, constant
from throughtime.data.trees.algolisp.types import Type, Types, func, type_name
from throughtime.data.trees.algolisp.units import LAMBDAS, UNITS
from throughtime.data.trees.tree import Tree

__all__ = ["program_type"]

_NUM_FIXED = {"partial0": 0, "partial1": 1, "partial2": 2}


def program_type(tree: Tree, arguments: Mapping[str, Type], returns: Type | None = None) -> Type:
    """The type of a program's value.

    Args:
        tree: the program; any depth.
        arguments: the types of its arguments by name; of functions, too.
        returns: the type that the value should have.

    Raises:
        ProgramError: for an unknown symbol, a wrong number of arguments, or an argument of a wrong
            type; it names the node.

    >>> from throughtime.data.trees import from_lists
    >>> program_type(from_lists(["map", "a", ["partial0", "1", "<"]]), {"a": ("array", "int")})
    ('array', 'bool')
    """
    return _Checker(tree, arguments).type(returns)


class _Checker:
    def __init__(self, tree: Tree, arguments: Mapping[str, Type]) -> None:
        self._tree, self._types = tree, Types()
        self._kinds: list[Type] = [""] * len(tree)
        # The types of arg1, arg2 and self at each node; a lambda begins new ones.
        self._scopes: list[Mapping[str, Type]] = [arguments] * len(tree)
        # The lambda around each node, and those that call themselves.
        lambdas, self._recursive = [-1] * len(tree), set[int]()
        for node, label in enumerate(tree.labels):
            inner, around = self._scopes[node], lambdas[node]
            if label == SELF:
                self._recursive.add(around)
            if label in LAMBDAS and tree.arities[node]:
                inner, around = {**inner, **self._frame(LAMBDAS[label])}, node
            for child in tree.children[node]:
                self._scopes[child], lambdas[child] = inner, around

    def type(self, returns: Type | None) -> Type:
        for node in range(len(self._tree) - 1, -1, -1):
            is_leaf = not self._tree.arities[node]
            self._kinds[node] = self._leaf(node) if is_leaf else self._call(node)
        if returns is not None and not self._types.unify(self._kinds[0], returns):
            raise self._error(0, f"expected a program of type {type_name(returns)}", self._kinds[0])
        return self._types.resolved(self._kinds[0])

    def _frame(self, arity: int) -> dict[str, Type]:
        frame: dict[str, Type] = {ARG1: self._types.variable()}
        if arity == 2:
            frame[ARG2] = self._types.variable()
        frame[SELF] = func(*frame.values(), self._types.variable())
        return frame

    def _leaf(self, node: int) -> Type:
        label, scope = self._tree.labels[node], self._scopes[node]
        if label in scope:
            return scope[label]
        if label in _NUM_FIXED or label == "combine":
            # They suit functions of any number of arguments, for which there is no type.
            return self._types.variable()
        if label in UNITS:
            return func(*self._types.instance(UNITS[label].types))
        value = constant(label)
        if value is None:
            raise ProgramError("AlgoLisp", f"node {node}", f'unknown symbol "{label}".')
        return value[1]

    def _call(self, node: int) -> Type:
        label, children = self._tree.labels[node], self._tree.children[node]
        kinds = [self._kinds[child] for child in children]
        scope, types = self._scopes[node], self._types
        if label in scope:
            result = types.variable()
            if not types.unify(scope[label], func(*kinds, result)):
                raise self._error(node, "expected a call that suits the function", scope[label])
            return result
        if label not in UNITS:
            raise ProgramError("AlgoLisp", f"node {node}", f'unknown function "{label}".')
        if len(children) != UNITS[label].arity:
            raise ProgramError(
                *("AlgoLisp", f"node {node}"),
                f"expected {UNITS[label].arity} arguments of {label}, got {len(children)}.",
            )
        if label in LAMBDAS:
            inner = self._scopes[children[0]]
            names = (ARG1, ARG2)[: LAMBDAS[label]]
            function = func(*(inner[name] for name in names), kinds[0])
            # This comparison takes as long as the type is large, so it is left out where it can be.
            if node in self._recursive:
                self._unify(node, 0, inner[SELF], function)
            return function
        if label in _NUM_FIXED:
            return self._partial(node, _NUM_FIXED[label], *kinds)
        if label == "combine":
            outer_argument, result = types.variable(), types.variable()
            self._unify(node, 0, kinds[0], func(outer_argument, result))
            inner = self._function(node, 1, kinds[1], 1)
            self._unify(node, 1, inner[2], outer_argument)
            return ("func", inner[1], result)
        *expected, result = types.instance(UNITS[label].types)
        for number, (kind, wanted) in enumerate(zip(kinds, expected, strict=True)):
            self._unify(node, number, kind, wanted)
        return result

    def _partial(self, node: int, place: int, value: Type, function: Type) -> Type:
        arguments, result = self._function(node, 1, function, max(2, place + 1))[1:]
        if place >= len(arguments):
            raise self._error(
                node, f"expected a function of at least {place + 1} arguments", function
            )
        self._unify(node, 0, value, arguments[place])
        return ("func", (*arguments[:place], *arguments[place + 1 :]), result)

    def _function(self, node: int, number: int, kind: Type, arity: int) -> tuple:
        """The type of a function; one that is not known yet has ``arity`` arguments."""
        kind = self._types.head(kind)
        if isinstance(kind, int):
            new = (
                "func",
                tuple(self._types.variable() for _ in range(arity)),
                self._types.variable(),
            )
            self._types.unify(kind, new)
            return new
        if isinstance(kind, str) or kind[0] != "func":
            raise self._error(node, f"expected a function as argument {number + 1}", kind)
        return kind

    def _unify(self, node: int, number: int, kind: Type, expected: Type) -> None:
        if not self._types.unify(kind, expected):
            wanted = type_name(self._types.resolved(expected))
            raise self._error(node, f"expected {wanted} as argument {number + 1}", kind)

    def _error(self, node: int, expected: str, got: Type) -> ProgramError:
        return ProgramError(
            *("AlgoLisp", f"node {node} ({self._tree.labels[node]})"),
            f"{expected}, got {type_name(self._types.resolved(got))}.",
        )
