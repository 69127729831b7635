"""The functions of PyTorch that a step may call, each expressed by operations of the graph.

Each function takes an :class:`Operations` first, then the arguments of the function of PyTorch,
which are nodes and numbers. A step that calls another function, or one of these with other
arguments, has no kernel; the reference runs it.
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

__all__ = [
    "ALIASING",
    "FUNCTIONS",
    "INPLACE_POSITIONS",
    "OPERATORS",
    "ORDERINGS",
    "Operations",
    "Untraceable",
    "operand",
    "without_kernel",
]

ORDERINGS = (
    *("topk", "sort", "msort", "argsort", "kthvalue", "median", "nanmedian", "quantile", "mode"),
    *("nanquantile", "max", "min", "amax", "amin", "aminmax", "argmax", "argmin", "cummax"),
    "cummin",
)
"""Functions that choose among the units by their values. They have no kernel, except ``max`` and
``min`` of two values."""


def without_kernel(name: str) -> Untraceable:
    """The reason of a function that no graph has, with what to write instead if that is known."""
    reason = f"{name.strip('_')} has no kernel"
    if name in ORDERINGS:
        reason += (
            ", because values decide which units are read. With a kernel, "
            "(torch.softmax(c * a, -1) * a).sum(-1, keepdim=True) tends to the largest unit of a "
            "as c grows (to the smallest for c < 0), and torch.where(a > limit, a, 0.0) keeps the "
            "large units"
        )
    return Untraceable(reason)


def operand(value: Any) -> Operand:
    """Converts a value that the step uses to a node or a number.

    Raises:
        Untraceable: if the value is neither a number nor a node.
    """
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


class Operations:
    """Adds operations to a graph: ``g.add(a, b)`` returns the node or number of a + b."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __getattr__(self, op: str) -> Callable[..., Operand]:
        def add_node(*args: Any) -> Operand:
            operands = [self.graph.size(a) if isinstance(a, Size) else operand(a) for a in args]
            return self.graph.node(op, *self._converted(op, operands))

        return add_node

    def _converted(self, op: str, args: list[Operand]) -> list[Operand]:
        """Converts masks to numbers, as in ``(x > 0) * x``, or numbers to masks, like PyTorch."""
        if op in ("both", "either", "negate"):
            if not all(isinstance(a, Node) for a in args):
                raise Untraceable(f"{op} of a number has no kernel")
            # A number counts as true unless it is zero.
            node = self.graph.node
            return [a if is_mask(a) else node("negate", node("equal", a, 0.0)) for a in args]
        numbers = args[1:] if op == "where" else args
        if not any(is_mask(a) for a in numbers):
            return args
        if op not in ("add", "mul", "where") or all(is_mask(a) for a in numbers):
            raise Untraceable(f"{op} of a mask (true or false) has no kernel")
        converted = [self.graph.node("where", a, 1.0, 0.0) if is_mask(a) else a for a in numbers]
        return [*args[: len(args) - len(converted)], *converted]


def _simple(op: str) -> Callable[..., Operand]:
    return lambda g, *args: getattr(g, op)(*args)


def _swapped(op: str) -> Callable[..., Operand]:
    return lambda g, a, b: getattr(g, op)(b, a)


def _add(g: Operations, a: Any, b: Any, *, alpha: float = 1.0) -> Operand:
    return g.add(a, b if alpha == 1.0 else g.mul(b, alpha))


def _sub(g: Operations, a: Any, b: Any, *, alpha: float = 1.0) -> Operand:
    return g.sub(a, b if alpha == 1.0 else g.mul(b, alpha))


def _of_two(name: str, op: str) -> Callable[..., Operand]:
    """``torch.max`` and ``min``, which have two meanings: here that of two values."""

    def apply(g: Operations, a: Any, *args: Any, **kwargs: Any) -> Operand:
        (other,) = (*args, *kwargs.values()) if len(args) + len(kwargs) == 1 else (None,)
        if not isinstance(other, Node):
            raise without_kernel(name)
        return getattr(g, op)(a, other)

    return apply


def _clamp(g: Operations, a: Any, min: Any = None, max: Any = None) -> Operand:
    if min is not None:
        a = g.where(g.less(a, min), min, a)
    if max is not None:
        a = g.where(g.less(max, a), max, a)
    return operand(a)


def _flat_beyond(g: Operations, a: Any, low: float, high: float) -> Operand:
    """A clamp whose gradient at the limits is 0, as in relu6 and hardtanh; that of clamp is 1."""
    return g.where(g.less_equal(a, low), low, g.where(g.less_equal(high, a), high, a))


def _div(g: Operations, a: Any, b: Any, *, rounding_mode: str | None = None) -> Operand:
    quotient = g.div(a, b)
    if rounding_mode is None:
        return quotient
    return getattr(g, {"floor": "floor", "trunc": "trunc"}[rounding_mode])(quotient)


def _number_of(value: Any, subject: str) -> float:
    number = operand(value)
    if isinstance(number, Node):
        raise Untraceable(f"{subject} is not a number")
    return number


def _pow(g: Operations, a: Any, b: Any) -> Operand:
    return g.pow(a, _number_of(b, "an exponent"))


def _check_reduction(a: Any, dim: Any, keepdim: bool) -> None:
    """Raises Untraceable unless a reduction runs over the units and keeps the dimension."""
    if dim not in (-1, 1, (-1,), [-1], (1,), [1]) or not keepdim:
        raise Untraceable("a reduction has a kernel only over the units, with keepdim=True")
    if isinstance(a, Node) and a.kind in ("column", "number"):
        raise Untraceable("a reduction of a value with one number for all units has no kernel")


def _sum(g: Operations, a: Any, dim: Any = None, keepdim: bool = False) -> Operand:
    _check_reduction(a, dim, keepdim)
    return g.row_sum(a)


def _units(g: Operations, a: Any) -> Operand:
    """How many units a value has."""
    return g.graph.size(a.width if isinstance(a, Node) else UNITS)


def _mean(g: Operations, a: Any, dim: Any = None, keepdim: bool = False) -> Operand:
    _check_reduction(a, dim, keepdim)
    return g.div(g.row_sum(a), _units(g, a))


def _var(
    g: Operations,
    a: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Operand:
    _check_reduction(a, dim, keepdim)
    if correction is None:
        correction = 0.0 if unbiased is False else 1.0
    H = _units(g, a)
    centred = g.sub(a, g.div(g.row_sum(a), H))
    return g.div(g.row_sum(g.mul(centred, centred)), g.sub(H, correction))


def _softmax(g: Operations, a: Any, dim: Any = None, *args: Any, **kwargs: Any) -> Operand:
    _check_reduction(a, dim, True)
    # Subtracting the maximum prevents overflow. The result does not depend on it, so that it needs
    # no gradient.
    e = g.exp(g.sub(a, g.stop(g.row_max(a))))
    return g.div(e, g.row_sum(e))


def _layer_norm(
    g: Operations,
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
        g.graph.equal_sizes[a.width, size] = None
    H = _units(g, a)
    centred = g.sub(a, g.div(g.row_sum(a), H))
    variance = g.div(g.row_sum(g.mul(centred, centred)), H)
    value = g.mul(centred, g.rsqrt(g.add(variance, _number_of(eps, "eps"))))
    value = value if weight is None else g.mul(value, weight)
    return value if bias is None else g.add(value, bias)


def _softplus(g: Operations, a: Any, beta: float = 1.0, threshold: float = 20.0) -> Operand:
    if threshold != 20.0:
        raise Untraceable("softplus has a kernel only with threshold=20")
    return g.div(g.softplus(g.mul(a, beta)), beta)


def _gelu(g: Operations, a: Any, approximate: str = "none") -> Operand:
    if approximate == "tanh":
        cube = g.mul(g.mul(a, a), a)
        inner = g.mul(g.add(a, g.mul(cube, 0.044715)), math.sqrt(2 / math.pi))
        return g.mul(g.mul(a, 0.5), g.add(g.tanh(inner), 1.0))
    return g.mul(g.mul(a, 0.5), g.add(g.erf(g.mul(a, math.sqrt(0.5))), 1.0))


def _elu(g: Operations, a: Any, alpha: float = 1.0, inplace: bool = False) -> Operand:
    return g.where(g.less(0.0, a), a, g.mul(g.expm1(g.where(g.less(0.0, a), 0.0, a)), alpha))


def _leaky_relu(
    g: Operations, a: Any, negative_slope: float = 0.01, inplace: bool = False
) -> Operand:
    return g.where(g.less(0.0, a), a, g.mul(a, negative_slope))


def _hardtanh(
    g: Operations, a: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Operand:
    return _flat_beyond(g, a, min_val, max_val)


def _with_inplace(op: Callable[[Operations, Any], Operand]) -> Callable[..., Operand]:
    """Adds the argument ``inplace`` to a function of one value; the tracer handles its effect."""
    return lambda g, a, inplace=False: op(g, a)


def _drops_fraction(value: Any) -> bool:
    """Whether ``value`` is a dtype of whole numbers, or a mask, whose dtype is bool."""
    is_dtype = isinstance(value, torch.dtype) and not value.is_floating_point
    return is_dtype or (isinstance(value, Node) and is_mask(value))


def _filled(g: Operations, value: Any, kwargs: Mapping[str, Any]) -> Operand:
    if _drops_fraction(kwargs.get("dtype")):
        raise Untraceable("a value of whole numbers has no kernel")
    return _number_of(value, "what a value is filled with")


def _cast(g: Operations, a: Any, *args: Any, **kwargs: Any) -> Operand:
    if any(_drops_fraction(v) for v in (*args, *kwargs.values())):
        raise Untraceable("a cast to whole numbers has no kernel")
    node = operand(a)
    return g.where(node, 1.0, 0.0) if is_mask(node) else node


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
    "__rdiv__": lambda g, a, b: g.div(b, a),
    "rsub": lambda g, a, b, *, alpha=1.0: _sub(g, b, a, alpha=alpha),
    "pow": _pow,
    "square": lambda g, a: g.mul(a, a),
    "relu": _with_inplace(lambda g, a: g.relu(a)),
    "relu6": _with_inplace(lambda g, a: _flat_beyond(g, a, 0.0, 6.0)),
    "silu": _with_inplace(lambda g, a: g.mul(a, g.sigmoid(a))),
    "hardsigmoid": _with_inplace(lambda g, a: g.div(_flat_beyond(g, g.add(a, 3.0), 0.0, 6.0), 6.0)),
    "hardtanh": _hardtanh,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "gelu": _gelu,
    "softsign": lambda g, a: g.div(a, g.add(g.abs(a), 1.0)),
    "softplus": _softplus,
    "log_sigmoid": _simple("log_sigmoid"),
    "special_expit": _simple("sigmoid"),
    "max": _of_two("max", "maximum"),
    "min": _of_two("min", "minimum"),
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": lambda g, a, min: _clamp(g, a, min=min),
    "clamp_max": lambda g, a, max: _clamp(g, a, max=max),
    "lerp": lambda g, a, b, weight: g.add(a, g.mul(weight, g.sub(b, a))),
    "addcmul": lambda g, a, b, c, *, value=1.0: g.add(a, g.mul(g.mul(b, c), value)),
    "detach": _simple("stop"),
    "mish": _with_inplace(lambda g, a: g.mul(a, g.tanh(g.softplus(a)))),
    "layer_norm": _layer_norm,
    **PARTS,
    "clone": lambda g, a, **kwargs: operand(a),
    "contiguous": lambda g, a, **kwargs: operand(a),
    "to": _cast,
    "type_as": _cast,
    "float": _cast,
    "double": _cast,
    "ones_like": lambda g, a, **kwargs: _filled(g, 1.0, kwargs),
    "zeros_like": lambda g, a, **kwargs: _filled(g, 0.0, kwargs),
    "full_like": lambda g, a, fill_value, **kwargs: _filled(g, fill_value, kwargs),
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
    "ne": lambda g, a, b: g.negate(g.equal(a, b)),
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

INPLACE_POSITIONS = {"relu": 1, "relu6": 1, "silu": 1, "hardsigmoid": 1, "elu": 2}
INPLACE_POSITIONS |= {"leaky_relu": 2, "hardtanh": 3, "mish": 1}
"""The position of the argument ``inplace`` of each function that has one."""

ALIASING = ("detach", "contiguous", "to", "type_as", "float", "double", *PARTS)
"""The functions whose result may share memory with their argument."""
