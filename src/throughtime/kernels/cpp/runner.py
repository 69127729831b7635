"""The compiled code of plan.hpp for one storage type, and the matrices that it multiplies with."""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from torch import Tensor

from throughtime.kernels.cpp.build import load
from throughtime.kernels.cpp.context import LAYOUT_OF_PLAN, check_layout
from throughtime.kernels.cpp.region import Region

__all__ = ["Matrix", "Runner", "runner_of", "source"]


class Runner:
    """The compiled code of plan.hpp for one storage type.

    Args:
        storage: the type of stored values: ``float``, ``double`` or ``bfloat16``.
        weights: the type of packed weights; None is the storage type.

    Attributes:
        step, piece: run one step, and several steps; take the address of a ``Plan``.
        pack, packed_size: arrange a matrix for ``linear``, and give the bytes that this takes.
        units_of_tile: the number of outputs of a tile.
        steps_ahead: the number of later steps whose products with W a kernel computes at a time;
            0 if it does not.
    """

    def __init__(self, storage: str, weights: str | None) -> None:
        library = load(source(storage, weights))
        check_layout(library, LAYOUT_OF_PLAN)
        size, pointer = ctypes.c_int64, ctypes.c_void_p
        self.library = library
        self.piece, self.step = library.run_piece, library.run_step
        self.piece.argtypes = [pointer, *(pointer, size, size), *(pointer, size, size), size]
        self.step.argtypes = [pointer, pointer, pointer]
        self.pack, self.packed_size = library.pack_matrix, library.packed_matrix_size
        self.pack.argtypes, self.pack.restype = [pointer, size, size, pointer], None
        self.packed_size.argtypes, self.packed_size.restype = [size, size], size
        self.units_of_tile: int = library.units_of_tile()
        self.steps_ahead: int = library.steps_ahead()


@cache
def runner_of(storage: str, weights: str | None = None) -> Runner:
    """The :class:`Runner` of two types; compiled by the first call."""
    return Runner(storage, weights)


def source(storage: str, weights: str | None = None) -> str:
    """The C++ that includes plan.hpp, and the functions that Python calls."""
    values = "\n".join(f"        int64_t({expression})," for expression in LAYOUT_OF_PLAN)
    return f"""// plan, {storage}, weights {weights or storage}
#include "plan.hpp"
using namespace throughtime;
using S = {storage};
using Q = {weights or storage};
#define PUBLIC extern "C" __attribute__((visibility("default")))
PUBLIC int run_piece(
    Plan* plan, const char* x, int64_t x_time, int64_t x_row, char* y, int64_t y_time,
    int64_t y_row, int64_t steps) {{
    return run_plan<S, Q>(*plan, {{x, x_time, x_row, y, y_time, y_row, steps}});
}}
PUBLIC int run_step(Plan* plan, const char* x, char* y) {{
    const int64_t x_row = plan->table ? 1 : plan->inputs;
    return run_plan<S, Q>(*plan, {{x, 0, x_row, y, 0, plan->outputs, 1}});
}}
PUBLIC void pack_matrix(const S* matrix, int64_t inputs, int64_t outputs, char* to) {{
    pack_linear<S, Q>(matrix, inputs, outputs, to);
}}
PUBLIC int64_t packed_matrix_size(int64_t inputs, int64_t outputs) {{
    return linear_size<S, Q>(inputs, outputs);
}}
PUBLIC int64_t units_of_tile() {{ return NV_LINEAR * Simd<Compute<S>>::LANES; }}
PUBLIC int64_t steps_ahead() {{ return CAN_COMPUTE_AHEAD ? STEPS_AHEAD : 0; }}
PUBLIC void context_layout(int64_t* to) {{
    const int64_t values[] = {{
{values}
    }};
    for (const int64_t value : values) *to++ = value;
}}
"""


class Matrix:
    """A matrix (outputs, inputs) and a bias, packed for ``linear`` of plan.hpp.

    Args:
        runner: the compiled code.
        weight: the matrix, or None if there is none.
        bias: the bias (outputs), or None.
        compute: the dtype of the sums.
    """

    def __init__(
        self, runner: Runner, weight: Tensor | None, bias: Tensor | None, compute: torch.dtype
    ) -> None:
        self._runner, self._weight = runner, weight
        self.outputs, self.inputs = (0, 0) if weight is None else weight.shape
        self.panel: Tensor | None = None
        self.size = 0 if weight is None else runner.packed_size(self.inputs, self.outputs)
        # The last tile reads the bias of outputs that do not exist.
        tiles = -(-self.outputs // runner.units_of_tile)
        self.bias = torch.zeros(tiles * runner.units_of_tile, dtype=compute)
        if bias is not None:
            self.bias[: self.outputs] = bias.detach()

    def pack(self, region: Region) -> None:
        """Packs the matrix into the next part of a region."""
        if self._weight is not None:
            self.panel = region.take((self.size,))
            weight = self._weight.detach().resolve_neg().contiguous()
            self._runner.pack(
                *(weight.data_ptr(), self.inputs, self.outputs), self.panel.data_ptr()
            )
            self._weight = None

    def fields(self) -> tuple[int | None, int, int, int]:
        """The fields of ``Linear``."""
        panel = None if self.panel is None else self.panel.data_ptr()
        return panel, self.bias.data_ptr(), self.inputs, self.outputs
