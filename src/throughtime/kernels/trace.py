"""``step() -> graph``: the equations are run once on symbols that take note of what is done.

A symbol stands for a value of each row and unit. It answers to the operators of Python and to
the functions and methods of PyTorch; what it does not know becomes a reason why no kernel can be
made of the cell, and the reference runs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import cache, partial
from numbers import Real
from types import NoneType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from throughtime.cells.cell import Cell
from throughtime.kernels.graph import Graph, Node, Operand, is_mask

__all__ = ["Product", "Step", "Untraceable", "same", "trace"]


class Untraceable(Exception):
    """The step does something that cannot become a graph; the message says what."""


@dataclass(frozen=True)
class Product:
    """A block of a weight matrix, applied to a value.

    Args:
        matrix: ``"W"`` or ``"R"``.
        block: its name.
        operand: what it is applied to.
        result: the leaf that stands for the product, and its bias.
    """

    matrix: str
    block: str
    operand: Node
    result: Node


@dataclass
class Step:
    """The graph of one step.

    Args:
        cell: whose step it is.
        graph: the nodes.
        products: all products with the weight matrices, in the order of the equations.
        states: the next states by name.
        output: what the layer gives out.
        others: what else the step returned by name, to be looked at.
    """

    cell: Cell
    graph: Graph
    products: list[Product] = field(default_factory=list)
    states: dict[str, Operand] = field(default_factory=dict)
    output: Operand = 0.0
    others: dict[str, Operand] = field(default_factory=dict)


def same(cell: Cell) -> Hashable:
    """A key that is equal for cells whose steps do the same, and changes with their constants.

    Numbers count by their value, wherever the step reads them: from the cell, its class, or the
    module around it. Other objects count by being the same; a tensor also changes in place.
    """
    values = vars(cell)
    if not all(isinstance(v, _PLAIN) for v in values.values()):
        values = {name: _value(v) for name, v in values.items()}
    outside = [_value(where.get(name)) for where, name in _outside(type(cell))]
    return type(cell), type(cell).step, tuple(values.items()), *outside


_PLAIN = (bool, int, float, str, NoneType)


class _Object:
    """Equal to itself alone; keeps the object, so that no other takes its identity."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Object) and self.held is other.held

    def __hash__(self) -> int:
        return id(self.held)


def _value(v: Any) -> Hashable:
    if isinstance(v, _PLAIN):
        return v
    if isinstance(v, Real):
        return float(v)
    if isinstance(v, Tensor):
        # Not its value: inside torch.compile nothing may be read.
        return _Object(v), v.requires_grad, 0 if v.is_inference() else v._version
    if isinstance(v, (list, tuple)):
        return tuple(_value(one) for one in v)
    if isinstance(v, dict):
        return tuple((_value(k), _value(one)) for k, one in v.items())
    return _Object(v)


@cache
def _outside(kind: type[Cell]) -> list[tuple[Mapping[str, Any], str]]:
    """Where the constants stand that the step reads besides those of the cell itself."""
    found: list[tuple[Mapping[str, Any], str]] = []
    code = getattr(kind.step, "__code__", None)
    spaces: list[Mapping[str, Any]] = [vars(k) for k in kind.__mro__ if k not in (Cell, object)]
    spaces += [getattr(kind.step, "__globals__", {})] if code else []
    for space in spaces:
        for name in code.co_names if code else ():
            if isinstance(space.get(name), (bool, int, float, Tensor, list, tuple)):
                found.append((space, name))
    return found


_steps: dict[Hashable, Step | str] = {}


def trace(cell: Cell) -> Step:
    """Runs the step on symbols; once for all cells that are the :func:`same`.

    Raises:
        Untraceable: where it does what no graph can hold.
        AttributeError: where it uses a block, a state or a parameter that the cell has not.
        ValueError: where it does not return its states and its output.
    """
    key = same(cell)
    if key not in _steps:
        try:
            # A copy: the step may set attributes, and the caller may change them later.
            held = copy(cell)
            first, second = _traced(held), _traced(held)
            if first.graph.nodes != second.graph.nodes:
                raise Untraceable("the step does not do the same each time that it is called")
            _steps[key] = first
        except Untraceable as reason:
            _steps[key] = str(reason)
    found = _steps[key]
    if isinstance(found, str):
        raise Untraceable(found)
    return found


def _traced(cell: Cell) -> Step:
    graph = Graph()
    step = Step(cell, graph)

    def symbol(op: str, name: str, kind: str = "row") -> Symbol:
        return Symbol(graph, graph.leaf(op, name, kind))

    def product(matrix: str, block: str, value: Any) -> Symbol:
        operand = _operand(value)
        if not isinstance(operand, Node):
            raise Untraceable(f"{matrix}.{block} is applied to a number")
        for known in step.products:
            if (known.matrix, known.block, known.operand) == (matrix, block, operand):
                return Symbol(graph, known.result)
        result = graph.leaf("product", f"{matrix}.{block}#{len(step.products)}")
        step.products.append(Product(matrix, block, operand, result))
        return Symbol(graph, result)

    def blocks(matrix: str, names: tuple[str, ...]) -> SimpleNamespace:
        return SimpleNamespace(**{name: partial(product, matrix, name) for name in names})

    for name, spec in cell.state_specs.items():
        if spec.size is not None:
            raise Untraceable(f"the state {name} has a width of its own, {spec.size}")
    for name, spec in cell.parameter_specs.items():
        if spec.size is not None:
            raise Untraceable(f"the parameter {name} has a size of its own, {spec.size}")
    try:
        x: Any = symbol("input", "x")
        made = cell.step(
            x,
            blocks("W", cell.gates),
            blocks("R", cell.recurrent_block_names),
            SimpleNamespace(**{name: symbol("state", name) for name in cell.state_specs}),
            SimpleNamespace(**{n: symbol("parameter", n, "unit") for n in cell.parameter_specs}),
        )
    except Untraceable:
        raise
    except AttributeError as error:
        raise AttributeError(
            f"{type(cell).__name__}.step: {error}. It may use the blocks "
            f"{', '.join(cell.gates)} of W, {', '.join(cell.recurrent_block_names)} of R, "
            f"the states {', '.join(cell.state_specs)} and the parameters "
            f"{', '.join(cell.parameter_specs) or '(none)'}."
        ) from error
    except (TypeError, ValueError, RuntimeError, IndexError, NotImplementedError) as error:
        raise Untraceable(f"the step cannot be run on symbols ({error})") from error
    _sort(step, made)
    return step


def _sort(step: Step, made: Any) -> None:
    """What the step returned, as states, output and the rest."""
    cell = step.cell
    wanted = dict.fromkeys([*cell.state_specs, cell.output_name])
    if not isinstance(made, Mapping) or any(name not in made for name in wanted):
        kind = "Tensor" if isinstance(made, Symbol) else type(made).__name__
        got = ", ".join(made) if isinstance(made, Mapping) else kind
        raise ValueError(
            f"{type(cell).__name__}.step: expected a dict with {', '.join(wanted)}, got {got}."
        )
    values = {name: _operand(value) for name, value in made.items()}
    for name in wanted:
        value = values[name]
        if is_mask(value):
            raise Untraceable(f"{name} is true or false, not a number")
        if isinstance(value, Node) and value.kind == "column":
            raise Untraceable(f"{name} has one value for each row, not one for each unit")
    step.states = {name: values[name] for name in cell.state_specs}
    step.output = values[cell.output_name]
    step.others = {name: v for name, v in values.items() if name not in wanted}


class Symbol:
    """A value of the step: takes note of what is done with it."""

    # A number of numpy leaves it to the symbol what ``number * symbol`` is.
    __array_ufunc__ = None

    def __init__(self, graph: Graph, node: Operand) -> None:
        self._graph, self._node = graph, node
        # Whether others hold the same memory: the caller, or a value that was made as a view.
        self._is_shared = isinstance(node, Node) and node.op in ("state", "input", "parameter")

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        graph = next(a._graph for a in _flat((*args, *(kwargs or {}).values())))
        return _apply(graph, func.__name__, args, kwargs or {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in _FUNCTIONS or not hasattr(Tensor, name):
            raise Untraceable(f"the step asks a value for its {name}")
        return lambda *args, **kwargs: _apply(self._graph, name, (self, *args), kwargs)

    def __bool__(self) -> bool:
        raise Untraceable("the step decides by a value which way to go; use torch.where")

    def __iter__(self) -> Any:
        raise Untraceable("the step takes a value apart")

    def __getitem__(self, index: Any) -> Any:
        raise Untraceable("the step takes a part of a value")

    __hash__ = object.__hash__


def _flat(values: Any) -> list[Symbol]:
    found: list[Symbol] = []
    for value in values:
        if isinstance(value, Symbol):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _flat(value)
    return found


def _operand(value: Any) -> Operand:
    if isinstance(value, Symbol):
        return value._node
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Tensor) and value.requires_grad:
        raise Untraceable("the step uses a tensor of its own that has a gradient; see parameters")
    if isinstance(value, Tensor) and value.numel() == 1:
        return float(value)
    if isinstance(value, Tensor):
        raise Untraceable(f"the step uses a tensor of its own, of shape {tuple(value.shape)}")
    raise Untraceable(f"the step uses {value!r} as a value")


def _apply(graph: Graph, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Symbol:
    if name not in _FUNCTIONS:
        raise Untraceable(f"{name.strip('_')} has no kernel")
    try:
        made = Symbol(graph, _FUNCTIONS[name](_Writer(graph), *args, **kwargs))
    except TypeError as error:
        raise Untraceable(f"{name.strip('_')} is used in a way that has no kernel") from error
    made._is_shared = False
    place = _INPLACE.get(name, len(args))
    if kwargs.get("inplace") or (place < len(args) and args[place]):
        return _put(args[0] if args else kwargs["input"], made)
    if name in _SHARING and isinstance(args[0], Symbol):
        made._is_shared = args[0]._is_shared = True
    return made


def _put(symbol: Symbol, made: Symbol) -> Symbol:
    """Changes a value in place: whoever holds the symbol sees the new one."""
    if symbol._is_shared:
        raise Untraceable("the step changes in place what others hold; write a = a + b")
    symbol._node = made._node
    return symbol


class _Writer:
    """Writes nodes: ``write.add(a, b)``; the arguments may be symbols, nodes and numbers."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __getattr__(self, op: str) -> Callable[..., Operand]:
        def write(*args: Any) -> Operand:
            operands = [a if isinstance(a, Node) else _operand(a) for a in args]
            return self.graph.node(op, *self._numbers(op, operands))

        return write

    def _numbers(self, op: str, args: list[Operand]) -> list[Operand]:
        """Masks as numbers beside numbers, as in ``(x > 0) * x``, and numbers as masks."""
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


# What each function of PyTorch comes to. The first argument writes nodes.


def _simple(op: str) -> Callable[..., Operand]:
    return lambda w, *args: getattr(w, op)(*args)


def _swapped(op: str) -> Callable[..., Operand]:
    return lambda w, a, b: getattr(w, op)(b, a)


def _add(w: _Writer, a: Any, b: Any, *, alpha: float = 1.0) -> Operand:
    return w.add(a, b if alpha == 1.0 else w.mul(b, alpha))


def _sub(w: _Writer, a: Any, b: Any, *, alpha: float = 1.0) -> Operand:
    return w.sub(a, b if alpha == 1.0 else w.mul(b, alpha))


def _clamp(w: _Writer, a: Any, min: Any = None, max: Any = None) -> Operand:
    if min is not None:
        a = w.where(w.less(a, min), min, a)
    if max is not None:
        a = w.where(w.less(max, a), max, a)
    return _operand(a) if not isinstance(a, Node) else a


def _flat_beyond(w: _Writer, a: Any, low: float, high: float) -> Operand:
    """A clamp whose gradient at its limits is 0, as in PyTorch, and not 1 as that of clamp."""
    return w.where(w.less_equal(a, low), low, w.where(w.less_equal(high, a), high, a))


def _div(w: _Writer, a: Any, b: Any, *, rounding_mode: str | None = None) -> Operand:
    quotient = w.div(a, b)
    if rounding_mode is None:
        return quotient
    return getattr(w, {"floor": "floor", "trunc": "trunc"}[rounding_mode])(quotient)


def _number_of(value: Any, what: str) -> float:
    number = _operand(value)
    if isinstance(number, Node):
        raise Untraceable(f"{what} is not a number")
    return number


def _pow(w: _Writer, a: Any, b: Any) -> Operand:
    return w.pow(a, _number_of(b, "an exponent"))


def _over_units(dim: Any, keepdim: bool) -> None:
    if dim not in (-1, 1, (-1,), [-1], (1,), [1]) or not keepdim:
        raise Untraceable("a reduction has a kernel only over the units, with keepdim=True")


def _sum(w: _Writer, a: Any, dim: Any = None, keepdim: bool = False) -> Operand:
    _over_units(dim, keepdim)
    return w.row_sum(a)


def _mean(w: _Writer, a: Any, dim: Any = None, keepdim: bool = False) -> Operand:
    _over_units(dim, keepdim)
    return w.div(w.row_sum(a), w.graph.leaf("units", "H", "number"))


def _var(
    w: _Writer,
    a: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Operand:
    _over_units(dim, keepdim)
    if correction is None:
        correction = 0.0 if unbiased is False else 1.0
    H = w.graph.leaf("units", "H", "number")
    centred = w.sub(a, w.div(w.row_sum(a), H))
    return w.div(w.row_sum(w.mul(centred, centred)), w.sub(H, correction))


def _softmax(w: _Writer, a: Any, dim: Any = None, *args: Any, **kwargs: Any) -> Operand:
    _over_units(dim, True)
    # The largest value is taken off for safety alone: the result does not depend on it.
    e = w.exp(w.sub(a, w.stop(w.row_max(a))))
    return w.div(e, w.row_sum(e))


def _softplus(w: _Writer, a: Any, beta: float = 1.0, threshold: float = 20.0) -> Operand:
    if threshold != 20.0:
        raise Untraceable("softplus has a kernel only with threshold=20")
    return w.div(w.softplus(w.mul(a, beta)), beta)


def _gelu(w: _Writer, a: Any, approximate: str = "none") -> Operand:
    if approximate == "tanh":
        cube = w.mul(w.mul(a, a), a)
        inner = w.mul(w.add(a, w.mul(cube, 0.044715)), math.sqrt(2 / math.pi))
        return w.mul(w.mul(a, 0.5), w.add(w.tanh(inner), 1.0))
    return w.mul(w.mul(a, 0.5), w.add(w.erf(w.mul(a, math.sqrt(0.5))), 1.0))


def _elu(w: _Writer, a: Any, alpha: float = 1.0, inplace: bool = False) -> Operand:
    return w.where(w.less(0.0, a), a, w.mul(w.expm1(w.where(w.less(0.0, a), 0.0, a)), alpha))


def _leaky_relu(w: _Writer, a: Any, negative_slope: float = 0.01, inplace: bool = False) -> Operand:
    return w.where(w.less(0.0, a), a, w.mul(a, negative_slope))


def _hardtanh(
    w: _Writer, a: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Operand:
    return _flat_beyond(w, a, min_val, max_val)


def _one(op: Callable[[_Writer, Any], Operand]) -> Callable[..., Operand]:
    """A function of one value that takes, and needs, no inplace."""
    return lambda w, a, inplace=False: op(w, a)


def _is_exact(value: Any) -> bool:
    """Whether a cast to it would lose what stands behind the point."""
    is_dtype = isinstance(value, torch.dtype) and not value.is_floating_point
    return is_dtype or (isinstance(value, Symbol) and is_mask(value._node))


def _filled(w: _Writer, value: Any, kwargs: Mapping[str, Any]) -> Operand:
    if _is_exact(kwargs.get("dtype")):
        raise Untraceable("a value of whole numbers has no kernel")
    return _number_of(value, "what a value is filled with")


def _cast(w: _Writer, a: Any, *args: Any, **kwargs: Any) -> Operand:
    if any(_is_exact(v) for v in (*args, *kwargs.values())):
        raise Untraceable("a cast to whole numbers has no kernel")
    node = _operand(a)
    return w.where(node, 1.0, 0.0) if is_mask(node) else node


_FUNCTIONS: dict[str, Callable[..., Operand]] = {
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
    "clone": lambda w, a, **kwargs: _operand(a),
    "contiguous": lambda w, a, **kwargs: _operand(a),
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

_OPERATORS = {
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
for _written, _called in _OPERATORS.items():
    _FUNCTIONS[_written] = _FUNCTIONS[_called]

    def _operator(self: Symbol, *args: Any, _called: str = _called) -> Symbol:
        return _apply(self._graph, _called, (self, *args), {})

    setattr(Symbol, _written, _operator)

# Where each says that it changes its argument, and what gives out the memory of its argument.
_INPLACE = {"relu": 1, "relu6": 1, "silu": 1, "hardsigmoid": 1, "elu": 2, "leaky_relu": 2}
_INPLACE |= {"hardtanh": 3}
_SHARING = ("detach", "contiguous", "to", "type_as", "float", "double")

for _name in ("add", "sub", "mul", "truediv", "mod", "pow", "and", "or"):

    def _in_place(self: Symbol, other: Any, _called: str = _OPERATORS[f"__{_name}__"]) -> Symbol:
        return _put(self, _apply(self._graph, _called, (self, other), {}))

    setattr(Symbol, f"__i{_name}__", _in_place)
