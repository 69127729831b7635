"""Computes the gradients of a layer's weights from the arrays that the backward kernel writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.kernels.call import Weights
from throughtime.kernels.cpp.context import StepArray
from throughtime.kernels.cpp.gemm import matmul
from throughtime.kernels.cpp.packing import Packing
from throughtime.kernels.cpp.walk import Walk
from throughtime.kernels.graph.graph import Node
from throughtime.kernels.graph.program import Program

__all__ = ["Gradients", "WeightGradients"]


@dataclass
class Gradients:
    """The gradients of all arguments of a forward call."""

    x: Tensor | None
    weight_ih: Tensor
    weight_hh: Tensor | None
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    parameters: list[Tensor]
    state: list[Tensor]
    inputs: list[Tensor]

    def flat(self) -> list[Tensor]:
        """The gradients that are not None, in the order of the fields."""
        matrices = (self.x, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        present = [t for t in matrices if t is not None]
        return present + self.parameters + self.state + self.inputs


class _Product(NamedTuple):
    """One product for the gradient of R: its first slot, first block of R, and number of both."""

    slot: int
    block: int
    num_blocks: int


class WeightGradients:
    """Computes the gradients of the weights of any layer of one cell.

    Args:
        program: the computation of a step of the cell.
        packing: the order of the cell's weights in the kernels.
        dtype, compute: the dtype of the weights, and the dtype of computations.
        sums: the names of the sums over rows and steps that the backward kernel writes.
    """

    def __init__(
        self,
        program: Program,
        packing: Packing,
        dtype: torch.dtype,
        compute: torch.dtype,
        sums: Sequence[str],
    ) -> None:
        self.program, self.packing = program, packing
        self.dtype, self.compute, self.sums = dtype, compute, sums
        self.gates, self.blocks = program.cell.gates, program.cell.recurrent_block_names
        self.biased = program.cell.recurrent_bias_names

    # The gradients of the matrices are large products of the gradients of the slots with the slots'
    # operands.

    def add_recurrent(
        self,
        walk: Walk,
        dR: Tensor,
        d_slots: Tensor,
        states: Mapping[str, StepArray],
        initial: Mapping[str, StepArray],
        t0: int,
        n: int,
        is_first: bool,
    ) -> None:
        """Adds a chunk's share to the gradient of R.

        Args:
            walk: the sizes and rows of the call.
            dR: the gradients of the blocks of R, (blocks W, W).
            d_slots: the gradients of the slots, (n, rows, slots W).
            states: the arrays that the forward steps wrote, seen from t0 on.
            initial: the arrays of the initial states.
            t0, n: the first step and the number of steps of the chunk.
            is_first: whether the chunk is the first of the backward call. It then overwrites dR,
                unless dR needs zeros.
        """
        for value, products in self.products.items():
            if value.op == "state":
                parts = walk.rows.before(
                    states[f"state:{value.name}"], initial[f"initial_state:{value.name}"], t0, n
                )
            else:
                memory = states[f"operand:{self.program.operands.index(value)}"]
                parts = [(0, memory.steps(0, n))]
            for product in products:
                is_new = is_first and not self.needs_zeros
                self._add_product(product, value, parts, dR, d_slots, walk.W, is_new)

    def _add_product(
        self,
        product: _Product,
        value: Node,
        parts: Sequence[tuple[int, Tensor]],
        dR: Tensor,
        d_slots: Tensor,
        W: int,
        is_new: bool,
    ) -> None:
        """Adds ``d_slots^T value`` to some blocks of dR.

        Args:
            product: the slots and the blocks.
            value: the operand, as a node.
            parts: the operand's values; see :meth:`Rows.before`.
            dR, d_slots: see :meth:`add_recurrent`.
            W: the number of units with padding.
            is_new: whether the result overwrites the blocks instead of adding to them.
        """
        num_rows, narrow = d_slots.shape[1], self.program.cell.narrow
        height, width = product.num_blocks * W, W
        if narrow is not None:
            # The gradient of the rest of the block is zero, and dR was filled with zeros.
            height = narrow.size if self.blocks[product.block] == narrow.block else height
            width = narrow.size if value.name == narrow.state else W
        out = dR[product.block * W : product.block * W + height, :width]
        first = product.slot * W
        for i, (begin, operand) in enumerate(parts):
            steps = operand.shape[0]
            d = d_slots[begin : begin + steps, :, first : first + height]
            # The dimensions of steps and rows become one, as a view: reshape would copy, because
            # the slots that are not multiplied here lie in between.
            d = d.as_strided((steps * num_rows, height), (d.stride(1), 1))
            of_rows = operand[:, :num_rows].reshape(-1, W)[:, :width]
            matmul(d.T, of_rows, out, accumulate=not is_new or i > 0)

    @cached_property
    def needs_zeros(self) -> bool:
        """Whether dR must be filled with zeros, because the first chunk does not overwrite it.

        The first chunk must add instead if a block of R enters several products; and it leaves
        parts untouched if a block enters no product, or the cell has a narrow state.
        """
        used = [name for slot in self.program.slots for _, name in slot.pairs]
        return sorted(used) != sorted(self.blocks) or self.program.cell.narrow is not None

    @cached_property
    def products(self) -> dict[Node, list[_Product]]:
        """For each operand, the products by which it enters the gradient of R.

        Consecutive slots with consecutive blocks form one product: one large product is faster
        than several small ones.
        """
        by_operand: dict[Node, list[_Product]] = {}
        for i, slot in enumerate(self.program.slots):
            for value, name in slot.pairs:
                products, block = by_operand.setdefault(value, []), self.blocks.index(name)
                last = products[-1] if products else None
                if last and (last.slot + last.num_blocks, last.block + last.num_blocks) == (
                    i,
                    block,
                ):
                    products[-1] = last._replace(num_blocks=last.num_blocks + 1)
                else:
                    products.append(_Product(i, block, 1))
        return by_operand

    def of_input(self, walk: Walk, dW: Tensor | None) -> Tensor:
        """The gradient of W.

        Args:
            walk: the sizes of the call.
            dW: the gradients of the blocks of W in the order of the slots; None if no slot has a
                block of W.
        """
        H, W, order = walk.H, walk.W, self.packing.order
        if dW is None or order != list(range(len(self.gates))) or W != H:
            whole = torch.zeros(len(self.gates), H, walk.I, dtype=self.compute)
            if dW is not None:
                whole[order] = dW.view(len(order), W, walk.I)[:, :H]
            dW = whole.view(-1, walk.I)
        return dW.to(self.dtype)

    def of_recurrent(self, walk: Walk, dR: Tensor | None) -> Tensor | None:
        """The gradient of R, without padding."""
        if dR is None:
            return None
        n, H, W = len(self.blocks), walk.H, walk.W
        return dR.view(n, W, W)[:, :H, :H].reshape(n * H, H).to(self.dtype)

    # The gradients of the vectors are sums over rows and steps, which the kernel has computed.

    def of_biases(
        self, walk: Walk, weights: Weights, sums: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """The gradients of both biases; None for a bias that the layer does not have."""
        slots = self.program.slots
        of_ih = of_hh = None
        if weights.bias_ih is not None:
            of_ih = self._bias(sums, walk.H, [[s.gate] for s in slots], self.gates)
        if weights.bias_hh is not None:
            blocks = [[b for _, b in s.pairs] for s in slots]
            of_hh = self._bias(sums, walk.H, blocks, self.biased)
        return of_ih, of_hh

    def _bias(
        self, sums: Tensor, H: int, of_slot: Sequence[Sequence[str | None]], names: Sequence[str]
    ) -> Tensor:
        """The gradient of a bias.

        Args:
            sums: the sums that the kernel wrote.
            H: the number of units.
            of_slot: for each slot, the names of the blocks that enter it.
            names: the names of the blocks that have a bias, in its order.
        """
        if of_slot == [[name] for name in names]:
            return sums[: len(names), :H].reshape(-1).to(self.dtype, copy=True)
        total = torch.zeros(len(names), H, dtype=self.compute)
        for i, blocks in enumerate(of_slot):
            for name in blocks:
                if name in names:
                    total[names.index(name)] += sums[self.sums.index(f"slot:{i}"), :H]
        return total.view(-1).to(self.dtype)

    def of_parameters(self, walk: Walk, sums: Tensor) -> list[Tensor]:
        """The gradients of the per-unit parameters."""
        names = self.program.cell.parameter_specs
        rows = [self.sums.index(f"parameter:{name}") for name in names]
        return [sums[row, : walk.H].to(self.dtype, copy=True) for row in rows]
