"""The recurrent layers of a model that predicts each step of a sequence from those before it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from throughtime.cells.cell import Cell
from throughtime.layers.dropout import Dropout
from throughtime.layers.recurrent import Recurrent, RecurrentState

__all__ = ["NextStep"]


class NextStep(nn.Module):
    r"""Recurrent layers with dropout of what they read and of what they write:

        h_t = recurrent(x_t, h_{t-1})

    Args:
        input_size: I.
        cell, hidden_size, num_layers: of the recurrent layers.
        dropout: the probability of dropping a unit of the inputs of each recurrent layer but the
            first, and of h.
        input_dropout: the probability of dropping a unit of x.
        options: see :class:`throughtime.Recurrent`.
    """

    def __init__(
        self,
        input_size: int,
        *,
        cell: Cell | str = "lstm",
        hidden_size: int = 200,
        num_layers: int = 1,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__()
        self.hidden_size, self.num_layers, self.options = hidden_size, num_layers, options
        self.recurrent = Recurrent(
            cell,
            input_size,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,
            **options,
        )
        self.cell = self.recurrent.cell
        self.dropout, self.input_dropout = Dropout(dropout), Dropout(input_dropout)

    def read(
        self, x: Tensor, state: RecurrentState | None, lengths: Tensor | None
    ) -> tuple[Tensor, RecurrentState]:
        """h (B, T, H) of x (B, T, I), and the last state of the recurrent layers."""
        h, last = self.recurrent(self.input_dropout(x), state, lengths=lengths)
        return self.dropout(h), last
