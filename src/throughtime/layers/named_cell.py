"""A cell from its name and constants, as a person writes them."""

from __future__ import annotations

from throughtime import cells
from throughtime.cells.cell import Cell
from throughtime.reading import Entries, ReadError, Whole, kinds_of, typed

__all__ = ["MOST", "named_cell"]

MOST = 4096
"""Of a whole number among the constants: it says how many states or stages a cell has."""


def named_cell(where: str, name: str, constants: object = None) -> Cell:
    """The registered cell of a name, with constants of its own.

    Args:
        where: the file and the entry that hold the constants, or the option, for the message.
        constants: arguments of the cell's constructor by name; None is its defaults.

    Raises:
        ValueError: for an unknown name, an unknown constant, or one of a wrong type.

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
