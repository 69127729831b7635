"""``graph -> C++``: the equations of a step as the pointwise body of the time loop.

The generated C++ contains only what differs from cell to cell: the equations, the arrays that
their values are read from and written to, and the blocks of R that each sum needs. The time loop
is in ``recurrence.hpp``, the functions of the equations are in ``simd.hpp``.

``stages.py`` decides which stage of a step computes which value, ``arrays.py`` lists the arrays,
``pointwise.py`` writes the equations of a stage, and ``frame.py`` the text around them.
"""

from __future__ import annotations

from dataclasses import dataclass

from throughtime.kernels.cpp.arrays import COMPUTE, Array, Arrays
from throughtime.kernels.cpp.frame import file_text, stage_text
from throughtime.kernels.cpp.pointwise import Pointwise
from throughtime.kernels.cpp.stages import Stages
from throughtime.kernels.graph.maps import Map, Size
from throughtime.kernels.graph.program import Program

__all__ = ["COMPUTE", "Array", "Source", "emit"]


@dataclass
class Source:
    """One direction of one cell, as C++.

    Args:
        text: the source.
        arrays: the arrays it works on, in the order of ``Context::arrays``.
        sums: the names of the values that it sums over rows and steps: ``slot:0``,
            ``parameter:p_i``.
        spilled: how many values one stage writes for a later one.
        reductions: how many sums and maxima over the units there are.
        widths: for each stage, how many sums of products it has for one vector of units.
        products: for each stage, how many products with blocks of R it has.
        sizes: the numbers in the array ``sizes``, which follow from H.
        tables: the maps of the arrays ``table:0`` and so on.
    """

    text: str
    arrays: list[Array]
    sums: list[str]
    spilled: int
    reductions: int
    widths: list[int]
    products: list[int]
    sizes: list[Size]
    tables: list[Map]


def emit(program: Program, storage: str, backward: bool) -> Source:
    """Writes the source of one direction.

    Args:
        program: what a step computes.
        storage: the type of the sequences: ``float``, ``double`` or ``bfloat16``.
        backward: whether it is the backward direction.
    """
    memory = Arrays(program, storage)
    stages = Stages(program, backward, memory)
    texts: list[str] = []
    widths: list[int] = []
    products: list[int] = []
    # From the last stage to the first: only a later stage knows what an earlier one must keep.
    for number in reversed(range(stages.last + 1)):
        taken = stages.products(number)
        pointwise = Pointwise(stages, memory, number, taken.accumulators)
        texts.insert(0, stage_text(number, taken, pointwise, stages.waits()))
        widths.insert(0, len(taken.accumulators))
        products.insert(0, sum(len(one.members) for one in taken.inputs))
    return Source(
        text=file_text(stages, memory, texts),
        arrays=memory.arrays,
        sums=stages.sums,
        spilled=len(memory.spilled),
        reductions=len(stages.reductions),
        widths=widths,
        products=products,
        sizes=list(memory.sizes),
        tables=list(memory.tables),
    )
