"""The forward direction of a compiled cell.

A sequence is run in chunks of steps. For each chunk one large matrix product multiplies the input
with W; then the compiled kernel runs the steps. The products of a chunk are still in the
processor's cache when the kernel reads them, and are never stored for the whole sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from throughtime.kernels.call import Call
from throughtime.kernels.cpp.chunks import num_chunks
from throughtime.kernels.cpp.context import StepArray
from throughtime.kernels.cpp.emit import COMPUTE, Array, Source, emit
from throughtime.kernels.cpp.gemm import matmul
from throughtime.kernels.cpp.library import Library
from throughtime.kernels.cpp.packing import Packed, Packing
from throughtime.kernels.cpp.scratch import empty, scratch
from throughtime.kernels.cpp.tables import sizes, table
from throughtime.kernels.cpp.units import width
from throughtime.kernels.cpp.walk import Walk
from throughtime.kernels.graph.program import Program

__all__ = ["STORAGE", "Forward", "KeptArrays"]

STORAGE = {torch.float32: "float", torch.float64: "double", torch.bfloat16: "bfloat16"}
"""The C++ name of each dtype that a kernel can store sequences in."""
_DTYPES = {name: dtype for dtype, name in STORAGE.items()}


@dataclass
class KeptArrays:
    """The arrays of a forward call that the backward call needs besides the call's arguments.

    Args:
        save: ``gates`` or ``states``.
        output: the array to which the kernel wrote the output, (T, B, W).
        arrays: the kernel's other arrays by name. With ``gates`` they contain all steps; with
            ``states`` they contain the states before each chunk, (chunks, B, W).
    """

    save: str
    output: Tensor
    arrays: dict[str, Tensor] = field(default_factory=dict)


class Forward:
    """The forward direction of a cell, compiled for one storage type.

    Args:
        program: the computation of a step.
        storage: the type of stored values: ``float``, ``double`` or ``bfloat16``.
        weights: the type of the packed blocks of R; see :func:`emit`.

    Attributes:
        dtype, compute: the dtypes of stored values and of computations.
        packing: the order of the weights.
        hoisted: the slots whose products with the input are computed before the time loop.
        output: the name of the array of the output.
    """

    def __init__(self, program: Program, storage: str, weights: str | None = None) -> None:
        self.program, self.storage, self.weights = program, storage, weights
        self.dtype, self.compute = _DTYPES[storage], _DTYPES[COMPUTE[storage]]
        self.packing = Packing(program, self.compute)
        self.hoisted = self.packing.hoisted
        # The output of most cells is one of the states; then both share one array.
        self.output = f"state:{program.output_state}" if program.output_state else "output"

    @cached_property
    def source(self) -> Source:
        """The generated C++."""
        return emit(self.program, self.storage, backward=False, weights=self.weights)

    @cached_property
    def library(self) -> Library:
        """The compiled C++; the first access compiles it unless it is in the cache."""
        return Library(self.source, is_backward=False)

    def kept_arrays(
        self, T: int, B: int, H: int, save: str, is_ragged: bool
    ) -> list[tuple[str, tuple[int, ...]]]:
        """The names and shapes of the arrays that a call keeps besides the output it returns.

        Args:
            T, B, H: the numbers of steps, rows and units; they may be symbolic.
            save: ``gates`` or ``states``.
            is_ragged: whether the rows have lengths.
        """
        W = width(H)
        # If units are padded or rows are sorted, the caller receives a copy of the output. The
        # backward call then needs the kernel's own output too.
        arrays = [("own", (T, B, W))] if W != H or is_ragged else []
        # Only sizes decide the number of chunks, so that torch.compile can derive the shapes.
        count = num_chunks(T, B, len(self.program.slots) * W * self.compute.itemsize, save)
        for array in self.source.arrays:
            kind = _kind(array)
            if array.name == self.output:
                continue
            if save == "gates" and kind in ("state", "value", "operand", "saved"):
                arrays.append((array.name, (T, B, array.per_row * W)))
            elif save == "states" and kind in ("state", "value"):
                arrays.append((array.name, (count, B, W)))
        return arrays

    def type_of(self, name: str) -> torch.dtype:
        """The dtype of one of :meth:`kept_arrays`."""
        stored = {array.name: array.stored for array in self.source.arrays}
        return self.dtype if name == "own" or stored[name] else self.compute

    def walk(self, call: Call, save: str | None) -> Walk:
        """The sizes, chunks, rows and threads of a call."""
        return Walk(self.dtype, self.compute, len(self.program.slots), call, save)

    def run(self, call: Call, save: str | None) -> tuple[Tensor, list[Tensor], KeptArrays | None]:
        """Runs all steps of a call.

        Args:
            call: its tensors are of this kernel's dtype.
            save: ``gates``, ``states``, or None if no backward call follows.

        Returns:
            The outputs (T, B, H), the last states (B, H), and the arrays that the backward call
            needs; None instead of these if ``save`` is None.
        """
        walk = self.walk(call, save)
        state = [walk.rows.sorted(s) for s in call.state]
        arrays = self._arrays(walk, save)
        initial = self.initial(state, walk)
        packed = self.packing.pack(call.weights, walk, self.library)
        starts = self._starts(walk, arrays) if save == "states" else {}
        for number, (t0, n) in enumerate(walk.chunks):
            # The first chunk starts from the initial states, which the backward call receives too.
            if number > 0:
                before = t0 + n if call.reverse else t0 - 1
                for name, start in starts.items():
                    # These arrays keep two steps alternately: step t lies at t & 1.
                    start[number] = arrays[name].tensor[before & 1]
            memory = {name: array.at(t0) for name, array in arrays.items()} | initial
            self.run_chunk(walk, packed, memory, call, t0, n)
        kept = KeptArrays(save, arrays[self.output].tensor, starts) if save is not None else None
        if kept is not None and save == "gates":
            kept.arrays = {name: a.tensor for name, a in arrays.items() if name != self.output}
        last = [
            walk.rows.unsorted(self._last(walk, arrays, name, s))
            for name, s in zip(self.program.states, state, strict=True)
        ]
        output = walk.rows.unsorted(walk.unpadded(arrays[self.output].tensor), 1)
        return output, last, kept

    def values(self, call: Call, kept: KeptArrays) -> dict[str, Tensor]:
        """All values that the step returns, by name, at all steps; each is (T, B, H).

        The kernel's program must be a :func:`recording_program`, or that of a cell whose step
        returns only states and the output.

        Args:
            call: a call that was run with ``save="gates"``.
            kept: the arrays that :meth:`run` returned for it.
        """
        walk = self.walk(call, "gates")
        arrays = {self.output: kept.output, **kept.arrays}
        values = {}
        for name in (*self.program.states, self.program.cell.output_name, *self.program.others):
            kinds = (f"value:{name}", f"state:{name}", f"other:{name}", "output")
            # If a state has two arrays, the first of these kinds has the compute type, which is
            # more precise.
            array = next(arrays[kind] for kind in kinds if kind in arrays)
            values[name] = walk.rows.unsorted(walk.unpadded(array), 1).to(self.dtype)
        return values

    def run_chunk(
        self,
        walk: Walk,
        packed: Packed,
        memory: dict[str, StepArray],
        call: Call,
        t0: int,
        n: int,
    ) -> None:
        """Runs the steps t0 to t0 + n of a call, which write to the arrays in ``memory``."""
        part = walk.rows.chunk(call.x, t0, n)
        if self.hoisted:
            rows = part.reshape(-1, walk.I)
            hoisted = walk.hoisted(len(self.hoisted), self.compute)[: len(rows)]
            assert packed.input is not None
            # The product adds the bias too, which saves one addition in each step.
            matmul(rows, packed.input.T, hoisted, bias=packed.input_bias)
            memory["hoisted"] = StepArray(hoisted.view(n, len(rows) // n, -1))
        memory["bias"] = StepArray(packed.bias, mask=0)
        memory["parameters"] = StepArray(packed.parameters, mask=0)
        memory |= self.tables(self.library.source, walk)
        memory |= self.inputs(walk, call, part, t0, n)
        # The kernel counts steps from t0; in reverse it starts at the last step of the chunk.
        begin, direction = (n - 1, -1) if walk.reverse else (0, 1)
        walk.run(self.library, packed.recurrent, memory, t0, begin, n, direction)

    def tables(self, source: Source, walk: Walk) -> dict[str, StepArray]:
        """The tables of the maps over units that generated code reads; see tables.py."""
        if not source.sizes and not source.tables:
            return {}
        H, W, compute = walk.H, walk.W, self.compute
        arrays = {"sizes": sizes(source.sizes, H, compute)}
        for i, rule in enumerate(source.tables):
            arrays[f"table:{i}"] = table(rule, H, W, compute)
        return {name: StepArray(array, mask=0) for name, array in arrays.items()}

    def inputs(self, walk: Walk, call: Call, x: Tensor, t0: int, n: int) -> dict[str, StepArray]:
        """The arrays of the inputs that the equations read unit by unit, for one chunk.

        Args:
            walk, call: the call.
            x: the chunk's steps of x, as :meth:`Rows.chunk` returns them.
            t0, n: the first step and the number of steps of the chunk.
        """
        further = dict(zip(self.program.cell.given_inputs, call.inputs, strict=True))
        arrays = {}
        for name in self.program.inputs:
            part = x if name == "x" else walk.rows.chunk(further[name], t0, n)
            arrays[f"input:{name}"] = StepArray(walk.padded(part).contiguous())
        return arrays

    def initial(self, state: Sequence[Tensor], walk: Walk) -> dict[str, StepArray]:
        """The arrays of the initial states, whose rows are sorted."""
        of_name = dict(zip(self.program.states, state, strict=True))
        arrays = {}
        for array in self.library.source.arrays:
            if array.name.startswith("initial_"):
                value = of_name[array.name.partition(":")[2]].to(self._dtype(array))
                arrays[array.name] = StepArray(walk.padded(value).contiguous(), mask=0)
        return arrays

    def chunk_arrays(self, walk: Walk, most: int) -> dict[str, Tensor]:
        """Scratch memory for a chunk that the backward call runs forward again.

        It has room for ``most`` steps and one more at each end: the states before the chunk are
        put at one end, which depends on the direction of time.
        """
        arrays = {}
        for array in self.library.source.arrays:
            if _kind(array) in ("state", "value", "operand", "output", "saved"):
                shape = (most + 2, walk.B, array.per_row * walk.W)
                arrays[array.name] = scratch.take(array.name, shape, self._dtype(array))
        return arrays

    def _dtype(self, array: Array) -> torch.dtype:
        return self.dtype if array.stored else self.compute

    def _arrays(self, walk: Walk, save: str | None) -> dict[str, StepArray]:
        """The arrays that the kernel writes in a whole call.

        An array that nothing reads after the call has room only for the steps that the kernel
        itself needs: two for a state, which steps use alternately, and one for an operand.
        """
        T, B, W = walk.T, walk.B, walk.W
        # The large products of the backward call multiply all rows of a chunk. Rows that have
        # ended must be zero there, and the kernel does not write them.
        is_ragged = walk.rows.lengths is not None
        arrays: dict[str, StepArray] = {}
        for array in self.library.source.arrays:
            kind, dtype = _kind(array), self._dtype(array)
            has_all_steps = save == "gates" and kind in ("state", "value", "operand", "other")
            if array.name == self.output or has_all_steps:
                arrays[array.name] = StepArray(empty((T, B, W), dtype, is_ragged))
            elif kind in ("state", "value"):
                arrays[array.name] = StepArray(empty((2, B, W), dtype, is_ragged), mask=1)
            elif kind == "operand":
                arrays[array.name] = StepArray(empty((1, B, W), dtype), mask=0)
            elif kind == "saved" and save == "gates":
                shape = (T, B, array.per_row * W)
                arrays[array.name] = StepArray(empty(shape, dtype, is_ragged))
        return arrays

    def _starts(self, walk: Walk, arrays: Mapping[str, StepArray]) -> dict[str, Tensor]:
        """Arrays for the states before each chunk, except for the output, which is kept whole."""
        return {
            name: empty((len(walk.chunks), walk.B, walk.W), array.tensor.dtype, True)
            for name, array in arrays.items()
            if name.startswith(("state", "value")) and name != self.output
        }

    def _last(
        self, walk: Walk, arrays: Mapping[str, StepArray], name: str, initial: Tensor
    ) -> Tensor:
        """A state after the last step of each row, (B, H), in the kernel's order of rows."""
        memory = arrays.get(f"value:{name}") or arrays[f"state:{name}"]
        if walk.rows.lengths is None:
            t = (0 if walk.reverse else walk.T - 1) & memory.mask
            last = memory.tensor[t]
        elif walk.reverse:
            last = memory.tensor[0]
        else:
            t = (walk.rows.lengths - 1).clamp(min=0) & memory.mask
            last = memory.tensor[t, torch.arange(walk.B)]
        if walk.rows.lengths is not None:
            # A row of length 0 has no step, so that its last state is its initial one.
            is_empty = (walk.rows.lengths == 0).unsqueeze(-1)
            last = torch.where(is_empty, walk.padded(initial).to(last.dtype), last)
        # A copy, because the caller may change it, and the backward call reads the array.
        return walk.unpadded(last).to(initial.dtype, copy=True)


def _kind(array: Array) -> str:
    """The kind of an array, like ``state`` for ``state:h``."""
    return array.name.partition(":")[0]
