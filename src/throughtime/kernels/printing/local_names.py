"""The names that a step gives to its values: those of its local variables."""

from __future__ import annotations

import sys
from inspect import unwrap
from types import CodeType, FrameType
from typing import Any

from throughtime.cells.cell import Cell
from throughtime.kernels.graph.graph import Node
from throughtime.kernels.graph.symbols import Symbol
from throughtime.kernels.graph.trace import run_on_symbols

__all__ = ["local_names"]


def local_names(cell: Cell) -> dict[str, str]:
    """The local variables of the step that hold its values.

    The step runs once more on symbols, and is watched line by line, so that neither the graph nor
    a cell that is not printed pays for the names. A variable that is assigned again names all of
    its values; of several variables with one value the first names it. The variables of functions
    that the step calls are not read. If a step calls that of a base class, both are read, and the
    outer one decides.

    Args:
        cell: a cell that :func:`throughtime.kernels.graph.trace.trace` accepts.

    Returns:
        For each node, as it is written in the text of the graph, the name of its variable.
    """
    watch = _Watch()
    # A debugger, or a measurement of coverage, goes on afterwards.
    before = sys.gettrace()
    sys.settrace(watch.call)
    try:
        run_on_symbols(cell)
    finally:
        sys.settrace(before)
    return watch.names


class _Watch:
    """Reads the local variables of steps while they run; its methods are called by Python.

    Attributes:
        names: the result of :func:`local_names`.
    """

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def call(self, frame: FrameType, event: str, arg: Any) -> Any:
        """A function was called: if it is a step, watches its lines."""
        if not _is_step(frame):
            return None
        # The arguments have names already.
        current, own = _values(frame), dict[str, str]()

        def line(frame: FrameType, event: str, arg: Any) -> Any:
            for name, node in _values(frame).items():
                if current.get(name) is not node:
                    current[name] = node
                    own.setdefault(repr(node), name)
            if event == "return":
                self.names |= own
            return line

        return line


def _values(frame: FrameType) -> dict[str, Node]:
    """The local variables that hold a value of the graph now."""
    nodes = {k: v._node for k, v in frame.f_locals.items() if isinstance(v, Symbol)}
    return {name: node for name, node in nodes.items() if isinstance(node, Node)}


def _is_step(frame: FrameType) -> bool:
    """Whether the function is the step of a cell, or of a base class of it.

    The step of a wrapper (a cell that declares ``follows``) is that of a layer option. It has no
    equations that an author named.
    """
    code = frame.f_code
    cell = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
    if not isinstance(cell, Cell) or hasattr(type(cell), "follows"):
        return False
    return code in _steps_of(cell)


def _steps_of(cell: Cell) -> list[CodeType]:
    steps = [unwrap(vars(k)["step"]) for k in type(cell).__mro__ if "step" in vars(k)]
    return [step.__code__ for step in steps if hasattr(step, "__code__")]
