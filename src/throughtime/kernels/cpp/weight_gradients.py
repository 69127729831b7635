"""The gradients of a layer's weights, computed from what the backward kernel writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

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


class WeightGradients:
    """Computes the gradients of the weights of any layer of one cell.

    Args:
        program: what a step of the cell computes.
        packing: the order of its weights.
        dtype, compute: the dtype of the weights, and the dtype that is computed in.
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

    # The matrices: large products of the gradients of the slots with the slots' operands.

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
            dR: the gradient of the blocks of R, each (W, W), below each other.
            d_slots: the gradients of the slots, (n, rows, slots W).
            states: the arrays that the forward steps wrote, seen from t0 on.
            initial: the arrays of the initial states.
            t0, n: the first step and the number of steps of the chunk.
            is_first: whether the chunk is the first. It overwrites dR, which need not be zero then.
        """
        here, W, narrow = d_slots.shape[1], walk.W, self.program.cell.narrow
        for value, runs in self._runs.items():
            if value.op == "state":
                parts = walk.rows.before(
                    states[f"state:{value.name}"], initial[f"initial_state:{value.name}"], t0, n
                )
            else:
                memory = states[f"operand:{self.program.operands.index(value)}"]
                parts = [(0, memory.steps(0, n))]
            for slot, block, count in runs:
                rows, columns = count * W, W
                if narrow is not None:
                    # The rest of the block has no gradient: it stays zero.
                    rows = narrow.size if self.blocks[block] == narrow.block else rows
                    columns = narrow.size if value.name == narrow.state else W
                out = dR[block * W : block * W + rows, :columns]
                for part, (begin, operand) in enumerate(parts):
                    d = d_slots[begin : begin + operand.shape[0], :, slot * W : slot * W + rows]
                    # Steps and rows as one dimension, without a copy.
                    d = d.as_strided((operand.shape[0] * here, rows), (d.stride(1), 1))
                    adds = self.needs_zeros or not is_first or part > 0
                    of_rows = operand[:, :here].reshape(-1, W)[:, :columns]
                    matmul(d.T, of_rows, out, accumulate=adds)

    @cached_property
    def needs_zeros(self) -> bool:
        """Whether the gradient of R must begin as zeros, as the first chunk does not write all.

        That is so if a block of R enters several products, or none, or only a part of it does.
        """
        used = [name for slot in self.program.slots for _, name in slot.pairs]
        return sorted(used) != sorted(self.blocks) or self.program.cell.narrow is not None

    @cached_property
    def _runs(self) -> dict[Node, list[tuple[int, int, int]]]:
        """For each operand, the products that its gradient of R needs.

        Each is the first slot, the first block of R, and how many of both it takes: slots that lie
        side by side, and whose blocks do so too, are one larger product.
        """
        all_runs: dict[Node, list[tuple[int, int, int]]] = {}
        for i, slot in enumerate(self.program.slots):
            for value, name in slot.pairs:
                runs, block = all_runs.setdefault(value, []), self.blocks.index(name)
                if runs and (runs[-1][0] + runs[-1][2], runs[-1][1] + runs[-1][2]) == (i, block):
                    runs[-1] = (*runs[-1][:2], runs[-1][2] + 1)
                else:
                    runs.append((i, block, 1))
        return all_runs

    def of_input(self, walk: Walk, dW: Tensor | None) -> Tensor:
        """The gradient of W.

        Args:
            walk: the sizes of the call.
            dW: the gradients of its blocks in the order of the slots; None if no slot has one.
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

    # The vectors: sums over rows and steps that the kernel has written.

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
        """For each name, the sum over the slots that have a bias of this name."""
        if of_slot == [[name] for name in names]:
            return sums[: len(names), :H].reshape(-1).to(self.dtype, copy=True)
        total = torch.zeros(len(names), H, dtype=self.compute)
        for i, of_this in enumerate(of_slot):
            for name in of_this:
                if name in names:
                    total[names.index(name)] += sums[self.sums.index(f"slot:{i}"), :H]
        return total.view(-1).to(self.dtype)

    def of_parameters(self, walk: Walk, sums: Tensor) -> list[Tensor]:
        """The gradients of the per-unit parameters."""
        names = self.program.cell.parameter_specs
        rows = [self.sums.index(f"parameter:{name}") for name in names]
        return [sums[row, : walk.H].to(self.dtype, copy=True) for row in rows]
