"""The gradients of a layer's weights, put together from what the backward kernel leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from throughtime.kernels.call import Weights
from throughtime.kernels.cpp.gemm import matmul
from throughtime.kernels.cpp.packing import Packing
from throughtime.kernels.cpp.walk import Memory, Walk
from throughtime.kernels.graph.graph import Node
from throughtime.kernels.graph.program import Program

__all__ = ["Gradients", "WeightGradients"]


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
    inputs: list[Tensor]

    def flat(self) -> list[Tensor]:
        """All that there are, in the order of the fields."""
        matrices = (self.x, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        found = [t for t in matrices if t is not None]
        return found + self.parameters + self.state + self.inputs


class WeightGradients:
    """Puts together the gradients of the weights of any layer of one cell.

    Args:
        program: of the cell.
        packing: of its weights.
        dtype, compute: of the weights, and what is computed in.
        sums: what the backward kernel sums over rows and steps, in its order.
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

    # The matrices: large products of what the slots were given with what they were made of.

    def add_recurrent(
        self,
        walk: Walk,
        dR: Tensor,
        d_slots: Tensor,
        states: Mapping[str, Memory],
        initial: Mapping[str, Memory],
        t0: int,
        n: int,
        is_first: bool,
    ) -> None:
        """Adds the chunk's share to the gradient of the blocks of R, run by run.

        The first chunk writes what the others add to.
        """
        here, W, narrow = d_slots.shape[1], walk.W, self.program.cell.narrow
        for value, runs in self._runs.items():
            if value.op == "state":
                parts = walk.before(
                    states[f"state:{value.name}"], initial[f"initial_state:{value.name}"], t0, n
                )
            else:
                memory = states[f"operand:{self.program.operands.index(value)}"]
                parts = [(0, memory.steps(0, n))]
            for slot, block, count in runs:
                rows, columns = count * W, W
                if narrow is not None:
                    # The rest is zero, and stays as it was made.
                    rows = narrow.size if self.blocks[block] == narrow.block else rows
                    columns = narrow.size if value.name == narrow.state else W
                out = dR[block * W : block * W + rows, :columns]
                for part, (begin, operand) in enumerate(parts):
                    d = d_slots[begin : begin + operand.shape[0], :, slot * W : slot * W + rows]
                    d = d.as_strided((operand.shape[0] * here, rows), (d.stride(1), 1))
                    adds = self.needs_zeros or not is_first or part > 0
                    of_rows = operand[:, :here].reshape(-1, W)[:, :columns]
                    matmul(d.T, of_rows, out, accumulate=adds)

    @cached_property
    def needs_zeros(self) -> bool:
        """Whether the gradient of R must begin as zeros.

        So it is where a block of R is in several products, or in none, or has parts in none.
        """
        used = [name for slot in self.program.slots for _, name in slot.pairs]
        return sorted(used) != sorted(self.blocks) or self.program.cell.narrow is not None

    @cached_property
    def _runs(self) -> dict[Node, list[tuple[int, int, int]]]:
        """For each operand: slots side by side whose blocks lie side by side are one product."""
        found: dict[Node, list[tuple[int, int, int]]] = {}
        for i, slot in enumerate(self.program.slots):
            for value, name in slot.pairs:
                runs, block = found.setdefault(value, []), self.blocks.index(name)
                if runs and (runs[-1][0] + runs[-1][2], runs[-1][1] + runs[-1][2]) == (i, block):
                    runs[-1] = (*runs[-1][:2], runs[-1][2] + 1)
                else:
                    runs.append((i, block, 1))
        return found

    def of_input(self, walk: Walk, dW: Tensor | None) -> Tensor:
        """That of W, from its blocks in the order of the slots."""
        H, W, order = walk.H, walk.W, self.packing.order
        if dW is None or order != list(range(len(self.gates))) or W != H:
            whole = torch.zeros(len(self.gates), H, walk.I, dtype=self.compute)
            if dW is not None:
                whole[order] = dW.view(len(order), W, walk.I)[:, :H]
            dW = whole.view(-1, walk.I)
        return dW.to(self.dtype)

    def of_recurrent(self, walk: Walk, dR: Tensor | None) -> Tensor | None:
        """That of R, without what stands after the last unit."""
        if dR is None:
            return None
        n, H, W = len(self.blocks), walk.H, walk.W
        return dR.view(n, W, W)[:, :H, :H].reshape(n * H, H).to(self.dtype)

    # The vectors: what the kernel has summed.

    def of_biases(
        self, walk: Walk, weights: Weights, sums: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """Those of the biases that there are."""
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
        """For each name the sums of the slots that have it."""
        if of_slot == [[name] for name in names]:
            return sums[: len(names), :H].reshape(-1).to(self.dtype, copy=True)
        total = torch.zeros(len(names), H, dtype=self.compute)
        for i, of_this in enumerate(of_slot):
            for name in of_this:
                if name in names:
                    total[names.index(name)] += sums[self.sums.index(f"slot:{i}"), :H]
        return total.view(-1).to(self.dtype)

    def of_parameters(self, walk: Walk, sums: Tensor) -> list[Tensor]:
        """Those of the per-unit parameters."""
        names = self.program.cell.parameter_specs
        rows = [self.sums.index(f"parameter:{name}") for name in names]
        return [sums[row, : walk.H].to(self.dtype, copy=True) for row in rows]
