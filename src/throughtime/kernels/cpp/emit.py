"""``graph -> C++``: the equations of a step as the pointwise body of the time loop.

What is written here is only what differs from cell to cell: the equations, where their values
are read and written, and which blocks of R make which sums. The loop is in ``recurrence.hpp``,
the functions of the equations in ``simd.hpp``.

``stages.py`` says which stage of a step computes what, ``arrays.py`` where it lies in memory,
``pointwise.py`` writes the lines of a stage, and ``frame.py`` the text around them.
"""

from __future__ import annotations

from dataclasses import dataclass

from throughtime.kernels.cpp.arrays import COMPUTE, Array, Memory
from throughtime.kernels.cpp.frame import file_text, stage_text
from throughtime.kernels.cpp.pointwise import Pointwise
from throughtime.kernels.cpp.stages import Stages
from throughtime.kernels.graph.program import Program

__all__ = ["COMPUTE", "Array", "Source", "emit"]


@dataclass
class Source:
    """One direction of one cell, as C++.

    Args:
        text: the source.
        arrays: the memory it works on, in the order of ``Context::arrays``.
        sums: what is summed over rows and steps: ``slot:0``, ``parameter:p_i``.
        spilled: how many values are kept from one stage to a later one.
        reductions: how many sums over units there are.
        widths: how many sums the tiles of each stage hold for one vector of units.
        products: how many products of blocks each stage takes.
    """

    text: str
    arrays: list[Array]
    sums: list[str]
    spilled: int
    reductions: int
    widths: list[int]
    products: list[int]


def emit(program: Program, storage: str, backward: bool) -> Source:
    """Writes the source of one direction.

    Args:
        program: what is to be done.
        storage: the type of the sequences: ``float``, ``double`` or ``bfloat16``.
        backward: which direction.
    """
    memory = Memory(program, storage)
    stages = Stages(program, backward, memory)
    texts: list[str] = []
    widths: list[int] = []
    products: list[int] = []
    # From the last to the first, for a stage keeps what a later one asks for.
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
    )
