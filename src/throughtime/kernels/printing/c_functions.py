"""The functions that printed C calls, taken from ``arithmetic.c``."""

from __future__ import annotations

import re
from importlib.resources import files

__all__ = ["BLOCK", "functions"]

BLOCK = 256
"""The number of rows of a block of a stored matrix; see ``my_product`` in ``arithmetic.c``."""


def functions(text: str, prefix: str, real: str, weight: str) -> str:
    """The functions that a C text calls, and those that they call, in an order of declaration.

    Args:
        text: the text; it calls the functions by their names with the prefix.
        prefix: what the names begin with.
        real: ``float`` or ``double``, the type of all numbers.
        weight: the type of the stored matrices.
    """
    source = files("throughtime.kernels.printing").joinpath("arithmetic.c").read_text("utf-8")
    parts = [_typed(part, prefix, real, weight) for part in _parts(source, real)]
    needed = text
    chosen: list[str] = []
    # A function calls only functions that stand before it.
    for part in reversed(parts):
        name = re.search(rf"^static .*?({prefix}\w+)\(", part, re.MULTILINE)
        assert name is not None
        if re.search(rf"\b{name[1]}\(", needed):
            chosen.insert(0, part)
            needed += part
    return "\n\n".join(chosen)


def _parts(source: str, real: str) -> list[str]:
    """The functions of the file that this type has."""
    parts: list[str] = []
    for part in re.split(r"\n\n(?=\S)", source.strip())[1:]:
        first, _, rest = part.partition("\n")
        if first in ("float:", "double:"):
            if first == f"{real}:":
                parts.append(rest)
        else:
            parts.append(part)
    return parts


def _typed(part: str, prefix: str, real: str, weight: str) -> str:
    letter = "f" if real == "float" else ""
    part = re.sub(r"\bEITHER\((.+?), (.+?)\)", r"\1" if real == "float" else r"\2", part)
    part = re.sub(r"\bR\(([\w.]+)\)", rf"\g<1>{letter}", part)
    part = re.sub(r"\breal\b", real, part)
    part = re.sub(r"\bweight\b", weight, part)
    part = re.sub(r"\bBITS\b", "uint32_t" if real == "float" else "uint64_t", part)
    return re.sub(r"\bmy_", prefix, part)
