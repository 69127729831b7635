"""``graph -> C++``: generates the code of one step, which the time loop runs.

The generated C++ contains only the parts that differ from cell to cell: the equations, the arrays
that they read and write, and the blocks of R that each sum needs. The time loop is in
``recurrence.hpp``, the functions of the equations are in ``simd.hpp``.

``stages.py`` assigns the values of a step to stages, ``arrays.py`` lists the arrays,
``pointwise.py`` writes the equations of a stage, and ``frame.py`` the code around them.
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
    """The C++ of one direction of a cell, and the sizes that its caller must know.

    Args:
        text: the C++.
        arrays: the arrays that it reads and writes, in the order of ``Context::arrays``.
        sums: the names of the values that it sums over rows and steps, like ``slot:0`` and
            ``parameter:p_i``.
        spilled: the number of values that one stage writes for a later one.
        reductions: the number of sums and maxima over the units.
        widths: for each stage, the number of sums of products for one vector of units.
        products: for each stage, the number of products with blocks of R.
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


def emit(program: Program, storage: str, backward: bool, weights: str | None = None) -> Source:
    """Generates the C++ of one direction.

    Args:
        program: the computation of a step.
        storage: the type of stored values: ``float``, ``double`` or ``bfloat16``.
        backward: whether it is the backward direction.
        weights: the type in which the blocks of R are packed, ``bfloat16`` or ``int8_t``, for
            ``float``; None is the storage type.
    """
    memory = Arrays(program, storage)
    stages = Stages(program, backward, memory)
    texts: list[str] = []
    widths: list[int] = []
    products: list[int] = []
    # From the last stage to the first: a later stage decides what an earlier one must store.
    for number in reversed(range(stages.last + 1)):
        of_stage = stages.products(number)
        pointwise = Pointwise(stages, memory, number, of_stage.accumulators)
        texts.insert(0, stage_text(number, of_stage, pointwise, stages.waits()))
        widths.insert(0, len(of_stage.accumulators))
        products.insert(0, sum(len(operand.members) for operand in of_stage.inputs))
    return Source(
        text=file_text(stages, memory, texts, weights or storage),
        arrays=memory.arrays,
        sums=stages.sums,
        spilled=len(memory.spilled),
        reductions=len(stages.reductions),
        widths=widths,
        products=products,
        sizes=list(memory.sizes),
        tables=list(memory.tables),
    )
