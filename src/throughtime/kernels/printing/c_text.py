"""Numbers, names and statements as the text of C."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["function_text", "identifier", "loop", "number"]

_WIDTH = 100


def loop(width: int, body: Sequence[str]) -> list[str]:
    """A loop over the units k of a row."""
    return [f"for (k = 0; k < {width}; ++k) {{", *(f"    {line}" for line in body), "}"]


def number(value: float, real: str) -> str:
    """A number as C, with all its digits; infinity and NaN by their names in math.h."""
    if real == "float":
        with np.errstate(over="ignore"):
            value = float(np.float32(value))
    if math.isnan(value):
        return f"({real})NAN"
    if math.isinf(value):
        return f"({real})INFINITY" if value > 0 else f"-({real})INFINITY"
    text = str(np.float32(value)) if real == "float" else repr(value)
    if not any(c in text for c in ".en"):
        text += ".0"
    return text + "f" * (real == "float")


def function_text(head: str, lines: Sequence[str]) -> str:
    """A function of C, with its lines broken where they are too long."""
    body = [line for text in lines for line in _broken(f"    {text}")]
    return "\n".join([*_broken(head), "{", *body, "}"])


def _broken(line: str) -> list[str]:
    """A line of C, broken at spaces into lines that fit."""
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    lines: list[str] = []
    while len(line) > _WIDTH:
        end = line.rfind(" ", len(indent) + 1, _WIDTH + 1)
        if end < 0:
            break
        lines.append(line[:end])
        line = indent + line[end + 1 :]
    return [*lines, line]


def identifier(name: str) -> str:
    """A name of Python as a name of C: other letters than those of English become ``u03b1``."""
    return "".join(c if c.isascii() else f"u{ord(c):04x}" for c in name)
