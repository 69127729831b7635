"""Folding: the matrices among a cell's parameters become additional blocks of W and R.

A step may multiply by a matrix that is a parameter of the cell, as in ``x @ p.A`` or
``F.linear(s.h, p.A)``. A kernel only knows products with blocks of W and of R. So the matrix is
appended to W if the step applies it to the input x, so that its product is computed for all time
steps at once, and to R otherwise. A matrix that is applied to both becomes a block of both.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from throughtime.cells.cell import Cell, Narrow
from throughtime.kernels.call import Call, Weights

__all__ = ["Fold", "Folded", "fold", "folds_of"]

Fold = tuple[str, str, bool, str]
"""An additional block: ``W`` or ``R``; the parameter that is the matrix; whether the block is its
transpose; the name of the block."""


class Folded(Cell):
    """A cell with the same equations, whose matrices are blocks of W and R and not parameters.

    Args:
        cell: the wrapped cell.
        blocks: the additional blocks.
    """

    def __init__(self, cell: Cell, blocks: tuple[Fold, ...]) -> None:
        self.cell, self.blocks = cell, blocks
        self.gates = (*cell.gates, *(name for letter, _, _, name in blocks if letter == "W"))
        self.recurrent_blocks = (
            *cell.recurrent_block_names,
            *(name for letter, _, _, name in blocks if letter == "R"),
        )
        self.output, self.states, self.inputs = cell.output, cell.state_specs, cell.input_specs
        self.parameters = {
            name: spec
            for name, spec in cell.parameter_specs.items()
            if not isinstance(spec.size, tuple) or len(spec.size) < 2
        }

    @property
    def title(self) -> str:
        return self.cell.title

    @property
    def narrow(self) -> Narrow | None:
        return self.cell.narrow

    def step(self, x, W, R, s, p, u: Any = None):
        # The kernels use the graph of the wrapped cell. Only the reference calls this method, for
        # derivatives of derivatives. It passes the blocks as tensors, from which the parameters of
        # the wrapped cell are restored.
        matrices = {}
        for letter, matrix, is_transposed, name in self.blocks:
            block: Tensor = getattr(W if letter == "W" else R, name).weight
            matrices[matrix] = block.T if is_transposed else block
        own = SimpleNamespace(**vars(p), **matrices)
        return self.cell.step(x, W, R, s, own, *([u] if self.cell.input_specs else []))


def folds_of(cell: Cell) -> tuple[Fold, ...]:
    """The additional blocks of a cell; none unless it is a :class:`Folded` cell."""
    return cell.blocks if isinstance(cell, Folded) else ()


def fold(call: Call, cell: Cell, blocks: tuple[Fold, ...]) -> Call:
    """Converts a call of a cell into the equal call of its :class:`Folded` cell.

    Args:
        call: the call of the wrapped cell.
        cell: the folded cell.
        blocks: its additional blocks.

    Returns:
        The call with the matrices moved from the parameters to the end of W and R. The additional
        blocks of W have zeros as their biases. Those of R have none, as they come last.
    """
    if not blocks:
        return call
    w = call.weights
    matrices = {name: p for name, p in w.parameters.items() if p.dim() == 2}
    added: dict[str, list[Tensor]] = {"W": [], "R": []}
    for letter, matrix, is_transposed, _ in blocks:
        added[letter].append(matrices[matrix].T if is_transposed else matrices[matrix])
    bias = w.bias_ih
    if bias is not None and added["W"]:
        bias = torch.cat([bias, bias.new_zeros(sum(m.shape[0] for m in added["W"]))])
    recurrent = [*([] if w.weight_hh is None else [w.weight_hh]), *added["R"]]
    weights = Weights(
        torch.cat([w.weight_ih, *added["W"]]),
        torch.cat(recurrent) if recurrent else None,
        bias,
        w.bias_hh,
        {name: p for name, p in w.parameters.items() if name not in matrices},
    )
    return replace(call, cell=cell, weights=weights)
