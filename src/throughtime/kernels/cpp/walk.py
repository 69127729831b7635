"""How one call goes through time: its sizes, chunks, rows and threads, and the calls of the kernel.

A walk puts together what a compiled kernel is called with. It does not know what the kernel
computes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import torch
from torch import Tensor

from throughtime.kernels.call import Call
from throughtime.kernels.cpp import threads
from throughtime.kernels.cpp.chunks import chunks
from throughtime.kernels.cpp.context import Context, StepArray, context_of
from throughtime.kernels.cpp.gemm import num_threads
from throughtime.kernels.cpp.library import Library
from throughtime.kernels.cpp.rows import Rows
from throughtime.kernels.cpp.scratch import scratch
from throughtime.kernels.cpp.units import pad, width

__all__ = ["Walk"]


class Walk:
    """How one call goes through time.

    Args:
        dtype, compute: of the call's tensors, and that the kernel computes in.
        slots: how many slots the cell has: sums of products that enter the equations.
        call: the call.
        save: ``gates``, ``states``, or None where no backward call follows.

    Attributes:
        T, B, I, H: steps, rows, input features and hidden units.
        W: hidden units with padding.
        rows: the rows in the kernel's order.
        chunks: the first step and the number of steps of each chunk, in the order of time.
    """

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
        self.reverse = call.reverse
        self.seed = 0 if call.seed is None else int(call.seed)
        self.rows = Rows(self.T, self.B, call.lengths, call.resets, call.reverse)
        self.chunks = chunks(self.T, self.B, slots * self.W * compute.itemsize, save)
        # The chunk with the last steps may be shorter than the others. In reverse it comes first.
        if call.reverse:
            self.chunks.reverse()
        self.threads = num_threads()
        self._hoisted: Tensor | None = None

    def hoisted(self, slots: int, dtype: torch.dtype) -> Tensor:
        """Scratch memory for the products of the input of any one chunk, (rows, slots W)."""
        # Taken once for the longest chunk: asking again for each chunk would allocate again where
        # the memory is too large to be kept.
        if self._hoisted is None:
            rows = max(n for _, n in self.chunks) * self.B
            self._hoisted = scratch.take("hoisted", (rows, slots * self.W), dtype)
        return self._hoisted

    def padded(self, value: Tensor) -> Tensor:
        """The value with zeros after its last unit, (…, W)."""
        return pad(value, self.W)

    def unpadded(self, value: Tensor) -> Tensor:
        """The value without its padding, (…, H)."""
        if self.W == self.H:
            return value
        # A copy and no view: callers and torch.compile expect contiguous results.
        return value[..., : self.H].clone(memory_format=torch.contiguous_format)

    def pack(self, library: Library, weight: Tensor) -> Tensor:
        """The blocks of R in the order in which the kernel reads them."""
        weight = weight.contiguous()
        context = self._context(library)
        # One name for each direction: a backward call may need both at the same time.
        name = f"weights {library.is_backward}"
        packed = scratch.take(name, (library.packed_size(context),), torch.uint8)
        library.pack(context, weight.data_ptr(), packed.data_ptr())
        return packed

    def groups(self, library: Library) -> int:
        """How many groups of threads share the rows."""
        return self._split(library)[0]

    def run(
        self,
        library: Library,
        packed: Tensor | None,
        memory: Mapping[str, StepArray],
        t0: int,
        begin: int,
        count: int,
        direction: int,
        sums: Tensor | None = None,
    ) -> None:
        """Lets a kernel walk through ``count`` steps of a chunk.

        Args:
            library: the compiled kernel.
            packed: its blocks of R, from :meth:`pack`.
            memory: its arrays by name.
            t0: the first step of the chunk in the sequence.
            begin: the step that the kernel takes first, counted from t0.
            direction: 1 or -1, from one step of the kernel to the next.
            sums: where a backward kernel adds up over rows and steps.
        """
        context, source = self._context(library), library.source
        context.begin, context.count, context.direction = begin, count, direction
        context.offset = t0
        context.weights = None if packed is None else packed.data_ptr()
        context.sums = None if sums is None else sums.data_ptr()
        # The context holds addresses alone: variables hold the memory until the kernel has run.
        # Scratch memory that is too large to be kept would otherwise be freed.
        alive = [self._set_partials(context, library)]
        self._set_flags(context, library)
        for place, array in enumerate(source.arrays):
            if array.name == "spill":
                spill = scratch.take("spill", (self.B, source.spilled, self.W), self.compute)
                context.arrays[place] = (spill.data_ptr(), 0, 0)
                alive.append(spill)
            elif array.name in memory:
                context.arrays[place] = memory[array.name].fields()
            else:
                # A forward kernel does not write this array where its address is null.
                assert array.name == "saved", array.name
        library.run(ctypes.byref(context))

    def _set_flags(self, context: Context, library: Library) -> None:
        """Sets the flags of the rows, unless all rows begin and end together."""
        if self.rows.lengths is None and self.rows.resets is None:
            return
        # The rows hold these tensors as long as the walk lives.
        flags, active = self.rows.flags(library.is_backward)
        context.flags = flags.data_ptr()
        context.active = active.data_ptr() if active.numel() else None

    def _set_partials(self, context: Context, library: Library) -> Tensor | None:
        """Sets the memory for parts of sums over the units, if there are any; returns it."""
        if not library.source.reductions:
            return None
        partials = scratch.take("partials", (library.partials_size(context),), torch.uint8)
        context.partials = partials.data_ptr()
        return partials

    def _context(self, library: Library) -> Context:
        """The fields that are the same for all chunks."""
        groups, members = self._split(library)
        order = self.rows.order
        return context_of(len(library.source.arrays))(
            rows=self.B,
            units=self.H,
            width=self.W,
            narrow=self.narrow,
            direction=1,
            steps=self.T,
            reverse=int(self.reverse),
            groups=groups,
            members=members,
            order=None if order is None else order.data_ptr(),
            seed=self.seed,
        )

    def _split(self, library: Library) -> tuple[int, int]:
        source = library.source
        # The split is estimated for vectors of 64 bytes, also where the processor has shorter ones.
        size, lanes = self.dtype.itemsize, 64 // self.compute.itemsize
        return threads.split(
            self.B, self.W, tuple(source.widths), tuple(source.products), size, lanes, self.threads
        )
