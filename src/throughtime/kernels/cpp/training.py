"""Plans of training steps: the forward call and the backward call of a layer, each one call in C++.

``forward.py`` and ``backward.py`` describe both calls for every case. In a short sequence most of
their time is spent on preparing the kernels' arguments. A :class:`TrainingPlan` prepares once what
follows from the cell and the sizes of the layer alone; training.hpp does the rest. The weights are
read in each call, so a plan is independent of them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from throughtime.checks import ShapeError
from throughtime.kernels.cpp import gemm
from throughtime.kernels.cpp.emit import Source
from throughtime.kernels.cpp.forward import STORAGE
from throughtime.kernels.cpp.library import Library
from throughtime.kernels.cpp.scratch import lasting, on_large_pages
from throughtime.kernels.cpp.tables import sizes, table
from throughtime.kernels.cpp.threads import split
from throughtime.kernels.cpp.training_code import MEMORY_KINDS, Direction, Training, code_of
from throughtime.kernels.cpp.training_code import Source as SourceFields
from throughtime.kernels.cpp.units import width

if TYPE_CHECKING:
    from throughtime.kernels.cpp.recurrence import Kernel

__all__ = ["Kept", "TrainingPlan"]

_BIAS_IH, _BIAS_HH, _PARAMETER = 3, 4, 5
"""The positions of both biases, and of the first parameter, in ``Call.tensors``."""
_ONE_THREAD = (1, 1, 1, 1)
"""Groups and members of both directions."""
_BYTES_OF_PRODUCTS, _FEWEST_ROWS = 1 << 22, 1024


class Kept(NamedTuple):
    """An array that the forward call writes for the backward call.

    Args:
        name: the name of the kernel's array.
        values: the values of W units that one row has at one step.
        state: the number of the state that it contains, or -1. It then has one step more.
    """

    name: str
    values: int
    state: int


class _Sizes(NamedTuple):
    """The sizes of a call.

    Args:
        steps, rows: T, B.
        kept: the shape of the kept arrays.
        shapes: the shapes of the tensors in the order of ``Call.tensors``, and of the kept arrays.
    """

    steps: int
    rows: int
    kept: tuple[int]
    shapes: list[tuple[int, ...]]


class TrainingPlan:
    """Runs training steps of one layer in one direction, whatever its weights are.

    Args:
        kernel: the kernel of the layer's cell, for float32 or float64.
        features, units: I, H.
        reverse: whether time runs from the last step to the first.

    Attributes:
        cell: the cell, whose matrices are blocks of W and R.
        output: the name of the kept array of the output.
        most_rows: the most rows, over all steps, of a call. A longer call is run in chunks, so
            that the products of a chunk are still in the cache when the kernel reads them.
    """

    @lasting()
    def __init__(self, kernel: Kernel, features: int, units: int, reverse: bool) -> None:
        self._kernel, self._units, self._reverse = kernel, units, reverse
        self.output = kernel.forward_code.output
        self._width, self._features = width(units), features
        program, cell = kernel.program, kernel.program.cell
        gates, blocks = len(cell.gates) * units, len(cell.recurrent_block_names) * units
        vectors = [(gates,), (len(cell.recurrent_bias_names) * units,)]
        vectors += [(units,)] * len(cell.parameter_specs)
        self._shapes = [(gates, features), (blocks, units), *vectors]
        self._num_states = len(program.states)
        self.cell, self._num_parameters = cell, len(cell.parameter_specs)
        self._memory: list[object] = []
        self.kept = list(self._kept_arrays())
        bytes_of_a_row = len(program.slots) * self._width * kernel.dtype.itemsize
        self.most_rows = max(_BYTES_OF_PRODUCTS // max(bytes_of_a_row, 1), _FEWEST_ROWS)
        self._code = code_of(STORAGE[kernel.dtype])
        self._fields = self._filled(features)
        self._address = ctypes.addressof(self._fields)
        self._sizes = lru_cache(16)(self._sizes_of)
        self._arrays: dict[int, type[ctypes.Array[ctypes.c_int64]]] = {}

    # What follows from the cell and the sizes.

    def _kept_arrays(self) -> Iterator[Kept]:
        states = list(self._kernel.program.states)
        for array in self._kernel.forward_code.library.source.arrays:
            kind, _, name = array.name.partition(":")
            if kind in ("state", "operand", "saved", "output"):
                yield Kept(array.name, array.per_row, states.index(name) if kind == "state" else -1)

    def _filled(self, features: int) -> Training:
        """The struct that training.hpp reads."""
        kernel, program, H = self._kernel, self._kernel.program, self._units
        cell, backward = program.cell, kernel.backward_code
        further = list(cell.given_inputs)
        first = _PARAMETER + self._num_parameters + self._num_states
        inputs = [0 if n == "x" else first + further.index(n) for n in program.inputs]
        products, recurrent = self._input_products(), self._recurrent_products()
        gates, blocks = len(cell.gates), len(cell.recurrent_block_names)
        names = [kept.name for kept in self.kept]
        matmul = gemm.function(kernel.dtype, kernel.dtype)
        is_whole_input = len(set(kernel.forward_code.packing.order)) == gates
        return Training(
            forward=self._direction(kernel.forward_code.library),
            backward=self._direction(backward.library),
            matmul=ctypes.cast(matmul, ctypes.c_void_p).value,  # type: ignore[arg-type]
            units=H,
            width=self._width,
            narrow=cell.narrow.size if cell.narrow is not None else 0,
            features=features,
            reverse=int(self._reverse),
            slots=len(program.slots),
            hoisted=len(kernel.forward_code.hoisted),
            sums=len(backward.source.sums),
            parameters=self._num_parameters,
            states=self._num_states,
            further=len(further),
            inputs=len(inputs),
            tensor_of_input=self._numbers([(i,) for i in inputs]),
            kept_arrays=len(self.kept),
            output=names.index(self.output),
            kept=self._numbers([kept[1:] for kept in self.kept]),
            input_products=len(products),
            input_product=self._numbers(products),
            recurrent_products=len(recurrent),
            recurrent_product=self._numbers(recurrent),
            bias_terms=len(biases := self._bias_terms()),
            bias_term=self._numbers(biases),
            sum_terms=len(terms := self._sum_terms()),
            sum_term=self._numbers(terms),
            zeros_of_input=0 if is_whole_input else gates * H * features,
            zeros_of_recurrent=blocks * H * H if backward.weight_gradients.needs_zeros else 0,
        )

    def _numbers(self, rows: Sequence[Sequence[int]]) -> int:
        """The address of rows of numbers, which the plan keeps."""
        numbers = [number for row in rows for number in row]
        memory = (ctypes.c_int64 * max(len(numbers), 1))(*numbers)
        self._memory.append(memory)
        return ctypes.addressof(memory)

    def _direction(self, library: Library) -> Direction:
        source = library.source
        memory = (SourceFields * max(len(source.arrays), 1))(
            *(self._source(source, array.name) for array in source.arrays)
        )
        self._memory += [memory, library]
        functions = (library.run, library.pack, library.packed_size, library.partials_size)
        addresses = (ctypes.cast(function, ctypes.c_void_p).value for function in functions)
        return Direction(*addresses, len(source.arrays), ctypes.addressof(memory), source.spilled)

    def _source(self, source: Source, name: str) -> SourceFields:
        """Which memory an array of a kernel is."""
        kind, _, rest = name.partition(":")
        program = self._kernel.program
        states, arrays = list(program.states), [kept.name for kept in self.kept]
        if name in arrays:
            return _fields("KEPT", arrays.index(name))
        if kind in ("sizes", "table"):
            compute, H = self._kernel.compute, self._units
            tensor = (
                sizes(source.sizes, H, compute)
                if kind == "sizes"
                else table(source.tables[int(rest)], H, self._width, compute)
            )
            self._memory.append(tensor)
            return _fields("FIXED", 0, tensor.data_ptr())
        if kind in ("input", "d_input"):
            return _fields(kind.upper(), program.inputs.index(rest))
        if kind == "initial_state":
            return _fields("INITIAL", states.index(rest))
        if kind in ("d_last", "d_state", "d_initial"):
            return _fields(kind.upper(), states.index(rest))
        return _fields(kind.upper(), 0)

    def _input_products(self) -> list[tuple[int, ...]]:
        """The products with blocks of W: column, count and row of ``InputProduct``."""
        H, W = self._units, self._width
        rows = enumerate(self._kernel.forward_code.packing.order)
        products: list[tuple[int, ...]] = []
        for column, count, row in ((i * W, H, gate * H) for i, gate in rows):
            if products and (column, row) == _end(*products[-1]):
                products[-1] = (products[-1][0], products[-1][1] + count, products[-1][2])
            else:
                products.append((column, count, row))
        return products

    def _recurrent_products(self) -> list[tuple[int, ...]]:
        """The fields of each ``RecurrentProduct``."""
        kernel, H, W = self._kernel, self._units, self._width
        program, blocks = kernel.program, kernel.program.cell.recurrent_block_names
        narrow, arrays = program.cell.narrow, [kept.name for kept in self.kept]
        products: list[tuple[int, ...]] = []
        written: set[int] = set()
        for value, parts in kernel.backward_code.weight_gradients.products.items():
            is_state = value.op == "state"
            name = f"state:{value.name}" if is_state else f"operand:{_place(program, value)}"
            kept = arrays.index(name)
            for part in parts:
                for i in range(part.num_blocks):
                    slot, block = part.slot + i, part.block + i
                    count = columns = H
                    if narrow is not None:
                        count = narrow.size if blocks[block] == narrow.block else H
                        is_narrow = is_state and value.name == narrow.state
                        columns = narrow.size if is_narrow else H
                    one = (kept, slot * W, count, columns, block * H, int(block in written))
                    written.add(block)
                    last = products[-1] if products else None
                    alike = (0, 3, 5)
                    if last and all(last[k] == one[k] for k in alike):
                        if (one[1], one[4]) == _end(last[1], last[2], last[4]):
                            products[-1] = (*one[:1], last[1], last[2] + count, columns, *last[4:])
                            continue
                    products.append(one)
        return products

    def _bias_terms(self) -> list[tuple[int, int, int]]:
        """For each bias that enters a slot: the slot, whether it is one of R, and its block."""
        cell, terms = self._kernel.program.cell, []
        for i, slot in enumerate(self._kernel.program.slots):
            if slot.gate is not None:
                terms.append((i, 0, cell.gates.index(slot.gate)))
            blocks = [name for _, name in slot.pairs if name in cell.recurrent_bias_names]
            terms += [(i, 1, cell.recurrent_bias_names.index(name)) for name in blocks]
        return terms

    def _sum_terms(self) -> list[tuple[int, int, int]]:
        """For each vector, the sums that its gradient consists of; -1 if there is none."""
        program, names = self._kernel.program, self._kernel.backward_code.source.sums
        cell, terms = program.cell, []
        for tensor, vectors in ((_BIAS_IH, cell.gates), (_BIAS_HH, cell.recurrent_bias_names)):
            for block, name in enumerate(vectors):
                slots = [
                    i
                    for i, slot in enumerate(program.slots)
                    for entering in _entering(slot, tensor)
                    if entering == name
                ]
                sums = [names.index(f"slot:{i}") for i in slots] or [-1]
                terms += [(number, tensor, block) for number in sums]
        for i, name in enumerate(cell.parameter_specs):
            terms.append((names.index(f"parameter:{name}"), _PARAMETER + i, 0))
        return terms

    # The calls.

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
        (T, B, _), H, empty = x.shape, self._units, x.new_empty
        sizes = self._sizes(T, B)
        addresses, copies = self._addresses(tensors, sizes)
        kept = on_large_pages(empty(sizes.kept))
        y, last = empty((T, B, H)), [empty((1, B, H)) for _ in range(self._num_states)]
        addresses += [kept.data_ptr(), y.data_ptr(), *[state.data_ptr() for state in last]]
        self._run(self._code.forward, sizes, seed, addresses)
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
            d_output, strides = d_output.resolve_neg(), d_output.stride()
        d_last = [None if d is None else d.resolve_neg().contiguous() for d in d_last]
        gradients = [
            on_large_pages(t.new_empty(t.shape)) if is_needed and t is not None else None
            for t, is_needed in zip(tensors, are_needed, strict=True)
        ]
        addresses += [0 if d_output is None else d_output.data_ptr(), *strides]
        addresses += [0 if t is None else t.data_ptr() for t in (*d_last, *gradients)]
        self._run(self._code.backward, sizes, seed, addresses)
        del copies
        return gradients

    def _addresses(
        self, tensors: Sequence[Tensor | None], sizes: _Sizes
    ) -> tuple[list[int], list[Tensor]]:
        """The addresses of tensors, and copies of those that are not contiguous.

        Raises:
            ShapeError: if a tensor is not as the code reads it.
        """
        addresses, copies, dtype = [], [], self._kernel.dtype
        for tensor, shape in zip(tensors, sizes.shapes, strict=False):
            if tensor is None:
                addresses.append(0)
                continue
            if tensor.shape != shape or tensor.dtype is not dtype or not tensor.is_cpu:
                raise ShapeError(
                    f"{self.cell.title}: expected a tensor of shape {shape} and {dtype} on the "
                    f"CPU, got {tuple(tensor.shape)} and {tensor.dtype} on {tensor.device}. Hooks "
                    f"on saved tensors must return equal tensors."
                )
            if not tensor.is_contiguous() or tensor.is_neg():
                tensor = tensor.resolve_neg().contiguous()
                copies.append(tensor)
            addresses.append(tensor.data_ptr())
        return addresses, copies

    def _sizes_of(self, T: int, B: int) -> _Sizes:
        """The sizes of a call of T steps and B rows."""
        kept = sum(T * one.values + (one.state >= 0) for one in self.kept) * B * self._width
        num_further = len(self.cell.given_inputs)
        shapes = [(T, B, self._features), *self._shapes]
        shapes += [(B, self._units)] * self._num_states + [(T, B, self._units)] * num_further
        return _Sizes(T, B, (kept,), [*shapes, (kept,)])

    @staticmethod
    def _split(source: Source, rows: int, width: int, size: int, most: int) -> tuple[int, int]:
        arguments = (tuple(source.widths), tuple(source.products), size, 64 // size, most)
        return split(rows, width, *arguments)

    def _run(
        self, function: Callable[..., int], sizes: _Sizes, seed: int, addresses: list[int]
    ) -> None:
        """Calls the code; raises a MemoryError if it has no memory."""
        most, threads = gemm.num_threads(), _ONE_THREAD
        if most > 1:
            kernel = self._kernel
            sources = (kernel.forward_code.source, kernel.backward_code.source)
            arguments = (sizes.rows, self._width, kernel.dtype.itemsize, most)
            splits = [self._split(source, *arguments) for source in sources]
            threads = tuple(chain.from_iterable(zip(*splits, strict=True)))
        values = (sizes.steps, sizes.rows, seed, most, *threads, *addresses)
        count = len(values)
        kind = self._arrays.get(count)
        if kind is None:
            kind = self._arrays.setdefault(count, ctypes.c_int64 * count)
        if function(self._address, kind(*values)):
            raise MemoryError(
                f"no memory for a training step of {sizes.steps} steps and {sizes.rows} rows."
            )

    def names_of_operator(self, T: int, B: int) -> list[str]:
        """The names of the kept arrays in the order in which the operators take them."""
        arrays = self._kernel.kept_arrays(T, B, self._units, "gates", is_ragged=False)
        return [name for name, _ in arrays]

    def views(self, kept: Tensor, T: int, B: int) -> dict[str, Tensor]:
        """The kept arrays by name, each (T, B, values W)."""
        views, begin, row = {}, 0, B * self._width
        for name, values, state in self.kept:
            first = begin + (row if state >= 0 and not self._reverse else 0)
            part = kept[first : first + T * values * row]
            views[name] = part.view(T, B, values * self._width)
            begin += (T * values + (state >= 0)) * row
        return views


def _fields(kind: str, number: int, fixed: int | None = None) -> SourceFields:
    return SourceFields(MEMORY_KINDS.index(kind), number, fixed)


def _end(column: int, count: int, row: int) -> tuple[int, int]:
    """The column and the row after a product."""
    return column + count, row + count


def _place(program, value) -> int:
    return program.operands.index(value)


def _entering(slot, tensor: int) -> list[str | None]:
    """The blocks of W, or those of R, that enter a slot."""
    return [slot.gate] if tensor == _BIAS_IH else [name for _, name in slot.pairs]
