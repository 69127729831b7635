"""Builds a cell from its name and constants, as written in a file or on a command line."""

from __future__ import annotations

from throughtime import cells
from throughtime.cells.cell import Cell
from throughtime.reading import Entries, ReadError, Whole, kinds_of, typed

__all__ = ["MOST", "named_cell"]

MOST = 4096
"""The upper limit of whole-number constants, which set the number of states or stages of a cell."""


def named_cell(where: str, name: str, constants: object = None) -> Cell:
    """The registered cell ``name``, constructed with constants.

    Args:
        where: the file and entry, or the option, that holds the constants, for error messages.
        name: the name of the cell in the registry.
        constants: arguments of the cell's constructor by name; None uses its defaults.

    Raises:
        ValueError: for an unknown name, an unknown constant, or a constant of the wrong type.

    >>> named_cell("--cell_options", "tau-gru", {"delay": 2})
    DelayedGRU(delay=2)
    """
    kind = type(cells.get(name))
    kinds = {
        constant: Whole(-MOST, MOST) if of_type is int else of_type
        for constant, of_type in kinds_of(kind).items()
    }
    values = {} if constants is None else constants
    checked = typed(where, values, Entries({}, kinds))
    try:
        return kind(**checked)
    except ValueError as error:
        raise ReadError(where, str(error)) from error
