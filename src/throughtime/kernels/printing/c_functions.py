"""The functions that printed C calls, taken from ``arithmetic.c``."""

from __future__ import annotations

import re
from importlib.resources import files

__all__ = ["BLOCKS", "functions"]

BLOCKS = {"float": (32, 8), "double": (16, 8), "int8_t": (128, 32, 8)}
"""The heights of the blocks of a stored matrix, by the type of its weights: a matrix has as many
blocks of the first height as fit, then as many of the next one, then one block of what is left. See
``my_product`` in ``arithmetic.c``.

The first height makes a column 128 bytes long: its sums fit into registers, and memory is read
almost from its beginning to its end. Higher blocks of floats take twice as long where the weights do
not fit into the caches. The other heights serve matrices of few rows: most compilers make vector
instructions only of a loop whose length they know.
"""


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
    for loop in re.findall(r"    for \(.*\bHEIGHT\b.*\n.*\n", part):
        written = [re.sub(r"\bHEIGHT\b", str(height), loop) for height in BLOCKS[weight]]
        part = part.replace(loop, "".join(written))
    part = re.sub(r"\bBITS\b", "uint32_t" if real == "float" else "uint64_t", part)
    return re.sub(r"\bmy_", prefix, part)
