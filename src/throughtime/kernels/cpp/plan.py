"""Plans: stacked layers that run one step after the other in one call, for a few rows.

A call of a layer packs its weights and allocates memory; for a long sequence this takes no share of
the time, for a single step nearly all of it. A :class:`Plan` packs the weights of all layers once.
A :class:`Memory` holds the states of some rows, and all other memory of a step. Each step is then
one call of compiled code, which runs the forward kernels of the cells (see plan.hpp).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from throughtime.kernels.call import Call
from throughtime.kernels.cpp.backend import reasons as reasons_of_call
from throughtime.kernels.cpp.build import load
from throughtime.kernels.cpp.context import (
    LAYOUT_OF_PLAN,
    Context,
    StepArray,
    check_layout,
    context_of,
    plan_context_of,
)
from throughtime.kernels.cpp.forward import Forward
from throughtime.kernels.cpp.identity import kernel_of
from throughtime.kernels.cpp.recurrence import STORAGE
from throughtime.kernels.cpp.scratch import empty
from throughtime.kernels.cpp.units import width
from throughtime.kernels.cpp.walk import Walk
from throughtime.kernels.graph.folded import fold, folds_of

__all__ = ["Head", "Memory", "Plan", "PlannedLayer", "reasons"]


@dataclass(frozen=True)
class PlannedLayer:
    """One layer of a plan.

    Args:
        call: the cell and the weights, and x (1, 1, I) and states (1, H), whose shapes are read.
        output_size: the number of output features, at most H.
        is_residual: whether the layer adds its input to its output.
    """

    call: Call
    output_size: int
    is_residual: bool = False


@dataclass(frozen=True)
class Head:
    """A linear map after the last layer: the weight (O, H), and the bias (O) or None."""

    weight: Tensor
    bias: Tensor | None


def reasons(layers: Sequence[PlannedLayer]) -> list[str]:
    """Why the layers cannot run as a plan; empty if they can."""
    refusals = [why for layer in layers for why in reasons_of_call(layer.call)]
    return list(dict.fromkeys(refusals))


class _Runner:
    """The compiled code of plan.hpp for one storage type."""

    def __init__(self, storage: str) -> None:
        library = load(_source(storage))
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


@cache
def _runner(storage: str) -> _Runner:
    return _Runner(storage)


def _source(storage: str) -> str:
    values = "\n".join(f"        int64_t({expression})," for expression in LAYOUT_OF_PLAN)
    return f"""// plan, {storage}
#include "plan.hpp"
using namespace throughtime;
using S = {storage};
#define PUBLIC extern "C" __attribute__((visibility("default")))
PUBLIC int run_piece(
    Plan* plan, const char* x, int64_t x_time, int64_t x_row, char* y, int64_t y_time,
    int64_t y_row, int64_t steps) {{
    return run_plan<S>(*plan, {{x, x_time, x_row, y, y_time, y_row, steps}});
}}
PUBLIC int run_step(Plan* plan, const char* x, char* y) {{
    const int64_t x_row = plan->table ? 1 : plan->inputs;
    return run_plan<S>(*plan, {{x, 0, x_row, y, 0, plan->outputs, 1}});
}}
PUBLIC void pack_matrix(const S* matrix, int64_t inputs, int64_t outputs, S* to) {{
    pack_linear<S>(matrix, inputs, outputs, to);
}}
PUBLIC int64_t packed_matrix_size(int64_t inputs, int64_t outputs) {{
    return linear_size<S>(inputs, outputs);
}}
PUBLIC int64_t units_of_tile() {{ return NV_LINEAR * Simd<Compute<S>>::LANES; }}
PUBLIC void context_layout(int64_t* to) {{
    const int64_t values[] = {{
{values}
    }};
    for (const int64_t value : values) *to++ = value;
}}
"""


class _Matrix:
    """A matrix (outputs, inputs) and a bias, packed for ``linear`` of plan.hpp.

    Args:
        runner: the compiled code.
        weight: the matrix, or None if there is none.
        bias: the bias (outputs), or None.
        compute: the dtype of the sums.
    """

    def __init__(
        self, runner: _Runner, weight: Tensor | None, bias: Tensor | None, compute: torch.dtype
    ) -> None:
        self.outputs, self.inputs = (0, 0) if weight is None else weight.shape
        self.panel = None
        if weight is not None:
            size = runner.packed_size(self.inputs, self.outputs)
            self.panel = empty((size,), torch.uint8)
            weight = weight.detach().contiguous()
            runner.pack(weight.data_ptr(), self.inputs, self.outputs, self.panel.data_ptr())
        # The last tile reads the bias of outputs that do not exist.
        tiles = -(-self.outputs // runner.units_of_tile)
        self.bias = torch.zeros(tiles * runner.units_of_tile, dtype=compute)
        if bias is not None:
            self.bias[: self.outputs] = bias.detach()

    def fields(self) -> tuple[int | None, int, int, int]:
        """The fields of ``Linear``."""
        panel = None if self.panel is None else self.panel.data_ptr()
        return panel, self.bias.data_ptr(), self.inputs, self.outputs


class _Packed:
    """One layer of a plan with its packed weights."""

    def __init__(self, layer: PlannedLayer, runner: _Runner) -> None:
        dtype = layer.call.x.dtype
        kernel = kernel_of(layer.call.cell, dtype)
        kernel.build(trains=False)
        self.code: Forward = kernel.forward_code
        cell = self.code.program.cell
        self.call = fold(layer.call, cell, folds_of(cell))
        self.output_size, self.is_residual = layer.output_size, layer.is_residual
        self.walk: Walk = self.code.walk(self.call, None)
        packed = self.code.packing.pack(self.call.weights, self.walk, self.code.library)
        self.recurrent = packed.recurrent
        if self.recurrent is not None:
            # The blocks were packed into scratch memory.
            self.recurrent = empty(tuple(self.recurrent.shape), torch.uint8).copy_(self.recurrent)
        self.input = _Matrix(runner, packed.input, packed.input_bias, self.code.compute)
        self.constants = {
            "bias": StepArray(packed.bias, mask=0),
            "parameters": StepArray(packed.parameters, mask=0),
            **self.code.tables(self.code.library.source, self.walk),
        }


class Plan:
    """Stacked layers with packed weights; they run in a :class:`Memory`.

    The weights are copied: a later change of the layer does not change the plan.

    Args:
        layers: the layers, of which :func:`reasons` must refuse none.
        table: embeddings (V, I): the input is then the number of a row, not the row itself.
        head: a linear map after the last layer.

    Attributes:
        draws: whether a cell draws random numbers, so that :attr:`Memory.seeds` must be set.
    """

    def __init__(
        self, layers: Sequence[PlannedLayer], table: Tensor | None = None, head: Head | None = None
    ) -> None:
        self.dtype = layers[0].call.x.dtype
        self.runner = _runner(STORAGE[self.dtype])
        self.layers = [_Packed(layer, self.runner) for layer in layers]
        self.table = None if table is None else table.detach().clone().contiguous()
        compute = self.layers[0].code.compute
        self.head = None if head is None else _Matrix(self.runner, head.weight, head.bias, compute)
        self.input_size = layers[0].call.x.shape[-1]
        self.output_size = layers[-1].output_size if head is None else head.weight.shape[0]
        self.state_names = list(self.layers[0].code.program.states)
        self.draws = any(layer.code.program.drawn for layer in self.layers)


class Memory:
    """The states of B rows that a plan reads, with all other memory of a step.

    Args:
        plan: the plan.
        rows: B.
        sizes: the number of units of each state in the order of the cell: H, or P of a projection.
    """

    def __init__(self, plan: Plan, rows: int, sizes: Sequence[int]) -> None:
        self.plan, self.rows, self.sizes = plan, rows, tuple(sizes)
        self._lay_out()
        self._context = plan_context_of(len(plan.layers))()
        self._address, self._step = ctypes.addressof(self._context), plan.runner.step
        self._contexts: list[Context] = []
        self._fill()

    # Memory is laid out twice with the same code: first to count its bytes, then to cut it.

    def _lay_out(self) -> None:
        self._memory: Tensor | None = None
        self._taken = 0
        self._take_all()
        # The states come first, so that a fork copies one part.
        self._memory = torch.zeros(self._taken, dtype=torch.uint8)
        self._taken = 0
        self._take_all()

    def _take(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A part of the memory, aligned to whole vectors."""
        size = torch.Size(shape).numel() * dtype.itemsize
        begin, self._taken = self._taken, self._taken + -(-max(size, 1) // 64) * 64
        if self._memory is None:
            return torch.empty(0, dtype=dtype)
        return self._memory[begin : begin + size].view(dtype).view(shape)

    def _take_all(self) -> None:
        plan, B = self.plan, self.rows
        self._states: list[dict[str, Tensor]] = []
        for layer in plan.layers:
            self._states.append(
                {
                    array.name: self._take((2, B, layer.walk.W), layer.code.type_of(array.name))
                    for array in layer.code.library.source.arrays
                    if array.name.startswith(("state:", "value:"))
                }
            )
        self._size_of_states = self._taken
        self._flags = self._take((B,), torch.uint8)
        self._x_width = width(plan.input_size)
        self._x = self._take((B, self._x_width), plan.dtype)
        self._others = [self._take_others(layer) for layer in plan.layers]
        outputs = plan.head.outputs if plan.head is not None else 0
        self._results = self._take((B, outputs), plan.layers[0].code.compute)

    def _take_others(self, layer: _Packed) -> dict[str, Tensor]:
        """The memory of one layer besides its states, by the names of the arrays."""
        code, B, W = layer.code, self.rows, layer.walk.W
        others = {"hoisted": self._take((B, layer.input.outputs), code.compute)}
        others["sum"] = self._take((B, W), code.dtype)
        source, library = code.library.source, code.library
        partials = 0
        if source.reductions:
            partials = library.partials_size(Context(rows=B, units=layer.walk.H, width=W))
        others["partials"] = self._take((partials,), torch.uint8)
        for array in source.arrays:
            kind = array.name.partition(":")[0]
            if kind in ("operand", "output") or (kind == "input" and array.name != "input:x"):
                others[array.name] = self._take((B, W), code.type_of(array.name))
            elif kind == "spill":
                others[array.name] = self._take((B, source.spilled, W), code.compute)
        return others

    # The addresses that compiled code reads.

    def _fill(self) -> None:
        plan, context = self.plan, self._context
        context.rows, context.layers = self.rows, len(plan.layers)
        context.flags = self._flags.data_ptr()
        context.x, context.x_width = self._x.data_ptr(), self._x_width
        context.inputs, context.outputs = plan.input_size, plan.output_size
        if plan.table is not None:
            context.table, context.tokens = plan.table.data_ptr(), len(plan.table)
        x, x_width = StepArray(self._x, mask=0), self._x_width
        for number, layer in enumerate(plan.layers):
            x, x_width = self._fill_layer(number, layer, x, x_width)
        context.y, context.y_width = x.fields(), x_width
        if plan.head is not None:
            context.head, context.results = plan.head.fields(), self._results.data_ptr()

    def _fill_layer(
        self, number: int, layer: _Packed, x: StepArray, x_width: int
    ) -> tuple[StepArray, int]:
        """Sets the addresses of one layer; returns its output and the width of the rows.

        Args:
            number: the number of the layer.
            layer: the layer.
            x, x_width: its input, and the width of the rows.
        """
        walk, code = layer.walk, layer.code
        others, source = self._others[number], code.library.source
        arrays = {name: StepArray(s, mask=1) for name, s in self._states[number].items()}
        arrays |= {name: StepArray(tensor, mask=0) for name, tensor in others.items()}
        arrays |= {"input:x": x, **layer.constants}
        context = context_of(len(source.arrays))(
            rows=self.rows,
            units=walk.H,
            width=walk.W,
            narrow=walk.narrow,
            count=1,
            direction=1,
            # More than there will ever be: no step is the last one.
            steps=1 << 62,
            groups=1,
            members=1,
            weights=None if layer.recurrent is None else layer.recurrent.data_ptr(),
            partials=others["partials"].data_ptr(),
        )
        for place, array in enumerate(source.arrays):
            # The others are never read, and not written if their address is null: initial states,
            # and values for a backward call.
            if array.name in arrays:
                context.arrays[place] = arrays[array.name].fields()
        self._contexts.append(context)
        output = arrays[code.output]
        fields = self._context.layer[number]
        fields.run = ctypes.cast(code.library.run, ctypes.c_void_p).value
        fields.context = ctypes.addressof(context)
        fields.x, fields.x_width = x.fields(), x_width
        fields.input, fields.hoisted = layer.input.fields(), others["hoisted"].data_ptr()
        fields.output = output.fields()
        if layer.is_residual:
            fields.sum = others["sum"].data_ptr()
            output = arrays["sum"]
        return output, walk.W

    # The states.

    @property
    def states(self) -> list[Tensor]:
        """Copies of the states after the last step, each (L, B, size)."""
        now, dtype = (self._context.time - 1) & 1, self.plan.dtype
        stacked = []
        for name, size in zip(self.plan.state_names, self.sizes, strict=True):
            rows = []
            for arrays in self._states:
                # The array of the compute type, if there is one, is more precise.
                array = arrays.get(f"value:{name}", arrays.get(f"state:{name}"))
                assert array is not None
                rows.append(array[now, :, :size].to(dtype))
            stacked.append(torch.stack(rows))
        return stacked

    @states.setter
    def states(self, values: Sequence[Tensor]) -> None:
        self._context.time = 0
        for name, value, size in zip(self.plan.state_names, values, self.sizes, strict=True):
            for number, arrays in enumerate(self._states):
                for kind in ("state", "value"):
                    if f"{kind}:{name}" in arrays:
                        # Step 0 reads the place of step -1.
                        arrays[f"{kind}:{name}"][1, :, :size] = value[number].detach()

    def fork(self) -> Memory:
        """A second, independent memory with the same states."""
        other = Memory(self.plan, self.rows, self.sizes)
        assert self._memory is not None
        assert other._memory is not None
        size = self._size_of_states
        other._memory[:size] = self._memory[:size]
        other._context.time = self._context.time
        return other

    def under(self, plan: Plan) -> Memory:
        """A memory with the same states for a plan of the same layers with other weights."""
        other = Memory(plan, self.rows, self.sizes)
        other.states = self.states
        return other

    # Running.

    def set_inputs(self, inputs: Sequence[Tensor]) -> None:
        """Sets the further inputs of the next step, each (B, H), in the order of the cell."""
        for layer, others in zip(self.plan.layers, self._others, strict=True):
            for name, value in zip(layer.code.program.cell.given_inputs, inputs, strict=True):
                if f"input:{name}" in others:
                    others[f"input:{name}"][:, : layer.walk.H] = value

    def set_seeds(self, seeds: Sequence[int]) -> None:
        """Sets the seeds of the random numbers that the layers draw in the next call."""
        for context, seed in zip(self._contexts, seeds, strict=True):
            context.seed = seed

    def step(self, x: Tensor, y: Tensor) -> bool:
        """Runs one step.

        Args:
            x: the input (B, I), or tokens (B); contiguous.
            y: the output (B, O), which is written; contiguous.

        Returns:
            Whether the step has run; False if a token has no embedding.
        """
        return bool(self._step(self._address, x.data_ptr(), y.data_ptr()))

    def piece(self, x: Tensor, y: Tensor, time: int) -> bool:
        """Runs the steps of a piece; see :meth:`step`.

        Args:
            x, y: as for a step, with a dimension for the time.
            time: the position of this dimension, 0 or 1; the other is that of the rows.
        """
        (x_time, x_row), (y_time, y_row) = ((v.stride(time), v.stride(1 - time)) for v in (x, y))
        return bool(
            self.plan.runner.piece(
                *(self._address, x.data_ptr(), x_time, x_row, y.data_ptr(), y_time, y_row),
                x.shape[time],
            )
        )
