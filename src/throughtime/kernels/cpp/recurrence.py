"""One cell on the CPU: buffers, chunks of time, and the products outside the time loop.

A sequence is run in chunks of steps. For each chunk the input's products are one large product,
then the kernel walks through the steps; backward, the kernel comes first and the gradients of the
input and of the weights are one large product each. So what one chunk makes is still in the cache
when it is read, and none of it has to be kept for the whole sequence.

``save="gates"`` keeps what the backward step needs of all steps. ``save="states"`` keeps only the
states at the beginning of each chunk, and runs a chunk forward again before its backward steps.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property

import torch
from torch import Tensor

from throughtime.kernels.call import Weights
from throughtime.kernels.cpp import gemm as product
from throughtime.kernels.cpp.compile import load, prebuild
from throughtime.kernels.cpp.emit import COMPUTE, Source, emit
from throughtime.kernels.cpp.gemm import matmul, num_threads
from throughtime.kernels.program import Program

__all__ = ["STORAGE", "Gradients", "Kept", "Kernel", "kernel"]

STORAGE = {torch.float32: "float", torch.float64: "double", torch.bfloat16: "bfloat16"}
_TYPES = {"float": torch.float32, "double": torch.float64, "bfloat16": torch.bfloat16}

# The rows of H units are padded to whole vectors of every width.
_PADDING = 16
# What a chunk makes should still be in the cache when it is read, and its rows should be enough for
# a large product to be fast.
_BYTES_OF_A_CHUNK, _FEWEST_ROWS = 1 << 22, 512
# Flags of a step of a row; see recurrence.hpp.
_START, _END, _RESTART, _BEFORE = 1, 2, 4, 8

_numbers = ctypes.c_int64


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


@dataclass
class Gradients:
    """What the backward call gives: a gradient for each argument of the forward call."""

    x: Tensor | None
    weight_ih: Tensor
    weight_hh: Tensor | None
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    parameters: list[Tensor]
    state: list[Tensor]

    def flat(self) -> list[Tensor]:
        """All that there are, in the order of the fields."""
        matrices = (self.x, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return [t for t in matrices if t is not None] + self.parameters + self.state


class _Library:
    """A compiled direction."""

    def __init__(self, source: Source) -> None:
        library = load(source.text)
        self.source = source
        self.run, self.pack = library.run_steps, library.pack_weights
        self.packed_size, self.partials_size = library.packed_size, library.partials_size
        pointer = ctypes.c_void_p
        self.run.argtypes, self.run.restype = [pointer], None
        self.pack.argtypes, self.pack.restype = [pointer, pointer, pointer], None
        for size in (self.packed_size, self.partials_size):
            size.argtypes, size.restype = [pointer], _numbers


class Kernel:
    """A cell compiled for one type of numbers.

    Args:
        program: what a step does.
        storage: ``float``, ``double`` or ``bfloat16``.
    """

    def __init__(self, program: Program, storage: str) -> None:
        self.program, self.storage = program, storage
        self.dtype, self.compute = _TYPES[storage], _TYPES[COMPUTE[storage]]
        cell = program.cell
        self.gates, self.blocks = cell.gates, cell.recurrent_block_names
        self.biased = cell.recurrent_bias_names
        self.hoisted = [s for s in program.slots if s.gate is not None]
        self._built: set[bool] = set()
        self.output = f"state:{program.output_state}" if program.output_state else "output"

    @cached_property
    def _sources(self) -> tuple[Source, Source]:
        forward, backward = (emit(self.program, self.storage, b) for b in (False, True))
        return forward, backward

    @cached_property
    def forward_library(self) -> _Library:
        return _Library(self._sources[0])

    @cached_property
    def backward_library(self) -> _Library:
        return _Library(self._sources[1])

    def build(self, trains: bool) -> None:
        """Compiles what is needed and not compiled yet, all at the same time."""
        if trains not in self._built:
            texts = [source.text for source in self._sources[: 1 + trains]]
            results = {self.compute, self.dtype} if trains else {self.compute}
            texts += [product.source(self.dtype, result) for result in results]
            prebuild([(text, ()) for text in texts])
            _ = self.forward_library, trains and self.backward_library
            self._built.update({trains, False})

    def kept_arrays(
        self, T: int, B: int, H: int, save: str, is_ragged: bool
    ) -> list[tuple[str, tuple[int, ...]]]:
        """What the forward call keeps besides its output: names and shapes."""
        W = _width(H)
        # The kernel's own output, where the caller gets another: padded, or its rows sorted.
        found = [("own", (T, B, W))] if W != H or is_ragged else []
        # Not counted where nothing is kept by chunks: exported programs leave T and B open.
        chunks = len(self.chunks(T, B, W, save)) if save == "states" else 0
        for array in self._sources[0].arrays:
            kind = array.name.partition(":")[0]
            if array.name == self.output:
                continue
            if save == "gates" and kind in ("state", "value", "operand", "saved"):
                found.append((array.name, (T, B, array.per_row * W)))
            elif save == "states" and kind in ("state", "value"):
                found.append((array.name, (chunks, B, W)))
        return found

    def chunks(self, T: int, B: int, W: int, save: str | None) -> list[tuple[int, int]]:
        """First step and number of steps of each chunk."""
        size = torch.empty(0, dtype=self.compute).element_size()
        # Where memory is to be saved, the shortest that are fast.
        most = 0 if save == "states" else _BYTES_OF_A_CHUNK
        rows = max(most // (len(self.program.slots) * W * size), _FEWEST_ROWS)
        # Even, so that two steps that take turns stay in turn from chunk to chunk.
        steps = max(2, -(-rows // max(B, 1)) // 2 * 2)
        return [(t, min(steps, T - t)) for t in range(0, T, steps)]

    def type_of(self, name: str) -> torch.dtype:
        """Of what type an array of the forward kernel is."""
        stored = {array.name: array.stored for array in self._sources[0].arrays}
        return self.dtype if name == "own" or stored[name] else self.compute

    # Forward.

    def forward(
        self,
        x: Tensor,
        weights: Weights,
        state: Sequence[Tensor],
        lengths: Tensor | None,
        resets: Tensor | None,
        reverse: bool,
        save: str | None,
    ) -> tuple[Tensor, list[Tensor], Kept | None]:
        """The outputs (T, B, H), the last states (B, H), and what the backward call needs.

        Args:
            x: (T, B, I).
            weights: of the layer.
            state: the initial states, each (B, H).
            lengths: (B) or None.
            resets: (T, B) or None.
            reverse: whether time runs backwards.
            save: ``gates``, ``states``, or None where no backward call follows.
        """
        self.build(save is not None)
        walk = _Walk(self, x, state[0].shape[-1], lengths, resets, reverse, save)
        state = [walk.sorted(s) for s in state]
        T, B, W = walk.T, walk.B, walk.W
        is_ragged = lengths is not None
        arrays: dict[str, _Memory] = {}
        for array in self.forward_library.source.arrays:
            kind, _, name = array.name.partition(":")
            dtype = self.dtype if array.stored else self.compute
            if array.name == self.output:
                arrays[array.name] = _Memory(walk.empty((T, B, W), dtype, is_ragged))
            elif kind in ("state", "value", "operand") and save == "gates":
                arrays[array.name] = _Memory(walk.empty((T, B, W), dtype, is_ragged))
            elif kind in ("state", "value"):
                arrays[array.name] = _Memory(walk.empty((2, B, W), dtype), mask=1)
            elif kind == "operand":
                arrays[array.name] = _Memory(walk.empty((1, B, W), dtype), mask=0)
            elif kind == "saved" and save == "gates":
                arrays[array.name] = _Memory(walk.empty((T, B, array.per_row * W), dtype))
        initial = self._initial(state, walk)
        packed = self._forward_weights(weights, walk)
        kept = Kept(save, arrays[self.output].tensor) if save is not None else None
        carried = [a for a in arrays if a.startswith(("state", "value")) and a != self.output]
        if kept is not None and save == "states":
            starts = {a: walk.empty((len(walk.chunks), B, W), arrays[a].tensor.dtype) for a in carried}
            kept.arrays = starts
        for number, (t0, n) in enumerate(walk.chunks):
            if kept is not None and save == "states" and number > 0:
                before = t0 + n if reverse else t0 - 1
                for a in carried:
                    kept.arrays[a][number] = arrays[a].tensor[before & 1]
            memory = {a: m.at(t0) for a, m in arrays.items()} | initial
            self._run_forward(walk, packed, memory, x, t0, n)
        if kept is not None and save == "gates":
            kept.arrays = {a: m.tensor for a, m in arrays.items() if a != self.output}
        last = [
            walk.unsorted(self._last(walk, arrays, k, s))
            for k, s in zip(self.program.states, state, strict=True)
        ]
        output = walk.unsorted(walk.unpadded(arrays[self.output].tensor), 1)
        return output, last, kept

    def _run_forward(
        self,
        walk: _Walk,
        packed: _Packed,
        memory: dict[str, _Memory],
        x: Tensor,
        t0: int,
        n: int,
    ) -> None:
        """The steps t0 to t0 + n, in the order of time."""
        part = walk.chunk(x, t0, n)
        if self.hoisted:
            rows = part.reshape(-1, walk.I)
            hoisted = walk.hoisted(len(self.hoisted), self.compute)[: len(rows)]
            assert packed.input is not None
            matmul(rows, packed.input.T, hoisted, bias=packed.input_bias)
            memory["hoisted"] = _Memory(hoisted.view(n, len(rows) // n, -1))
        memory["bias"] = _Memory(packed.bias, mask=0)
        memory["parameters"] = _Memory(packed.parameters, mask=0)
        memory["input"] = _Memory(walk.padded(part)) if self.program.reads_input else _NOTHING
        begin, direction = (n - 1, -1) if walk.reverse else (0, 1)
        walk.run(self.forward_library, packed.recurrent, memory, t0, begin, n, direction)

    def _forward_weights(self, weights: Weights, walk: _Walk) -> _Packed:
        packed = _Packed()
        if self.hoisted:
            packed.input = _ordered(weights.weight_ih, self._order, walk.H, walk.W)
        if weights.bias_ih is not None:
            packed.input_bias, packed.bias = self._biases(weights, walk)
        else:
            packed.bias = torch.zeros(len(self.program.slots) * walk.W, dtype=self.compute)
        packed.parameters = self._parameters(weights, walk.W)
        if weights.weight_hh is not None:
            packed.recurrent = walk.pack(self.forward_library, weights.weight_hh)
        return packed

    @cached_property
    def _order(self) -> list[int]:
        """The gate of each slot that has one."""
        return [self.gates.index(slot.gate) for slot in self.hoisted if slot.gate is not None]

    def _biases(self, weights: Weights, walk: _Walk) -> tuple[Tensor, Tensor]:
        """What is added to the input's products, and to the slots that have none of them."""
        assert weights.bias_ih is not None
        if self._biases_lie_as_they_are and walk.W == walk.H and weights.bias_hh is not None:
            total = (weights.bias_ih + weights.bias_hh).to(self.compute)
            return total, total
        gates, *sums = self._bias_places(walk.H, walk.W)
        zero = weights.bias_ih.new_zeros(1)
        total = torch.cat([weights.bias_ih, zero]).to(self.compute)[gates]
        if weights.bias_hh is not None:
            of_blocks = torch.cat([weights.bias_hh, zero]).to(self.compute)
            for places in sums:
                total += of_blocks[places]
        n = len(self.hoisted) * walk.W
        return total[:n], total

    @cached_property
    def _biases_lie_as_they_are(self) -> bool:
        """Whether each slot has one bias of W and one of R, in the order of the gates."""
        own = [[b for _, b in s.pairs if b in self.biased] for s in self.program.slots]
        return own == [[gate] for gate in self.gates] and self.biased == self.gates

    @cache  # noqa: B019 (kernels live as long as the process)
    def _bias_places(self, H: int, W: int) -> list[Tensor]:
        """For each unit of each slot: where its bias of W stands, then those of its blocks of R.

        The place after the last holds a zero.
        """
        slots = self.program.slots
        of_input = torch.full((len(slots), W), len(self.gates) * H)
        for i, gate in enumerate(self._order):
            of_input[i, :H] = torch.arange(gate * H, gate * H + H)
        found = [of_input.view(-1)]
        biased = [[self.biased.index(b) for _, b in s.pairs if b in self.biased] for s in slots]
        for k in range(max(map(len, biased), default=0)):
            places = torch.full((len(slots), W), len(self.biased) * H)
            for i, blocks in enumerate(biased):
                if k < len(blocks):
                    places[i, :H] = torch.arange(blocks[k] * H, blocks[k] * H + H)
            found.append(places.view(-1))
        return found

    def _parameters(self, weights: Weights, W: int) -> Tensor:
        rows = [_pad(p.to(self.compute), W) for p in weights.parameters.values()]
        return torch.stack(rows) if rows else torch.empty(0, dtype=self.compute)

    def _initial(self, state: Sequence[Tensor], walk: _Walk) -> dict[str, _Memory]:
        of_name = dict(zip(self.program.states, state, strict=True))
        found = {}
        for array in self.forward_library.source.arrays:
            if array.name.startswith("initial_"):
                dtype = self.dtype if array.stored else self.compute
                value = of_name[array.name.partition(":")[2]].to(dtype)
                found[array.name] = _Memory(walk.padded(value).contiguous(), mask=0)
        return found

    def _last(self, walk: _Walk, arrays: Mapping[str, _Memory], name: str, initial: Tensor) -> Tensor:
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
        x: Tensor,
        weights: Weights,
        state: Sequence[Tensor],
        lengths: Tensor | None,
        resets: Tensor | None,
        reverse: bool,
        kept: Kept,
        d_output: Tensor | None,
        d_last: Sequence[Tensor | None],
        of_input: bool = True,
    ) -> Gradients:
        """The gradients of all arguments of the forward call.

        Args:
            x, weights, state, lengths, resets, reverse: as in the forward call.
            kept: what it kept.
            d_output: the gradient of the outputs, (T, B, H), or None.
            d_last: those of the last states.
            of_input: whether the gradient of x is wanted.
        """
        self.build(True)
        program, backward = self.program, self.backward_library
        walk = _Walk(self, x, state[0].shape[-1], lengths, resets, reverse, kept.save)
        state = [walk.sorted(s) for s in state]
        d_last = [None if d is None else walk.sorted(d) for d in d_last]
        B, W = walk.B, walk.W
        slots = program.slots
        nA, nU = len(slots), len(self.hoisted)
        initial = self._initial(state, walk)
        forward_weights = self._forward_weights(weights, walk)
        packed = None
        if weights.weight_hh is not None:
            packed = walk.pack(backward, weights.weight_hh)

        memory: dict[str, _Memory] = dict(initial)
        memory["parameters"] = _Memory(forward_weights.parameters, mask=0)
        memory["zeros"] = _Memory(torch.zeros(W, dtype=self.dtype), mask=0)
        d_initial = {}
        zero = torch.zeros(B, W, dtype=self.compute)
        for k, d in zip(program.states, d_last, strict=True):
            last = zero if d is None else walk.padded(d.to(self.compute)).contiguous()
            d_initial[k] = torch.zeros(B, W, dtype=self.compute)
            memory[f"d_last:{k}"] = _Memory(last, mask=0)
            memory[f"d_state:{k}"] = _Memory(torch.empty(B, W, dtype=self.compute), mask=0)
            memory[f"d_initial:{k}"] = _Memory(d_initial[k], mask=0)
        groups = walk.groups(backward)
        sums = torch.zeros(groups, len(backward.source.sums), W, dtype=self.compute)

        most = max(n for _, n in walk.chunks)
        # One step more on either side: of the chunk that came before, and where nothing is read.
        held_slots = walk.empty(((most + 2) * B * nA * W,), self.dtype)
        other_slots = walk.empty((B, nA * W), self.dtype)
        dx = None
        if of_input:
            dx = walk.empty(tuple(x.shape), x.dtype, zero=not nU or lengths is not None)
        dW = walk.empty((nU * W, x.shape[2]), self.compute) if nU else None
        dR = None
        if weights.weight_hh is not None:
            dR = walk.empty((len(self.blocks) * W, W), self.compute, zero=self._blocks_meet)
        again = self._again(walk, most) if kept.save == "states" else {}
        full = {self.output: kept.output, **kept.arrays}

        for number in reversed(range(len(walk.chunks))):
            t0, n = walk.chunks[number]
            if kept.save == "states":
                local = self._run_again(walk, forward_weights, initial, kept, again, x, number)
                memory |= local
                states = local
            else:
                states = {a: _Memory(m).at(t0) for a, m in full.items()}
                memory |= states
            if d_output is None:
                memory["d_output"] = _Memory(zero.to(self.dtype), mask=0)
            else:
                part = walk.padded(walk.chunk(d_output, t0, n).to(self.dtype))
                memory["d_output"] = _Memory(part.contiguous())
            x_part = walk.chunk(x, t0, n)
            here = x_part.shape[1]
            if program.reads_input:
                memory["input"] = _Memory(walk.padded(x_part).contiguous())
                d_input = walk.empty((n, here, W), self.dtype, zero=lengths is not None)
                memory["d_input"] = _Memory(d_input)
            d_slots = held_slots[: (n + 2) * here * nA * W].view(n + 2, here, nA * W)
            if lengths is not None:
                d_slots.zero_()
            if number + 1 < len(walk.chunks):
                # The step after this chunk is the first of the one that was done before.
                both = min(here, walk.rows(walk.chunks[number + 1][0]))
                d_slots[0 if reverse else n + 1, :both] = other_slots[:both]
            memory["d_slots"] = _Memory(d_slots).at(1)
            extra = 1 if number == 0 else 0
            begin, direction = (0, 1) if reverse else (n - 1, -1)
            walk.run(backward, packed, memory, t0, begin, n + extra, direction, sums)

            other_slots[:here] = d_slots[n if reverse else 1]
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
                if program.reads_input:
                    dx_part += walk.unpadded(memory["d_input"].tensor)
                walk.put_chunk(dx, dx_part, t0)
            if dR is not None:
                is_first = number + 1 == len(walk.chunks)
                self._add_recurrent(walk, dR, d_slots[1 : n + 1], states, initial, t0, n, is_first)
        return self._gathered(walk, weights, sums.sum(0), dx, dW, dR, d_initial, d_last)

    def _again(self, walk: _Walk, most: int) -> dict[str, Tensor]:
        """Memory to run one chunk again: with room for the state before it on either side."""
        found = {}
        for array in self.forward_library.source.arrays:
            kind, _, _ = array.name.partition(":")
            dtype = self.dtype if array.stored else self.compute
            zero = walk.lengths is not None
            if kind in ("state", "value", "operand", "output", "saved"):
                shape = (most + 2, walk.B, array.per_row * walk.W)
                found[array.name] = walk.empty(shape, dtype, zero)
        return found

    def _run_again(
        self,
        walk: _Walk,
        weights: _Packed,
        initial: dict[str, _Memory],
        kept: Kept,
        again: dict[str, Tensor],
        x: Tensor,
        number: int,
    ) -> dict[str, _Memory]:
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
        memory = {name: _Memory(tensor).at(1) for name, tensor in again.items()}
        self._run_forward(walk, weights, memory | initial, x, t0, n)
        return memory

    def _add_recurrent(
        self,
        walk: _Walk,
        dR: Tensor,
        d_slots: Tensor,
        states: Mapping[str, _Memory],
        initial: Mapping[str, _Memory],
        t0: int,
        n: int,
        is_first: bool,
    ) -> None:
        """Adds the chunk's share to the gradient of the blocks of R, run by run.

        The first chunk writes what the others add to.
        """
        here, W = d_slots.shape[1], walk.W
        for value, runs in self._runs.items():
            if value.op == "state":
                parts = walk.before(states[f"state:{value.name}"], initial[f"initial_state:{value.name}"], t0, n)
            else:
                memory = states[f"operand:{self.program.operands.index(value)}"]
                parts = [(0, memory.steps(0, n))]
            for slot, block, count in runs:
                out = dR[block * W : (block + count) * W]
                for part, (begin, operand) in enumerate(parts):
                    d = d_slots[begin : begin + operand.shape[0], :, slot * W : (slot + count) * W]
                    d = d.as_strided((operand.shape[0] * here, count * W), (d.stride(1), 1))
                    adds = self._blocks_meet or not is_first or part > 0
                    matmul(d.T, operand[:, :here].reshape(-1, W), out, accumulate=adds)

    @cached_property
    def _blocks_meet(self) -> bool:
        """Whether a block of R is in several products, or in none."""
        used = [name for slot in self.program.slots for _, name in slot.pairs]
        return sorted(used) != sorted(self.blocks)

    @cached_property
    def _runs(self) -> dict[object, list[tuple[int, int, int]]]:
        """For each operand: slots side by side whose blocks lie side by side are one product."""
        found: dict[object, list[tuple[int, int, int]]] = {}
        for i, slot in enumerate(self.program.slots):
            for value, name in slot.pairs:
                runs, block = found.setdefault(value, []), self.blocks.index(name)
                if runs and (runs[-1][0] + runs[-1][2], runs[-1][1] + runs[-1][2]) == (i, block):
                    runs[-1] = (*runs[-1][:2], runs[-1][2] + 1)
                else:
                    runs.append((i, block, 1))
        return found

    def _gathered(
        self,
        walk: _Walk,
        weights: Weights,
        sums: Tensor,
        dx: Tensor | None,
        dW: Tensor | None,
        dR: Tensor | None,
        d_initial: Mapping[str, Tensor],
        d_last: Sequence[Tensor | None],
    ) -> Gradients:
        H, W, dtype = walk.H, walk.W, self.dtype
        names = self.backward_library.source.sums
        place = {name: i for i, name in enumerate(names)}
        order = self._order
        if dW is None or order != list(range(len(self.gates))) or W != H:
            d_weight = torch.zeros(len(self.gates), H, walk.I, dtype=self.compute)
            if dW is not None:
                d_weight[order] = dW.view(len(order), W, walk.I)[:, :H]
            dW = d_weight.view(-1, walk.I)
        d_bias_ih = d_bias_hh = None
        if weights.bias_ih is not None:
            d_bias_ih = torch.zeros(len(self.gates), H, dtype=self.compute)
            for i, slot in enumerate(self.program.slots):
                if slot.gate is not None:
                    d_bias_ih[self.gates.index(slot.gate)] += sums[place[f"slot:{i}"], :H]
            d_bias_ih = d_bias_ih.view(-1).to(dtype)
        if weights.bias_hh is not None:
            d_bias_hh = torch.zeros(len(self.biased), H, dtype=self.compute)
            for i, slot in enumerate(self.program.slots):
                for _, block in slot.pairs:
                    if block in self.biased:
                        d_bias_hh[self.biased.index(block)] += sums[place[f"slot:{i}"], :H]
            d_bias_hh = d_bias_hh.view(-1).to(dtype)
        if dR is not None:
            n = len(self.blocks)
            dR = dR.view(n, W, W)[:, :H, :H].reshape(n * H, H).to(dtype)
        state = []
        for (_, d), last in zip(d_initial.items(), d_last, strict=True):
            if walk.lengths is not None and last is not None:
                empty = (walk.lengths == 0).unsqueeze(-1)
                d = torch.where(empty, walk.padded(last.to(d.dtype)), d)
            state.append(walk.unsorted(walk.unpadded(d)).to(dtype))
        own = [sums[place[f"parameter:{name}"], :H].to(dtype, copy=True) for name in self.program.cell.parameter_specs]
        return Gradients(dx, dW.to(dtype), dR, d_bias_ih, d_bias_hh, own, state)


@dataclass
class _Packed:
    """The weights as the kernels read them."""

    input: Tensor | None = None
    input_bias: Tensor | None = None
    bias: Tensor = field(default_factory=lambda: torch.empty(0))
    parameters: Tensor = field(default_factory=lambda: torch.empty(0))
    recurrent: Tensor | None = None


@dataclass(frozen=True)
class _Memory:
    """A tensor as a kernel sees it: step t begins at ``first + (t & mask)``.

    Args:
        tensor: (steps, …), or one step where mask is 0.
        first: the step of the tensor that the kernel calls 0.
        mask: -1 where all steps are there, 1 where two take turns, 0 where there is one.
    """

    tensor: Tensor
    first: int = 0
    mask: int = -1

    def at(self, t: int) -> _Memory:
        """The same, seen from step t on."""
        # Chunks begin at even steps, so that two steps that take turns stay in turn.
        return _Memory(self.tensor, self.first + t, self.mask) if self.mask == -1 else self

    def steps(self, begin: int, end: int) -> Tensor:
        """The steps of the tensor, in the kernel's count."""
        return self.tensor[self.first + begin : self.first + end]

    def numbers(self) -> tuple[int, int, int]:
        """The address of step 0, the elements of a step, and the mask."""
        tensor = self.tensor
        assert tensor.is_contiguous()
        if self.mask == 0:
            return tensor.data_ptr(), 0, 0
        time = tensor.stride(0)
        return tensor.data_ptr() + self.first * time * tensor.element_size(), time, self.mask


_NOTHING = _Memory(torch.empty(0), mask=0)


class _Walk:
    """How one call goes through time: sizes, chunks, flags, threads."""

    def __init__(
        self,
        kernel: Kernel,
        x: Tensor,
        units: int,
        lengths: Tensor | None,
        resets: Tensor | None,
        reverse: bool,
        save: str | None,
    ) -> None:
        self.kernel = kernel
        self.T, self.B, self.I = x.shape
        self.H, self.W = units, _width(units)
        self.resets, self.reverse = resets, reverse
        # The rows from the longest to the shortest: those that a step has stand first.
        self.lengths, self._order, self._inverse = lengths, None, None
        if lengths is not None:
            self.lengths, self._order = torch.sort(lengths, descending=True, stable=True)
            self._inverse = torch.argsort(self._order)
            self.resets = None if resets is None else resets[:, self._order]
        self.chunks = kernel.chunks(self.T, self.B, self.W, save)
        if reverse:
            self.chunks.reverse()
        self.threads = num_threads()
        self._hoisted: Tensor | None = None
        self._held: dict[bool, tuple[Tensor, Tensor]] = {}

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype, zero: bool = False) -> Tensor:
        """Memory of the call; zero where rows that have ended are read by a product."""
        if zero:
            return torch.zeros(shape, dtype=dtype)
        return _on_large_pages(torch.empty(shape, dtype=dtype))

    def sorted(self, value: Tensor, rows: int = 0) -> Tensor:
        """The rows in the order in which the kernel knows them."""
        return value if self._order is None else value.index_select(rows, self._order)

    def unsorted(self, value: Tensor, rows: int = 0) -> Tensor:
        """The rows in the order in which they came."""
        return value if self._inverse is None else value.index_select(rows, self._inverse)

    def rows(self, t0: int) -> int:
        """How many rows a chunk has that begins at step t0."""
        if self.lengths is None:
            return self.B
        # With those that end just before it: there the reverse direction comes to its beginning.
        return max(int((self.lengths >= max(t0, 1)).sum()), 1)

    def chunk(self, value: Tensor, t0: int, n: int) -> Tensor:
        """The steps t0 to t0 + n of a sequence, (n, rows, …)."""
        part = value[t0 : t0 + n]
        if self._order is None:
            return part
        return part.index_select(1, self._order[: self.rows(t0)])

    def own(self, value: Tensor, t0: int, n: int, rows: int) -> Tensor:
        """Memory for the steps t0 to t0 + n of a sequence, to be given to :meth:`put_chunk`."""
        if self._order is None:
            return value[t0 : t0 + n]
        return self.empty((n, rows, value.shape[-1]), value.dtype)

    def put_chunk(self, value: Tensor, part: Tensor, t0: int) -> None:
        """Writes steps from t0 on, in the order in which the rows came."""
        if self._order is not None:
            value[t0 : t0 + len(part)].index_copy_(1, self._order[: part.shape[1]], part)

    def hoisted(self, slots: int, dtype: torch.dtype) -> Tensor:
        """Memory for the input's products of one chunk."""
        if self._hoisted is None:
            rows = max(n for _, n in self.chunks) * self.B
            self._hoisted = self.empty((rows, slots * self.W), dtype)
        return self._hoisted

    def padded(self, value: Tensor) -> Tensor:
        """With zeros after the last unit."""
        return _pad(value, self.W)

    def unpadded(self, value: Tensor) -> Tensor:
        """Without what stands after the last unit."""
        if self.W == self.H:
            return value
        return value[..., : self.H].clone(memory_format=torch.contiguous_format)

    def before(self, state: _Memory, initial: _Memory, t0: int, n: int) -> list[tuple[int, Tensor]]:
        """A state before each step of a chunk, as runs of steps: the first step, and (n, B, W)."""
        is_first = (t0 + n == self.T) if self.reverse else t0 == 0
        if self.resets is None and (self.lengths is None or not self.reverse):
            if not is_first:
                return [(0, state.steps(1, n + 1) if self.reverse else state.steps(-1, n - 1))]
            s0 = initial.tensor.unsqueeze(0)
            if self.reverse:
                return [(0, state.steps(1, n)), (n - 1, s0)][n == 1 :]
            return [(0, s0), (1, state.steps(0, n - 1))][: 1 + (n > 1)]
        flags = self._flags(False)[0][t0 + 1 : t0 + n + 1]
        starts = (flags & _START).bool().unsqueeze(-1)
        s0 = initial.tensor.expand(n, -1, -1)
        if self.reverse:
            shifted = state.steps(1, n if is_first else n + 1)
            shifted = torch.cat([shifted, s0[:1]]) if is_first else shifted
        else:
            shifted = state.steps(0 if is_first else -1, n - 1)
            shifted = torch.cat([s0[:1], shifted]) if is_first else shifted
        return [(0, torch.where(starts, s0, shifted))]

    def pack(self, library: _Library, weight: Tensor) -> Tensor:
        """The blocks of R as the kernel reads them."""
        weight = weight.contiguous()
        numbers = self._context(library, None, {}, 0, 0, 0, 1, None)
        packed = torch.empty(library.packed_size(numbers), dtype=torch.uint8)
        library.pack(numbers, weight.data_ptr(), packed.data_ptr())
        return packed

    def groups(self, library: _Library) -> int:
        """How many groups of threads share the rows."""
        return self._threads(library)[0]

    def _threads(self, library: _Library) -> tuple[int, int]:
        source = library.source
        size = torch.empty(0, dtype=self.kernel.dtype).element_size()
        lanes = 64 // torch.empty(0, dtype=self.kernel.compute).element_size()
        return _split(
            self.B, self.W, tuple(source.widths), tuple(source.products), size, lanes, self.threads
        )

    def run(
        self,
        library: _Library,
        packed: Tensor | None,
        memory: Mapping[str, _Memory],
        t0: int,
        begin: int,
        count: int,
        direction: int,
        sums: Tensor | None = None,
    ) -> None:
        """Lets a kernel walk ``count`` steps from t0 + begin on."""
        numbers = self._context(library, packed, memory, t0, begin, count, direction, sums)
        library.run(numbers)

    def _context(
        self,
        library: _Library,
        packed: Tensor | None,
        memory: Mapping[str, _Memory],
        t0: int,
        begin: int,
        count: int,
        direction: int,
        sums: Tensor | None,
    ) -> ctypes.Array[ctypes.c_int64]:
        source = library.source
        groups, members = self._threads(library)
        active = flags = 0
        if self.lengths is not None or self.resets is not None:
            held = self._flags(library is not self.kernel.forward_library)
            flags, active = (t.data_ptr() if t.numel() else 0 for t in held)
        numbers = [self.B, self.H, self.W, begin, count, direction, t0, self.T]
        numbers += [int(self.reverse), groups, members, active, flags]
        numbers += [0 if packed is None else packed.data_ptr()]
        numbers += [0 if sums is None else sums.data_ptr(), 0]
        context = (_numbers * (len(numbers) + 3 * max(len(source.arrays), 1)))(*numbers)
        keep = []
        if source.reductions and count:
            size = library.partials_size(context)
            keep.append(torch.empty(size, dtype=torch.uint8))
            context[len(numbers) - 1] = keep[-1].data_ptr()
        place = len(numbers)
        for array in source.arrays if count else ():
            if array.name == "spill":
                spill = torch.empty(self.B * source.spilled * self.W, dtype=self.kernel.compute)
                keep.append(spill)
                context[place] = spill.data_ptr()
            elif array.name in memory:
                context[place : place + 3] = memory[array.name].numbers()
            else:
                assert array.name == "saved", array.name
            place += 3
        context._keep = keep
        return context

    def _flags(self, backward: bool) -> tuple[Tensor, Tensor]:
        """Flags (T + 2, B), and how many rows each of T + 2 steps has, where they are ragged."""
        if backward not in self._held:
            self._held[backward] = _flags(
                self.T, self.B, self.lengths, self.resets, self.reverse, backward
            )
        return self._held[backward]


def _flags(
    T: int, B: int, lengths: Tensor | None, resets: Tensor | None, reverse: bool, backward: bool
) -> tuple[Tensor, Tensor]:
    rows = torch.arange(B)
    length = torch.full((B,), T) if lengths is None else lengths
    some = rows[length > 0]
    first = (length[some] - 1) if reverse else torch.zeros_like(some)
    last = torch.zeros_like(some) if reverse else length[some] - 1
    before = length[some] if reverse else torch.full_like(some, -1)
    starts = torch.zeros(T + 2, B, dtype=torch.bool)
    if resets is not None:
        # In the reverse direction the step that is taken before t is t + 1.
        if reverse:
            starts[1:T] = resets[1:]
        else:
            starts[1 : T + 1] = resets
    starts[first + 1, some] = True
    flags = starts.to(torch.uint8) * _START
    flags[last + 1, some] |= _END
    after = torch.roll(starts, 1 if reverse else -1, 0)
    flags |= after.to(torch.uint8) * _RESTART
    flags[before + 1, some] = _BEFORE
    if lengths is None:
        return flags, torch.empty(0)
    t = torch.arange(-1, T + 1).unsqueeze(1)
    reaches = length >= t if reverse and backward else length > t
    active = (reaches & (length > 0)).sum(1).to(torch.int32)
    return flags, active


_MADV_HUGEPAGE, _LARGE = 14, 1 << 22


@cache
def _madvise() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return advise


def _on_large_pages(fresh: Tensor) -> Tensor:
    """The same memory, of which the system is asked to make large pages.

    The first touch of memory costs as much as several products where it is made page by page.
    """
    size, advise = fresh.numel() * fresh.element_size(), _madvise()
    if size >= _LARGE and advise is not None:
        begin = -(-fresh.data_ptr() // 4096) * 4096
        # No is an answer: the pages are small then.
        advise(begin, (fresh.data_ptr() + size - begin) // 4096 * 4096, _MADV_HUGEPAGE)
    return fresh


def _width(units: int) -> int:
    return -(-units // _PADDING) * _PADDING


def _pad(value: Tensor, width: int) -> Tensor:
    missing = width - value.shape[-1]
    return torch.nn.functional.pad(value, (0, missing)) if missing else value


def _ordered(weight: Tensor, order: list[int], H: int, W: int) -> Tensor:
    """The blocks of W in the order of the slots, each padded to the width of a row."""
    blocks = weight.shape[0] // H
    if order == list(range(blocks)) and H == W:
        return weight
    parts = weight.view(blocks, H, -1)[order]
    if H != W:
        parts = torch.nn.functional.pad(parts, (0, 0, 0, W - H))
    return parts.reshape(len(order) * W, -1)


@cache
def _second_cache() -> int:
    """The bytes of the cache that each core has for itself."""
    try:
        return max(os.sysconf("SC_LEVEL2_CACHE_SIZE"), 1 << 18)
    except (ValueError, OSError, AttributeError):
        return 1 << 20


@cache
def _split(
    B: int, W: int, widths: tuple[int, ...], products: tuple[int, ...], size: int, lanes: int, n: int
) -> tuple[int, int]:
    """Threads as groups x members: rows are split over groups, units over a group's members.

    A thread's share of the weights should stay in its own cache; members pay for a barrier.
    The units of the estimate are multiplications of one vector.
    """
    best, least = (1, 1), float("inf")
    for members in range(1, n + 1):
        groups = min(n // members, max(B, 1))
        cost = 0.0
        for width, count in zip(widths, products, strict=True):
            vectors = {0: 4, 1: 4, 2: 2}.get(width, 1)
            tiles = -(-W // (lanes * vectors))
            mine = -(-tiles // members)
            rows = -(-B // groups)
            bytes_read = mine * vectors * lanes * W * count * size
            # Beyond the cache a vector of weights takes as long as several multiplications.
            a_vector = 1.0 if bytes_read < 0.8 * _second_cache() else 2.5
            most = max(24 // max(width * vectors, 1), 1)
            blocks = -(-rows // most)
            loads = blocks * mine * W * vectors * count * a_vector
            flops = rows * mine * W * vectors * count
            cost += max(loads, flops) + 0.2 * loads + rows * mine * vectors * 60
            cost += 1500.0 if members > 1 else 0.0
        if cost < least:
            best, least = (groups, members), cost
    return best


_kernels: dict[tuple[int, str], Kernel] = {}


def kernel(program: Program, dtype: torch.dtype) -> Kernel:
    """The kernel of a program for one type; made once."""
    key = (id(program), STORAGE[dtype])
    if key not in _kernels:
        _kernels[key] = Kernel(program, STORAGE[dtype])
    return _kernels[key]
