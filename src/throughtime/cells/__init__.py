"""The cells: each class holds the equations of one recurrence, each file one family of them.

Importing this package imports all of its modules and registers each cell class with a ``name``.
"""

import importlib
import pkgutil

from throughtime.cells.cell import Cell, Input, Parameter, State, get, names, register
from throughtime.cells.synaptic import SynapticLTC

__all__ = ["Cell", "Input", "Parameter", "State", "SynapticLTC", "get", "names", "register"]

for _module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
    for _cell in vars(importlib.import_module(_module.name)).values():
        if isinstance(_cell, type) and issubclass(_cell, Cell) and vars(_cell).get("name"):
            register(_cell)
