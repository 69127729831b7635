"""``graph -> C++``: the equations of a step as the pointwise body of the time loop.

What is written here is only what differs from cell to cell: the equations, where their values
are read and written, and which blocks of R make which sums. The loop is in ``recurrence.hpp``,
the functions of the equations in ``simd.hpp``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from throughtime.kernels.graph import Node, Operand, is_mask, reachable
from throughtime.kernels.program import Program

__all__ = ["Array", "Source", "emit"]

COMPUTE = {"float": "float", "double": "double", "bfloat16": "float"}
"""The type that each storage type is computed in."""

_REGISTERS = "(BYTES == 64 ? 24 : 12)"


@dataclass(frozen=True)
class Array:
    """Memory that a kernel works on.

    Args:
        name: what it holds.
        per_row: how many widths H one row has.
        stored: whether its elements are of the storage type, or else of the compute type.
    """

    name: str
    per_row: int
    stored: bool


@dataclass
class Source:
    """One direction of one cell, as C++.

    Args:
        text: the source.
        arrays: the memory it works on, in the order of ``Context::arrays``.
        sums: what is summed over rows and steps: ``slot:0``, ``parameter:p_i``.
        spilled: how many values are kept from one stage to a later one.
        reductions: how many sums over units there are.
        widths: how many sums the tiles of each stage hold for one vector of units.
        products: how many products of blocks each stage takes.
    """

    text: str = ""
    arrays: list[Array] = field(default_factory=list)
    sums: list[str] = field(default_factory=list)
    spilled: int = 0
    reductions: int = 0
    widths: list[int] = field(default_factory=list)
    products: list[int] = field(default_factory=list)


def emit(program: Program, storage: str, backward: bool) -> Source:
    """Writes the source of one direction.

    Args:
        program: what is to be done.
        storage: the type of the sequences: ``float``, ``double`` or ``bfloat16``.
        backward: which direction.
    """
    return _Emitter(program, storage, backward).source()


class _Emitter:
    def __init__(self, program: Program, storage: str, backward: bool) -> None:
        self.program, self.storage, self.backward = program, storage, backward
        self.stage_of = program.stage_of(backward)
        self.result = Source()
        self.views: dict[tuple[str, str], int] = {}
        self.index: dict[str, int] = {}
        self.slot_of = {slot.leaf: i for i, slot in enumerate(program.slots)}
        self.state_of = {v: k for k, v in program.states.items() if isinstance(v, Node)}
        self.saved = {node: i for i, node in enumerate(program.saved)}
        self.parameters = list(program.cell.parameter_specs)
        self.seeds = {leaf: name for name, leaf in program.seeds.items()}
        self.fed_back = program.fed_back
        reductions = [n for n in self.stage_of if n.op in ("row_sum", "row_max")]
        self.reductions = {node: place for place, node in enumerate(reductions)}
        self.made_in: dict[Node, int] = {}
        self.spilled: dict[Node, int] = {}
        if backward:
            biased = program.cell.recurrent_bias_names
            for i, slot in enumerate(program.slots):
                if slot.gate is not None or any(b in biased for _, b in slot.pairs):
                    self.result.sums.append(f"slot:{i}")
            self.result.sums += [f"parameter:{name}" for name in self.parameters]

    # The whole.

    def source(self) -> Source:
        last = max(self.stage_of.values(), default=0)
        outputs = self.outputs()
        bodies: list[str] = []
        for number in reversed(range(last + 1)):
            nodes = self.nodes_of(number, outputs)
            bodies.append(self.stage(number, last, nodes, outputs))
        bodies.reverse()
        result, compute = self.result, COMPUTE[self.storage]
        result.spilled = len(self.spilled)
        result.reductions = len(self.reductions)
        look = [
            f"        view[{i}] = c.arrays[{self.index[name]}].base + "
            f"(({'0' if when == 'fixed' else when}) & c.arrays[{self.index[name]}].mask) * "
            f"c.arrays[{self.index[name]}].time * int64_t(sizeof({self.type_of(name)}));"
            for (name, when), i in self.views.items()
        ]
        steps, packs = [], []
        for number in range(last + 1):
            steps += [
                f"        stage<Stage{number}>(s, share, active, weights);",
                f"        weights += tiles<Stage{number}>(c) * panel_size<Stage{number}>(c) * "
                "int64_t(sizeof(S));",
            ]
            packs.append(f"    to = pack<Stage{number}>(to, R, c, {_cpp(not self.backward)});")
        sizes = " + ".join(f"tiles<Stage{n}>(c) * panel_size<Stage{n}>(c)" for n in range(last + 1))
        most = ", ".join(f"tiles<Stage{n}>(c)" for n in range(last + 1))
        name = self.program.cell.name or type(self.program.cell).__name__
        result.text = "\n".join(
            [
                f"// {name}, {'backward' if self.backward else 'forward'}, {self.storage}",
                '#include "recurrence.hpp"',
                "namespace throughtime {",
                f"using S = {self.storage};",
                f"using T = {compute};",
                "using V = Vec<T>;",
                "constexpr int64_t L = Simd<T>::LANES;",
                f"constexpr int64_t REDUCTIONS = {max(len(self.reductions), 1)};",
                f"constexpr int64_t SPILLED = {len(self.spilled)};",
                "int64_t most_tiles(const Context& c);",
                *bodies,
                "int64_t most_tiles(const Context& c) {",
                f"    const int64_t all[] = {{{most}}};",
                "    int64_t most = 0;",
                "    for (int64_t n : all) most = n > most ? n : most;",
                "    return most;",
                "}",
                "struct Kernel {",
                f"    using T = {compute};",
                f"    static constexpr int VIEWS = {len(self.views)}, SUMS = {len(result.sums)};",
                "    TT_INLINE void look(const Context& c, int64_t now, int64_t before,",
                "                        int64_t after, char** view) {",
                "        (void)now, (void)before, (void)after;",
                *look,
                "    }",
                "    TT_INLINE void step(const Step& s, const Share& share, int64_t active) {",
                "        const Context& c = *s.call;",
                "        const char* weights = c.weights;",
                *steps,
                "        (void)weights;",
                "    }",
                "};",
                "}  // namespace throughtime",
                "using namespace throughtime;",
                '#define PUBLIC extern "C" __attribute__((visibility("default")))',
                "PUBLIC void run_steps(const Context* c) { run<Kernel>(*c); }",
                "PUBLIC void pack_weights(const Context* call, const void* blocks, char* to) {",
                "    const Context& c = *call;",
                "    const S* R = (const S*)blocks;",
                "    (void)R, (void)c;",
                *packs,
                "}",
                "PUBLIC int64_t packed_size(const Context* call) {",
                "    const Context& c = *call;",
                "    (void)c;",
                f"    return ({sizes}) * int64_t(sizeof(S));",
                "}",
                "PUBLIC int64_t partials_size(const Context* c) {",
                "    return c->rows * REDUCTIONS * most_tiles(*c) * int64_t(sizeof(T));",
                "}",
                "PUBLIC int64_t vector_bytes() { return BYTES; }",
                "",
            ]
        )
        return result

    # Memory.

    def array(self, name: str, per_row: int = 1, stored: bool = True) -> str:
        if name not in self.index:
            self.index[name] = len(self.result.arrays)
            self.result.arrays.append(Array(name, per_row, stored))
        return name

    def type_of(self, name: str) -> str:
        return "S" if self.result.arrays[self.index[name]].stored else "T"

    def at(self, name: str, when: str, offset: int = 0, row: str = "row") -> str:
        """A pointer to the row of an array, at a step."""
        view = self.views.setdefault((name, when), len(self.views))
        array = self.result.arrays[self.index[name]]
        place = f"{row} * {array.per_row} * W" if when != "unit" and array.per_row else "0"
        plus = f" + {offset} * W" if offset else ""
        return f"(({self.type_of(name)}*)s.view[{view}] + {place}{plus})"

    def state_array(self, name: str, elementwise: bool) -> str:
        """Where a state is kept: as an operand in the storage type, or to compute with."""
        if self.storage == COMPUTE[self.storage]:
            return self.array(f"state:{name}")
        kinds = state_kinds(self.program, name)
        stored = "state" in kinds and not (elementwise and "value" in kinds)
        return self.array(f"{'state' if stored else 'value'}:{name}", stored=stored)

    # What each stage computes.

    def outputs(self) -> list[tuple[str, Operand]]:
        """What is written, and the value of it; by name of the array."""
        program = self.program
        if self.backward:
            found = [(f"slot:{i}", program.gradients[s.leaf]) for i, s in enumerate(program.slots)]
            found += [
                (f"d_state:{k}", program.gradients[program.graph.leaf("state", k)])
                for k in program.states
            ]
            found += [
                (f"parameter:{k}", program.gradients[program.graph.leaf("parameter", k, "unit")])
                for k in self.parameters
            ]
            if program.reads_input:
                found.append(("d_input", program.gradients[program.graph.leaf("input", "x")]))
            return found
        found = [(f"state:{k}", v) for k, v in program.states.items()]
        if program.output_state is None:
            found.append(("output", program.output))
        found += [(f"operand:{i}", v) for i, v in enumerate(program.operands)]
        found += [(f"saved:{i}", v) for v, i in self.saved.items()]
        return found

    def stage_number(self, value: Operand) -> int:
        return self.stage_of.get(value, 0) if isinstance(value, Node) else 0

    def is_read(self, node: Node) -> bool:
        """Whether the value is read from memory, whatever the stage."""
        if node.op in ("state", "parameter", "input", "units"):
            return True
        return self.backward and (node in self.saved or node in self.state_of)

    def nodes_of(self, number: int, outputs: Iterable[tuple[str, Operand]]) -> list[Node]:
        """The nodes to compute in a stage; those of later stages are known already."""
        roots = [v for _, v in outputs if self.stage_number(v) == number]
        roots += [n for n, made in self.made_in.items() if made == number]
        for node in list(self.stage_of):
            if node.op in ("row_sum", "row_max") and self.stage_of[node] == number + 1:
                roots.append(node.args[0])
        wanted: dict[Node, None] = {}
        waiting = [r for r in roots if isinstance(r, Node)]
        while waiting:
            node = waiting.pop()
            if node in wanted:
                continue
            wanted[node] = None
            if self.is_read(node) or node.op in ("row_sum", "row_max", "slot", "gradient"):
                earlier = self.stage_of.get(node, 0) < number
                if node.op in ("slot", "gradient") and earlier and not self.is_read(node):
                    self.made_in[node] = self.stage_of[node]
                continue
            if self.stage_of.get(node, 0) < number and node.kind == "row" and not is_mask(node):
                self.made_in[node] = self.stage_of.get(node, 0)
                continue
            waiting += [a for a in node.args if isinstance(a, Node)]
        return sorted(wanted, key=lambda node: node.index)

    def stage(
        self,
        number: int,
        last: int,
        nodes: list[Node],
        outputs: list[tuple[str, Operand]],
    ) -> str:
        inputs, accumulators = self.products(number)
        prelude, before, inside, after = self.body(number, nodes, outputs, accumulators)
        width = len(accumulators)
        vectors = {0: 4, 1: 4, 2: 2}.get(width, 1)
        sizes = [len(members) for _, members in inputs]
        most = max(sizes, default=1)
        blocks = [[b for b, _ in members] + [0] * (most - len(members)) for _, members in inputs]
        self.result.widths.insert(0, width)
        self.result.products.insert(0, sum(sizes))
        reads = []
        for pointer, members in inputs:
            slots = ", ".join(str(a) for _, a in members)
            reads += [
                "        {",
                "            const S* a[MR];",
                "            for (int m = 0; m < MR; ++m) {",
                "                const int64_t row = rows[m];",
                f"                a[m] = {pointer};",
                "            }",
                f"            panel = accumulate<S, MR, NV, WIDTH * NV, {slots}>"
                "(acc, a, panel, s.call->units);",
                "        }",
            ]
        rows = f"{_REGISTERS} / (WIDTH * NV)" if width else "8"
        return "\n".join(
            [
                f"struct Stage{number} {{",
                "    using S = throughtime::S;",
                f"    static constexpr int WIDTH = {width}, NV = {vectors}, MOST = {rows};",
                "    static constexpr int ROWS = MOST < 1 ? 1 : MOST > 8 ? 8 : MOST;",
                f"    static constexpr int INPUTS = {len(inputs)}, MEMBERS = {sum(sizes)};",
                f"    static constexpr int SIZES[] = {{{_list(sizes) or '0'}}};",
                f"    static constexpr int BLOCKS[][{most}] = {{"
                + (", ".join(f"{{{_list(row)}}}" for row in blocks) or "{0}")
                + "};",
                f"    static constexpr bool WAITS = {_cpp(self.waits(number, last))};",
                "    template <int MR> TT_INLINE void products(",
                "        const Step& s, const int64_t* rows, const S* panel,",
                "        V (&acc)[MR][WIDTH * NV ? WIDTH * NV : 1]) {",
                "        const int64_t W = s.call->width;",
                "        (void)W, (void)rows, (void)panel, (void)acc;",
                *reads,
                "    }",
                "    static void pointwise(const Step& s, int64_t row, int64_t unit, int64_t tile,",
                "                          int vectors, const V* acc) {",
                "        const int64_t W = s.call->width;",
                "        (void)acc, (void)W, (void)tile;",
                *(f"        {line}" for line in prelude),
                *(f"        {line}" for line in before),
                "        for (int v = 0; v < vectors; ++v) {",
                "            const int64_t u = unit + v * L, left = s.call->units - u;",
                "            (void)left;",
                *(f"            {line}" for line in inside),
                "        }",
                *(f"        {line}" for line in after),
                "    }",
                "};",
            ]
        )

    def waits(self, number: int, last: int) -> bool:
        """Whether the threads of a group must meet after the stage."""
        return last > 0 or bool(self.fed_back)

    # Products.

    def products(
        self, number: int
    ) -> tuple[list[tuple[str, list[tuple[int, int]]]], dict[Node, int]]:
        """The products of a stage: for each operand a pointer and (block, accumulator) pairs."""
        program = self.program
        blocks = program.cell.recurrent_block_names
        accumulators: dict[Node, int] = {}
        inputs: list[tuple[str, list[tuple[int, int]]]] = []

        def add(pointer: str, block: str, place: int) -> None:
            # One run over an operand adds to each sum once.
            for known, members in inputs:
                if known == pointer and all(place != other for _, other in members):
                    members.append((blocks.index(block), place))
                    return
            inputs.append((pointer, [(blocks.index(block), place)]))

        if not self.backward:
            for slot in program.slots:
                if not slot.pairs or self.stage_of[slot.leaf] != number:
                    continue
                place = accumulators.setdefault(slot.leaf, len(accumulators))
                for value, block in slot.pairs:
                    add(self.operand_pointer(value), block, place)
            return inputs, accumulators
        for i, slot in enumerate(program.slots):
            for value, block in slot.pairs:
                if value.op == "state":
                    leaf, at = program.seeds[f"state:{value.name}"], 0
                else:
                    leaf = program.seeds[f"operand:{program.operands.index(value)}"]
                    at = self.stage_of[leaf]
                if at != number:
                    continue
                place = accumulators.setdefault(leaf, len(accumulators))
                self.array("d_slots", len(program.slots))
                pointer = self.at("d_slots", "after" if value.op == "state" else "now", i)
                if value.op == "state":
                    self.array("zeros", 0)
                    zeros = self.at("zeros", "fixed")
                    pointer = f"(flag_of(s, row) & END ? {zeros} : {pointer})"
                add(pointer, block, place)
        return inputs, accumulators

    def operand_pointer(self, value: Node) -> str:
        if value.op == "state":
            return self.before(value.name, elementwise=False)
        i = self.program.operands.index(value)
        return self.at(self.array(f"operand:{i}"), "now")

    def before(self, name: str, elementwise: bool) -> str:
        """The row of a state before the step: the initial one where the row starts."""
        array = self.state_array(name, elementwise)
        initial = self.array(f"initial_{array}", stored=self.type_of(array) == "S")
        return (
            f"(flag_of(s, row) & START ? {self.at(initial, 'fixed')} : {self.at(array, 'before')})"
        )

    # The equations.

    def body(
        self,
        number: int,
        nodes: list[Node],
        outputs: list[tuple[str, Operand]],
        accumulators: dict[Node, int],
    ) -> tuple[list[str], list[str], list[str], list[str]]:
        """The lines before the row's units, for each vector of units, and after them."""
        prelude: list[str] = []
        before: list[str] = []
        inside: list[str] = []
        after: list[str] = []
        pointers: dict[str, str] = {}
        names: dict[Node, str] = {}

        def pointer(expression: str) -> str:
            if expression not in pointers:
                pointers[expression] = f"p{len(pointers)}"
                prelude.append(f"auto* const {pointers[expression]} = {expression};")
            return pointers[expression]

        def read(node: Node, expression: str) -> None:
            names[node] = f"v{node.index}"
            (before if node.kind in ("column", "number") else inside).append(
                f"const auto v{node.index} = {expression};"
            )

        def value(v: Operand) -> str:
            return names[v] if isinstance(v, Node) else f"splat<T>({_number(v)})"

        def write(p: str, v: Operand, add: bool = False) -> None:
            inside.append(
                f"put({p} + u, {value(v)}, left);" if not add else f"add_to({p} + u, {value(v)});"
            )

        if self.backward:
            prelude.append("const uint8_t flag = flag_of(s, row);")
            if number == 0:
                self.incoming(nodes, accumulators, pointer, inside)
                before.append("const bool is_before = flag & BEFORE;")
            else:
                before.append("if (flag & BEFORE) return;")
        for node in nodes:
            spilled = node in self.made_in and self.made_in[node] < number
            if node.op == "units":
                read(node, "splat<T>(T(s.call->units))")
            elif spilled:
                place = self.spilled.setdefault(node, len(self.spilled))
                self.array("spill", 0, stored=False)
                read(node, f"load({pointer(self.spill(place))} + u)")
            elif self.backward and node in self.saved and node.op != "state":
                self.array("saved", len(self.saved), stored=False)
                p = pointer(self.at("saved", "now", self.saved[node]))
                # A column was saved at every unit of its row; before the first step nothing was.
                column = f"{p}[0]" if number else f"is_before ? T(0) : {p}[0]"
                by_unit = node.kind in ("row", "unit")
                read(node, f"load({p} + u)" if by_unit else f"splat<T>({column})")
            elif self.backward and node in self.state_of:
                array = self.state_array(self.state_of[node], elementwise=True)
                read(node, f"load({pointer(self.at(array, 'now'))} + u)")
            elif node.op == "state":
                read(node, f"load({pointer(self.before(node.name, True))} + u)")
            elif node.op == "parameter":
                self.array("parameters", 0, stored=False)
                place = self.parameters.index(node.name)
                read(node, f"load({pointer(self.at('parameters', 'fixed', place))} + u)")
            elif node.op == "input":
                self.array("input")
                read(node, f"load({pointer(self.at('input', 'now'))} + u)")
            elif node.op == "slot":
                read(node, self.slot(node, accumulators, pointer))
            elif node.op == "gradient":
                name = self.seeds[node]
                if name == "output":
                    self.array("d_output")
                    read(node, f"load({pointer(self.at('d_output', 'now'))} + u)")
                elif name.startswith("operand:"):
                    read(node, self.sum_of(accumulators[node]))
                else:
                    names[node] = f"carried_{name.removeprefix('state:')}"
            elif node.op in ("row_sum", "row_max"):
                place = self.reductions[node]
                made = self.stage_of[node] - 1
                total = "+= part[i]" if node.op == "row_sum" else "= part[i] > r ? part[i] : r"
                before += [
                    f"V v{node.index};",
                    "{",
                    "    const T* part = (const T*)s.call->partials + "
                    f"(row * REDUCTIONS + {place}) * most_tiles(*s.call);",
                    "    T r = part[0];",
                    f"    for (int64_t i = 1; i < tiles<Stage{made}>(*s.call); ++i) r {total};",
                    f"    v{node.index} = splat<T>(r);",
                    "}",
                ]
                names[node] = f"v{node.index}"
            else:
                read(node, self.expression(node, value))
        for name, v in outputs:
            if self.stage_number(v) == number:
                self.output(name, v, pointer, write, value, before, inside)
        for node, made in self.made_in.items():
            if made == number:
                place = self.spilled.setdefault(node, len(self.spilled))
                self.array("spill", 0, stored=False)
                write(pointer(self.spill(place)), node)
        for node, place in self.reductions.items():
            if self.stage_of[node] == number + 1:
                empty = "splat<T>(0)" if node.op == "row_sum" else "splat<T>(-__builtin_inf())"
                before.append(f"V r{place} = {empty};")
                v = value(node.args[0])
                if node.op == "row_sum":
                    inside.append(f"r{place} += left < L ? keep_first({v}, int(left)) : {v};")
                    total = f"sum(r{place})"
                else:
                    inside.append(
                        f"r{place} = maximum(r{place}, left < L ? "
                        f"first_or_lowest({v}, int(left)) : {v});"
                    )
                    total = f"largest(r{place})"
                after.append(
                    f"((T*)s.call->partials)[(row * REDUCTIONS + {place}) * "
                    f"most_tiles(*s.call) + tile] = {total};"
                )
        return prelude, before, inside, after

    def spill(self, place: int) -> str:
        view = self.views.setdefault(("spill", "fixed"), len(self.views))
        return f"((T*)s.view[{view}] + (row * SPILLED + {place}) * W)"

    def slot(self, node: Node, accumulators: dict[Node, int], pointer) -> str:
        """The input's share, or else the bias, and the sum of the recurrent products."""
        i = self.slot_of[node]
        slot = self.program.slots[i]
        parts = []
        if slot.gate is not None:
            hoisted = [s for s in self.program.slots if s.gate is not None]
            self.array("hoisted", len(hoisted), stored=False)
            parts.append(f"load({pointer(self.at('hoisted', 'now', hoisted.index(slot)))} + u)")
        elif any(b in self.program.cell.recurrent_bias_names for _, b in slot.pairs):
            self.array("bias", 0, stored=False)
            parts.append(f"load({pointer(self.at('bias', 'fixed', i))} + u)")
        if slot.pairs:
            parts.append(self.sum_of(accumulators[node]))
        return " + ".join(parts)

    def sum_of(self, place: int) -> str:
        return f"acc[{place} * NV + v]"

    def expression(self, node: Node, value) -> str:
        args = node.args
        infix = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
        infix |= {"less": "<", "less_equal": "<=", "equal": "==", "both": "&", "either": "|"}
        if node.op in infix:
            return f"{value(args[0])} {infix[node.op]} {value(args[1])}"
        if node.op == "neg":
            return f"-{value(args[0])}"
        if node.op == "negate":
            return f"~{value(args[0])}"
        if node.op == "relu":
            return f"where({value(args[0])} <= splat<T>(0), splat<T>(0), {value(args[0])})"
        if node.op == "stop":
            return value(args[0])
        return f"throughtime::{node.op}({', '.join(value(a) for a in args)})"

    def incoming(self, nodes, accumulators: dict[Node, int], pointer, inside: list[str]) -> None:
        """The gradient of each state, from the steps after this one and from the last state."""
        for k in self.program.states:
            leaf = self.program.seeds[f"state:{k}"]
            name = f"carried_{k}"
            parts = []
            if self.is_carried(k):
                self.array(f"d_state:{k}", stored=False)
                held = pointer(self.at(f"d_state:{k}", "fixed"))
                parts.append(f"load({held} + u)")
            if leaf in accumulators:
                parts.append(self.sum_of(accumulators[leaf]))
            self.array(f"d_last:{k}", stored=False)
            self.array(f"d_initial:{k}", stored=False)
            last = pointer(self.at(f"d_last:{k}", "fixed"))
            initial = pointer(self.at(f"d_initial:{k}", "fixed"))
            inside += [
                f"V {name} = {' + '.join(parts) or 'splat<T>(0)'};",
                "if (flag & (RESTART | END | BEFORE)) {",
                f"    if (flag & END) {name} = load({last} + u);",
                f"    else {{ add_to({initial} + u, {name}); {name} = V{{}}; }}",
                "}",
                f"(void){name};",
            ]
        inside += ["if (is_before) continue;", "// equations"]

    def is_carried(self, k: str) -> bool:
        """Whether a gradient flows to the state of the step before other than by a product."""
        return self.program.gradients[self.program.graph.leaf("state", k)] != 0.0

    def output(
        self, name: str, v: Operand, pointer, write, value, before: list[str], inside: list[str]
    ) -> None:
        kind, _, which = name.partition(":")
        if not self.backward:
            if kind == "state":
                for elementwise in (False, True):
                    array = self.state_array(which, elementwise)
                    line = f"put({pointer(self.at(array, 'now'))} + u, {value(v)}, left);"
                    if line not in inside:
                        inside.append(line)
            elif kind == "saved":
                if isinstance(v, Node) and v in self.state_of:
                    return
                self.array("saved", len(self.saved), stored=False)
                place = pointer(self.at("saved", "now", int(which)))
                view = self.views["saved", "now"]
                if "const bool saves" not in " ".join(before):
                    before.append(f"const bool saves = s.view[{view}] != nullptr;")
                inside.append(f"if (saves) put({place} + u, {value(v)}, left);")
            else:
                self.array(name)
                write(pointer(self.at(name, "now")), v)
            return
        if kind == "slot":
            self.array("d_slots", len(self.program.slots))
            write(pointer(self.at("d_slots", "now", int(which))), v)
        elif kind == "d_state":
            if self.is_carried(which):
                self.array(name, stored=False)
                write(pointer(self.at(name, "fixed")), v)
        elif kind == "d_input":
            self.array("d_input")
            write(pointer(self.at("d_input", "now")), v)
        if name in self.result.sums and v != 0.0:
            place = self.result.sums.index(name)
            write(pointer(f"((T*)s.sums + {place} * W)"), v, add=True)


def state_kinds(program: Program, name: str) -> set[str]:
    """How a state is kept where storage and compute types differ.

    ``state``: in the storage type, to be an operand or the output. ``value``: in the compute type,
    to compute with; also where nothing else asks for it.
    """
    kinds = set()
    if name in program.fed_back or name == program.output_state:
        kinds.add("state")
    leaf = program.graph.leaf("state", name)
    forward = reachable([*program.states.values(), program.output, *program.operands])
    if leaf in forward or not kinds:
        kinds.add("value")
    return kinds


def _number(value: float) -> str:
    if math.isnan(value):
        return '__builtin_nan("")'
    if math.isinf(value):
        return "__builtin_inf()" if value > 0 else "-__builtin_inf()"
    return repr(value)


def _cpp(value: bool) -> str:
    return "true" if value else "false"


def _list(values: Iterable[int]) -> str:
    return ", ".join(str(v) for v in values)
