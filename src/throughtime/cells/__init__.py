"""The equations: one step of one recurrence a class, one family a file.

Every module of this folder is read, and every cell in it that has a ``name`` is registered.
"""

import importlib
import pkgutil

from throughtime.cells.cell import Cell, Input, Parameter, State, get, names, register

__all__ = ["Cell", "Input", "Parameter", "State", "get", "names", "register"]

for _module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
    for _cell in vars(importlib.import_module(_module.name)).values():
        if isinstance(_cell, type) and issubclass(_cell, Cell) and vars(_cell).get("name"):
            register(_cell)
