r"""``graph -> text and LaTeX``: the equations of a cell, and the backward step derived from them.

What is printed is the graph that the kernels are made of and its derivative, not a second
statement. Only the form is worked on: values get the names that the step returns, what is used
more than once and takes more than a glance gets a name of its own, common factors stand before a
bracket.

Letters: ``W_i x_t`` a product of a matrix and a vector, ``*`` elementwise; ``dc_t`` the gradient of
a value, ``δi_t`` that of what enters gate i, before its nonlinearity; ``dc'_t`` the part of dc_t
that step t + 1 sends back; ``Δ_t`` the gradient that the loss sends to the output.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from throughtime.cells.cell import Cell
from throughtime.kernels.differentiate import gradients
from throughtime.kernels.expressions import (
    ONE,
    ZERO,
    Apply,
    Call,
    Expr,
    Infix,
    Name,
    Outer,
    Power,
    Sum,
    Term,
    as_plain,
    as_term,
    as_terms,
    is_gradient,
    parts_of,
    sum_of,
    without_factors,
    write_expression,
)
from throughtime.kernels.graph import LEAVES, Graph, Node, Operand, reachable
from throughtime.kernels.trace import Product, trace

__all__ = ["Equations", "describe"]


# What describe returns.


@dataclass(frozen=True)
class Line:
    """One equation. Where ``summed``, the value is added up over all steps."""

    name: Expr
    value: Expr
    summed: bool = False

    def text(self) -> tuple[str, str]:
        summed = self.summed and self.value != ZERO
        value = write_expression(self.value, False, 2 if summed else 0)
        return write_expression(self.name, False), f"Σ_t {value}" if summed else value

    def latex(self) -> str:
        summed = self.summed and self.value != ZERO
        value = write_expression(self.value, True, 2 if summed else 0)
        over_time = r"\sum_t " if summed else ""
        return f"{write_expression(self.name, True)} &= {over_time}{value}"


@dataclass(frozen=True)
class Equations:
    """The equations of a cell and of its backward step.

    Args:
        title: the name of the cell.
        output: the name of what the layer gives out.
        forward_lines: one step, in an order in which it can be computed.
        backward_lines: its backward step, likewise; last what goes to the step before, and dx_t.
        gradient_lines: the gradients of the weights, sums over all steps.
        note: what else is to be known.
    """

    title: str
    output: str
    forward_lines: tuple[Line, ...]
    backward_lines: tuple[Line, ...]
    gradient_lines: tuple[Line, ...]
    note: str = ""

    @property
    def forward(self) -> list[tuple[str, str]]:
        """The forward equations, each a name and a text."""
        return [line.text() for line in self.forward_lines]

    @property
    def backward(self) -> list[tuple[str, str]]:
        """The backward step and then the gradients of the weights, each a name and a text."""
        return [line.text() for line in (*self.backward_lines, *self.gradient_lines)]

    def text(self, width: int = 96) -> str:
        """All equations as text, long ones in several lines."""
        back = (
            f"backward, t = T ... 1; Δ_t comes from the loss to {self.output}, "
            "the primed from step t + 1"
        )
        parts = [
            ("forward, t = 1 ... T", self.forward_lines),
            (back, self.backward_lines),
            ("gradients of the weights", self.gradient_lines),
        ]
        out = [self.title]
        for heading, lines in parts:
            out += ["", heading]
            for name, value in (line.text() for line in lines):
                out += _wrapped(f"  {name} = ", value, width)
        out += ["", self.note] if self.note else []
        return "\n".join(out) + "\n"

    def latex(self) -> str:
        """All equations as an ``align*`` block of amsmath."""
        parts = (self.forward_lines, self.backward_lines, self.gradient_lines)
        blocks = [" \\\\\n".join(f"  {line.latex()}" for line in lines) for lines in parts if lines]
        body = " \\\\[1ex]\n".join(blocks)
        note = f"% {self.note}\n" if self.note else ""
        return f"{note}\\begin{{align*}}\n{body}\n\\end{{align*}}\n"


def _wrapped(start: str, value: str, width: int) -> list[str]:
    lines, line = [], start
    for number, word in enumerate(re.split(r" (?=[+-] )", value)):
        if number and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = " " * (len(start) - 2) + word
        else:
            line += f" {word}" if number else word
    return [*lines, line]


_TRANSFORMED = (
    "The blocks R are those that transform makes of the learned ones; their gradients go on to "
    "those through it."
)


def describe(cell: Cell) -> Equations:
    """The equations of a cell, and the backward step that follows from them.

    Args:
        cell: any cell, registered or not.

    Raises:
        Untraceable: where the step does what no graph can hold; the message says what.

    >>> from throughtime import cells
    >>> for name, value in describe(cells.get("rnn-tanh")).backward[:3]:
    ...     print(name, "=", value)
    dh_t = Δ_t + dh'_t
    δh_t = dh_t * (1 - h_t^2)
    dh'_{t-1} = R_h^T δh_t
    """
    return _Description(cell).equations()


class _Description:
    """Gives names to the values of a step and of its backward step, and writes both down."""

    def __init__(self, cell: Cell) -> None:
        step = trace(cell)
        self.cell, self.graph = cell, Graph()
        self.output = cell.output_name
        named = {**step.states, **{self.output: step.output}, **step.others}
        operands = [p.operand for p in step.products]
        copied = self.graph.copy([*named.values(), *operands], {})
        self.values: dict[str, Operand] = dict(zip(named, copied, strict=False))
        self.products = [
            replace(p, operand=v, result=self.graph.leaf("product", p.result.name))
            for p, v in zip(step.products, copied[len(named) :], strict=True)
            if isinstance(v, Node)
        ]
        self.of_leaf = {p.result: p for p in self.products}

        lasting = [self.values[name] for name in dict.fromkeys([*cell.state_specs, self.output])]
        self.live = self._needed(lasting)
        self.shown = self._needed(self.values.values())
        self.shown_set = set(self.shown)
        self.taken: set[str] = set()
        self._name_weights()
        self._name_values()
        self._differentiate()
        self._name_deltas()
        self._name_what_is_used_twice()

    def _needed(self, roots: Iterable[Operand]) -> list[Node]:
        """What the roots are computed from, through the products too."""
        roots = list(roots)
        while True:
            found = reachable(roots)
            more = [self.of_leaf[n].operand for n in found if n in self.of_leaf]
            if set(more) <= set(found):
                return found
            roots = [*found, *more]

    # Names.

    def _take(self, base: str, mark: str = "", time: str = "t") -> Name:
        name, count = Name(base, mark, time), 1
        while write_expression(name, False) in self.taken:
            count += 1
            name = Name(f"{base}{count}", mark, time)
        self.taken.add(write_expression(name, False))
        return name

    def _name_weights(self) -> None:
        """Matrices, biases, parameters; which products share one bias."""
        self.loss = replace(self._take("Δ"), of_gradient=True)
        self.parameters = {name: self._take(name, time="") for name in self.cell.parameter_specs}
        self.products = [p for p in self.products if p.result in self.shown_set]
        self.matrices: dict[tuple[str, str], Name] = {}
        self.of_bias: dict[tuple[str, str], Name] = {}
        # The product after which a bias stands; that of the partner is part of it.
        self.silent: set[Node] = set()
        by_block: dict[tuple[str, str], list[Product]] = {}
        for matrix, blocks in (("W", self.cell.gates), ("R", self.cell.recurrent_block_names)):
            for block in blocks:
                self.matrices[matrix, block] = self._take(f"{matrix}_{block}", time="")
                found = [p for p in self.products if (p.matrix, p.block) == (matrix, block)]
                by_block[matrix, block] = found
        uses, users = self._uses()
        for gate in self.cell.gates:
            own = {m: by_block.get((m, gate), []) for m in ("W", "R")}
            alone = [m for m in ("W", "R") if own[m]]
            if len(alone) == 1:
                self.of_bias[alone[0], gate] = self._take(f"b_{gate}", time="")
                continue
            tops = {self._top(p.result, uses, users) for m in alone for p in own[m]}
            if all(len(own[m]) == 1 for m in alone) and len(tops) == 1 and alone:
                bias = self._take(f"b_{gate}", time="")
                self.of_bias["W", gate] = self.of_bias["R", gate] = bias
                self.silent.add(own["R"][0].result)
            else:
                for matrix in alone:
                    bias = self._take(f"b_{matrix}{gate}", time="")
                    self.of_bias[matrix, gate] = bias
        self.biases = set(self.of_bias.values())

    def _uses(self) -> tuple[Counter[Node], dict[Node, Node]]:
        uses: Counter[Node] = Counter(v for v in self.values.values() if isinstance(v, Node))
        users: dict[Node, Node] = {}
        for node in self.shown:
            for argument in node.args:
                if isinstance(argument, Node):
                    uses[argument] += 1
                    users[argument] = node
        uses.update(p.operand for p in self.products)
        return uses, users

    def _top(self, node: Node, uses: Counter[Node], users: dict[Node, Node]) -> Node:
        """The sum that the value is a term of; itself where it is none of one sum alone."""
        while uses[node] == 1 and node in users and users[node].op == "add":
            node = users[node]
        return node

    def _name_values(self) -> None:
        """What the step returns, what it is given, and its names by node."""
        self.names: dict[Node, Name] = {}
        self.forward: dict[Name, Operand] = {}
        given = {name: self._take(name) for name in self.values}
        for name, value in self.values.items():
            self.forward[given[name]] = value
            if isinstance(value, Node) and value.op not in ("state", "input", "parameter"):
                self.names.setdefault(value, given[name])
        self.written_output = given[self.output]
        self.state = {name: given[name] for name in self.cell.state_specs}
        self.x = self._take("x")
        for name, written in self.parameters.items():
            self.names[self.graph.leaf("parameter", name, "unit")] = written
        for name, written in self.state.items():
            self.names[self.graph.leaf("state", name)] = replace(written, time="t-1")
        self.names[self.graph.leaf("input", "x")] = self.x
        self.names[self.graph.leaf("units", "H", "number")] = Name("H")

    def _differentiate(self) -> None:
        live = set(self.live)
        self.inner = list(
            dict.fromkeys(
                p.operand
                for p in self.products
                if p.result in live and p.operand.op not in ("state", "input", "parameter")
            )
        )
        leaf = self.graph.leaf
        seeds: list[tuple[Operand, Operand]] = []
        for name, written in self.state.items():
            seed = leaf("gradient", f"state:{name}")
            self.names[seed] = replace(written, mark="d", prime=True)
            seeds.append((self.values[name], seed))
        seed = leaf("gradient", "output")
        self.names[seed] = self.loss
        seeds.append((self.values[self.output], seed))
        # What the products send to a value that the step makes; written out where it is used.
        self.sent = {leaf("gradient", f"operand:{i}"): v for i, v in enumerate(self.inner)}
        seeds += [(v, seed) for seed, v in self.sent.items()]
        leaves = [leaf("state", name) for name in self.cell.state_specs]
        leaves += [leaf("parameter", name, "unit") for name in self.cell.parameter_specs]
        self.d = gradients(self.graph, seeds, [*self.live, *leaves, leaf("input", "x")])

    def _name_deltas(self) -> None:
        """The gradients of the states, and of what enters the gates."""
        self.backward: dict[Name, Operand] = {}
        for name in dict.fromkeys([*self.cell.state_specs, self.output]):
            value = self.values[name]
            d = self.d.get(value, 0.0) if isinstance(value, Node) else 0.0
            if isinstance(d, Node) and d not in self.names and d not in self.sent:
                self._define(self._take(name, "d"), d)
        self.delta: dict[Node, Name] = {}
        groups: dict[Node, list[Product]] = {}
        for product in self.products:
            d = self.d.get(product.result, 0.0)
            if isinstance(d, Node):
                groups.setdefault(d, []).append(product)
        order = [*self.cell.gates, *self.cell.recurrent_block_names]
        taken: set[str] = set()
        for d, group in sorted(
            groups.items(), key=lambda g: min((p.matrix == "R", order.index(p.block)) for p in g[1])
        ):
            first = min(group, key=lambda p: p.matrix == "R")
            base = first.block if first.block not in taken else f"{first.matrix}{first.block}"
            taken.add(first.block)
            name = self._take(base, "δ")
            self._define(name, d)
            self.delta.update({p.result: name for p in group})

    def _define(self, name: Name, node: Node) -> None:
        self.names.setdefault(node, name)
        self.backward[name] = node

    def _name_what_is_used_twice(self) -> None:
        """Names for what is written more than once; those that turn out not to be, go again."""
        forward = self.shown_set
        self.held: dict[Node, Name] = {}
        once: set[Node] = set()
        while True:
            while (node := self._outermost_used_twice(once)) is not None:
                if node in self.sent and self.sent[node] not in self.names:
                    # What is sent to a value is called after the value, so that needs a name.
                    node = self.sent[node]
                self.held[node] = self.names[node] = Name(
                    f"?{node.index}", of_gradient=self._has_gradient(node)
                )
                (self.forward if node in forward else self.backward)[self.names[node]] = node
            lines = [*self._lines(self.forward), *self._lines(self.backward)]
            lines += [*self._flows(), *self._gradient_lines()]
            written = Counter(part for line in lines for part in parts_of(line.value))
            again = [n for n, h in self.held.items() if written[h] < 2 or self._is_simple(n)]
            if not again:
                break
            for node in again:
                name = self.held.pop(node)
                del self.names[node]
                (self.forward if node in forward else self.backward).pop(name)
            once.update(again)
        self._name_for_good()

    def _outermost_used_twice(self, once: set[Node]) -> Node | None:
        ahead, back = self._references()
        wanted = [
            n
            for n in {**ahead, **back}
            if n not in self.names
            and n not in once
            and (max(ahead[n], back[n]) > 1 or (ahead[n] + back[n] > 1 and self._multiplies(n)))
            and not self._is_simple(n)
        ]
        return max(wanted, key=lambda n: n.index, default=None)

    def _multiplies(self, node: Node) -> bool:
        """Whether a matrix stands in the value as it would be written."""
        inner = [a for a in node.args if isinstance(a, Node) and a not in self.names]
        return node.op == "product" or any(map(self._multiplies, inner))

    def _name_for_good(self) -> None:
        """Names that say what the values are where there are such, else letters in their order."""
        of_held = {name: node for node, name in self.held.items()}
        bases = {re.sub(r"\d+$", "", name.base) for name in self.names.values()}
        letters = [
            next((a for a in options if a not in bases), options[0]) for options in ("uvwsy", "egk")
        ]
        for equations, letter in zip((self.forward, self.backward), letters, strict=True):
            order = [line.name for line in _in_order(self._lines(equations))]
            held = [of_held[name] for name in order if isinstance(name, Name) and name in of_held]
            new: dict[Name, Name] = {}
            nameless: list[Node] = []
            for node in held:
                wish = self._wish(node)
                if wish is None:
                    nameless.append(node)
                else:
                    new[self.held[node]] = self.names[node] = self._take(*wish)
            for number, node in enumerate(nameless, 1):
                name = self._take(f"{letter}{number if len(nameless) > 1 else ''}")
                name = replace(name, of_gradient=self._has_gradient(node))
                new[self.held[node]] = self.names[node] = name
            renamed = [(new.get(name, name), node) for name, node in equations.items()]
            equations.clear()
            equations.update(renamed)

    @staticmethod
    def _has_gradient(node: Node) -> bool:
        return any(n.op == "gradient" for n in reachable([node]))

    def _references(self) -> tuple[Counter[Node], Counter[Node]]:
        """How often each value is written, in the forward equations and in the backward ones."""
        counts: tuple[Counter[Node], Counter[Node]] = Counter(), Counter()
        forward_roots = [*self.forward.values()]
        back = [*self.backward.values()]
        loose = [d for v, d in self.d.items() if v.op in ("state", "parameter", "input")]
        for count, roots in zip(counts, (forward_roots, [*back, *loose]), strict=True):
            seen: set[Node] = set()

            def visit(node: Node, count: Counter[Node] = count, seen: set[Node] = seen) -> None:
                if node in seen:
                    return
                seen.add(node)
                args: list[Operand] = list(node.args)
                if node in self.of_leaf:
                    args = [self.of_leaf[node].operand]
                for argument in args:
                    if isinstance(argument, Node):
                        count[argument] += 1
                        if argument not in self.names:
                            visit(argument)

            for root in dict.fromkeys(r for r in roots if isinstance(r, Node)):
                visit(root)
            for root in loose if count is counts[1] else ():
                if isinstance(root, Node):
                    count[root] += 1
        for product in self.products:
            counts[1][product.operand] += product.result in self.delta
        return counts

    def _is_simple(self, node: Node) -> bool:
        """Whether it takes no more than a glance: tanh(c_t), 1 - z_t, 1 - n_t^2."""
        never = ("product", "gradient", "row_sum", "row_max", "where")
        if node.op in never:
            return False
        inner, waiting, made = set[Node](), [node], set[Node]()
        while waiting:
            made.add(found := waiting.pop())
            for a in found.args:
                if isinstance(a, Node):
                    if a in self.names:
                        inner.add(a)
                    elif a.op in never:
                        return False
                    else:
                        waiting.append(a)
        return len(inner) <= 1 and len(made) <= 3

    def _wish(self, node: Node) -> tuple[str, str] | None:
        """The base and the mark of a name that says what the value is, if there is one."""
        if node in self.shown_set:
            if node in self.of_leaf:
                return f"{self.of_leaf[node].matrix}{self.of_leaf[node].block}", ""
            is_sum = node.op in ("add", "sub")
            within = node if is_sum else node.args[0] if len(node.args) == 1 else node
            waiting, blocks = [within], set[str]()
            while waiting:
                a = waiting.pop()
                if isinstance(a, Node) and a in self.of_leaf:
                    blocks.add(self.of_leaf[a].block)
                elif isinstance(a, Node) and a.op in ("add", "sub"):
                    waiting += a.args if a not in self.names or a is node else ()
            gates = [g for g in self.cell.gates if g in blocks]
            if len(gates) == 1 and (is_sum or f"{gates[0]}_t" not in self.taken):
                return (f"a_{gates[0]}" if is_sum else gates[0]), ""
            return None
        of = [v for v, d in self.d.items() if d is node and v.op not in LEAVES and v in self.names]
        of = [self.sent[node]] if node in self.sent else of
        return (self.names[of[0]].base, "d") if of else None

    # From nodes to expressions.

    def _expr(self, value: Operand, own: Name | None = None) -> Expr:
        """How the value is written: by its name, if it has one other than ``own``."""
        if not isinstance(value, Node):
            return Term(float(value))
        if value in self.names and self.names[value] != own:
            return self.names[value]
        if value in self.of_leaf:
            return sum_of(self._product_terms(self.of_leaf[value]))
        if value in self.sent:
            return self._sent_to(self.sent[value])
        a = [self._expr(v) for v in value.args]
        match value.op:
            case "add" | "sub":
                sign = -1.0 if value.op == "sub" else 1.0
                second = [replace(t, number=sign * t.number) for t in as_terms(a[1])]
                return self._added([*as_terms(a[0]), *second], value in self.shown_set)
            case "neg":
                return self._times(Term(-1.0), a[0])
            case "mul":
                return self._times(*a)
            case "div" | "reciprocal" | "rsqrt":
                below = Call("sqrt", (a[0],)) if value.op == "rsqrt" else a[-1]
                return self._over(a[0] if value.op == "div" else ONE, below)
            case "pow":
                return Power(a[0], float(value.args[1]) if isinstance(value.args[1], float) else 1)
            case "expm1":
                return sum_of([as_term(Call("exp", (a[0],))), Term(-1.0)])
            case "row_sum":
                number = as_term(a[0]).number
                rest = as_plain(replace(as_term(a[0]), number=1.0))
                return self._times(Term(number), Call("sum", (rest,)))
            case "log1p":
                return Call("log", (sum_of([ONE, *as_terms(a[0])]),))
            case "less" | "less_equal":
                # The number stands on the right.
                equal = "=" * (value.op == "less_equal")
                if isinstance(value.args[0], float):
                    return Infix(f">{equal}", (a[1], a[0]))
                return Infix(f"<{equal}", (a[0], a[1]))
            case "equal" | "both" | "either" | "negate":
                sign = {"equal": "==", "both": "&", "either": "|", "negate": "~"}[value.op]
                return Infix(sign, tuple(a))
            case "where" if isinstance(a[0], Infix) and a[0].sign[0] in "<>" and ZERO in a[1:]:
                if a[2] == ZERO:
                    return self._times(a[1], a[0])
                opposite = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}[a[0].sign]
                return self._times(a[2], Infix(opposite, a[0].args))
            case "row_max":
                return Call("max", tuple(a))
            case "maximum" | "minimum":
                return Call(value.op[:3], tuple(a))
            case _:
                return Call(value.op, tuple(a))

    def _product_terms(self, product: Product) -> list[Term]:
        matrix = self.matrices[product.matrix, product.block]
        terms = [as_term(Apply(matrix, False, self._expr(product.operand)))]
        bias = self.of_bias.get((product.matrix, product.block))
        if bias is not None and product.result not in self.silent:
            terms.append(as_term(bias))
        return terms

    def _sent_to(self, operand: Node) -> Expr:
        """What the products of a value send back to it."""
        found = [p for p in self.products if p.operand is operand and p.result in self.delta]
        return sum_of(
            as_term(Apply(self.matrices[p.matrix, p.block], True, self.delta[p.result]))
            for p in found
        )

    def _added(self, terms: list[Term], as_written: bool) -> Expr:
        """A sum; in the backward equations what all terms share stands before a bracket."""
        like: dict[tuple[Expr, ...], Term] = {}
        for term in terms:
            key = (*term.over, ONE, *term.under)
            like[key] = replace(term, number=term.number + (like[key].number if key in like else 0))
        terms = sorted((t for t in like.values() if t.number), key=self._place_in_sum)
        if not terms:
            return ZERO
        if terms[0].number < 0 and any(t.number > 0 for t in terms):
            terms.sort(key=lambda t: t.number < 0)
        if as_written or len(terms) < 2:
            return sum_of(terms)
        shared = Counter(terms[0].over)
        for term in terms[1:]:
            shared &= Counter(term.over)
        common = list(shared.elements())
        if not common:
            return sum_of(terms)
        rest: list[Term] = []
        for term in terms:
            rest += as_terms(as_plain(without_factors(term, common)))
        return self._times(*common, self._added(rest, True))

    def _place_in_sum(self, term: Term) -> int:
        first = term.over[0] if len(term.over) == 1 and not term.under else None
        if not term.over and not term.under:
            return 0
        if first == self.loss or (isinstance(first, Name) and first.prime):
            return 1 if first == self.loss else 2
        if isinstance(first, Apply):
            return 3 if first.matrix.base.startswith("W") else 4
        return 9 if first in self.biases else 5

    def _times(self, *factors: Expr) -> Expr:
        number, over, under = 1.0, [], []
        for factor in map(as_term, factors):
            number *= factor.number
            over += factor.over
            under += factor.under
        if number == 0.0:
            return ZERO
        of_gradient = any(map(is_gradient, over))
        over.sort(key=lambda f: self._place_in_product(f, over, of_gradient))
        return as_plain(Term(number, tuple(over), tuple(under)))

    def _over(self, above: Expr, below: Expr) -> Expr:
        a, b = as_term(above), as_term(below)
        made = self._times(replace(a, number=a.number / b.number), Term(1.0, b.under))
        made = as_term(made)
        return as_plain(replace(made, under=(*made.under, *b.over)))

    def _place_in_product(self, f: Expr, all_: list[Expr], of_gradient: bool) -> tuple[int, str]:
        """Parameters, gradients, values, then derivatives: y * (1 - y) side by side."""
        if f in self.parameters.values():
            return 0, ""
        if is_gradient(f):
            return 1, ""
        if isinstance(f, Infix):
            return 7, ""
        rest = self._one_minus(f)
        if not of_gradient:
            # A gate stands before what it lets through.
            return (2 if f in self.gates or rest in self.gates else 3), ""
        if f in map(self._one_minus, all_):
            return 4, f"{write_expression(f, False)} 0"
        if rest is not None and rest in all_:
            return 4, f"{write_expression(rest, False)} 1"
        return (5 if rest is not None else 3), ""

    def _one_minus(self, f: Expr) -> Expr | None:
        """What is taken from 1, if the expression is of that form."""
        if isinstance(f, Sum) and len(f.terms) == 2 and f.terms[0] == ONE:
            if f.terms[1].number == -1.0:
                return as_plain(replace(f.terms[1], number=1.0))
        return None

    @property
    def gates(self) -> set[Expr]:
        return {name for node, name in self.names.items() if node.op == "sigmoid"}

    # The equations.

    def equations(self) -> Equations:
        title = self.cell.name or type(self.cell).__name__
        if self.cell.constants:
            given = ", ".join(f"{k} = {v}" for k, v in self.cell.constants.items())
            title += f", {given}"
        return Equations(
            title=title,
            output=write_expression(self.written_output, False),
            forward_lines=tuple(_in_order(self._lines(self.forward))),
            backward_lines=(*_in_order(self._lines(self.backward)), *self._flows()),
            gradient_lines=tuple(self._gradient_lines()),
            note=_TRANSFORMED if type(self.cell).transform is not Cell.transform else "",
        )

    def _lines(self, equations: Mapping[Name, Operand]) -> list[Line]:
        made = list(equations.items())
        if equations is self.forward:
            made.sort(key=lambda line: _index(line[1]))
        return [Line(name, self._expr(value, own=name)) for name, value in made]

    def _flows(self) -> Iterable[Line]:
        """What goes to the states of the step before, and to the input."""
        for name, written in self.state.items():
            to = replace(written, mark="d", prime=True, time="t-1")
            yield Line(to, self._flow(self.graph.leaf("state", name)))
        yield Line(replace(self.x, mark="d"), self._flow(self.graph.leaf("input", "x")))

    def _flow(self, leaf: Node) -> Expr:
        """All that goes to a leaf: unit by unit, and through the products."""
        terms = [*as_terms(self._expr(self.d[leaf])), *as_terms(self._sent_to(leaf))]
        return self._added(terms, True)

    def _gradient_lines(self) -> Iterable[Line]:
        biases: dict[Name, dict[str, Expr]] = {}
        for (matrix, block), written in self.matrices.items():
            found = [p for p in self.products if (p.matrix, p.block) == (matrix, block)]
            found = [p for p in found if p.result in self.delta]
            outer = [Outer(self.delta[p.result], self._expr(p.operand)) for p in found]
            yield Line(replace(written, mark="d"), sum_of(map(as_term, outer)), True)
            bias = self.of_bias.get((matrix, block))
            if bias is not None:
                own = {p.result.name: self.delta[p.result] for p in found
                       if p.result not in self.silent}  # fmt: skip
                biases.setdefault(bias, {}).update(own)
        for bias, deltas in biases.items():
            terms = map(as_term, deltas.values())
            yield Line(replace(bias, mark="d"), sum_of(terms), True)
        for name, written in self.parameters.items():
            d = self.d[self.graph.leaf("parameter", name, "unit")]
            yield Line(replace(written, mark="d"), self._expr(d), True)


def _index(value: Operand) -> int:
    return value.index if isinstance(value, Node) else -1


def _in_order(lines: Sequence[Line]) -> list[Line]:
    """The lines so that each comes after those whose names it uses, else as they stand."""
    by_name = {line.name: line for line in lines}
    done: dict[Expr, Line] = {}

    def put(line: Line) -> None:
        if line.name not in done:
            for part in parts_of(line.value):
                if part in by_name and part != line.name:
                    put(by_name[part])
            done[line.name] = line

    for line in lines:
        put(line)
    return list(done.values())
