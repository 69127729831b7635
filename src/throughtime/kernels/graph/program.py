"""What a kernel has to do: the graph of a step, sorted into products, stages and saved values.

A *slot* is a sum of products that the equations use only as a whole, like ``W.i(x) + R.i(h)``. A
kernel computes the products with the input for all steps at once, and adds the products with the
states to them in the time loop.

A *stage* is a part of a step that needs no waiting: its values can be computed for each unit
without the values that other units have in the same stage. A product of a value that the step
computes, or a sum over all units, begins a new stage. Most cells have one stage forward and one
backward.

The backward step follows from the same graph. Its inputs are the gradients of the next states and
of the output; its results are the gradients of the slots, of the states and of the parameters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from throughtime.cells.cell import Cell
from throughtime.kernels.graph.differentiate import gradients
from throughtime.kernels.graph.graph import LEAVES, Graph, Node, Operand, is_mask, reachable
from throughtime.kernels.graph.maps import UNITS
from throughtime.kernels.graph.trace import Product, Step, Untraceable, once_per_key, trace

__all__ = ["ACROSS", "Program", "Slot", "program", "recording_program"]


@dataclass(frozen=True)
class Slot:
    """A sum of products that enters the equations as one value.

    Args:
        leaf: the node of the graph that has its value.
        gate: the block of W whose product with the input is part of the sum, or None.
        pairs: the recurrent products of the sum, each an operand and a block of R.
    """

    leaf: Node
    gate: str | None
    pairs: tuple[tuple[Node, str], ...]


@dataclass(frozen=True)
class Program:
    """Everything that a kernel of the cell has to do in one step, forward and backward.

    Args:
        cell: the cell whose step it is.
        graph: the nodes of the forward and of the backward step.
        slots: the slots with a block of W first, in the order of the gates.
        states: the next states by name.
        output: the output of the layer.
        operands: the values inside the step that a block of R is applied to.
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
        """The states that a block of R is applied to."""
        used = {v.name for s in self.slots for v, _ in s.pairs if v.op == "state"}
        return tuple(name for name in self.states if name in used)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The inputs that the equations use unit by unit: ``x`` itself, and further inputs.

        An input x that only enters products with W is not among them.
        """
        used = {node.name for node in reachable(self.results) if node.op == "input"}
        return tuple(name for name in ("x", *self.cell.given_inputs) if name in used)

    @cached_property
    def drawn(self) -> tuple[str, ...]:
        """The inputs that are drawn at random; input i reads stream i of random numbers."""
        return tuple(self.cell.drawn_inputs)

    # The backward step.

    @cached_property
    def seeds(self) -> dict[str, Node]:
        """The leaves of the gradients that enter the backward step.

        By name: those of the next states, ``state:h``, of the ``output``, and of the operands,
        ``operand:0``.
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
        # The needed values are the first forward values on each path down from a gradient.
        # Forward and backward nodes share one graph, so that such a path is simply followed.
        made_forward = set(reachable(self.results))
        needed, waiting = set(), [g for g in self.gradients.values() if isinstance(g, Node)]
        visited: set[Node] = set()
        while waiting:
            node = waiting.pop()
            if node in visited:
                continue
            visited.add(node)
            if node in made_forward:
                needed.add(node)
            else:
                waiting += [a for a in node.args if isinstance(a, Node)]
        at_hand = {v for v in self.states.values() if isinstance(v, Node)}
        saved: list[Node] = []
        # In the order of computation: a value that is saved makes those after it cheaper.
        for node in sorted(needed, key=lambda node: node.index):
            if is_mask(node):
                # A mask cannot be stored as a number. The numbers that it compares are saved,
                # and the comparison is done again.
                for argument in _numbers_under(node):
                    if _cost(argument, at_hand) > _RECOMPUTE:
                        saved.append(argument)
                        at_hand.add(argument)
            elif _cost(node, at_hand) > _RECOMPUTE:
                saved.append(node)
                at_hand.add(node)
        return tuple(saved)

    def stage_of(self, backward: bool) -> dict[Node, int]:
        """The first stage in which the value of each node can be used.

        Args:
            backward: whether the stages of the backward step are wanted, or of the forward step.
        """
        stages: dict[Node, int] = {}
        of_slot = {slot.leaf: slot for slot in self.slots}
        at_hand = set(self.saved) | {v for v in self.states.values() if isinstance(v, Node)}
        of_operand = {self.seeds[f"operand:{i}"]: v for i, v in enumerate(self.operands)}

        def stage(value: Operand) -> int:
            if not isinstance(value, Node):
                return 0
            if value not in stages:
                stages[value] = compute(value)
            return stages[value]

        def compute(node: Node) -> int:
            if backward and node in at_hand:
                return 0
            if node.op == "slot" and not backward:
                # A product needs all units of its operand. States are complete before the step;
                # a value of this step is complete when its stage has ended.
                inner = [v for v, _ in of_slot[node].pairs if v.op != "state"]
                return max((stage(v) + 1 for v in inner), default=0)
            if node in of_operand:
                # The gradient of an operand is a product with R transposed, of the gradients of
                # the slots that used the operand: so it is known one stage after all of these.
                users = [s for s in self.slots if any(v is of_operand[node] for v, _ in s.pairs)]
                return 1 + max(stage(self.gradients[s.leaf]) for s in users)
            # A sum over the units waits for the last of them.
            after = max((stage(a) for a in node.args), default=0)
            return after + 1 if node.op in ACROSS else after

        if backward:
            roots = [*self.gradients.values(), *self.seeds.values()]
        else:
            roots = [*self.results, *(slot.leaf for slot in self.slots)]
        for root in roots:
            stage(root)
        return stages


ACROSS = ("row_sum", "row_max", "map")
"""The operations that read other units than their own: a stage of its own must come before."""

# A value that costs more than this to compute again is saved. Additions and products cost 1, a
# transcendental function 8: so one function is computed again, and two are not.
_RECOMPUTE = 10.0
_EXPENSIVE = frozenset(
    {"sigmoid", "tanh", "exp", "expm1", "log", "log1p", "log_sigmoid", "softplus", "sin", "cos"}
    | {"erf", "pow"}
)


def _cost(node: Node, at_hand: set[Node]) -> float:
    """The cost of computing a value from the values at hand; infinite if that is impossible."""
    if node in at_hand or node.op in ("state", "parameter", "input", "random", "units", "size"):
        return 0.0
    # A slot would take its matrix products again, and a sum over the units a stage of its own.
    if node.op in LEAVES or node.op in ACROSS:
        return float("inf")
    below = sum(_cost(a, at_hand) for a in node.args if isinstance(a, Node))
    return below + (8.0 if node.op in _EXPENSIVE else 1.0)


def _numbers_under(mask: Node) -> list[Node]:
    """The nodes that a mask compares, also below the masks that it combines."""
    numbers: list[Node] = []
    for a in mask.args:
        if isinstance(a, Node):
            numbers += _numbers_under(a) if is_mask(a) else [a]
    return numbers


@once_per_key
def program(cell: Cell) -> Program:
    """The program of a cell; equal cells share one (see :func:`cell_key`).

    Raises:
        Untraceable: if the step does something that cannot become a graph.
    """
    return _program_of(trace(cell), {})


@once_per_key
def recording_program(cell: Cell) -> Program:
    """The program that also writes the values a step returns besides states and output.

    Raises:
        Untraceable: as :func:`program` does.
    """
    step = trace(cell)
    for name, value in step.others.items():
        if isinstance(value, Node) and value.kind == "row" and value.width != UNITS:
            raise Untraceable(f"{name} has {value.width} units, and a record has H")
    # Arrays hold numbers: a mask is recorded as ones and zeros.
    rows = {
        k: step.graph.node("where", v, 1.0, 0.0) if is_mask(v) else v
        for k, v in step.others.items()
    }
    return _program_of(step, rows)


def _program_of(step: Step, others: Mapping[str, Operand]) -> Program:
    """Sorts the products of a step into slots, and copies the step to a graph of these."""
    names = list(step.states)
    roots = [*step.states.values(), step.output, *others.values()]
    multiplied = [p.operand for p in step.products if p.matrix == "R"]
    for product in step.products:
        of_x = (product.operand.op, product.operand.name) == ("input", "x")
        if product.matrix == "W" and not of_x:
            raise Untraceable(f"W.{product.block} is applied to a value other than x")
        if product.operand.kind != "row":
            raise Untraceable(f"{product.matrix}.{product.block} is applied to no row of units")
    # The step may compute products that it does not use.
    used = {n for n in reachable([*roots, *multiplied]) if n.op == "product"}
    products = [p for p in step.products if p.result in used]

    graph, replaced, slots = _slots(step, products, [*roots, *multiplied])
    copied = graph.copy([*roots, *multiplied], replaced)
    # `copied` lists the states, the output, the further values and the operands, in this order.
    states = dict(zip(names, copied, strict=False))
    recorded = dict(zip(others, copied[len(names) + 1 :], strict=False))
    new = dict(zip(multiplied, copied[len(roots) :], strict=True))
    slots = [Slot(s.leaf, s.gate, tuple((_row(new[v]), b) for v, b in s.pairs)) for s in slots]
    operands = [v for s in slots for v, _ in s.pairs if v.op != "state"]
    gates = step.cell.gates
    blocks = step.cell.recurrent_block_names
    # The slots with a block of W side by side and in the order of W, so that the input's products
    # of all of them are one product with W as it is.
    slots.sort(
        key=lambda s: (
            s.gate is None,
            gates.index(s.gate) if s.gate is not None else blocks.index(s.pairs[0][1]),
        )
    )
    return Program(
        cell=step.cell,
        graph=graph,
        slots=tuple(slots),
        states=states,
        output=copied[len(names)],
        operands=tuple(dict.fromkeys(operands)),
        others=recorded,
    )


def _row(value: Operand) -> Node:
    assert isinstance(value, Node)
    return value


def _slots(
    step: Step, products: list[Product], roots: list[Operand]
) -> tuple[Graph, dict[Node, Operand], list[Slot]]:
    """Finds the slots.

    Returns:
        A new graph in which each slot is a leaf, the value in it of each product and of each sum
        with a slot, and the slots.
    """
    of_leaf = {p.result: p for p in products}
    nodes = reachable(roots)
    uses: Counter[Node] = Counter(a for n in nodes for a in n.args if isinstance(a, Node))
    uses.update(r for r in roots if isinstance(r, Node))
    user = {a: n for n in nodes for a in n.args if isinstance(a, Node)}

    # An addition that is used once, by another addition, is only a part of a longer sum. One that
    # is used elsewhere too needs a value of its own.
    def inside_a_sum(node: Node) -> bool:
        return uses[node] == 1 and node in user and user[node].op == "add"

    def terms(node: Node) -> list[Operand]:
        summands: list[Operand] = []
        for a in node.args:
            inner = isinstance(a, Node) and a.op == "add" and inside_a_sum(a)
            summands += terms(a) if inner and isinstance(a, Node) else [a]
        return summands

    graph, slots = Graph(), list[Slot]()
    sums: dict[Node, tuple[Slot, list[Operand]]] = {}
    taken: set[Node] = set()

    def slot(group: Iterable[Product]) -> Slot:
        gates = [p.block for p in group if p.matrix == "W"]
        pairs = tuple((p.operand, p.block) for p in group if p.matrix == "R")
        name = "+".join(p.result.name for p in group)
        slots.append(Slot(graph.leaf("slot", name), gates[0] if gates else None, pairs))
        return slots[-1]

    for node in nodes:
        if node.op != "add" or inside_a_sum(node):
            continue
        all_terms = terms(node)
        group: list[Product] = []
        for a in all_terms:
            if isinstance(a, Node) and a in of_leaf and uses[a] == 1:
                product = of_leaf[a]
                # At most one block of W: the slots with W are one product with the input, in
                # which each slot has one block of rows.
                if product.matrix == "R" or all(p.matrix == "R" for p in group):
                    group.append(product)
        # A product that stands alone becomes a slot of its own below.
        if len(group) > 1:
            of_group = {p.result for p in group}
            rest: list[Operand] = [
                a for a in all_terms if not (isinstance(a, Node) and a in of_group)
            ]
            sums[node] = (slot(group), rest)
            taken |= of_group
    replaced: dict[Node, Operand] = {}
    for product in products:
        if product.result not in taken:
            replaced[product.result] = slot([product]).leaf
    # What else was added to the products is added to their slot.
    for node, (its_slot, rest) in sums.items():
        value: Operand = its_slot.leaf
        for term in graph.copy(rest, replaced):
            value = graph.node("add", value, term)
        replaced[node] = value
    return graph, replaced, slots
