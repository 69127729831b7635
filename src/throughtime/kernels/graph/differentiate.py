"""``graph -> graph of its backward step``: the chain rule, and one rule for each operation.

Each rule is the textbook derivative. At a kink, where the derivative is not defined (relu at 0,
equal values under a maximum), the rule gives the value that PyTorch gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from throughtime.kernels.graph.graph import LEAVES, Graph, Node, Operand, is_mask, reachable
from throughtime.kernels.graph.maps import Map

__all__ = ["RULES", "gradients"]


class _Operations:
    """Adds nodes to a graph in the notation of the rules: ``g.mul(d, y)``."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __getattr__(self, op: str) -> Callable[..., Operand]:
        return lambda *args: self.graph.node(op, *args)


# For each operation: the gradients of its arguments, from the gradient d of its value y. An
# argument whose entry is None has no gradient. A rule reads y, which the forward step has computed,
# wherever that is cheaper than computing from the arguments: y (1 - y) for the sigmoid.
RULES: dict[str, Callable[..., tuple[Operand | None, ...]]] = {
    "add": lambda g, d, y, a, b: (d, d),
    "sub": lambda g, d, y, a, b: (d, g.neg(d)),
    "mul": lambda g, d, y, a, b: (g.mul(d, b), g.mul(d, a)),
    "div": lambda g, d, y, a, b: (g.div(d, b), g.neg(g.div(g.mul(d, y), b))),
    "neg": lambda g, d, y, a: (g.neg(d),),
    "reciprocal": lambda g, d, y, a: (g.neg(g.mul(d, g.mul(y, y))),),
    "sigmoid": lambda g, d, y, a: (g.mul(d, g.mul(y, g.sub(1.0, y))),),
    "tanh": lambda g, d, y, a: (g.mul(d, g.sub(1.0, g.mul(y, y))),),
    "relu": lambda g, d, y, a: (g.where(g.less(0.0, y), d, 0.0),),
    "exp": lambda g, d, y, a: (g.mul(d, y),),
    "expm1": lambda g, d, y, a: (g.mul(d, g.add(y, 1.0)),),
    "log": lambda g, d, y, a: (g.div(d, a),),
    "log1p": lambda g, d, y, a: (g.div(d, g.add(a, 1.0)),),
    "log_sigmoid": lambda g, d, y, a: (g.mul(d, g.sigmoid(g.neg(a))),),
    "softplus": lambda g, d, y, a: (g.mul(d, g.sigmoid(a)),),
    "sqrt": lambda g, d, y, a: (g.div(g.mul(d, 0.5), y),),
    "rsqrt": lambda g, d, y, a: (g.mul(g.mul(d, -0.5), g.mul(y, g.mul(y, y))),),
    "sin": lambda g, d, y, a: (g.mul(d, g.cos(a)),),
    "cos": lambda g, d, y, a: (g.neg(g.mul(d, g.sin(a))),),
    "erf": lambda g, d, y, a: (g.mul(d, g.mul(g.exp(g.neg(g.mul(a, a))), 2 / math.sqrt(math.pi))),),
    "pow": lambda g, d, y, a, n: (g.mul(d, g.mul(g.pow(a, n - 1.0), n)), None),
    "abs": lambda g, d, y, a: (g.mul(d, g.sign(a)),),
    "remainder": lambda g, d, y, a, b: (d, g.neg(g.mul(d, g.floor(g.div(a, b))))),
    "fmod": lambda g, d, y, a, b: (d, g.neg(g.mul(d, g.trunc(g.div(a, b))))),
    "maximum": lambda g, d, y, a, b: (_share(g, d, a, b, b, a), _share(g, d, b, a, a, b)),
    "minimum": lambda g, d, y, a, b: (_share(g, d, a, b, a, b), _share(g, d, b, a, b, a)),
    "where": lambda g, d, y, c, a, b: (None, g.where(c, d, 0.0), g.where(c, 0.0, d)),
    "row_sum": lambda g, d, y, a: (d,),
    **dict.fromkeys(
        ("sign", "floor", "ceil", "round", "trunc", "stop"), lambda g, d, y, a: (None,)
    ),
    **dict.fromkeys(("less", "less_equal", "equal", "both", "either"), lambda *_: (None, None)),
    "negate": lambda *_: (None,),
}


def _transposed(rule: Map) -> Map:
    """The transposed map, which maps the gradient of the target row to that of the source row."""
    return replace(rule, is_transposed=not rule.is_transposed)


def _share(
    g: _Operations, d: Operand, a: Operand, b: Operand, small: Operand, large: Operand
) -> Operand:
    """The gradient of the argument a of a maximum or minimum.

    The operation chooses a where small < large. If a and b are equal, each gets half of d.
    """
    half = g.where(g.equal(a, b), g.mul(d, 0.5), 0.0)
    return g.where(g.less(small, large), d, half)


def gradients(
    graph: Graph, seeds: Iterable[tuple[Operand, Operand]], wrt: Iterable[Node]
) -> Mapping[Node, Operand]:
    """Propagates gradients from values back to leaves.

    Args:
        graph: the graph of the values; the nodes of the derivative are added to it.
        seeds: pairs of a value and its incoming gradient.
        wrt: the leaves to differentiate with respect to.

    Returns:
        For each leaf its gradient, 0.0 if it has none. The gradient of a leaf of kind ``unit`` is
        of kind ``row``; the caller must sum it over the rows.
    """
    g = _Operations(graph)
    total: dict[Node, Operand] = {}

    def add(node: Operand | None, d: Operand | None) -> None:
        if d is None or d == 0.0 or not isinstance(node, Node) or is_mask(node):
            return
        # A column was broadcast over the units, so that its gradient is the sum over them. A
        # gradient that is a column itself stands for H equal ones, already added up.
        if node.kind == "column" and not (isinstance(d, Node) and d.kind == "column"):
            d = g.row_sum(d)
        elif node.kind == "number":
            # Such a value depends on H or on constants alone, and on no leaf with a gradient.
            return
        total[node] = g.add(total[node], d) if node in total else d

    seeds = list(seeds)
    for value, d in seeds:
        add(value, d)
    # From the last node to the first: all users of a node have added to its gradient before the
    # gradient is passed on.
    for node in reversed(reachable(value for value, _ in seeds)):
        if node.op in LEAVES or node not in total:
            continue
        args, d_node = node.args, total[node]
        if node.op == "spread":
            add(args[0], d_node)
            continue
        if isinstance(node.rule, Map):
            if not (isinstance(d_node, Node) and d_node.kind in ("row", "unit")):
                # The gradient is one number for all units: repeat it for each unit of the map.
                d_node = graph.spread(d_node, node.width)
            add(args[0], graph.map(_transposed(node.rule), d_node))
            continue
        for argument, d in zip(args, RULES[node.op](g, d_node, node, *args), strict=True):
            add(argument, d)
    return {leaf: total.get(leaf, 0.0) for leaf in wrt}
