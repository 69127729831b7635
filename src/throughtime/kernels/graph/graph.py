"""The equations of a step as a graph of operations.

A node is an operation on other nodes and numbers. Equal nodes are one object, so that common
subexpressions are computed once. Sums with zero, products with one and operations on numbers alone
do not become nodes at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from throughtime.kernels.graph.maps import UNITS, Map, Size

__all__ = [
    "LEAVES",
    "OPERATIONS",
    "Graph",
    "Node",
    "Operand",
    "evaluate",
    "is_mask",
    "reachable",
]

LEAVES = ("state", "parameter", "input", "random", "product", "slot", "gradient", "units", "size")
"""Operations without arguments, whose values come from outside the graph. ``random`` is a random
input, ``gradient`` a gradient that enters the backward step, ``units`` the number H, ``size``
another integer expression in H."""


@dataclass(frozen=True, eq=False)
class Node:
    """One value of a step.

    Args:
        op: the operation, one of ``OPERATIONS`` or ``LEAVES``.
        args: the arguments of the operation, nodes and numbers.
        name: the name of a leaf; empty for an operation.
        kind: the shape of the value. ``row``: one number for each row and unit; ``unit``: one for
            each unit, equal in all rows; ``column``: one for each row, equal for all units;
            ``number``: a single one.
        index: the position in the graph; arguments have a lower index than their operation.
        rule: the map of the operation ``map``; the size that the leaf ``size`` or the operation
            ``spread`` has; else None.
        width: the number of units of a value of kind ``row`` or ``unit``.
    """

    op: str
    args: tuple[Node | float, ...] = ()
    name: str = ""
    kind: str = "row"
    index: int = 0
    rule: Map | Size | None = None
    width: Size = UNITS

    def __repr__(self) -> str:
        inside = ", ".join(f"%{a.index}" if isinstance(a, Node) else repr(a) for a in self.args)
        rule = "" if self.rule is None else f" {self.rule!r}"
        return f"%{self.index} = {self.op}{rule}({inside or self.name})"


Operand = Node | float

OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "neg": torch.neg,
    "reciprocal": torch.reciprocal,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "log_sigmoid": torch.nn.functional.logsigmoid,
    "softplus": torch.nn.functional.softplus,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "sin": torch.sin,
    "cos": torch.cos,
    "erf": torch.erf,
    "pow": torch.pow,
    "abs": torch.abs,
    "sign": torch.sign,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
    "trunc": torch.trunc,
    "remainder": torch.remainder,
    "fmod": torch.fmod,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "less": torch.lt,
    "less_equal": torch.le,
    "equal": torch.eq,
    "both": torch.logical_and,
    "either": torch.logical_or,
    "negate": torch.logical_not,
    "where": torch.where,
    "stop": torch.detach,
    "row_sum": lambda a: a.sum(-1, keepdim=True),
    "row_max": lambda a: a.amax(-1, keepdim=True),
}
"""Every operation of the graph with the function of PyTorch that defines it. The names are mostly
PyTorch's; operations that give a mask (true or false) have names of their own. ``row_sum`` and
``row_max`` reduce over the units. Two more operations are not in this table, because they need a
width or a map: ``spread`` repeats one number for each unit of a row, and ``map`` computes a row
from another row; see maps.py."""

_COMMUTATIVE = frozenset({"add", "mul", "maximum", "minimum", "equal", "both", "either"})
_MASKS = frozenset({"less", "less_equal", "equal", "both", "either", "negate"})


@dataclass
class Graph:
    """The nodes of a step; equal nodes are one object."""

    _nodes: dict[Any, Node] = field(default_factory=dict)
    equal_sizes: dict[tuple[Size, Size], None] = field(default_factory=dict)
    """Pairs of sizes that must be equal; for an H for which they differ, the step would fail on
    tensors. The keys of a dict are used as a set that keeps its order."""

    @property
    def nodes(self) -> list[str]:
        """All nodes as text, in the order in which they were added."""
        return [repr(node) for node in self._nodes.values()]

    def problem(self, H: int) -> str:
        """The reason why the step cannot be run with H units; empty if it can."""
        for one, other in self.equal_sizes:
            if one.at(H) != other.at(H):
                return f"with H = {H} units, {one} is {one.at(H)} and {other} is {other.at(H)}"
        rules = (node.rule for node in self._nodes.values() if isinstance(node.rule, Map))
        return next((why for rule in rules if (why := rule.problem(H))), "")

    def leaf(self, op: str, name: str, kind: str = "row") -> Node:
        """The node of a value that comes from outside; adds it if it is new."""
        return self._unique(op, (), name, kind)

    def size(self, size: Size) -> Node:
        """The node of a size, so that a step can compute with it."""
        if size == UNITS:
            return self.leaf("units", "H", "number")
        return self._unique("size", (), str(size), "number", size)

    def map(self, rule: Map, value: Node) -> Node:
        """The node of a map applied to a value of kind ``row`` or ``unit``."""
        width = rule.target if rule.is_transposed else rule.source
        if value.width != width:
            self.equal_sizes[value.width, width] = None
        return self._unique("map", (value,), "", value.kind, rule, rule.width)

    def node(self, op: str, *args: Operand) -> Operand:
        """The value of an operation: a number if all arguments are numbers, else a node."""
        if not any(isinstance(a, Node) for a in args):
            # In float64 like every constant of the graph; a kernel rounds it to its own type once.
            tensors = (torch.tensor(a, dtype=torch.float64) for a in args)
            return float(OPERATIONS[op](*tensors))
        simple = _simplified(self, op, args)
        if simple is not None:
            return simple
        if op in _COMMUTATIVE:
            args = tuple(sorted(args, key=_order))
        return self._unique(op, args, "", _kind(op, args), width=self._width(op, args))

    def spread(self, value: Operand, width: Size) -> Node:
        """A row of this width in which every unit has the same number, ``value``."""
        return self._unique("spread", (value,), "", "row", width, width)

    def _width(self, op: str, args: Iterable[Operand]) -> Size:
        """The width of an operation's value; records which widths must be equal."""
        widths = [a.width for a in args if isinstance(a, Node) and a.kind in ("row", "unit")]
        for width in widths[1:]:
            if width != widths[0]:
                self.equal_sizes[widths[0], width] = None
        return widths[0] if widths else UNITS

    def _unique(
        self,
        op: str,
        args: tuple[Operand, ...],
        name: str,
        kind: str,
        rule: Map | Size | None = None,
        width: Size = UNITS,
    ) -> Node:
        # A number enters the key as text: as numbers -0.0 would equal 0.0, and NaN not itself.
        key = (op, name, rule, *(a.index if isinstance(a, Node) else repr(a) for a in args))
        if key not in self._nodes:
            self._nodes[key] = Node(op, args, name, kind, len(self._nodes), rule, width)
        return self._nodes[key]

    def copy(self, roots: Iterable[Operand], into: Mapping[Node, Operand]) -> list[Operand]:
        """Copies values of another graph into this one, with some nodes replaced.

        Args:
            roots: the values to copy.
            into: for each replaced node of the other graph, its value in this graph.

        Returns:
            The copies of the roots, in the same order.
        """
        copies: dict[Node, Operand] = dict(into)
        roots = list(roots)
        for node in reachable(roots, stop=copies):
            if node.op == "size":
                copies[node] = self.size(_size_of(node))
            elif node.op == "spread":
                (argument,) = node.args
                copies[node] = self.spread(copies[argument], node.width)  # type: ignore[index]
            elif node.op in LEAVES:
                copies[node] = self.leaf(node.op, node.name, node.kind)
            elif isinstance(node.rule, Map):
                argument = copies[node.args[0]]  # type: ignore[index]
                assert isinstance(argument, Node)
                copies[node] = self.map(node.rule, argument)
            else:
                args = (copies[a] if isinstance(a, Node) else a for a in node.args)
                copies[node] = self.node(node.op, *args)
        return [copies[r] if isinstance(r, Node) else r for r in roots]


def _size_of(node: Node) -> Size:
    assert isinstance(node.rule, Size)
    return node.rule


def _order(a: Operand) -> tuple[int, float]:
    """The sort key of an argument of a commutative operation: nodes first, then numbers."""
    return (0, a.index) if isinstance(a, Node) else (1, a)


def _kind(op: str, args: Iterable[Operand]) -> str:
    """The shape of an operation's value, by broadcasting the shapes of its arguments."""
    if op in ("row_sum", "row_max"):
        return "column"
    kinds = {a.kind for a in args if isinstance(a, Node)}
    if "row" in kinds or {"unit", "column"} <= kinds:
        return "row"
    return next((k for k in ("unit", "column") if k in kinds), "number")


def _simplified(graph: Graph, op: str, args: tuple[Operand, ...]) -> Operand | None:
    """A simpler value that equals the operation's, or None if there is none.

    A rule must also hold for infinity and NaN: ``a * 0`` stays an operation.
    """
    a, b = args[0], args[1] if len(args) > 1 else None
    if op == "add" and 0.0 in args:
        return b if a == 0.0 else a
    if op == "sub" and b == 0.0:
        return a
    if op == "sub" and a == 0.0 and b is not None:
        return graph.node("neg", b)
    if op == "mul" and 1.0 in args:
        return b if a == 1.0 else a
    if op == "mul" and -1.0 in args and b is not None:
        return graph.node("neg", b if a == -1.0 else a)
    if op == "div" and b == 1.0:
        return a
    if op == "neg" and isinstance(a, Node) and a.op == "neg":
        return a.args[0]
    if op == "add" and b is not None:
        for negated, other in ((a, b), (b, a)):
            if isinstance(negated, Node) and negated.op == "neg":
                return graph.node("sub", other, negated.args[0])
    if op == "sub" and isinstance(b, Node) and b.op == "neg":
        return graph.node("add", a, b.args[0])
    if op == "pow" and b == 2.0:
        return graph.node("mul", a, a)
    if op == "pow" and b == 1.0:
        return a
    if op == "pow" and b == 0.0:
        # The rule of pow would give the derivative 0 * a^-1, which is NaN at a = 0.
        return 1.0
    if op == "pow" and b == 0.5:
        return graph.node("sqrt", a)
    if op == "pow" and b == -1.0:
        return graph.node("reciprocal", a)
    return None


def is_mask(value: Operand) -> bool:
    """Whether the value is true or false rather than a number."""
    return isinstance(value, Node) and value.op in _MASKS


def reachable(roots: Iterable[Operand], stop: Iterable[Node] = ()) -> list[Node]:
    """The roots and all nodes that they are computed from, in an order of computation.

    Args:
        roots: the values to compute.
        stop: nodes whose values are known. Neither they, nor nodes that only they need, are listed.
    """
    visited: dict[Node, None] = {}
    known = set(stop)
    waiting = [r for r in roots if isinstance(r, Node)]
    while waiting:
        node = waiting.pop()
        if node not in visited and node not in known:
            visited[node] = None
            waiting += [a for a in node.args if isinstance(a, Node)]
    return sorted(visited, key=lambda node: node.index)


def evaluate(roots: Iterable[Operand], leaves: Mapping[tuple[str, str], Tensor]) -> list[Any]:
    """Computes the roots with plain PyTorch.

    Args:
        roots: the values to compute.
        leaves: a tensor for each leaf, by operation and name.
    """
    roots = list(roots)
    values: dict[Node, Any] = {}
    # The widest leaf has H units. Gradients do not count: one may belong to a row of another width.
    widths = (t.shape[-1] for (op, _), t in leaves.items() if op != "gradient" and t.dim())
    H = max(widths, default=1)
    for node in reachable(roots):
        if node.op == "size":
            like = next(iter(leaves.values()))
            values[node] = like.new_tensor(_size_of(node).at(H))
            continue
        if isinstance(node.rule, Map):
            values[node] = node.rule.apply(values[node.args[0]], H)  # type: ignore[index]
            continue
        if node.op in LEAVES:
            values[node] = leaves[node.op, node.name]
            continue
        args = [values[a] if isinstance(a, Node) else a for a in node.args]
        if node.op == "spread":
            like = next(t for t in leaves.values() if t.dim() == 2)
            one = args[0] if isinstance(args[0], Tensor) else like.new_full((), args[0])
            values[node] = one.expand(len(like), node.width.at(H))
            continue
        if not isinstance(args[0], Tensor) or node.op in ("maximum", "minimum", "where"):
            # PyTorch's functions need tensors here. One without dimensions does not change the
            # dtype of the result, unless all others are masks.
            args = [
                a if isinstance(a, Tensor) else torch.tensor(a, dtype=torch.float64) for a in args
            ]
        values[node] = OPERATIONS[node.op](*args)
    return [values[r] if isinstance(r, Node) else r for r in roots]
