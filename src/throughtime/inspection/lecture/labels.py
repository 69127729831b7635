"""Labels of a drawing: expressions as text with indices and powers, drawn by SVG."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from types import MappingProxyType

from throughtime.kernels.printing.expressions import Name, Power
from throughtime.kernels.printing.notation import GREEK, InLine, scientific, words_of

__all__ = ["LABELS", "spans", "width_of"]

_CALLS = {"sigmoid": "σ", "log_sigmoid": "log σ", "sum": "Σ", "sqrt": "√"}
# Accents are characters that join the letter before them.
_ACCENTS = {"tilde": "\u0303", "hat": "\u0302", "bar": "\u0304"}
_SIGNS = {"<=": "≤", ">=": "≥", "==": "=", "&": "∧", "|": "∨"}


class Labels(InLine):
    """Text in which ``_{…}`` is an index and ``^{…}`` a power."""

    has_fraction_bar = False
    signs: Mapping[str, str] = MappingProxyType(_SIGNS)
    times = " ⊙ "

    def name(self, e: Name) -> str:
        words = words_of(e.base)
        head = GREEK.get(words.head, words.head) + _ACCENTS.get(words.accent, "")
        below = [GREEK.get(w, w) for w in words.below] + ([e.time] if e.time else [])
        index = f"_{{{','.join(below)}}}".replace("-", "−") if below else ""
        return f"{e.mark}{head}{'′' * e.prime}{index}"

    def number(self, value: float) -> str:
        mantissa, exponent = scientific(value)
        written = mantissa if exponent is None else f"{mantissa}·10^{{{exponent}}}"
        return written.replace("-", "−")

    def bracketed(self, written: str, is_mask: bool) -> str:
        return f"[{written}]" if is_mask else f"({written})"

    def call(self, function: str, args: list[str]) -> str:
        return f"{_CALLS.get(function, function.replace('_', ' '))}({', '.join(args)})"

    def function(self, name: str) -> str:
        """The name of a function whose arguments are drawn as edges."""
        return _CALLS.get(name, name.replace("_", " "))

    def negated(self, written: str) -> str:
        return f"¬{written}"

    def power(self, e: Power) -> str:
        return f"{self.write(e.base, 5)}^{{{self.number(e.exponent)}}}"

    def transposed(self, e: Name | str) -> str:
        return f"{self.name(e) if isinstance(e, Name) else e}^{{⊤}}"

    def scaled(self, number: str, written: str) -> str:
        return f"{number} {written}"

    def fraction(self, above: str, below: str, is_product: bool) -> str:
        return f"{above} / " + (f"({below})" if is_product else below)

    def negative(self, written: str) -> str:
        return f"−{written}"

    def over_time(self, written: str) -> str:
        return f"Σ_{{t}} {written}"


LABELS = Labels()

_SCRIPT = re.compile(r"([_^])\{([^{}]*)\}")


def spans(label: str) -> str:
    """The label as the content of an SVG ``<text>``: letters in italics, indices lower."""
    parts, end, shift = [], 0, 0.0
    for match in _SCRIPT.finditer(label):
        if between := label[end : match.start()]:
            parts.append(_letters(between, shift))
            shift = 0.0
        to = 0.32 if match[1] == "_" else -0.4
        # The size of a script is 0.72; its shift is measured in its own size.
        parts.append(f'<tspan class="script" dy="{(to - shift) / 0.72:.2f}em">{_math(match[2])}')
        parts.append("</tspan>")
        shift, end = to, match.end()
    parts.append(_letters(label[end:], shift))
    return "".join(parts)


def _letters(text: str, shift: float) -> str:
    if not text:
        return ""
    written = _math(text)
    return f'<tspan dy="{-shift:.2f}em">{written}</tspan>' if shift else written


def _math(text: str) -> str:
    """Single letters in italics, as in formulas; words, numbers and signs upright."""
    text = text.replace("-", "−")
    pieces = re.split(r"(?<![^\W\d_])([^\W\d_][\u0300-\u036f′]*)(?![^\W\d_])", text)
    return "".join(
        f"<tspan class='letter'>{escape(piece)}</tspan>" if number % 2 else escape(piece)
        for number, piece in enumerate(pieces)
    )


def width_of(label: str) -> float:
    """The width of a label in units of its font size, roughly."""
    scripts = sum(len(m[2]) for m in _SCRIPT.finditer(label))
    plain = len(re.sub("[\u0300-\u036f]", "", _SCRIPT.sub("", label)))
    return 0.56 * plain + 0.43 * scripts
