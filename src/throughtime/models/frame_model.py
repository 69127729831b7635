"""A recurrent network over frames of music, with a distribution over the next frame."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from throughtime.cells.cell import Cell
from throughtime.checks import unknown, whole_number
from throughtime.layers.dropout import Dropout
from throughtime.layers.recurrent import Recurrent, RecurrentState
from throughtime.models.key_heads import KEY_HEADS

__all__ = ["FrameModel"]


class FrameModel(nn.Module):
    r"""Predicts which keys sound in the next frame from all frames before it:

        h_t = recurrent(x_t, h_{t-1});   P(x_{t+1} | x_1 … x_t) = head(h_t)

    Args:
        num_keys: K, the number of keys.
        head: the distribution over a frame: ``independent``, ``nade`` or ``recurrent``; see
            :mod:`throughtime.models.key_heads`.
        head_size: the number of hidden units of the last two heads.
        cell, hidden_size, num_layers: of the recurrent layers; the head ``recurrent`` has the same
            cell.
        dropout: the probability of dropping a unit of the inputs of each recurrent layer but the
            first, and of the input of the head.
        input_dropout: the probability of dropping a key of the frames that are read.
        options: see :class:`throughtime.Recurrent`.

    Shapes:
        frames: (B, T, K) of 0 and 1. h: (B, T, H). state: that of the recurrent layers.

    >>> model = FrameModel(88, hidden_size=16)
    >>> h, state = model(torch.zeros(2, 7, 88))
    >>> model.head.draw(h[:, -1], temperature=1.0).shape
    torch.Size([2, 88])
    """

    def __init__(
        self,
        num_keys: int,
        *,
        head: Literal["independent", "nade", "recurrent"] = "independent",
        head_size: int = 100,
        cell: Cell | str = "lstm",
        hidden_size: int = 200,
        num_layers: int = 1,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__()
        if head not in KEY_HEADS:
            raise unknown("head", head, KEY_HEADS)
        self.num_keys = whole_number("FrameModel", "num_keys", num_keys)
        self.hidden_size, self.num_layers, self.options = hidden_size, num_layers, options
        self.recurrent = Recurrent(
            cell,
            num_keys,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,
            **options,
        )
        self.cell = self.recurrent.cell
        self.dropout, self.input_dropout = Dropout(dropout), Dropout(input_dropout)
        head_size = whole_number("FrameModel", "head_size", head_size)
        self.head = KEY_HEADS[head](self.recurrent.output_size, num_keys, head_size, cell)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights, in which frames are read."""
        return next(self.head.parameters()).dtype

    def forward(
        self,
        frames: Tensor,
        state: RecurrentState | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, RecurrentState]:
        """The vector from which the head predicts the frame after each frame, and the state."""
        h, last = self.recurrent(self.input_dropout(frames), state, lengths=lengths)
        return self.dropout(h), last
