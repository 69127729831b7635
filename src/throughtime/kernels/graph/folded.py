"""A cell whose own matrices are further blocks of W and R, as the kernels multiply by them.

A step may multiply by a matrix that is a parameter of the cell, ``x @ p.A`` or
``F.linear(s.h, p.A)``. For a kernel that is a product with a block like any other: of W, if the
matrix is applied to the input x, and of R otherwise.
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
"""A further block: ``W`` or ``R``, the matrix, whether it is transposed, the name of the block."""


class Folded(Cell):
    """The cell with further blocks, and without the parameters that are matrices.

    Args:
        cell: the wrapped cell.
        blocks: the further blocks.
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
        # The reference runs this for derivatives of derivatives: it has the blocks as tensors.
        matrices = {}
        for letter, matrix, is_transposed, name in self.blocks:
            block: Tensor = getattr(W if letter == "W" else R, name).weight
            matrices[matrix] = block.T if is_transposed else block
        own = SimpleNamespace(**vars(p), **matrices)
        return self.cell.step(x, W, R, s, own, *([u] if self.cell.input_specs else []))


def folds_of(cell: Cell) -> tuple[Fold, ...]:
    """The further blocks of a cell; none unless it is a :class:`Folded` one."""
    return cell.blocks if isinstance(cell, Folded) else ()


def fold(call: Call, cell: Cell, blocks: tuple[Fold, ...]) -> Call:
    """The call of a :class:`Folded` cell: its matrices stand among the blocks of W and R.

    Args:
        call: of the cell that is wrapped.
        cell: the folded one.
        blocks: its further blocks.
    """
    if not blocks:
        return call
    w = call.weights
    matrices = {name: p for name, p in w.parameters.items() if p.dim() == 2}
    of: dict[str, list[Tensor]] = {"W": [], "R": []}
    for letter, matrix, is_transposed, _ in blocks:
        of[letter].append(matrices[matrix].T if is_transposed else matrices[matrix])
    bias = w.bias_ih
    if bias is not None and of["W"]:
        bias = torch.cat([bias, bias.new_zeros(sum(m.shape[0] for m in of["W"]))])
    recurrent = [*([] if w.weight_hh is None else [w.weight_hh]), *of["R"]]
    weights = Weights(
        torch.cat([w.weight_ih, *of["W"]]),
        torch.cat(recurrent) if recurrent else None,
        bias,
        w.bias_hh,
        {name: p for name, p in w.parameters.items() if name not in matrices},
    )
    return replace(call, cell=cell, weights=weights)
