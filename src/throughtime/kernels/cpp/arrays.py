"""The arrays that generated code works on, and the C++ expressions that point into them."""

from __future__ import annotations

from dataclasses import dataclass

from throughtime.kernels.cpp.tables import is_dense
from throughtime.kernels.graph.graph import Node, reachable
from throughtime.kernels.graph.maps import UNITS, Map, Size
from throughtime.kernels.graph.program import Program

__all__ = ["COMPUTE", "Array", "Arrays"]

COMPUTE = {"float": "float", "double": "double", "bfloat16": "float"}
"""The type of computations for each type of stored values."""


@dataclass(frozen=True)
class Array:
    """An array that a kernel works on.

    Args:
        name: the kind of the array and the name of its value, like ``state:h``.
        per_row: the number of values of W units that one row has; 0 if the array has no rows.
        stored: whether the elements have the storage type; else they have the compute type.
    """

    name: str
    per_row: int
    stored: bool


class Arrays:
    """The arrays of one kernel; each is added when the generated code first uses it.

    A *view* is a pointer to one array at one time: at the current step (``now``), at the step
    ``before`` or ``after`` it, or ``fixed`` if the array does not change with time. The time loop
    sets all views once for each step.

    Attributes:
        arrays: the arrays, in the order of ``Context::arrays``.
        index: the position of each array by its name.
        views: the position of each (name, time) in ``Step::view``.
        spilled: the position in the array ``spill`` of each value that a later stage reads.
        sizes: the position in the array ``sizes`` of each number that follows from H.
        tables: the number of the table of each map.
    """

    def __init__(self, program: Program, storage: str) -> None:
        self.program, self.storage = program, storage
        self.arrays: list[Array] = []
        self.index: dict[str, int] = {}
        self.views: dict[tuple[str, str], int] = {}
        self.spilled: dict[Node, int] = {}
        self.sizes: dict[Size, int] = {}
        self.tables: dict[Map, int] = {}

    def array(self, name: str, per_row: int = 1, stored: bool = True) -> str:
        """Adds an array unless there is one of this name; returns the name."""
        if name not in self.index:
            self.index[name] = len(self.arrays)
            self.arrays.append(Array(name, per_row, stored))
        return name

    def type_of(self, name: str) -> str:
        """The C++ type of an array's elements: S, the storage type, or T, the compute type."""
        return "S" if self.arrays[self.index[name]].stored else "T"

    def at(self, name: str, when: str, offset: int = 0) -> str:
        """A C++ pointer to a row of an array.

        Args:
            name: the name of the array.
            when: ``now``, ``before``, ``after`` or ``fixed``.
            offset: the number of the value in the row, below ``per_row``.
        """
        view = self.views.setdefault((name, when), len(self.views))
        array = self.arrays[self.index[name]]
        place = f"row * {array.per_row} * W" if array.per_row else "0"
        plus = f" + {offset} * W" if offset else ""
        return f"(({self.type_of(name)}*)s.view[{view}] + {place}{plus})"

    def state(self, name: str, elementwise: bool) -> str:
        """Adds the array of a state; returns its name.

        If the compute type differs from the storage type, a state may have two arrays: one in the
        storage type for products and results, one in the compute type for the equations.

        Args:
            name: the name of the state.
            elementwise: whether the caller needs the array for the equations.
        """
        if self.storage == COMPUTE[self.storage]:
            return self.array(f"state:{name}")
        kinds = _state_kinds(self.program, name)
        stored = "state" in kinds and not (elementwise and "value" in kinds)
        return self.array(f"{'state' if stored else 'value'}:{name}", stored=stored)

    def state_before(self, name: str, elementwise: bool) -> str:
        """A C++ pointer to a row's state before the step: its initial state if the row starts."""
        array = self.state(name, elementwise)
        initial = self.array(f"initial_{array}", stored=self.type_of(array) == "S")
        return (
            f"(flag_of(s, row) & START ? {self.at(initial, 'fixed')} : {self.at(array, 'before')})"
        )

    def operand(self, value: Node) -> str:
        """A C++ pointer to the row of a value that is multiplied with a block of R."""
        if value.op == "state":
            return self.state_before(value.name, elementwise=False)
        i = self.program.operands.index(value)
        return self.at(self.array(f"operand:{i}"), "now")

    def size(self, size: Size) -> str:
        """The C++ expression of a number that follows from the number of units."""
        if size == UNITS:
            return "s.call->units"
        place = self.sizes.setdefault(size, len(self.sizes))
        self.array("sizes", 0, stored=False)
        view = self.views.setdefault(("sizes", "fixed"), len(self.views))
        return f"int64_t(((const T*)s.view[{view}])[{place}])"

    def table(self, rule: Map) -> str:
        """A C++ pointer to the table of a map; see tables.py."""
        place = self.tables.setdefault(rule, len(self.tables))
        name = self.array(f"table:{place}", 0, stored=False)
        view = self.views.setdefault((name, "fixed"), len(self.views))
        return f"((const {'T' if is_dense(rule) else 'int32_t'}*)s.view[{view}])"

    def spill(self, node: Node) -> str:
        """A C++ pointer to the row of a value that one stage writes and a later one reads."""
        place = self.spilled.setdefault(node, len(self.spilled))
        self.array("spill", 0, stored=False)
        view = self.views.setdefault(("spill", "fixed"), len(self.views))
        return f"((T*)s.view[{view}] + (row * SPILLED + {place}) * W)"


def _state_kinds(program: Program, name: str) -> set[str]:
    """The kinds of arrays that a state has if the storage type and the compute type differ.

    ``state`` has the storage type; products and the output read it. ``value`` has the compute
    type, so that a cell state does not lose precision from step to step; the equations read it. A
    state that nothing reads has a ``value``.
    """
    kinds = set()
    if name in program.fed_back or name == program.output_state:
        kinds.add("state")
    leaf = program.graph.leaf("state", name)
    forward = reachable(program.results)
    if leaf in forward or not kinds:
        kinds.add("value")
    return kinds
