"""How one call goes through time: memory, chunks of steps, ragged rows, threads.

What a compiled kernel is called with is put together here; what it computes is not known here.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from throughtime.kernels.call import Call
from throughtime.kernels.cpp.compile import load
from throughtime.kernels.cpp.emit import Source
from throughtime.kernels.cpp.gemm import num_threads

__all__ = ["Library", "Memory", "Walk", "chunks", "num_chunks", "pad", "width"]

# The rows of H units are padded to whole vectors of every width.
_UNITS = 16
# What a chunk makes should still be in the cache when it is read, and its rows should be enough for
# a large product to be fast.
_BYTES_OF_A_CHUNK, _FEWEST_ROWS = 1 << 22, 1024
# Flags of a step of a row; see recurrence.hpp.
_START, _END, _RESTART, _BEFORE = 1, 2, 4, 8


class Library:
    """A compiled direction."""

    def __init__(self, source: Source, is_backward: bool) -> None:
        library = load(source.text)
        self.is_backward = is_backward
        self.source = source
        self.run, self.pack = library.run_steps, library.pack_weights
        self.packed_size, self.partials_size = library.packed_size, library.partials_size
        pointer = ctypes.c_void_p
        self.run.argtypes, self.run.restype = [pointer], None
        self.pack.argtypes, self.pack.restype = [pointer, pointer, pointer], None
        for size in (self.packed_size, self.partials_size):
            size.argtypes, size.restype = [pointer], ctypes.c_int64


@dataclass(frozen=True)
class Memory:
    """A tensor as a kernel sees it: step t begins at ``first + (t & mask)``.

    Args:
        tensor: (steps, …), or one step where mask is 0.
        first: the step of the tensor that the kernel calls 0.
        mask: -1 where all steps are there, 1 where two take turns, 0 where there is one.
    """

    tensor: Tensor
    first: int = 0
    mask: int = -1

    def at(self, t: int) -> Memory:
        """The same, seen from step t on."""
        # Chunks begin at even steps, so that two steps that take turns stay in turn.
        return Memory(self.tensor, self.first + t, self.mask) if self.mask == -1 else self

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


def chunks(T: int, B: int, bytes_of_a_row: int, save: str | None) -> list[tuple[int, int]]:
    """First step and number of steps of each chunk.

    Args:
        T, B: steps and rows.
        bytes_of_a_row: what a chunk makes for each row of each step.
        save: with ``states`` memory is to be saved: chunks are short, and hardly slower.
    """
    steps = _steps_of_a_chunk(B, bytes_of_a_row, save)
    return [(t, min(steps, T - t)) for t in range(0, T, steps)]


def num_chunks(T: int, B: int, bytes_of_a_row: int, save: str | None) -> int:
    """How many :func:`chunks` there are; T and B may be symbols of torch.compile."""
    return -(-T // _steps_of_a_chunk(B, bytes_of_a_row, save))


def _steps_of_a_chunk(B: int, bytes_of_a_row: int, save: str | None) -> int:
    # A step without products makes none.
    rows = max(_BYTES_OF_A_CHUNK // max(bytes_of_a_row, 1), _FEWEST_ROWS)
    rows = -(-_FEWEST_ROWS // 2) if save == "states" else rows
    # Even, so that two steps that take turns stay in turn from chunk to chunk.
    # A symbol where B is one, which the type of sym_max does not know.
    return torch.sym_max(2, -(-rows // torch.sym_max(B, 1)) // 2 * 2)  # type: ignore[return-value]


class Walk:
    """How one call goes through time: sizes, chunks, flags, threads."""

    def __init__(
        self,
        dtype: torch.dtype,
        compute: torch.dtype,
        slots: int,
        call: Call,
        save: str | None,
    ) -> None:
        self.dtype, self.compute = dtype, compute
        self.T, self.B, self.I = call.x.shape
        self.H = call.state[0].shape[-1]
        self.W = width(self.H)
        self.narrow = call.cell.narrow.size if call.cell.narrow is not None else 0
        self.resets, self.reverse = call.resets, call.reverse
        self.seed = 0 if call.seed is None else int(call.seed)
        # The rows from the longest to the shortest: those that a step has stand first.
        self.lengths, self._order, self._inverse = call.lengths, None, None
        if call.lengths is not None:
            self.lengths, self._order = torch.sort(call.lengths, descending=True, stable=True)
            if not (self.lengths[-1] >= 0 and self.lengths[0] <= self.T):
                # Inside torch.compile the layer could not look at them.
                raise ValueError(
                    f"expected lengths from 0 to {self.T}, the number of steps of x, got "
                    f"{int(self.lengths[-1])} to {int(self.lengths[0])}."
                )
            self._inverse = torch.argsort(self._order)
            self.resets = None if call.resets is None else call.resets[:, self._order]
        self.chunks = chunks(self.T, self.B, slots * self.W * compute.itemsize, save)
        if call.reverse:
            self.chunks.reverse()
        self.threads = num_threads()
        self._hoisted: Tensor | None = None
        self._held: dict[bool, tuple[Tensor, Tensor]] = {}

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype, zero: bool = False) -> Tensor:
        """Memory of the call; zero where rows that have ended are read by a product."""
        if zero:
            return torch.zeros(shape, dtype=dtype)
        return _on_large_pages(torch.empty(shape, dtype=dtype))

    def scratch(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory for this call alone, of which nothing may be given out."""
        size = math.prod(shape) * dtype.itemsize
        if size > _MOST_HELD:
            return self.empty(shape, dtype)
        held = _held.by_name.get(name)
        if held is None or held.numel() < size:
            held = _held.by_name[name] = self.empty((size,), torch.uint8)
        return held[:size].view(dtype).view(shape)

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
        if self._order is None or self.lengths is None:
            return part
        part = part.index_select(1, self._order[: self.rows(t0)])
        # Zero times NaN is NaN: what lies past a row's end must not enter a product at all.
        steps = torch.arange(t0, t0 + len(part)).unsqueeze(1)
        past = steps >= self.lengths[: part.shape[1]]
        return part.masked_fill_(past.unsqueeze(-1), 0.0)

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
            self._hoisted = self.scratch("hoisted", (rows, slots * self.W), dtype)
        return self._hoisted

    def padded(self, value: Tensor) -> Tensor:
        """With zeros after the last unit."""
        return pad(value, self.W)

    def unpadded(self, value: Tensor) -> Tensor:
        """Without what stands after the last unit."""
        if self.W == self.H:
            return value
        return value[..., : self.H].clone(memory_format=torch.contiguous_format)

    def before(self, state: Memory, initial: Memory, t0: int, n: int) -> list[tuple[int, Tensor]]:
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

    def pack(self, library: Library, weight: Tensor) -> Tensor:
        """The blocks of R as the kernel reads them."""
        weight = weight.contiguous()
        numbers = self._context(library, None, {}, (0, 0, 0, 1), None, [])
        name = f"weights {library.is_backward}"
        packed = self.scratch(name, (library.packed_size(numbers),), torch.uint8)
        library.pack(numbers, weight.data_ptr(), packed.data_ptr())
        return packed

    def groups(self, library: Library) -> int:
        """How many groups of threads share the rows."""
        return self._threads(library)[0]

    def _threads(self, library: Library) -> tuple[int, int]:
        source = library.source
        size, lanes = self.dtype.itemsize, 64 // self.compute.itemsize
        return _split(
            self.B, self.W, tuple(source.widths), tuple(source.products), size, lanes, self.threads
        )

    def run(
        self,
        library: Library,
        packed: Tensor | None,
        memory: Mapping[str, Memory],
        t0: int,
        begin: int,
        count: int,
        direction: int,
        sums: Tensor | None = None,
    ) -> None:
        """Lets a kernel walk ``count`` steps from t0 + begin on."""
        # Held until the kernel has run.
        scratch: list[Tensor] = []
        steps = (t0, begin, count, direction)
        library.run(self._context(library, packed, memory, steps, sums, scratch))

    def _context(
        self,
        library: Library,
        packed: Tensor | None,
        memory: Mapping[str, Memory],
        steps: tuple[int, int, int, int],
        sums: Tensor | None,
        scratch: list[Tensor],
    ) -> ctypes.Array[ctypes.c_int64]:
        """The integers of a Context; see recurrence.hpp."""
        t0, begin, count, direction = steps
        source = library.source
        groups, members = self._threads(library)
        active = flags = 0
        if self.lengths is not None or self.resets is not None:
            held = self._flags(library.is_backward)
            flags, active = (t.data_ptr() if t.numel() else 0 for t in held)
        numbers = [self.B, self.H, self.W, self.narrow, begin, count, direction, t0, self.T]
        order = 0 if self._order is None else self._order.data_ptr()
        numbers += [int(self.reverse), groups, members, active, flags, order, self.seed]
        numbers += [0 if packed is None else packed.data_ptr()]
        numbers += [0 if sums is None else sums.data_ptr(), 0]
        context = (ctypes.c_int64 * (len(numbers) + 3 * max(len(source.arrays), 1)))(*numbers)
        if source.reductions and count:
            size = library.partials_size(context)
            partials = self.scratch("partials", (size,), torch.uint8)
            context[len(numbers) - 1] = partials.data_ptr()
            scratch.append(partials)
        place = len(numbers)
        for array in source.arrays if count else ():
            if array.name == "spill":
                spill = self.scratch("spill", (self.B, source.spilled, self.W), self.compute)
                scratch.append(spill)
                context[place] = spill.data_ptr()
            elif array.name in memory:
                context[place : place + 3] = memory[array.name].numbers()
            else:
                assert array.name == "saved", array.name
            place += 3
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


# Fresh memory costs more than what is often done with it: each thread holds what it used last.
_MOST_HELD = 32 << 20


class _Held(threading.local):
    def __init__(self) -> None:
        self.by_name: dict[str, Tensor] = {}


_held = _Held()

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


@cache
def _second_cache() -> int:
    """The bytes of the cache that each core has for itself."""
    try:
        return max(os.sysconf("SC_LEVEL2_CACHE_SIZE"), 1 << 18)
    except (ValueError, OSError, AttributeError):
        return 1 << 20


@cache
def _split(
    B: int,
    W: int,
    widths: tuple[int, ...],
    products: tuple[int, ...],
    size: int,
    lanes: int,
    n: int,
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


def width(units: int) -> int:
    return -(-units // _UNITS) * _UNITS


def pad(value: Tensor, width: int) -> Tensor:
    missing = width - value.shape[-1]
    return torch.nn.functional.pad(value, (0, missing)) if missing else value
