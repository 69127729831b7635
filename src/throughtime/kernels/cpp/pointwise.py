"""Writes the equations of a stage as C++: one line of code for each node of the graph.

The lines run for one row of the batch and a few vectors of its hidden units. In them ``u`` is the
first unit of a vector, ``v`` the number of the vector, and ``left`` the number of units from ``u``
to the last one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from throughtime.kernels.cpp.arrays import Arrays
from throughtime.kernels.cpp.stages import REDUCTIONS, Stages
from throughtime.kernels.cpp.tables import is_dense
from throughtime.kernels.graph.graph import Node, Operand
from throughtime.kernels.graph.maps import UNITS, Map, Size

__all__ = ["Pointwise"]

_INFIX = {
    **{"add": "+", "sub": "-", "mul": "*", "div": "/"},
    **{"less": "<", "less_equal": "<=", "equal": "==", "both": "&", "either": "|"},
}


class Pointwise:
    """The lines of one stage.

    Args:
        stages: all stages of the step.
        memory: the arrays that values are read from and written to.
        number: the number of this stage.
        accumulators: for each leaf that is a sum of recurrent products, the position of the sum.

    Attributes:
        prelude: the lines before the loop over a row's units that compute pointers.
        before: the lines before that loop that compute values which are equal for all units.
        inside: the lines in that loop, which run for each vector of units.
        after: the lines after that loop.
    """

    def __init__(
        self, stages: Stages, memory: Arrays, number: int, accumulators: Mapping[Node, int]
    ) -> None:
        self.stages, self.memory, self.number = stages, memory, number
        self.program, self.backward = stages.program, stages.backward
        self.accumulators = accumulators
        self.prelude: list[str] = []
        self.before: list[str] = []
        self.inside: list[str] = []
        self.after: list[str] = []
        self._pointers: dict[str, str] = {}
        self._names: dict[Node, str] = {}
        self._write()

    def _write(self) -> None:
        nodes = self.stages.nodes_of(self.number)
        if self.backward:
            self._begin_backward()
        for node in nodes:
            self._compute(node)
        put = self._put_gradient if self.backward else self._put_value
        for name, value in self.stages.outputs:
            if self.stages.number_of(value) == self.number:
                put(name, value)
        for node, stage in self.stages.computed_in.items():
            if stage == self.number:
                self._put(self.memory.spill(node), node)
        for node, place in self.stages.reductions.items():
            if self.stages.stage_of[node] == self.number + 1:
                self._reduce(node, place)

    # The parts of a line.

    def _pointer(self, expression: str) -> str:
        """The C++ variable of a pointer, which is computed once for each row."""
        if expression not in self._pointers:
            self._pointers[expression] = f"p{len(self._pointers)}"
            self.prelude.append(f"auto* const {self._pointers[expression]} = {expression};")
        return self._pointers[expression]

    def _load(self, row: str) -> str:
        return f"load({self._pointer(row)} + u)"

    def _value(self, value: Operand) -> str:
        return self._names[value] if isinstance(value, Node) else f"splat<T>({_number(value)})"

    def _name(self, node: Node, expression: str) -> None:
        """Writes the line that computes a node, and gives its value a name."""
        self._names[node] = f"v{node.index}"
        is_equal_for_units = node.kind in ("column", "number")
        lines = self.before if is_equal_for_units else self.inside
        lines.append(f"const auto v{node.index} = {expression};")

    def _put(self, row: str, value: Operand) -> None:
        self.inside.append(f"put({self._pointer(row)} + u, {self._value(value)}, left);")

    def _products(self, leaf: Node) -> str:
        return f"acc[{self.accumulators[leaf]} * NV + v]"

    # Lines that read or compute values.

    def _compute(self, node: Node) -> None:
        """Writes the lines that read or compute a node."""
        memory, stages = self.memory, self.stages
        if node.op == "units":
            self._name(node, "splat<T>(T(s.call->units))")
        elif node.op == "size":
            assert isinstance(node.rule, Size)
            self._name(node, f"splat<T>(T({memory.size(node.rule)}))")
        elif stages.computed_in.get(node, self.number) < self.number:
            self._name(node, self._load(memory.spill(node)))
        elif self.backward and node in stages.saved and node.op != "state":
            self._name(node, self._saved(node))
        elif self.backward and node in stages.state_of:
            state = memory.state(stages.state_of[node], elementwise=True)
            self._name(node, self._load(memory.at(state, "now")))
        elif node.op == "state":
            self._name(node, self._load(memory.state_before(node.name, elementwise=True)))
        elif node.op == "parameter":
            memory.array("parameters", 0, stored=False)
            place = list(self.program.cell.parameter_specs).index(node.name)
            self._name(node, self._load(memory.at("parameters", "fixed", place)))
        elif node.op == "input":
            self._name(node, self._load(memory.at(memory.array(f"input:{node.name}"), "now")))
        elif node.op == "random":
            self._draw(node)
        elif node.op == "slot":
            self._name(node, self._slot(node))
        elif node.op == "gradient":
            self._gradient(node)
        elif node.op in REDUCTIONS:
            self._reduced(node)
        elif node.op == "map":
            self._name(node, self._mapped(node))
        else:
            self._name(node, self._operation(node))

    def _draw(self, node: Node) -> None:
        # Numbers depend on the row's place in the caller's batch: sorting rows changes no number.
        stream = self.program.drawn.index(node.name)
        self.prelude.append(
            f"const uint64_t key{stream} = random_key_of_row(s.keys[{stream}], original(s, row));"
        )
        self._name(node, f"uniform<T>(key{stream}, u)")

    def _saved(self, node: Node) -> str:
        self.memory.array("saved", len(self.stages.saved), stored=False)
        p = self._pointer(self.memory.at("saved", "now", self.stages.saved[node]))
        if node.kind in ("row", "unit"):
            return f"load({p} + u)"
        # The forward step saved a column at every unit of its row, and saved nothing before the
        # first step, where the first stage also runs.
        column = f"{p}[0]" if self.number else f"is_before ? T(0) : {p}[0]"
        return f"splat<T>({column})"

    def _slot(self, node: Node) -> str:
        """The sum of a slot: the products with the input and the recurrent products.

        The products with the input contain the bias. A slot without them adds its bias here.
        """
        slots, memory = self.program.slots, self.memory
        i = next(i for i, slot in enumerate(slots) if slot.leaf is node)
        parts = []
        if slots[i].gate is not None:
            hoisted = [s for s in slots if s.gate is not None]
            memory.array("hoisted", len(hoisted), stored=False)
            parts.append(self._load(memory.at("hoisted", "now", hoisted.index(slots[i]))))
        elif self.stages.has_bias(slots[i]):
            memory.array("bias", 0, stored=False)
            parts.append(self._load(memory.at("bias", "fixed", i)))
        if slots[i].pairs:
            parts.append(self._products(node))
        return " + ".join(parts)

    def _gradient(self, node: Node) -> None:
        """Names the gradient of the output, of an operand or of a next state."""
        name = next(name for name, leaf in self.program.seeds.items() if leaf is node)
        kind, _, which = name.partition(":")
        if kind == "output":
            self._name(node, self._load(self.memory.at(self.memory.array("d_output"), "now")))
        elif kind == "operand":
            self._name(node, self._products(node))
        else:
            self._names[node] = f"carried_{which}"

    def _operation(self, node: Node) -> str:
        args = [self._value(a) for a in node.args]
        if node.op in _INFIX:
            return f"{args[0]} {_INFIX[node.op]} {args[1]}"
        if node.op == "neg":
            return f"-{args[0]}"
        if node.op == "negate":
            return f"~{args[0]}"
        if node.op == "relu":
            return f"where({args[0]} <= splat<T>(0), splat<T>(0), {args[0]})"
        if node.op in ("stop", "spread"):
            return args[0]
        return f"throughtime::{node.op}({', '.join(args)})"

    def _mapped(self, node: Node) -> str:
        """Units of a row that an earlier stage has written, summed up as a table says."""
        (argument,), rule = node.args, node.rule
        assert isinstance(argument, Node)
        assert isinstance(rule, Map)
        row, table = self._pointer(self.memory.spill(argument)), self.memory.table(rule)
        if is_dense(rule):
            return f"weighted<T>({row}, {table}, {self.memory.size(argument.width)}, W, u)"
        terms = self.memory.size(Size("terms", (rule,)))
        return f"gathered<T>({row}, {table}, {terms}, W, u)"

    # Reductions over the units of a row: each tile of units, which may belong to another thread,
    # writes its part, and a later stage combines the parts of all tiles in their order. So the
    # result does not depend on the number of threads.

    def _reduce(self, node: Node, place: int) -> None:
        """Writes the lines that reduce a tile's units to one number."""
        empty = "splat<T>(0)" if node.op == "row_sum" else "splat<T>(-__builtin_inf())"
        self.before.append(f"V r{place} = {empty};")
        v, left = self._value(node.args[0]), "left"
        if isinstance(node.args[0], Node) and node.args[0].width != UNITS:
            # A part of a row has fewer units.
            left = f"({self.memory.size(node.args[0].width)} - u)"
        if node.op == "row_sum":
            self.inside.append(f"r{place} += {left} < L ? keep_first({v}, int({left})) : {v};")
            total = f"sum(r{place})"
        else:
            self.inside.append(
                f"r{place} = maximum(r{place}, "
                f"{left} < L ? first_or_lowest({v}, int({left})) : {v});"
            )
            total = f"largest(r{place})"
        self.after.append(
            f"((T*)s.call->partials)[(row * REDUCTIONS + {place}) * "
            f"most_tiles(*s.call) + tile] = {total};"
        )

    def _reduced(self, node: Node) -> None:
        """Writes the lines that combine the parts of all tiles."""
        place, stage = self.stages.reductions[node], self.stages.stage_of[node] - 1
        total = "+= part[i]" if node.op == "row_sum" else "= part[i] > r ? part[i] : r"
        self.before += [
            f"V v{node.index};",
            "{",
            "    const T* part = (const T*)s.call->partials + "
            f"(row * REDUCTIONS + {place}) * most_tiles(*s.call);",
            "    T r = part[0];",
            f"    for (int64_t i = 1; i < tiles<Stage{stage}>(*s.call); ++i) r {total};",
            f"    v{node.index} = splat<T>(r);",
            "}",
        ]
        self._names[node] = f"v{node.index}"

    # Lines that write values.

    def _put_value(self, name: str, value: Operand) -> None:
        """Writes the line that stores a result of the forward step."""
        kind, _, which = name.partition(":")
        memory = self.memory
        if kind == "state":
            # A state may have one array for products and one for the equations, or one for both.
            for elementwise in (False, True):
                place = self._pointer(memory.at(memory.state(which, elementwise), "now"))
                line = f"put({place} + u, {self._value(value)}, left);"
                if line not in self.inside:
                    self.inside.append(line)
        elif kind == "saved":
            # The array of the state contains this value already.
            if isinstance(value, Node) and value in self.stages.state_of:
                return
            memory.array("saved", len(self.stages.saved), stored=False)
            place = self._pointer(memory.at("saved", "now", int(which)))
            # The address is null if no backward call follows.
            saves = f"const bool saves = s.view[{memory.views['saved', 'now']}] != nullptr;"
            if saves not in self.before:
                self.before.append(saves)
            self.inside.append(f"if (saves) put({place} + u, {self._value(value)}, left);")
        else:
            self._put(memory.at(memory.array(name), "now"), value)

    def _put_gradient(self, name: str, value: Operand) -> None:
        """Writes the line that stores a result of the backward step, or adds it to a sum."""
        kind, _, which = name.partition(":")
        memory, sums = self.memory, self.stages.sums
        if kind == "slot":
            memory.array("d_slots", len(self.program.slots))
            self._put(memory.at("d_slots", "now", int(which)), value)
        elif kind == "d_state":
            if self._is_carried(which):
                self._put(memory.at(memory.array(name, stored=False), "fixed"), value)
        elif kind == "d_input":
            self._put(memory.at(memory.array(name), "now"), value)
        if name in sums and value != 0.0:
            place = self._pointer(f"((T*)s.sums + {sums.index(name)} * W)")
            self.inside.append(f"add_to({place} + u, {self._value(value)});")

    # The gradients of the next states, which the backward step receives from the step after it.

    def _begin_backward(self) -> None:
        """Writes the first lines of a backward stage."""
        # At the step before a row's first one the first stage only passes the gradients on to the
        # initial states; no equation runs there.
        self.prelude.append("const uint8_t flag = flag_of(s, row);")
        if self.number > 0:
            self.before.append("if (flag & BEFORE) return;")
            return
        for k in self.program.states:
            self._carry(k)
        self.inside += ["if (is_before) continue;", "// equations"]
        self.before.append("const bool is_before = flag & BEFORE;")

    def _carry(self, k: str) -> None:
        """Writes the lines that compute the gradient of a next state.

        It is the sum of the gradients that the next step passes back. At a row's last step it is
        the gradient of the last state instead. If the next step started from the initial state,
        its sum belongs to the initial state, and the gradient at this step is zero.
        """
        memory, leaf, name = self.memory, self.program.seeds[f"state:{k}"], f"carried_{k}"
        parts = []
        if self._is_carried(k):
            parts.append(self._load(memory.at(memory.array(f"d_state:{k}", stored=False), "fixed")))
        if leaf in self.accumulators:
            parts.append(self._products(leaf))
        last, initial = (memory.array(f"{a}:{k}", stored=False) for a in ("d_last", "d_initial"))
        last, initial = (self._pointer(memory.at(a, "fixed")) for a in (last, initial))
        self.inside += [
            f"V {name} = {' + '.join(parts) or 'splat<T>(0)'};",
            "if (flag & (RESTART | END | BEFORE)) {",
            f"    if (flag & END) {name} = load({last} + u);",
            f"    else {{ add_to({initial} + u, {name}); {name} = V{{}}; }}",
            "}",
            f"(void){name};",
        ]

    def _is_carried(self, k: str) -> bool:
        """Whether a step passes back a gradient to the state other than through products with R."""
        return self.program.gradients[self.program.graph.leaf("state", k)] != 0.0


def _number(value: float) -> str:
    """A number as a C++ expression; repr gives all its digits."""
    if math.isnan(value):
        return '__builtin_nan("")'
    if math.isinf(value):
        return "__builtin_inf()" if value > 0 else "-__builtin_inf()"
    return repr(value)
