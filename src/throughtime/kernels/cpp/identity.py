"""Identities: texts by which an operator of PyTorch finds a cell and its kernel.

An operator can take tensors, numbers and texts as arguments, but no other objects. An exported
program stores the text, and another process can find the cell by it if the cell is registered.
"""

from __future__ import annotations

import ast
from collections.abc import Hashable

import torch

from throughtime.cells.cell import Cell, get, is_registered
from throughtime.kernels.cpp.recurrence import Kernel, kernel
from throughtime.kernels.graph.cell_keys import cell_key, snapshot
from throughtime.kernels.graph.program import Program, program

__all__ = ["cell_of", "identity", "kernel_of", "kernel_of_identity"]

_texts: dict[Hashable, str] = {}
_cells: dict[str, Cell] = {}
_programs: dict[str, Program] = {}


def identity(cell: Cell) -> str:
    """The text by which the operators find the cell.

    For a registered cell it consists of the name and the constants, and holds in every process.
    For any other cell it holds in this process only.
    """
    key = cell_key(cell)
    if key not in _texts:
        _texts[key] = _named(cell)
    return _texts[key]


def _named(cell: Cell) -> str:
    """A name unique to this cell's behaviour; remembers the cell and its program by the name."""
    arguments = ", ".join(f"{k}={v!r}" for k, v in cell.constants.items())
    # No registered name has angle brackets, so that another process cannot confuse this cell with
    # a registered one.
    name = cell.name if is_registered(cell) else f"<{cell.title}>"
    label = name + (f"({arguments})" if arguments else "")
    text, number, behaviour = label, 1, program(cell)
    while _programs.setdefault(text, behaviour) is not behaviour:
        number += 1
        text = f"{label}#{number}"
    # A copy, because the caller may change the cell's constants before the backward pass.
    _cells.setdefault(text, snapshot(cell))
    return text


def cell_of(text: str) -> Cell:
    """The cell of an :func:`identity`."""
    if text not in _cells:
        # The text comes from a program that another process exported.
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
