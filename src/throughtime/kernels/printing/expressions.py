"""The expressions of printed equations; notation.py says how they are written."""

from __future__ import annotations

from collections.abc import Iterable
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
