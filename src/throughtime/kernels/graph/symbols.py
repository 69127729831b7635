"""Symbols: they stand for the values and matrices of a step, and add operations to its graph.

A symbol stands for a value of each row and unit. It supports the operators of Python and the
functions and methods of PyTorch that :mod:`~throughtime.kernels.graph.functions` lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.overrides import handle_torch_function

from throughtime.kernels.graph.functions import (
    ALIASING,
    FUNCTIONS,
    INPLACE_POSITIONS,
    OPERATORS,
    ORDERINGS,
    Operations,
    Untraceable,
    operand,
    without_kernel,
)
from throughtime.kernels.graph.graph import Graph, Node, Operand

__all__ = ["Matrix", "Symbol", "node_or_number"]


class Matrix:
    """Stands for a parameter of the cell with two dimensions; the step may only multiply by it.

    Args:
        name: the name of the parameter.
        product: ``product(is_transposed, value)`` adds the product ``A v`` (or ``A.T v``) of the
            matrix with a value to the graph.
        is_transposed: whether this is the transpose of the parameter.
    """

    def __init__(
        self, name: str, product: Callable[[bool, Any], Symbol], is_transposed: bool = False
    ) -> None:
        self._name, self._product, self._is_transposed = name, product, is_transposed

    @property
    def T(self) -> Matrix:
        return Matrix(self._name, self._product, not self._is_transposed)

    mT = T

    def t(self) -> Matrix:
        return self.T

    def transpose(self, dim0: int, dim1: int) -> Matrix:
        if {dim0 % 2, dim1 % 2} != {0, 1}:
            raise Untraceable(f"{self._name}.transpose({dim0}, {dim1}) has no kernel")
        return self.T

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _of_matrix(func.__name__, args, kwargs or {})

    def __getattr__(self, name: str) -> Any:
        raise Untraceable(f"the matrix {self._name} has a kernel only in a product, got {name}")

    def times(self, value: Any, is_linear: bool) -> Symbol:
        """The product ``value @ self``, or if ``is_linear``, ``F.linear(value, self)``."""
        # F.linear computes A v for each row v; value @ A computes A.T v.
        return self._product(self._is_transposed == is_linear, value)


def _of_matrix(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Symbol:
    """The result of a function of PyTorch that was called with a matrix.

    Args:
        name: the name of the function.
        args, kwargs: its arguments.

    Raises:
        Untraceable: unless the function multiplies a value by the matrix.
    """
    # linear(input, weight, bias) or matmul(input, other); torch.mm calls the latter ``mat2``.
    named = dict(
        zip(("input", "weight" if name == "linear" else "other", "bias"), args, strict=False)
    )
    named |= {("other" if k == "mat2" else k): v for k, v in kwargs.items()}
    value, bias = named.get("input"), named.get("bias")
    matrix = named.get("weight", named.get("other"))
    if name not in ("linear", "matmul", "mm", "__matmul__") or not isinstance(matrix, Matrix):
        own = next(a._name for a in (*args, *kwargs.values()) if isinstance(a, Matrix))
        what = f"the matrix {own} is used in {name.strip('_')}"
        raise Untraceable(f"{what}; matrices have a kernel in value @ matrix and F.linear")
    if not isinstance(value, Symbol):
        raise Untraceable(
            f"the matrix {matrix._name} is multiplied by something other than a value of the step"
        )
    product = matrix.times(value, name == "linear")
    return product if bias is None else _apply(product._graph, "add", (product, bias), {})


_OWNED_BY_CALLER = ("state", "input", "parameter")


class _Rows:
    """Stands for the number of rows of a batch, which a trace does not know."""

    def __repr__(self) -> str:
        return "the number of rows"


class Symbol:
    """A value of the step; each operation on it adds a node to the graph."""

    # Makes ``number * symbol`` with a number of NumPy call the symbol's __rmul__.
    __array_ufunc__ = None

    def __init__(self, graph: Graph, node: Operand) -> None:
        self._graph, self._node = graph, node
        # Whether the tensor would share its memory with a view, or with a tensor of the caller.
        # Then an operation in place would change more values than the graph can express.
        self._is_shared = isinstance(node, Node) and node.op in _OWNED_BY_CALLER

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        values = (*args, *(kwargs or {}).values())
        if any(isinstance(a, Matrix) for a in values):
            return _of_matrix(func.__name__, args, kwargs or {})
        graph = next(a._graph for a in _symbols_in(values))
        return _apply(graph, func.__name__, args, kwargs or {})

    def __getattr__(self, name: str) -> Any:
        if name in ORDERINGS and name not in FUNCTIONS:
            raise without_kernel(name)
        if name.startswith("__") or name not in FUNCTIONS or not hasattr(Tensor, name):
            raise Untraceable(f"the step asks a value for its {name}")
        # PyTorch dispatches the call, because a TorchFunctionMode may replace the function.
        method = getattr(Tensor, name)
        return lambda *args, **kwargs: handle_torch_function(method, (self,), self, *args, **kwargs)

    def __bool__(self) -> bool:
        raise Untraceable("the step decides by a value which way to go; use torch.where")

    def __iter__(self) -> Any:
        raise Untraceable("the step iterates over a value; use torch.chunk or torch.split")

    def __getitem__(self, index: Any) -> Any:
        return _apply(self._graph, "__getitem__", (self, index), {})

    @property
    def shape(self) -> tuple[Any, ...]:
        """The number of rows, with which a step cannot compute, and the width, a Size."""
        if not isinstance(self._node, Node) or self._node.kind not in ("row", "unit"):
            raise Untraceable("the step asks a value for its shape")
        width = self._node.width
        return (width,) if self._node.kind == "unit" else (_Rows(), width)

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        return len(self.shape)

    ndim = property(dim)

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, Matrix):
            return other.times(self, is_linear=False)
        if isinstance(other, Tensor):
            raise Untraceable("a matrix has a kernel only if it is an attribute of the cell")
        return NotImplemented

    __hash__ = object.__hash__


def _symbols_in(values: Any) -> list[Symbol]:
    """The symbols among values and in the lists and tuples among them."""
    symbols: list[Symbol] = []
    for value in values:
        if isinstance(value, Symbol):
            symbols.append(value)
        elif isinstance(value, (list, tuple)):
            symbols += _symbols_in(value)
    return symbols


def _unwrapped(value: Any) -> Any:
    """The value with the node of each symbol in its place."""
    if isinstance(value, (list, tuple)) and any(isinstance(v, Symbol) for v in value):
        return [_unwrapped(v) for v in value]
    return value._node if isinstance(value, Symbol) else value


def node_or_number(value: Any) -> Operand:
    return operand(_unwrapped(value))


def _apply(graph: Graph, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Calls a function of PyTorch, by its name, on symbols."""
    if name not in FUNCTIONS:
        raise without_kernel(name)
    try:
        inside = {key: _unwrapped(value) for key, value in kwargs.items()}
        value = FUNCTIONS[name](Operations(graph), *map(_unwrapped, args), **inside)
    except TypeError as error:
        raise Untraceable(f"{name.strip('_')} is used in a way that has no kernel") from error
    if isinstance(value, tuple):
        # The parts of chunk and split are views of the argument in PyTorch.
        parts = tuple(Symbol(graph, part) for part in value)
        for symbol in (*parts, *_symbols_in(args[:1])):
            symbol._is_shared = True
        return parts
    result = Symbol(graph, value)
    # The node may be a leaf, as the result of ``s.h + 0`` is; in PyTorch it has memory of its own.
    result._is_shared = False
    place = INPLACE_POSITIONS.get(name, len(args))
    if kwargs.get("inplace") or (place < len(args) and args[place]):
        return _assign(args[0] if args else kwargs["input"], result)
    if name in ALIASING and isinstance(args[0], Symbol):
        result._is_shared = args[0]._is_shared = True
    return result


def _assign(symbol: Symbol, result: Symbol) -> Symbol:
    """Changes a symbol in place: every variable that refers to it has the new value."""
    if symbol._is_shared:
        raise Untraceable(
            "the step changes a value in place that shares memory with others; write a = a + b"
        )
    symbol._node = result._node
    return symbol


for _written, _called in OPERATORS.items():

    def _operator(self: Symbol, *args: Any, _called: str = _called) -> Symbol:
        return _apply(self._graph, _called, (self, *args), {})

    def _refused(self: Matrix, *args: Any, _called: str = _called) -> Symbol:
        return _of_matrix(_called, (self, *args), {})

    setattr(Symbol, _written, _operator)
    setattr(Matrix, _written, _refused)

for _name in ("add", "sub", "mul", "truediv", "mod", "pow", "and", "or"):

    def _in_place(self: Symbol, other: Any, _called: str = OPERATORS[f"__{_name}__"]) -> Symbol:
        return _assign(self, _apply(self._graph, _called, (self, other), {}))

    setattr(Symbol, f"__i{_name}__", _in_place)
