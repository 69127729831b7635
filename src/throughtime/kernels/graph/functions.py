"""The functions of PyTorch that a step may call, each written as nodes of the graph.

A function that is not here, or that is called in a way that is not, has no kernel: the reference
runs the cell. The arguments are nodes and numbers; the first is what writes the nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from throughtime.kernels.graph.graph import Graph, Node, Operand, is_mask
from throughtime.kernels.graph.maps import UNITS, Size, constant
from throughtime.kernels.graph.parts import PARTS
from throughtime.kernels.graph.untraceable import Untraceable

__all__ = ["CHANGING", "FUNCTIONS", "OPERATORS", "SHARING", "Untraceable", "Writer", "operand"]


def operand(value: Any) -> Operand:
    """A value that the step uses, as a node or a number."""
    if isinstance(value, Node):
        return value
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Tensor) and value.requires_grad:
        raise Untraceable("the step uses a tensor of its own that has a gradient; see parameters")
    if isinstance(value, Tensor) and value.numel() == 1:
        return float(value)
    if isinstance(value, Tensor):
        raise Untraceable(f"the step uses a tensor of its own, of shape {tuple(value.shape)}")
    raise Untraceable(f"the step uses {value!r} as a value")


class Writer:
    """Writes nodes: ``write.add(a, b)``; the arguments are nodes and numbers."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __getattr__(self, op: str) -> Callable[..., Operand]:
        def write(*args: Any) -> Operand:
            operands = [self.graph.size(a) if isinstance(a, Size) else operand(a) for a in args]
            return self.graph.node(op, *self._numbers(op, operands))

        return write

    def _numbers(self, op: str, args: list[Operand]) -> list[Operand]:
        """Turns masks among numbers into numbers, as in ``(x > 0) * x``, and numbers into masks."""
        if op in ("both", "either", "negate"):
            if not all(isinstance(a, Node) for a in args):
                raise Untraceable(f"{op} of a number has no kernel")
            # What is not zero is true.
            node = self.graph.node
            return [a if is_mask(a) else node("negate", node("equal", a, 0.0)) for a in args]
        numbers = args[1:] if op == "where" else args
        if not any(is_mask(a) for a in numbers):
            return args
        if op not in ("add", "mul", "where") or all(is_mask(a) for a in numbers):
            raise Untraceable(f"{op} of what is true or false has no kernel")
        made = [self.graph.node("where", a, 1.0, 0.0) if is_mask(a) else a for a in numbers]
        return [*args[: len(args) - len(made)], *made]


def _simple(op: str) -> Callable[..., Operand]:
    return lambda w, *args: getattr(w, op)(*args)


def _swapped(op: str) -> Callable[..., Operand]:
    return lambda w, a, b: getattr(w, op)(b, a)


def _add(w: Writer, a: Any, b: Any, *, alpha: float = 1.0) -> Operand:
    return w.add(a, b if alpha == 1.0 else w.mul(b, alpha))


def _sub(w: Writer, a: Any, b: Any, *, alpha: float = 1.0) -> Operand:
    return w.sub(a, b if alpha == 1.0 else w.mul(b, alpha))


def _clamp(w: Writer, a: Any, min: Any = None, max: Any = None) -> Operand:
    if min is not None:
        a = w.where(w.less(a, min), min, a)
    if max is not None:
        a = w.where(w.less(max, a), max, a)
    return operand(a)


def _flat_beyond(w: Writer, a: Any, low: float, high: float) -> Operand:
    """A clamp whose gradient at its limits is 0, as in PyTorch, and not 1 as that of clamp."""
    return w.where(w.less_equal(a, low), low, w.where(w.less_equal(high, a), high, a))


def _div(w: Writer, a: Any, b: Any, *, rounding_mode: str | None = None) -> Operand:
    quotient = w.div(a, b)
    if rounding_mode is None:
        return quotient
    return getattr(w, {"floor": "floor", "trunc": "trunc"}[rounding_mode])(quotient)


def _number_of(value: Any, what: str) -> float:
    number = operand(value)
    if isinstance(number, Node):
        raise Untraceable(f"{what} is not a number")
    return number


def _pow(w: Writer, a: Any, b: Any) -> Operand:
    return w.pow(a, _number_of(b, "an exponent"))


def _over_units(a: Any, dim: Any, keepdim: bool) -> None:
    if dim not in (-1, 1, (-1,), [-1], (1,), [1]) or not keepdim:
        raise Untraceable("a reduction has a kernel only over the units, with keepdim=True")
    if isinstance(a, Node) and a.kind in ("column", "number"):
        raise Untraceable("a reduction of what is one number for all units has no kernel")


def _sum(w: Writer, a: Any, dim: Any = None, keepdim: bool = False) -> Operand:
    _over_units(a, dim, keepdim)
    return w.row_sum(a)


def _units(w: Writer, a: Any) -> Operand:
    """How many units a value has."""
    return w.graph.size(a.width if isinstance(a, Node) else UNITS)


def _mean(w: Writer, a: Any, dim: Any = None, keepdim: bool = False) -> Operand:
    _over_units(a, dim, keepdim)
    return w.div(w.row_sum(a), _units(w, a))


def _var(
    w: Writer,
    a: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Operand:
    _over_units(a, dim, keepdim)
    if correction is None:
        correction = 0.0 if unbiased is False else 1.0
    H = _units(w, a)
    centred = w.sub(a, w.div(w.row_sum(a), H))
    return w.div(w.row_sum(w.mul(centred, centred)), w.sub(H, correction))


def _softmax(w: Writer, a: Any, dim: Any = None, *args: Any, **kwargs: Any) -> Operand:
    _over_units(a, dim, True)
    # The largest value is taken off for safety alone: the result does not depend on it.
    e = w.exp(w.sub(a, w.stop(w.row_max(a))))
    return w.div(e, w.row_sum(e))


def _layer_norm(
    w: Writer,
    a: Any,
    normalized_shape: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Operand:
    shape = normalized_shape if isinstance(normalized_shape, (tuple, list)) else [normalized_shape]
    if len(shape) != 1 or not isinstance(a, Node) or a.kind != "row":
        raise Untraceable("layer_norm has a kernel over the units of a row only")
    size = shape[0] if isinstance(shape[0], Size) else constant(shape[0])
    if size != a.width:
        w.graph.equal_sizes[a.width, size] = None
    H = _units(w, a)
    centred = w.sub(a, w.div(w.row_sum(a), H))
    variance = w.div(w.row_sum(w.mul(centred, centred)), H)
    value = w.mul(centred, w.rsqrt(w.add(variance, _number_of(eps, "eps"))))
    value = value if weight is None else w.mul(value, weight)
    return value if bias is None else w.add(value, bias)


def _softplus(w: Writer, a: Any, beta: float = 1.0, threshold: float = 20.0) -> Operand:
    if threshold != 20.0:
        raise Untraceable("softplus has a kernel only with threshold=20")
    return w.div(w.softplus(w.mul(a, beta)), beta)


def _gelu(w: Writer, a: Any, approximate: str = "none") -> Operand:
    if approximate == "tanh":
        cube = w.mul(w.mul(a, a), a)
        inner = w.mul(w.add(a, w.mul(cube, 0.044715)), math.sqrt(2 / math.pi))
        return w.mul(w.mul(a, 0.5), w.add(w.tanh(inner), 1.0))
    return w.mul(w.mul(a, 0.5), w.add(w.erf(w.mul(a, math.sqrt(0.5))), 1.0))


def _elu(w: Writer, a: Any, alpha: float = 1.0, inplace: bool = False) -> Operand:
    return w.where(w.less(0.0, a), a, w.mul(w.expm1(w.where(w.less(0.0, a), 0.0, a)), alpha))


def _leaky_relu(w: Writer, a: Any, negative_slope: float = 0.01, inplace: bool = False) -> Operand:
    return w.where(w.less(0.0, a), a, w.mul(a, negative_slope))


def _hardtanh(
    w: Writer, a: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Operand:
    return _flat_beyond(w, a, min_val, max_val)


def _one(op: Callable[[Writer, Any], Operand]) -> Callable[..., Operand]:
    """A function of one value that takes, and needs, no inplace."""
    return lambda w, a, inplace=False: op(w, a)


def _is_exact(value: Any) -> bool:
    """Whether a cast to it would lose what stands behind the point."""
    is_dtype = isinstance(value, torch.dtype) and not value.is_floating_point
    return is_dtype or (isinstance(value, Node) and is_mask(value))


def _filled(w: Writer, value: Any, kwargs: Mapping[str, Any]) -> Operand:
    if _is_exact(kwargs.get("dtype")):
        raise Untraceable("a value of whole numbers has no kernel")
    return _number_of(value, "what a value is filled with")


def _cast(w: Writer, a: Any, *args: Any, **kwargs: Any) -> Operand:
    if any(_is_exact(v) for v in (*args, *kwargs.values())):
        raise Untraceable("a cast to whole numbers has no kernel")
    node = operand(a)
    return w.where(node, 1.0, 0.0) if is_mask(node) else node


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{
        name: _simple(name)
        for name in (
            *("neg", "reciprocal", "sigmoid", "tanh", "exp", "expm1", "log", "log1p", "sqrt"),
            *("rsqrt", "sin", "cos", "erf", "abs", "sign", "floor", "ceil", "round", "trunc"),
            *("remainder", "fmod", "maximum", "minimum", "mul", "where"),
        )
    },
    "add": _add,
    "sub": _sub,
    "subtract": _sub,
    "multiply": _simple("mul"),
    "div": _div,
    "divide": _div,
    "true_divide": _div,
    "negative": _simple("neg"),
    "absolute": _simple("abs"),
    "__rdiv__": lambda w, a, b: w.div(b, a),
    "rsub": lambda w, a, b, *, alpha=1.0: _sub(w, b, a, alpha=alpha),
    "pow": _pow,
    "square": lambda w, a: w.mul(a, a),
    "relu": _one(lambda w, a: w.relu(a)),
    "relu6": _one(lambda w, a: _flat_beyond(w, a, 0.0, 6.0)),
    "silu": _one(lambda w, a: w.mul(a, w.sigmoid(a))),
    "hardsigmoid": _one(lambda w, a: w.div(_flat_beyond(w, w.add(a, 3.0), 0.0, 6.0), 6.0)),
    "hardtanh": _hardtanh,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "gelu": _gelu,
    "softsign": lambda w, a: w.div(a, w.add(w.abs(a), 1.0)),
    "softplus": _softplus,
    "log_sigmoid": _simple("log_sigmoid"),
    "special_expit": _simple("sigmoid"),
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": lambda w, a, min: _clamp(w, a, min=min),
    "clamp_max": lambda w, a, max: _clamp(w, a, max=max),
    "lerp": lambda w, a, b, weight: w.add(a, w.mul(weight, w.sub(b, a))),
    "addcmul": lambda w, a, b, c, *, value=1.0: w.add(a, w.mul(w.mul(b, c), value)),
    "detach": _simple("stop"),
    "mish": _one(lambda w, a: w.mul(a, w.tanh(w.softplus(a)))),
    "layer_norm": _layer_norm,
    **PARTS,
    "clone": lambda w, a, **kwargs: operand(a),
    "contiguous": lambda w, a, **kwargs: operand(a),
    "to": _cast,
    "type_as": _cast,
    "float": _cast,
    "double": _cast,
    "ones_like": lambda w, a, **kwargs: _filled(w, 1.0, kwargs),
    "zeros_like": lambda w, a, **kwargs: _filled(w, 0.0, kwargs),
    "full_like": lambda w, a, fill_value, **kwargs: _filled(w, fill_value, kwargs),
    "sum": _sum,
    "mean": _mean,
    "var": _var,
    "softmax": _softmax,
    "lt": _simple("less"),
    "less": _simple("less"),
    "le": _simple("less_equal"),
    "less_equal": _simple("less_equal"),
    "gt": _swapped("less"),
    "greater": _swapped("less"),
    "ge": _swapped("less_equal"),
    "greater_equal": _swapped("less_equal"),
    "eq": _simple("equal"),
    "ne": lambda w, a, b: w.negate(w.equal(a, b)),
    "logical_and": _simple("both"),
    "logical_or": _simple("either"),
    "logical_not": _simple("negate"),
    "bitwise_and": _simple("both"),
    "bitwise_or": _simple("either"),
    "bitwise_not": _simple("negate"),
}

OPERATORS = {
    **{f"__{name}__": name for name in ("add", "sub", "mul", "neg", "abs", "pow", "lt", "le")},
    **{f"__{name}__": name for name in ("gt", "ge", "eq", "ne")},
    "__radd__": "add",
    "__rmul__": "mul",
    "__rsub__": "rsub",
    "__rtruediv__": "__rdiv__",
    "__truediv__": "div",
    "__mod__": "remainder",
    "__and__": "logical_and",
    "__or__": "logical_or",
    "__invert__": "logical_not",
}

FUNCTIONS |= {written: FUNCTIONS[called] for written, called in OPERATORS.items()}

# Where each says that it changes its argument, and what gives out the memory of its argument.
CHANGING = {"relu": 1, "relu6": 1, "silu": 1, "hardsigmoid": 1, "elu": 2, "leaky_relu": 2}
CHANGING |= {"hardtanh": 3, "mish": 1}
SHARING = ("detach", "contiguous", "to", "type_as", "float", "double", *PARTS)
