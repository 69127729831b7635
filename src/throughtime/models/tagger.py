"""A token for each token: from one sequence to another of the same length, in one network."""

from __future__ import annotations

from torch import Tensor, nn

from throughtime.cells.cell import Cell
from throughtime.checks import shape_is
from throughtime.layers.recurrent import Recurrent

__all__ = ["Tagger"]


class Tagger(nn.Module):
    r"""Embedding, recurrent layers, scores:

        h_1 … h_T = recurrent(E[x_1] … E[x_T])
        P(y_t | x) = softmax(W h_t + b)

    What it says at t it does not read again: given x, the y_t do not depend on one another.

    Args:
        source_size, target_size: how many tokens there are to read, and to say.
        cell: the equations of the recurrent layers, or their name.
        hidden_size, num_layers: H, of each direction, and L.
        embedding_size: the width of E; None is H.
        bidirectional: whether y_t is said knowing all of x, or x_1 … x_t only.
        dropout: of the embeddings, of what enters each layer but the first, and of what is scored.
        forget_bias, backend: see :class:`throughtime.Recurrent`.

    Shapes:
        tokens: (B, T) int64. lengths: (B). scores: (B, T, V); past a row's end they mean nothing.

    Source: the lecture notes, the simplest variant of sequence to sequence.

    >>> import torch
    >>> Tagger(20, 5, hidden_size=8)(torch.zeros(2, 7, dtype=torch.long)).shape
    torch.Size([2, 7, 5])
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        *,
        cell: Cell | str = "lstm",
        hidden_size: int = 256,
        num_layers: int = 1,
        embedding_size: int | None = None,
        bidirectional: bool = False,
        dropout: float = 0.0,
        forget_bias: float | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        E = hidden_size if embedding_size is None else embedding_size
        self.embedding = nn.Embedding(source_size, E)
        self.recurrent = Recurrent(
            cell,
            E,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,
            bidirectional=bidirectional,
            forget_bias=forget_bias,
            backend=backend,
        )
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(self.recurrent.output_size, target_size)

    def forward(self, tokens: Tensor, lengths: Tensor | list[int] | None = None) -> Tensor:
        """The scores of what may stand at each place."""
        shape_is("Tagger", "tokens", tokens, ["B", "T"])
        x = self.dropout(self.embedding(tokens))  # (B, T, E)
        h, _ = self.recurrent(x, lengths=lengths)  # (B, T, H)
        return self.scores(self.dropout(h))
