"""How expressions are written: what all notations share."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from throughtime.kernels.printing.expressions import (
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
)

__all__ = ["GREEK", "InLine", "Notation", "Words", "scientific", "words_of"]

# The precedence of operators: comparisons, sums, products, products with a matrix, powers, names.
_COMPARISON, _SUM, _PRODUCT, _APPLIED, _POWER, _NAME = range(6)


class Notation(ABC):
    """Writes expressions in one language, such as LaTeX.

    It decides where brackets stand and in which order parts are written. A subclass writes the
    signs of its language around parts that are written already.

    Attributes:
        has_fraction_bar: whether a fraction groups what stands above and below it, so that a sum
            there needs no brackets.
    """

    has_fraction_bar = True

    def write(self, e: Expr, level: int = 0) -> str:
        """Writes an expression.

        Args:
            e: the expression.
            level: the precedence of the operator around it; brackets are added if that of the
                expression is lower.
        """
        written = self._without_brackets(e)
        if _level(e) >= level:
            return written
        return self.bracketed(written, isinstance(e, Infix))

    def equation(self, name: Expr, value: Expr, summed: bool) -> tuple[str, str]:
        """Both sides of an equation; with ``summed``, the right one is summed over all steps."""
        right = self.write(value, _PRODUCT if summed else 0)
        return self.write(name), self.over_time(right) if summed else right

    def _without_brackets(self, e: Expr) -> str:
        match e:
            case Name():
                return self.name(e)
            case Call():
                return self.call(e.function, [self.write(a) for a in e.args])
            case Infix(sign="~"):
                return self.negated(self.write(e.args[0], _NAME))
            case Infix():
                return self.compared(e.sign, [self.write(a, _SUM) for a in e.args])
            case Power():
                return self.power(e)
            case Apply():
                matrix = self.transposed(e.matrix) if e.transposed else self.name(e.matrix)
                return self.applied(matrix, self.write(e.operand, _NAME))
            case Outer():
                operand = e.operand
                if not isinstance(operand, Name):
                    operand = self.bracketed(self.write(operand), False)
                return self.applied(self.write(e.delta, _NAME), self.transposed(operand))
            case Sum():
                terms = [as_plain(replace(t, number=abs(t.number))) for t in e.terms]
                return self.added(
                    [
                        (t.number < 0, self.write(term, _PRODUCT))
                        for t, term in zip(e.terms, terms, strict=True)
                    ]
                )
        return self._term(e)

    def _term(self, e: Term) -> str:
        """A number, a product or a fraction."""
        size, is_bare = self.number(abs(e.number)), abs(e.number) == 1.0
        above = size
        if e.over:
            above = self._factors(e.over, self.has_fraction_bar and bool(e.under) and is_bare)
            above = above if is_bare else self.scaled(size, above)
        if e.under:
            below = self._factors(e.under, self.has_fraction_bar)
            above = self.fraction(above, below, len(set(e.under)) > 1)
        return self.negative(above) if e.number < 0 else above

    def _factors(self, factors: Sequence[Expr], is_grouped: bool) -> str:
        """A product; its only factor needs no brackets if something else groups it."""
        powers = [v if n == 1 else Power(v, float(n)) for v, n in Counter(factors).items()]
        least = 0 if is_grouped and len(powers) == 1 else _POWER
        return self.multiplied([self.write(power, least) for power in powers])

    # The signs of a language.

    @abstractmethod
    def name(self, e: Name) -> str:
        """The name of a value."""

    @abstractmethod
    def number(self, value: float) -> str:
        """A number."""

    @abstractmethod
    def bracketed(self, written: str, is_mask: bool) -> str:
        """An expression in brackets; papers write a mask, which is 1 where it holds, in [ ]."""

    @abstractmethod
    def call(self, function: str, args: list[str]) -> str:
        """A function of its arguments."""

    @abstractmethod
    def negated(self, written: str) -> str:
        """The opposite of a mask."""

    @abstractmethod
    def compared(self, sign: str, args: list[str]) -> str:
        """A comparison, or a logical operation on masks."""

    @abstractmethod
    def power(self, e: Power) -> str:
        """A value to the power of a number."""

    @abstractmethod
    def transposed(self, e: Name | str) -> str:
        """A name, or what is in brackets already, transposed."""

    @abstractmethod
    def applied(self, left: str, right: str) -> str:
        """A product of matrices and vectors."""

    @abstractmethod
    def multiplied(self, factors: list[str]) -> str:
        """An elementwise product."""

    @abstractmethod
    def scaled(self, number: str, written: str) -> str:
        """A number times a value."""

    @abstractmethod
    def fraction(self, above: str, below: str, is_product: bool) -> str:
        """A fraction; ``is_product`` is whether several factors stand below."""

    @abstractmethod
    def negative(self, written: str) -> str:
        """A minus sign before a term."""

    @abstractmethod
    def added(self, terms: list[tuple[bool, str]]) -> str:
        """A sum; each term with whether a minus stands before it."""

    @abstractmethod
    def over_time(self, written: str) -> str:
        """The sum of a term over all steps."""


class InLine(Notation):
    """A language in which the parts of an expression follow each other, with signs between them.

    Attributes:
        signs: how signs are written; a sign that is not here is written as it is.
        times: what is written between the factors of an elementwise product.
    """

    signs: Mapping[str, str]
    times: str

    def compared(self, sign: str, args: list[str]) -> str:
        return f" {self.signs.get(sign, sign)} ".join(args)

    def applied(self, left: str, right: str) -> str:
        return f"{left} {right}"

    def multiplied(self, factors: list[str]) -> str:
        return self.times.join(factors)

    def negative(self, written: str) -> str:
        return f"-{written}"

    def added(self, terms: list[tuple[bool, str]]) -> str:
        out = ""
        for is_negative, term in terms:
            sign = "-" if is_negative else "+"
            out += f" {sign} {term}" if out else f"-{term}" if is_negative else term
        return out


def _level(e: Expr) -> int:
    """The precedence of the outermost operator of an expression."""
    if isinstance(e, Term):
        if e.number < 0:
            return _SUM
        return _PRODUCT if e.over or e.under else _NAME
    levels = {Infix: _COMPARISON, Sum: _SUM, Apply: _APPLIED, Outer: _APPLIED, Power: _POWER}
    return levels.get(type(e), _NAME)


# Names and numbers, as the notations of papers split them.

GREEK: dict[str, str] = dict(
    zip(
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
        "upsilon phi chi psi omega".split(),
        "αβγδεζηθικλμνξπρστυφχψω",
        strict=True,
    )
)
"""The letters that a name may spell out, as ``alpha``."""

_ACCENTS = frozenset({"tilde", "hat", "bar"})


class Words(NamedTuple):
    """A name as papers write it: a letter with an accent, and further words as its index."""

    head: str
    accent: str
    below: list[str]


def words_of(base: str) -> Words:
    """Splits the letters of a name: ``c_tilde`` is c with an accent, ``dt_bar2`` dt with an index.

    >>> words_of("c_tilde2")
    Words(head='c', accent='tilde', below=['2'])
    """
    head, *below = [w for w in re.split(r"_|(?<=[A-Za-z])(?=\d)", base) if w]
    if below and below[0] in _ACCENTS:
        return Words(head, below[0], below[1:])
    return Words(head, "", below)


def scientific(value: float) -> tuple[str, int | None]:
    """A number of at most 12 digits; with an exponent of ten if it is very small or large."""
    mantissa, _, exponent = f"{value:.12g}".partition("e")
    return mantissa, int(exponent) if exponent else None
