"""The expressions of printed equations, and how each is written as text and as LaTeX."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

__all__ = [
    "ONE",
    "ZERO",
    "Apply",
    "Call",
    "Expr",
    "Infix",
    "Name",
    "Outer",
    "Power",
    "Sum",
    "Term",
    "as_plain",
    "as_term",
    "as_terms",
    "is_gradient",
    "parts_of",
    "sum_of",
    "without_factors",
    "write_expression",
]


@dataclass(frozen=True)
class Name:
    """The name of a value.

    Args:
        base: its letters, like ``c``.
        mark: ``d`` or ``δ`` before the letters of a gradient, else empty.
        time: ``t``, ``t-1``, or empty for a weight.
        prime: whether the name has a prime, as in ``dc'_t``.
        of_gradient: whether the value is computed from gradients although it has no mark.
    """

    base: str
    mark: str = ""
    time: str = ""
    prime: bool = False
    of_gradient: bool = False


@dataclass(frozen=True)
class Call:
    """A function of values."""

    function: str
    args: tuple[Expr, ...]


@dataclass(frozen=True)
class Infix:
    """A comparison, or a logical operation on masks: ``&``, ``|`` or ``~``."""

    sign: str
    args: tuple[Expr, ...]


@dataclass(frozen=True)
class Power:
    """A value to the power of a number."""

    base: Expr
    exponent: float


@dataclass(frozen=True)
class Apply:
    """A matrix, or its transpose, applied to a vector."""

    matrix: Name
    transposed: bool
    operand: Expr


@dataclass(frozen=True)
class Outer:
    """The outer product of a δ with the vector that its matrix was multiplied with."""

    delta: Expr
    operand: Expr


@dataclass(frozen=True)
class Term:
    """A number times the factors ``over``, divided by the factors ``under``."""

    number: float = 1.0
    over: tuple[Expr, ...] = ()
    under: tuple[Expr, ...] = ()


@dataclass(frozen=True)
class Sum:
    """A sum of terms; the sign of each is that of its number."""

    terms: tuple[Term, ...]


Expr = Name | Call | Infix | Power | Apply | Outer | Term | Sum
ZERO, ONE = Term(0.0), Term()


def as_term(e: Expr) -> Term:
    """The expression as a product with one factor, unless it is a product already."""
    return e if isinstance(e, Term) else Term(1.0, (e,))


def as_terms(e: Expr) -> list[Term]:
    """The expression as the terms of a sum; no terms for zero."""
    if isinstance(e, Sum):
        return list(e.terms)
    product = as_term(e)
    alone = len(product.over) == 1 and not product.under and abs(product.number) == 1.0
    if alone and isinstance(product.over[0], Sum):
        return [replace(t, number=t.number * product.number) for t in product.over[0].terms]
    return [] if product.number == 0.0 else [product]


def as_plain(product: Term) -> Expr:
    """The product, or its factor if it has one factor and nothing else."""
    alone = product.number == 1.0 and len(product.over) == 1 and not product.under
    return product.over[0] if alone else product


def sum_of(terms: Iterable[Term]) -> Expr:
    """The sum of any number of terms, in its simplest form."""
    terms = tuple(terms)
    return Sum(terms) if len(terms) > 1 else as_plain(terms[0]) if terms else ZERO


def without_factors(product: Term, factors: Iterable[Expr]) -> Term:
    """The product divided by some of its factors."""
    over = list(product.over)
    for factor in factors:
        over.remove(factor)
    return replace(product, over=tuple(over))


def parts_of(e: Expr) -> Iterable[Expr]:
    """The expression and all expressions inside it."""
    yield e
    inner: tuple[Expr, ...] = ()
    if isinstance(e, (Call, Infix)):
        inner = e.args
    elif isinstance(e, Power):
        inner = (e.base,)
    elif isinstance(e, Term):
        inner = (*e.over, *e.under)
    elif isinstance(e, Sum):
        inner = e.terms
    elif isinstance(e, Apply):
        inner = (e.operand,)
    elif isinstance(e, Outer):
        inner = (e.delta, e.operand)
    for part in inner:
        yield from parts_of(part)


def is_gradient(e: Expr) -> bool:
    """Whether the expression contains a gradient."""
    return any(isinstance(p, Name) and (p.mark or p.of_gradient) for p in parts_of(e))


_GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega".split()
)
_ACCENTS = frozenset({"tilde", "hat", "bar"})
_LATEX_CALLS = {"sigmoid": r"\sigma", "log_sigmoid": r"\log\sigma"} | {
    f: rf"\{f}" for f in ("tanh", "exp", "log", "sin", "cos", "max", "min")
}
_LATEX_SIGNS = {"<=": r"\leq", ">=": r"\geq", "==": "=", "&": r"\wedge", "|": r"\vee"}


def _number(value: float) -> str:
    return f"{value:.12g}"


def _latex_number(value: float) -> str:
    mantissa, _, exponent = _number(value).partition("e")
    return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else mantissa


def _latex_name(name: Name) -> str:
    words = [w for w in re.split(r"_|(?<=[A-Za-z])(?=\d)", name.base) if w]
    head, *below = [
        rf"\{w}" if w in _GREEK else w if len(w) == 1 or w.isdigit() else rf"\mathrm{{{w}}}"
        for w in words
    ]
    head = {"Δ": r"\Delta"}.get(head, head)
    if words[1:] and words[1] in _ACCENTS:
        head, below = rf"\{words[1]}{{{head}}}", below[1:]
    below += [name.time] if name.time else []
    mark = {"": "", "d": r"\mathrm{d}", "δ": r"\delta "}[name.mark]
    under = f"_{{{','.join(below)}}}" if below else ""
    return f"{mark}{head}{chr(39) * name.prime}{under}"


def _level(e: Expr) -> int:
    """Operator precedence: comparisons 0, sums 1, products 2, W x 3, powers 4, names 5."""
    if isinstance(e, Term):
        if e.number < 0:
            return 1
        return 2 if e.over or e.under else 5
    levels = {Infix: 0, Sum: 1, Apply: 3, Outer: 3, Power: 4, Name: 5, Call: 5}
    return levels[type(e)]


def write_expression(e: Expr, latex: bool, level: int = 0) -> str:
    """Writes an expression.

    Args:
        e: the expression.
        latex: whether it is written as LaTeX or as text.
        level: the precedence of the operator around it; brackets are added if that of the
            expression is lower.
    """
    written = _without_brackets(e, latex)
    if _level(e) >= level:
        return written
    # LaTeX uses Iverson's brackets: [a > b] is 1 if a > b, and 0 otherwise.
    return f"[{written}]" if latex and isinstance(e, Infix) else f"({written})"


def _without_brackets(e: Expr, latex: bool) -> str:
    number = _latex_number if latex else _number
    if isinstance(e, Name):
        time = {"": "", "t": "_t", "t-1": "_{t-1}"}[e.time]
        return _latex_name(e) if latex else f"{e.mark}{e.base}{chr(39) * e.prime}{time}"
    if isinstance(e, Call):
        args = ", ".join(write_expression(a, latex) for a in e.args)
        if latex and e.function in ("sqrt", "abs"):
            return rf"\sqrt{{{args}}}" if e.function == "sqrt" else f"|{args}|"
        plain = e.function.replace("_", r"\_")
        name = _LATEX_CALLS.get(e.function, rf"\operatorname{{{plain}}}") if latex else e.function
        return f"{name}({args})"
    if isinstance(e, Infix):
        if e.sign == "~":
            return (r"\neg " if latex else "~") + write_expression(e.args[0], latex, 5)
        sign = _LATEX_SIGNS.get(e.sign, e.sign) if latex else e.sign
        return f" {sign} ".join(write_expression(a, latex, 1) for a in e.args)
    if isinstance(e, Power):
        base, exponent = write_expression(e.base, latex, 5), number(e.exponent)
        if latex:
            return f"{base}^{{{exponent}}}"
        return f"{base}^{exponent}" if e.exponent >= 0 else f"{base}^({exponent})"
    if isinstance(e, Apply):
        top = (r"^{\top}" if latex else "^T") if e.transposed else ""
        return f"{write_expression(e.matrix, latex)}{top} {write_expression(e.operand, latex, 5)}"
    if isinstance(e, Outer):
        operand = write_expression(e.operand, latex)
        operand = operand if isinstance(e.operand, Name) else f"({operand})"
        top = r"^{\top}" if latex else "^T"
        return f"{write_expression(e.delta, latex, 5)} {operand}{top}"
    if isinstance(e, Sum):
        out = ""
        for term in e.terms:
            sign = "-" if term.number < 0 else "+"
            text = write_expression(as_plain(replace(term, number=abs(term.number))), latex, 2)
            out += f" {sign} {text}" if out else f"-{text}" if sign == "-" else text
        return out
    return _fraction(e, latex)


def _fraction(e: Term, latex: bool) -> str:
    number = _latex_number if latex else _number
    sign, size = "-" if e.number < 0 else "", number(abs(e.number))
    if not e.over and not e.under:
        return sign + size

    def factors(values: Sequence[Expr], alone: bool) -> str:
        counted = Counter(values)
        powers = [v if n == 1 else Power(v, float(n)) for v, n in counted.items()]
        least = 0 if alone and len(powers) == 1 else 4
        return (r" \odot " if latex else " * ").join(
            write_expression(p, latex, least) for p in powers
        )

    bare = abs(e.number) == 1.0
    over = factors(e.over, alone=latex and bool(e.under) and bare)
    if not over:
        over = size
    elif not bare:
        over = rf"{size} \, {over}" if latex else f"{size} * {over}"
    if not e.under:
        return sign + over
    under = factors(e.under, alone=latex)
    if latex:
        return rf"{sign}\frac{{{over}}}{{{under}}}"
    return f"{sign}{over} / " + (f"({under})" if len(set(e.under)) > 1 else under)
