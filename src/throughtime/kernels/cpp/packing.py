"""Arranges the weights of a layer in the order in which the kernels read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from throughtime.kernels.call import Weights
from throughtime.kernels.cpp.library import Library
from throughtime.kernels.cpp.units import pad
from throughtime.kernels.cpp.walk import Walk
from throughtime.kernels.graph.program import Program

__all__ = ["Packed", "Packing", "without_negative_bits"]


def without_negative_bits(weights: Weights) -> Weights:
    """The weights for code that reads them by their address, past PyTorch's dispatcher.

    The memory of a tensor with a negative bit holds the negated numbers, which the dispatcher would
    resolve for an operator.
    """

    def plain(tensor: Tensor | None) -> Any:
        return None if tensor is None else tensor.detach().resolve_neg()

    return Weights(
        *(plain(weights.weight_ih), plain(weights.weight_hh)),
        *(plain(weights.bias_ih), plain(weights.bias_hh)),
        {name: plain(p) for name, p in weights.parameters.items()},
    )


@dataclass
class Packed:
    """The weights in the order in which the kernels read them.

    Attributes:
        input: the blocks of W, in the order of the slots; None if no slot has one.
        input_bias: the bias that is added to the products with the input, or None.
        bias: the bias of all slots.
        parameters: the per-unit parameters, one in each row.
        recurrent: the blocks of R as ``Walk.pack`` arranges them, or None.
    """

    input: Tensor | None = None
    input_bias: Tensor | None = None
    bias: Tensor = field(default_factory=lambda: torch.empty(0))
    parameters: Tensor = field(default_factory=lambda: torch.empty(0))
    recurrent: Tensor | None = None


class Packing:
    """Arranges the weights of any layer of one cell in the order of the cell's slots.

    Args:
        program: the computation of a step of the cell.
        compute: the dtype of computations.
    """

    def __init__(self, program: Program, compute: torch.dtype) -> None:
        self.slots, self.compute = program.slots, compute
        self.gates = program.cell.gates
        self.biased = program.cell.recurrent_bias_names
        self.hoisted = [slot for slot in self.slots if slot.gate is not None]
        self._places: dict[tuple[int, int], list[Tensor]] = {}

    def pack(self, weights: Weights, walk: Walk, library: Library | None) -> Packed:
        """Arranges the weights for one call.

        Args:
            weights: the layer's weights.
            walk: the sizes of the call.
            library: the forward kernel; None if it will not run. Then only the weights that the
                backward call reads are arranged: ``input`` and ``parameters``.
        """
        packed = Packed()
        if self.hoisted:
            packed.input = _rows_of_slots(weights.weight_ih, self.order, walk.H, walk.W)
        packed.parameters = self._parameters(weights, walk.W)
        if library is None:
            return packed
        if weights.bias_ih is not None:
            packed.input_bias, packed.bias = self._biases(weights, walk)
        else:
            packed.bias = torch.zeros(len(self.slots) * walk.W, dtype=self.compute)
        if weights.weight_hh is not None:
            packed.recurrent = walk.pack(library, weights.weight_hh)
        return packed

    @cached_property
    def order(self) -> list[int]:
        """For each slot with a block of W, the position of its gate."""
        return [self.gates.index(slot.gate) for slot in self.hoisted if slot.gate is not None]

    def _biases(self, weights: Weights, walk: Walk) -> tuple[Tensor, Tensor]:
        """The bias of the slots with a block of W, and the bias of all slots."""
        assert weights.bias_ih is not None
        # Short sequences should not pay for the indexing below, which most cells do not need.
        if self._has_biases_in_order and walk.W == walk.H and weights.bias_hh is not None:
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
    def _has_biases_in_order(self) -> bool:
        """Whether each slot has one bias of W and one of R, in the order of the gates."""
        biased_blocks = [[b for _, b in s.pairs if b in self.biased] for s in self.slots]
        return biased_blocks == [[gate] for gate in self.gates] and self.biased == self.gates

    def _bias_places(self, H: int, W: int) -> list[Tensor]:
        """The indices of the biases of each unit of each slot.

        Returns:
            Tensors (slots W). The first has the indices in the bias of W, each further one those
            in the bias of R. An index past the last bias stands for zero.
        """
        if (H, W) not in self._places:
            self._places[H, W] = self._find_bias_places(H, W)
        return self._places[H, W]

    def _find_bias_places(self, H: int, W: int) -> list[Tensor]:
        slots = self.slots
        of_input = torch.full((len(slots), W), len(self.gates) * H)
        for i, gate in enumerate(self.order):
            of_input[i, :H] = torch.arange(gate * H, gate * H + H)
        all_places = [of_input.view(-1)]
        biased = [[self.biased.index(b) for _, b in s.pairs if b in self.biased] for s in slots]
        for k in range(max(map(len, biased), default=0)):
            places = torch.full((len(slots), W), len(self.biased) * H)
            for i, blocks in enumerate(biased):
                if k < len(blocks):
                    places[i, :H] = torch.arange(blocks[k] * H, blocks[k] * H + H)
            all_places.append(places.view(-1))
        return all_places

    def _parameters(self, weights: Weights, W: int) -> Tensor:
        rows = [pad(p.to(self.compute), W) for p in weights.parameters.values()]
        return torch.stack(rows) if rows else torch.empty(0, dtype=self.compute)


def _rows_of_slots(weight: Tensor, order: list[int], H: int, W: int) -> Tensor:
    """The blocks of W in the order of the slots, each padded to the width of a row."""
    blocks = weight.shape[0] // H
    if order == list(range(blocks)) and H == W:
        return weight
    parts = weight.view(blocks, H, -1)[order]
    if H != W:
        parts = torch.nn.functional.pad(parts, (0, 0, 0, W - H))
    return parts.reshape(len(order) * W, -1)
