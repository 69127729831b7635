"""Which stage of a step computes what.

A product needs all units of its operand, and so does a sum over the units; a value that depends
on one is computed in a later stage than what is summed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from throughtime.kernels.cpp.arrays import Memory
from throughtime.kernels.graph.graph import Node, Operand, is_mask
from throughtime.kernels.graph.program import Program, Slot

__all__ = ["REDUCTIONS", "Input", "Products", "Stages"]

REDUCTIONS = ("row_sum", "row_max")
"""The operations over all units of a row."""


@dataclass
class Input:
    """An operand of products.

    Args:
        pointer: to its row, in C++.
        members: (block of R, accumulator) of each product.
        is_narrow: whether it is zero from the narrow width on; see ``Cell.narrow``.
    """

    pointer: str
    members: list[tuple[int, int]]
    is_narrow: bool


@dataclass
class Products:
    """The recurrent products of a stage.

    Args:
        inputs: the operands.
        accumulators: which sum of products belongs to which leaf of the graph.
        are_narrow: whether all that comes of them is zero from the narrow width on.
    """

    inputs: list[Input] = field(default_factory=list)
    accumulators: dict[Node, int] = field(default_factory=dict)
    are_narrow: bool = True

    def add(self, pointer: str, block: int, leaf: Node, from_narrow: bool, to_narrow: bool) -> None:
        """Adds the product of an operand with a block to what is summed for a leaf."""
        self.are_narrow = self.are_narrow and to_narrow
        place = self.accumulators.setdefault(leaf, len(self.accumulators))
        # One run over an operand adds to each sum once.
        for known in self.inputs:
            if known.pointer == pointer and all(place != other for _, other in known.members):
                known.members.append((block, place))
                return
        self.inputs.append(Input(pointer, [(block, place)], from_narrow))


class Stages:
    """The stages of one direction of a step.

    They are written from the last to the first, for a stage keeps what a later one asks for.

    Attributes:
        stage_of: the stage that each node is known in.
        made_in: of the values that are kept for a later stage, the stage that computes them.
        reductions: the place of each sum over units among all of them.
        saved: the place of each value that the forward step saves, among them.
        state_of: the state that each value becomes.
        outputs: what is written, and the value of it; by name of the array.
        sums: what is summed over rows and steps: ``slot:0``, ``parameter:p_i``.
        last: the number of the last stage.
    """

    def __init__(self, program: Program, backward: bool, memory: Memory) -> None:
        self.program, self.backward, self.memory = program, backward, memory
        self.stage_of = program.stage_of(backward)
        self.last = max(self.stage_of.values(), default=0)
        self.made_in: dict[Node, int] = {}
        reductions = [n for n in self.stage_of if n.op in REDUCTIONS]
        self.reductions = {node: place for place, node in enumerate(reductions)}
        # What is only looked at has no backward step.
        self.saved = {node: i for i, node in enumerate(() if program.others else program.saved)}
        self.state_of = {v: k for k, v in program.states.items() if isinstance(v, Node)}
        self.outputs = self._gradients() if backward else self._values()
        self.sums: list[str] = []
        if backward:
            self.sums += [f"slot:{i}" for i, s in enumerate(program.slots) if self.has_bias(s)]
            self.sums += [f"parameter:{name}" for name in program.cell.parameter_specs]

    def number_of(self, value: Operand) -> int:
        """The stage that a value is known in."""
        return self.stage_of.get(value, 0) if isinstance(value, Node) else 0

    def has_bias(self, slot: Slot) -> bool:
        """Whether a bias is added to the slot: that of its gate, or of one of its products."""
        biased = self.program.cell.recurrent_bias_names
        return slot.gate is not None or any(block in biased for _, block in slot.pairs)

    def waits(self) -> bool:
        """Whether the threads of a group must meet after a stage."""
        return self.last > 0 or bool(self.program.fed_back)

    def _values(self) -> list[tuple[str, Operand]]:
        program = self.program
        found = [(f"state:{k}", v) for k, v in program.states.items()]
        if program.output_state is None:
            found.append(("output", program.output))
        found += [(f"operand:{i}", v) for i, v in enumerate(program.operands)]
        if program.others:
            return found + [(f"other:{k}", v) for k, v in program.others.items()]
        found += [(f"saved:{i}", v) for v, i in self.saved.items()]
        return found

    def _gradients(self) -> list[tuple[str, Operand]]:
        program = self.program
        leaf, gradients = program.graph.leaf, program.gradients
        found = [(f"slot:{i}", gradients[s.leaf]) for i, s in enumerate(program.slots)]
        found += [(f"d_state:{k}", gradients[leaf("state", k)]) for k in program.states]
        found += [
            (f"parameter:{k}", gradients[leaf("parameter", k, "unit")])
            for k in program.cell.parameter_specs
        ]
        found += [(f"d_input:{k}", gradients[leaf("input", k)]) for k in program.inputs]
        return found

    # The nodes.

    def nodes_of(self, number: int) -> list[Node]:
        """The nodes to compute in a stage; those of later stages are known already."""
        roots = [v for _, v in self.outputs if self.number_of(v) == number]
        roots += [n for n, made in self.made_in.items() if made == number]
        roots += [n.args[0] for n in self.reductions if self.stage_of[n] == number + 1]
        wanted: dict[Node, None] = {}
        waiting = [r for r in roots if isinstance(r, Node)]
        while waiting:
            node = waiting.pop()
            if node in wanted:
                continue
            wanted[node] = None
            if self._is_read(node) or node.op in (*REDUCTIONS, "slot", "gradient"):
                earlier = self.stage_of.get(node, 0) < number
                if node.op in ("slot", "gradient") and earlier and not self._is_read(node):
                    self.made_in[node] = self.stage_of[node]
                continue
            if self.stage_of.get(node, 0) < number and node.kind == "row" and not is_mask(node):
                self.made_in[node] = self.stage_of.get(node, 0)
                continue
            waiting += [a for a in node.args if isinstance(a, Node)]
        return sorted(wanted, key=lambda node: node.index)

    def _is_read(self, node: Node) -> bool:
        """Whether the value is read from memory, whatever the stage."""
        if node.op in ("state", "parameter", "input", "random", "units"):
            return True
        return self.backward and (node in self.saved or node in self.state_of)

    # The products.

    def products(self, number: int) -> Products:
        """The products of a stage: forward with the blocks of R, backward with them transposed."""
        found = Products()
        blocks = self.program.cell.recurrent_block_names
        for i, slot in enumerate(self.program.slots):
            for value, block in slot.pairs:
                leaf = self._gradient_of(value) if self.backward else slot.leaf
                is_next = self.backward and value.op == "state"
                if (0 if is_next else self.stage_of[leaf]) != number:
                    continue
                pointer = self._d_slot(i, is_next) if self.backward else self.memory.operand(value)
                state, row = self._is_narrow_state(value), self._is_narrow_block(block)
                ends = (row, state) if self.backward else (state, row)
                found.add(pointer, blocks.index(block), leaf, *ends)
        return found

    def _is_narrow_state(self, value: Node) -> bool:
        narrow = self.program.cell.narrow
        return narrow is not None and value.op == "state" and value.name == narrow.state

    def _is_narrow_block(self, block: str) -> bool:
        narrow = self.program.cell.narrow
        return narrow is not None and block == narrow.block

    def _gradient_of(self, operand: Node) -> Node:
        """The leaf of the gradient that reaches an operand through the products."""
        seeds = self.program.seeds
        if operand.op == "state":
            return seeds[f"state:{operand.name}"]
        return seeds[f"operand:{self.program.operands.index(operand)}"]

    def _d_slot(self, i: int, is_next: bool) -> str:
        """The gradient of a slot: of this step, or of the next one, and zeros after the last."""
        self.memory.array("d_slots", len(self.program.slots))
        pointer = self.memory.at("d_slots", "after" if is_next else "now", i)
        if not is_next:
            return pointer
        self.memory.array("zeros", 0)
        return f"(flag_of(s, row) & END ? {self.memory.at('zeros', 'fixed')} : {pointer})"
