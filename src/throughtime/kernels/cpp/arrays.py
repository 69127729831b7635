"""The memory that generated code works on: which arrays there are, and where things lie in them."""

from __future__ import annotations

from dataclasses import dataclass

from throughtime.kernels.graph.graph import Node, reachable
from throughtime.kernels.graph.program import Program

__all__ = ["COMPUTE", "Array", "Memory"]

COMPUTE = {"float": "float", "double": "double", "bfloat16": "float"}
"""The type that each storage type is computed in."""


@dataclass(frozen=True)
class Array:
    """Memory that a kernel works on.

    Args:
        name: what it holds.
        per_row: how many widths H one row has.
        stored: whether its elements are of the storage type, or else of the compute type.
    """

    name: str
    per_row: int
    stored: bool


class Memory:
    """The arrays of one kernel. It grows while the kernel is written.

    A *view* is one array at one step: ``now``, ``before`` or ``after`` it, or ``fixed``, the same
    at every step.

    Attributes:
        arrays: in the order of ``Context::arrays``.
        index: the place of each name among them.
        views: the place of each (name, step) in ``Step::view``.
        spilled: the place of each value that is kept from one stage to a later one.
    """

    def __init__(self, program: Program, storage: str) -> None:
        self.program, self.storage = program, storage
        self.arrays: list[Array] = []
        self.index: dict[str, int] = {}
        self.views: dict[tuple[str, str], int] = {}
        self.spilled: dict[Node, int] = {}

    def array(self, name: str, per_row: int = 1, stored: bool = True) -> str:
        """Adds an array where it is not there yet; returns its name."""
        if name not in self.index:
            self.index[name] = len(self.arrays)
            self.arrays.append(Array(name, per_row, stored))
        return name

    def type_of(self, name: str) -> str:
        """The C++ type of an array's elements: S, the storage type, or T, the compute type."""
        return "S" if self.arrays[self.index[name]].stored else "T"

    def at(self, name: str, when: str, offset: int = 0) -> str:
        """A pointer to the row of an array, at a step."""
        view = self.views.setdefault((name, when), len(self.views))
        array = self.arrays[self.index[name]]
        place = f"row * {array.per_row} * W" if array.per_row else "0"
        plus = f" + {offset} * W" if offset else ""
        return f"(({self.type_of(name)}*)s.view[{view}] + {place}{plus})"

    def state(self, name: str, elementwise: bool) -> str:
        """Where a state is kept: as an operand in the storage type, or to compute with."""
        if self.storage == COMPUTE[self.storage]:
            return self.array(f"state:{name}")
        kinds = _state_kinds(self.program, name)
        stored = "state" in kinds and not (elementwise and "value" in kinds)
        return self.array(f"{'state' if stored else 'value'}:{name}", stored=stored)

    def state_before(self, name: str, elementwise: bool) -> str:
        """The row of a state before the step: the initial one where the row starts."""
        array = self.state(name, elementwise)
        initial = self.array(f"initial_{array}", stored=self.type_of(array) == "S")
        return (
            f"(flag_of(s, row) & START ? {self.at(initial, 'fixed')} : {self.at(array, 'before')})"
        )

    def operand(self, value: Node) -> str:
        """The row of what a block of R is multiplied with."""
        if value.op == "state":
            return self.state_before(value.name, elementwise=False)
        i = self.program.operands.index(value)
        return self.at(self.array(f"operand:{i}"), "now")

    def spill(self, node: Node) -> str:
        """The row of a value that is kept from one stage to a later one."""
        place = self.spilled.setdefault(node, len(self.spilled))
        self.array("spill", 0, stored=False)
        view = self.views.setdefault(("spill", "fixed"), len(self.views))
        return f"((T*)s.view[{view}] + (row * SPILLED + {place}) * W)"


def _state_kinds(program: Program, name: str) -> set[str]:
    """How a state is kept where storage and compute types differ.

    ``state``: in the storage type, to be an operand or the output. ``value``: in the compute type,
    to compute with; also where nothing else asks for it.
    """
    kinds = set()
    if name in program.fed_back or name == program.output_state:
        kinds.add("state")
    leaf = program.graph.leaf("state", name)
    forward = reachable(program.results)
    if leaf in forward or not kinds:
        kinds.add("value")
    return kinds
