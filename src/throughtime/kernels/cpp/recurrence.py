"""One cell on the CPU: the kernel's steps, and the products outside the time loop.

A sequence is run in chunks of steps. For each chunk the input's products are one large product,
then the kernel walks through the steps; backward, the kernel comes first and the gradients of the
input and of the weights are one large product each. So what one chunk makes is still in the cache
when it is read, and none of it has to be kept for the whole sequence.

``save="gates"`` keeps what the backward step needs of all steps. ``save="states"`` keeps only the
states at the beginning of each chunk, and runs a chunk forward again before its backward steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from throughtime.kernels.call import Call
from throughtime.kernels.cpp import gemm as product
from throughtime.kernels.cpp.compile import CompileError, prebuild
from throughtime.kernels.cpp.emit import COMPUTE, Source, emit
from throughtime.kernels.cpp.gemm import matmul
from throughtime.kernels.cpp.packing import Packed, Packing
from throughtime.kernels.cpp.walk import Library, Memory, Walk, num_chunks, width
from throughtime.kernels.cpp.weight_gradients import Gradients, WeightGradients
from throughtime.kernels.graph.program import Program

__all__ = ["STORAGE", "Kept", "Kernel", "kernel"]

STORAGE = {torch.float32: "float", torch.float64: "double", torch.bfloat16: "bfloat16"}
_TYPES = {name: dtype for dtype, name in STORAGE.items()}


@dataclass
class Kept:
    """What the backward call needs of the forward call, besides its arguments.

    Args:
        save: ``gates`` or ``states``.
        output: of the kernel, (T, B, width).
        arrays: by name: of all steps, or for ``states`` at the beginning of each chunk.
    """

    save: str
    output: Tensor
    arrays: dict[str, Tensor] = field(default_factory=dict)


class Kernel:
    """A cell compiled for one type of numbers.

    Args:
        program: what a step does.
        storage: ``float``, ``double`` or ``bfloat16``.
    """

    def __init__(self, program: Program, storage: str) -> None:
        self.program, self.storage = program, storage
        self.dtype, self.compute = _TYPES[storage], _TYPES[COMPUTE[storage]]
        self.packing = Packing(program, self.compute)
        self.hoisted = self.packing.hoisted
        self._built: set[bool] = set()
        self._refused: CompileError | None = None
        self.output = f"state:{program.output_state}" if program.output_state else "output"

    @cached_property
    def _forward_source(self) -> Source:
        return emit(self.program, self.storage, backward=False)

    @cached_property
    def _backward_source(self) -> Source:
        return emit(self.program, self.storage, backward=True)

    @cached_property
    def forward_library(self) -> Library:
        return Library(self._forward_source, is_backward=False)

    @cached_property
    def backward_library(self) -> Library:
        return Library(self._backward_source, is_backward=True)

    @cached_property
    def _gradients(self) -> WeightGradients:
        sums = self.backward_library.source.sums
        return WeightGradients(self.program, self.packing, self.dtype, self.compute, sums)

    def build(self, trains: bool) -> None:
        """Compiles what is needed and not compiled yet, all at the same time."""
        if self._refused is not None:
            raise self._refused
        if trains not in self._built:
            texts = [self._forward_source.text]
            texts += [self._backward_source.text] if trains else []
            results = {self.compute, self.dtype} if trains else {self.compute}
            texts += [product.source(self.dtype, result) for result in results]
            try:
                prebuild([(text, ()) for text in texts])
            except CompileError as error:
                # Once is enough: what was refused will be refused again.
                self._refused = error
                raise
            _ = self.forward_library, trains and self.backward_library
            self._built.update({trains, False})

    def kept_arrays(
        self, T: int, B: int, H: int, save: str, is_ragged: bool
    ) -> list[tuple[str, tuple[int, ...]]]:
        """What the forward call keeps besides its output: names and shapes."""
        W = width(H)
        # The kernel's own output, where the caller gets another: padded, or its rows sorted.
        found = [("own", (T, B, W))] if W != H or is_ragged else []
        count = num_chunks(T, B, len(self.program.slots) * W * self.compute.itemsize, save)
        for array in self._forward_source.arrays:
            kind = array.name.partition(":")[0]
            if array.name == self.output:
                continue
            if save == "gates" and kind in ("state", "value", "operand", "saved"):
                found.append((array.name, (T, B, array.per_row * W)))
            elif save == "states" and kind in ("state", "value"):
                found.append((array.name, (count, B, W)))
        return found

    def _walk(self, call: Call, save: str | None) -> Walk:
        return Walk(self.dtype, self.compute, len(self.program.slots), call, save)

    def type_of(self, name: str) -> torch.dtype:
        """Of what type an array of the forward kernel is."""
        stored = {array.name: array.stored for array in self._forward_source.arrays}
        return self.dtype if name == "own" or stored[name] else self.compute

    # Forward.

    def forward(self, call: Call, save: str | None) -> tuple[Tensor, list[Tensor], Kept | None]:
        """The outputs (T, B, H), the last states (B, H), and what the backward call needs.

        Args:
            call: what is run; of the type of this kernel.
            save: ``gates``, ``states``, or None where no backward call follows.
        """
        self.build(save is not None and not self.program.others)
        walk = self._walk(call, save)
        state = [walk.sorted(s) for s in call.state]
        T, B, W = walk.T, walk.B, walk.W
        is_ragged = call.lengths is not None
        arrays: dict[str, Memory] = {}
        for array in self.forward_library.source.arrays:
            kind = array.name.partition(":")[0]
            dtype = self.dtype if array.stored else self.compute
            if array.name == self.output:
                arrays[array.name] = Memory(walk.empty((T, B, W), dtype, is_ragged))
            elif kind in ("state", "value", "operand", "other") and save == "gates":
                arrays[array.name] = Memory(walk.empty((T, B, W), dtype, is_ragged))
            elif kind in ("state", "value"):
                arrays[array.name] = Memory(walk.empty((2, B, W), dtype, is_ragged), mask=1)
            elif kind == "operand":
                arrays[array.name] = Memory(walk.empty((1, B, W), dtype), mask=0)
            elif kind == "saved" and save == "gates":
                arrays[array.name] = Memory(walk.empty((T, B, array.per_row * W), dtype, is_ragged))
        initial = self._initial(state, walk)
        packed = self.packing.pack(call.weights, walk, self.forward_library)
        kept = Kept(save, arrays[self.output].tensor) if save is not None else None
        carried = [a for a in arrays if a.startswith(("state", "value")) and a != self.output]
        if kept is not None and save == "states":
            starts = {
                a: walk.empty((len(walk.chunks), B, W), arrays[a].tensor.dtype, True)
                for a in carried
            }
            kept.arrays = starts
        for number, (t0, n) in enumerate(walk.chunks):
            if kept is not None and save == "states" and number > 0:
                before = t0 + n if call.reverse else t0 - 1
                for a in carried:
                    kept.arrays[a][number] = arrays[a].tensor[before & 1]
            memory = {a: m.at(t0) for a, m in arrays.items()} | initial
            self._run_forward(walk, packed, memory, call, t0, n)
        if kept is not None and save == "gates":
            kept.arrays = {a: m.tensor for a, m in arrays.items() if a != self.output}
        last = [
            walk.unsorted(self._last(walk, arrays, k, s))
            for k, s in zip(self.program.states, state, strict=True)
        ]
        output = walk.unsorted(walk.unpadded(arrays[self.output].tensor), 1)
        return output, last, kept

    def trace(self, call: Call) -> dict[str, Tensor]:
        """All that the step returns by name, of all steps, each (T, B, H).

        For the kernel of a program that has :attr:`Program.others`, or has none to have.
        """
        walk, (_, _, kept) = self._walk(call, "gates"), self.forward(call, "gates")
        assert kept is not None
        arrays = {self.output: kept.output, **kept.arrays}
        found = {}
        for name in (*self.program.states, self.program.cell.output_name, *self.program.others):
            kinds = (f"value:{name}", f"state:{name}", f"other:{name}", "output")
            array = next(arrays[kind] for kind in kinds if kind in arrays)
            found[name] = walk.unsorted(walk.unpadded(array), 1).to(self.dtype)
        return found

    def _run_forward(
        self,
        walk: Walk,
        packed: Packed,
        memory: dict[str, Memory],
        call: Call,
        t0: int,
        n: int,
    ) -> None:
        """The steps t0 to t0 + n, in the order of time."""
        part = walk.chunk(call.x, t0, n)
        if self.hoisted:
            rows = part.reshape(-1, walk.I)
            hoisted = walk.hoisted(len(self.hoisted), self.compute)[: len(rows)]
            assert packed.input is not None
            matmul(rows, packed.input.T, hoisted, bias=packed.input_bias)
            memory["hoisted"] = Memory(hoisted.view(n, len(rows) // n, -1))
        memory["bias"] = Memory(packed.bias, mask=0)
        memory["parameters"] = Memory(packed.parameters, mask=0)
        memory |= self._inputs(walk, call, part, t0, n)
        begin, direction = (n - 1, -1) if walk.reverse else (0, 1)
        walk.run(self.forward_library, packed.recurrent, memory, t0, begin, n, direction)

    def _inputs(self, walk: Walk, call: Call, x: Tensor, t0: int, n: int) -> dict[str, Memory]:
        """The steps t0 to t0 + n of the inputs that are used unit by unit; x is those of x."""
        given = dict(zip(self.program.cell.given_inputs, call.inputs, strict=True))
        found = {}
        for name in self.program.inputs:
            part = x if name == "x" else walk.chunk(given[name], t0, n)
            found[f"input:{name}"] = Memory(walk.padded(part).contiguous())
        return found

    def _initial(self, state: Sequence[Tensor], walk: Walk) -> dict[str, Memory]:
        of_name = dict(zip(self.program.states, state, strict=True))
        found = {}
        for array in self.forward_library.source.arrays:
            if array.name.startswith("initial_"):
                dtype = self.dtype if array.stored else self.compute
                value = of_name[array.name.partition(":")[2]].to(dtype)
                found[array.name] = Memory(walk.padded(value).contiguous(), mask=0)
        return found

    def _last(self, walk: Walk, arrays: Mapping[str, Memory], name: str, initial: Tensor) -> Tensor:
        memory = arrays.get(f"value:{name}") or arrays[f"state:{name}"]
        if walk.lengths is None:
            t = (0 if walk.reverse else walk.T - 1) & memory.mask
            last = memory.tensor[t]
        elif walk.reverse:
            last = memory.tensor[0]
        else:
            t = (walk.lengths - 1).clamp(min=0) & memory.mask
            last = memory.tensor[t, torch.arange(walk.B)]
        if walk.lengths is not None:
            # A row of length 0 has nothing but its initial state.
            empty = (walk.lengths == 0).unsqueeze(-1)
            last = torch.where(empty, walk.padded(initial).to(last.dtype), last)
        return walk.unpadded(last).to(initial.dtype, copy=True)

    # Backward.

    def backward(
        self,
        call: Call,
        kept: Kept,
        d_output: Tensor | None,
        d_last: Sequence[Tensor | None],
        of_input: bool = True,
    ) -> Gradients:
        """The gradients of all that the forward call was given.

        Args:
            call: that of the forward call.
            kept: what it kept.
            d_output: the gradient of the outputs, (T, B, H), or None.
            d_last: those of the last states.
            of_input: whether the gradient of x is wanted.
        """
        self.build(True)
        program, backward = self.program, self.backward_library
        walk = self._walk(call, kept.save)
        x, weights, is_ragged = call.x, call.weights, call.lengths is not None
        state = [walk.sorted(s) for s in call.state]
        d_last = [None if d is None else walk.sorted(d) for d in d_last]
        B, W = walk.B, walk.W
        slots = program.slots
        nA, nU = len(slots), len(self.hoisted)
        initial = self._initial(state, walk)
        runs_again = kept.save == "states"
        library = self.forward_library if runs_again else None
        forward_weights = self.packing.pack(weights, walk, library)
        packed = None
        if weights.weight_hh is not None:
            packed = walk.pack(backward, weights.weight_hh)

        memory: dict[str, Memory] = dict(initial)
        memory["parameters"] = Memory(forward_weights.parameters, mask=0)
        memory["zeros"] = Memory(torch.zeros(W, dtype=self.dtype), mask=0)
        d_initial = {}
        zero = torch.zeros(B, W, dtype=self.compute)
        for k, d in zip(program.states, d_last, strict=True):
            last = zero if d is None else walk.padded(d.to(self.compute)).contiguous()
            d_initial[k] = torch.zeros(B, W, dtype=self.compute)
            memory[f"d_last:{k}"] = Memory(last, mask=0)
            memory[f"d_state:{k}"] = Memory(walk.empty((B, W), self.compute), mask=0)
            memory[f"d_initial:{k}"] = Memory(d_initial[k], mask=0)
        groups = walk.groups(backward)
        sums = torch.zeros(groups, len(backward.source.sums), W, dtype=self.compute)

        most = max(n for _, n in walk.chunks)
        # One step more on either side: of the chunk that came before, and where nothing is read.
        held_slots = walk.scratch("slots", ((most + 2) * B * nA * W,), self.dtype)
        other_slots = walk.scratch("other slots", (B, nA * W), self.dtype)
        dx = None
        if of_input:
            dx = walk.empty(tuple(x.shape), x.dtype, zero=not nU or is_ragged)
        dW = walk.empty((nU * W, x.shape[2]), self.compute) if nU else None
        dR = None
        if weights.weight_hh is not None:
            blocks = len(program.cell.recurrent_block_names)
            dR = walk.empty((blocks * W, W), self.compute, zero=self._gradients.needs_zeros)
        d_inputs = [torch.zeros_like(value) for value in call.inputs]
        d_given = dict(zip(program.cell.given_inputs, d_inputs, strict=True))
        again = self._again(walk, most) if runs_again else {}
        full = {self.output: kept.output, **kept.arrays}

        for number in reversed(range(len(walk.chunks))):
            t0, n = walk.chunks[number]
            if runs_again:
                local = self._run_again(walk, forward_weights, initial, kept, again, call, number)
                memory |= local
                states = local
            else:
                states = {a: Memory(m).at(t0) for a, m in full.items()}
                memory |= states
            if d_output is None:
                memory["d_output"] = Memory(zero.to(self.dtype), mask=0)
            else:
                part = walk.padded(walk.chunk(d_output, t0, n).to(self.dtype))
                memory["d_output"] = Memory(part.contiguous())
            x_part = walk.chunk(x, t0, n)
            here = x_part.shape[1]
            memory |= self._inputs(walk, call, x_part, t0, n)
            for name in program.inputs:
                d_input = walk.empty((n, here, W), self.dtype, zero=is_ragged)
                memory[f"d_input:{name}"] = Memory(d_input)
            d_slots = held_slots[: (n + 2) * here * nA * W].view(n + 2, here, nA * W)
            if is_ragged:
                d_slots.zero_()
            if number + 1 < len(walk.chunks):
                # The step after this chunk is the first of the one that was done before.
                both = min(here, walk.rows(walk.chunks[number + 1][0]))
                d_slots[0 if call.reverse else n + 1, :both] = other_slots[:both]
            memory["d_slots"] = Memory(d_slots).at(1)
            extra = 1 if number == 0 else 0
            begin, direction = (0, 1) if call.reverse else (n - 1, -1)
            walk.run(backward, packed, memory, t0, begin, n + extra, direction, sums)

            other_slots[:here] = d_slots[n if call.reverse else 1]
            shared = d_slots[1 : n + 1].view(n * here, nA * W)[:, : nU * W]
            if dW is not None:
                x_rows = x_part.reshape(n * here, -1)
                matmul(shared.T, x_rows, dW, accumulate=number + 1 < len(walk.chunks))
            if dx is not None:
                dx_part = walk.own(dx, t0, n, here)
                if dW is not None:
                    assert forward_weights.input is not None
                    matmul(shared, forward_weights.input, dx_part.view(n * here, -1))
                else:
                    dx_part.zero_()
                if "x" in program.inputs:
                    dx_part += walk.unpadded(memory["d_input:x"].tensor)
                walk.put_chunk(dx, dx_part, t0)
            for name in set(d_given) & set(program.inputs):
                part = walk.own(d_given[name], t0, n, here)
                part.copy_(walk.unpadded(memory[f"d_input:{name}"].tensor))
                walk.put_chunk(d_given[name], part, t0)
            if dR is not None:
                is_first = number + 1 == len(walk.chunks)
                self._gradients.add_recurrent(
                    walk, dR, d_slots[1 : n + 1], states, initial, t0, n, is_first
                )
        total = sums.sum(0)
        return Gradients(
            dx,
            self._gradients.of_input(walk, dW),
            self._gradients.of_recurrent(walk, dR),
            *self._gradients.of_biases(walk, weights, total),
            self._gradients.of_parameters(walk, total),
            self._of_initial(walk, d_initial.values(), d_last),
            d_inputs,
        )

    def _of_initial(
        self, walk: Walk, d_initial: Iterable[Tensor], d_last: Iterable[Tensor | None]
    ) -> list[Tensor]:
        """The gradients of the initial states: of a row without a step, that of its last state."""
        found = []
        for d, last in zip(d_initial, d_last, strict=True):
            if walk.lengths is not None and last is not None:
                empty = (walk.lengths == 0).unsqueeze(-1)
                d = torch.where(empty, walk.padded(last.to(d.dtype)), d)
            found.append(walk.unsorted(walk.unpadded(d)).to(self.dtype))
        return found

    def _again(self, walk: Walk, most: int) -> dict[str, Tensor]:
        """Memory to run one chunk again: with room for the state before it on either side."""
        found = {}
        for array in self.forward_library.source.arrays:
            kind, _, _ = array.name.partition(":")
            dtype = self.dtype if array.stored else self.compute
            if kind in ("state", "value", "operand", "output", "saved"):
                shape = (most + 2, walk.B, array.per_row * walk.W)
                found[array.name] = walk.scratch(array.name, shape, dtype)
        return found

    def _run_again(
        self,
        walk: Walk,
        weights: Packed,
        initial: dict[str, Memory],
        kept: Kept,
        again: dict[str, Tensor],
        call: Call,
        number: int,
    ) -> dict[str, Memory]:
        t0, n = walk.chunks[number]
        boundary = n + 1 if walk.reverse else 0
        before = t0 + n if walk.reverse else t0 - 1
        for name, tensor in again.items():
            if walk.lengths is not None:
                tensor.zero_()
            if number > 0 and name == self.output and name != "output":
                tensor[boundary] = kept.output[before]
            elif number > 0 and name in kept.arrays:
                tensor[boundary] = kept.arrays[name][number]
        memory = {name: Memory(tensor).at(1) for name, tensor in again.items()}
        self._run_forward(walk, weights, memory | initial, call, t0, n)
        return memory


_kernels: dict[tuple[int, str], Kernel] = {}


def kernel(program: Program, dtype: torch.dtype) -> Kernel:
    """The kernel of a program for one type; made once."""
    key = (id(program), STORAGE[dtype])
    if key not in _kernels:
        _kernels[key] = Kernel(program, STORAGE[dtype])
    return _kernels[key]
