"""``step() -> graph``: runs a cell's step on symbols, which add each operation to a graph.

A symbol stands for a value of each row and unit. It supports the operators of Python and the
functions and methods of PyTorch that :mod:`~throughtime.kernels.graph.functions` lists. A step that
uses anything else is refused with a reason; the reference then runs the cell.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cache, partial, wraps
from numbers import Real
from types import NoneType, SimpleNamespace
from typing import Any, TypeVar

from torch import Tensor
from torch.overrides import handle_torch_function

from throughtime.cells.cell import Cell, Input, Parameter, State
from throughtime.kernels.graph.folded import Fold, Folded
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
from throughtime.kernels.graph.graph import Graph, Node, Operand, is_mask
from throughtime.kernels.graph.maps import UNITS

__all__ = [
    "Product",
    "Step",
    "Symbol",
    "Untraceable",
    "cell_key",
    "once_per_key",
    "run_on_symbols",
    "snapshot",
    "trace",
]


@dataclass(frozen=True)
class Product:
    """The product of a block of a weight matrix with a value.

    Args:
        matrix: ``"W"`` or ``"R"``.
        block: the name of the block.
        operand: the value that the block is multiplied with.
        result: the leaf whose value is the product plus its bias.
    """

    matrix: str
    block: str
    operand: Node
    result: Node


@dataclass
class Step:
    """The graph of one step.

    Args:
        cell: the cell whose step it is.
        graph: the nodes of the step.
        products: all products with the weight matrices, in the order of the equations.
        states: the next states by name.
        output: the output of the layer.
        others: the further values that the step returned, by name.
    """

    cell: Cell
    graph: Graph
    products: list[Product] = field(default_factory=list)
    states: dict[str, Operand] = field(default_factory=dict)
    output: Operand = 0.0
    others: dict[str, Operand] = field(default_factory=dict)


def cell_key(cell: Cell) -> Hashable:
    """A key that is equal for cells with the same step and the same constants.

    Numbers are compared by value, whether the step reads them from the cell, its class, or the
    module around it. Other objects are compared by identity; a tensor also gets a new key when it
    is changed in place.
    """
    values = vars(cell)
    # The usual case, in which nothing needs to be converted: this runs for each call of a layer.
    if not all(isinstance(v, _PLAIN) for v in values.values()):
        follows = getattr(type(cell), "follows", ())
        values = {name: _key_of(v) for name, v in values.items() if name not in follows}
    outside = [_key_of(space.get(name)) for space, name in _outside_constants(type(cell))]
    return type(cell), type(cell).step, tuple(values.items()), *outside


_PLAIN = (bool, int, float, str, NoneType)


class _Object:
    """A key that compares an object by identity.

    It keeps a reference to the object, so that no later object can get the same id.
    """

    def __init__(self, target: Any) -> None:
        self.target = target

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Object) and self.target is other.target

    def __hash__(self) -> int:
        return id(self.target)


def _key_of(v: Any) -> Hashable:
    """The part of a :func:`cell_key` that stands for one constant."""
    if isinstance(v, _PLAIN):
        return v
    if isinstance(v, Cell):
        return cell_key(v)
    if isinstance(v, (list, tuple)):
        return tuple(_key_of(element) for element in v)
    if isinstance(v, dict):
        return tuple((_key_of(k), _key_of(element)) for k, element in v.items())
    if isinstance(v, (State, Parameter, Input)):
        return v
    if isinstance(v, Real):
        return float(v)
    if isinstance(v, Tensor):
        # The value is not compared: inside torch.compile no element may be read.
        return _Object(v), v.requires_grad, 0 if v.is_inference() else v._version
    return _Object(v)


def snapshot(cell: Cell) -> Cell:
    """A copy of a cell, with copies of the cells, lists, tuples and dicts in it.

    It keeps its constants when the caller changes those of the cell.
    """
    duplicate = copy(cell)
    vars(duplicate).update({name: _snapshot_of(v) for name, v in vars(cell).items()})
    return duplicate


def _snapshot_of(v: Any) -> Any:
    if isinstance(v, Cell):
        return snapshot(v)
    if type(v) in (list, tuple):
        return type(v)(map(_snapshot_of, v))
    return {k: _snapshot_of(element) for k, element in v.items()} if type(v) is dict else v


@cache
def _outside_constants(kind: type[Cell]) -> list[tuple[Mapping[str, Any], str]]:
    """The constants that the step of a class reads from its classes and its module.

    Returns:
        Pairs of a namespace and a name in it. The value is looked up again for each key, because
        it may change.
    """
    constants: list[tuple[Mapping[str, Any], str]] = []
    code = getattr(kind.step, "__code__", None)
    spaces: list[Mapping[str, Any]] = [vars(k) for k in kind.__mro__ if k not in (Cell, object)]
    spaces += [getattr(kind.step, "__globals__", {})] if code else []
    for space in spaces:
        for name in code.co_names if code else ():
            if isinstance(space.get(name), (bool, int, float, Tensor, list, tuple)):
                constants.append((space, name))
    return constants


_Result = TypeVar("_Result")


def once_per_key(function: Callable[[Cell], _Result]) -> Callable[[Cell], _Result]:
    """Caches a function by :func:`cell_key`; a refusal (:class:`Untraceable`) is cached too."""
    results: dict[Hashable, _Result | Untraceable] = {}

    @wraps(function)
    def cached(cell: Cell) -> _Result:
        key = cell_key(cell)
        if key not in results:
            try:
                results[key] = function(cell)
            except Untraceable as reason:
                # A new exception without a traceback, whose frames would keep all their local
                # variables alive.
                results[key] = Untraceable(str(reason))
        result = results[key]
        if isinstance(result, Untraceable):
            raise Untraceable(str(result))
        return result

    return cached


@once_per_key
def trace(cell: Cell) -> Step:
    """Runs the step on symbols; once for all cells with the same :func:`cell_key`.

    Raises:
        Untraceable: if the step does something that a graph cannot express.
        AttributeError: if the step uses a block, a state, a parameter or an input that the cell
            does not declare.
        ValueError: if the step does not return its states and its output.
    """
    # The step may set attributes of the cell, and the caller may change them later.
    cell_copy = snapshot(cell)
    if isinstance(cell_copy, Folded):
        return replace(trace(cell_copy.cell), cell=cell_copy)
    first, second = run_on_symbols(cell_copy), run_on_symbols(cell_copy)
    # A step that counts its calls, or draws numbers of its own, would run as it did the first time.
    if first.graph.nodes != second.graph.nodes:
        raise Untraceable("the step does not do the same each time that it is called")
    return first


def run_on_symbols(cell: Cell) -> Step:
    """Runs the step of a cell once on symbols; raises as :func:`trace` does."""
    return _Tracer(cell).run()


class _Tracer:
    """Runs the step of a cell once on symbols."""

    def __init__(self, cell: Cell) -> None:
        self.cell, self.graph = cell, Graph()
        self.step = Step(cell, self.graph)
        self.folds: list[Fold] = []

    def run(self) -> Step:
        """The graph of the step; raises as :func:`trace` does."""
        self._check_sizes()
        cell = self.cell
        try:
            returned = cell.step(*self._arguments())
        except Untraceable:
            raise
        except AttributeError as error:
            raise AttributeError(
                f"{cell.title}.step: {error}. It may use the blocks "
                f"{', '.join(cell.gates)} of W, {', '.join(cell.recurrent_block_names)} of R, "
                f"the states {', '.join(cell.state_specs)}, the parameters "
                f"{', '.join(cell.parameter_specs) or '(none)'} and the inputs "
                f"{', '.join(cell.input_specs) or '(none)'} besides x."
            ) from error
        except (TypeError, ValueError, RuntimeError, IndexError, NotImplementedError) as error:
            # The step may fail only because of the symbols. If it does not, the reference, which
            # then runs it on tensors, raises the original error.
            raise Untraceable(f"the step cannot be run on symbols ({error})") from error
        _sort(self.step, returned)
        if self.folds:
            self.step.cell = Folded(cell, tuple(self.folds))
        return self.step

    def _check_sizes(self) -> None:
        """Raises Untraceable unless states have H units and parameters H, (H,) or two sizes."""
        for name, spec in self.cell.state_specs.items():
            if spec.size is not None:
                raise Untraceable(f"the state {name} has a width of its own, {spec.size}")
        for name, spec in self.cell.parameter_specs.items():
            shape = spec.size if isinstance(spec.size, tuple) else ()
            if isinstance(spec.size, int) or len(shape) > 2:
                raise Untraceable(f"the parameter {name} has a size of its own, {spec.size}")

    def _arguments(self) -> list[Any]:
        """The arguments of the step: x, W, R, s, p, and u if the cell has further inputs."""
        cell, symbol = self.cell, self._symbol
        drawn = cell.drawn_inputs
        # The further inputs first: the order in which leaves are added decides the order of a sum.
        further = {n: symbol("random" if n in drawn else "input", n) for n in cell.input_specs}
        arguments: list[Any] = [
            symbol("input", "x"),
            self._blocks("W", cell.gates),
            self._blocks("R", cell.recurrent_block_names),
            SimpleNamespace(**{name: symbol("state", name) for name in cell.state_specs}),
            SimpleNamespace(**self._parameters()),
        ]
        return [*arguments, SimpleNamespace(**further)] if further else arguments

    def _parameters(self) -> dict[str, Symbol | Matrix]:
        """The parameters by name; those with two dimensions as a :class:`Matrix`."""
        parameters: dict[str, Symbol | Matrix] = {}
        for name, spec in self.cell.parameter_specs.items():
            if isinstance(spec.size, tuple) and len(spec.size) == 2:
                parameters[name] = Matrix(name, partial(self._matrix_product, name))
            else:
                parameters[name] = self._symbol("parameter", name, "unit")
        return parameters

    def _matrix_product(self, name: str, is_transposed: bool, value: Any) -> Symbol:
        """The product with a matrix of the cell, as one with an additional block of W or R.

        The name of the block is that of the matrix, made unique by ``_x``, ``_T`` and ``_``.
        """
        of_x = _node_or_number(value) is self.graph.leaf("input", "x")
        letter = "W" if of_x else "R"
        block = name + "_x" * of_x + "_T" * is_transposed
        while block in (*self.cell.gates, *self.cell.recurrent_block_names):
            block += "_"
        fold = (letter, name, is_transposed, block)
        if fold not in self.folds:
            self.folds.append(fold)
        return self._product(letter, block, value)

    def _symbol(self, op: str, name: str, kind: str = "row") -> Symbol:
        return Symbol(self.graph, self.graph.leaf(op, name, kind))

    def _blocks(self, matrix: str, names: tuple[str, ...]) -> SimpleNamespace:
        return SimpleNamespace(**{name: partial(self._product, matrix, name) for name in names})

    def _product(self, matrix: str, block: str, value: Any) -> Symbol:
        applied_to = _node_or_number(value)
        if not isinstance(applied_to, Node):
            raise Untraceable(f"{matrix}.{block} is applied to a number")
        if applied_to.width != UNITS:
            # Each layer checks for its own H that the part has as many units as the block.
            self.graph.equal_sizes[applied_to.width, UNITS] = None
        products = self.step.products
        for known in products:
            if (known.matrix, known.block, known.operand) == (matrix, block, applied_to):
                return Symbol(self.graph, known.result)
        result = self.graph.leaf("product", f"{matrix}.{block}#{len(products)}")
        products.append(Product(matrix, block, applied_to, result))
        return Symbol(self.graph, result)


def _sort(step: Step, returned: Any) -> None:
    """Sorts the values that the step returned into states, output and further values.

    Raises:
        ValueError: if a state or the output is missing.
        Untraceable: if one of these is a mask, or has one number for each row.
    """
    cell = step.cell
    required = dict.fromkeys([*cell.state_specs, cell.output_name])
    if not isinstance(returned, Mapping) or any(name not in returned for name in required):
        kind = "Tensor" if isinstance(returned, Symbol) else type(returned).__name__
        got = ", ".join(returned) if isinstance(returned, Mapping) else kind
        raise ValueError(
            f"{cell.title}.step: expected a dict with {', '.join(required)}, got {got}."
        )
    values = {name: _node_or_number(value) for name, value in returned.items()}
    for name in required:
        value = values[name]
        if isinstance(value, Node) and value.width != UNITS and value.kind == "row":
            step.graph.equal_sizes[value.width, UNITS] = None
        if is_mask(value):
            raise Untraceable(f"{name} is true or false, not a number")
        if isinstance(value, Node) and value.kind == "column":
            raise Untraceable(f"{name} has one value for each row, not one for each unit")
    step.states = {name: values[name] for name in cell.state_specs}
    step.output = values[cell.output_name]
    step.others = {name: v for name, v in values.items() if name not in required}


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


def _node_or_number(value: Any) -> Operand:
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

    setattr(Symbol, _written, _operator)

for _name in ("add", "sub", "mul", "truediv", "mod", "pow", "and", "or"):

    def _in_place(self: Symbol, other: Any, _called: str = OPERATORS[f"__{_name}__"]) -> Symbol:
        return _assign(self, _apply(self._graph, _called, (self, other), {}))

    setattr(Symbol, f"__i{_name}__", _in_place)
