"""The program of a cell's kernel: the graph of a step, with its slots, stages and saved values.

A *slot* is a sum of products that the equations use only as a whole, like ``W.i(x) + R.i(h)``. A
kernel computes the products with the input for all steps at once, and adds the products with the
states to them in the time loop.

A *stage* is a part of a step in which no unit needs a value that another unit gets in the same
stage, so that threads need not wait for each other. A product with a value that the step computes,
or a sum over all units, begins a new stage. Most cells have one stage forward and one backward.

The backward step follows from the same graph. Its inputs are the gradients of the next states and
of the output; its results are the gradients of the slots, of the states and of the parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from throughtime.cells.cell import Cell
from throughtime.kernels.graph.cell_keys import once_per_key
from throughtime.kernels.graph.differentiate import gradients
from throughtime.kernels.graph.functions import Untraceable
from throughtime.kernels.graph.graph import LEAVES, Graph, Node, Operand, is_mask, reachable
from throughtime.kernels.graph.maps import UNITS
from throughtime.kernels.graph.slots import Slot, SlotFinder
from throughtime.kernels.graph.trace import Step, trace

__all__ = ["ACROSS", "Program", "Slot", "program", "recording_program"]


@dataclass(frozen=True)
class Program:
    """The computation of one step of a cell, forward and backward.

    Args:
        cell: the cell whose step is computed.
        graph: the nodes of the forward and of the backward step.
        slots: the slots; those with a block of W come first, in the order of the gates.
        states: the next states by name.
        output: the output of the layer.
        operands: the values computed in the step that are multiplied with a block of R.
        others: further values to record, by name; empty in a program that has a backward step.
    """

    cell: Cell
    graph: Graph
    slots: tuple[Slot, ...]
    states: Mapping[str, Operand]
    output: Operand
    operands: tuple[Node, ...]
    others: Mapping[str, Operand] = field(default_factory=dict)

    @property
    def results(self) -> list[Operand]:
        """All values that one step has to compute."""
        return [*self.states.values(), self.output, *self.operands, *self.others.values()]

    @cached_property
    def output_state(self) -> str | None:
        """The name of the state that is also the output, or None."""
        for name, value in self.states.items():
            if value is self.output:
                return name
        return None

    @cached_property
    def fed_back(self) -> tuple[str, ...]:
        """The names of the states that are multiplied with a block of R."""
        used = {v.name for s in self.slots for v, _ in s.pairs if v.op == "state"}
        return tuple(name for name in self.states if name in used)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs that the equations read unit by unit, ``x`` or further inputs.

        The input x is not among them if it only enters products with W.
        """
        used = {node.name for node in reachable(self.results) if node.op == "input"}
        return tuple(name for name in ("x", *self.cell.given_inputs) if name in used)

    @cached_property
    def drawn(self) -> tuple[str, ...]:
        """The names of the random inputs; input i reads stream i of the random numbers."""
        return tuple(self.cell.drawn_inputs)

    # The backward step.

    @cached_property
    def seeds(self) -> dict[str, Node]:
        """The leaves for the gradients that enter the backward step.

        Their names are ``state:h`` for the gradient of the next state h, ``output``, and
        ``operand:0`` for that of the first operand.
        """
        # An operand has a leaf of its own because its gradient comes through products with R,
        # which the chain rule over the graph does not see.
        names = [f"state:{name}" for name in self.states]
        names += ["output", *(f"operand:{i}" for i in range(len(self.operands)))]
        return {name: self.graph.leaf("gradient", name) for name in names}

    @cached_property
    def gradients(self) -> Mapping[Node, Operand]:
        """The gradient of each leaf of the forward step, as a value of the graph."""
        values = [*self.states.values(), self.output, *self.operands]
        return gradients(self.graph, zip(values, self.seeds.values(), strict=True), self._leaves)

    @property
    def _leaves(self) -> list[Node]:
        leaf = self.graph.leaf
        return [
            *(slot.leaf for slot in self.slots),
            *(leaf("state", name) for name in self.states),
            *(leaf("parameter", name, "unit") for name in self.cell.parameter_specs),
            *(leaf("input", name) for name in ("x", *self.cell.given_inputs)),
        ]

    @cached_property
    def saved(self) -> tuple[Node, ...]:
        """The values that the backward step needs and cannot cheaply compute again.

        States, parameters and inputs are not among them: the backward step reads them anyway.
        """
        # The needed values are the first forward values on each path from a gradient to the
        # leaves. Forward and backward nodes share one graph, so that the path needs no mapping.
        forward = set(reachable(self.results))
        needed, waiting = set(), [g for g in self.gradients.values() if isinstance(g, Node)]
        visited: set[Node] = set()
        while waiting:
            node = waiting.pop()
            if node in visited:
                continue
            visited.add(node)
            if node in forward:
                needed.add(node)
            else:
                waiting += [a for a in node.args if isinstance(a, Node)]
        # The next states are kept for the step after this one, and so cost nothing here.
        available = {v for v in self.states.values() if isinstance(v, Node)}
        saved: list[Node] = []
        # In the order of computation: a value that is saved makes those after it cheaper.
        for node in sorted(needed, key=lambda node: node.index):
            # An array holds numbers, not masks: the numbers that a mask compares are saved, and
            # the backward step compares them again.
            for value in _numbers_under(node) if is_mask(node) else [node]:
                if _cost(value, available) > _RECOMPUTE:
                    saved.append(value)
                    available.add(value)
        return tuple(saved)

    def stage_of(self, backward: bool) -> dict[Node, int]:
        """The first stage in which the value of each node can be used.

        Args:
            backward: True for the stages of the backward step, False for those of the forward
                step.
        """
        order = _StageOrder(self, backward)
        if backward:
            roots = [*self.gradients.values(), *self.seeds.values()]
        else:
            roots = [*self.results, *(slot.leaf for slot in self.slots)]
        for root in roots:
            order.stage(root)
        return order.stages


class _StageOrder:
    """Computes the stages of a program's nodes; see :meth:`Program.stage_of`.

    Attributes:
        stages: the stage of each node that was asked for, and of those it depends on.
    """

    def __init__(self, program: Program, backward: bool) -> None:
        self.program, self.backward = program, backward
        self.stages: dict[Node, int] = {}
        self._slot_of_leaf = {slot.leaf: slot for slot in program.slots}
        states = {v for v in program.states.values() if isinstance(v, Node)}
        self._stored = set(program.saved) | states if backward else set()
        self._operand_of_seed = {
            program.seeds[f"operand:{i}"]: v for i, v in enumerate(program.operands)
        }

    def stage(self, value: Operand) -> int:
        """The first stage in which a value can be used."""
        if not isinstance(value, Node):
            return 0
        if value not in self.stages:
            self.stages[value] = self._compute(value)
        return self.stages[value]

    def _compute(self, node: Node) -> int:
        # What the forward step has stored is there before the backward step begins.
        if node in self._stored:
            return 0
        if node.op == "slot" and not self.backward:
            # A product needs all units of its operand. States are complete before the step; a
            # value of this step is complete when its stage has ended.
            inner = [v for v, _ in self._slot_of_leaf[node].pairs if v.op != "state"]
            return max((self.stage(v) + 1 for v in inner), default=0)
        if node in self._operand_of_seed:
            # The gradient of an operand is a product with R transposed, of the gradients of the
            # slots that used the operand: so it is known one stage after all of these.
            operand = self._operand_of_seed[node]
            users = [s for s in self.program.slots if any(v is operand for v, _ in s.pairs)]
            return 1 + max(self.stage(self.program.gradients[s.leaf]) for s in users)
        # A reduction over the units waits until all of them are computed.
        latest = max((self.stage(a) for a in node.args), default=0)
        return latest + 1 if node.op in ACROSS else latest


ACROSS = ("row_sum", "row_max", "map")
"""The operations that read other units than their own: a stage of its own must come before."""

# A value is saved if it costs more than this to compute again. Additions and products cost 1, a
# transcendental function 8: one function is computed again, two are not. Saving a value costs a
# write and a read of memory for each unit and step.
_RECOMPUTE = 10.0
_EXPENSIVE = frozenset(
    {"sigmoid", "tanh", "exp", "expm1", "log", "log1p", "log_sigmoid", "softplus", "sin", "cos"}
    | {"erf", "pow"}
)


def _cost(node: Node, available: set[Node]) -> float:
    """The cost of computing a value from the available ones; infinite if that is not allowed."""
    if node in available or node.op in ("state", "parameter", "input", "random", "units", "size"):
        return 0.0
    # A slot would need its matrix products again, and a reduction a stage of its own.
    if node.op in LEAVES or node.op in ACROSS:
        return float("inf")
    cost_of_arguments = sum(_cost(a, available) for a in node.args if isinstance(a, Node))
    return cost_of_arguments + (8.0 if node.op in _EXPENSIVE else 1.0)


def _numbers_under(mask: Node) -> list[Node]:
    """The nodes that a mask compares, or that the masks compare which it combines."""
    numbers: list[Node] = []
    for a in mask.args:
        if isinstance(a, Node):
            numbers += _numbers_under(a) if is_mask(a) else [a]
    return numbers


@once_per_key
def program(cell: Cell) -> Program:
    """The program of a cell; equal cells share one (see :func:`cell_key`).

    Raises:
        Untraceable: if the step cannot become a graph, or a kernel cannot run it.
    """
    return _program_of(trace(cell), {})


@once_per_key
def recording_program(cell: Cell) -> Program:
    """The program that also computes the values a step returns besides its states and output.

    Raises:
        Untraceable: as :func:`program` does.
    """
    step = trace(cell)
    for name, value in step.others.items():
        if isinstance(value, Node) and value.kind == "row" and value.width != UNITS:
            raise Untraceable(f"{name} has {value.width} units, and a record has H")
    # Arrays hold numbers: a mask is recorded as ones and zeros.
    others = {
        k: step.graph.node("where", v, 1.0, 0.0) if is_mask(v) else v
        for k, v in step.others.items()
    }
    return _program_of(step, others)


def _program_of(step: Step, others: Mapping[str, Operand]) -> Program:
    """Groups the products of a step into slots, and copies the step to a graph of slots.

    Args:
        step: the traced step.
        others: the values to record besides the states and the output, by name.
    """
    _check_products(step)
    names = list(step.states)
    results = [*step.states.values(), step.output, *others.values()]
    multiplied = [p.operand for p in step.products if p.matrix == "R"]
    roots = [*results, *multiplied]
    # The step may compute products that it does not use.
    used = {n for n in reachable(roots) if n.op == "product"}
    finder = SlotFinder([p for p in step.products if p.result in used], roots)
    graph, replaced = finder.graph, finder.find()
    copies = graph.copy(roots, replaced)
    # `copies` lists the states, the output, the further values and the operands, in this order.
    states = dict(zip(names, copies, strict=False))
    recorded = dict(zip(others, copies[len(names) + 1 :], strict=False))
    new = dict(zip(multiplied, copies[len(results) :], strict=True))
    slots = [
        Slot(s.leaf, s.gate, tuple((_row(new[v]), b) for v, b in s.pairs)) for s in finder.slots
    ]
    operands = [v for s in slots for v, _ in s.pairs if v.op != "state"]
    return Program(
        cell=step.cell,
        graph=graph,
        slots=tuple(_in_order_of_blocks(slots, step.cell)),
        states=states,
        output=copies[len(names)],
        operands=tuple(dict.fromkeys(operands)),
        others=recorded,
    )


def _check_products(step: Step) -> None:
    """Raises Untraceable for a product that a kernel cannot compute."""
    for product in step.products:
        is_of_x = (product.operand.op, product.operand.name) == ("input", "x")
        if product.matrix == "W" and not is_of_x:
            raise Untraceable(f"W.{product.block} is applied to a value other than x")
        if product.operand.kind != "row":
            raise Untraceable(f"{product.matrix}.{product.block} is applied to no row of units")


def _in_order_of_blocks(slots: list[Slot], cell: Cell) -> list[Slot]:
    """The slots with a block of W, in the order of the gates; then the others, in that of R."""
    gates, blocks = cell.gates, cell.recurrent_block_names

    # With the slots of W side by side and in its order, the product of the input with W as it
    # is stored gives all of them at once, without a copy of W.
    def place(slot: Slot) -> tuple[bool, int]:
        if slot.gate is not None:
            return False, gates.index(slot.gate)
        return True, blocks.index(slot.pairs[0][1])

    return sorted(slots, key=place)


def _row(value: Operand) -> Node:
    assert isinstance(value, Node)
    return value
