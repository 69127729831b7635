"""Writes the values of a step and of its backward step as equations, one a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from throughtime.kernels.graph.graph import Node, Operand
from throughtime.kernels.graph.maps import Map
from throughtime.kernels.graph.trace import Product
from throughtime.kernels.printing.expressions import (
    ONE,
    ZERO,
    Apply,
    Call,
    Expr,
    Infix,
    Name,
    Outer,
    Power,
    Term,
    as_plain,
    as_term,
    as_terms,
    parts_of,
    sum_of,
)
from throughtime.kernels.printing.gradients import NamedGradients
from throughtime.kernels.printing.latex import LATEX
from throughtime.kernels.printing.names import NamedStep
from throughtime.kernels.printing.notation import Notation
from throughtime.kernels.printing.terms import Arrangement
from throughtime.kernels.printing.text import TEXT

__all__ = ["Line", "Printer", "in_order"]


@dataclass(frozen=True)
class Line:
    """One equation.

    Args:
        name: the left side.
        value: the right side.
        summed: whether the right side is summed over all steps.
    """

    name: Expr
    value: Expr
    summed: bool = False

    def written(self, notation: Notation) -> tuple[str, str]:
        """Both sides in a notation."""
        return notation.equation(self.name, self.value, self.summed and self.value != ZERO)

    def text(self) -> tuple[str, str]:
        """Both sides as text."""
        return self.written(TEXT)

    def latex(self) -> str:
        """The equation as LaTeX, aligned at its sign."""
        return " &= ".join(self.written(LATEX))


class Printer:
    """Writes the values of a step and of its backward step.

    It reads the names of values when it writes: names that are added later change the equations.
    """

    def __init__(self, step: NamedStep, back: NamedGradients) -> None:
        self.step, self.back = step, back
        self.arrange = Arrangement(step)

    # From nodes to expressions.

    def _expr(self, value: Operand, own: Name | None = None) -> Expr:
        """The expression of a value: its name, if it has one other than ``own``, or its formula."""
        if not isinstance(value, Node):
            return Term(float(value))
        if value in self.step.names and self.step.names[value] != own:
            return self.step.names[value]
        if value in self.step.of_leaf:
            return sum_of(self._product_terms(self.step.of_leaf[value]))
        if value in self.back.operand_of_seed:
            return self._sent_to(self.back.operand_of_seed[value])
        return self._formula(value)

    def _formula(self, value: Node) -> Expr:
        """The expression of an operation on the expressions of its arguments."""
        a = [self._expr(v) for v in value.args]
        match value.op:
            case "add" | "sub":
                sign = -1.0 if value.op == "sub" else 1.0
                second = [replace(t, number=sign * t.number) for t in as_terms(a[1])]
                return self.arrange.added([*as_terms(a[0]), *second], value in self.step.shown_set)
            case "neg":
                return self.arrange.times(Term(-1.0), a[0])
            case "mul":
                return self.arrange.times(*a)
            case "div" | "reciprocal" | "rsqrt":
                below = Call("sqrt", (a[0],)) if value.op == "rsqrt" else a[-1]
                return self.arrange.over(a[0] if value.op == "div" else ONE, below)
            case "pow":
                return Power(a[0], float(value.args[1]) if isinstance(value.args[1], float) else 1)
            case "expm1":
                return sum_of([as_term(Call("exp", (a[0],))), Term(-1.0)])
            case "row_sum":
                number = as_term(a[0]).number
                rest = as_plain(replace(as_term(a[0]), number=1.0))
                return self.arrange.times(Term(number), Call("sum", (rest,)))
            case "log1p":
                return Call("log", (sum_of([ONE, *as_terms(a[0])]),))
            case "less" | "less_equal" | "equal" | "both" | "either" | "negate":
                return _mask_expr(value, a)
            case "where" if isinstance(a[0], Infix) and a[0].sign[0] in "<>" and ZERO in a[1:]:
                # A choice between a value and zero is the value times the mask.
                if a[2] == ZERO:
                    return self.arrange.times(a[1], a[0])
                opposite = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}[a[0].sign]
                return self.arrange.times(a[2], Infix(opposite, a[0].args))
            case "where" if isinstance(a[0], Name) and _is_product(a[2], a[1]):
                return self.arrange.times(a[1], a[0])
            case "where" if isinstance(a[0], Name) and _is_product(a[1], a[2]):
                return self.arrange.times(a[2], sum_of([ONE, Term(-1.0, (a[0],))]))
            case "map":
                assert isinstance(value.rule, Map)
                function, numbers = value.rule.printed()
                return Call(function, (a[0], *(Name(str(number)) for number in numbers)))
            case "spread":
                return a[0]
            case "size":
                return Name(value.name)
            case "row_max":
                return Call("max", tuple(a))
            case "maximum" | "minimum":
                return Call(value.op[:3], tuple(a))
            case _:
                return Call(value.op, tuple(a))

    def _product_terms(self, product: Product) -> list[Term]:
        """A product of a matrix, and its bias unless that is printed with another product."""
        matrix = self.step.matrices[product.matrix, product.block]
        terms = [as_term(Apply(matrix, False, self._expr(product.operand)))]
        bias = self.step.of_bias.get((product.matrix, product.block))
        if bias is not None and product.result not in self.step.bias_is_elsewhere:
            terms.append(as_term(bias))
        return terms

    def _sent_to(self, operand: Node) -> Expr:
        """The gradient that comes back to an operand through its products with matrices."""
        products = [
            p for p in self.step.products if p.operand is operand and p.result in self.back.delta
        ]
        return sum_of(
            as_term(Apply(self.step.matrices[p.matrix, p.block], True, self.back.delta[p.result]))
            for p in products
        )

    # The equations.

    def lines(self, equations: Mapping[Name, Operand]) -> list[Line]:
        """The equations of named values; those of the forward step in the order of computation."""
        named = list(equations.items())
        if equations is self.step.forward:
            named.sort(key=lambda line: _index(line[1]))
        return [Line(name, self._expr(value, own=name)) for name, value in named]

    def flows(self) -> Iterable[Line]:
        """The equations of the gradients of the previous states and of the inputs."""
        for name, written in self.step.state.items():
            to = replace(written, mark="d", prime=True, time="t-1")
            yield Line(to, self._flow(self.step.graph.leaf("state", name)))
        leaf = self.step.graph.leaf
        yield Line(replace(self.step.x, mark="d"), self._flow(leaf("input", "x")))
        for name, spec in self.step.cell.given_inputs.items():
            flow = self._flow(leaf("input", name))
            if spec.size == 1 and flow != ZERO:
                # The input is one number that all units read.
                flow = Call("sum", (flow,))
            yield Line(replace(self.step.inputs[name], mark="d"), flow)

    def _flow(self, leaf: Node) -> Expr:
        """The whole gradient of a leaf: from elementwise operations, and from products."""
        terms = [*as_terms(self._expr(self.back.d[leaf])), *as_terms(self._sent_to(leaf))]
        return self.arrange.added(terms, True)

    def gradient_lines(self) -> Iterable[Line]:
        """The equations of the gradients of matrices, biases and parameters."""
        # Two products may share one bias: its gradient is the sum of the δ of both.
        biases: dict[Name, dict[str, Expr]] = {}
        for (matrix, block), written in self.step.matrices.items():
            products = [
                p
                for p in self.step.products
                if (p.matrix, p.block) == (matrix, block) and p.result in self.back.delta
            ]
            outer = [Outer(self.back.delta[p.result], self._expr(p.operand)) for p in products]
            yield Line(replace(written, mark="d"), sum_of(map(as_term, outer)), True)
            bias = self.step.of_bias.get((matrix, block))
            if bias is not None:
                deltas = {
                    p.result.name: self.back.delta[p.result]
                    for p in products
                    if p.result not in self.step.bias_is_elsewhere
                }
                biases.setdefault(bias, {}).update(deltas)
        for bias, deltas in biases.items():
            terms = map(as_term, deltas.values())
            yield Line(replace(bias, mark="d"), sum_of(terms), True)
        for name, written in self.step.parameters.items():
            d = self.back.d[self.step.graph.leaf("parameter", name, "unit")]
            yield Line(replace(written, mark="d"), self._expr(d), True)


def _is_product(zero: Expr, other: Expr) -> bool:
    """Whether the choice between zero and the other value is written as a product with a mask."""
    return zero == ZERO and bool(as_term(other).over)


def _mask_expr(value: Node, args: Sequence[Expr]) -> Infix:
    """A comparison, with a number on its right side, or a logical operation."""
    if value.op in ("less", "less_equal"):
        equal = "=" * (value.op == "less_equal")
        if isinstance(value.args[0], float):
            return Infix(f">{equal}", (args[1], args[0]))
        return Infix(f"<{equal}", (args[0], args[1]))
    sign = {"equal": "==", "both": "&", "either": "|", "negate": "~"}[value.op]
    return Infix(sign, tuple(args))


def _index(value: Operand) -> int:
    return value.index if isinstance(value, Node) else -1


def in_order(lines: Sequence[Line]) -> list[Line]:
    """Moves each line behind those whose names it uses; otherwise the order stays."""
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
