"""Layers over one tensor that holds the values, what is observed, and the time gaps."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from throughtime.layers.gru_d import GRUD
from throughtime.layers.recurrent import Recurrent

__all__ = ["GappedRecurrent", "MarkedGRUD"]


class MarkedGRUD(nn.Module):
    """The layer GRU-D, which reads values, marks and gaps side by side:

        x_t = [values_t; marks_t; gaps_t]

    A mark is 1 where a value is observed, and 0 where it is missing; a gap is the time since the
    last observation of the feature (:func:`throughtime.layers.time_gaps`). The mean to which
    missing values decay is 0, so the values must be normalised.

    Args:
        input_size: I, the number of features.
        hidden_size: H.
        options: of :class:`throughtime.layers.GRUD`.

    Shapes:
        x: (B, T, 3*I). lengths: (B). The output is (B, T, H), zero past the end of a row.

    >>> import torch
    >>> MarkedGRUD(2, 5)(torch.rand(3, 7, 6), torch.tensor([7, 2, 5]))[0].shape
    torch.Size([3, 7, 5])
    """

    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None:
        super().__init__()
        self.layer = GRUD(input_size, hidden_size, batch_first=True, **options)
        self.cell, self.output_size = self.layer.recurrent.cell, hidden_size

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, tuple]:
        """The output, and the last state of the layer."""
        values, marks, gaps = x.chunk(3, -1)
        return self.layer(values, marks > 0.5, gaps, lengths=lengths)


class GappedRecurrent(nn.Module):
    """A layer whose cell reads the time since the step before, as the last feature:

        x_t = [values_t; gap_t]

    Args:
        layer: a layer with time second, of a cell with the input ``gap``.

    Shapes:
        x: (B, T, I+1), for a layer of I features. lengths: (B). The output is that of the layer.
    """

    def __init__(self, layer: Recurrent) -> None:
        super().__init__()
        self.layer = layer
        self.cell, self.output_size = layer.cell, layer.output_size

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        """The output, and the last state of the layer."""
        return self.layer(x[..., :-1], lengths=lengths, inputs={"gap": x[..., -1:]})
