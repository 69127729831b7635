"""Assigns the values of a step to stages.

A product with R needs all units of its operand, and so does a reduction over the units. A value
that depends on a product or a reduction is therefore computed in a later stage than the operand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from throughtime.kernels.cpp.arrays import Arrays
from throughtime.kernels.graph.graph import Node, Operand, is_mask
from throughtime.kernels.graph.program import Program, Slot

__all__ = ["REDUCTIONS", "Input", "Products", "Stages"]

REDUCTIONS = ("row_sum", "row_max")
"""The operations that reduce over all units of a row."""


@dataclass
class Input:
    """An operand, and the products that one loop over its units computes.

    Args:
        pointer: a C++ pointer to the operand's row.
        members: for each product, the position of its block of R and of its accumulator.
        is_narrow: whether the operand is zero from the narrow width on; see ``Cell.narrow``.
    """

    pointer: str
    members: list[tuple[int, int]]
    is_narrow: bool


@dataclass
class Products:
    """The recurrent products of a stage.

    Args:
        inputs: the operands with their products.
        accumulators: for each leaf whose value is a sum of products, the position of the sum.
        are_narrow: whether all sums are zero from the narrow width on.
    """

    inputs: list[Input] = field(default_factory=list)
    accumulators: dict[Node, int] = field(default_factory=dict)
    are_narrow: bool = True

    def add(self, pointer: str, block: int, leaf: Node, from_narrow: bool, to_narrow: bool) -> None:
        """Adds the product of an operand with a block of R to the sum of a leaf.

        Args:
            pointer: a C++ pointer to the operand's row.
            block: the position of the block in R.
            leaf: the leaf of the graph whose value is the sum.
            from_narrow: whether the operand is zero from the narrow width on.
            to_narrow: whether the product is zero from the narrow width on.
        """
        self.are_narrow = self.are_narrow and to_narrow
        place = self.accumulators.setdefault(leaf, len(self.accumulators))
        # Products of one operand share a loop, which then reads the operand once. A loop can add
        # to each sum only once: a second product with the same operand for the same sum needs a
        # loop of its own.
        for known in self.inputs:
            if known.pointer == pointer and all(place != other for _, other in known.members):
                known.members.append((block, place))
                return
        self.inputs.append(Input(pointer, [(block, place)], from_narrow))


class Stages:
    """The stages of one direction of a step.

    Their code is generated from the last stage to the first: a later stage decides which values an
    earlier one must store for it.

    Attributes:
        stage_of: for each node, the first stage in which its value can be used.
        computed_in: for each value that a later stage reads, the stage that computes it.
        maps: the values that are made of other units; see graph/maps.py.
        reductions: the position of each sum or maximum over the units.
        saved: the position of each value that the forward step saves for the backward step.
        state_of: the name of the next state whose value a node is.
        outputs: the values that the step writes, with the names of their arrays.
        sums: the names of the values that the backward step sums over rows and steps, like
            ``slot:0`` and ``parameter:p_i``.
        last: the number of the last stage.
    """

    def __init__(self, program: Program, backward: bool, memory: Arrays) -> None:
        self.program, self.backward, self.memory = program, backward, memory
        self.stage_of = program.stage_of(backward)
        self.last = max(self.stage_of.values(), default=0)
        self.computed_in: dict[Node, int] = {}
        reductions = [n for n in self.stage_of if n.op in REDUCTIONS]
        self.reductions = {node: place for place, node in enumerate(reductions)}
        # Other units are read from memory: the stage before writes the row there.
        self.maps = [n for n, stage in self.stage_of.items() if n.op == "map" and stage > 0]
        self.computed_in |= {a: self.stage_of[n] - 1 for n in self.maps for a in _nodes(n.args)}
        # A program that records further values has no backward step, and saves nothing for one.
        self.saved = {node: i for i, node in enumerate(() if program.others else program.saved)}
        self.state_of = {v: k for k, v in program.states.items() if isinstance(v, Node)}
        self.outputs = self._gradients() if backward else self._values()
        self.sums: list[str] = []
        if backward:
            self.sums += [f"slot:{i}" for i, s in enumerate(program.slots) if self.has_bias(s)]
            self.sums += [f"parameter:{name}" for name in program.cell.parameter_specs]

    def number_of(self, value: Operand) -> int:
        """The first stage in which a value can be used."""
        return self.stage_of.get(value, 0) if isinstance(value, Node) else 0

    def has_bias(self, slot: Slot) -> bool:
        """Whether the slot has a bias, of its block of W or of one of its blocks of R."""
        biased = self.program.cell.recurrent_bias_names
        return slot.gate is not None or any(block in biased for _, block in slot.pairs)

    def waits(self) -> bool:
        """Whether the threads of a group must wait for each other after a stage."""
        # A product reads the units of all threads, which computed them in an earlier stage or in
        # the step before.
        return self.last > 0 or bool(self.program.fed_back)

    def _values(self) -> list[tuple[str, Operand]]:
        """The values that the forward step writes, with the names of their arrays."""
        program = self.program
        values = [(f"state:{k}", v) for k, v in program.states.items()]
        if program.output_state is None:
            values.append(("output", program.output))
        values += [(f"operand:{i}", v) for i, v in enumerate(program.operands)]
        if program.others:
            return values + [(f"other:{k}", v) for k, v in program.others.items()]
        values += [(f"saved:{i}", v) for v, i in self.saved.items()]
        return values

    def _gradients(self) -> list[tuple[str, Operand]]:
        """The gradients that the backward step writes or sums, with their names."""
        program = self.program
        leaf, gradients = program.graph.leaf, program.gradients
        named = [(f"slot:{i}", gradients[s.leaf]) for i, s in enumerate(program.slots)]
        named += [(f"d_state:{k}", gradients[leaf("state", k)]) for k in program.states]
        named += [
            (f"parameter:{k}", gradients[leaf("parameter", k, "unit")])
            for k in program.cell.parameter_specs
        ]
        named += [(f"d_input:{k}", gradients[leaf("input", k)]) for k in program.inputs]
        return named

    # The nodes.

    def nodes_of(self, number: int) -> list[Node]:
        """The nodes to compute in a stage; must be called for the later stages first."""
        roots = [v for _, v in self.outputs if self.number_of(v) == number]
        roots += [n for n, stage in self.computed_in.items() if stage == number]
        roots += [n.args[0] for n in self.reductions if self.stage_of[n] == number + 1]
        nodes: dict[Node, None] = {}
        waiting = [r for r in roots if isinstance(r, Node)]
        while waiting:
            node = waiting.pop()
            if node in nodes:
                continue
            nodes[node] = None
            # A map reads what an earlier stage has written; so does a value that a map has read.
            if self.computed_in.get(node, number) < number:
                continue
            if self._is_read(node) or node.op in (*REDUCTIONS, "map", "slot", "gradient"):
                is_earlier = self.stage_of.get(node, 0) < number
                # An earlier stage has its sums of products in registers: it must store them.
                if node.op in ("slot", "gradient") and is_earlier and not self._is_read(node):
                    self.computed_in[node] = self.stage_of[node]
                continue
            # A value of an earlier stage is stored there and read here. Values with one number
            # for each row or unit, and masks, are computed again instead: they cost little, and a
            # mask cannot be stored as a number.
            if self.stage_of.get(node, 0) < number and node.kind == "row" and not is_mask(node):
                self.computed_in[node] = self.stage_of.get(node, 0)
                continue
            waiting += [a for a in node.args if isinstance(a, Node)]
        return sorted(nodes, key=lambda node: node.index)

    def _is_read(self, node: Node) -> bool:
        """Whether the value is read from an array in every stage."""
        if node.op in ("state", "parameter", "input", "random", "units", "size"):
            return True
        return self.backward and (node in self.saved or node in self.state_of)

    # The products.

    def products(self, number: int) -> Products:
        """The products of a stage, with blocks of R, or in the backward step with their transposes.

        The backward step multiplies the gradient of each slot; the sums of these products are the
        gradients of the slots' operands.
        """
        products = Products()
        blocks = self.program.cell.recurrent_block_names
        for i, slot in enumerate(self.program.slots):
            for value, block in slot.pairs:
                leaf = self._gradient_of(value) if self.backward else slot.leaf
                # The gradient of a state comes from the slots of the next step, which are complete
                # before the first stage of this one.
                is_next = self.backward and value.op == "state"
                if (0 if is_next else self.stage_of[leaf]) != number:
                    continue
                pointer = self._d_slot(i, is_next) if self.backward else self.memory.operand(value)
                state, row = self._is_narrow_state(value), self._is_narrow_block(block)
                ends = (row, state) if self.backward else (state, row)
                products.add(pointer, blocks.index(block), leaf, *ends)
        return products

    def _is_narrow_state(self, value: Node) -> bool:
        narrow = self.program.cell.narrow
        return narrow is not None and value.op == "state" and value.name == narrow.state

    def _is_narrow_block(self, block: str) -> bool:
        narrow = self.program.cell.narrow
        return narrow is not None and block == narrow.block

    def _gradient_of(self, operand: Node) -> Node:
        """The leaf of an operand's gradient, whose value is a sum of products with R transposed."""
        seeds = self.program.seeds
        if operand.op == "state":
            return seeds[f"state:{operand.name}"]
        return seeds[f"operand:{self.program.operands.index(operand)}"]

    def _d_slot(self, i: int, is_next: bool) -> str:
        """A C++ pointer to the gradient of a slot.

        Args:
            i: the position of the slot.
            is_next: whether it is the slot of the next step, whose gradient is zero after a row's
                last step.
        """
        self.memory.array("d_slots", len(self.program.slots))
        pointer = self.memory.at("d_slots", "after" if is_next else "now", i)
        if not is_next:
            return pointer
        # After a row's last step the array contains uninitialized memory.
        self.memory.array("zeros", 0)
        return f"(flag_of(s, row) & END ? {self.memory.at('zeros', 'fixed')} : {pointer})"


def _nodes(values: Iterable[Operand]) -> list[Node]:
    return [value for value in values if isinstance(value, Node)]
