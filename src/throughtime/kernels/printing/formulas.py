"""Operations of the graph as formulas of a programming language, with as few brackets as it needs.

What JavaScript and C have in common: the precedence of their operators, and the order in which the
values of a step are computed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

from throughtime.kernels.graph.graph import Node, Operand
from throughtime.kernels.graph.maps import Size

__all__ = [
    "AND",
    "CALL",
    "CHOICE",
    "EQUAL",
    "LESS",
    "OR",
    "PRODUCT",
    "SIGN",
    "SUM",
    "Formulas",
    "in_brackets",
    "in_order",
]

# The precedence of operators: ?: || && == < + * ! and calls.
CHOICE, OR, AND, EQUAL, LESS, SUM, PRODUCT, SIGN, CALL = range(9)


class Formulas(ABC):
    """Writes the value of one unit as a formula.

    Args:
        H: the number of units, which is written as a number.

    Attributes:
        infix: the operators between two values by operation, each with its precedence.
        prefix: the operators before a value.
    """

    infix: ClassVar[Mapping[str, tuple[str, int]]]
    prefix: ClassVar[Mapping[str, str]]

    def __init__(self, H: int) -> None:
        self.H = H

    @abstractmethod
    def number(self, value: float) -> str:
        """A number in the language."""

    @abstractmethod
    def known(self, node: Node) -> str | None:
        """The name by which the unit's value is read; None if a formula has to compute it."""

    @abstractmethod
    def call(self, op: str, args: list[str]) -> str:
        """The call of the function that computes an operation."""

    @abstractmethod
    def choice(self, mask: Operand, yes: Operand, no: Operand, level: int) -> str:
        """The operation ``where``."""

    def element(self, value: Operand, level: int) -> str:
        """One number: that of the unit k of a row, or the value itself.

        Args:
            value: the value.
            level: the precedence of the operator around it; a formula gets brackets if its own is
                lower.
        """
        if not isinstance(value, Node):
            own = SIGN if math.copysign(1.0, value) < 0 else CALL
            return in_brackets(self.number(value), own, level)
        if value.op in ("units", "size"):
            return self.number(float(self.size_of(value)))
        known = self.known(value)
        return self.formula(value, level) if known is None else known

    def size_of(self, node: Node) -> int:
        """The value of the leaf ``units`` or ``size``."""
        return node.rule.at(self.H) if isinstance(node.rule, Size) else self.H

    def formula(self, node: Node, level: int) -> str:
        """An operation on numbers, in brackets if the operator around it binds more strongly."""
        op, args = node.op, node.args
        if op in self.infix:
            sign, own = self.infix[op]
            # A sum on the right side keeps its brackets: floating point sums depend on the order.
            left, right = self.element(args[0], own), self.element(args[1], own + 1)
            return in_brackets(f"{left} {sign} {right}", own, level)
        if op in self.prefix:
            return in_brackets(f"{self.prefix[op]}{self.element(args[0], CALL)}", SIGN, level)
        if op == "where":
            mask, yes, no = args
            return self.choice(mask, yes, no, level)
        if op == "stop":
            return self.element(args[0], level)
        one = self.number(1.0)
        if op == "reciprocal":
            return in_brackets(f"{one} / {self.element(args[0], SIGN)}", PRODUCT, level)
        if op == "rsqrt":
            root = self.call("sqrt", [self.element(args[0], CHOICE)])
            return in_brackets(f"{one} / {root}", PRODUCT, level)
        return self.call(op, [self.element(a, CHOICE) for a in args])


def in_order(
    roots: Iterable[Operand], needed_by: Callable[[Node], Iterable[Operand]]
) -> list[Node]:
    """The roots and all that they need, in an order in which they can be computed.

    Args:
        roots: the values.
        needed_by: the values that have to be computed before a node.
    """
    done: dict[Node, None] = {}
    waiting: list[tuple[Operand, bool]] = [(root, False) for root in roots][::-1]
    while waiting:
        node, is_ready = waiting.pop()
        if not isinstance(node, Node) or node in done:
            continue
        if is_ready:
            done[node] = None
            continue
        waiting.append((node, True))
        waiting += [(a, False) for a in reversed(list(needed_by(node)))]
    return list(done)


def in_brackets(written: str, own: int, level: int) -> str:
    """A formula, in brackets if its precedence is lower than that of the operator around it."""
    return written if own >= level else f"({written})"
