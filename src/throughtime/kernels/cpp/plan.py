"""Plans: stacked layers that run one step after the other in one call, for a few rows.

A call of a layer packs its weights and allocates memory; for a long sequence this takes no share of
the time, for a single step nearly all of it. A :class:`Plan` packs the weights of all layers once.
A ``Memory`` holds the states of some rows, and all other memory of a step. Each step is then
one call of compiled code, which runs the forward kernels of the cells (see plan.hpp).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from throughtime.kernels.call import Call
from throughtime.kernels.cpp.backend import reasons as reasons_of_call
from throughtime.kernels.cpp.build import CompileError
from throughtime.kernels.cpp.context import StepArray
from throughtime.kernels.cpp.forward import Forward
from throughtime.kernels.cpp.identity import kernel_of
from throughtime.kernels.cpp.packing import without_negative_bits
from throughtime.kernels.cpp.recurrence import STORAGE
from throughtime.kernels.cpp.region import Region
from throughtime.kernels.cpp.runner import Matrix, Runner, runner_of
from throughtime.kernels.cpp.scratch import lasting
from throughtime.kernels.cpp.walk import Walk
from throughtime.kernels.graph.folded import fold, folds_of

__all__ = ["WEIGHTS", "Head", "PackedLayer", "Plan", "PlannedLayer", "reasons"]


@dataclass(frozen=True)
class PlannedLayer:
    """One layer of a plan.

    Args:
        call: the cell and the weights, and x (1, 1, I) and states (1, H), whose shapes are read.
        output_size: the number of output features, at most H.
        is_residual: whether the layer adds its input to its output.
    """

    call: Call
    output_size: int
    is_residual: bool = False


@dataclass(frozen=True)
class Head:
    """A linear map after the last layer: the weight (O, H), and the bias (O) or None."""

    weight: Tensor
    bias: Tensor | None


WEIGHTS = {None: None, "bfloat16": "bfloat16", "int8": "int8_t"}
"""The types of packed weights, with their names in C++; None is the type of the layer."""


_LEAST_AHEAD = 16
"""With fewer inputs, computing products ahead takes longer than it saves."""


def reasons(layers: Sequence[PlannedLayer], weights: str | None = None) -> list[str]:
    """Why the layers cannot run as a plan; empty if they can.

    Args:
        layers: the layers.
        weights: the type of packed weights, one of :data:`WEIGHTS`.
    """
    refusals = [why for layer in layers for why in reasons_of_call(layer.call)]
    dtype = layers[0].call.x.dtype
    if weights is not None and dtype is not torch.float32:
        refusals.append(f'weights="{weights}" needs a layer of float32, not {dtype}')
    if not refusals:
        try:
            runner_of(STORAGE[dtype], WEIGHTS[weights])
            for layer in layers:
                _ = _code(layer, weights).library
        except CompileError as error:
            refusals.append(f"the plan's C++ does not compile ({str(error).splitlines()[0]})")
    return list(dict.fromkeys(refusals))


def _code(layer: PlannedLayer, weights: str | None) -> Forward:
    """The forward direction of a layer's cell."""
    kernel = kernel_of(layer.call.cell, layer.call.x.dtype)
    return kernel.with_weights(WEIGHTS[weights])


class PackedLayer:
    """One layer of a plan with its packed weights.

    Args:
        layer: the layer.
        runner: the compiled code that will run it.
        weights: the type of packed weights.
    """

    def __init__(self, layer: PlannedLayer, runner: Runner, weights: str | None) -> None:
        self.code, self._runner = _code(layer, weights), runner
        cell = self.code.program.cell
        call = replace(layer.call, weights=without_negative_bits(layer.call.weights))
        self.call = fold(call, cell, folds_of(cell))
        self.output_size, self.is_residual = layer.output_size, layer.is_residual
        self.walk: Walk = self.code.walk(self.call, None)
        # The blocks of R come packed, in scratch memory that the next call reuses.
        packed = self.code.packing.pack(self.call.weights, self.walk, self.code.library)
        self.recurrent = None if packed.recurrent is None else packed.recurrent.clone()
        self.input = Matrix(runner, packed.input, packed.input_bias, self.code.compute)
        self.constants = {
            "bias": StepArray(packed.bias, mask=0),
            "parameters": StepArray(packed.parameters, mask=0),
            **self.code.tables(self.code.library.source, self.walk),
        }

    def size(self) -> int:
        """The bytes of the packed weights, without those between aligned parts."""
        return self.input.size + (0 if self.recurrent is None else self.recurrent.numel())

    def steps_ahead(self, rows: int) -> int:
        """The number of later steps whose products with W the kernel computes between its others.

        0 if it computes none: with several rows, the recurrent products leave the processor no
        time for it, and with vectors below 64 bytes it has too few registers.
        """
        has_plain_weights = self.code.weights is None and self.code.dtype is self.code.compute
        is_large = self.input.inputs >= _LEAST_AHEAD
        suits = rows == 1 and has_plain_weights and is_large and self.recurrent is not None
        return self._runner.steps_ahead if suits else 0

    def pack(self, region: Region) -> None:
        """Moves the weights of the products to the next part of a region, in the order of use."""
        self.input.pack(region)
        if self.recurrent is not None:
            self.recurrent = region.take(tuple(self.recurrent.shape)).copy_(self.recurrent)


class Plan:
    """Stacked layers with packed weights; they run in a ``Memory``.

    The weights are copied: a later change of the layer does not change the plan.

    Args:
        layers: the layers, of which :func:`reasons` must refuse none.
        table: embeddings (V, I): the input is then the number of a row, not the row itself.
        head: a linear map after the last layer.
        weights: the type of packed weights, one of :data:`WEIGHTS`. With ``int8`` each row of a
            matrix has a scale, by which its largest weight becomes 127.

    Attributes:
        size: the bytes of the packed weights.
        draws: whether a cell draws random numbers, so that each call must set the seeds.
    """

    @lasting()
    def __init__(
        self,
        layers: Sequence[PlannedLayer],
        table: Tensor | None = None,
        head: Head | None = None,
        weights: str | None = None,
    ) -> None:
        self.dtype = layers[0].call.x.dtype
        self.runner = runner_of(STORAGE[self.dtype], WEIGHTS[weights])
        self.layers = [PackedLayer(layer, self.runner, weights) for layer in layers]
        self.table = None if table is None else table.detach().clone().contiguous()
        compute = self.layers[0].code.compute
        self.head = None if head is None else Matrix(self.runner, head.weight, head.bias, compute)
        # All weights side by side: in large pages the processor reads them faster than in many
        # small ones.
        self.size = sum(layer.size() for layer in self.layers)
        self.size += 0 if self.head is None else self.head.size
        self._region = Region(self.size + 128 * (len(self.layers) + 1))
        for layer in self.layers:
            layer.pack(self._region)
        if self.head is not None:
            self.head.pack(self._region)
        self.input_size = layers[0].call.x.shape[-1]
        self.output_size = layers[-1].output_size if head is None else head.weight.shape[0]
        self.state_names = list(self.layers[0].code.program.states)
        self.draws = any(layer.code.program.drawn for layer in self.layers)

    def suits_one_thread(self, rows: int) -> bool:
        """Whether several threads would not run the layers faster, by the estimate of a call."""
        return all(layer.walk.suits_one_thread(layer.code.library, rows) for layer in self.layers)
