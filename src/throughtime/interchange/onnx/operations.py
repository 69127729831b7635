"""The operations of a step as ONNX operators; those that ONNX lacks are composed of several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from throughtime.interchange.onnx.writing import GraphWriter
from throughtime.kernels.graph.maps import Cumsum, Map, Place

__all__ = ["OPERATIONS", "mapped", "operation"]

_OPERATORS = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "neg": "Neg",
    "reciprocal": "Reciprocal",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "exp": "Exp",
    "log": "Log",
    "softplus": "Softplus",
    "sqrt": "Sqrt",
    "sin": "Sin",
    "cos": "Cos",
    "erf": "Erf",
    "pow": "Pow",
    "abs": "Abs",
    "sign": "Sign",
    "floor": "Floor",
    "ceil": "Ceil",
    "round": "Round",
    "maximum": "Max",
    "minimum": "Min",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "equal": "Equal",
    "both": "And",
    "either": "Or",
    "negate": "Not",
    "where": "Where",
    "stop": "Identity",
}


class _Terms:
    """Writes the nodes of a composed operation; arguments are names of values, or numbers."""

    def __init__(self, graph: GraphWriter, name: str) -> None:
        self.graph, self.name = graph, name

    def __call__(self, op: str, *args: str | float, **attributes: Any) -> str:
        names = [a if isinstance(a, str) else self.graph.number(a) for a in args]
        return self.graph.node(op, names, f"{self.name}_{op.lower()}", **attributes)


def _expm1(f: _Terms, a: str) -> str:
    # exp(a) - 1 would lose all digits near 0; tanh(a/2) * (exp(a) + 1) is equal and does not.
    return f("Mul", f("Tanh", f("Mul", a, 0.5)), f("Add", f("Exp", a), 1.0))


def _log1p(f: _Terms, a: str) -> str:
    # Near 0, 1 + a rounds digits of a away; the rounding error is added again, to first order.
    u = f("Add", a, 1.0)
    log = f("Log", u)
    error = f("Sub", a, f("Sub", u, 1.0))
    return f("Where", f("Less", f("Abs", a), 0.5), f("Add", log, f("Div", error, u)), log)


def _remainder(f: _Terms, a: str, b: str) -> str:
    # The result has the sign of b, as in Python; that of Mod with fmod=1 has the sign of a.
    rest = f("Mod", a, b, fmod=1)
    differ = f("Less", f("Mul", f("Sign", rest), f("Sign", b)), 0.0)
    return f("Where", differ, f("Add", rest, b), rest)


_COMPOSED: dict[str, Callable[..., str]] = {
    "expm1": _expm1,
    "log1p": _log1p,
    "log_sigmoid": lambda f, a: f("Neg", f("Softplus", f("Neg", a))),
    "rsqrt": lambda f, a: f("Reciprocal", f("Sqrt", a)),
    "trunc": lambda f, a: f("Mul", f("Sign", a), f("Floor", f("Abs", a))),
    "remainder": _remainder,
    "fmod": lambda f, a, b: f("Mod", a, b, fmod=1),
    "row_sum": lambda f, a: f("ReduceSum", a, f.graph.integers(-1), keepdims=1),
    "row_max": lambda f, a: f("ReduceMax", a, axes=[-1], keepdims=1),
}

OPERATIONS = (*_OPERATORS, *_COMPOSED)
"""The operations of :mod:`throughtime.kernels.graph` that can be written, which are all of them."""


def operation(graph: GraphWriter, op: str, args: list[str], name: str) -> str:
    """Writes an operation.

    Args:
        graph: the graph to write into.
        op: one of ``OPERATIONS``.
        args: the names of its arguments.
        name: the name of the result, or the beginning of its name.

    Returns:
        The name of the result.
    """
    if op in _OPERATORS:
        return graph.node(_OPERATORS[op], args, name)
    return _COMPOSED[op](_Terms(graph, name), *args)


def mapped(graph: GraphWriter, rule: Map, value: str, H: int, rank: int, name: str) -> str:
    """Writes a map between rows; see :mod:`throughtime.kernels.graph.maps`.

    Args:
        graph: the graph to write into.
        rule: the map.
        value: the name of the row.
        H: the number of units of the layer.
        rank: the number of dimensions of ``value``; the units are the last one.
        name: the name of the result, or the beginning of its name.

    Returns:
        The name of the result.
    """
    if isinstance(rule, Cumsum):
        axis = graph.number(-1, torch.int64)
        return graph.node("CumSum", [value, axis], name)
    if isinstance(rule, Place):
        before, total = rule.offset.at(H), rule.target.at(H)
        after = total - before - rule.source.at(H)
        # Pad takes the numbers of zeros before all dimensions, then those after all dimensions.
        others = [0] * (rank - 1)
        pads = graph.integers(*others, before, *others, after)
        return graph.node("Pad", [value, pads, graph.number(0.0)], name)
    # All other maps read exactly one source unit for each target unit, so they are a Gather.
    written, read = rule.pairs(H)
    units = read[written.argsort()].tolist()
    return graph.node("Gather", [value, graph.integers(*units)], name, axis=-1)
