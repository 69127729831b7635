"""``save_c``: a trained network as one C file and its header."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from throughtime.checks import unknown
from throughtime.interchange.c.arrays import Arrays
from throughtime.interchange.c.network import Network
from throughtime.interchange.c.text import header_text, source_text
from throughtime.interchange.computed_weights import with_plain_weights
from throughtime.interchange.streamed import refuse_replaced, streamed
from throughtime.layers.evaluation import evaluating
from throughtime.written import written_together

__all__ = ["WEIGHTS", "save_c"]

WEIGHTS = ("float", "double", "int8")

_WORDS = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if "
    "inline int long register restrict return short signed sizeof static struct switch typedef "
    "union unsigned void volatile while asm bool catch class delete explicit export false friend "
    "mutable namespace new operator private protected public template this throw true try typeid "
    "typename using virtual".split()
)
# With the folder on a compiler's search path, #include <math.h> would read the file math.h in it.
_HEADERS = frozenset(
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdarg "
    "stdbool stddef stdint stdio stdlib string tgmath time wchar wctype".split()
)
# What the names of matrices, parameters, states and inputs inside the functions begin with.
_INSIDE = frozenset("W R p s u".split())


def save_c(
    module: nn.Module,
    folder: str | Path,
    *,
    name: str = "network",
    weights: Literal["float", "double", "int8"] = "float",
    binary: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Writes a network as a C99 file that runs it one step at a time, and its header.

    The C file needs the standard library alone. It allocates nothing and has no global variables;
    the program owns the state. It contains the module in evaluation mode. NAME_init and NAME_reset
    begin a new sequence; NAME_step reads the input of one step and writes its output. See the
    header for the memory and the operations of a step.

    Args:
        module: a ``Recurrent``, ``RNN``, ``LSTM`` or ``GRU`` of one direction with any cell whose
            step can be traced; or a model that can run step by step: see docs/live.md.
        folder: the folder for NAME.c and NAME.h; it is created.
        name: what the files are called, and what all names in them begin with.
        weights: ``float`` and ``double`` are the type of all numbers. ``int8`` stores each matrix
            with 8 bits for a weight and one scale for each row, and computes in float.
        binary: whether the weights go to NAME.bin, which the program passes to NAME_init, instead
            of to constant arrays in NAME.c.
        overwrite: whether files of these names may be replaced.

    Returns:
        The paths of the files.

    Raises:
        ValueError: if the module cannot run step by step, a step cannot be traced, the name is no
            identifier of C, or a file exists.
    """
    if weights not in WEIGHTS:
        raise unknown("type of weights", weights, WEIGHTS)
    _check_name(name)
    folder = Path(folder)
    ends = (".h", ".c", ".bin") if binary else (".h", ".c")
    paths = [folder / f"{name}{end}" for end in ends]
    existing = [path for path in paths if path.exists()]
    if existing and not overwrite:
        raise ValueError(
            f"save_c: {existing[0]} exists. Choose another folder or name, or pass overwrite=True."
        )
    contents = _contents(module, name, weights, binary)
    folder.mkdir(parents=True, exist_ok=True)
    written_together(
        {
            path: lambda partial, content=contents[path.suffix]: partial.write_bytes(content)
            for path in paths
        }
    )
    return paths


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(
            f"save_c: expected a name of letters, digits and underscores that begins with a "
            f"letter, because the names in the C file begin with it, got {name!r}."
        )
    if name in _WORDS:
        raise ValueError(f"save_c: {name} is a word of C or C++. Choose another name.")
    if name.lower() in _HEADERS:
        raise ValueError(
            f"save_c: C has a header {name.lower()}.h of its own. Choose another name."
        )
    if name in _INSIDE:
        raise ValueError(
            f"save_c: names inside its functions begin with {name}_. Choose another name."
        )


def _contents(module: nn.Module, name: str, weights: str, binary: bool) -> Mapping[str, bytes]:
    """The contents of the files by their endings."""
    streamed("save_c", module)
    # In training mode a step may draw random numbers.
    with evaluating(module):
        plain = with_plain_weights("save_c", module)
        refuse_replaced("save_c", module)
        _check_weights(plain)
        parts = streamed("save_c", plain)
        real = "double" if weights == "double" else "float"
        arrays = Arrays(f"{name}_", real, weights == "int8", binary)
        network = Network("save_c", f"{name}_", parts, arrays)
    contents = {
        ".h": header_text(name, network, repr(module)).encode(),
        ".c": source_text(name, network).encode(),
    }
    return contents | ({".bin": arrays.binary()} if binary else {})


def _check_weights(module: nn.Module) -> None:
    for key, value in module.named_parameters():
        if not value.is_floating_point():
            raise ValueError(f"save_c: expected {key} as real numbers, got {value.dtype}.")
        if not torch.isfinite(value).all():
            raise ValueError(
                f"save_c: expected finite weights, but {key} has infinity or NaN. The training has "
                f"diverged."
            )
