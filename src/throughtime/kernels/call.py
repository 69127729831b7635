"""What a backend is asked to run: one cell, over one sequence, in one direction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field

from torch import Tensor

from throughtime.cells.cell import Cell

__all__ = ["Call", "Weights"]


@dataclass(frozen=True)
class Weights:
    """The weights of one layer in one direction, as ``torch.nn`` orders them.

    Args:
        weight_ih: (G*H, I), the input blocks one below the other.
        weight_hh: (G*H, H), the recurrent blocks; None where the cell has none.
        bias_ih: (G*H) or None.
        bias_hh: (G*H), for the recurrent blocks that carry a bias, or None.
        parameters: the per-unit parameters by name.
    """

    weight_ih: Tensor
    weight_hh: Tensor | None = None
    bias_ih: Tensor | None = None
    bias_hh: Tensor | None = None
    parameters: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One cell applied through time.

    Args:
        cell: the equations.
        x: (T, B, I), time first.
        weights: of this layer and direction.
        state: the initial states in the cell's order, each (B, H).
        inputs: what enters each step besides x, in the cell's order, each (T, B, H).
        lengths: (B,) int64, the valid steps of each row, or None where all are valid.
        resets: (T, B) bool, True where a row starts anew before step t, or None.
        seed: a whole number, (), from which the cell's random inputs are drawn, where it has any;
            see :func:`throughtime.kernels.graph.random.uniform`.
        reverse: whether time runs from each row's last step to its first.
        save: what is kept for the backward pass, ``gates`` (all that it needs) or ``states`` (few
            states; the gates are computed again). A backend without the choice keeps all.
        identity: the cell as a text, where the caller knows it; see ``operators.identity``.
    """

    cell: Cell
    x: Tensor
    weights: Weights
    state: tuple[Tensor, ...]
    _: KW_ONLY
    inputs: tuple[Tensor, ...] = ()
    lengths: Tensor | None = None
    resets: Tensor | None = None
    seed: Tensor | None = None
    reverse: bool = False
    save: str = "gates"
    identity: str | None = None

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """All that can have a gradient: x, the weights, states and further inputs, in order."""
        w = self.weights
        matrices = (self.x, w.weight_ih, w.weight_hh, w.bias_ih, w.bias_hh)
        return (*matrices, *w.parameters.values(), *self.state, *self.inputs)
