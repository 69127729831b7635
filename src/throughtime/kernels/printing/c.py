"""``graph -> C``: one step of a cell as a C99 function, for a program without Python.

The values of a step are computed in stages. A stage begins with what reads whole rows: products
with matrices, sums over the units, maps between rows. Then follow loops over the units, one for
each width of a row, which hold all other operations. A loop has no branch and no sum over its
steps, so that compilers turn it into vector instructions without being allowed to reorder sums.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from throughtime.kernels.graph.functions import Untraceable
from throughtime.kernels.graph.graph import Node, Operand, is_mask
from throughtime.kernels.graph.maps import Cumsum, Map
from throughtime.kernels.graph.trace import Product, Step
from throughtime.kernels.printing.c_order import ACROSS, Layout, MatrixUse, StepOrder
from throughtime.kernels.printing.c_text import identifier, loop, number
from throughtime.kernels.printing.formulas import CALL, CHOICE, LESS, PRODUCT, SUM, Formulas

__all__ = ["FUNCTIONS", "StepInC", "step_in_c"]

# Comparisons inside & and | have brackets: the precedence of these operators surprises.
_INFIX = {
    "add": ("+", SUM),
    "sub": ("-", SUM),
    "mul": ("*", PRODUCT),
    "div": ("/", PRODUCT),
    "less": ("<", LESS),
    "less_equal": ("<=", LESS),
    "equal": ("==", LESS),
}
_BITWISE = {"both": "&", "either": "|"}
_PREFIX = {"neg": "-", "negate": "!"}
# The functions of math.h, and those of arithmetic.c.
_MATH = {
    **{name: name for name in ("expm1", "log", "log1p", "sqrt", "sin", "cos", "erf", "pow")},
    **{name: name for name in ("floor", "ceil", "trunc", "fmod")},
    "abs": "fabs",
    "round": "rint",
}
_OWN = ("exp", "tanh", "sigmoid", "softplus", "log_sigmoid", "relu", "sign", "remainder")
_OWN = (*_OWN, "maximum", "minimum")
_OTHER = ("reciprocal", "rsqrt", "where", "stop")

FUNCTIONS = frozenset({*_INFIX, *_BITWISE, *_PREFIX, *_MATH, *_OWN, *ACROSS, *_OTHER})
"""The operations of the graph that can be written: all of them."""

# A map with more runs of neighbouring units than this is written as a table of indices.
_MOST_RUNS = 4


@dataclass
class StepInC:
    """The statements of a step.

    Args:
        lines: the statements. They read ``x``, ``u_NAME`` for a further input, ``p_NAME`` for a
            parameter, ``s_NAME`` for a state and the arrays of the matrices; they write the states
            and ``y``, and use ``scratch``.
        matrices: the matrices.
        scratch: the number of numbers in ``scratch``.
        functions: how often a unit's function is called in one step, by name.
        operations: the number of additions, multiplications and divisions outside the products.
    """

    lines: list[str] = field(default_factory=list)
    matrices: list[MatrixUse] = field(default_factory=list)
    scratch: int = 0
    functions: Counter[str] = field(default_factory=Counter)
    operations: int = 0


def step_in_c(step: Step, layout: Layout) -> StepInC:
    """Writes one step.

    Raises:
        Untraceable: if the step cannot run with so many units.
    """
    if problem := step.graph.problem(layout.H):
        raise Untraceable(problem)
    return _Writer(step, layout).write()


class _Writer(Formulas):
    """Writes the statements of a step; see :func:`step_in_c`.

    Attributes:
        home: the array of each value that is stored for other loops, or that comes from outside.
        local: the name of each value that has one in the present loop, or in the whole function.
    """

    infix, prefix = _INFIX, _PREFIX

    def __init__(self, step: Step, layout: Layout) -> None:
        super().__init__(layout.H)
        self.step, self.layout, self.real = step, layout, layout.real
        self.order = StepOrder(step, layout)
        self.home: dict[Node, str] = {}
        self.local: dict[Node, str] = {}
        self.result = StepInC()

    def write(self) -> StepInC:
        """The statements."""
        self._place()
        for stage in range(max(self.order.stages.values(), default=0) + 1):
            of_stage = [n for n in self.order.nodes if self.order.stages[n] == stage]
            self._write_whole_rows(of_stage)
            for node in of_stage:
                if node.kind in ("column", "number") and not self.order.is_outside(node):
                    if node not in self.local:
                        self._name(node, self.result.lines)
            self._write_loops(of_stage)
        self._write_rest()
        return self.result

    # Where values are stored.

    def _place(self) -> None:
        """Decides which values are stored, and where."""
        for node in self.order.nodes:
            name = identifier(node.name)
            if node.op == "state":
                self.home[node] = f"s_{name}"
            elif node.op == "input":
                self.home[node] = "x" if name == "x" else f"u_{name}"
                if name != "x" and self.step.cell.input_specs[node.name].size == 1:
                    self._place_number(node)
            elif node.op == "parameter":
                self.home[node] = f"p_{name}"
            elif self.order.is_constant(node):
                self.home[node] = f"c{node.index}"
                place = self.layout.constant(node)
                self.result.lines.append(f"const {self.real} *const c{node.index} = {place};")
        self._place_states()
        for node in self.order.nodes:
            if node in self.home or node.kind not in ("row", "unit") or self.order.is_outside(node):
                continue
            readers = self.order.readers(node)
            is_whole = any(self.order.is_across(n) for n in readers)
            is_late = any(self.order.stages[n] > self.order.stages[node] for n in readers)
            is_last = node in self._waiting.values()
            if is_whole or is_late or is_last or self.order.is_across(node):
                self.home[node] = f"v{node.index}"
        self._declare()

    def _place_number(self, node: Node) -> None:
        """Places a further input of one number, which stands for each unit of a row."""
        one = f"{self.home[node]}[0]"
        self.local[node] = one
        if any(self.order.is_across(n) for n in self.order.readers(node)):
            # An operation that reads whole rows needs the number as often as there are units.
            self.home[node] = f"wide_{self.home[node]}"
            self._scratch(self.home[node], self.order.widths[node])
            fill = f"{self.home[node]}[k] = {one};"
            self.result.lines += loop(self.order.widths[node], [fill])

    def _place_states(self) -> None:
        """Decides which next states are written into the array of the state at once.

        That is possible once nothing reads the old state any more. The others are stored elsewhere,
        and copied at the end.
        """
        self._waiting: dict[str, Operand] = {}
        for name, value in self.step.states.items():
            old = next((n for n in self.order.nodes if n.op == "state" and n.name == name), None)
            readers = [] if old is None else self.order.readers(old)
            last = max((self.order.stages[n] for n in readers), default=0)
            is_kept = (
                old is not None and any(v is old for v in self.order.roots) and value is not old
            )
            if (
                isinstance(value, Node)
                and not self.order.is_outside(value)
                and not self.order.is_across(value)
                and value.kind in ("row", "unit")
                and value not in self.home
                and self.order.stages[value] >= last
                and not is_kept
            ):
                self.home[value] = f"s_{identifier(name)}"
            elif value is not old:
                self._waiting[name] = value

    def _declare(self) -> None:
        """Gives every stored value its place in the scratch memory."""
        lines, uses = self.result.lines, self._matrix_uses()
        self._use_of: dict[Node, tuple[MatrixUse, int]] = {}
        for use, products in uses:
            rows = [self.layout.rows[p.matrix, p.block] for p in products]
            whole = f"{use.name}_sums"
            self._scratch(whole, sum(rows))
            offset = 0
            for p, width in zip(products, rows, strict=True):
                # A block may be multiplied with several values; each product has its own name.
                name = f"{p.matrix}_{identifier(p.block)}"
                name += f"_{p.result.index}" * (name in self.home.values())
                lines.append(f"const {self.real} *const {name} = {whole} + {offset};")
                self.home[p.result] = name
                self._use_of[p.result] = (use, offset)
                offset += width
        for node, name in self.home.items():
            if name == f"v{node.index}":
                self._scratch(name, self.order.widths[node])
        self._copies: dict[str, str] = {}
        for name, value in self._waiting.items():
            if isinstance(value, Node) and value.op == "state":
                # The state that is read may be overwritten before the copy is made.
                read, written = identifier(value.name), identifier(name)
                self._copies[name] = f"old_{read}_for_{written}"
                self._scratch(self._copies[name], self.layout.states[name])
                width = self.layout.states[value.name]
                lines += loop(width, [f"{self._copies[name]}[k] = s_{read}[k];"])

    def _scratch(self, name: str, width: int) -> None:
        place = f"scratch + {self.result.scratch}"
        self.result.lines.append(f"{self.real} *restrict const {name} = {place};")
        self.result.scratch += width

    def _matrix_uses(self) -> list[tuple[MatrixUse, list[Product]]]:
        """The products, those of one matrix with one value joined."""
        groups: dict[tuple[str, Node], list[Product]] = {}
        for node in self.order.nodes:
            if node in self.order.product:
                p = self.order.product[node]
                groups.setdefault((p.matrix, p.operand), []).append(p)
        uses: list[tuple[MatrixUse, list[Product]]] = []
        for (letter, operand), products in groups.items():
            blocks = tuple(p.block for p in products)
            name = f"{letter}_{'_'.join(map(identifier, blocks))}{self.layout.suffix}"
            # A block may be multiplied with several values: their arrays have one name each.
            known = sum(use.name.startswith(name) for use, _ in uses)
            use = MatrixUse(
                name + f"_{known + 1}" * bool(known), letter, blocks, self.order.widths[operand]
            )
            self.result.matrices.append(use)
            uses.append((use, products))
        return uses

    # Statements.

    def _write_whole_rows(self, of_stage: Sequence[Node]) -> None:
        lines = self.result.lines
        for node in of_stage:
            if node in self.order.product:
                use, offset = self._use_of[node]
                if offset == 0:
                    operand = self._whole(self.order.product[node].operand)
                    lines += self.layout.product(use, operand, f"{use.name}_sums")
            elif node.op in ACROSS:
                (argument,) = node.args
                assert isinstance(argument, Node)
                width = self.order.widths[argument]
                row = self._whole(argument)
                call = f"{self.layout.prefix}{node.op}({width}, {row})"
                lines.append(f"const {self.real} v{node.index} = {call};")
                self.local[node] = f"v{node.index}"
                self.result.operations += width
            elif isinstance(node.rule, Map):
                self._write_map(node, node.rule)

    def _write_map(self, node: Node, rule: Map) -> None:
        """Writes a map between rows; see :mod:`throughtime.kernels.graph.maps`."""
        lines, width = self.result.lines, self.order.widths[node]
        (argument,) = node.args
        assert isinstance(argument, Node)
        to, source = self.home[node], self._whole(argument)
        if isinstance(rule, Cumsum):
            ahead = f"{width} - 1 - k" if rule.is_transposed else "k"
            lines += ["{", f"    {self.real} total = {self.number(0.0)};"]
            body = [f"total += {source}[{ahead}];", f"{to}[{ahead}] = total;"]
            lines += [f"    {line}" for line in loop(width, body)] + ["}"]
            return
        written, read = (v.tolist() for v in rule.pairs(self.H))
        if sorted(written) != list(range(width)):
            lines += loop(width, [f"{to}[k] = {self.number(0.0)};"])
        is_sum = len(set(written)) < len(written)
        sign = "+=" if is_sum else "="
        runs = _runs(written, read)
        if len(runs) > _MOST_RUNS:
            for name, units in (("to", written), ("from", read)):
                numbers = ", ".join(map(str, units))
                table = f"{name}_{node.index}"
                lines.append(f"static const int {table}[{len(units)}] = {{{numbers}}};")
            place = f"{to}[to_{node.index}[k]] {sign} {source}[from_{node.index}[k]];"
            lines += loop(len(written), [place])
            return
        for first, start, step, count in runs:
            at, taken = _index(first, 1), _index(start, step)
            lines += loop(count, [f"{to}[{at}] {sign} {source}[{taken}];"])

    def _whole(self, value: Operand) -> str:
        """The array of a row."""
        if not isinstance(value, Node) or value.kind not in ("row", "unit"):
            raise Untraceable("a product is applied to a value with one number for all units")
        return self.home[value]

    def _write_loops(self, of_stage: Sequence[Node]) -> None:
        """Writes the loops over the units, one for each width."""
        rows = [n for n in of_stage if self._is_in_a_loop(n)]
        for width in dict.fromkeys(self.order.widths[n] for n in rows):
            body: list[str] = []
            stores: list[str] = []
            around = dict(self.local)
            for node in rows:
                if self.order.widths[node] != width:
                    continue
                if self.order.uses[node] > 1:
                    self._name(node, body)
                if node in self.home:
                    stores.append(f"{self.home[node]}[k] = {self._stored(node)};")
                if node is self.step.output:
                    stores.append(f"y[k] = {self._stored(node)};")
                self._count(node, width)
            self.result.lines += loop(width, [*body, *stores])
            self.local = around
        for node in of_stage:
            if node.op == "spread" and node in self.home:
                value = self.element(node.args[0], CHOICE)
                width = self.order.widths[node]
                self.result.lines += loop(width, [f"{self.home[node]}[k] = {value};"])

    def _is_in_a_loop(self, node: Node) -> bool:
        """Whether a loop over the units computes the value."""
        is_elsewhere = self.order.is_outside(node) or self.order.is_across(node)
        return node.kind == "row" and not is_elsewhere and node.op != "spread"

    def _stored(self, node: Node) -> str:
        """A value as a number, which an array can hold: of a mask 1 or 0."""
        value = self.element(node, CHOICE)
        return f"({self.real})({value})" if is_mask(node) else value

    def _name(self, node: Node, lines: list[str]) -> None:
        """Writes the line that gives a value a name."""
        name = self.order.called.get(node, f"n{node.index}")
        kind = "int" if is_mask(node) else self.real
        lines.append(f"const {kind} {name} = {self.formula(node, CHOICE)};")
        self.local[node] = name

    def _write_rest(self) -> None:
        """Writes the next states that have waited, and an output that no loop has written."""
        lines = self.result.lines
        for name, value in self._waiting.items():
            source = (
                f"{self._copies[name]}[k]" if name in self._copies else self.element(value, CHOICE)
            )
            lines += loop(self.layout.states[name], [f"s_{identifier(name)}[k] = {source};"])
        output = self.step.output
        if isinstance(output, Node) and self._is_in_a_loop(output):
            return
        width = self.layout.states.get(self.step.cell.output_name, self.H)
        source = self.element(output, CHOICE)
        if isinstance(output, Node) and output.op == "state":
            # The output is the old state, so it is written before the state is.
            copy = loop(width, [f"y[k] = s_{identifier(output.name)}[k];"])
            self.result.lines[:] = [*copy, *lines]
            return
        lines += loop(width, [f"y[k] = {source};"])

    def _count(self, node: Node, width: int) -> None:
        """Adds an operation on each unit of a row to the counts."""
        if node.op in (*_MATH, *_OWN) and node.op not in ("abs", "relu", "maximum", "minimum"):
            self.result.functions[node.op] += width
        elif node.op != "stop":
            self.result.operations += width

    # Formulas.

    def number(self, value: float) -> str:
        return number(value, self.real)

    def known(self, node: Node) -> str | None:
        if node in self.local:
            return self.local[node]
        if node.op == "spread":
            return self.element(node.args[0], CALL)
        if node not in self.home:
            return None
        at = f"{self.home[node]}[k]"
        return f"({at} > {self.number(0.5)})" if is_mask(node) else at

    def formula(self, node: Node, level: int) -> str:
        if node.op in _BITWISE:
            left, right = (self.element(a, CALL) for a in node.args)
            left, right = (t if _is_word(t) else f"({t})" for t in (left, right))
            written = f"{left} {_BITWISE[node.op]} {right}"
            return written if level == CHOICE else f"({written})"
        return super().formula(node, level)

    def call(self, op: str, args: list[str]) -> str:
        inside = ", ".join(args)
        if op in _MATH:
            return f"{_MATH[op]}{'f' * (self.real == 'float')}({inside})"
        if op not in _OWN:
            raise Untraceable(f"the operation {op} cannot be written as C")
        return f"{self.layout.prefix}{op}({inside})"

    def choice(self, mask: Operand, yes: Operand, no: Operand, level: int) -> str:
        inside = ", ".join(self.element(a, CHOICE) for a in (mask, yes, no))
        return f"{self.layout.prefix}select({inside})"


def _runs(written: Sequence[int], read: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Cuts index pairs into runs of neighbouring written units.

    Returns:
        For each run the first written unit, the first read unit, the distance of the read units,
        and their number.
    """
    runs: list[tuple[int, int, int, int]] = []
    for to, source in zip(written, read, strict=True):
        if runs:
            first, start, step, count = runs[-1]
            distance = source - start if count == 1 else step
            if to == first + count and source == start + distance * count:
                runs[-1] = (first, start, distance, count + 1)
                continue
        runs.append((to, source, 1, 1))
    return runs


def _index(start: int, step: int) -> str:
    """The index ``start + step * k``."""
    moved = "k" if step == 1 else f"{step} * k"
    if step < 0:
        moved = "k" if step == -1 else f"{-step} * k"
        return f"{start} - {moved}"
    return f"{start} + {moved}" if start else moved


def _is_word(text: str) -> bool:
    return text.replace("_", "").isalnum() or text.startswith("(")
