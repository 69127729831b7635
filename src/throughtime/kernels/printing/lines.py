"""Lines of equations: how the values of a step and of its backward step are written."""

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
    write_expression,
)
from throughtime.kernels.printing.gradients import NamedGradients
from throughtime.kernels.printing.names import NamedStep
from throughtime.kernels.printing.terms import Arrangement

__all__ = ["Line", "Writer", "in_order"]


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


class Writer:
    """Writes the values of a step and of its backward step by the names that they have now."""

    def __init__(self, step: NamedStep, back: NamedGradients) -> None:
        self.step, self.back = step, back
        self.arrange = Arrangement(step)

    # From nodes to expressions.

    def _expr(self, value: Operand, own: Name | None = None) -> Expr:
        """How the value is written: by its name, if it has one other than ``own``."""
        if not isinstance(value, Node):
            return Term(float(value))
        if value in self.step.names and self.step.names[value] != own:
            return self.step.names[value]
        if value in self.step.of_leaf:
            return sum_of(self._product_terms(self.step.of_leaf[value]))
        if value in self.back.sent:
            return self._sent_to(self.back.sent[value])
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
                    return self.arrange.times(a[1], a[0])
                opposite = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}[a[0].sign]
                return self.arrange.times(a[2], Infix(opposite, a[0].args))
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
        matrix = self.step.matrices[product.matrix, product.block]
        terms = [as_term(Apply(matrix, False, self._expr(product.operand)))]
        bias = self.step.of_bias.get((product.matrix, product.block))
        if bias is not None and product.result not in self.step.silent:
            terms.append(as_term(bias))
        return terms

    def _sent_to(self, operand: Node) -> Expr:
        """What the products of a value send back to it."""
        found = [
            p for p in self.step.products if p.operand is operand and p.result in self.back.delta
        ]
        return sum_of(
            as_term(Apply(self.step.matrices[p.matrix, p.block], True, self.back.delta[p.result]))
            for p in found
        )

    # The equations.

    def lines(self, equations: Mapping[Name, Operand]) -> list[Line]:
        """The equations of named values; those of the forward step as they are computed."""
        made = list(equations.items())
        if equations is self.step.forward:
            made.sort(key=lambda line: _index(line[1]))
        return [Line(name, self._expr(value, own=name)) for name, value in made]

    def flows(self) -> Iterable[Line]:
        """What goes to the states of the step before, and to what enters the step."""
        for name, written in self.step.state.items():
            to = replace(written, mark="d", prime=True, time="t-1")
            yield Line(to, self._flow(self.step.graph.leaf("state", name)))
        leaf = self.step.graph.leaf
        yield Line(replace(self.step.x, mark="d"), self._flow(leaf("input", "x")))
        for name, spec in self.step.cell.given_inputs.items():
            flow = self._flow(leaf("input", name))
            if spec.size == 1 and flow != ZERO:
                # One number for all units.
                flow = Call("sum", (flow,))
            yield Line(replace(self.step.inputs[name], mark="d"), flow)

    def _flow(self, leaf: Node) -> Expr:
        """All that goes to a leaf: unit by unit, and through the products."""
        terms = [*as_terms(self._expr(self.back.d[leaf])), *as_terms(self._sent_to(leaf))]
        return self.arrange.added(terms, True)

    def gradient_lines(self) -> Iterable[Line]:
        """The gradients of matrices, biases and parameters."""
        biases: dict[Name, dict[str, Expr]] = {}
        for (matrix, block), written in self.step.matrices.items():
            found = [p for p in self.step.products if (p.matrix, p.block) == (matrix, block)]
            found = [p for p in found if p.result in self.back.delta]
            outer = [Outer(self.back.delta[p.result], self._expr(p.operand)) for p in found]
            yield Line(replace(written, mark="d"), sum_of(map(as_term, outer)), True)
            bias = self.step.of_bias.get((matrix, block))
            if bias is not None:
                own = {p.result.name: self.back.delta[p.result] for p in found
                       if p.result not in self.step.silent}  # fmt: skip
                biases.setdefault(bias, {}).update(own)
        for bias, deltas in biases.items():
            terms = map(as_term, deltas.values())
            yield Line(replace(bias, mark="d"), sum_of(terms), True)
        for name, written in self.step.parameters.items():
            d = self.back.d[self.step.graph.leaf("parameter", name, "unit")]
            yield Line(replace(written, mark="d"), self._expr(d), True)


def _index(value: Operand) -> int:
    return value.index if isinstance(value, Node) else -1


def in_order(lines: Sequence[Line]) -> list[Line]:
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
