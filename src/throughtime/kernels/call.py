"""The arguments of a backend: one cell, applied to one sequence in one direction."""

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
        weight_hh: (G*H, H), the recurrent blocks; None if the cell has none.
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
        x: the input, (T, B, I), time first.
        weights: the weights of this layer and direction.
        state: the initial states in the cell's order, each (B, H).
        inputs: the cell's further inputs besides x, in the cell's order, each (T, B, H).
        lengths: (B,) int64, the number of valid steps of each row; None if all T steps are valid.
        resets: (T, B) bool, True where a row returns to its initial state before step t; or None.
        seed: the seed of the cell's random inputs, an int64 tensor of shape (); None if the cell
            has no random inputs. See :func:`throughtime.kernels.graph.random.uniform`.
        reverse: whether time runs from each row's last step to its first.
        save: which values the forward pass keeps for the backward pass. ``gates`` keeps all that
            the backward pass reads; ``states`` keeps a few states, from which the gates are
            computed again. A backend that offers no choice keeps all.
        identity: a text that names the cell to an operator, or None if the caller does not know
            it; see :func:`throughtime.kernels.cpp.identity.identity`.
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
        """All tensors that can have a gradient: x, weights, states, further inputs, in order."""
        w = self.weights
        matrices = (self.x, w.weight_ih, w.weight_hh, w.bias_ih, w.bias_hh)
        return (*matrices, *w.parameters.values(), *self.state, *self.inputs)
