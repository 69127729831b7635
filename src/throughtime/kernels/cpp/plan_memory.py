"""The memory in which a plan runs: the states of some rows, and all other memory of a step."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from throughtime.kernels.cpp.context import Context, StepArray, context_of, plan_context_of
from throughtime.kernels.cpp.plan import PackedLayer, Plan
from throughtime.kernels.cpp.region import Count, Region
from throughtime.kernels.cpp.scratch import lasting
from throughtime.kernels.cpp.units import width

__all__ = ["Memory"]


class Memory:
    """The states of B rows that a plan reads, with all other memory of a step.

    Args:
        plan: the plan.
        rows: B.
        sizes: the number of units of each state in the order of the cell: H, or P of a projection.
    """

    @lasting()
    def __init__(self, plan: Plan, rows: int, sizes: Sequence[int]) -> None:
        self.plan, self.rows, self.sizes = plan, rows, tuple(sizes)
        self.chunk = _chunk(plan, rows)
        self._lay_out()
        self._context = plan_context_of(len(plan.layers))()
        self._address, self._step = ctypes.addressof(self._context), plan.runner.step
        self._contexts: list[Context] = []
        self._views_of: dict[int, list[tuple[list[Tensor], list[Tensor]]]] = {}
        self._fill()

    def _lay_out(self) -> None:
        count = Count()
        self._take_all(count)
        self._region = Region(count.taken)
        self._take_all(self._region)
        self._bytes_of_states = self._region.memory[: self._size_of_states]
        self._noted = self._bytes_of_states

    def _take_all(self, region: Region | Count) -> None:
        """Takes all parts; the states come first, so that a fork copies one part."""
        take = region.take
        plan, B = self.plan, self.rows
        self._states = [
            {
                array.name: take(
                    (self.chunk if array.name == layer.code.output else 2, B, layer.walk.W),
                    layer.code.type_of(array.name),
                )
                for array in layer.code.library.source.arrays
                if array.name.startswith(("state:", "value:"))
            }
            for layer in plan.layers
        ]
        self._size_of_states = region.taken
        self._flags = take((self.chunk, B), torch.uint8)
        self._x = take((self.chunk, B, width(plan.input_size)), plan.dtype)
        self._others = [self._take_others(layer, region) for layer in plan.layers]
        outputs = plan.head.outputs if plan.head is not None else 0
        self._results = take((self.chunk, B, outputs), plan.layers[0].code.compute)

    def _take_others(self, layer: PackedLayer, region: Region | Count) -> dict[str, Tensor]:
        """The memory of one layer besides its states, by the names of the arrays."""
        code, B, W, take = layer.code, self.rows, layer.walk.W, region.take
        steps_ahead = layer.steps_ahead(B)
        # Products that are computed ahead are those of the current block of steps and the next one.
        hoisted = min(self.chunk, 2 * steps_ahead) if steps_ahead else self.chunk
        others = {"hoisted": take((hoisted, B, layer.input.outputs), code.compute)}
        if layer.is_residual:
            others["sum"] = take((self.chunk, B, W), code.dtype)
        if steps_ahead:
            others["columns"] = take((layer.input.inputs, steps_ahead), code.dtype)
        source, library = code.library.source, code.library
        partials = 0
        if source.reductions:
            partials = library.partials_size(Context(rows=B, units=layer.walk.H, width=W))
        others["partials"] = take((partials,))
        for array in source.arrays:
            kind = array.name.partition(":")[0]
            if kind == "output":
                others[array.name] = take((self.chunk, B, W), code.type_of(array.name))
            elif kind == "operand" or (kind == "input" and array.name != "input:x"):
                others[array.name] = take((B, W), code.type_of(array.name))
            elif kind == "spill":
                others[array.name] = take((B, source.spilled, W), code.compute)
        return others

    # The addresses that compiled code reads.

    def _fill(self) -> None:
        plan, context = self.plan, self._context
        context.rows, context.layers = self.rows, len(plan.layers)
        context.flags, context.chunk = self._flags.data_ptr(), self.chunk
        x, x_width = StepArray(self._x, mask=self.chunk - 1), self._x.shape[-1]
        context.x, context.x_width = x.fields(), x_width
        context.inputs, context.outputs = plan.input_size, plan.output_size
        if plan.table is not None:
            context.table, context.tokens = plan.table.data_ptr(), len(plan.table)
        for number, layer in enumerate(plan.layers):
            x, x_width = self._fill_layer(number, layer, x, x_width)
        context.y, context.y_width = x.fields(), x_width
        if plan.head is not None:
            context.head, context.results = plan.head.fields(), self._results.data_ptr()

    def _fill_layer(
        self, number: int, layer: PackedLayer, x: StepArray, x_width: int
    ) -> tuple[StepArray, int]:
        """Sets the addresses of one layer; returns its output and the width of the rows.

        Args:
            number: the number of the layer.
            layer: the layer.
            x, x_width: its input, and the width of the rows.
        """
        walk, code = layer.walk, layer.code
        others, source = self._others[number], code.library.source
        arrays = {name: StepArray(s, mask=len(s) - 1) for name, s in self._states[number].items()}
        for name, tensor in others.items():
            has_steps = name in ("hoisted", "sum", "output")
            arrays[name] = StepArray(tensor, mask=len(tensor) - 1 if has_steps else 0)
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
        fields.input, fields.hoisted = layer.input.fields(), arrays["hoisted"].fields()
        fields.output = output.fields()
        if "columns" in others:
            fields.columns = others["columns"].data_ptr()
        if layer.is_residual:
            output = arrays["sum"]
            fields.sum = output.fields()
        return output, walk.W

    # The states.

    @property
    def states(self) -> list[Tensor]:
        """Copies of the states after the last step, each (L, B, size)."""
        views, dtype = self._views((self._context.time - 1) & (self.chunk - 1)), self.plan.dtype
        return [torch.stack(of_layers).to(dtype) for of_layers, _ in views]

    @states.setter
    def states(self, values: Sequence[Tensor]) -> None:
        self._context.time = 0
        # Step 0 reads the place of step -1, which is the last one.
        for (of_layers, copies), value in zip(self._views(-1), values, strict=True):
            parts = value.detach().unbind()
            for view, part in zip(of_layers, parts, strict=True):
                view.copy_(part)
            for view, part in zip(copies, parts, strict=False):
                view.copy_(part)

    def note_states(self) -> None:
        """Notes the states, which have just been set, for :meth:`restore_states`."""
        self._noted = self._bytes_of_states.clone()

    def restore_states(self) -> None:
        """Sets the states to the noted ones, in one copy."""
        self._context.time = 0
        self._bytes_of_states.copy_(self._noted)

    def _views(self, place: int) -> list[tuple[list[Tensor], list[Tensor]]]:
        """For each state its values in all layers, (B, size), after the step at a place.

        A state with two arrays has a second list, of those in the storage type.

        Args:
            place: the number of the step modulo the length of a chunk.
        """
        if place not in self._views_of:
            views: list[tuple[list[Tensor], list[Tensor]]] = []
            for name, size in zip(self.plan.state_names, self.sizes, strict=True):
                kinds = [f"{kind}:{name}" for kind in ("value", "state")]
                known = [[arrays[k] for k in kinds if k in arrays] for arrays in self._states]
                all_views = [
                    [array[place & (len(array) - 1), :, :size] for array in of_layer]
                    for of_layer in known
                ]
                views.append(([v[0] for v in all_views], [v[1] for v in all_views if v[1:]]))
            self._views_of[place] = views
        return self._views_of[place]

    def fork(self) -> Memory:
        """A second, independent memory with the same states."""
        other = Memory(self.plan, self.rows, self.sizes)
        other._bytes_of_states.copy_(self._bytes_of_states)
        other._context.time = self._context.time
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


def _chunk(plan: Plan, rows: int) -> int:
    """The most steps of a chunk, a power of 2: what a chunk writes must stay in the cache."""
    numbers = [(0 if n.steps_ahead(rows) else n.input.outputs) + 2 * n.walk.W for n in plan.layers]
    chunk = 2
    while chunk < _MOST_STEPS and 2 * chunk * 4 * rows * max(numbers) <= _CACHED:
        chunk *= 2
    return chunk


_MOST_STEPS, _CACHED = 128, 1 << 17
