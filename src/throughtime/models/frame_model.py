"""A recurrent network over frames of music, with a distribution over the next frame."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from throughtime.cells.cell import Cell
from throughtime.checks import unknown, whole_number
from throughtime.layers.recurrent import RecurrentState
from throughtime.models.key_heads import KEY_HEADS
from throughtime.models.next_step import NextStep

__all__ = ["FrameModel"]


class FrameModel(NextStep):
    r"""Predicts which keys sound in the next frame from all frames before it:

        h_t = recurrent(x_t, h_{t-1});   P(x_{t+1} | x_1 … x_t) = head(h_t)

    Args:
        num_keys: K, the number of keys.
        head: the distribution over a frame: ``independent``, ``nade`` or ``recurrent``; see
            :mod:`throughtime.models.key_heads`.
        head_size: the number of hidden units of the last two heads.
        cell: of the recurrent layers and of the head ``recurrent``.
        layers: the further arguments of :class:`throughtime.models.next_step.NextStep`, which reads
            the frames.

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
        **layers: Any,
    ) -> None:
        if head not in KEY_HEADS:
            raise unknown("head", head, KEY_HEADS)
        num_keys = whole_number("FrameModel", "num_keys", num_keys)
        super().__init__(num_keys, cell=cell, **layers)
        self.num_keys = num_keys
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
        return self.read(frames, state, lengths)
