"""The backward direction of a compiled cell.

The chunks of the forward call are run from the last to the first. In each chunk the compiled
kernel runs the steps and writes the gradients of the slots, the sums of products that enter the
equations. Large matrix products then give the chunk's share of the gradients of the input and of
the weights, while the gradients of its slots are still in the processor's cache.

With ``save="gates"`` the forward call kept the values of all steps. With ``save="states"`` it kept
only the states before each chunk, and a chunk is run forward again before its backward steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from throughtime.kernels.call import Call
from throughtime.kernels.cpp.context import StepArray
from throughtime.kernels.cpp.emit import Source, emit
from throughtime.kernels.cpp.forward import Forward, KeptArrays
from throughtime.kernels.cpp.gemm import matmul
from throughtime.kernels.cpp.library import Library
from throughtime.kernels.cpp.scratch import empty, scratch
from throughtime.kernels.cpp.weight_gradients import Gradients, WeightGradients

__all__ = ["Backward"]


class Backward:
    """The backward direction of a cell, compiled for the storage type of its forward direction.

    Args:
        forward: the forward direction of the same cell.
    """

    def __init__(self, forward: Forward) -> None:
        self.forward = forward

    @cached_property
    def source(self) -> Source:
        """The generated C++."""
        return emit(self.forward.program, self.forward.storage, backward=True)

    @cached_property
    def library(self) -> Library:
        """The compiled C++; the first access compiles it unless it is in the cache."""
        return Library(self.source, is_backward=True)

    @cached_property
    def weight_gradients(self) -> WeightGradients:
        """The gradients of W, R, the biases and the parameters."""
        forward = self.forward
        return WeightGradients(
            forward.program, forward.packing, forward.dtype, forward.compute, self.source.sums
        )

    def run(
        self,
        call: Call,
        kept: KeptArrays,
        d_output: Tensor | None,
        d_last: Sequence[Tensor | None],
        of_input: bool = True,
    ) -> Gradients:
        """The gradients of all arguments of a forward call.

        Args:
            call: the forward call.
            kept: the arrays that the forward call kept.
            d_output: the gradient of the outputs, (T, B, H); None stands for zero.
            d_last: the gradients of the last states; None stands for zero.
            of_input: whether to compute the gradient of x.
        """
        backward = _Pass(self, call, kept, d_output, d_last, of_input)
        for number in reversed(range(len(backward.walk.chunks))):
            backward.run_chunk(number)
        return backward.gradients()


@dataclass
class _Chunk:
    """The steps t0 to t0 + n of a backward call.

    Args:
        number: the number of the chunk, in the order of the forward call.
        x: the steps of x, (n, rows, I).
        d_slots: the gradients of the slots, (n + 2, rows, slots W); the first and the last step
            are those before and after the chunk.
        states: the arrays that the forward steps have written.
        memory: all arrays that the backward kernel reads or writes.
    """

    number: int
    t0: int
    n: int
    x: Tensor
    d_slots: Tensor
    states: dict[str, StepArray]
    memory: dict[str, StepArray] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """The number of rows that have a step in the chunk."""
        return self.x.shape[1]


class _Pass:
    """One backward call: its arrays, and the gradients to which its chunks add.

    Args: see :meth:`Backward.run`.
    """

    def __init__(
        self,
        backward: Backward,
        call: Call,
        kept: KeptArrays,
        d_output: Tensor | None,
        d_last: Sequence[Tensor | None],
        of_input: bool,
    ) -> None:
        self.backward, self.forward = backward, backward.forward
        self.call, self.kept, self.d_output = call, kept, d_output
        self.walk = walk = self.forward.walk(call, kept.save)
        self.d_last = [None if d is None else walk.rows.sorted(d) for d in d_last]
        self.is_ragged, self.runs_again = call.lengths is not None, kept.save == "states"
        self.num_slots, self.num_hoisted = (
            len(self.forward.program.slots),
            len(self.forward.hoisted),
        )
        self.initial = self.forward.initial([walk.rows.sorted(s) for s in call.state], walk)
        # The forward kernel's order of R is needed only to run chunks forward again.
        library = self.forward.library if self.runs_again else None
        self.weights = self.forward.packing.pack(call.weights, walk, library)
        R = call.weights.weight_hh
        self.packed = None if R is None else walk.pack(backward.library, R)
        self._allocate_fixed_arrays()
        self._allocate_scratch()
        self._allocate_gradients(of_input)

    def _allocate_fixed_arrays(self) -> None:
        """Allocates the arrays that all chunks share: parameters, initial states and gradients."""
        walk, compute, shape = self.walk, self.forward.compute, (self.walk.B, self.walk.W)
        self.zero = torch.zeros(shape, dtype=compute)
        self.d_initial: list[Tensor] = []
        self.fixed: dict[str, StepArray] = dict(self.initial)
        self.fixed["parameters"] = StepArray(self.weights.parameters, mask=0)
        self.fixed |= self.forward.tables(self.backward.source, walk)
        zeros = torch.zeros(walk.W, dtype=self.forward.dtype)
        self.fixed["zeros"] = StepArray(zeros, mask=0)
        for name, d in zip(self.forward.program.states, self.d_last, strict=True):
            last = self.zero if d is None else walk.padded(d.to(compute)).contiguous()
            self.d_initial.append(torch.zeros(shape, dtype=compute))
            self.fixed[f"d_last:{name}"] = StepArray(last, mask=0)
            self.fixed[f"d_state:{name}"] = StepArray(empty(shape, compute), mask=0)
            self.fixed[f"d_initial:{name}"] = StepArray(self.d_initial[-1], mask=0)
        # Each group of threads sums its own rows. No two threads add to the same sum, so that the
        # result does not depend on their timing.
        groups, sums = walk.groups(self.backward.library), len(self.backward.source.sums)
        self.sums = torch.zeros(groups, sums, walk.W, dtype=compute)

    def _allocate_scratch(self) -> None:
        """Allocates the arrays that every chunk overwrites."""
        walk, dtype, per_row = self.walk, self.forward.dtype, self.num_slots * self.walk.W
        most = max(n for _, n in walk.chunks)
        # One step more at each end. The kernel reads the gradients of the slots at the step after
        # the chunk, which lies at the end that the direction of time decides. The other end stands
        # for the step before the chunk, which nothing reads.
        self.d_slots = scratch.take("slots", ((most + 2) * walk.B * per_row,), dtype)
        self.d_slots_after = scratch.take("other slots", (walk.B, per_row), dtype)
        self.again = self.forward.chunk_arrays(walk, most) if self.runs_again else {}

    def _allocate_gradients(self, of_input: bool) -> None:
        """Allocates the gradients that the chunks write or add to."""
        x, W, compute = self.call.x, self.walk.W, self.forward.compute
        self.dx = self.dW = self.dR = None
        if of_input:
            # The product with W writes all of dx, except the steps past a row's end.
            is_zero = not self.num_hoisted or self.is_ragged
            self.dx = empty(tuple(x.shape), x.dtype, zero=is_zero)
        if self.num_hoisted:
            self.dW = empty((self.num_hoisted * W, x.shape[2]), compute)
        if self.call.weights.weight_hh is not None:
            blocks = len(self.forward.program.cell.recurrent_block_names)
            is_zero = self.backward.weight_gradients.needs_zeros
            self.dR = empty((blocks * W, W), compute, zero=is_zero)
        names, used = self.forward.program.cell.given_inputs, self.forward.program.inputs
        # An input that the equations do not use keeps a gradient of zero.
        self.d_inputs = {
            name: empty(tuple(value.shape), value.dtype, zero=name not in used or self.is_ragged)
            for name, value in zip(names, self.call.inputs, strict=True)
        }
        # If no unit is padded and no row is moved, the kernel writes to the gradients themselves.
        self.writes_inputs = self.walk.W == self.walk.H and self.walk.rows.order is None

    def run_chunk(self, number: int) -> None:
        """Runs the backward steps of a chunk, and adds its share to the gradients."""
        chunk = self._chunk(number)
        self._run_steps(chunk)
        # The next chunk to run needs them as the gradients at the step after its last one; they
        # are copied before it overwrites d_slots.
        self.d_slots_after[: chunk.rows] = chunk.d_slots[chunk.n if self.call.reverse else 1]
        self._add_to_input_gradients(chunk)
        self._write_further_inputs(chunk)
        if self.dR is not None:
            d_slots, is_first = chunk.d_slots[1 : chunk.n + 1], self._is_first(chunk)
            self.backward.weight_gradients.add_recurrent(
                *(self.walk, self.dR, d_slots, chunk.states, self.initial),
                *(chunk.t0, chunk.n, is_first),
            )

    def _is_first(self, chunk: _Chunk) -> bool:
        """Whether the chunk is the first one of the backward call, which is the forward's last."""
        return chunk.number + 1 == len(self.walk.chunks)

    def _chunk(self, number: int) -> _Chunk:
        """Prepares the arrays of a chunk; runs it forward again if only states were kept."""
        walk, (t0, n) = self.walk, self.walk.chunks[number]
        if self.runs_again:
            states = self._run_again(number)
        else:
            arrays = {self.forward.output: self.kept.output, **self.kept.arrays}
            states = {name: StepArray(array).at(t0) for name, array in arrays.items()}
        x = walk.rows.chunk(self.call.x, t0, n)
        rows, per_row = x.shape[1], self.num_slots * walk.W
        d_slots = self.d_slots[: (n + 2) * rows * per_row].view(n + 2, rows, per_row)
        if self.is_ragged:
            # The kernel skips rows that have ended; the matrix products multiply all rows.
            d_slots.zero_()
        if number + 1 < len(walk.chunks):
            # The step after this chunk belongs to the chunk that was run before it. In a ragged
            # batch that chunk has fewer rows, or more rows in the reverse direction.
            both = min(rows, walk.rows.count(walk.chunks[number + 1][0]))
            d_slots[0 if self.call.reverse else n + 1, :both] = self.d_slots_after[:both]
        return _Chunk(number, t0, n, x, d_slots, states)

    def _run_again(self, number: int) -> dict[str, StepArray]:
        """Runs a chunk forward again from the states before it; returns the arrays it writes."""
        walk, (t0, n) = self.walk, self.walk.chunks[number]
        # The states before the chunk lie one step after its last in the reverse direction.
        boundary, before = (n + 1, t0 + n) if walk.reverse else (0, t0 - 1)
        for name, tensor in self.again.items():
            if self.is_ragged:
                tensor.zero_()
            if number > 0 and name == self.forward.output and name != "output":
                # A state that is the output was kept at all steps.
                tensor[boundary] = self.kept.output[before]
            elif number > 0 and name in self.kept.arrays:
                tensor[boundary] = self.kept.arrays[name][number]
        states = {name: StepArray(tensor).at(1) for name, tensor in self.again.items()}
        self.forward.run_chunk(walk, self.weights, states | self.initial, self.call, t0, n)
        return states

    def _run_steps(self, chunk: _Chunk) -> None:
        """Runs the kernel over the chunk, from its last step in time to its first."""
        walk, dtype, t0, n = self.walk, self.forward.dtype, chunk.t0, chunk.n
        chunk.memory = self.fixed | chunk.states
        if self.d_output is None:
            chunk.memory["d_output"] = StepArray(self.zero.to(dtype), mask=0)
        else:
            part = walk.padded(walk.rows.chunk(self.d_output, t0, n).to(dtype))
            chunk.memory["d_output"] = StepArray(part.contiguous())
        chunk.memory |= self.forward.inputs(walk, self.call, chunk.x, t0, n)
        for name in self.forward.program.inputs:
            if self.writes_inputs and name in self.d_inputs:
                d_input = self.d_inputs[name][t0 : t0 + n]
            else:
                d_input = empty((n, chunk.rows, walk.W), dtype, zero=self.is_ragged)
            chunk.memory[f"d_input:{name}"] = StepArray(d_input)
        chunk.memory["d_slots"] = StepArray(chunk.d_slots).at(1)
        # The first chunk in time has one step more, before the sequence, in which the kernel
        # completes the gradients of the initial states.
        count = n + 1 if chunk.number == 0 else n
        begin, direction = (0, 1) if self.call.reverse else (n - 1, -1)
        library, packed = self.backward.library, self.packed
        walk.run(library, packed, chunk.memory, t0, begin, count, direction, self.sums)

    def _add_to_input_gradients(self, chunk: _Chunk) -> None:
        """Adds the chunk's share to the gradient of W, and writes its steps of that of x."""
        walk, n, rows = self.walk, chunk.n, chunk.rows
        # The slots with a block of W come first, so that one product takes all of them.
        d_slots = chunk.d_slots[1 : n + 1].view(n * rows, self.num_slots * walk.W)
        d_hoisted = d_slots[:, : self.num_hoisted * walk.W]
        if self.dW is not None:
            x = chunk.x.reshape(n * rows, -1)
            matmul(d_hoisted.T, x, self.dW, accumulate=not self._is_first(chunk))
        if self.dx is not None:
            dx = walk.rows.place(self.dx, chunk.t0, n, rows)
            if self.dW is not None:
                assert self.weights.input is not None
                matmul(d_hoisted, self.weights.input, dx.view(n * rows, -1))
            else:
                dx.zero_()
            if "x" in self.forward.program.inputs:
                dx += walk.unpadded(chunk.memory["d_input:x"].tensor)
            walk.rows.put_chunk(self.dx, dx, chunk.t0)

    def _write_further_inputs(self, chunk: _Chunk) -> None:
        """Writes the chunk's steps of the gradients of the inputs besides x."""
        for name, whole in self.d_inputs.items():
            if name in self.forward.program.inputs and not self.writes_inputs:
                part = self.walk.rows.place(whole, chunk.t0, chunk.n, chunk.rows)
                part.copy_(self.walk.unpadded(chunk.memory[f"d_input:{name}"].tensor))
                self.walk.rows.put_chunk(whole, part, chunk.t0)

    def gradients(self) -> Gradients:
        """The gradients, after all chunks were run."""
        walk, of_weights = self.walk, self.backward.weight_gradients
        sums = self.sums.sum(0)
        return Gradients(
            self.dx,
            of_weights.of_input(walk, self.dW),
            of_weights.of_recurrent(walk, self.dR),
            *of_weights.of_biases(walk, self.call.weights, sums),
            of_weights.of_parameters(walk, sums),
            self._of_initial_states(),
            list(self.d_inputs.values()),
        )

    def _of_initial_states(self) -> list[Tensor]:
        """The gradients of the initial states, in the order of the cell's states.

        The last state of a row without steps is its initial state, so that the gradients of both
        are equal.
        """
        gradients = []
        for d, last in zip(self.d_initial, self.d_last, strict=True):
            if self.walk.rows.lengths is not None and last is not None:
                is_empty = (self.walk.rows.lengths == 0).unsqueeze(-1)
                d = torch.where(is_empty, self.walk.padded(last.to(d.dtype)), d)
            gradients.append(self.walk.rows.unsorted(self.walk.unpadded(d)).to(self.forward.dtype))
        return gradients
