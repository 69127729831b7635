"""Translates the tree of a program to instructions for a machine with a stack."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from throughtime.checks import nearest
from throughtime.data.trees.algolisp.types import INT, STRING, Type
from throughtime.data.trees.algolisp.units import CONSTANTS, LAMBDAS, UNITS
from throughtime.data.trees.tree import Tree, TreeError

__all__ = ["ARG1", "ARG2", "SELF", "Code", "Instruction", "ProgramError", "compiled", "constant"]

ARG1, ARG2, SELF = "arg1", "arg2", "self"
_FRAME = {ARG1: 0, ARG2: 1, SELF: 2}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.A)


class ProgramError(TreeError):
    """A program is not valid, or has no value for its inputs."""


class Instruction(NamedTuple):
    """A step of the machine.

    Args:
        operation: what is done, one of the names below.
        operand: what it is done with.
        node: the node of the tree that it comes from.

    The operations: ``push`` a constant; ``input``: push an argument of the program; ``frame``: push
    arg1, arg2 or self; ``call`` a unit; ``apply`` the function below this number of arguments;
    ``unless``: go on at another instruction if a condition does not hold; ``jump`` to another
    instruction; ``lambda``: push a function of this number of arguments with this code; ``return``.
    """

    operation: str
    operand: Any
    node: int


Code = list[Instruction]


def constant(label: str) -> tuple[Any, Type] | None:
    """The value and the type of a constant; None if the label is not one.

    >>> constant("10"), constant('"z"'), constant("a")
    ((10, 'int'), ('z', 'string'), None)
    """
    if label in CONSTANTS:
        return CONSTANTS[label]
    if _NUMBER.fullmatch(label):
        return (int(label) if label.lstrip("-").isdigit() else float(label)), INT
    if label[0] == '"' == label[-1] and len(label) > 1:
        try:
            return json.loads(label, strict=False), STRING
        except ValueError:
            return label[1:-1], STRING
    return None


def compiled(tree: Tree, names: Collection[str], functions: Mapping[str, int]) -> Code:
    """The instructions of a program.

    Args:
        tree: the program.
        names: the names of its arguments.
        functions: the numbers of arguments of further functions, by name.

    Raises:
        ProgramError: for an unknown symbol or a wrong number of arguments.
    """
    code: Code = []
    # Nodes to translate, and instructions to append, to complete, or to move into a function.
    waiting: list[tuple[str, Any]] = [("node", (0, frozenset()))]
    blocks: list[Code] = []
    while waiting:
        action, item = waiting.pop()
        if action == "append":
            code.append(item)
        elif action == "jump":
            # Completes an instruction that was appended before its target was known.
            place, operation, node = item
            code[place[0]] = Instruction(operation, len(code), node)
        elif action == "reserve":
            item.append(len(code))
            code.append(Instruction("", None, 0))
        elif action == "begin":
            blocks.append(code)
            code = []
        elif action == "end":
            arity, node = item
            code.append(Instruction("return", None, node))
            body, code = code, blocks.pop()
            code.append(Instruction("lambda", (arity, body), node))
        else:
            node, frame = item
            waiting += reversed(_steps(tree, node, frame, names, functions))
    code.append(Instruction("return", None, 0))
    return code


def _steps(
    tree: Tree,
    node: int,
    frame: frozenset[str],
    names: Collection[str],
    functions: Mapping[str, int],
) -> list[tuple[str, Any]]:
    """What is to be done for a node; ``frame`` are the names of the functions around it."""
    label, children = tree.labels[node], tree.children[node]
    if not children:
        return [("append", _leaf(tree, node, frame, names, functions))]
    arguments: list[tuple[str, Any]] = [("node", (child, frame)) for child in children]
    is_name = label in names or label in frame
    arity = None if is_name else functions.get(label, getattr(UNITS.get(label), "arity", None))
    if not is_name and arity is None:
        raise _unknown(tree, node, "function", frame, names, functions)
    if arity is not None and arity != len(children):
        raise ProgramError(
            *("AlgoLisp", f"node {node}"),
            f"expected {arity} argument{'s' * (arity != 1)} of {label}, got {len(children)}.",
        )
    if is_name or label in functions:
        function = _leaf(tree, node, frame, names, functions)
        apply = Instruction("apply", len(children), node)
        return [("append", function), *arguments, ("append", apply)]
    if label in LAMBDAS:
        inner = frame | {ARG1, SELF} | ({ARG2} if LAMBDAS[label] == 2 else set())
        return [("begin", None), ("node", (children[0], inner)), ("end", (LAMBDAS[label], node))]
    if label == "if":
        to_else, to_end = [], []
        return [
            arguments[0],
            ("reserve", to_else),
            arguments[1],
            ("reserve", to_end),
            ("jump", (to_else, "unless", node)),
            arguments[2],
            ("jump", (to_end, "jump", node)),
        ]
    if label == "invoke1":
        return [*arguments, ("append", Instruction("apply", 1, node))]
    return [*arguments, ("append", Instruction("call", UNITS[label], node))]


def _leaf(
    tree: Tree,
    node: int,
    frame: frozenset[str],
    names: Collection[str],
    functions: Mapping[str, int],
) -> Instruction:
    label = tree.labels[node]
    if label in frame:
        return Instruction("frame", _FRAME[label], node)
    if label in names or label in functions:
        return Instruction("input", label, node)
    if label in LAMBDAS or label == "if":
        raise ProgramError("AlgoLisp", f"node {node}", f"expected arguments of {label}, got none.")
    if label in UNITS:
        return Instruction("push", UNITS[label], node)
    value = constant(label)
    if value is None:
        raise _unknown(tree, node, "symbol", frame, names, functions)
    return Instruction("push", value[0], node)


def _unknown(
    tree: Tree,
    node: int,
    what: str,
    frame: frozenset[str],
    names: Collection[str],
    functions: Mapping[str, int],
) -> ProgramError:
    label = tree.labels[node]
    known = sorted({*names, *frame, *functions, *UNITS, *CONSTANTS})
    hint = nearest(label, known) or "."
    arguments = ", ".join([*names, *sorted(frame)]) or "none"
    return ProgramError(
        *("AlgoLisp", f"node {node}"),
        f'unknown {what} "{label}"{hint} The arguments here: {arguments}.',
    )
