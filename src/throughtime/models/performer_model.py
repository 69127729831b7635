"""A recurrent network over the steps of several performers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from throughtime.checks import unknown, whole_number
from throughtime.layers.recurrent import RecurrentState
from throughtime.models.next_step import NextStep
from throughtime.models.step_codings import STEP_CODINGS

__all__ = ["PerformerModel"]


class PerformerModel(NextStep):
    r"""Predicts the next step of k performers, an integer each, from all steps before it:

        h_t = recurrent(read(x_t), h_{t-1});   P(x_{t+1} | x_1 … x_t) = coding(h_t)

    Args:
        sizes: the number of values of each performer.
        coding: how a step is read and predicted: ``product``, ``independent``, ``ordered`` or
            ``any-order``; see :mod:`throughtime.models.step_codings`.
        embedding_size: the width of the vector by which a step is read.
        head_size: the number of hidden units of the codings ``ordered`` and ``any-order``.
        layers: the further arguments of :class:`throughtime.models.next_step.NextStep`, which reads
            the vectors of the steps.

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
        **layers: Any,
    ) -> None:
        if coding not in STEP_CODINGS:
            raise unknown("coding", coding, STEP_CODINGS)
        embedding_size = whole_number("PerformerModel", "embedding_size", embedding_size)
        head_size = whole_number("PerformerModel", "head_size", head_size)
        super().__init__(embedding_size, **layers)
        width = self.recurrent.output_size
        self.coding = STEP_CODINGS[coding](sizes, width, embedding_size, head_size)

    def forward(
        self,
        steps: Tensor,
        state: RecurrentState | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, RecurrentState]:
        """The vector from which the coding predicts the step after each step, and the state."""
        return self.read(self.coding.read(steps), state, lengths)
