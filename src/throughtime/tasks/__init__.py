"""The tasks: each file defines one task with its data, model, loss, metrics and settings.

Importing this package imports all of its modules and registers each task class with a ``name``.
"""

import importlib
import pkgutil

from throughtime.tasks.task import Task, get, names, register

__all__ = ["Task", "get", "names", "register"]

for _module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
    for _task in vars(importlib.import_module(_module.name)).values():
        if isinstance(_task, type) and issubclass(_task, Task) and vars(_task).get("name"):
            register(_task)
