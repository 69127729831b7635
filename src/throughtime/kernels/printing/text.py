"""Expressions as text, like ``c_t = i_t * z_t + f_t * c_{t-1}``."""

from __future__ import annotations

from types import MappingProxyType

from throughtime.kernels.printing.expressions import Expr, Name, Power
from throughtime.kernels.printing.notation import InLine

__all__ = ["TEXT", "as_text"]


class Text(InLine):
    """The notation of a terminal."""

    has_fraction_bar = False
    signs = MappingProxyType({})
    times = " * "

    def name(self, e: Name) -> str:
        time = {"": "", "t": "_t", "t-1": "_{t-1}"}[e.time]
        return f"{e.mark}{e.base}{chr(39) * e.prime}{time}"

    def number(self, value: float) -> str:
        return f"{value:.12g}"

    def bracketed(self, written: str, is_mask: bool) -> str:
        return f"({written})"

    def call(self, function: str, args: list[str]) -> str:
        return f"{function}({', '.join(args)})"

    def negated(self, written: str) -> str:
        return f"~{written}"

    def power(self, e: Power) -> str:
        base, exponent = self.write(e.base, 5), self.number(e.exponent)
        return f"{base}^{exponent}" if e.exponent >= 0 else f"{base}^({exponent})"

    def transposed(self, e: Name | str) -> str:
        return f"{self.name(e) if isinstance(e, Name) else e}^T"

    def scaled(self, number: str, written: str) -> str:
        return f"{number} * {written}"

    def fraction(self, above: str, below: str, is_product: bool) -> str:
        return f"{above} / " + (f"({below})" if is_product else below)

    def over_time(self, written: str) -> str:
        return f"Σ_t {written}"


TEXT = Text()


def as_text(e: Expr) -> str:
    """The expression as text."""
    return TEXT.write(e)
