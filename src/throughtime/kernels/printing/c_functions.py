"""The functions that printed C calls, taken from ``arithmetic.c``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files

__all__ = ["BLOCKS", "functions"]

BLOCKS = {"float": (32, 8), "double": (32, 8), "int8_t": (128, 32, 8)}
"""The heights of the blocks of a stored matrix, by the type of its weights: a matrix has as many
blocks of the first height as fit, then as many of the next one. See ``my_product`` in
``arithmetic.c``.

With the first height, memory is read almost from its beginning to its end. Blocks of more rows take
twice as long where the weights do not fit into the caches.
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
    parts = [
        _typed(part, prefix, real, weight)
        for whole in _parts(source, real)
        for part in _of_each_height(whole, BLOCKS[weight])
    ]
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


def _of_each_height(part: str, heights: Sequence[int]) -> list[str]:
    """A function for each height of a block; if its name has none, with its loops for each."""

    def each(text: str) -> list[str]:
        return [text.replace("HEIGHT", str(height)) for height in heights]

    if re.search(r"^static .*HEIGHT\(", part, re.MULTILINE):
        return each(part)
    return [re.sub(r"    for \(.*HEIGHT.*\n.*\n", lambda loop: "".join(each(loop[0])), part)]


def _typed(part: str, prefix: str, real: str, weight: str) -> str:
    letter = "f" if real == "float" else ""
    part = re.sub(r"\bEITHER\((.+?), (.+?)\)", r"\1" if real == "float" else r"\2", part)
    part = re.sub(r"\bR\(([-\w.]+)\)", rf"\g<1>{letter}", part)
    part = re.sub(r"\breal\b", real, part)
    part = re.sub(r"\bweight\b", weight, part)
    bits = 32 if real == "float" else 64
    part = re.sub(r"\bBITS\b", f"uint{bits}_t", part)
    part = re.sub(r"\bINT\b", f"int{bits}_t", part)
    return re.sub(r"\bmy_", prefix, part)
