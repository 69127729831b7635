"""Expressions as LaTeX, for an ``align*`` block of amsmath."""

from __future__ import annotations

from throughtime.kernels.printing.expressions import Name, Power
from throughtime.kernels.printing.notation import GREEK, InLine, scientific, words_of

__all__ = ["LATEX"]

_CALLS = {"sigmoid": r"\sigma", "log_sigmoid": r"\log\sigma"} | {
    f: rf"\{f}" for f in ("tanh", "exp", "log", "sin", "cos", "max", "min")
}
_SIGNS = {"<=": r"\leq", ">=": r"\geq", "==": "=", "&": r"\wedge", "|": r"\vee"}


class Latex(InLine):
    """The notation of LaTeX, with ⊙ for the elementwise product."""

    signs = _SIGNS
    times = r" \odot "

    def name(self, e: Name) -> str:
        words = words_of(e.base)
        head = {"Δ": r"\Delta"}.get(words.head, _word(words.head))
        head = rf"\{words.accent}{{{head}}}" if words.accent else head
        below = [*map(_word, words.below), *([e.time] if e.time else [])]
        mark = {"": "", "d": r"\mathrm{d}", "δ": r"\delta "}[e.mark]
        under = f"_{{{','.join(below)}}}" if below else ""
        return f"{mark}{head}{chr(39) * e.prime}{under}"

    def number(self, value: float) -> str:
        mantissa, exponent = scientific(value)
        return mantissa if exponent is None else rf"{mantissa} \cdot 10^{{{exponent}}}"

    def bracketed(self, written: str, is_mask: bool) -> str:
        # Iverson's brackets: [a > b] is 1 if a > b, and 0 otherwise.
        return f"[{written}]" if is_mask else f"({written})"

    def call(self, function: str, args: list[str]) -> str:
        listed = ", ".join(args)
        if function in ("sqrt", "abs"):
            return rf"\sqrt{{{listed}}}" if function == "sqrt" else f"|{listed}|"
        plain = function.replace("_", r"\_")
        name = _CALLS.get(function, rf"\operatorname{{{plain}}}")
        return f"{name}({listed})"

    def negated(self, written: str) -> str:
        return rf"\neg {written}"

    def power(self, e: Power) -> str:
        return f"{self.write(e.base, 5)}^{{{self.number(e.exponent)}}}"

    def transposed(self, e: Name | str) -> str:
        return rf"{self.name(e) if isinstance(e, Name) else e}^{{\top}}"

    def scaled(self, number: str, written: str) -> str:
        return rf"{number} \, {written}"

    def fraction(self, above: str, below: str, is_product: bool) -> str:
        return rf"\frac{{{above}}}{{{below}}}"

    def over_time(self, written: str) -> str:
        return rf"\sum_t {written}"


def _word(word: str) -> str:
    if word in GREEK:
        return rf"\{word}"
    return word if len(word) == 1 or word.isdigit() else rf"\mathrm{{{word}}}"


LATEX = Latex()
