"""A text for each cell, which tells an operator of PyTorch what to compute.

An operator takes tensors, numbers and texts, and no objects. An exported program keeps the text,
and finds the cell again in another process if the cell is one of the registry.
"""

from __future__ import annotations

import ast
from collections.abc import Hashable

import torch

from throughtime.cells.cell import Cell, get, is_registered
from throughtime.kernels.cpp.recurrence import Kernel, kernel
from throughtime.kernels.graph.program import Program, program
from throughtime.kernels.graph.trace import cell_key, snapshot

__all__ = ["cell_of", "identity", "kernel_of", "kernel_of_identity"]

_texts: dict[Hashable, str] = {}
_cells: dict[str, Cell] = {}
_programs: dict[str, Program] = {}


def identity(cell: Cell) -> str:
    """A text from which the operators find the cell again, in this process or in another.

    A cell of the registry is named with its constants. Any other is known in this process only.
    """
    key = cell_key(cell)
    if key not in _texts:
        _texts[key] = _named(cell)
    return _texts[key]


def _named(cell: Cell) -> str:
    """A name unique to this cell's behaviour."""
    arguments = ", ".join(f"{k}={v!r}" for k, v in cell.constants.items())
    # No name of the registry has brackets: another process must not take another cell for it.
    name = cell.name if is_registered(cell) else f"<{cell.title}>"
    label = name + (f"({arguments})" if arguments else "")
    text, number, behaviour = label, 1, program(cell)
    while _programs.setdefault(text, behaviour) is not behaviour:
        number += 1
        text = f"{label}#{number}"
    # A copy: the caller's may have other constants when its backward pass comes.
    _cells.setdefault(text, snapshot(cell))
    return text


def cell_of(text: str) -> Cell:
    """The cell of an :func:`identity`."""
    if text not in _cells:
        # A program that was exported in another process.
        name, _, arguments = text.partition("(")
        call = ast.parse(f"f({arguments or ')'}", mode="eval").body
        assert isinstance(call, ast.Call)
        cell = get(name, **{k.arg or "": ast.literal_eval(k.value) for k in call.keywords})
        _cells[text], _programs[text] = cell, program(cell)
    return _cells[text]


def kernel_of(cell: Cell, dtype: torch.dtype) -> Kernel:
    """The kernel of a cell, for calls of this dtype."""
    return kernel(program(cell), dtype)


def kernel_of_identity(text: str, dtype: torch.dtype) -> Kernel:
    """The kernel of the cell with this :func:`identity`, for calls of this dtype."""
    cell_of(text)
    return kernel(_programs[text], dtype)
