"""``step() -> graph``: runs a cell's step on symbols, which add each operation to a graph.

A step that uses anything that :mod:`~throughtime.kernels.graph.symbols` does not support is refused
with a reason; the reference then runs the cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

from throughtime.cells.cell import Cell
from throughtime.kernels.graph.cell_keys import once_per_key, snapshot
from throughtime.kernels.graph.folded import Fold, Folded
from throughtime.kernels.graph.functions import Untraceable
from throughtime.kernels.graph.graph import Graph, Node, Operand, is_mask
from throughtime.kernels.graph.maps import UNITS
from throughtime.kernels.graph.symbols import Matrix, Symbol, node_or_number

__all__ = ["Product", "Step", "run_on_symbols", "trace"]


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
            # These are the errors that functions raise for a symbol, which has no numbers and is no
            # tensor; any other error is raised as it is. The step may also fail for a reason of its
            # own: then the reference, which runs it on tensors, raises the original error.
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
        of_x = node_or_number(value) is self.graph.leaf("input", "x")
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
        applied_to = node_or_number(value)
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
    values = {name: node_or_number(value) for name, value in returned.items()}
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
