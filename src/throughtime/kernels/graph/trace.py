"""``step() -> graph``: runs the equations once on symbols, which record the operations.

A symbol stands for a value of each row and unit. It answers to the operators of Python and to
the functions and methods of PyTorch; what it does not know becomes a reason why no kernel can be
made of the cell, and the reference runs it.
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
    CHANGING,
    FUNCTIONS,
    OPERATORS,
    SHARING,
    Untraceable,
    Writer,
    operand,
)
from throughtime.kernels.graph.graph import Graph, Node, Operand, is_mask
from throughtime.kernels.graph.maps import UNITS

__all__ = ["Product", "Step", "Untraceable", "cell_key", "once_per_key", "snapshot", "trace"]


@dataclass(frozen=True)
class Product:
    """A block of a weight matrix, applied to a value.

    Args:
        matrix: ``"W"`` or ``"R"``.
        block: the name of the block.
        operand: the value that it is applied to.
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
    """A key that is equal for cells whose steps do the same, and changes with their constants.

    Numbers count by their value, wherever the step reads them: from the cell, its class, or the
    module around it. Other objects count by being the same; a tensor also changes in place.
    """
    values = vars(cell)
    if not all(isinstance(v, _PLAIN) for v in values.values()):
        follows = getattr(type(cell), "follows", ())
        values = {name: _value(v) for name, v in values.items() if name not in follows}
    outside = [_value(where.get(name)) for where, name in _outside(type(cell))]
    return type(cell), type(cell).step, tuple(values.items()), *outside


_PLAIN = (bool, int, float, str, NoneType)


class _Object:
    """A key equal only for the same object; it holds the object, so that its id stays taken."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Object) and self.held is other.held

    def __hash__(self) -> int:
        return id(self.held)


def _value(v: Any) -> Hashable:
    if isinstance(v, _PLAIN):
        return v
    if isinstance(v, Cell):
        return cell_key(v)
    if isinstance(v, (list, tuple)):
        return tuple(_value(one) for one in v)
    if isinstance(v, dict):
        return tuple((_value(k), _value(one)) for k, one in v.items())
    if isinstance(v, (State, Parameter, Input)):
        return v
    if isinstance(v, Real):
        return float(v)
    if isinstance(v, Tensor):
        # Not its value: inside torch.compile nothing may be read.
        return _Object(v), v.requires_grad, 0 if v.is_inference() else v._version
    return _Object(v)


def snapshot(cell: Cell) -> Cell:
    """A copy that does not change when the cell changes, or the cells and lists in it."""
    found = copy(cell)
    vars(found).update({name: _snapshot_of(v) for name, v in vars(cell).items()})
    return found


def _snapshot_of(v: Any) -> Any:
    if isinstance(v, Cell):
        return snapshot(v)
    if type(v) in (list, tuple):
        return type(v)(map(_snapshot_of, v))
    return {k: _snapshot_of(one) for k, one in v.items()} if type(v) is dict else v


@cache
def _outside(kind: type[Cell]) -> list[tuple[Mapping[str, Any], str]]:
    """The namespaces and names of the constants that the step reads from outside the cell."""
    found: list[tuple[Mapping[str, Any], str]] = []
    code = getattr(kind.step, "__code__", None)
    spaces: list[Mapping[str, Any]] = [vars(k) for k in kind.__mro__ if k not in (Cell, object)]
    spaces += [getattr(kind.step, "__globals__", {})] if code else []
    for space in spaces:
        for name in code.co_names if code else ():
            if isinstance(space.get(name), (bool, int, float, Tensor, list, tuple)):
                found.append((space, name))
    return found


_Made = TypeVar("_Made")


def once_per_key(make: Callable[[Cell], _Made]) -> Callable[[Cell], _Made]:
    """Caches a function by :func:`cell_key`; a refusal (:class:`Untraceable`) is cached too."""
    known: dict[Hashable, _Made | Untraceable] = {}

    @wraps(make)
    def made(cell: Cell) -> _Made:
        key = cell_key(cell)
        if key not in known:
            try:
                known[key] = make(cell)
            except Untraceable as reason:
                # Without the frames, which hold all that was at hand when it was refused.
                known[key] = Untraceable(str(reason))
        found = known[key]
        if isinstance(found, Untraceable):
            raise Untraceable(str(found))
        return found

    return made


@once_per_key
def trace(cell: Cell) -> Step:
    """Runs the step on symbols; once for all cells with the same :func:`cell_key`.

    Raises:
        Untraceable: where it does what no graph can hold.
        AttributeError: where it uses a block, a state or a parameter that the cell has not.
        ValueError: where it does not return its states and its output.
    """
    # A copy: the step may set attributes, and the caller may change them later.
    mine = snapshot(cell)
    first, second = _traced(mine), _traced(mine)
    if first.graph.nodes != second.graph.nodes:
        raise Untraceable("the step does not do the same each time that it is called")
    return first


def _traced(cell: Cell) -> Step:
    if isinstance(cell, Folded):
        return replace(_traced(cell.cell), cell=cell)
    graph = Graph()
    step = Step(cell, graph)
    folds: list[Fold] = []

    def symbol(op: str, name: str, kind: str = "row") -> Symbol:
        return Symbol(graph, graph.leaf(op, name, kind))

    def product(matrix: str, block: str, value: Any) -> Symbol:
        applied_to = _node_or_number(value)
        if not isinstance(applied_to, Node):
            raise Untraceable(f"{matrix}.{block} is applied to a number")
        if applied_to.width != UNITS:
            graph.equal_sizes[applied_to.width, UNITS] = None
        for known in step.products:
            if (known.matrix, known.block, known.operand) == (matrix, block, applied_to):
                return Symbol(graph, known.result)
        result = graph.leaf("product", f"{matrix}.{block}#{len(step.products)}")
        step.products.append(Product(matrix, block, applied_to, result))
        return Symbol(graph, result)

    def matrix_product(name: str, is_transposed: bool, value: Any) -> Symbol:
        of_x = isinstance(value, Symbol) and value is x
        letter = "W" if of_x else "R"
        block = name + "_x" * of_x + "_T" * is_transposed
        while block in (*cell.gates, *cell.recurrent_block_names):
            block += "_"
        folding = (letter, name, is_transposed, block)
        if folding not in folds:
            folds.append(folding)
        return product(letter, block, value)

    def blocks(matrix: str, names: tuple[str, ...]) -> SimpleNamespace:
        return SimpleNamespace(**{name: partial(product, matrix, name) for name in names})

    for name, spec in cell.state_specs.items():
        if spec.size is not None:
            raise Untraceable(f"the state {name} has a width of its own, {spec.size}")
    parameters: dict[str, Symbol | Matrix] = {}
    for name, spec in cell.parameter_specs.items():
        if isinstance(spec.size, int) or (spec.size is not None and len(spec.size) > 2):
            raise Untraceable(f"the parameter {name} has a size of its own, {spec.size}")
        if spec.size is not None and len(spec.size) == 2:
            parameters[name] = Matrix(name, partial(matrix_product, name))
        else:
            parameters[name] = symbol("parameter", name, "unit")
    try:
        drawn = cell.drawn_inputs
        extra = {n: symbol("random" if n in drawn else "input", n) for n in cell.input_specs}
        x: Any = symbol("input", "x")
        made = cell.step(
            x,
            blocks("W", cell.gates),
            blocks("R", cell.recurrent_block_names),
            SimpleNamespace(**{name: symbol("state", name) for name in cell.state_specs}),
            SimpleNamespace(**parameters),
            *([SimpleNamespace(**extra)] if extra else []),
        )
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
        # Perhaps only symbols make it fail. If not, the reference, which then runs the step on
        # tensors, meets the same error, and the user sees it as it is.
        raise Untraceable(f"the step cannot be run on symbols ({error})") from error
    _sort(step, made)
    if folds:
        step.cell = Folded(cell, tuple(folds))
    return step


def _sort(step: Step, made: Any) -> None:
    """Sorts what the step returned into states, output and further values."""
    cell = step.cell
    wanted = dict.fromkeys([*cell.state_specs, cell.output_name])
    if not isinstance(made, Mapping) or any(name not in made for name in wanted):
        kind = "Tensor" if isinstance(made, Symbol) else type(made).__name__
        got = ", ".join(made) if isinstance(made, Mapping) else kind
        raise ValueError(f"{cell.title}.step: expected a dict with {', '.join(wanted)}, got {got}.")
    values = {name: _node_or_number(value) for name, value in made.items()}
    for name in wanted:
        value = values[name]
        if isinstance(value, Node) and value.width != UNITS and value.kind == "row":
            step.graph.equal_sizes[value.width, UNITS] = None
        if is_mask(value):
            raise Untraceable(f"{name} is true or false, not a number")
        if isinstance(value, Node) and value.kind == "column":
            raise Untraceable(f"{name} has one value for each row, not one for each unit")
    step.states = {name: values[name] for name in cell.state_specs}
    step.output = values[cell.output_name]
    step.others = {name: v for name, v in values.items() if name not in wanted}


class Matrix:
    """A matrix that the step multiplies by: a parameter of the cell with two dimensions.

    Args:
        name: of the parameter.
        product: takes whether the matrix is transposed, and a value; gives their product.
        is_transposed: whether the step has transposed it.
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
        """``value @ self``; where ``is_linear``, ``value @ self.T`` as F.linear has it."""
        return self._product(self._is_transposed == is_linear, value)


def _of_matrix(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Symbol:
    """A function of PyTorch that was called with a matrix."""
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
            f"the matrix {matrix._name} is multiplied by what is no value of the step"
        )
    made = matrix.times(value, name == "linear")
    return made if bias is None else _apply(made._graph, "add", (made, bias), {})


_SHARED = ("state", "input", "parameter")


class _Rows:
    """The number of rows of a batch, which a trace does not know."""

    def __repr__(self) -> str:
        return "the number of rows"


class Symbol:
    """A value of the step, which records each operation on it as a node."""

    # A number of numpy leaves it to the symbol what ``number * symbol`` is.
    __array_ufunc__ = None

    def __init__(self, graph: Graph, node: Operand) -> None:
        self._graph, self._node = graph, node
        # Whether others hold the same memory: the caller, or a value that was made as a view.
        self._is_shared = isinstance(node, Node) and node.op in _SHARED

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        values = (*args, *(kwargs or {}).values())
        if any(isinstance(a, Matrix) for a in values):
            return _of_matrix(func.__name__, args, kwargs or {})
        graph = next(a._graph for a in _flat(values))
        return _apply(graph, func.__name__, args, kwargs or {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in FUNCTIONS or not hasattr(Tensor, name):
            raise Untraceable(f"the step asks a value for its {name}")
        # By way of PyTorch: a TorchFunctionMode may have another function in mind.
        method = getattr(Tensor, name)
        return lambda *args, **kwargs: handle_torch_function(method, (self,), self, *args, **kwargs)

    def __bool__(self) -> bool:
        raise Untraceable("the step decides by a value which way to go; use torch.where")

    def __iter__(self) -> Any:
        raise Untraceable("the step takes a value apart")

    def __getitem__(self, index: Any) -> Any:
        return _apply(self._graph, "__getitem__", (self, index), {})

    @property
    def shape(self) -> tuple[Any, ...]:
        """The number of rows, with which nothing can be computed, and the width."""
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
            raise Untraceable("a matrix has a kernel if it is an attribute of the cell")
        return NotImplemented

    __hash__ = object.__hash__


def _flat(values: Any) -> list[Symbol]:
    found: list[Symbol] = []
    for value in values:
        if isinstance(value, Symbol):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _flat(value)
    return found


def _unwrapped(value: Any) -> Any:
    if isinstance(value, (list, tuple)) and any(isinstance(v, Symbol) for v in value):
        return [_unwrapped(v) for v in value]
    return value._node if isinstance(value, Symbol) else value


def _node_or_number(value: Any) -> Operand:
    return operand(_unwrapped(value))


def _apply(graph: Graph, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    if name not in FUNCTIONS:
        raise Untraceable(f"{name.strip('_')} has no kernel")
    try:
        inside = {key: _unwrapped(value) for key, value in kwargs.items()}
        result = FUNCTIONS[name](Writer(graph), *map(_unwrapped, args), **inside)
    except TypeError as error:
        raise Untraceable(f"{name.strip('_')} is used in a way that has no kernel") from error
    if isinstance(result, tuple):
        parts = tuple(Symbol(graph, part) for part in result)
        for symbol in (*parts, *_flat(args[:1])):
            symbol._is_shared = True
        return parts
    made = Symbol(graph, result)
    made._is_shared = False
    place = CHANGING.get(name, len(args))
    if kwargs.get("inplace") or (place < len(args) and args[place]):
        return _put(args[0] if args else kwargs["input"], made)
    if name in SHARING and isinstance(args[0], Symbol):
        made._is_shared = args[0]._is_shared = True
    return made


def _put(symbol: Symbol, made: Symbol) -> Symbol:
    """Changes a symbol in place: every variable that refers to it has the new value."""
    if symbol._is_shared:
        raise Untraceable("the step changes in place what others hold; write a = a + b")
    symbol._node = made._node
    return symbol


for _written, _called in OPERATORS.items():

    def _operator(self: Symbol, *args: Any, _called: str = _called) -> Symbol:
        return _apply(self._graph, _called, (self, *args), {})

    setattr(Symbol, _written, _operator)

for _name in ("add", "sub", "mul", "truediv", "mod", "pow", "and", "or"):

    def _in_place(self: Symbol, other: Any, _called: str = OPERATORS[f"__{_name}__"]) -> Symbol:
        return _put(self, _apply(self._graph, _called, (self, other), {}))

    setattr(Symbol, f"__i{_name}__", _in_place)
