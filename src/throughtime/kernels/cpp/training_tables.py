"""The tables by which training.hpp runs the steps of one layer, whatever its weights are."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from throughtime.kernels.cpp import gemm
from throughtime.kernels.cpp.backward import Backward
from throughtime.kernels.cpp.emit import Source
from throughtime.kernels.cpp.forward import Forward
from throughtime.kernels.cpp.library import Library
from throughtime.kernels.cpp.tables import sizes, table
from throughtime.kernels.cpp.training_code import MEMORY_KINDS, Direction, Training
from throughtime.kernels.cpp.training_code import Source as SourceFields
from throughtime.kernels.cpp.units import width
from throughtime.kernels.graph.graph import Node
from throughtime.kernels.graph.program import Program
from throughtime.kernels.graph.slots import Slot

__all__ = ["Kept", "TrainingTables"]

_BIAS_IH, _BIAS_HH, _PARAMETER = 3, 4, 5
"""The positions of both biases, and of the first parameter, in ``Call.tensors``."""


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


class TrainingTables:
    """What follows from the cell and the sizes of a layer.

    Args:
        forward, backward: the directions of the cell, for float32 or float64.
        features, units: I, H.
        reverse: whether time runs from the last step to the first.

    Attributes:
        kept: the arrays that the forward call writes for the backward call.
        fields: the struct that training.hpp reads. It contains addresses of memory that this
            object keeps.
    """

    def __init__(
        self, forward: Forward, backward: Backward, features: int, units: int, reverse: bool
    ) -> None:
        self._forward, self._backward = forward, backward
        self._units, self._width, self._reverse = units, width(units), reverse
        self._memory: list[object] = []
        self.kept = list(self._kept_arrays())
        self.fields = self._filled(features)

    def _kept_arrays(self) -> Iterator[Kept]:
        states = list(self._forward.program.states)
        for array in self._forward.library.source.arrays:
            kind, _, name = array.name.partition(":")
            if kind in ("state", "operand", "saved", "output"):
                yield Kept(array.name, array.per_row, states.index(name) if kind == "state" else -1)

    def _filled(self, features: int) -> Training:
        """The struct that training.hpp reads."""
        forward, backward, H = self._forward, self._backward, self._units
        program, cell = forward.program, forward.program.cell
        products, recurrent = self._input_products(), self._recurrent_products()
        gates, blocks = len(cell.gates), len(cell.recurrent_block_names)
        names = [kept.name for kept in self.kept]
        matmul = gemm.function(forward.dtype, forward.dtype)
        is_whole_input = len(set(self._forward.packing.order)) == gates
        return Training(
            forward=self._direction(self._forward.library),
            backward=self._direction(backward.library),
            matmul=ctypes.cast(matmul, ctypes.c_void_p).value,  # type: ignore[arg-type]
            units=H,
            width=self._width,
            narrow=cell.narrow.size if cell.narrow is not None else 0,
            features=features,
            reverse=int(self._reverse),
            slots=len(program.slots),
            hoisted=len(self._forward.hoisted),
            sums=len(backward.source.sums),
            parameters=len(cell.parameter_specs),
            states=len(program.states),
            reads_x=len(program.inputs),
            kept_arrays=len(self.kept),
            output=names.index(forward.output),
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
        states, arrays = list(self._forward.program.states), [kept.name for kept in self.kept]
        if name in arrays:
            return _fields("KEPT", arrays.index(name))
        if kind in ("sizes", "table"):
            compute, H = self._forward.compute, self._units
            tensor = (
                sizes(source.sizes, H, compute)
                if kind == "sizes"
                else table(source.tables[int(rest)], H, self._width, compute)
            )
            self._memory.append(tensor)
            return _fields("FIXED", 0, tensor.data_ptr())
        if kind == "initial_state":
            return _fields("INITIAL", states.index(rest))
        if kind in ("d_last", "d_state", "d_initial"):
            return _fields(kind.upper(), states.index(rest))
        return _fields(kind.upper(), 0)

    def _input_products(self) -> list[tuple[int, ...]]:
        """The products with blocks of W: column, count and row of ``InputProduct``."""
        H, W = self._units, self._width
        rows = enumerate(self._forward.packing.order)
        products: list[tuple[int, ...]] = []
        for column, count, row in ((i * W, H, gate * H) for i, gate in rows):
            if products and (column, row) == _end(*products[-1]):
                products[-1] = (products[-1][0], products[-1][1] + count, products[-1][2])
            else:
                products.append((column, count, row))
        return products

    def _recurrent_products(self) -> list[tuple[int, ...]]:
        """The fields of each ``RecurrentProduct``."""
        program, H, W = self._forward.program, self._units, self._width
        blocks = program.cell.recurrent_block_names
        narrow, arrays = program.cell.narrow, [kept.name for kept in self.kept]
        products: list[tuple[int, ...]] = []
        written: set[int] = set()
        for value, parts in self._backward.weight_gradients.products.items():
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
        cell, terms = self._forward.program.cell, []
        for i, slot in enumerate(self._forward.program.slots):
            if slot.gate is not None:
                terms.append((i, 0, cell.gates.index(slot.gate)))
            blocks = [name for _, name in slot.pairs if name in cell.recurrent_bias_names]
            terms += [(i, 1, cell.recurrent_bias_names.index(name)) for name in blocks]
        return terms

    def _sum_terms(self) -> list[tuple[int, int, int]]:
        """For each vector, the sums that its gradient consists of; -1 if there is none."""
        program, names = self._forward.program, self._backward.source.sums
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


def _fields(kind: str, number: int, fixed: int | None = None) -> SourceFields:
    return SourceFields(MEMORY_KINDS.index(kind), number, fixed)


def _end(column: int, count: int, row: int) -> tuple[int, int]:
    """The column and the row after a product."""
    return column + count, row + count


def _place(program: Program, value: Node) -> int:
    """The position of a value among the operands."""
    return program.operands.index(value)


def _entering(slot: Slot, tensor: int) -> list[str | None]:
    """The blocks of W, or those of R, that enter a slot."""
    return [slot.gate] if tensor == _BIAS_IH else [name for _, name in slot.pairs]
