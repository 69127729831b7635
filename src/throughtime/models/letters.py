"""A feature of each word that is computed from its letters."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from throughtime.cells.cell import Cell
from throughtime.checks import whole_number
from throughtime.layers.dropout import Dropout
from throughtime.layers.recurrent import Recurrent

__all__ = ["LetterFeature"]


class LetterFeature(nn.Module):
    r"""The feature v of a word with the letters c_1 … c_N:

        v = [forward(E[c])_N; backward(E[c])_1]             kind recurrent
        v_k = max over n of (W_k * E[c])_n + b_k            kind convolution, of width 3

    Args:
        num_letters: the number of letters, with the padding as letter 0.
        kind: ``recurrent`` or ``convolution``.
        embedding_size: the width of E.
        size: the units of each direction; a convolution has twice as many filters, so that both
            kinds give features of the same width.
        dropout: the probability to drop a unit of the embeddings.
        cell: the cell of the recurrent kind, or its name.

    Shapes:
        letters: (U, N) int64. lengths: (U). returns (U, 2 * size).

    Source: Lample et al., arXiv 1603.01360, section 4.1 (recurrent); Ma and Hovy, arXiv 1603.01354,
        section 2.1 (convolution).

    >>> LetterFeature(30, size=8)(torch.ones(4, 6, dtype=torch.int64), [6, 2, 1, 5]).shape
    torch.Size([4, 16])
    """

    def __init__(
        self,
        num_letters: int,
        *,
        kind: Literal["recurrent", "convolution"] = "recurrent",
        embedding_size: int = 25,
        size: int = 25,
        dropout: float = 0.0,
        cell: Cell | str = "lstm",
    ) -> None:
        super().__init__()
        E = whole_number("LetterFeature", "embedding_size", embedding_size)
        size = whole_number("LetterFeature", "size", size)
        self.kind, self.output_size = kind, 2 * size
        self.embedding = nn.Embedding(
            whole_number("LetterFeature", "num_letters", num_letters), E, padding_idx=0
        )
        with torch.no_grad():
            nn.init.uniform_(self.embedding.weight[1:], -((3 / E) ** 0.5), (3 / E) ** 0.5)
        self.dropout = Dropout(dropout)
        if kind == "recurrent":
            self.recurrent = Recurrent(cell, E, size, bidirectional=True, batch_first=True)
            self.output_size = self.recurrent.output_size
        else:
            self.convolution = nn.Conv1d(E, 2 * size, 3, padding=1)

    def forward(self, letters: Tensor, lengths: Tensor | list[int]) -> Tensor:
        """The feature of each word."""
        ends = torch.as_tensor(lengths, device=letters.device)
        x = self.dropout(self.embedding(letters))  # (U, N, E)
        if self.kind == "convolution":
            is_valid = torch.arange(letters.shape[1], device=letters.device) < ends.unsqueeze(1)
            x = (x * is_valid.unsqueeze(2)).transpose(1, 2)
            filtered = self.convolution(x)  # (U, 2 * size, N)
            return filtered.masked_fill(~is_valid.unsqueeze(1), -torch.inf).amax(2)
        h, _ = self.recurrent(x, lengths=ends)  # (U, N, 2 * size)
        half = h.shape[2] // 2
        last = h[torch.arange(len(h), device=h.device), ends - 1, :half]
        return torch.cat([last, h[:, 0, half:]], 1)
