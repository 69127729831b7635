"""Plans of training steps: the forward call and the backward call of a layer, each one call in C++.

``forward.py`` and ``backward.py`` describe both calls for every case. In a short sequence most of
their time is spent on preparing the kernels' arguments. A :class:`TrainingPlan` prepares once what
follows from the cell and the sizes of the layer alone; training.hpp does the rest. The weights are
read in each call, so a plan is independent of them.
"""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

from torch import Tensor

from throughtime.kernels.arguments import check_form, names_of_tensors
from throughtime.kernels.cpp import gemm
from throughtime.kernels.cpp.backward import Backward
from throughtime.kernels.cpp.chunks import rows_of_a_chunk
from throughtime.kernels.cpp.forward import STORAGE, Forward
from throughtime.kernels.cpp.scratch import LARGE, lasting, on_large_pages
from throughtime.kernels.cpp.threads import split
from throughtime.kernels.cpp.training_code import code_of
from throughtime.kernels.cpp.training_tables import TrainingTables
from throughtime.kernels.cpp.units import width

__all__ = ["TrainingPlan"]

_ONE_THREAD = (1, 1, 1, 1)
"""Groups and members of both directions."""


class _Sizes(NamedTuple):
    """The sizes of a call.

    Args:
        steps, rows: T, B.
        kept: the number of values of the kept arrays.
        shapes: the shapes of the tensors in the order of ``Call.tensors``, and of the kept arrays.
        most_bytes: the bytes of the largest of them.
    """

    steps: int
    rows: int
    kept: int
    shapes: list[tuple[int, ...]]
    most_bytes: int


_MOST_SIZES = 16


def _allocator(like: Tensor, sizes: _Sizes) -> Callable[..., Tensor]:
    """A function that allocates a tensor of the dtype of ``like``; its arguments are the sizes."""
    # PyTorch reads separate numbers faster than one tuple of them.
    if sizes.most_bytes < LARGE:
        return like.new_empty
    return lambda *shape: on_large_pages(like.new_empty(*shape))


class TrainingPlan:
    """Runs training steps of one layer in one direction, whatever its weights are.

    Args:
        forward, backward: the directions of the layer's cell, for float32 or float64. Its only
            input is x.
        features, units: I, H.
        reverse: whether time runs from the last step to the first.

    Attributes:
        cell: the cell, whose matrices are blocks of W and R.
        output: the name of the kept array of the output.
        most_rows: the most rows, over all steps, of a call. A longer call is run in chunks, so
            that the products of a chunk are still in the cache when the kernel reads them.
    """

    @lasting()
    def __init__(
        self, forward: Forward, backward: Backward, features: int, units: int, reverse: bool
    ) -> None:
        self._forward, self._reverse, self.output = forward, reverse, forward.output
        self._features, self._units, self._width = features, units, width(units)
        program, cell = forward.program, forward.program.cell
        gates, blocks = len(cell.gates) * units, len(cell.recurrent_block_names) * units
        vectors = [(gates,), (len(cell.recurrent_bias_names) * units,)]
        vectors += [(units,)] * len(cell.parameter_specs)
        self._names = [*names_of_tensors(cell), "the kept arrays"]
        self._shapes = [(gates, features), (blocks, units), *vectors]
        self.cell, self._num_states = cell, len(program.states)
        bytes_of_a_row = len(program.slots) * self._width * forward.dtype.itemsize
        self.most_rows = rows_of_a_chunk(bytes_of_a_row)
        self._sources = forward.source, backward.source
        self._code = code_of(STORAGE[forward.dtype])
        self._tables = TrainingTables(forward, backward, features, units, reverse)
        self._address = ctypes.addressof(self._tables.fields)
        # The numbers of a call: `Numbers` of training.hpp, and the addresses of its tensors
        # and of the kept arrays. Then in the forward call those of the output and the last states;
        # in the backward call those of their gradients, with three strides, and of its results.
        leading, results = 4 + len(_ONE_THREAD) + len(self._names), 1 + self._num_states
        gradients = results + 3 + len(self._names) - 1
        self._pack_forward = struct.Struct(f"{leading + results}q").pack
        self._pack_backward = struct.Struct(f"{leading + gradients}q").pack
        self._recent_sizes: dict[tuple[int, int], _Sizes] = {}

    def forward(
        self, tensors: Sequence[Tensor | None], seed: int
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """Runs all steps.

        Args:
            tensors: the tensors of the call, in the order of ``Call.tensors``.
            seed: the seed of the random numbers that the cell draws.

        Returns:
            The output (T, B, H), the last states (1, B, H), and the arrays for :meth:`backward` in
            one tensor. They share no memory.
        """
        x = tensors[0]
        assert x is not None
        (T, B, _), H = x.shape, self._units
        sizes = self._sizes(T, B)
        addresses, copies = self._addresses(tensors, sizes)
        empty = _allocator(x, sizes)
        kept = empty(sizes.kept)
        y, last = empty(T, B, H), [empty(1, B, H) for _ in range(self._num_states)]
        addresses += [kept.data_ptr(), y.data_ptr(), *[state.data_ptr() for state in last]]
        self._run(self._code.forward, self._pack_forward, sizes, seed, addresses)
        del copies
        return y, last, kept

    def backward(
        self,
        tensors: Sequence[Tensor | None],
        kept: Tensor,
        seed: int,
        d_output: Tensor | None,
        d_last: Sequence[Tensor | None],
        are_needed: Sequence[bool],
    ) -> list[Tensor | None]:
        """The gradients of the tensors of a call.

        Args:
            tensors, seed: the arguments of :meth:`forward`.
            kept: the last of its results.
            d_output: the gradient of the output, of any strides; None stands for zero.
            d_last: the gradients of the last states; None stands for zero.
            are_needed: which of the tensors need a gradient; the others get None.
        """
        x = tensors[0]
        assert x is not None
        T, B, _ = x.shape
        sizes = self._sizes(T, B)
        addresses, copies = self._addresses((*tensors, kept), sizes)
        strides = (0, 0, 0)
        if d_output is not None:
            d_output = d_output.resolve_neg() if d_output.is_neg() else d_output
            strides = d_output.stride()
        d_last = [None if d is None else d.resolve_neg().contiguous() for d in d_last]
        empty = _allocator(x, sizes)
        gradients = [
            empty(*shape) if is_needed and t is not None else None
            for t, shape, is_needed in zip(tensors, sizes.shapes[:-1], are_needed, strict=True)
        ]
        addresses += [0 if d_output is None else d_output.data_ptr(), *strides]
        addresses += [0 if t is None else t.data_ptr() for t in (*d_last, *gradients)]
        self._run(self._code.backward, self._pack_backward, sizes, seed, addresses)
        del copies
        return gradients

    def _addresses(
        self, tensors: Sequence[Tensor | None], sizes: _Sizes
    ) -> tuple[list[int], list[Tensor]]:
        """The addresses of tensors, and copies of those that are not contiguous.

        Raises:
            ValueError: if a tensor is not as the code reads it. A weight may have been replaced
                since the forward call, and hooks may have replaced saved tensors.
        """
        addresses, copies, dtype = [], [], self._forward.dtype
        for tensor, shape in zip(tensors, sizes.shapes, strict=False):
            if tensor is None:
                addresses.append(0)
                continue
            if tensor.shape != shape or tensor.dtype is not dtype or not tensor.is_cpu:
                name = self._names[len(addresses)]
                check_form(self.cell, (name, tensor, shape, dtype))
                raise ValueError(
                    f"{self.cell.title}: expected {name} on the CPU, got {tensor.device}."
                )
            if not tensor.is_contiguous() or tensor.is_neg():
                tensor = tensor.resolve_neg().contiguous()
                copies.append(tensor)
            addresses.append(tensor.data_ptr())
        return addresses, copies

    def _sizes(self, T: int, B: int) -> _Sizes:
        """The sizes of a call of T steps and B rows; those of the last calls are kept."""
        sizes = self._recent_sizes.get((T, B))
        if sizes is None:
            if len(self._recent_sizes) >= _MOST_SIZES:
                self._recent_sizes.clear()
            sizes = self._recent_sizes[T, B] = self._sizes_of(T, B)
        return sizes

    def _sizes_of(self, T: int, B: int) -> _Sizes:
        kept = sum(T * one.values + (one.state >= 0) for one in self._tables.kept) * B * self._width
        shapes = [(T, B, self._features), *self._shapes, *[(B, self._units)] * self._num_states]
        shapes.append((kept,))
        most = max(math.prod(shape) for shape in shapes)
        return _Sizes(T, B, kept, shapes, most * self._forward.dtype.itemsize)

    def _run(
        self,
        function: Callable[..., int],
        pack: Callable[..., bytes],
        sizes: _Sizes,
        seed: int,
        addresses: list[int],
    ) -> None:
        """Calls the code; raises a MemoryError if it has no memory.

        Args:
            function: the function of the code.
            pack: packs the numbers that it reads.
            sizes, seed: those of the call.
            addresses: the addresses and strides that it reads.
        """
        most, threads = gemm.num_threads(), _ONE_THREAD
        if most > 1:
            size, rows = self._forward.dtype.itemsize, sizes.rows
            splits = [
                split(
                    *(rows, self._width, tuple(source.widths), tuple(source.products)),
                    *(size, 64 // size, most),
                )
                for source in self._sources
            ]
            threads = tuple(chain.from_iterable(zip(*splits, strict=True)))
        numbers = pack(sizes.steps, sizes.rows, seed, most, *threads, *addresses)
        if function(self._address, numbers):
            raise MemoryError(
                f"no memory for a training step of {sizes.steps} steps and {sizes.rows} rows."
            )

    def names_of_operator(self, T: int, B: int) -> list[str]:
        """The names of the kept arrays in the order in which the operators take them."""
        arrays = self._forward.kept_arrays(T, B, self._units, "gates", is_ragged=False)
        return [name for name, _ in arrays]

    def views(self, kept: Tensor, T: int, B: int) -> dict[str, Tensor]:
        """The kept arrays by name, each (T, B, values W)."""
        views, begin, row = {}, 0, B * self._width
        for name, values, state in self._tables.kept:
            first = begin + (row if state >= 0 and not self._reverse else 0)
            part = kept[first : first + T * values * row]
            views[name] = part.view(T, B, values * self._width)
            begin += (T * values + (state >= 0)) * row
        return views
