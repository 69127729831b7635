"""Calls compiled kernels, with the sizes, chunks, rows and threads of one call.

A walk does not know what a kernel computes; that is in ``forward.py`` and ``backward.py``.
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
    """The sizes, chunks, rows and threads of one call, and the calls of its kernels.

    Args:
        dtype, compute: the dtype of the call's tensors, and the dtype of computations.
        slots: the number of the cell's slots: sums of products that enter the equations.
        call: the call.
        save: ``gates``, ``states``, or None if no backward call follows.

    Attributes:
        T, B, I, H: the numbers of steps, rows, input features and hidden units.
        W: the number of hidden units with padding.
        narrow: the number of units of a narrow state (see ``Cell.narrow``); 0 if there is none.
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
        # Chunks are counted from step 0 in both directions, because their first step must be
        # even. The one with the last steps may be shorter; in reverse it comes first.
        if call.reverse:
            self.chunks.reverse()
        self.threads = num_threads()
        self._hoisted: Tensor | None = None

    def hoisted(self, slots: int, dtype: torch.dtype) -> Tensor:
        """Scratch memory for the products of one chunk with the input, (rows, slots W)."""
        # Taken once, for the longest chunk: memory too large to be kept as scratch would otherwise
        # be allocated again for each chunk.
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
        # A copy instead of a view, because callers and torch.compile expect contiguous results.
        return value[..., : self.H].clone(memory_format=torch.contiguous_format)

    def pack(self, library: Library, weight: Tensor) -> Tensor:
        """Copies the blocks of R to scratch memory, in the order in which the kernel reads them."""
        weight = weight.contiguous()
        context = self._context(library)
        # Each direction has memory of its own: a backward call that runs chunks forward again
        # needs both at the same time.
        name = f"weights {library.is_backward}"
        packed = scratch.take(name, (library.packed_size(context),), torch.uint8)
        library.pack(context, weight.data_ptr(), packed.data_ptr())
        return packed

    def groups(self, library: Library) -> int:
        """The number of groups of threads that share the rows."""
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
        """Runs a kernel over ``count`` steps of a chunk.

        Args:
            library: the compiled kernel.
            packed: its blocks of R, from :meth:`pack`; None if the cell has none.
            memory: its arrays by name.
            t0: the first step of the chunk in the sequence.
            begin: the first step that the kernel runs, counted from t0.
            count: the number of steps.
            direction: the difference between one step of the kernel and the next, 1 or -1.
            sums: the memory to which a backward kernel adds its sums over rows and steps.
        """
        context = self._context(library)
        context.begin, context.count, context.direction = begin, count, direction
        context.offset = t0
        context.weights = None if packed is None else packed.data_ptr()
        context.sums = None if sums is None else sums.data_ptr()
        self._set_flags(context, library)
        # The context contains addresses only. These variables keep the memory alive until the
        # kernel has run: scratch memory that is too large to be kept is freed with its tensor.
        partials = self._set_partials(context, library)
        spill = self._set_arrays(context, library, memory)
        library.run(ctypes.byref(context))
        del partials, spill

    def _set_arrays(
        self, context: Context, library: Library, memory: Mapping[str, StepArray]
    ) -> Tensor | None:
        """Sets the addresses of the arrays; returns the scratch memory for spilled values."""
        source, spill = library.source, None
        for place, array in enumerate(source.arrays):
            if array.name == "spill":
                spill = scratch.take("spill", (self.B, source.spilled, self.W), self.compute)
                context.arrays[place] = (spill.data_ptr(), 0, 0)
            elif array.name in memory:
                context.arrays[place] = memory[array.name].fields()
            else:
                # The address stays null; then a forward kernel does not write the array.
                assert array.name == "saved", array.name
        return spill

    def _set_flags(self, context: Context, library: Library) -> None:
        """Sets the flags of the rows, unless all rows start and end at the same steps."""
        if self.rows.lengths is None and self.rows.resets is None:
            return
        # self.rows keeps these tensors alive.
        flags, active = self.rows.flags(library.is_backward)
        context.flags = flags.data_ptr()
        context.active = active.data_ptr() if active.numel() else None

    def _set_partials(self, context: Context, library: Library) -> Tensor | None:
        """Sets the scratch memory for the parts of reductions over the units; returns it.

        None if the step has no reduction.
        """
        if not library.source.reductions:
            return None
        partials = scratch.take("partials", (library.partials_size(context),), torch.uint8)
        context.partials = partials.data_ptr()
        return partials

    def _context(self, library: Library) -> Context:
        """A context with the fields that are equal for all chunks."""
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

    def suits_one_thread(self, library: Library, rows: int) -> bool:
        """Whether one thread runs so many rows at least as fast as all threads do."""
        threads_now = num_threads()
        return threads_now == 1 or self._split(library, rows, threads_now) == (1, 1)

    def _split(
        self, library: Library, rows: int | None = None, most: int | None = None
    ) -> tuple[int, int]:
        source, most = library.source, self.threads if most is None else most
        # The estimate assumes vectors of 64 bytes even if the processor has shorter ones: it
        # compares splits, and the vectors have the same length in all of them.
        size, lanes = self.dtype.itemsize, 64 // self.compute.itemsize
        return threads.split(
            *(self.B if rows is None else rows, self.W),
            *(tuple(source.widths), tuple(source.products), size, lanes, most),
        )
