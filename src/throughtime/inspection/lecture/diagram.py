"""The equations of a step as boxes and edges, as on the slides of a lecture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from throughtime.inspection.lecture.labels import LABELS
from throughtime.kernels.printing.expressions import (
    Apply,
    Call,
    Expr,
    Infix,
    Name,
    Power,
    Sum,
    Term,
    as_plain,
    as_term,
    parts_of,
)
from throughtime.kernels.printing.lines import Line
from throughtime.kernels.printing.names import NamedStep

__all__ = ["Box", "Diagram", "Edge", "diagram"]


@dataclass(frozen=True)
class Box:
    """One box.

    Args:
        kind: ``input`` for x and the further inputs, ``before`` for a previous state, ``product``
            for products with matrices, ``function``, ``operation`` for a sum or an elementwise
            product, ``after`` for a next state or the output.
        lines: what stands in it.
        names: the names of its value in the equations.
    """

    kind: str
    lines: tuple[str, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Edge:
    """A value that a box reads; ``label`` is the sign or the factor with which it does."""

    source: int
    target: int
    label: str = ""


@dataclass
class Diagram:
    """All boxes, and the edges between their positions in the list."""

    boxes: list[Box] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)


def diagram(step: NamedStep, lines: Iterable[Line]) -> Diagram:
    """The graph of a step.

    A value that several equations use is one box. Weights and numbers have no boxes: they stand in
    the operation that uses them.

    Args:
        step: the traced step with its names.
        lines: its equations, in an order in which they can be computed.
    """
    return _Builder(step, list(lines)).build()


class _Builder:
    """Adds a box for each operation of the equations."""

    def __init__(self, step: NamedStep, lines: Sequence[Line]) -> None:
        self.step, self.lines = step, lines
        self.diagram = Diagram()
        self.box_of: dict[Expr, int] = {}

    def build(self) -> Diagram:
        step = self.step
        before = [replace(name, time="t-1") for name in step.state.values()]
        used = {part for line in self.lines for part in parts_of(line.value)}
        for kind, names in (("input", [step.x, *step.inputs.values()]), ("before", before)):
            for name in names:
                if name in used:
                    self.box_of[name] = self._add(kind, [LABELS.name(name)])
        after = dict.fromkeys([*step.state.values(), step.written_output])
        for line in self.lines:
            if _is_constant(line.value) and line.name not in after:
                continue
            self.box_of[line.name] = box = self._box(line.value)
            own = self.diagram.boxes[box]
            if line.name not in after and own.kind not in ("input", "before"):
                names = (*own.names, LABELS.write(line.name))
                self.diagram.boxes[box] = replace(own, names=names)
        for name in after:
            self._add("after", [LABELS.name(name)], [(self.box_of[name], "")])
        return self.diagram

    def _add(self, kind: str, lines: Iterable[str], reads: Iterable[tuple[int, str]] = ()) -> int:
        box = len(self.diagram.boxes)
        self.diagram.boxes.append(Box(kind, tuple(lines)))
        self.diagram.edges += [Edge(source, box, label) for source, label in reads]
        return box

    def _box(self, e: Expr) -> int:
        """The box of an expression; equal expressions have one box."""
        if e not in self.box_of:
            self.box_of[e] = self._new_box(e)
        return self.box_of[e]

    def _new_box(self, e: Expr) -> int:
        match e:
            case _ if _is_constant(e):
                return self._add("function", [LABELS.write(e)])
            case Apply():
                return self._products([as_term(e)])
            case Sum():
                return self._sum(e)
            case Term():
                return self._product(e)
            case Call():
                return self._call(e)
            case Infix(sign="~"):
                return self._add("operation", ["¬"], [(self._box(e.args[0]), "")])
            case Infix():
                return self._infix(e)
            case Power():
                label = f"(·)^{{{LABELS.number(e.exponent)}}}"
                return self._add("function", [label], [(self._box(e.base), "")])
        raise AssertionError(e)

    def _call(self, e: Call) -> int:
        values = [a for a in e.args if not _is_constant(a)]
        label = LABELS.function(e.function)
        if len(values) < len(e.args):
            # Numbers stand in the box, at their places.
            places = ["·" if a in values else LABELS.write(a) for a in e.args]
            label += f"({', '.join(places)})"
        names = ["if", "then", "else"] if e.function == "where" else [""] * len(e.args)
        reads = [(self._box(a), n) for a, n in zip(e.args, names, strict=True) if a in values]
        return self._add("function", ["choice" if e.function == "where" else label], reads)

    def _infix(self, e: Infix) -> int:
        values = [a for a in e.args if not _is_constant(a)]
        sign = LABELS.signs.get(e.sign, e.sign)
        if len(values) == len(e.args):
            return self._add("operation", [sign], [(self._box(a), "") for a in values])
        label = f" {sign} ".join("·" if a in values else LABELS.write(a, 1) for a in e.args)
        return self._add("function", [label], [(self._box(a), "") for a in values])

    def _sum(self, e: Sum) -> int:
        constants = [t for t in e.terms if _is_constant(t)]
        values = [t for t in e.terms if not _is_constant(t)]
        products = [t for t in values if any(isinstance(f, Apply) for f in t.over)]
        if products:
            # Products with matrices, peepholes and biases are one box: a linear map of its inputs.
            linear = [t for t in values if t in products or _name_of(t) is not None]
            rest = [t for t in values if t not in linear]
            box = self._products([t for t in e.terms if t in linear or t in constants])
            return self._added(rest, [(box, "")]) if rest else box
        if len(values) == 1:
            written = LABELS.added([(t.number < 0, self._with_dot(t, values)) for t in e.terms])
            return self._add("function", [written], [(self._argument(values[0]), "")])
        offset = f"+ {LABELS.write(as_plain(constants[0]))}" if constants else "+"
        return self._added(values, [], offset)

    def _with_dot(self, term: Term, values: Sequence[Term]) -> str:
        """The size of a term of a sum; a dot stands for what an edge brings."""
        size = replace(term, number=abs(term.number))
        if term not in values:
            return LABELS.write(as_plain(size))
        constants = _constant_part(size)
        return "·" if constants == Term() else f"{_factor(constants)} ·"

    def _added(self, terms: Sequence[Term], reads: list[tuple[int, str]], label: str = "+") -> int:
        is_difference = len(terms) + len(reads) == 2 and label == "+"
        for term in terms:
            constants = _constant_part(term)
            if constants == Term(-1.0):
                reads.append((self._argument(term), "−"))
            elif constants == Term():
                reads.append((self._argument(term), ""))
            else:
                reads.append((self._argument(term), _factor(constants)))
        if is_difference and [n for _, n in reads] == ["", "−"]:
            return self._add("operation", ["−"], [(reads[0][0], ""), (reads[1][0], "−")])
        return self._add("operation", [label], reads)

    def _argument(self, term: Term) -> int:
        """The box of a term without its constant factors."""
        return self._box(as_plain(_value_part(term)))

    def _products(self, terms: Sequence[Term]) -> int:
        """One box for products with matrices and what is added to them, one line for each."""
        lines, reads = [], []
        for number, term in enumerate(terms):
            written = LABELS.write(as_plain(replace(term, number=abs(term.number))), 2)
            sign = "− " if term.number < 0 else "+ " if number else ""
            for factor in term.over:
                operand = factor.operand if isinstance(factor, Apply) else factor
                if _is_constant(operand):
                    continue
                reads.append((self._box(operand), ""))
                if isinstance(factor, Apply) and not isinstance(operand, Name):
                    # The operand has a box of its own.
                    dotted = replace(factor, operand=Name("·"))
                    over = tuple(dotted if f is factor else f for f in term.over)
                    whole = replace(term, over=over, number=abs(term.number))
                    written = LABELS.write(as_plain(whole), 2)
            lines.append(sign + written)
        return self._add("product", lines, dict.fromkeys(reads))

    def _product(self, e: Term) -> int:
        over = [f for f in e.over if not _is_constant(f)]
        under = [f for f in e.under if not _is_constant(f)]
        constants = _constant_part(e)
        factor = "" if constants == Term() else _factor(constants)
        if under:
            return self._quotient(e, over, under)
        counted = Counter(over)
        if len(counted) == 1 and len(over) > 1 and not factor:
            return self._new_box(Power(over[0], float(len(over))))
        reads = [(self._box(f), "") for f in over]
        if len(over) == 1:
            is_sign = constants == Term(-1.0)
            return self._add("function", ["− ·" if is_sign else f"{factor} ·"], reads)
        label = f"{factor} ×" if factor else "×"
        return self._add("operation", [label], reads)

    def _quotient(self, e: Term, over: Sequence[Expr], under: Sequence[Expr]) -> int:
        below = as_plain(Term(1.0, tuple(under)))
        above = replace(e, under=tuple(f for f in e.under if f not in under))
        if over:
            reads = [(self._box(as_plain(above)), "above"), (self._box(below), "below")]
            return self._add("operation", ["÷"], reads)
        label = f"{LABELS.write(as_plain(above), 2)} / ·"
        return self._add("function", [label], [(self._box(below), "")])


def _is_constant(e: Expr) -> bool:
    """Whether the expression holds weights and numbers only: names of other values have a time."""
    return not any(isinstance(part, Name) and part.time for part in parts_of(e))


def _constant_part(term: Term) -> Term:
    """The number and the constant factors of a product."""
    over = tuple(f for f in term.over if _is_constant(f))
    return Term(term.number, over, tuple(f for f in term.under if _is_constant(f)))


def _factor(constants: Term) -> str:
    size = as_plain(replace(constants, number=abs(constants.number)))
    written = LABELS.write(size, 3 if constants.under else 2)
    return LABELS.negative(written) if constants.number < 0 else written


def _value_part(term: Term) -> Term:
    """The factors of a product that are not constant."""
    over = tuple(f for f in term.over if not _is_constant(f))
    return Term(1.0, over, tuple(f for f in term.under if not _is_constant(f)))


def _name_of(term: Term) -> Name | None:
    """The only value of a product, if that is a name: as in p_i ⊙ c_{t-1}."""
    value = as_plain(_value_part(term))
    return value if isinstance(value, Name) else None
