"""``graph -> graph of its backward step``: the chain rule, and one rule for each operation.

The rules are those of a textbook. Where PyTorch takes a side at a kink (relu at 0, equal values
under a maximum), the rule takes the same one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from throughtime.kernels.graph.graph import LEAVES, Graph, Node, Operand, is_mask, reachable
from throughtime.kernels.graph.maps import Map

__all__ = ["RULES", "gradients"]


class _Write:
    """Writes nodes in the letters of the rules: ``w.mul(d, y)``."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __getattr__(self, op: str) -> Callable[..., Operand]:
        return lambda *args: self.graph.node(op, *args)


# For each operation: from the gradient d of its value y, the gradients of its arguments.
# None: no gradient flows there.
RULES: dict[str, Callable[..., tuple[Operand | None, ...]]] = {
    "add": lambda w, d, y, a, b: (d, d),
    "sub": lambda w, d, y, a, b: (d, w.neg(d)),
    "mul": lambda w, d, y, a, b: (w.mul(d, b), w.mul(d, a)),
    "div": lambda w, d, y, a, b: (w.div(d, b), w.neg(w.div(w.mul(d, y), b))),
    "neg": lambda w, d, y, a: (w.neg(d),),
    "reciprocal": lambda w, d, y, a: (w.neg(w.mul(d, w.mul(y, y))),),
    "sigmoid": lambda w, d, y, a: (w.mul(d, w.mul(y, w.sub(1.0, y))),),
    "tanh": lambda w, d, y, a: (w.mul(d, w.sub(1.0, w.mul(y, y))),),
    "relu": lambda w, d, y, a: (w.where(w.less(0.0, y), d, 0.0),),
    "exp": lambda w, d, y, a: (w.mul(d, y),),
    "expm1": lambda w, d, y, a: (w.mul(d, w.add(y, 1.0)),),
    "log": lambda w, d, y, a: (w.div(d, a),),
    "log1p": lambda w, d, y, a: (w.div(d, w.add(a, 1.0)),),
    "log_sigmoid": lambda w, d, y, a: (w.mul(d, w.sigmoid(w.neg(a))),),
    "softplus": lambda w, d, y, a: (w.mul(d, w.sigmoid(a)),),
    "sqrt": lambda w, d, y, a: (w.div(w.mul(d, 0.5), y),),
    "rsqrt": lambda w, d, y, a: (w.mul(w.mul(d, -0.5), w.mul(y, w.mul(y, y))),),
    "sin": lambda w, d, y, a: (w.mul(d, w.cos(a)),),
    "cos": lambda w, d, y, a: (w.neg(w.mul(d, w.sin(a))),),
    "erf": lambda w, d, y, a: (w.mul(d, w.mul(w.exp(w.neg(w.mul(a, a))), 2 / math.sqrt(math.pi))),),
    "pow": lambda w, d, y, a, n: (w.mul(d, w.mul(w.pow(a, n - 1.0), n)), None),
    "abs": lambda w, d, y, a: (w.mul(d, w.sign(a)),),
    "remainder": lambda w, d, y, a, b: (d, w.neg(w.mul(d, w.floor(w.div(a, b))))),
    "fmod": lambda w, d, y, a, b: (d, w.neg(w.mul(d, w.trunc(w.div(a, b))))),
    "maximum": lambda w, d, y, a, b: (_share(w, d, a, b, b, a), _share(w, d, b, a, a, b)),
    "minimum": lambda w, d, y, a, b: (_share(w, d, a, b, a, b), _share(w, d, b, a, b, a)),
    "where": lambda w, d, y, c, a, b: (None, w.where(c, d, 0.0), w.where(c, 0.0, d)),
    "row_sum": lambda w, d, y, a: (d,),
    **dict.fromkeys(
        ("sign", "floor", "ceil", "round", "trunc", "stop"), lambda w, d, y, a: (None,)
    ),
    **dict.fromkeys(("less", "less_equal", "equal", "both", "either"), lambda *_: (None, None)),
    "negate": lambda *_: (None,),
}


def _transposed(rule: Map) -> Map:
    """The map that gradients take."""
    return replace(rule, is_transposed=not rule.is_transposed)


def _share(
    w: _Write, d: Operand, a: Operand, b: Operand, small: Operand, large: Operand
) -> Operand:
    """The gradient of a, which is chosen where small < large; equal values get half of d each."""
    half = w.where(w.equal(a, b), w.mul(d, 0.5), 0.0)
    return w.where(w.less(small, large), d, half)


def gradients(
    graph: Graph, seeds: Iterable[tuple[Operand, Operand]], wrt: Iterable[Node]
) -> Mapping[Node, Operand]:
    """The gradients of a sum over all values.

    Args:
        graph: where the nodes of the derivative are made.
        seeds: values, each with the gradient that comes in for it.
        wrt: the leaves whose gradients are wanted.

    Returns:
        For each leaf its gradient, 0.0 where it has none. The gradient of a leaf of kind
        ``unit`` is a row: it is to be summed over the rows.
    """
    w = _Write(graph)
    total: dict[Node, Operand] = {}

    def give(node: Operand | None, d: Operand | None) -> None:
        if d is None or d == 0.0 or not isinstance(node, Node) or is_mask(node):
            return
        if node.kind == "column" and not (isinstance(d, Node) and d.kind == "column"):
            d = w.row_sum(d)
        elif node.kind == "number":
            # It follows from the number of units, or from numbers.
            return
        total[node] = w.add(total[node], d) if node in total else d

    seeds = list(seeds)
    for value, d in seeds:
        give(value, d)
    for node in reversed(reachable(value for value, _ in seeds)):
        if node.op in LEAVES or node not in total:
            continue
        args, d_node = node.args, total[node]
        if node.op == "spread":
            give(args[0], d_node)
            continue
        if isinstance(node.rule, Map):
            if not (isinstance(d_node, Node) and d_node.kind in ("row", "unit")):
                # What is the same for all units, as a row of this width.
                d_node = graph.spread(d_node, node.width)
            give(args[0], graph.map(_transposed(node.rule), d_node))
            continue
        for argument, d in zip(args, RULES[node.op](w, d_node, node, *args), strict=True):
            give(argument, d)
    return {leaf: total.get(leaf, 0.0) for leaf in wrt}
