"""Expressions as Presentation MathML, which browsers draw without a library.

Only elements and attributes of MathML Core are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from throughtime.kernels.printing.expressions import Expr, Name, Power
from throughtime.kernels.printing.notation import GREEK, Notation, scientific, words_of

__all__ = ["MATHML", "aligned", "commented", "inline"]

_CALLS = {"sigmoid": "σ", "log_sigmoid": "log σ"}
_SIGNS = {"<=": "≤", ">=": "≥", "==": "=", "&": "∧", "|": "∨"}
_ACCENTS = {"tilde": "~", "hat": "^", "bar": "¯"}

# Signs that a screen reader reads and that take no room: f applied to x, and a times b.
_OF, _TIMES = "&#x2061;", "&#x2062;"


class MathML(Notation):
    """The notation of papers as elements of MathML; each method returns one element."""

    def name(self, e: Name) -> str:
        return _name(e, "")

    def number(self, value: float) -> str:
        mantissa, exponent = scientific(value)
        number = _signed(mantissa)
        if exponent is None:
            return number
        return _row(number, _sign("·"), f"<msup><mn>10</mn>{_signed(str(exponent))}</msup>")

    def bracketed(self, written: str, is_mask: bool) -> str:
        return _within("[]" if is_mask else "()", written)

    def call(self, function: str, args: list[str]) -> str:
        listed = _listed(",", args)
        if function == "sqrt":
            return f"<msqrt>{listed}</msqrt>"
        if function == "abs":
            return _within("||", listed)
        # A name of one letter is drawn in italics unless it is marked as normal.
        written = _CALLS.get(function, function.replace("_", " "))
        return _row(_upright(written), f"<mo>{_OF}</mo>", _within("()", listed))

    def negated(self, written: str) -> str:
        return _row(_sign("¬"), written)

    def compared(self, sign: str, args: list[str]) -> str:
        return _listed(_SIGNS.get(sign, sign), args)

    def power(self, e: Power) -> str:
        exponent = self.number(e.exponent)
        if isinstance(e.base, Name):
            return _name(e.base, exponent)
        return f"<msup>{self.write(e.base, 5)}{exponent}</msup>"

    def transposed(self, e: Name | str) -> str:
        top = "<mi>⊤</mi>"
        return _name(e, top) if isinstance(e, Name) else f"<msup>{e}{top}</msup>"

    def applied(self, left: str, right: str) -> str:
        return _row(left, f"<mo>{_TIMES}</mo>", right)

    def multiplied(self, factors: list[str]) -> str:
        return _listed("⊙", factors)

    def scaled(self, number: str, written: str) -> str:
        return _row(number, f'<mo rspace="0.17em">{_TIMES}</mo>', written)

    def fraction(self, above: str, below: str, is_product: bool) -> str:
        return f"<mfrac>{above}{below}</mfrac>"

    def negative(self, written: str) -> str:
        return _row(_sign("−", form="prefix"), written)

    def added(self, terms: list[tuple[bool, str]]) -> str:
        parts: list[str] = []
        for number, (is_negative, term) in enumerate(terms):
            if number:
                parts.append(_sign("−" if is_negative else "+"))
            elif is_negative:
                parts.append(_sign("−", form="prefix"))
            parts.append(term)
        return _row(*parts)

    def over_time(self, written: str) -> str:
        return _row("<munder><mo>∑</mo><mi>t</mi></munder>", written)


MATHML = MathML()


def inline(e: Expr) -> str:
    """The expression as a ``<math>`` element that stands in a line of text."""
    return f"<math>{MATHML.write(e)}</math>"


def aligned(equations: Iterable[tuple[str, str]]) -> str:
    """Equations below each other as a ``<math>`` element, aligned at their signs.

    Args:
        equations: both sides of each equation, as MathML.
    """
    rows = "\n".join(
        f'<mtr><mtd style="text-align: right">{left}</mtd><mtd><mo>=</mo></mtd>'
        f'<mtd style="text-align: left">{right}</mtd></mtr>'
        for left, right in equations
    )
    return f'<math display="block"><mtable displaystyle="true">\n{rows}\n</mtable></math>\n'


def commented(text: str) -> str:
    """The lines of a text as comments of HTML; empty for an empty text."""
    # Two hyphens would end the comment.
    return "".join(f"<!-- {line.replace('--', '- -')} -->\n" for line in text.splitlines())


def _row(*parts: str) -> str:
    return parts[0] if len(parts) == 1 else f"<mrow>{''.join(parts)}</mrow>"


def _listed(sign: str, parts: Sequence[str]) -> str:
    """The parts in a row, with a sign between them."""
    between = [part for written in parts for part in (_sign(sign), written)]
    return _row(*between[1:])


def _sign(sign: str, **attributes: str) -> str:
    written = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f"<mo{written}>{escape(sign)}</mo>"


def _within(brackets: Sequence[str], written: str) -> str:
    left, right = brackets
    return _row(_sign(left, form="prefix"), written, _sign(right, form="postfix"))


def _signed(digits: str) -> str:
    if digits.startswith("-"):
        return _row(_sign("−", form="prefix"), f"<mn>{digits[1:]}</mn>")
    return f"<mn>{digits}</mn>"


def _upright(letters: str) -> str:
    return f'<mi mathvariant="normal">{escape(letters)}</mi>'


def _word(word: str) -> str:
    if word.isdigit():
        return f"<mn>{word}</mn>"
    return f"<mi>{escape(GREEK.get(word, word))}</mi>"


def _name(e: Name, top: str) -> str:
    """A name with a power above it, or with none."""
    words = words_of(e.base)
    head = _word(words.head)
    if words.accent:
        head = f'<mover accent="true">{head}<mo>{_ACCENTS[words.accent]}</mo></mover>'
    times = {"": [], "t": ["<mi>t</mi>"], "t-1": [_row("<mi>t</mi>", _sign("−"), "<mn>1</mn>")]}
    below, above = [*map(_word, words.below), *times[e.time]], ["<mo>′</mo>"] * e.prime
    above += [top] if top else []
    scripts = "".join(
        [*([_listed(",", below)] if below else []), *([_row(*above)] if above else [])]
    )
    element = "m" + "sub" * bool(below) + "sup" * bool(above)
    written = f"<{element}>{head}{scripts}</{element}>" if scripts else head
    mark = {"": "", "d": _upright("d"), "δ": "<mi>δ</mi>"}[e.mark]
    return _row(mark, written) if mark else written
