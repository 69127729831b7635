"""A recurrent network over the steps of several performers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from throughtime.cells.cell import Cell
from throughtime.checks import unknown, whole_number
from throughtime.layers.dropout import Dropout
from throughtime.layers.recurrent import Recurrent, RecurrentState
from throughtime.models.step_codings import STEP_CODINGS

__all__ = ["PerformerModel"]


class PerformerModel(nn.Module):
    r"""Predicts the next step of k performers, an integer each, from all steps before it:

        h_t = recurrent(read(x_t), h_{t-1});   P(x_{t+1} | x_1 … x_t) = coding(h_t)

    Args:
        sizes: the number of values of each performer.
        coding: how a step is read and predicted: ``product``, ``independent``, ``ordered`` or
            ``any-order``; see :mod:`throughtime.models.step_codings`.
        embedding_size: the width of the vector by which a step is read.
        head_size: the number of hidden units of the codings ``ordered`` and ``any-order``.
        cell, hidden_size, num_layers: of the recurrent layers.
        dropout: the probability of dropping a unit of the inputs of each recurrent layer but the
            first, and of what the coding predicts from.
        input_dropout: the probability of dropping a unit of the vector by which a step is read.
        options: see :class:`throughtime.Recurrent`.

    Shapes:
        steps: (B, T, k) int64. h: (B, T, H). state: that of the recurrent layers.

    >>> import torch
    >>> model = PerformerModel([3, 5], coding="product", hidden_size=16)
    >>> h, state = model(torch.zeros(2, 7, 2, dtype=torch.int64))
    >>> model.coding.nll(h[:, -1], torch.tensor([[0, 4], [2, 1]])).shape
    torch.Size([2])
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        coding: str = "ordered",
        embedding_size: int = 64,
        head_size: int = 100,
        cell: Cell | str = "lstm",
        hidden_size: int = 200,
        num_layers: int = 1,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__()
        if coding not in STEP_CODINGS:
            raise unknown("coding", coding, STEP_CODINGS)
        embedding_size = whole_number("PerformerModel", "embedding_size", embedding_size)
        head_size = whole_number("PerformerModel", "head_size", head_size)
        self.hidden_size, self.num_layers, self.options = hidden_size, num_layers, options
        self.recurrent = Recurrent(
            cell,
            embedding_size,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,
            **options,
        )
        self.cell = self.recurrent.cell
        self.dropout, self.input_dropout = Dropout(dropout), Dropout(input_dropout)
        width = self.recurrent.output_size
        self.coding = STEP_CODINGS[coding](sizes, width, embedding_size, head_size)

    def forward(
        self,
        steps: Tensor,
        state: RecurrentState | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, RecurrentState]:
        """The vector from which the coding predicts the step after each step, and the state."""
        x = self.input_dropout(self.coding.read(steps))
        h, last = self.recurrent(x, state, lengths=lengths)
        return self.dropout(h), last
