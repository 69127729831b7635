"""Arranges sums, products and fractions: the order of terms and factors, and common factors."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from throughtime.kernels.graph.graph import is_mask
from throughtime.kernels.printing.expressions import (
    ONE,
    ZERO,
    Apply,
    Expr,
    Infix,
    Name,
    Sum,
    Term,
    as_plain,
    as_term,
    as_terms,
    is_gradient,
    sum_of,
    without_factors,
)
from throughtime.kernels.printing.names import NamedStep
from throughtime.kernels.printing.text import as_text

__all__ = ["Arrangement"]


class Arrangement:
    """Arranges expressions in the usual order of textbooks, by the meaning of a step's names."""

    def __init__(self, step: NamedStep) -> None:
        self.step = step

    def added(self, terms: list[Term], as_written: bool) -> Expr:
        """A sum, with like terms joined.

        Args:
            terms: the terms.
            as_written: whether the sum is left expanded; if not, common factors are taken out of
                a bracket.
        """
        joined: dict[tuple[Expr, ...], Term] = {}
        for term in terms:
            key = (*term.over, ONE, *term.under)
            number = term.number + (joined[key].number if key in joined else 0)
            joined[key] = replace(term, number=number)
        terms = sorted((t for t in joined.values() if t.number), key=self._place_in_sum)
        if not terms:
            return ZERO
        if terms[0].number < 0 and any(t.number > 0 for t in terms):
            # 1 - z reads better than -z + 1.
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
        return self.times(*common, self.added(rest, True))

    def _place_in_sum(self, term: Term) -> int:
        """Numbers first, then Δ, gradients of later steps, W x, R h, other terms, and biases."""
        first = term.over[0] if len(term.over) == 1 and not term.under else None
        if not term.over and not term.under:
            return 0
        if first == self.step.loss or (isinstance(first, Name) and first.prime):
            return 1 if first == self.step.loss else 2
        if isinstance(first, Apply):
            return 3 if first.matrix.base.startswith("W") else 4
        return 9 if first in self.step.biases else 5

    def times(self, *factors: Expr) -> Expr:
        """A product; see :meth:`_place_in_product` for the order of its factors."""
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

    def over(self, above: Expr, below: Expr) -> Expr:
        """A fraction; fractions inside it are joined into one."""
        a, b = as_term(above), as_term(below)
        numerator = as_term(self.times(replace(a, number=a.number / b.number), Term(1.0, b.under)))
        return as_plain(replace(numerator, under=(*numerator.under, *b.over)))

    def _place_in_product(self, f: Expr, all_: list[Expr], of_gradient: bool) -> tuple[int, str]:
        """Parameters come first, then gradients, values, derivatives (y * (1 - y) together)."""
        if f in self.step.parameters.values():
            return 0, ""
        if is_gradient(f):
            return 1, ""
        if isinstance(f, Infix) or f in self._masks:
            return 7, ""
        rest = self._one_minus(f)
        if not of_gradient:
            # A gate comes before the value that it scales.
            return (2 if f in self._gates or rest in self._gates else 3), ""
        if f in map(self._one_minus, all_):
            return 4, f"{as_text(f)} 0"
        if rest is not None and rest in all_:
            return 4, f"{as_text(rest)} 1"
        return (5 if rest is not None else 3), ""

    def _one_minus(self, f: Expr) -> Expr | None:
        """The y of an expression 1 - y; None if the expression has another form."""
        if isinstance(f, Sum) and len(f.terms) == 2 and f.terms[0] == ONE:
            if f.terms[1].number == -1.0:
                return as_plain(replace(f.terms[1], number=1.0))
        return None

    @property
    def _gates(self) -> set[Expr]:
        return {name for node, name in self.step.names.items() if node.op == "sigmoid"}

    @property
    def _masks(self) -> set[Expr]:
        return {name for node, name in self.step.names.items() if is_mask(node)}
